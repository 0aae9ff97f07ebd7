'use strict'

// Formats and keywords that are functions of the application, and TypeBox's refinements. The core has no JavaScript to
// run, so they are asked behind it, on what it let through. That is sound only where the schema applies in every case:
// under `anyOf` the core would have to know their answer to choose. Anywhere else they are refused.

const { GuardError } = require('../errors.js')

const MAX_DEPTH = 200

/**
 * The functions in a JSON Schema, as one check `(value, report)`; null where there are none.
 * `own` is `{ formats, keywords }`, two Maps of functions by name; `report(path, code, detail)` is told what is wrong.
 */
function functionsOf(part, schema, own) {
  const build = new Build(part, own)
  const node = build.node(schema, '#', true)
  return node === null ? null : (value, report) => run(node, value, [], report)
}

class Build {
  constructor(part, own) {
    this.part = part
    this.own = own
    this.seen = new Set()
  }

  /** The checks at and below a schema; null where there are none. `always`: the schema applies in every case. */
  node(schema, at, always) {
    if (schema === null || typeof schema !== 'object') return null
    if (at.length > 20_000 || this.seen.has(schema)) return null
    this.seen.add(schema)
    const checks = this.checks(schema, at)
    if (checks.length > 0 && !always) throw this.unsure(at)
    const node = { checks, properties: null, additional: null, items: null, prefix: null, all: [] }
    let any = checks.length > 0
    const keep = (child) => {
      any ||= child !== null
      return child
    }
    for (const [key, value] of Object.entries(schema)) {
      const here = `${at}/${key}`
      if (value === null || typeof value !== 'object') continue
      if (key === 'properties' && !Array.isArray(value)) {
        node.properties = new Map()
        for (const [name, member] of Object.entries(value)) {
          const child = keep(this.node(member, `${here}/${name}`, always))
          if (child !== null) node.properties.set(name, child)
        }
      } else if (key === 'items' && !Array.isArray(value)) node.items = keep(this.node(value, here, always))
      else if (key === 'prefixItems' || key === 'items') node.prefix = value.map((item, i) => keep(this.node(item, `${here}/${i}`, always)))
      else if (key === 'additionalProperties') node.additional = keep(this.node(value, here, always))
      else if (key === 'allOf' && Array.isArray(value)) {
        node.all = value.map((item, i) => keep(this.node(item, `${here}/${i}`, always))).filter((child) => child !== null)
      } else if (key !== 'const' && key !== 'enum' && key !== 'default' && key !== 'examples' && key !== 'required') {
        for (const [name, inner] of Object.entries(value)) this.node(inner, `${here}/${name}`, false)
        if (!Array.isArray(value)) this.node(value, here, false)
      }
    }
    this.seen.delete(schema)
    node.declared = new Set(Object.keys(schema.properties ?? {}))
    return any ? node : null
  }

  checks(schema, at) {
    const checks = []
    if (schema['~codec'] !== undefined) {
      throw new GuardError(`\`${this.part}\` can't be used: ${at} is a codec, which no check carries out; give the type that is sent, and decode it in the handler`, {
        code: 'ERR_INVALID_SCHEMA',
        path: this.part
      })
    }
    const refine = schema['~refine']
    for (const entry of Array.isArray(refine) ? refine : []) {
      const test = entry.check ?? entry.refine
      if (typeof test === 'function') checks.push({ code: 'refine', test, detail: 'does not match the schema' })
    }
    const format = typeof schema.format === 'string' ? this.own.formats.get(schema.format) : undefined
    if (format !== undefined) {
      checks.push({ code: 'format', test: (value) => typeof value !== 'string' || format(value), detail: `must be of the format \`${schema.format}\`` })
    }
    for (const [name, test] of this.own.keywords) {
      if (!Object.hasOwn(schema, name)) continue
      const argument = schema[name]
      checks.push({ code: name, test: (value) => test(value, argument), detail: `does not match \`${name}\`` })
    }
    return checks
  }

  unsure(at) {
    return new GuardError(
      `\`${this.part}\` can't be used: ${at} asks a function, but may apply or not; write it where the schema applies in every case: not under anyOf, oneOf, if, not, contains, patternProperties or $defs`,
      { code: 'ERR_INVALID_SCHEMA', path: this.part }
    )
  }
}

function run(node, value, path, report) {
  if (path.length > MAX_DEPTH) return
  for (const { code, test, detail } of node.checks) {
    const verdict = test(value)
    if (typeof verdict?.then === 'function') {
      Promise.resolve(verdict).then(undefined, () => {}) // its rejection must not end the process
      throw new GuardError(`the function of \`${code}\` is asynchronous; do such checks in the handler`, { code: 'ERR_INVALID_SCHEMA' })
    }
    if (verdict !== true) report(path, code, detail)
  }
  for (const child of node.all) run(child, value, path, report)
  if (Array.isArray(value)) {
    value.forEach((item, i) => {
      const child = node.prefix?.[i] ?? (node.prefix !== null && i < node.prefix.length ? null : node.items)
      if (child !== null && child !== undefined) run(child, item, [...path, i], report)
    })
  } else if (value !== null && typeof value === 'object') {
    for (const [name, member] of Object.entries(value)) {
      const child = node.properties?.get(name) ?? (node.declared.has(name) ? null : node.additional)
      if (child !== null && child !== undefined) run(child, member, [...path, name], report)
    }
  }
}

module.exports = { functionsOf }

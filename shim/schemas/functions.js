'use strict'

// Formats and keywords that are functions of the application, and TypeBox's refinements. The core
// can't run JavaScript, so they run after it, on values that it accepted. That is sound only where
// the schema applies in every case: under `anyOf` the core would need their result to choose. The
// core refuses them anywhere else when the schema is compiled (src/schema/keywords.rs), so this
// file handles only such places.

const { GuardError } = require('../errors.js')

const MAX_DEPTH = 200

/**
 * The functions in a JSON Schema, as one check `(value, report)`; null if there are none. `own` is
 * `{ formats, keywords }`, two Maps of functions by name; `report(path, code, detail)` receives
 * each error.
 */
function functionsOf(schema, own) {
  const node = nodeOf(schema, own, new Set())
  return node === null ? null : (value, report) => run(node, value, [], report)
}

/** The checks at and below a schema; null if there are none. */
function nodeOf(schema, own, above) {
  // A schema that contains itself, or is too deep, is refused when the options are encoded.
  if (schema === null || typeof schema !== 'object' || above.has(schema) || above.size > MAX_DEPTH) return null
  above.add(schema)
  const inner = (value) => nodeOf(value, own, above)
  const list = (value) => (Array.isArray(value) ? value.map(inner) : [])
  const { properties, items } = schema
  const members = properties !== null && typeof properties === 'object' ? Object.entries(properties) : []
  const node = {
    checks: checksOf(schema, own),
    properties: new Map(members.map(([name, member]) => [name, inner(member)])),
    additional: inner(schema.additionalProperties),
    items: Array.isArray(items) ? null : inner(items),
    prefix: Array.isArray(items) ? list(items) : list(schema.prefixItems),
    all: list(schema.allOf).filter((child) => child !== null)
  }
  above.delete(schema)
  const children = [...node.properties.values(), node.additional, node.items, ...node.prefix, ...node.all]
  return node.checks.length > 0 || children.some((child) => child !== null) ? node : null
}

function checksOf(schema, own) {
  const checks = []
  const refine = schema['~refine']
  for (const entry of Array.isArray(refine) ? refine : []) {
    const test = entry.check ?? entry.refine
    if (typeof test === 'function') checks.push({ code: 'refine', test, detail: 'does not match the schema' })
  }
  const format = typeof schema.format === 'string' ? own.formats.get(schema.format) : undefined
  if (format !== undefined) {
    checks.push({ code: 'format', test: (value) => typeof value !== 'string' || format(value), detail: `must be of the format \`${schema.format}\`` })
  }
  for (const [name, test] of own.keywords) {
    if (!Object.hasOwn(schema, name)) continue
    const argument = schema[name]
    checks.push({ code: name, test: (value) => test(value, argument), detail: `does not match \`${name}\`` })
  }
  return checks
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
      const child = i < node.prefix.length ? node.prefix[i] : node.items
      if (child !== null) run(child, item, [...path, i], report)
    })
  } else if (value !== null && typeof value === 'object') {
    for (const [name, member] of Object.entries(value)) {
      const child = node.properties.has(name) ? node.properties.get(name) : node.additional
      if (child !== null) run(child, member, [...path, name], report)
    }
  }
}

module.exports = { functionsOf }

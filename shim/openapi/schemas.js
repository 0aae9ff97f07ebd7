'use strict'

// The guard's schemas as schemas of an OpenAPI 3.1 document: JSON Schema 2020-12 with references
// into `components.schemas`. What it has no words for is reported, and left out: the document then
// describes more than the guard accepts, and never less.

const SCHEMA = new Set([
  'not', 'if', 'then', 'else', 'items', 'additionalItems', 'contains', 'additionalProperties', 'propertyNames', 'unevaluatedItems', 'unevaluatedProperties', 'contentSchema'
])
const LIST = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems'])
const MAP = new Set(['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'])
/** Keywords about the schema itself, which no request is judged by. */
const DROPPED = new Set(['$schema', '$id', 'id', '$comment', '$vocabulary', '$anchor', 'x-text-style'])
/** Keywords that OpenAPI's readers would resolve in another way. */
const REFUSED = new Set(['$dynamicRef', '$recursiveRef', '$dynamicAnchor', '$recursiveAnchor'])
const SANITIZERS = new Set(['x-trim', 'x-nfc', 'x-lowercase', 'x-normalize-email'])
const COMPOSES = ['allOf', 'anyOf', 'oneOf', '$ref', 'if', 'then', 'else']

class Schemas {
  /** `components.schemas`, without `Problem`, which is the document's own. */
  components = Object.create(null)
  #names = new Map()
  #registered
  #draft
  #own

  /**
   * `registered` and `draft` are those of `payload`, `formats` a Map of patterns and functions by
   * name, `keywords` the names of functions.
   */
  constructor({ registered, draft, formats, keywords }) {
    this.#registered = new Map(Object.entries(registered))
    this.#draft = draft
    this.#own = { formats, keywords: new Set(keywords) }
  }

  /** A schema of the guard. `report(problem)` receives each rule that the document lacks. */
  convert(schema, report) {
    return this.#node(schema, { root: schema, base: null, isOld: isOld(schema, this.#draft), report })
  }

  /**
   * A converted schema of a body or query, closed as the guard closes it: if it declares members
   * and has no keyword for others.
   */
  closed(schema) {
    if (schema?.additionalProperties !== undefined || schema?.unevaluatedProperties !== undefined || !this.#declares(schema, 0)) return schema
    const isComposed = COMPOSES.some((key) => schema[key] !== undefined)
    return { ...schema, [isComposed ? 'unevaluatedProperties' : 'additionalProperties']: false }
  }

  #declares(schema, depth) {
    if (schema === null || typeof schema !== 'object' || depth > 16) return false
    if (schema.properties !== undefined) return true
    const inner = [...COMPOSES.flatMap((key) => (key === '$ref' ? [] : [schema[key]].flat())), this.resolve(schema)]
    return inner.some((it) => it !== schema && this.#declares(it, depth + 1))
  }

  /** The component that a converted schema refers to, or the schema itself. */
  resolve(schema) {
    return schema?.$ref === undefined ? schema : this.components[schema.$ref.slice('#/components/schemas/'.length)]
  }

  #node(schema, context) {
    if (typeof schema === 'boolean' || schema === null || typeof schema !== 'object') return schema
    const { report, isOld: old } = context
    if (schema.$ref !== undefined && old === 'siblings') return this.#reference(schema.$ref, context)
    const out = {}
    for (const [key, value] of Object.entries(schema)) {
      if (DROPPED.has(key)) {
        if (key === '$id' && schema !== context.root) report('a `$id` within a schema')
      } else if (REFUSED.has(key)) report(`\`${key}\``)
      else if (key === '$ref') Object.assign(out, this.#reference(value, context))
      else if (this.#own.keywords.has(key)) report(`the keyword \`${key}\`, which is a function`)
      else if (key === 'definitions' || key === '$defs') continue // where a reference leads to them
      else if (key === 'items' && Array.isArray(value)) out.prefixItems = value.map((item) => this.#node(item, context))
      else if (key === 'additionalItems') {
        if (Array.isArray(schema.items)) out.items = this.#node(value, context)
      } else if (key === 'dependencies') this.#dependencies(value, out, context)
      else if (SCHEMA.has(key)) out[key] = this.#node(value, context)
      else if (LIST.has(key)) out[key] = value.map((item) => this.#node(item, context))
      else if (MAP.has(key)) out[key] = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, this.#node(inner, context)]))
      else this.#word(key, value, schema, out, report)
    }
    return out
  }

  #word(key, value, schema, out, report) {
    if (key === '~minLength' || key === '~maxLength') {
      report('lengths in UTF-16 units, as JavaScript counts them: the document has them in characters')
      and(out, { [key.slice(1)]: value })
    } else if (key === '~format') and(out, { pattern: value.pattern })
    else if (key === '~refine' || key === '~codec' || key.startsWith('~')) report('a check in JavaScript')
    else if (key === 'format') this.#format(value, out, report)
    else if (key === 'pattern') and(out, { pattern: value })
    // Draft 4.
    else if ((key === 'exclusiveMinimum' || key === 'exclusiveMaximum') && typeof value === 'boolean') {
      const bound = key === 'exclusiveMinimum' ? 'minimum' : 'maximum'
      if (value) {
        out[key] = schema[bound]
        delete out[bound]
      }
    } else if ((key === 'minimum' && schema.exclusiveMinimum === true) || (key === 'maximum' && schema.exclusiveMaximum === true)) return
    else {
      if (SANITIZERS.has(key)) report(`\`${key}\`, which changes a value before it is judged`)
      out[key] = value
    }
  }

  #format(name, out, report) {
    const own = this.#own.formats.get(name)
    if (own === undefined) out.format = name
    else if (typeof own === 'string') and(out, { pattern: own })
    else if (own !== null && typeof own === 'object' && /^[dgu]*$/.test(own.flags)) and(out, { pattern: own.source })
    else report(`the format \`${name}\`, which is ${typeof own === 'function' ? 'a function' : 'a pattern with flags'}`)
  }

  #dependencies(value, out, context) {
    for (const [name, needed] of Object.entries(value)) {
      if (Array.isArray(needed)) (out.dependentRequired ??= {})[name] = needed
      else (out.dependentSchemas ??= {})[name] = this.#node(needed, context)
    }
  }

  /** A reference within the schema, or to one that is registered, as one into the components. */
  #reference(reference, context) {
    const [uri, fragment = ''] = reference.split('#')
    const { root } = context
    const isOwn = uri === '' || uri === root?.$id
    const base = isOwn ? context.base : uri
    const target = isOwn ? root : this.#registered.get(uri)
    const inside = { ...context, root: target, base }
    const steps = fragment === '' ? [] : fragment.split('/').slice(1).map((step) => decode(step).replaceAll('~1', '/').replaceAll('~0', '~'))
    if (target === undefined || (fragment !== '' && !fragment.startsWith('/'))) {
      const anchored = target === undefined ? undefined : anchor(target, decode(fragment))
      if (anchored === undefined) {
        context.report('a reference that is resolved by `$id`')
        return {}
      }
      return { $ref: this.#component(anchored, fragment, inside) }
    }
    const found = steps.reduce((at, step) => (at === undefined ? undefined : at?.[step]), target)
    if (found === undefined) {
      context.report('a reference that is resolved by `$id`')
      return {}
    }
    return { $ref: this.#component(found, steps.at(-1) ?? titleOf(target, base), inside) }
  }

  #component(schema, wanted, context) {
    // The same schema in another route is the same component, if its references lead to the same.
    const text = JSON.stringify(schema)
    const key = text.includes('"$ref"') ? `${text} ${JSON.stringify(context.root)}` : text
    let name = this.#names.get(key)
    if (name === undefined) {
      // Recursive schemas of libraries are named by numbers.
      const plain = wanted.replaceAll(/[^\w.-]/g, '_').replace(/^s\d+$/, '') || 'Schema'
      name = plain
      for (let i = 2; name === 'Problem' || name in this.components; i += 1) name = `${plain}${i}`
      this.#names.set(key, name)
      this.components[name] = {}
      this.components[name] = this.#node(schema, context)
    }
    return `#/components/schemas/${name}`
  }
}

const titleOf = (schema, base) => (typeof schema.title === 'string' ? schema.title : (base ?? '').split('/').at(-1) ?? '')

/** How drafts before 2019-09 read a reference: what stands beside it is ignored. */
function isOld(schema, draft) {
  const named = schema?.$schema ?? draft ?? ''
  return /draft-0[467]|^[467]$/.test(named) ? 'siblings' : null
}

function decode(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function anchor(schema, name) {
  if (schema === null || typeof schema !== 'object') return undefined
  if (schema.$anchor === name || schema.$id === `#${name}`) return schema
  for (const inner of Object.values(schema)) {
    const found = anchor(inner, name)
    if (found !== undefined) return found
  }
  return undefined
}

/** Adds a keyword; a second one of the same name goes into an `allOf`. */
function and(out, keyword) {
  const [[key, value]] = Object.entries(keyword)
  if (out[key] === undefined) out[key] = value
  else (out.allOf ??= []).push({ [key]: value })
}

module.exports = { Schemas }

'use strict'

// The first stage for schemas of other libraries: a JSON Schema that refuses nothing that the
// library accepts. Where it also accepts nothing that the library refuses, and the library would
// hand out the value as it came, it is exact, and the library need not be asked.

/** What a converter writes into. `exact` is lowered, never raised. */
class Gate {
  exact = true
  // Schemas that are being read, or were: a schema may hold itself.
  #names = new Map()
  #defs = Object.create(null)

  /** Anything: the library decides. */
  any() {
    this.exact = false
    return {}
  }

  /** Remembers that the schema at hand leaves something to the library. */
  loose(schema) {
    this.exact = false
    return schema
  }

  /** Reads `schema` with `read`, once: what holds itself becomes a reference. */
  once(schema, read) {
    const known = this.#names.get(schema)
    if (known !== undefined) {
      if (known.done === undefined) known.used = true
      return known.done ?? { $ref: `#/$defs/${known.name}` }
    }
    const entry = { name: `s${this.#names.size}`, used: false, done: undefined }
    this.#names.set(schema, entry)
    const json = read(schema)
    if (entry.used) {
      this.#defs[entry.name] = json
      entry.done = { $ref: `#/$defs/${entry.name}` }
      return entry.done
    }
    entry.done = json
    return json
  }

  /** The whole schema, with what it refers to. */
  finish(json) {
    const whole = { $schema: 'https://json-schema.org/draft/2020-12/schema', ...json }
    if (Object.keys(this.#defs).length > 0) whole.$defs = this.#defs
    // A top without a word on other members would be closed by the core, which is for schemas
    // written for it.
    if (whole.additionalProperties === undefined && whole.unevaluatedProperties === undefined) whole.unevaluatedProperties = true
    return whole
  }
}

/**
 * The source of a pattern that the core's engine and JavaScript's read alike, on any string; null
 * where that is not certain. Both agree on patterns that are anchored at both ends and hold but
 * plain ASCII: `.`, negated classes, `\s` and flags are about characters that the two do not count
 * or fold alike.
 */
function samePattern(regexp) {
  const { source, flags } = regexp
  if (flags.replace(/[gyuvd]/g, '') !== '' || /[gy]/.test(flags)) return null
  if (!/^\^[\x20-\x7e]*\$$/.test(source) || source.endsWith('\\$')) return null
  const inner = source.slice(1, -1)
  let depth = 0
  for (let i = 0; i < inner.length; i += 1) {
    const char = inner[i]
    if (char === '\\') {
      i += 1
      if (!/^[dw\-./+*?()[\]{}|^$@#%&',:;<=>~`"!_]$/.test(inner[i] ?? '')) return null
    } else if (char === '[') {
      const end = classEnd(inner, i)
      if (end === -1) return null
      i = end
    } else if (char === '(') {
      depth += 1
      if (inner[i + 1] === '?') {
        if (inner[i + 2] !== ':') return null
        i += 2
      }
    } else if (char === ')') depth -= 1
    else if (char === '|') {
      if (depth === 0) return null
    } else if (char === '{') {
      const repeat = /^\{(\d{1,3})(?:,(\d{0,3}))?\}/.exec(inner.slice(i))
      if (repeat === null) return null
      i += repeat[0].length - 1
    } else if ('.^$}]'.includes(char)) return null
  }
  return depth === 0 ? source : null
}

/**
 * Where a class ends that begins at `start`; -1 for one that the two engines may read otherwise.
 */
function classEnd(text, start) {
  if (text[start + 1] === '^' || text[start + 1] === ']') return -1
  for (let i = start + 1; i < text.length; i += 1) {
    const char = text[i]
    if (char === '\\') {
      i += 1
      if (!/^[dw\-./+*?()[\]{}|^$]$/.test(text[i] ?? '')) return -1
    } else if (char === ']') return i
    else if (char === '[' || (text[i + 1] === char && '&-~'.includes(char))) return -1
  }
  return -1
}

// One character, two units of UTF-16.
const WIDE = '\u{1f600}'
const MAX_PROBED = 10_000

/**
 * Keywords for the bound `kind` ('min', 'max', 'length') on the length of a string, as the library
 * counts it: `refuses` is its own check, and says whether a string is refused. Some versions of zod
 * count characters, and others what `length` says. Null where that can't be told.
 */
function lengthOf(kind, limit, refuses) {
  if (!Number.isSafeInteger(limit) || limit < 0 || limit > MAX_PROBED) return null
  // As many units as are asked for, but half as many characters; or as many characters, in twice
  // the units.
  const probe = WIDE.repeat(kind === 'min' ? Math.ceil(limit / 2) : limit)
  const refused = refuses(probe)
  const counts = limit < 2 && kind === 'min' ? '~' : refused === (kind === 'min') ? '' : '~'
  if (kind === 'min') return { [`${counts}minLength`]: limit }
  if (kind === 'max') return { [`${counts}maxLength`]: limit }
  return { [`${counts}minLength`]: limit, [`${counts}maxLength`]: limit }
}

/** Puts keywords into a schema; a second one of the same name goes into an `allOf`. */
function add(json, keywords) {
  for (const [key, value] of Object.entries(keywords)) {
    if (json[key] === undefined) json[key] = value
    else json.allOf = [...(json.allOf ?? []), { [key]: value }] // the list may be another schema's, too
  }
  return json
}

/** What may also be null. */
function orNull(json) {
  return typeof json.type === 'string' && json.enum === undefined && json.const === undefined
    ? { ...json, type: [json.type, 'null'] }
    : { anyOf: [json, { type: 'null' }] }
}

/** Constants, where JSON can say all of them; undefined otherwise. */
function constants(values) {
  const list = [...values]
  const plain = (value) => value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
  return list.length > 0 && list.every(plain) ? { enum: list } : undefined
}

module.exports = { Gate, add, constants, lengthOf, orNull, samePattern }

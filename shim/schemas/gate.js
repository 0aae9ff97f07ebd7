'use strict'

// The first stage for schemas of other libraries: a JSON Schema that accepts every value that the
// library accepts. If it also refuses every value that the library refuses, and the library would
// return the value unchanged, it is exact, and the library is not called.

/** The state of a conversion. `exact` can only change from true to false. */
class Gate {
  exact = true
  // Schemas that are being read, or were read: a schema may contain itself.
  #names = new Map()
  #defs = Object.create(null)

  /** Accepts anything: the library decides. */
  any() {
    this.exact = false
    return {}
  }

  /** Records that the schema at hand leaves a check to the library. */
  loose(schema) {
    this.exact = false
    return schema
  }

  /** Reads `schema` with `read`, once: a schema that contains itself becomes a reference. */
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

  /** The whole schema, with its definitions. */
  finish(json) {
    const whole = { $schema: 'https://json-schema.org/draft/2020-12/schema', ...json }
    if (Object.keys(this.#defs).length > 0) whole.$defs = this.#defs
    // The core would close a top-level schema without `additionalProperties`; that rule is for
    // schemas written for it.
    if (whole.additionalProperties === undefined && whole.unevaluatedProperties === undefined) whole.unevaluatedProperties = true
    return whole
  }
}

/**
 * The source of a pattern that the core's engine and JavaScript's interpret alike, on any string;
 * null if that is not certain. Both agree on patterns that are anchored at both ends and contain
 * only plain ASCII. They count or fold some characters differently, which affects `.`, negated
 * classes, `\s` and flags.
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
 * The end of the class that begins at `start`; -1 for a class that the engines may read
 * differently.
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
 * counts it: `refuses` is its own check, and returns whether a string is refused. Some versions of
 * zod count characters, and others count UTF-16 units as `length` does. Null if the way of counting
 * can't be determined.
 */
function lengthOf(kind, limit, refuses) {
  if (!Number.isSafeInteger(limit) || limit < 0 || limit > MAX_PROBED) return null
  // As many units as required, but half as many characters; or as many characters, in twice the
  // units.
  const probe = WIDE.repeat(kind === 'min' ? Math.ceil(limit / 2) : limit)
  const refused = refuses(probe)
  const counts = limit < 2 && kind === 'min' ? '~' : refused === (kind === 'min') ? '' : '~'
  if (kind === 'min') return { [`${counts}minLength`]: limit }
  if (kind === 'max') return { [`${counts}maxLength`]: limit }
  return { [`${counts}minLength`]: limit, [`${counts}maxLength`]: limit }
}

/** Adds keywords to a schema; a second one of the same name goes into an `allOf`. */
function add(json, keywords) {
  for (const [key, value] of Object.entries(keywords)) {
    if (json[key] === undefined) json[key] = value
    else json.allOf = [...(json.allOf ?? []), { [key]: value }] // another schema may share the list
  }
  return json
}

/** The same schema, also accepting null. */
function orNull(json) {
  return typeof json.type === 'string' && json.enum === undefined && json.const === undefined
    ? { ...json, type: [json.type, 'null'] }
    : { anyOf: [json, { type: 'null' }] }
}

/** Constants, if JSON can represent all of them; undefined otherwise. */
function constants(values) {
  const list = [...values]
  const plain = (value) => value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
  return list.length > 0 && list.every(plain) ? { enum: list } : undefined
}

module.exports = { Gate, add, constants, lengthOf, orNull, samePattern }

'use strict'

// Schemas of other libraries become JSON Schema here, before the core sees them. Where the conversion may lose a rule
// (zod drops refinements, transforms and regex flags without a word), the library's own check runs after the core's, on
// what the core let through, and its output is what the handler gets.

const { GuardError } = require('./errors.js')

const PARTS = ['body', 'query', 'params', 'headers', 'cookies']
const MAX_ERRORS = 20
// The most bytes of a problem document, as in src/node/answer.rs.
const MOST_PROBLEM = 8192
// A path is cut to this many steps.
const MAX_STEPS = 8

// Formats that JSON Schema names; a converted schema may carry others of its library (`starts_with`), which the
// library's own check covers.
const FORMATS = new Set([
  'date-time', 'date', 'time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uri', 'uri-reference', 'uuid',
  'json-pointer', 'relative-json-pointer', 'regex'
])

// The core's regex engine is linear: it has no lookaround and no backreference.
const NEEDS_BACKTRACKING = /\(\?(?:[=!]|<[=!])|\\[1-9]|\\k</

/** Splits options into what the core gets, the second stages `[part, schema]`, and the names of the parts with a schema. */
function takeSchemas(options) {
  if (options === undefined || options === null || typeof options !== 'object') {
    return { options: options ?? {}, second: [], parts: [] }
  }
  const rest = { ...options }
  const second = []
  const parts = []
  for (const part of PARTS) {
    if (!Object.hasOwn(rest, part) || rest[part] === undefined) continue
    const schema = rest[part]
    parts.push(part)
    const standard = schema === null ? undefined : schema['~standard']
    if (standard === undefined) continue
    rest[part] = convert(part, schema, standard)
    second.push([part, standard])
  }
  return { options: rest, second, parts }
}

function convert(part, schema, standard) {
  const fail = (why, cause) =>
    new GuardError(`\`${part}\` ${why}`, { code: 'ERR_INVALID_SCHEMA', path: part, cause })
  const input = standard.jsonSchema?.input
  if (typeof standard.validate !== 'function' || typeof input !== 'function') {
    throw fail(`is a schema of '${standard.vendor}' that can't be turned into JSON Schema; use a version with Standard JSON Schema (zod 4.2 or later), or give JSON Schema`)
  }
  let json
  try {
    json = input.call(standard.jsonSchema, { target: 'draft-2020-12' })
  } catch (error) {
    throw fail(`can't be turned into JSON Schema: ${error.message}; JSON has no such type, accept a string or number and transform it in the handler`, error)
  }
  // The first stage may never be stricter than the library, so what was converted stays open where the library strips.
  return loosen({ additionalProperties: true, ...json }, hasRegexFlags(schema, new Set()))
}

/** Drops what the core could only judge otherwise than the library does; the second stage judges it. */
function loosen(node, dropPatterns) {
  if (Array.isArray(node)) return node.map((item) => loosen(item, dropPatterns))
  if (node === null || typeof node !== 'object') return node
  const out = {}
  for (const [key, value] of Object.entries(node)) {
    if (key === 'pattern' && typeof value === 'string' && (dropPatterns || NEEDS_BACKTRACKING.test(value))) continue
    if (key === 'format' && typeof value === 'string' && !FORMATS.has(value)) continue
    if (key === '~standard') continue
    out[key] = key === 'const' || key === 'enum' || key === 'default' ? value : loosen(value, dropPatterns)
  }
  return out
}

/** Whether a zod schema holds a regex with flags, which its JSON Schema would lose. */
function hasRegexFlags(value, seen) {
  if (value instanceof RegExp) return value.flags !== ''
  if (value === null || typeof value !== 'object' || seen.has(value)) return false
  seen.add(value)
  const inner = value._zod?.def ?? value
  return Object.values(inner).some((member) => hasRegexFlags(member, seen))
}

/**
 * Runs the libraries' own checks and puts their output into `valid`.
 * Returns null, or the problem document of a 422 as the core would have written it.
 */
function checkSecondStage(second, valid) {
  const errors = []
  for (const [part, standard] of second) {
    const result = standard.validate(valid[part])
    if (typeof result?.then === 'function') {
      Promise.resolve(result).then(undefined, () => {}) // it is refused already: its rejection must not end the process
      throw new GuardError(`the schema of \`${part}\` is asynchronous; do such checks in the handler`, {
        code: 'ERR_INVALID_SCHEMA',
        path: part
      })
    }
    if (result.issues === undefined) {
      valid[part] = result.value
      continue
    }
    for (const issue of result.issues) errors.push(describe(part, issue, standard.vendor))
  }
  if (errors.length === 0) return null
  for (let most = MAX_ERRORS; ; most -= 1) {
    const problem = JSON.stringify({
      type: 'about:blank',
      title: 'Unprocessable Content',
      status: 422,
      code: 'validation_failed',
      detail: 'the request does not match its schema',
      errors: errors.slice(0, most),
      truncated: errors.length > most
    })
    if (most === 1 || Buffer.byteLength(problem) <= MOST_PROBLEM) return problem
  }
}

function describe(part, issue, vendor) {
  const path = (issue.path ?? []).slice(0, MAX_STEPS).map((step) => (typeof step === 'object' ? step.key : step))
  const pointer = path.map((step) => `/${shorten(String(step), 64).replaceAll('~', '~0').replaceAll('/', '~1')}`)
  return {
    in: part,
    pointer: `#${pointer.map(encodeURI).join('')}`,
    code: typeof issue.code === 'string' ? issue.code : 'schema',
    // The texts of other libraries repeat what was received.
    detail: vendor === 'zod' ? shorten(String(issue.message), 200) : 'does not match the schema'
  }
}

/** At most so many characters, none of them cut in two. */
function shorten(text, most) {
  return (text.length > most ? Array.from(text.slice(0, 2 * most)).slice(0, most).join('') : text).toWellFormed()
}

module.exports = { takeSchemas, checkSecondStage }

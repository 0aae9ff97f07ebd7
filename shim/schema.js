'use strict'

// Schemas of other libraries are converted to JSON Schema here, for the core. If the conversion
// loses a rule (a refinement, a transform, the flags of a pattern), the library's own check runs
// after the core's, on values that the core accepted, and its output is passed to the handler. If
// nothing is lost, the library is not called.

const { types } = require('node:util')
const { GuardError } = require('./errors.js')
const { readOptions } = require('./plain.js')
const { problemOf } = require('./problem.js')
const { functionsOf } = require('./schemas/functions.js')
const { fromStandard, ofOutput } = require('./schemas/standard.js')
const { fromValibot } = require('./schemas/valibot.js')
const { fromZod, validateOfZod } = require('./schemas/zod.js')

const PARTS = ['body', 'query', 'params', 'headers', 'cookies']
// Paths of schemas in the options of a route.
const SCHEMA_PATH = /^(?:body|query|params|headers|cookies|response\.[^.]*)$/
const MAX_ERRORS = 20
// The most bytes of errors in a problem document, which has at most 8192: as in
// src/schema/explain.rs.
const MAX_BYTES = 7 * 1024
// A path is cut to this many steps.
const MAX_STEPS = 8

/** The functions that the guard's `payload` adds to schemas, by name. */
function ownFunctions(functions) {
  const named = (prefix) =>
    new Map([...functions].filter(([path]) => path.startsWith(prefix)).map(([path, fn]) => [path.slice(prefix.length), fn]))
  return { formats: named('payload.formats.'), keywords: named('payload.keywords.') }
}

/** The options of a guard, with the patterns among `payload.formats` in the core's format. */
function takePatterns(config) {
  const formats = config.payload?.formats
  // Objects that were read have no prototype. The core refuses lists and the like.
  if (formats === undefined || formats === null || Object.getPrototypeOf(formats) !== null) return config
  const plain = Object.fromEntries(
    Object.entries(formats).map(([name, format]) => [name, types.isRegExp(format) ? { source: format.source, flags: format.flags } : format])
  )
  return { ...config, payload: { ...config.payload, formats: plain } }
}

/** Reads the options of a route. Schemas of libraries stay as they are. */
function readRoute(name, options, own) {
  return readOptions(name, options, {
    keeps: (path, value) => SCHEMA_PATH.test(path) && standardOf(value) !== undefined,
    isJson: (path) => SCHEMA_PATH.test(path),
    keywords: own.keywords.keys()
  })
}

/**
 * Splits options that were read into the core's options, the second stages `[part, check, vendor]`,
 * and the names of the parts with a schema. A check is a function `(value, report)` that returns
 * the value for the handler.
 */
function takeSchemas(options, own) {
  if (options === undefined) return { options: {}, librarySchemas: [], parts: [] }
  const rest = { ...options }
  const librarySchemas = []
  const parts = []
  for (const part of PARTS) {
    if (!Object.hasOwn(rest, part)) continue
    const schema = rest[part]
    parts.push(part)
    const standard = standardOf(schema)
    if (standard === undefined) {
      const check = functionsOf(schema, own)
      if (check !== null) librarySchemas.push([part, (value, report) => (check(value, report), value)])
      rest[part] = withDraft(schema)
      continue
    }
    const { json, exact } = convert(part, schema, standard)
    rest[part] = json
    if (!exact) librarySchemas.push([part, ofLibrary(part, schema, standard)])
  }
  if (rest.response !== null && typeof rest.response === 'object' && !Array.isArray(rest.response)) {
    rest.response = Object.fromEntries(Object.entries(rest.response).map(([status, schema]) => [status, takeResponse(status, schema)]))
  }
  return { options: rest, librarySchemas, parts }
}

/**
 * TypeBox writes tuples as drafts up to 2019-09 do, and `unevaluatedProperties` as drafts since
 * then.
 */
function withDraft(schema) {
  if (schema?.['~kind'] === undefined || schema.$schema !== undefined) return schema
  // Includes the hidden members, which encode.js reads.
  const value = 'https://json-schema.org/draft/2019-09/schema'
  return Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(schema), $schema: { value, enumerable: true } })
}

// arktype's schemas are functions.
const standardOf = (schema) =>
  schema !== null && (typeof schema === 'object' || typeof schema === 'function') ? (schema['~standard'] === null ? {} : schema['~standard']) : undefined

const invalid = (path, why, cause) => new GuardError(`\`${path}\` ${why}`, { code: 'ERR_INVALID_SCHEMA', path, cause })

/** The first stage of a library's schema: `{ json, exact }`. */
function convert(part, schema, standard) {
  if (typeof standard.validate !== 'function') {
    throw invalid(part, 'has a `~standard` without `validate`; give a schema with Standard Schema, or JSON Schema')
  }
  if (standard.vendor === 'zod' && schema._zod !== undefined) {
    try {
      return fromZod(schema)
    } catch (error) {
      if (error instanceof RangeError) throw invalid(part, 'is nested too deeply', error)
      throw invalid(part, `can't be checked: ${error.message}; accept a string or number and transform it`, error)
    }
  }
  if (standard.vendor === 'valibot' && schema.kind === 'schema') return fromValibot(schema)
  // joi converts its input: it accepts '5' as a number, and a text as an object. So none of its
  // types is certain.
  if (standard.vendor === 'joi' || standard.vendor === 'valibot') return anything()
  try {
    if (typeof standard.jsonSchema?.input === 'function') return { json: fromStandard(standard), exact: false }
  } catch {
    // A type that JSON Schema can't represent, such as a function that narrows it.
  }
  return anything()
}

// The core checks only the bytes, and the library checks the rest.
const anything = () => ({ json: true, exact: false })

function takeResponse(status, schema) {
  const standard = standardOf(schema)
  if (standard === undefined) return withDraft(schema)
  const path = `response.${status}`
  if (typeof standard.jsonSchema?.output !== 'function') {
    throw invalid(path, `is a schema of '${standard.vendor}' that doesn't say what comes out of it; use one with Standard JSON Schema, or JSON Schema`)
  }
  try {
    return ofOutput(standard)
  } catch (error) {
    throw invalid(path, `can't be turned into JSON Schema: ${error.message}; write what is sent as JSON Schema`, error)
  }
}

function ofLibrary(part, schema, standard) {
  const validate = standard.vendor === 'zod' && schema._zod !== undefined ? validateOfZod(schema, standard) : (value) => standard.validate(value)
  return (value, report) => {
    const result = validate(value)
    // An asynchronous refinement. A rejection is a 500, as an exception is.
    if (typeof result?.then === 'function') return Promise.resolve(result).then((settled) => take(settled, value, report))
    return take(result, value, report)
  }

  function take(result, value, report) {
    if (result === null || typeof result !== 'object') {
      throw new GuardError(`the schema of \`${part}\` has returned no result; its \`validate\` must return { value } or { issues }`, {
        code: 'ERR_INVALID_SCHEMA',
        path: part
      })
    }
    if (result.issues === undefined) return result.value
    // `issues` means a failure, even if it is empty.
    if (result.issues.length === 0) report([], 'schema', 'does not match the schema')
    for (const issue of result.issues) {
      const path = (issue.path ?? []).map((step) => (step !== null && typeof step === 'object' ? step.key : step))
      const code = typeof issue.code === 'string' ? issue.code : 'schema'
      // The texts of other libraries repeat the input.
      report(path, code, standard.vendor === 'zod' ? String(issue.message) : 'does not match the schema')
    }
    return value
  }
}

/**
 * Runs the checks after the core's and puts their output into `valid`. Returns null, or the problem
 * document of a 422 in the core's format; a promise of it if a check is asynchronous.
 */
function checkLibrarySchemas(librarySchemas, valid) {
  const errors = []
  let truncated = false
  let bytes = 0
  let wrong = false
  const waits = []
  for (const [part, check] of librarySchemas) {
    const value = check(valid[part], (path, code, detail) => {
      wrong = true
      if (truncated) return
      const error = describe(part, path, code, detail)
      bytes += Buffer.byteLength(JSON.stringify(error))
      if (errors.length === MAX_ERRORS || bytes > MAX_BYTES) truncated = true
      else errors.push(error)
    })
    if (value instanceof Promise) waits.push(value.then((settled) => void (valid[part] = settled)))
    else valid[part] = value
  }
  const problem = () => {
    if (!wrong) return null
    const base = JSON.parse(problemOf(422, 'validation_failed', 'the request does not match the schema'))
    return JSON.stringify({ ...base, errors, truncated })
  }
  return waits.length === 0 ? problem() : Promise.all(waits).then(problem)
}

function describe(part, path, code, detail) {
  // RFC 6901, truncated if a client has made it long.
  const steps = path.slice(0, MAX_STEPS).map((step) => `/${shorten(String(step), 64).replaceAll('~', '~0').replaceAll('/', '~1')}`)
  const pointer = `#${steps.map(encodeURI).join('')}`
  return { in: part, pointer: pointer.length > 1024 ? pointer.slice(0, 1024) : pointer, code, detail: shorten(detail, 200) }
}

/** At most `most` characters, none of them cut in two. */
function shorten(text, most) {
  return (text.length > most ? Array.from(text.slice(0, 2 * most)).slice(0, most).join('') : text).toWellFormed()
}

module.exports = { checkLibrarySchemas, ownFunctions, readRoute, takePatterns, takeSchemas }

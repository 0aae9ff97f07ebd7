'use strict'

// zod 4 (and zod/mini): its definitions, read one by one. zod's own conversion to JSON Schema
// silently drops refinements, transforms, coercion and the flags of patterns, so it is not used.

const { Gate, add, constants, lengthOf, orNull, samePattern } = require('./gate.js')

/**
 * The first stage of a zod schema: `{ json, exact }`. Throws a text if JSON has no such type.
 */
function fromZod(schema) {
  const gate = new Gate()
  const json = read(schema, gate)
  return { json: gate.finish(json), exact: gate.exact }
}

// Types that no JSON value has.
const NO_JSON = new Set(['date', 'bigint', 'symbol', 'map', 'set', 'file', 'function', 'nan'])
// Types that certainly refuse `undefined`, so that their member is required.
const REJECTS_ABSENCE = new Set(['string', 'number', 'boolean', 'null', 'literal', 'enum', 'object', 'array', 'tuple', 'record', 'never'])

// Formats for which zod checks only the pattern.
const PATTERN_ALONE = new Set([
  'email', 'uuid', 'guid', 'nanoid', 'cuid', 'cuid2', 'ulid', 'xid', 'ksuid', 'ipv4', 'cidrv4', 'date', 'time', 'datetime', 'duration', 'regex', 'e164', 'lowercase', 'uppercase'
])

const read = (schema, gate) => gate.once(schema, (schema) => readNew(schema, gate))

function readNew(schema, gate) {
  const { def } = schema._zod
  if (NO_JSON.has(def.type) && def.coerce !== true) throw new Error(`JSON has no type like \`${def.type}\``)
  const json = readType(schema, def, gate)
  // Checks of types with their own reader are done; any other check may do anything.
  if (def.checks?.length > 0 && !['string', 'number', 'array'].includes(def.type)) gate.exact = false
  return json
}

function readType(schema, def, gate) {
  if (def.coerce === true) return gate.any()
  switch (def.type) {
    case 'string':
      return readChecks({ type: 'string' }, def, gate, ofString)
    case 'number':
      return readChecks({ type: 'number' }, def, gate, ofNumber)
    case 'array':
      return readChecks({ type: 'array', items: read(def.element, gate) }, def, gate, ofArray)
    case 'boolean':
    case 'null':
      return { type: def.type }
    case 'any':
    case 'unknown':
      return {}
    case 'never':
      return { not: {} }
    case 'literal':
    case 'enum':
      return constants(schema._zod.values ?? []) ?? gate.any()
    case 'nullable':
      return orNull(read(def.innerType, gate))
    case 'optional':
      return read(def.innerType, gate)
    case 'default':
    case 'prefault':
    case 'nonoptional':
    case 'readonly':
      return gate.loose(read(def.innerType, gate))
    case 'lazy':
      return read(def.getter(), gate)
    case 'object':
      return readObject(def, gate)
    case 'record':
      return readRecord(def, gate)
    case 'tuple':
      return readTuple(def, gate)
    case 'union':
      if (def.inclusive === false) return gate.any()
      return { anyOf: def.options.map((option) => readOption(option, gate)) }
    case 'pipe':
      return gate.loose(read(def.in, gate))
    default:
      // Intersections, transforms, catch, custom types, promises: the library decides.
      return gate.any()
  }
}

/** A union may contain types that JSON never has. */
function readOption(option, gate) {
  return NO_JSON.has(option._zod.def.type) && option._zod.def.coerce !== true ? { not: {} } : read(option, gate)
}

/**
 * Adds the checks of a type to `json`, up to the first one that may change the value or is unknown.
 */
function readChecks(json, def, gate, put) {
  const checks = [...(def.check === undefined ? [] : [{ _zod: { def } }]), ...(def.checks ?? [])]
  const known = { ...json }
  for (const check of checks) {
    if (check._zod.def.check === 'overwrite') {
      // It may invalidate the checks before it, too; only the type is certain.
      return gate.loose(json)
    }
  }
  for (const check of checks) {
    const keywords = put(check._zod.def, known, (value) => {
      const payload = { value, issues: [] }
      check._zod.check(payload)
      return payload.issues.length > 0
    })
    // A custom check is a function, which may do anything with the value.
    if (keywords === undefined) return gate.loose(known)
    if (keywords === null) gate.exact = false
    else add(known, keywords)
  }
  return known
}

// Each function returns the keywords of a check; null if the library has to check it, and undefined
// if it may change the value.

function ofString(check, json, refuses) {
  switch (check.check) {
    case 'min_length':
      return lengthOf('min', check.minimum, refuses)
    case 'max_length':
      return lengthOf('max', check.maximum, refuses)
    case 'length_equals':
      return lengthOf('length', check.length, refuses)
    case 'string_format': {
      if (!PATTERN_ALONE.has(check.format) || !(check.pattern instanceof RegExp)) return null
      const pattern = samePattern(check.pattern)
      if (pattern === null) return null
      return check.format === 'regex' ? { pattern } : { '~format': { name: nameOf(check.format), pattern } }
    }
    default:
      return undefined
  }
}

const nameOf = (format) => ({ datetime: 'date-time', guid: 'uuid' })[format] ?? format

function ofNumber(check, json) {
  switch (check.check) {
    case 'greater_than':
      return typeof check.value === 'number' ? { [check.inclusive ? 'minimum' : 'exclusiveMinimum']: check.value } : null
    case 'less_than':
      return typeof check.value === 'number' ? { [check.inclusive ? 'maximum' : 'exclusiveMaximum']: check.value } : null
    case 'number_format': {
      const bounds = { safeint: [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER], int32: [-(2 ** 31), 2 ** 31 - 1], uint32: [0, 2 ** 32 - 1] }[check.format]
      if (bounds === undefined) return null
      json.type = 'integer'
      return { minimum: bounds[0], maximum: bounds[1] }
    }
    case 'multiple_of':
      // It tolerates a remainder for large numbers: it accepts 2^53 - 1 as a multiple of 3.
      return null
    default:
      return undefined
  }
}

function ofArray(check) {
  switch (check.check) {
    case 'min_length':
      return { minItems: check.minimum }
    case 'max_length':
      return { maxItems: check.maximum }
    case 'length_equals':
      return { minItems: check.length, maxItems: check.length }
    default:
      return undefined
  }
}

function readObject(def, gate) {
  const json = { type: 'object', properties: {}, required: [] }
  for (const [key, member] of Object.entries(def.shape)) {
    Object.defineProperty(json.properties, key, { value: read(member, gate), enumerable: true, configurable: true, writable: true })
    if (rejectsAbsence(member)) json.required.push(key)
    else if (!acceptsAbsence(member)) gate.exact = false
  }
  const { catchall } = def
  if (catchall === undefined) {
    // It drops other members, which only zod can do.
    gate.exact = false
    json.additionalProperties = true
  } else {
    const { type } = catchall._zod.def
    json.additionalProperties = type === 'never' ? false : type === 'unknown' || type === 'any' ? true : read(catchall, gate)
  }
  return json
}

function rejectsAbsence(schema, depth = 0) {
  const { def } = schema._zod
  if (depth > 20 || def.coerce === true) return false
  if (def.type === 'nullable') return rejectsAbsence(def.innerType, depth + 1)
  if (def.type === 'literal') return !schema._zod.values?.has(undefined)
  if (def.type === 'union') return def.options.every((option) => rejectsAbsence(option, depth + 1))
  return REJECTS_ABSENCE.has(def.type)
}

const acceptsAbsence = (schema) => schema._zod.def.type === 'optional' && schema._zod.optin === 'optional'

function readRecord(def, gate) {
  const key = def.keyType._zod.def
  if (def.mode !== undefined || key.type !== 'string' || key.coerce === true || key.checks?.length > 0 || key.check !== undefined) {
    return gate.loose({ type: 'object' })
  }
  return { type: 'object', additionalProperties: read(def.valueType, gate) }
}

function readTuple(def, gate) {
  if (!def.items.every((item) => rejectsAbsence(item))) return gate.loose({ type: 'array' })
  return {
    type: 'array',
    prefixItems: def.items.map((item) => read(item, gate)),
    minItems: def.items.length,
    ...(def.rest === null || def.rest === undefined ? { maxItems: def.items.length } : { items: read(def.rest, gate) })
  }
}

/**
 * The check of a zod schema. `~standard.validate` calls an asynchronous function twice, and drops
 * the
 * first promise: if that rejects, Node ends the process. So a schema that calls functions runs in
 * the
 * mode that keeps promises; it is still synchronous where none of its functions is asynchronous.
 */
function validateOfZod(schema, standard) {
  if (!callsFunctions(schema, new Set())) return (value) => standard.validate(value)
  return (value) => {
    const run = schema._zod.run({ value, issues: [] }, { async: true })
    if (!(run instanceof Promise)) return run.issues.length === 0 ? { value: run.value } : standard.validate(value)
    return run.then((done) => (done.issues.length === 0 ? { value: done.value } : explain(schema, value)))
  }
}

async function explain(schema, value) {
  const { error, data } = await schema.safeParseAsync(value)
  return error === undefined ? { value: data } : { issues: error.issues }
}

/**
 * Whether a function stands anywhere in a schema's definition; a few that are never asynchronous,
 * too.
 */
function callsFunctions(value, seen) {
  if (typeof value === 'function') return true
  if (value === null || typeof value !== 'object' || seen.has(value)) return false
  seen.add(value)
  if (value._zod !== undefined) return callsFunctions(value._zod.def, seen)
  const prototype = Object.getPrototypeOf(value)
  const isData = prototype !== null && prototype !== Object.prototype && !Array.isArray(value)
  return !isData && Object.values(value).some((member) => callsFunctions(member, seen))
}

module.exports = { fromZod, validateOfZod }

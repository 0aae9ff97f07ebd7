'use strict'

// valibot: its schemas, read one by one. No other package is needed for it.

const { Gate, add, constants, lengthOf, orNull, samePattern } = require('./gate.js')

/** The first stage of a valibot schema: `{ json, exact }`. */
function fromValibot(schema) {
  const gate = new Gate()
  const json = read(schema, gate)
  return { json: gate.finish(json), exact: gate.exact }
}

const REJECTS_ABSENCE = new Set(['string', 'number', 'boolean', 'null', 'literal', 'picklist', 'enum', 'object', 'loose_object', 'strict_object', 'object_with_rest', 'array', 'tuple', 'loose_tuple', 'strict_tuple', 'tuple_with_rest', 'record'])

const read = (schema, gate) => gate.once(schema, (schema) => readNew(schema, gate))

function readNew(schema, gate) {
  // With a fallback it accepts anything.
  if (schema.fallback !== undefined || 'fallback' in schema) return gate.any()
  if (schema.async === true) return gate.any()
  const { pipe } = schema
  if (pipe === undefined) return readType(schema, gate)
  const [first, ...actions] = pipe
  let json = first === schema || first.pipe === undefined ? readType(first, gate) : read(first, gate)
  if (json.$ref !== undefined) return gate.loose(json)
  json = { ...json }
  for (const action of actions) {
    if (action.kind === 'metadata' || action.type === 'brand' || action.type === 'flavor' || action.type === 'readonly') continue
    // Checks after a transformation apply to another value.
    if (action.kind !== 'validation') return gate.loose(json)
    const keywords = readAction(action, json)
    if (keywords === null) gate.exact = false
    else add(json, keywords)
  }
  return json
}

function readAction(action, json) {
  const { type, requirement } = action
  const refuses = (value) => action['~run']({ typed: true, value }, {}).issues !== undefined
  const isText = json.type === 'string'
  const isList = json.type === 'array'
  const isNumber = (json.type === 'number' || json.type === 'integer') && typeof requirement === 'number'
  switch (type) {
    case 'min_length':
      return isText ? lengthOf('min', requirement, refuses) : isList ? { minItems: requirement } : null
    case 'max_length':
      return isText ? lengthOf('max', requirement, refuses) : isList ? { maxItems: requirement } : null
    case 'length':
      return isText ? lengthOf('length', requirement, refuses) : isList ? { minItems: requirement, maxItems: requirement } : null
    case 'non_empty':
      return isText ? { minLength: 1 } : isList ? { minItems: 1 } : null
    case 'integer':
      json.type = 'integer'
      return {}
    case 'safe_integer':
      json.type = 'integer'
      return { minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER }
    case 'finite':
      return {}
    case 'min_value':
      return isNumber ? { minimum: requirement } : null
    case 'max_value':
      return isNumber ? { maximum: requirement } : null
    case 'gt_value':
      return isNumber ? { exclusiveMinimum: requirement } : null
    case 'lt_value':
      return isNumber ? { exclusiveMaximum: requirement } : null
    default: {
      // Formats are patterns here, including `regex`.
      const pattern = isText && requirement instanceof RegExp ? samePattern(requirement) : null
      if (pattern === null) return null
      return type === 'regex' ? { pattern } : { '~format': { name: type, pattern } }
    }
  }
}

function readType(schema, gate) {
  switch (schema.type) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'null':
      return { type: schema.type }
    case 'any':
    case 'unknown':
      return {}
    case 'never':
      return { not: {} }
    case 'literal':
      return constants([schema.literal]) ?? gate.any()
    case 'picklist':
    case 'enum':
      return constants(schema.options) ?? gate.any()
    case 'nullable':
    case 'nullish':
      if (schema.default !== undefined) gate.exact = false
      return orNull(read(schema.wrapped, gate))
    case 'optional':
    case 'exact_optional':
      if (schema.default !== undefined) gate.exact = false
      return read(schema.wrapped, gate)
    case 'array':
      return { type: 'array', items: read(schema.item, gate) }
    case 'object':
    case 'loose_object':
    case 'strict_object':
    case 'object_with_rest':
      return readObject(schema, gate)
    case 'strict_tuple':
    case 'tuple_with_rest':
      return readTuple(schema, gate)
    case 'record':
      return gate.loose({ type: ['object', 'array'] })
    case 'union':
    case 'variant':
      return { anyOf: schema.options.map((option) => read(option, gate)) }
    case 'lazy':
      // Its schema is created for each value.
      return gate.any()
    default:
      // Tuples that drop elements, intersections, custom types, dates: the library decides.
      return gate.any()
  }
}

function readObject(schema, gate) {
  const json = { type: 'object', properties: {}, required: [] }
  for (const [key, member] of Object.entries(schema.entries)) {
    Object.defineProperty(json.properties, key, { value: read(member, gate), enumerable: true, configurable: true, writable: true })
    if (rejectsAbsence(member)) json.required.push(key)
    else if (!['optional', 'exact_optional', 'nullish'].includes(member.type)) gate.exact = false
  }
  json.additionalProperties = true
  if (schema.type === 'strict_object') json.additionalProperties = false
  else if (schema.type === 'object_with_rest') json.additionalProperties = read(schema.rest, gate)
  // It drops other members, which only valibot can do.
  else if (schema.type === 'object') gate.exact = false
  // A list is an object to valibot, and passes if no member is missing.
  if (json.required.length === 0) return gate.loose({ ...json, type: ['object', 'array'] })
  return json
}

function rejectsAbsence(schema, depth = 0) {
  if (depth > 20 || 'fallback' in schema) return false
  const first = schema.pipe?.[0] ?? schema
  if ('fallback' in first) return false
  if (first.type === 'nullable') return first.default === undefined && rejectsAbsence(first.wrapped, depth + 1)
  if (first.type === 'literal') return first.literal !== undefined
  if (first.type === 'union' || first.type === 'variant') return first.options.every((option) => rejectsAbsence(option, depth + 1))
  return REJECTS_ABSENCE.has(first.type)
}

function readTuple(schema, gate) {
  if (!schema.items.every((item) => rejectsAbsence(item))) return gate.loose({ type: 'array' })
  return {
    type: 'array',
    prefixItems: schema.items.map((item) => read(item, gate)),
    minItems: schema.items.length,
    ...(schema.type === 'strict_tuple' ? { maxItems: schema.items.length } : { items: read(schema.rest, gate) })
  }
}

module.exports = { fromValibot }

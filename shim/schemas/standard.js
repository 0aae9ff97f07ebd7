'use strict'

// Any library that writes its schemas as JSON Schema itself (Standard JSON Schema), including
// arktype. Only the outlines of its output are trusted: libraries count lengths differently,
// patterns lose their flags, and formats of one name have different rules. The library's own check
// always follows.

const KEPT = new Set([
  '$ref', '$defs', 'definitions', 'type', 'enum', 'const', 'properties', 'required', 'additionalProperties', 'items', 'prefixItems', 'minItems', 'maxItems',
  'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'minLength', 'anyOf', 'allOf', 'default', 'description', 'title'
])
const SCHEMAS = new Set(['$defs', 'definitions', 'properties'])

/**
 * The outlines of a converted schema: nothing in it is stricter than the library, whichever way it
 * counts.
 */
function outlines(node) {
  if (node === null || typeof node !== 'object') return node
  if (Array.isArray(node)) return node.map(outlines)
  const out = {}
  for (const [key, value] of Object.entries(node)) {
    if (key === 'oneOf') (out.allOf ??= []).push({ anyOf: outlines(value) })
    else if (!KEPT.has(key)) continue
    else if (SCHEMAS.has(key)) out[key] = Object.fromEntries(Object.entries(value).map(([name, schema]) => [name, outlines(schema)]))
    else if (key === 'allOf') (out.allOf ??= []).push(...outlines(value))
    // Two units of UTF-16 may be one character.
    else if (key === 'minLength') out.minLength = Math.ceil(value / 2)
    // To arktype a list is an object, too.
    else if (key === 'type' && (value === 'object' || (Array.isArray(value) && value.includes('object')))) out.type = [...new Set([value, 'array'].flat())]
    else if (key === 'const' || key === 'enum' || key === 'default' || key === 'required' || key === 'type') out[key] = value
    else out[key] = outlines(value)
  }
  // Without the patterns, the other members can't be determined.
  if (node.patternProperties !== undefined && out.additionalProperties !== undefined) out.additionalProperties = true
  return out
}

/** The first stage of a schema with Standard JSON Schema, whose own check follows. */
function fromStandard(standard) {
  const json = standard.jsonSchema.input({ target: 'draft-2020-12' })
  const outline = outlines(json)
  if (outline.additionalProperties === undefined) outline.unevaluatedProperties = true
  return { $schema: 'https://json-schema.org/draft/2020-12/schema', ...outline }
}

/**
 * The schema of an answer: the output of the library's check. No check follows it, so everything is
 * kept except keywords that may have another meaning here: formats of other names, and patterns,
 * which have lost their flags.
 */
function ofOutput(standard) {
  const { '~standard': _, ...json } = standard.jsonSchema.output({ target: 'draft-2020-12' })
  return plainFormats(json)
}

const FORMATS = new Set(['date-time', 'date', 'time', 'duration', 'email', 'hostname', 'ipv4', 'ipv6', 'uri', 'uri-reference', 'uuid', 'json-pointer', 'relative-json-pointer', 'regex'])

function plainFormats(node) {
  if (node === null || typeof node !== 'object') return node
  if (Array.isArray(node)) return node.map(plainFormats)
  const out = {}
  for (const [key, value] of Object.entries(node)) {
    if (key === 'format' && typeof value === 'string' && !FORMATS.has(value)) continue
    if (key === 'pattern' && typeof value === 'string') continue
    out[key] = key === 'const' || key === 'enum' || key === 'default' ? value : plainFormats(value)
  }
  return out
}

module.exports = { fromStandard, ofOutput }

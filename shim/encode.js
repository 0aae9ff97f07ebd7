'use strict'

// Options are passed to the core as one JSON document. Values that JSON can't represent become
// marked strings: src/config/options.rs.

const { types } = require('node:util')
const { readData, readOptions } = require('./plain.js')

const FUNCTION = '\0function'
const BYTES = '\0bytes:'
const REGEXP = '\0regexp'
const OTHER = '\0other'
// Members that TypeBox hides in its schemas: functions, which the core must detect.
const HIDDEN = ['~refine', '~codec']

/**
 * Encodes options that ./plain.js has read. Returns the JSON text and the functions in it, by the
 * path of their option.
 */
function encode(tree) {
  const functions = new Map()
  return { json: JSON.stringify(write(tree, '', functions)), functions }
}

/**
 * Reads and encodes the options of a call. Errors have paths such as `options.ttl`, by `prefix`.
 */
function encodeOptions(name, options, prefix) {
  return encode(readOptions(name, options, { prefix })).json
}

/**
 * Encodes data, such as claims. A value that JSON can't represent throws: no mark may become a
 * claim.
 */
function encodeData(name, data) {
  return JSON.stringify(readData(name, data))
}

function write(value, path, functions) {
  if (typeof value === 'function') {
    functions.set(path, value)
    return FUNCTION
  }
  if (value === null || typeof value !== 'object') return value
  if (types.isUint8Array(value)) return BYTES + Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  if (types.isRegExp(value)) return REGEXP
  if (Array.isArray(value)) return value.map((item, i) => write(item, `${path}[${i}]`, functions))
  const out = Object.create(null)
  for (const key of Object.keys(value)) {
    // Schemas that were built here may have such members.
    if (value[key] !== undefined) out[key] = write(value[key], path === '' ? key : `${path}.${key}`, functions)
  }
  for (const key of HIDDEN) if (Object.hasOwn(value, key) && out[key] === undefined && value[key] !== undefined) out[key] = OTHER
  return out
}

module.exports = { encode, encodeData, encodeOptions }

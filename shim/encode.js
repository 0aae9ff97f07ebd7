'use strict'

// Options go to the core as one JSON document. What JSON has no word for is a marked string: src/config/raw.rs.

const { types } = require('node:util')
const { GuardError } = require('./errors.js')

const FUNCTION = '\0function'
const BYTES = '\0bytes:'
const OTHER = '\0other'
const MAX_DEPTH = 200
// What TypeBox hides in its schemas: functions, which the core has to know of.
const HIDDEN = ['~refine', '~codec']

/**
 * Encodes options.
 * Returns the JSON text and the functions that were found in it, by the path of their option.
 */
function encode(options) {
  const functions = new Map()
  const mark = (path, text, value) => {
    if (text === FUNCTION) functions.set(path, value)
    return text
  }
  return { json: JSON.stringify(plain(options ?? null, '', mark, 0)), functions }
}

/** Encodes data, such as claims. What JSON has no word for throws: no mark may become a claim. */
function encodeData(name, data) {
  const mark = (path) => {
    throw new GuardError(`\`${path.slice(0, 80)}\` can't be written as JSON; give text, finite numbers, booleans, null, lists or plain objects`, {
      code: 'ERR_INVALID_ARGUMENT',
      path: path.slice(0, 80)
    })
  }
  return JSON.stringify(plain(data ?? null, name, mark, 0))
}

function plain(value, path, mark, depth) {
  switch (typeof value) {
    case 'function':
      return mark(path, FUNCTION, value)
    case 'number':
      return Number.isFinite(value) ? value : mark(path, OTHER, value)
    case 'bigint':
    case 'symbol':
      return mark(path, OTHER, value)
    case 'object':
      if (value === null) return null
      break
    default:
      return value
  }
  if (depth > MAX_DEPTH) {
    throw new GuardError(`\`${path.slice(0, 80)}\` is nested too deeply or holds itself`, {
      code: 'ERR_INVALID_OPTION',
      path: path.slice(0, 80)
    })
  }
  // Test runners and `node:vm` have classes of their own, so `instanceof` would not know their bytes.
  if (types.isUint8Array(value)) {
    const buffer = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    return mark(path, BYTES + buffer.toString('base64'), value)
  }
  if (types.isDate(value)) return Number.isNaN(value.getTime()) ? mark(path, OTHER, value) : value.toISOString()
  if (types.isRegExp(value) || types.isMap(value) || types.isSet(value)) return mark(path, OTHER, value)
  if (Array.isArray(value)) {
    return Array.from(value, (item, i) =>
      item === undefined ? mark(`${path}[${i}]`, OTHER, item) : plain(item, `${path}[${i}]`, mark, depth + 1)
    )
  }
  const out = Object.create(null)
  for (const key of Object.keys(value)) {
    const member = value[key]
    // An option that is undefined is an option that is not given: `{ secret: process.env.SECRET }`
    // without the variable must fail as a missing secret, not as a bad one.
    if (member === undefined) continue
    out[key] = plain(member, path === '' ? key : `${path}.${key}`, mark, depth + 1)
  }
  for (const key of HIDDEN) {
    if (Object.hasOwn(value, key) && !Object.hasOwn(out, key) && value[key] !== undefined) out[key] = mark(`${path}.${key}`, OTHER, value[key])
  }
  return out
}

module.exports = { encode, encodeData }

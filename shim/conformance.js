'use strict'

// Single parsers of the core, for running external test suites on the shipped addon. index.js does
// not load this file.

const { types } = require('node:util')
const native = require('../native.js')
const { encodeData } = require('./encode.js')
const { GuardError, unwrap } = require('./errors.js')
const { internal } = require('./store.js')

/**
 * The payload of a compact JWS with a valid signature. conformance.d.ts documents all of these
 * functions.
 */
function verifyCompact(token, jwkOrJwkSet) {
  if (typeof token !== 'string') throw wrong('token', 'a string')
  return Buffer.from(ask(native.conformanceVerifyCompact, token, encodeData('jwk', object('jwk', jwkOrJwkSet))), 'base64')
}

function parseJson(bytes) {
  const json = bytesOf(bytes)
  ask(native.conformanceParseJson, json)
  return JSON.parse(json.toString('utf8'))
}

function readBody(bytes, type = 'json') {
  if (type !== 'json' && type !== 'form') throw wrong('type', "'json' or 'form'")
  return ask(native.conformanceReadBody, bytesOf(bytes), type === 'form')
}

function validateJson(schema, bytes, options = {}) {
  return ask(native.conformanceValidateJson, encodeData('schema', schema), bytesOf(bytes), encodeData('options', object('options', options)))
}

function ask(fn, ...args) {
  let answer
  try {
    answer = fn(...args)
  } catch {
    throw internal()
  }
  return unwrap(answer)
}

function bytesOf(value) {
  if (!types.isUint8Array(value)) throw wrong('bytes', 'a Buffer or a Uint8Array')
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

function object(name, value) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw wrong(name, 'an object')
  return value
}

function wrong(name, what) {
  return new GuardError(`\`${name}\` must be ${what}`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

module.exports = { parseJson, readBody, validateJson, verifyCompact }

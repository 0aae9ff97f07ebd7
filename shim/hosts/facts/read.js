'use strict'

// Reads the argument of `guard.check`. The facts become lines for the core, so no text may contain
// a line break.

const { types } = require('node:util')
const { GuardError } = require('../../errors.js')
const { kStreams, kTaker } = require('../../shared.js')
const { RequestView } = require('../../view.js')

const NAMES = new Set(['method', 'target', 'headers', 'address', 'tls', 'body', 'httpVersion', 'truncated', 'route', 'params', 'upgrade', 'signal', 'source'])
const BREAKS = /[\r\n\0]/

/** The facts, each read once: a getter can't return different values to two readers. */
function readFacts(given) {
  if (given === null || typeof given !== 'object') throw refusal('request', 'must be an object such as { method, target, headers }')
  for (const name of Object.keys(given)) {
    if (!NAMES.has(name)) throw refusal(`request.${name.slice(0, 80)}`, `is not a fact; the facts are ${[...NAMES].join(', ')}`, 'ERR_UNKNOWN_OPTION')
  }
  const { method, target, headers, address = '', tls = false, body = null, httpVersion = '1.1', truncated = false, route = '', params, upgrade = false, signal, source } = given
  line('method', method)
  line('target', target)
  line('address', address)
  line('route', route)
  if (method === '' || target === '') throw refusal(`request.${method === '' ? 'method' : 'target'}`, 'must not be empty')
  if (typeof truncated !== 'boolean') throw refusal('request.truncated', 'must be a boolean')
  if (!/^[0-3](?:\.[0-9])?$/.test(httpVersion)) throw refusal('request.httpVersion', "must be a version such as '1.1' or '2'")
  if (typeof upgrade !== 'boolean') throw refusal('request.upgrade', 'must be a boolean')
  if (signal !== undefined && typeof signal?.addEventListener !== 'function') throw refusal('request.signal', 'must be an AbortSignal')
  if (source !== undefined && (source === null || typeof source !== 'object')) throw refusal('request.source', 'must be an object')
  const fields = fieldsOf(headers)
  return {
    view: new RequestView(method, target, fields, body !== null, `${truncated ? 'c' : ''}${httpVersion < '1.1' && httpVersion !== '1' ? 'o' : ''}`),
    address,
    isSecure: tls !== false,
    tls: tlsOf(tls),
    body: bodyOf(body),
    route,
    params: paramsOf(params),
    upgrade,
    signal,
    source,
    taker: given[kTaker] ?? (() => null),
    isStreamed: given[kStreams] === true
  }
}

function line(name, value) {
  if (typeof value !== 'string') throw refusal(`request.${name}`, `must be a string`)
  if (BREAKS.test(value)) throw refusal(`request.${name}`, 'must not hold a line break or U+0000')
}

/** Names and values in turn. */
function fieldsOf(headers) {
  if (typeof headers !== 'object' || typeof headers?.[Symbol.iterator] !== 'function') {
    throw refusal('request.headers', 'must be pairs of name and value; write Object.entries(headers), or give a Headers object')
  }
  const fields = []
  for (const pair of headers) {
    if (!Array.isArray(pair) || pair.length !== 2 || pair.some((text) => typeof text !== 'string')) {
      throw refusal('request.headers', 'must be pairs of two strings, the name and one value; give a pair for each value of a list')
    }
    if (pair.some((text) => BREAKS.test(text))) throw refusal('request.headers', 'must not hold a line break or U+0000')
    fields.push(pair[0], pair[1])
  }
  return fields
}

/** The certificate is read only on demand: reading one is slow. */
function tlsOf(tls) {
  if (typeof tls === 'boolean') return undefined
  if (tls !== null && typeof tls === 'object') return tls
  throw refusal('request.tls', 'must be true, false or { fingerprint256 }, that of the client certificate')
}

function bodyOf(body) {
  if (body === null || types.isUint8Array(body)) return body
  const isStream = typeof body === 'object' && (typeof body.getReader === 'function' || typeof body.on === 'function')
  if (isStream) return body
  throw refusal('request.body', 'must be a Uint8Array, a ReadableStream or a stream of Node; encode a string with Buffer.from(text)')
}

function paramsOf(params) {
  if (params === undefined) return undefined
  const isPlain = params !== null && typeof params === 'object' && Object.values(params).every((value) => value === undefined || typeof value === 'string')
  if (isPlain) return params
  throw refusal('request.params', 'must be an object of strings, the path parameters that the router found')
}

function refusal(path, problem, code = 'ERR_INVALID_ARGUMENT') {
  return new GuardError(`\`${path}\` ${problem}`, { code, path })
}

module.exports = { readFacts }

'use strict'

// Response headers that the core has written. `setHeader` checks every name and value and makes the name lower case, for
// each request anew: as much work as the core has with all of its decision. Where Node keeps headers as we know it, what
// was checked once is put there as it is.

const { ServerResponse, validateHeaderName, validateHeaderValue } = require('node:http')
const { isDeepStrictEqual } = require('node:util')

const { setHeader } = ServerResponse.prototype
const place = findPlace()

/** Where a response of this Node keeps its headers; null where it is not plain that they can be put there. */
function findPlace() {
  try {
    const response = () => new ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, headers: {} })
    const [one, two] = [response(), response()]
    const found = Object.getOwnPropertySymbols(one).find((symbol) => symbol.description === 'kOutHeaders')
    if (found === undefined || one[found] !== null) return null
    for (const [name, value] of [['X-First', 'a'], ['Vary', 'b']]) {
      one.setHeader(name, value)
      putField((two[found] ??= Object.create(null)), name.toLowerCase(), name, value)
    }
    const told = (res) => {
      const all = [res[found], Object.getPrototypeOf(res[found]), res.getHeaders(), res.getHeaderNames(), res.getRawHeaderNames?.()]
      res.setHeader('vary', 'c')
      res.appendHeader('X-First', 'd')
      res.sendDate = false
      res.writeHead(200)
      return [...all, res.getHeaders(), res._header]
    }
    return isDeepStrictEqual(told(one), told(two)) ? found : null
  } catch {
    return null
  }
}

function putField(headers, key, name, value) {
  // Not shared by responses: `appendHeader` writes into it.
  headers[key] = [name, value]
}

/** Names and values in turn, checked, as `putHeaders` takes them: each name also in lower case. */
function prepareHeaders(pairs) {
  const fields = []
  for (let i = 0; i < pairs.length; i += 2) {
    validateHeaderName(pairs[i])
    validateHeaderValue(pairs[i], pairs[i + 1])
    fields.push(pairs[i].toLowerCase(), pairs[i], pairs[i + 1])
  }
  return fields
}

// Streams of HTTP/2 whose heads are held back, by their responses.
const held = new WeakMap()

/** The stream of a response of HTTP/2. */
const streamOf = (res) => held.get(res) ?? res.stream

/** Whether a response is a stream of HTTP/2. */
const isStream = (res) => typeof streamOf(res)?.respond === 'function'

/** Calls `release` when the application reads the stream of a response whose head is held back. */
function holdStream(res, release) {
  const { stream } = res
  if (typeof stream?.respond !== 'function') return
  held.set(res, stream)
  const get = () => {
    release()
    return stream
  }
  Object.defineProperty(res, 'stream', { configurable: true, get })
}

/** Sets headers that `prepareHeaders` has checked. */
function putHeaders(res, fields) {
  // Not where somebody wants to be told, and not on what is no response of this class, such as one of HTTP/2.
  let headers = place === null || res.setHeader !== setHeader ? undefined : res[place]
  if (headers === undefined) {
    for (let i = 0; i < fields.length; i += 3) {
      // HTTP/2 has no such field (RFC 9113 section 8.2.2), and Node warns of it.
      if (fields[i] !== 'connection' || !isStream(res)) res.setHeader(fields[i + 1], fields[i + 2])
    }
    return
  }
  headers ??= res[place] = Object.create(null)
  for (let i = 0; i < fields.length; i += 3) putField(headers, fields[i], fields[i + 1], fields[i + 2])
}

/** Adds names to `Vary`, beside those that other handlers have put there. */
function addVary(res, value) {
  const old = res.getHeader('Vary')
  if (old === undefined) return res.setHeader('Vary', value)
  const have = String(old).toLowerCase().split(/\s*,\s*/)
  if (have.includes('*')) return
  const more = value.split(', ').filter((name) => !have.includes(name.toLowerCase()))
  if (more.length > 0) res.setHeader('Vary', `${old}, ${more.join(', ')}`)
}

module.exports = { addVary, holdStream, isStream, prepareHeaders, putHeaders, streamOf }

'use strict'

const { ServerResponse } = require('node:http')
const { headersKey } = require('./workarounds.js')

const { setHeader } = ServerResponse.prototype

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
  // Not where somebody wants to be told, and not on what is no response of this class, such as one
  // of HTTP/2.
  let headers = headersKey === null || res.setHeader !== setHeader ? undefined : res[headersKey]
  if (headers === undefined) {
    for (let i = 0; i < fields.length; i += 3) {
      // HTTP/2 has no such field (RFC 9113 section 8.2.2), and Node warns of it.
      if (fields[i] !== 'connection' || !isStream(res)) res.setHeader(fields[i + 1], fields[i + 2])
    }
    return
  }
  headers ??= res[headersKey] = Object.create(null)
  // Not shared by responses: `appendHeader` writes into it.
  for (let i = 0; i < fields.length; i += 3) headers[fields[i]] = [fields[i + 1], fields[i + 2]]
}

module.exports = { holdStream, isStream, putHeaders, streamOf }

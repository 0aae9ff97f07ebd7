'use strict'

const { ServerResponse } = require('node:http')
const { headersKey } = require('./workarounds.js')

const { setHeader } = ServerResponse.prototype

// The HTTP/2 streams whose heads are held back, by response.
const held = new WeakMap()

/** The stream of an HTTP/2 response. */
const streamOf = (res) => held.get(res) ?? res.stream

/** Whether a response is an HTTP/2 stream. */
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
  // Not if another library has wrapped `setHeader`, and not on a response of another class, such as
  // an HTTP/2 one.
  let headers = headersKey === null || res.setHeader !== setHeader ? undefined : res[headersKey]
  if (headers === undefined) {
    for (let i = 0; i < fields.length; i += 3) {
      // HTTP/2 has no such field (RFC 9113 section 8.2.2), and Node warns about it.
      if (fields[i] !== 'connection' || !isStream(res)) res.setHeader(fields[i + 1], fields[i + 2])
    }
    return
  }
  headers ??= res[headersKey] = Object.create(null)
  // Not shared between responses: `appendHeader` changes it.
  for (let i = 0; i < fields.length; i += 3) headers[fields[i]] = [fields[i + 1], fields[i + 2]]
}

module.exports = { holdStream, isStream, putHeaders, streamOf }

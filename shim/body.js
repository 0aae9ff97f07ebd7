'use strict'

const { GuardError, warnOnce } = require('./errors.js')

/**
 * Reads the body of a request, at most a little more than `limit` bytes: the core refuses what is over.
 * `done(bytes)` is called once with a Buffer; `gone()` once instead, if the client went away before the end.
 */
function readBody(req, limit, done, gone) {
  // Nothing more is ever heard of a client that went away before.
  if (req.destroyed) return gone()
  let first = null
  let rest = null
  let size = 0
  // A flag is cheaper than taking the listeners off again.
  let settled = false

  req.on('data', (data) => {
    if (settled) return
    // A handler before may have asked for text with `req.setEncoding()`.
    const chunk = typeof data === 'string' ? Buffer.from(data, req.readableEncoding) : data
    size += chunk.length
    if (first === null) first = chunk
    else if (rest === null) rest = [first, chunk]
    else rest.push(chunk)
    if (size > limit) {
      // Stop reading: Node throws the rest away once the answer is sent.
      req.pause()
      onEnd()
    }
  })
  req.on('end', onEnd)
  req.on('error', onGone)
  req.on('close', onGone)
  // A handler before may have paused it, to wait for something.
  if (req.isPaused()) req.resume()

  function onEnd() {
    if (settled) return
    settled = true
    if (rest !== null) done(Buffer.concat(rest, size))
    else done(first ?? Buffer.alloc(0))
  }
  function onGone() {
    if (settled) return
    settled = true
    gone()
  }
}

/** The body as bytes, where another parser has read it already; null if all of it is still to be read. */
function parsedElsewhere(req) {
  if (!req.readableDidRead) return req.readableEnded ? Buffer.alloc(0) : null
  if (req.body === undefined) {
    throw new GuardError('another handler has read the body and left no `req.body` to check; mount the guard first', {
      code: 'ERR_INVALID_ARGUMENT'
    })
  }
  warnOnce('GUARD_BODY_PARSED', 'another parser read the body before the guard: duplicate keys and other faults of the bytes can not be seen; mount the guard first')
  return Buffer.isBuffer(req.body) ? req.body : Buffer.from(JSON.stringify(req.body))
}

module.exports = { parsedElsewhere, readBody }

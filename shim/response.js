'use strict'

const { refused } = require('./shared.js')

/** Ends a response: with a problem document, or without a body. Returns false: the request has not passed. */
function end(res, status, problem) {
  if (res.headersSent) {
    // Another handler has begun an answer. It can't be made a refusal any more, and must not look complete.
    res.destroy()
    return false
  }
  refused.add(res)
  res.statusCode = status
  if (problem !== undefined) res.setHeader('Content-Type', 'application/problem+json')
  res.setHeader('Content-Length', String(Buffer.byteLength(problem ?? '')))
  if (res.req?.complete === false && res.getHeader('Connection') === 'close') linger(res, problem)
  else res.end(problem)
  return false
}

/** How long a client that is still sending may go on once it has its answer, in milliseconds. */
const LINGER_MS = 1000

/**
 * Writes an answer after which the connection is closed, while the client is still sending. A connection that is closed
 * with unread bytes is reset, and a reset takes an answer with it that the client has not read yet: so what comes is
 * thrown away for a while before the end (RFC 9112 section 9.6).
 */
function linger(res, problem) {
  const { req } = res
  const timer = setTimeout(finish, LINGER_MS)
  req.on('end', finish)
  req.on('close', finish)
  res.write(problem ?? '')
  req.resume()

  function finish() {
    clearTimeout(timer)
    if (!res.writableEnded) res.end()
  }
}

/** Takes headers off when the head is written: handlers, and what they call, add theirs late. */
function stripLate(res, names) {
  const writeHead = res.writeHead
  res.writeHead = function (...args) {
    for (const name of names) res.removeHeader(name)
    return writeHead.apply(this, args.map((given) => without(given, names)))
  }
}

/** The headers that `writeHead` was given, an object or a flat list, without these names. */
function without(given, names) {
  const goes = (name) => names.includes(String(name).toLowerCase())
  if (Array.isArray(given)) {
    if (Array.isArray(given[0])) return given.filter(([name]) => !goes(name))
    return given.filter((_, i) => !goes(given[i - (i % 2)]))
  }
  if (given === null || typeof given !== 'object') return given
  return Object.fromEntries(Object.entries(given).filter(([name]) => !goes(name)))
}

module.exports = { end, stripLate }

'use strict'

/** Ends a response: with a problem document, or without a body. Returns false: the request has not passed. */
function end(res, status, problem) {
  if (res.headersSent) {
    // Another handler has begun an answer. It can't be made a refusal any more, and must not look complete.
    res.destroy()
    return false
  }
  res.statusCode = status
  if (problem !== undefined) res.setHeader('Content-Type', 'application/problem+json')
  res.setHeader('Content-Length', String(Buffer.byteLength(problem ?? '')))
  res.end(problem)
  return false
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

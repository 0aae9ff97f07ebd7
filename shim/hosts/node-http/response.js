'use strict'

const { describeError, warnOnce } = require('../../errors.js')
const { isStream, streamOf } = require('./headers.js')
const { stateOf } = require('./state.js')
const { refused } = require('../../shared.js')

// Error codes of HTTP/2 (RFC 9113 section 7). `node:http2` has them, too, and is not loaded for
// them alone.
const NO_ERROR = 0
const INTERNAL_ERROR = 2

// Headers about the content that a handler before meant to send: what its bytes are.
const OF_ANOTHER_CONTENT = ['Content-Digest', 'Content-MD5', 'Digest', 'ETag', 'Repr-Digest']

// What a handler before may have set about the answer that it meant to send. With `Trailer`, Node
// throws where the length is known.
const OF_ANOTHER_BODY = [
  ...OF_ANOTHER_CONTENT, 'Content-Disposition', 'Content-Encoding', 'Content-Location', 'Content-Range',
  'Last-Modified', 'Location', 'Refresh', 'Trailer', 'Transfer-Encoding'
]

/**
 * Whether the client went away or somebody has answered. A response of HTTP/2 has no `destroyed`.
 */
function isOver(req, res) {
  if (res.writableEnded || res.destroyed) return true
  return req.httpVersionMajor >= 2 ? streamOf(res)?.destroyed === true : req.socket?.destroyed === true
}

/**
 * What emits 'close' when a response is over, also where the client went away. A response of HTTP/2
 * to HEAD does not, unless a handler has ended it; its stream does.
 */
function closeOf(req, res) {
  return (req.httpVersionMajor >= 2 && streamOf(res)) || res
}

/**
 * Ends a response: with a problem document, or without a body. Returns false: the request has not
 * passed.
 */
function end(res, status, problem) {
  if (res.headersSent) {
    breakOff(res)
  } else {
    try {
      answer(res, status, problem)
    } catch (error) {
      // What a handler before has made of the response lets no answer be written.
      warnOnce('GUARD_FAULT', `a refusal could not be written, and its connection was closed: ${describeError(error)}`)
      breakOff(res)
    }
  }
  // The request is over, whenever its client takes the answer.
  if (res.req !== undefined) stateOf(res.req).handIn?.()
  return false
}

function answer(res, status, problem) {
  refused.add(res)
  for (const name of OF_ANOTHER_BODY) res.removeHeader(name)
  setStatus(res, status)
  if (problem !== undefined) res.setHeader('Content-Type', 'application/problem+json')
  res.setHeader('Content-Length', String(Buffer.byteLength(problem ?? '')))
  // Some servers throw where an answer to HEAD is given a body.
  const body = res._hasBody === false ? undefined : problem
  if (isStream(res)) endStream(res, body)
  else endMessage(res, body)
}

/**
 * Sets a status with the words that Node has for it: those of a handler before are about another.
 */
function setStatus(res, status) {
  res.statusCode = status
  // HTTP/2 has no such words, and Node warns of them.
  if (!isStream(res)) res.statusMessage = ''
}

/**
 * Another handler has begun an answer. It can't be made a refusal any more, and must not look
 * complete.
 */
function breakOff(res) {
  // A stream that is destroyed ends with NO_ERROR, as a complete one does.
  if (isStream(res)) streamOf(res).close(INTERNAL_ERROR)
  else res.destroy()
}

/** How long a client of HTTP/2 has to take an answer of at most 8 kB, in milliseconds. */
const TAKE_MS = 5000

/**
 * Ends a stream of HTTP/2 and closes it, also where the client is still sending (RFC 9113 section
 * 8.1). Node does so only where nobody has begun to read.
 */
function endStream(res, problem) {
  const stream = streamOf(res)
  const timer = setTimeout(() => stream.destroy(), TAKE_MS).unref()
  stream.once('close', () => clearTimeout(timer))
  if (stream.headRequest) {
    // Its head is all of it, and Node emits no 'finish'.
    res.end()
    closeSoon(stream)
  } else {
    stream.once('finish', () => closeSoon(stream))
    res.end(problem)
  }
}

/** Closes a stream once the end of its answer has left. */
function closeSoon(stream) {
  setImmediate(() => {
    stream.close(NO_ERROR)
    // A closed stream stays as long as it holds bytes that nobody reads.
    setImmediate(() => stream.destroy())
  })
}

function endMessage(res, problem) {
  const { req } = res
  if (req?.upgrade === true) return endUpgrade(res, problem)
  if (req?.complete === false && res.getHeader('Connection') === 'close') linger(res, problem)
  else res.end(problem)
}

/** How long a client that is still sending may go on once it has its answer, in milliseconds. */
const LINGER_MS = 1000

/**
 * Refuses an upgrade. Node reads no further request from such a connection, and does not close it.
 */
function endUpgrade(res, problem) {
  const { socket } = res
  res.setHeader('Connection', 'close')
  if (socket) res.once('finish', () => lingerOn(socket))
  res.end(problem)
}

/** Closes a connection on which nothing more is read, as `linger` does. */
function lingerOn(socket) {
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

/**
 * Writes an answer after which the connection is closed, while the client is still sending. A
 * connection that is closed with unread bytes is reset, and a reset takes an answer with it that
 * the client has not read yet: so what comes is thrown away for a while before the end (RFC 9112
 * section 9.6).
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

/**
 * Takes headers off when the head is written: handlers, and what they call, add theirs late. Which
 * ones, the decision says that is in force by then: `decisions` are those of one guard.
 */
function stripLate(res, decisions) {
  const writeHead = res.writeHead
  res.writeHead = function (...args) {
    const names = decisions.headers.strip
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

module.exports = { OF_ANOTHER_BODY, OF_ANOTHER_CONTENT, closeOf, end, isOver, setStatus, stripLate }

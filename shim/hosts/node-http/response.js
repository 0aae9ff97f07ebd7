'use strict'

const { describeError, warnOnce } = require('../../errors.js')
const { isStream, streamOf } = require('./headers.js')
const { stateOf } = require('./state.js')
const { refused } = require('../../shared.js')

// Error codes of HTTP/2 (RFC 9113 section 7). `node:http2` has them too, but is not loaded just for
// them.
const NO_ERROR = 0
const INTERNAL_ERROR = 2

// Headers that describe the bytes of the content that an earlier handler meant to send.
const OF_ANOTHER_CONTENT = ['Content-Digest', 'Content-MD5', 'Digest', 'ETag', 'Repr-Digest']

// Headers that an earlier handler may have set for the answer that it meant to send. With
// `Trailer`, Node throws if the length is known.
const OF_ANOTHER_BODY = [
  ...OF_ANOTHER_CONTENT, 'Content-Disposition', 'Content-Encoding', 'Content-Location', 'Content-Range',
  'Last-Modified', 'Location', 'Refresh', 'Trailer', 'Transfer-Encoding'
]

/**
 * Whether the client disconnected or the response has ended. An HTTP/2 response has no `destroyed`.
 */
function isOver(req, res) {
  if (res.writableEnded || res.destroyed) return true
  return req.httpVersionMajor >= 2 ? streamOf(res)?.destroyed === true : req.socket?.destroyed === true
}

/**
 * The emitter of 'close' at the end of a response, even if the client disconnected. An HTTP/2
 * response to HEAD does not emit it unless a handler has ended it; its stream does.
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
      // An earlier handler has changed the response so that no answer can be written.
      warnOnce('GUARD_FAULT', `a refusal could not be written, and its connection was closed: ${describeError(error)}`)
      breakOff(res)
    }
  }
  // The request is over, no matter when its client reads the answer.
  if (res.req !== undefined) stateOf(res.req).handIn?.()
  return false
}

/** Makes a response that of a refusal: without the headers of another answer. */
function prepare(res, status) {
  refused.add(res)
  for (const name of OF_ANOTHER_BODY) res.removeHeader(name)
  setStatus(res, status)
}

function answer(res, status, problem) {
  prepare(res, status)
  if (problem !== undefined) res.setHeader('Content-Type', 'application/problem+json')
  res.setHeader('Content-Length', String(Buffer.byteLength(problem ?? '')))
  // Some servers throw if an answer to HEAD is given a body.
  const body = res._hasBody === false ? undefined : problem
  if (isStream(res)) endStream(res, body)
  else endMessage(res, body)
}

/**
 * Sets a status with Node's default reason phrase: an earlier handler's phrase belongs to another
 * status.
 */
function setStatus(res, status) {
  res.statusCode = status
  // HTTP/2 has no reason phrase, and Node warns about it.
  if (!isStream(res)) res.statusMessage = ''
}

/**
 * Aborts an answer that another handler has begun. It can't become a refusal any more, and must not
 * look complete.
 */
function breakOff(res) {
  // A destroyed stream ends with NO_ERROR, like a complete one.
  if (isStream(res)) streamOf(res).close(INTERNAL_ERROR)
  else res.destroy()
}

/** How long an HTTP/2 client may take to read an answer of at most 8 kB, in milliseconds. */
const TAKE_MS = 5000

/**
 * Ends an HTTP/2 stream and closes it, even if the client is still sending (RFC 9113 section 8.1).
 * Node does so only if no handler has begun to read.
 */
function endStream(res, problem) {
  const stream = streamOf(res)
  const timer = setTimeout(() => stream.destroy(), TAKE_MS).unref()
  stream.once('close', () => clearTimeout(timer))
  if (stream.headRequest) {
    // The answer is its head only, and Node emits no 'finish'.
    res.end()
    closeSoon(stream)
  } else {
    stream.once('finish', () => closeSoon(stream))
    res.end(problem)
  }
}

/** Closes a stream once the end of its answer has been sent. */
function closeSoon(stream) {
  setImmediate(() => {
    stream.close(NO_ERROR)
    // A closed stream stays open while it holds unread bytes.
    setImmediate(() => stream.destroy())
  })
}

function endMessage(res, problem) {
  const { req } = res
  if (req?.upgrade === true) return endUpgrade(res, problem)
  if (req?.complete === false && res.getHeader('Connection') === 'close') linger(res, problem)
  else res.end(problem)
}

/** How long a client may keep sending after it has its answer, in milliseconds. */
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

/** Closes a connection that is no longer read, as `linger` does. */
function lingerOn(socket) {
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), LINGER_MS)
  socket.once('close', () => clearTimeout(timer))
}

/**
 * Writes an answer and then closes the connection while the client is still sending. Closing a
 * connection with unread bytes resets it, and a reset discards an answer that the client has not
 * read yet. So incoming data is discarded for a while before the close (RFC 9112 section 9.6).
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
 * Removes headers when the head is written: handlers, and the code that they call, add theirs late.
 * The decision in force at that time names the headers: `decisions` are those of one guard.
 */
function stripLate(res, decisions) {
  const writeHead = res.writeHead
  res.writeHead = function (...args) {
    const names = decisions.headers.strip
    for (const name of names) res.removeHeader(name)
    return writeHead.apply(this, args.map((given) => without(given, names)))
  }
}

/** The headers that were passed to `writeHead`, an object or a flat list, without these names. */
function without(given, names) {
  const goes = (name) => names.includes(String(name).toLowerCase())
  if (Array.isArray(given)) {
    if (Array.isArray(given[0])) return given.filter(([name]) => !goes(name))
    return given.filter((_, i) => !goes(given[i - (i % 2)]))
  }
  if (given === null || typeof given !== 'object') return given
  return Object.fromEntries(Object.entries(given).filter(([name]) => !goes(name)))
}

module.exports = { OF_ANOTHER_BODY, OF_ANOTHER_CONTENT, closeOf, end, isOver, prepare, setStatus, stripLate }

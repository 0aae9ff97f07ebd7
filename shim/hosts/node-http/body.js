'use strict'

const { types } = require('node:util')
const { GuardError, warnOnce } = require('../../errors.js')
const { stateOf } = require('./state.js')

/**
 * Reads the body of a request, at most a little more than `limit` bytes: the core refuses a larger
 * body. Exactly one callback is called, once: `done(bytes)` with a Buffer; `gone()` if the client
 * disconnected before the end; `late()` if the end has not come within `ms` milliseconds.
 */
function readBody(req, limit, ms, done, gone, late) {
  // A client that has already disconnected emits no more events.
  if (req.destroyed) return gone()
  let first = null
  let rest = null
  let size = 0
  // A flag is cheaper than removing the listeners.
  let settled = false
  const timer = setTimeout(() => {
    req.pause()
    settle(late)
  }, ms)

  req.on('data', (data) => {
    if (settled) return
    // An earlier handler may have requested text with `req.setEncoding()`.
    const chunk = typeof data === 'string' ? Buffer.from(data, req.readableEncoding) : data
    size += chunk.length
    if (first === null) first = chunk
    else if (rest === null) rest = [first, chunk]
    else rest.push(chunk)
    if (size > limit) {
      // Stop reading. The rest is discarded once the answer is written: see `end` in response.js.
      req.pause()
      onEnd()
    }
  })
  req.on('end', onEnd)
  req.on('error', onGone)
  req.on('close', onGone)
  // An earlier handler may have paused it, to wait for something.
  if (req.isPaused()) req.resume()

  function onEnd() {
    settle(() => done(rest !== null ? Buffer.concat(rest, size) : (first ?? Buffer.alloc(0))))
  }
  function onGone() {
    settle(gone)
  }
  function settle(outcome) {
    if (settled) return
    settled = true
    clearTimeout(timer)
    outcome()
  }
}

/**
 * Keeps the bytes that a parser of the application has read: the `verify` hook of `express.json`
 * and similar parsers.
 */
function captureRaw(req, res, buffer) {
  if (!types.isUint8Array(buffer)) {
    throw new GuardError('`captureRaw` takes (req, res, buffer), as the option `verify` of express.json calls it', {
      code: 'ERR_INVALID_ARGUMENT'
    })
  }
  // Bytes that are kept already are those that were checked.
  stateOf(req).raw ??= Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength)
}

/**
 * The bytes of a body that another parser has already read; null if the body is unread.
 */
function bodyReadBefore(req, isForm) {
  if (!req.readableDidRead) return req.readableEnded ? Buffer.alloc(0) : null
  if (req.body === undefined) {
    throw new GuardError('another handler has read the body and left no `req.body` to check; mount the guard first', {
      code: 'ERR_INVALID_ARGUMENT'
    })
  }
  warnOnce(
    'GUARD_BODY_PARSED',
    'another parser read the body before the guard: duplicate keys and other faults of the bytes can not be seen; mount the guard first, or give the parser `verify: guard.captureRaw`'
  )
  if (types.isUint8Array(req.body)) return Buffer.from(req.body)
  return Buffer.from(isForm ? formOf(req.body) : JSON.stringify(req.body))
}

/**
 * A parsed form as text again. A nested value gets a name with brackets, which the core refuses.
 */
function formOf(body) {
  if (typeof body === 'string') return body
  const pair = (name, value) => `${encodeURIComponent(name)}=${encodeURIComponent(typeof value === 'string' ? value : '')}`
  const pairs = []
  for (const [name, value] of Object.entries(body ?? {})) {
    if (Array.isArray(value)) for (const item of value) pairs.push(pair(typeof item === 'string' ? `${name}[]` : `${name}[][]`, item))
    else pairs.push(pair(typeof value === 'string' ? name : `${name}[?]`, value))
  }
  return pairs.join('&')
}

/**
 * Fastify reads the body after its bridges to Connect and Express (@fastify/middie,
 * @fastify/express) have run: it would wait forever for a body that is read here.
 */
function refuseBridge(req, res) {
  const isBridged = ['ips', 'hostname', 'log'].every((name) => Object.hasOwn(req, name)) && Object.hasOwn(res, 'log')
  if (!isBridged) return
  throw new GuardError('under Fastify a stack that checks bodies is a plugin: write app.register(keepstone, { guard }) with `keepstone/fastify`, in place of app.use', {
    code: 'ERR_INVALID_ARGUMENT'
  })
}

module.exports = { captureRaw, bodyReadBefore, readBody, refuseBridge }

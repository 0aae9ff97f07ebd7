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
  const state = stateOf(req)
  state.raw ??= Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength)
  state.received ??= state.raw
  state.isForeign = true
}

/** Whether another parser has read the body and left its result as `req.body`. */
function isOfAnotherParser(req, state) {
  return state.isForeign || (!state.isRead && req.readableDidRead === true && req.body !== undefined)
}

/** `req.body`, or what it was before it became pending. */
function bodyOf(req, state) {
  return state.isPending ? state.foreignBody : req.body
}

/**
 * The bytes of a body that another parser has already read; null if the body is unread.
 */
function bodyReadBefore(req, state, isForm) {
  if (!req.readableDidRead) return req.readableEnded ? Buffer.alloc(0) : null
  const body = bodyOf(req, state)
  if (body === undefined) {
    throw new GuardError('another handler has read the body and left no `req.body` to check; mount the guard first', {
      code: 'ERR_INVALID_ARGUMENT'
    })
  }
  state.isForeign = true
  if (types.isUint8Array(body)) return (state.received = Buffer.from(body))
  warnOnce(
    'GUARD_BODY_PARSED',
    'another parser read the body before the guard: duplicate keys and other faults of the bytes can not be seen; mount the guard first, or give the parser `verify: guard.captureRaw`'
  )
  if (isForm) return Buffer.from(formOf(body))
  // A text is the body itself, unless a parser of JSON has read it as one JSON string.
  const isText = typeof body === 'string' && !/json/i.test(req.headers['content-type'] ?? '')
  return Buffer.from(isText ? body : JSON.stringify(body))
}

/** The most objects and lists inside of each other that become names with brackets. */
const MAX_BRACKETS = 16

/** A parsed form as text again. Nested values get names with brackets, as they had. */
function formOf(body) {
  if (typeof body === 'string') return body
  const pairs = []
  const put = (name, value) => pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
  const add = (name, value, depth) => {
    if (typeof value === 'string') put(name, value)
    else if (value === null || typeof value !== 'object' || depth > MAX_BRACKETS) put(`${name}[?]`, '')
    else if (!Array.isArray(value)) for (const [key, item] of Object.entries(value)) add(`${name}[${key}]`, item, depth + 1)
    else if (value.every((item) => typeof item === 'string')) for (const item of value) put(`${name}[]`, item)
    else value.forEach((item, i) => add(`${name}[${i}]`, item, depth + 1))
  }
  for (const [name, value] of Object.entries(body ?? {})) add(name, value, 1)
  return pairs.join('&')
}

/**
 * Leaves the body to a later layer. Until that layer has accepted it, `req.body` is undefined, and
 * other parsers leave the request alone.
 */
function keepPending(req, state) {
  if (state.isPending) return
  state.foreignBody = req.body
  state.isRead = true
  state.isPending = true
  req._body = true
  const put = (value) => Object.defineProperty(req, 'body', { value, writable: true, enumerable: true, configurable: true })
  const get = () => {
    warnOnce('GUARD_BODY_PENDING', 'a handler has read `req.body` before the layer of the guard that declares it, and got undefined; mount it behind that layer')
    return undefined
  }
  Object.defineProperty(req, 'body', { get, set: put, enumerable: true, configurable: true })
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

module.exports = { captureRaw, bodyOf, bodyReadBefore, isOfAnotherParser, keepPending, readBody, refuseBridge }

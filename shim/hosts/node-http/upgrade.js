'use strict'

// `guard.upgrade`: the stack on a handshake that takes the socket from Node's HTTP, as WebSocket
// does. Such a request bypasses middleware: without this call, no layer would check it.

const { ServerResponse } = require('node:http')
const { types } = require('node:util')
const { optional } = require('../../arguments.js')
const { GuardError } = require('../../errors.js')
const { problemOf } = require('../../problem.js')
const { watchTaken } = require('./receipts.js')
const { stateOf } = require('./state.js')
const { end } = require('./response.js')

/**
 * Builds `guard.upgrade` for the guard with the internal object `owner`. `wholeStack()` returns the
 * handlers of its plain stack.
 */
function upgradeOf(owner, wholeStack) {
  return async function upgrade(req, socket, head, ...rest) {
    const given = () => {
      const handlers = rest.length === 0 ? plainStack(wholeStack) : handlersOf(owner, optional('stack', rest))
      checkHandshake(req, socket, head)
      return handlers
    }
    const handlers = handlersFor(socket, given)
    // No one else listens until the application has taken over the socket, and an error without a
    // listener ends the process.
    socket.on('error', () => {})
    if (isTaken(socket)) {
      socket.destroy()
      return false
    }
    beginHandshake(stateOf(req))
    const res = responseTo(req, socket)
    return new Promise((resolve) => {
      let stop = null
      let settled = false
      const settle = (passed) => {
        settled = true
        stop?.(passed)
        // Removing the listeners takes effect in this tick.
        process.nextTick(resolve, passed)
      }
      // Refused, or the client disconnected.
      const ended = () => settle(false)
      res.once('close', ended)
      // The refusal closes the socket; see `end` in ./response.js.
      res.once('finish', () => {
        ended()
        res.detachSocket(socket)
      })
      run(handlers, req, res, () => {
        res.off('close', ended)
        const state = stateOf(req)
        state.upgraded = true
        res.detachSocket(socket)
        watchTaken(socket, state)
        settle(true)
      })
      if (!settled) stop = watch(socket)
    })
  }
}

/** The most bytes that a client may send before its handshake is answered. */
const MAX_EARLY = 65_536

/**
 * Closes the socket of a waiting handshake when its client closes its side. Node no longer reads
 * such a socket, so the close would go unnoticed. Returns a function that ends the watch;
 * `stop(true)` puts the received data back for the application to read.
 */
function watch(socket) {
  let early = []
  let size = 0
  const close = () => socket.destroy()
  const look = () => {
    for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
      early.push(chunk)
      size += chunk.length
    }
    if (size > MAX_EARLY) close()
  }
  socket.on('readable', look)
  socket.once('end', close)
  return (passed) => {
    socket.off('readable', look)
    socket.off('end', close)
    if (passed && size > 0 && !socket.destroyed) socket.unshift(Buffer.concat(early, size))
    early = []
    size = 0
  }
}

/**
 * Clears the decisions of an earlier call about the same handshake: its answer was never sent.
 */
function beginHandshake(state) {
  state.handshake = true
  state.upgraded = false
  state.decisions = null
}

function checkHandshake(req, socket, head) {
  const found = [
    ['req', typeof req?.headers === 'object'],
    ['socket', typeof socket?.on === 'function' && typeof socket.destroy === 'function'],
    ['head', types.isUint8Array(head)]
  ]
  for (const [name, good] of found) {
    if (good) continue
    throw new GuardError(`\`${name}\` must be what the \`upgrade\` event of a server gives; write guard.upgrade(req, socket, head)`, {
      code: 'ERR_INVALID_ARGUMENT',
      path: name
    })
  }
}

/** The handlers in `given`. If it throws, no other code answers on the socket. */
function handlersFor(socket, given) {
  try {
    return given()
  } catch (error) {
    socket?.destroy?.()
    throw error
  }
}

/**
 * The plain stack; if the guard was closed before the first handshake, a handler that refuses
 * likewise.
 */
function plainStack(wholeStack) {
  try {
    return wholeStack()
  } catch (error) {
    if (error.code === 'ERR_CLOSED') return [refuseClosed]
    throw error
  }
}

function refuseClosed(req, res) {
  res.setHeader('Retry-After', '1')
  end(res, 503, problemOf(503, 'guard_closed', 'the guard of this API is closed'))
}

/**
 * Whether no answer can be written to the socket: the client disconnected, our side has ended it,
 * or the answer to an earlier request is still being sent. A WebSocket client sends no handshake
 * before it has that answer (RFC 6455 section 4.1).
 */
function isTaken(socket) {
  return socket.destroyed || !socket.writable || Boolean(socket._httpMessage)
}

/** A response that writes to the socket of a handshake, and ends the connection. */
function responseTo(req, socket) {
  const res = new ServerResponse(req)
  res.shouldKeepAlive = false
  res.assignSocket(socket)
  return res
}

function run(handlers, req, res, passed) {
  const next = (i) => () => (i === handlers.length ? passed() : handlers[i](req, res, next(i + 1)))
  next(0)()
}

function handlersOf(owner, stack) {
  // `Array.from` turns the holes of a sparse list into `undefined`, which is refused.
  const handlers = Array.isArray(stack) ? Array.from(stack) : [stack]
  const own = (handler) => typeof handler === 'function' && handler.guard === owner.pin
  // A single layer would skip the check of who may open the socket.
  if (handlers.some((handler) => handler?.whole === true) && handlers.every(own)) return handlers
  throw new GuardError('`stack` must be what `securityStack` of the same guard has returned', { code: 'ERR_INVALID_ARGUMENT', path: 'stack' })
}

module.exports = { upgradeOf }

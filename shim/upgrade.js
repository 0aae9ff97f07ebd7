'use strict'

// `guard.upgrade`: the stack on a handshake that takes the socket away from Node's HTTP, as
// WebSocket does. Such a request passes no middleware: without this, no layer would see it.

const { ServerResponse } = require('node:http')
const { optional } = require('./arguments.js')
const { GuardError } = require('./errors.js')
const { markUpgraded } = require('./receipts.js')
const { stateOf } = require('./request.js')
const { end } = require('./response.js')

/**
 * Builds `guard.upgrade` for the guard whose inside is `owner`. `wholeStack()` gives the handlers
 * of its plain stack.
 */
function upgradeOf(owner, wholeStack) {
  return async function upgrade(req, socket, head, ...rest) {
    const given = () => (rest.length === 0 ? plainStack(wholeStack) : handlersOf(owner, optional('stack', rest)))
    const handlers = handlersFor(socket, given)
    // Nobody else listens until the application has taken the socket over, and an error without a
    // listener ends the process.
    socket.on('error', () => {})
    if (isTaken(socket)) {
      socket.destroy()
      return false
    }
    stateOf(req).handshake = true
    const res = responseTo(req, socket)
    return new Promise((resolve) => {
      // Refused, or the client went away.
      const ended = () => resolve(false)
      res.once('close', ended)
      // The refusal closes the socket; see `end` in ./response.js.
      res.once('finish', () => {
        ended()
        res.detachSocket(socket)
      })
      run(handlers, req, res, () => {
        res.off('close', ended)
        markUpgraded(res)
        res.detachSocket(socket)
        resolve(true)
      })
    })
  }
}

const CLOSED = '{"type":"about:blank","title":"Service Unavailable","status":503,"code":"guard_closed","detail":"the guard of this API is closed"}'

/** The handlers that `given` names. Where it throws, nobody else will answer on the socket. */
function handlersFor(socket, given) {
  try {
    return given()
  } catch (error) {
    socket.destroy?.()
    throw error
  }
}

/**
 * The plain stack; where the guard was closed before the first handshake, what refuses as it does.
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
  end(res, 503, CLOSED)
}

/**
 * Whether nothing can be answered on the socket: the client went away, our side has ended it, or
 * the answer to a request before is still under way. No client of WebSocket sends a handshake
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
  const handlers = Array.isArray(stack) ? stack : [stack]
  const own = (handler) => typeof handler === 'function' && handler.guard === owner.pin
  // A layer alone would leave out who may open the socket.
  if (handlers.some((handler) => handler?.whole === true) && handlers.every(own)) return handlers
  throw new GuardError('`stack` must be what `securityStack` of the same guard has returned', { code: 'ERR_INVALID_ARGUMENT', path: 'stack' })
}

module.exports = { upgradeOf }

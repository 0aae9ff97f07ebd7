'use strict'

// The host of node:http, node:http2, Express and Connect: carries out the actions of
// ../../conversation.js on a request and response of Node.

const { types } = require('node:util')
const { buildConversation } = require('../../conversation.js')
const { askedMethod } = require('../../preflight.js')
const { bodyOf, bodyReadBefore, isOfAnotherParser, keepPending, readBody, refuseBridge } = require('./body.js')
const { headOf, isRewritten, viewOf } = require('./head.js')
const { putHeaders } = require('./headers.js')
const { takerOf } = require('./later.js')
const { corsHolderOf, isPreflightSeen } = require('./preflights.js')
const { keepReceipt } = require('./receipts.js')
const { endRefused } = require('./refuse.js')
const { closeOf, end, isOver, stripLate } = require('./response.js')
const { checkResponse } = require('./response-schemas.js')
const { kConversation } = require('../../shared.js')
const { sourceOf } = require('../../uploads/source.js')
const { stateOf } = require('./state.js')

/** One request in one handler; ../../conversation.js documents each member. */
class NodeHttpContext {
  decisions = null
  skipsCors = false
  corsOf = null
  startedAt = 0
  ticket = null
  identity = null
  uploads = null
  #next
  #handler
  #owner

  constructor(req, res, next, handler, owner) {
    this.req = req
    this.res = res
    this.state = stateOf(req)
    this.#next = next
    this.#handler = handler
    this.#owner = owner
  }

  subject() {
    return this.req
  }

  view() {
    return viewOf(this.req, this.state)
  }

  head(owner) {
    return headOf(this.req, this.state, owner, this.#handler, this.#next)
  }

  routeParams() {
    return this.req.params
  }

  putHeaders(fields) {
    putHeaders(this.res, fields)
  }

  stripLate(decisions) {
    stripLate(this.res, decisions)
  }

  isOver() {
    return isOver(this.req, this.res)
  }

  isEnded() {
    return this.res.writableEnded
  }

  isClosed() {
    return isOver(this.req, this.res)
  }

  onceClosed(run) {
    const emitter = closeOf(this.req, this.res)
    emitter.once('close', run)
    return () => emitter.off('close', run)
  }

  isUnchanged() {
    return !isRewritten(this.req, this.view())
  }

  corsHolder() {
    return corsHolderOf(this.req, askedMethod(this.view()), this.#handler, this.#owner.pin)
  }

  isPreflightSeen() {
    return isPreflightSeen(this.req, this.#owner.pin)
  }

  taker() {
    return takerOf(this.req, this.#handler, this.#owner.pin)
  }

  isForeignText() {
    const { req, state } = this
    const body = bodyOf(req, state)
    return (typeof body === 'string' || types.isUint8Array(body)) && isOfAnotherParser(req, state)
  }

  bodyReadBefore(isForm) {
    return bodyReadBefore(this.req, this.state, isForm)
  }

  readBody(limit, timeout, done, gone, late) {
    refuseBridge(this.req, this.res)
    readBody(this.req, limit, timeout, done, gone, late)
  }

  openBody() {
    refuseBridge(this.req, this.res)
    this.state.isRead = true
    this.req._body = true // other body parsers leave the request alone
    return sourceOf(this.req)
  }

  onceOver(run) {
    closeOf(this.req, this.res).once('close', run)
  }

  /** The client has disconnected in the middle of its body. */
  gone() {}

  keepBody(bytes) {
    this.state.raw = bytes
    this.state.isRead = true
    this.req._body = true // other body parsers leave the request alone
  }

  keepPending() {
    keepPending(this.req, this.state)
  }

  /**
   * The fingerprint that TLS has proved, never a header's. `authorized` is not usable: when a
   * session is resumed, Node sets it for clients without a certificate, too.
   */
  fingerprint() {
    return this.req.socket.getPeerX509Certificate?.()?.fingerprint256
  }

  keepReceipt(receipt) {
    keepReceipt(this.state, this.req, this.res, receipt)
  }

  checkResponse(stack, mode, report) {
    checkResponse(this.res, stack, mode, report)
  }

  end(status, problem, cause) {
    if (problem === undefined) return end(this.res, status, problem)
    return endRefused(this.#owner, this.req, this.res, this.#next, { status, problem, cause })
  }

  next() {
    this.#next()
  }
}

/**
 * Builds the handler `(req, res, next)` of one stack: the arguments are those of
 * `buildConversation`.
 */
function buildHandler(owner, options, only) {
  const conversation = buildConversation(owner, options, only)
  function protect(req, res, next) {
    conversation.start(new NodeHttpContext(req, res, next, protect, owner))
  }
  // The handler holds the guard, so that it is not collected while a handler of it is in use.
  protect.guard = owner.pin
  protect.whole = only === null
  protect[kConversation] = conversation
  return protect
}

module.exports = { buildHandler }

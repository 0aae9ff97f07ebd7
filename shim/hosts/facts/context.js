'use strict'

const { GuardError } = require('../../errors.js')
const { warnNoAddress, warnRewritten, warnUntrustedProxy } = require('../warnings.js')
const { sourceOf } = require('../../uploads/source.js')
const { readAny } = require('./body.js')

/** One check of a request by one stack; ../../conversation.js documents each member. */
class FactsContext {
  decisions = null
  skipsCors = false
  corsOf = null
  startedAt = 0
  ticket = null
  identity = null
  uploads = null
  #facts
  #shared
  #outcome

  /**
   * `shared` is the state that all checks of the request share (./check.js), `outcome` has the
   * functions `pass()`, `refuse(status, problem)` and `fail(error)`, and `taker()`.
   */
  constructor(facts, shared, outcome) {
    this.req = shared.seen
    this.res = shared.headers
    this.state = shared.state
    this.#facts = facts
    this.#shared = shared
    this.#outcome = outcome
  }

  subject() {
    return this.#facts.source ?? this.#shared.seen
  }

  view() {
    return (this.state.view ??= this.#facts.view)
  }

  head(owner) {
    const { address, isSecure, route } = this.#facts
    const view = this.view()
    if (!owner.trustsProxies && view.get('x-forwarded-for') !== undefined) warnUntrustedProxy()
    if (address === '' && !owner.trustsUnix) warnNoAddress()
    const isOther = view.method !== this.#facts.view.method || view.target !== this.#facts.view.target
    if (isOther) warnRewritten()
    return view.head(address, '', `${isSecure ? 's' : ''}${view.flags}${isOther ? 'r' : ''}${this.state.handshake ? 'u' : ''}`, route, '')
  }

  routeParams() {
    return this.#facts.params
  }

  putHeaders(fields) {
    for (let i = 0; i < fields.length; i += 3) this.res.setHeader(fields[i + 1], fields[i + 2])
  }

  stripLate(decisions) {
    this.#shared.strips = decisions
  }

  isOver() {
    return this.#facts.signal?.aborted === true || this.#outcome.isSettled()
  }

  isEnded() {
    return this.#outcome.isSettled()
  }

  isClosed() {
    const { signal, isStreamed } = this.#facts
    return signal?.aborted === true || (this.#shared.isEnded && !isStreamed)
  }

  onceClosed(run) {
    const { signal } = this.#facts
    signal?.addEventListener('abort', run, { once: true })
    return () => signal?.removeEventListener('abort', run)
  }

  isUnchanged() {
    const { view } = this.#facts
    return this.view().method === view.method && this.view().target === view.target
  }

  corsHolder() {
    return null
  }

  isPreflightSeen() {
    return true
  }

  taker() {
    return this.#outcome.taker()
  }

  isForeignText() {
    return false
  }

  bodyReadBefore() {
    return this.#facts.body === null ? Buffer.alloc(0) : null
  }

  readBody(limit, timeout, done, gone, late) {
    const failed = (error) => {
      gone()
      this.gone(error)
    }
    readAny(this.#facts.body, limit, timeout, done, failed, late)
  }

  openBody() {
    this.state.isRead = true
    return sourceOf(this.#facts.body ?? Buffer.alloc(0))
  }

  onceOver(run) {
    this.#shared.onEnd.push(run)
  }

  gone(cause) {
    this.#outcome.fail(new GuardError('the client went away before the end of its body', { code: 'ERR_ABORTED', cause }))
  }

  keepBody(bytes) {
    this.state.raw = bytes
    this.state.isRead = true
  }

  keepPending() {
    this.state.isRead = true
    this.state.isPending = true
  }

  fingerprint() {
    const fingerprint = this.#facts.tls?.fingerprint256
    if (fingerprint === undefined || typeof fingerprint === 'string') return fingerprint
    throw new GuardError('`request.tls.fingerprint256` must be a string', { code: 'ERR_INVALID_ARGUMENT', path: 'request.tls.fingerprint256' })
  }

  keepReceipt(receipt) {
    this.#shared.receipts.push(receipt)
  }

  checkResponse(stack, mode, report) {
    this.#shared.responses.push({ stack, mode, report })
  }

  end(status, problem) {
    this.#outcome.refuse(status, problem)
    return false
  }

  next() {
    this.#outcome.pass()
  }
}

module.exports = { FactsContext }

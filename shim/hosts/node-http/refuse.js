'use strict'

// The answer to a refused request: the guard's own, or that of the application's `onRefuse`.

const { causeOf, emitDecision } = require('../../decision-event.js')
const { GuardError, describeError, warnOnce } = require('../../errors.js')
const { problemOf } = require('../../problem.js')
const { viewOf } = require('./head.js')
const { end, prepare } = require('./response.js')
const { stateOf } = require('./state.js')

/** Emits the decision and refuses the request. */
function refuse(owner, req, res, status, code, detail) {
  const state = stateOf(req)
  if (owner.log !== undefined) emitDecision(owner, req, viewOf(req, state), { outcome: 'refuse', status, code })
  return endRefused(owner, req, res, state.next, { status, problem: problemOf(status, code, detail) })
}

/**
 * Answers a refused request with `problem`, the text of a problem document, unless `onRefuse`
 * answers it. Returns false: the request has not passed. Without `next`, `onRefuse` can't pass an
 * error on.
 */
function endRefused(owner, req, res, next, { status, problem, cause = '' }) {
  const { onRefuse } = owner
  // A handshake has no response that the application could write. An answer that has begun is
  // broken off.
  if (onRefuse === undefined || res.headersSent || stateOf(req).handshake) return end(res, status, problem)
  const refusal = Object.freeze({ ...JSON.parse(problem), ...causeOf(cause) })
  // The first of `next`, an error that is thrown and a rejection counts.
  let open = true
  const settle = (answer) => {
    if (!open || res.writableEnded) return
    open = false
    answer()
  }
  const own = () => void end(res, status, problem)
  const failed = (error) => {
    warnOnce('GUARD_FAULT', `\`onRefuse\` failed, and the guard has answered itself: ${describeError(error)}`)
    settle(own)
  }
  // Without an error the guard answers: a router would take the call for a pass, and 'route' and
  // 'router' as well.
  const passOn = (error) => settle(next === undefined || error === undefined || error === null ? own : () => next(asError(error, refusal)))
  try {
    prepare(res, status)
    const waiting = onRefuse(refusal, req, res, passOn)
    if (typeof waiting?.then === 'function') Promise.resolve(waiting).then(undefined, failed)
  } catch (error) {
    failed(error)
  }
  return false
}

/** An Error for what `onRefuse` has passed on. */
function asError(error, { code, status, title, detail = title }) {
  return error instanceof Error ? error : new GuardError(detail, { code, status, cause: error })
}

module.exports = { endRefused, refuse }

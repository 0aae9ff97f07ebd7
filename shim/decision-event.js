'use strict'

// The single event of each decision, for the `log` function of a guard.

const { describeError, warnOnce } = require('./errors.js')
const { guardOf } = require('./request.js')

const REASON = '\u001f'

/**
 * Calls `owner.log` with the event of a decision. `view` is the RequestView of the request; `cause`
 * the name of the limit that refused, or a reason behind a separator; `layer` the one that decided;
 * `startedAt` when the stack got the request, by `performance.now()`; `hasShadow` whether the stack
 * has a shadow limit. An error that the function throws or rejects with becomes a warning.
 */
function emitDecision(owner, req, view, { outcome, status, code, cause = '', layer, startedAt, hasShadow = false }) {
  const guard = guardOf(req)
  const event = {
    time: new Date().toISOString(),
    id: guard.id,
    client: guard.client,
    method: view.method,
    path: pathOf(view.target),
    outcome,
    status,
    code,
    layer: layer === '' ? undefined : layer,
    ...causeOf(cause),
    user: req.user?.sub,
    issuer: guard.identity?.issuer,
    reasons: guard.reasons,
    shadow: hasShadow ? guard.limits.filter((limit) => limit.wouldRefuse === true).map((limit) => limit.name) : undefined,
    durationMs: startedAt === undefined ? undefined : Math.round((performance.now() - startedAt) * 1000) / 1000
  }
  const failed = (error) => warnOnce('GUARD_LOG_FAILED', `the log function threw: ${describeError(error)}`)
  try {
    const logged = owner.log(event)
    if (typeof logged?.then === 'function') Promise.resolve(logged).then(undefined, failed)
  } catch (error) {
    failed(error)
  }
}

/** The cause of a decision as the core writes it, as the members `limit` and `reason`. */
function causeOf(cause) {
  const isReason = cause.startsWith(REASON)
  return { limit: cause === '' || isReason ? undefined : cause, reason: isReason ? cause.slice(1) : undefined }
}

/** The cause of a decision with this reason, as the core writes it. */
const causeText = (reason) => (reason === null ? '' : REASON + reason)

/**
 * The path for a log: a target may also contain a password (`http://user:password@host/`) or a
 * fragment.
 */
function pathOf(target) {
  const text = String(target ?? '')
  return text.startsWith('/') ? text.split(/[?#]/, 1)[0] : text === '*' ? '*' : ''
}

module.exports = { causeOf, causeText, emitDecision }

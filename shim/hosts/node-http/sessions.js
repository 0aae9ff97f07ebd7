'use strict'

// guard.sessions.refresh() and guard.sessions.logout(): handlers for node:http, Express and
// Connect. Every failure is answered or passed to `next`; no promise rejects unhandled.

const { GuardError, describeError, warnOnce } = require('../../errors.js')
const { refused } = require('../../shared.js')
const { claimsOption } = require('../../tokens.js')
const { buildHandler } = require('./handler.js')
const { viewOf } = require('./head.js')
const { refuse } = require('./refuse.js')
const { isOver, setStatus } = require('./response.js')
const { stateOf } = require('./state.js')

/** The two handlers of a guard; `owner` is its inside, `sessions` those of ../../sessions.js. */
function sessionHandlers(owner, options, sessions) {
  return {
    refresh: (...rest) => {
      const claims = claimsOption(rest)
      options()
      return postHandler(owner, (req, res) => sessions.tryRenew(req, res, claims))
    },
    logout: (...rest) => {
      if (rest.length > 0) throw new GuardError('`sessions.logout` takes no arguments; mount what it returns', { code: 'ERR_INVALID_ARGUMENT', path: 'sessions.logout' })
      options()
      return postHandler(owner, (req, res) => sessions.tryEnd(req, res))
    }
  }
}

/**
 * A handler that accepts POST only, runs the CSRF layer, and answers 204 once `run` has set the
 * cookies.
 */
function postHandler(owner, run) {
  const csrf = buildHandler(owner, undefined, 'csrf')
  function handler(req, res, next) {
    const state = stateOf(req)
    state.next = next
    // The method as received: the CSRF layer judges that one, and lets a GET pass.
    if (viewOf(req, state).method !== 'POST') {
      setOn(res, 'Allow', 'POST')
      return refuse(owner, req, res, 405, 'method_not_allowed', 'use POST')
    }
    state.mounted = handler
    state.mountedNext = next
    return csrf(req, res, () => void answer(owner, run, req, res, next))
  }
  handler.guard = owner.pin
  return handler
}

async function answer(owner, run, req, res, next) {
  const failure = await run(req, res)
  // The client may have gone away during the wait, or another handler has answered.
  if (isOver(req, res)) return
  if (failure !== null) return fail(owner, failure, req, res, next)
  refused.add(res)
  setStatus(res, 204)
  res.end()
}

function fail(owner, { error, isForeign }, req, res, next) {
  const { code, status, message } = error instanceof GuardError && !isForeign ? error : {}
  if (code === 'ERR_CLOSED') return unavailable(owner, req, res, 'guard_closed', 'the guard of this API is closed')
  if (status === 503) return unavailable(owner, req, res, code, undefined)
  if (status === 401) setOn(res, 'WWW-Authenticate', 'Bearer realm="api"')
  if (status !== undefined) return refuse(owner, req, res, status, code, message)
  // Outside of this promise: an error thrown by `next` must not become its rejection.
  if (typeof next === 'function') return void setImmediate(next, error)
  warnOnce('GUARD_FAULT', `a request was refused with 500, since its session could not go on: ${describeError(error)}`)
  refuse(owner, req, res, 500, 'internal_error', undefined)
}

function unavailable(owner, req, res, code, detail) {
  setOn(res, 'Retry-After', '1')
  refuse(owner, req, res, 503, code, detail)
}

/** Sets a header, unless another handler has begun an answer; `end` aborts that one. */
function setOn(res, name, value) {
  if (!res.headersSent) res.setHeader(name, value)
}

module.exports = { sessionHandlers }

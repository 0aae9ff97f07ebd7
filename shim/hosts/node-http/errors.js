'use strict'

// `guard.errors()` and `guard.refuse()`: the application's own refusals in the form of the guard's.

const { emitDecision } = require('../../decision-event.js')
const { GuardError } = require('../../errors.js')
const { problemOf } = require('../../problem.js')
const { refused } = require('../../shared.js')
const { viewOf } = require('./head.js')
const { end } = require('./response.js')
const { stateOf } = require('./state.js')

const CODE = /^[a-z][a-z0-9_]{0,63}$/
const MAX_DETAIL = 500

/**
 * An error handler of Express: answers a GuardError that has a status, and passes every other error
 * on. It never calls `onRefuse`, which may have passed the error itself.
 */
function errorHandler(owner) {
  return function guardErrors(error, req, res, next) {
    const { code, status, message } = error instanceof GuardError ? error : {}
    if (status === undefined || res.headersSent) return next(error)
    if (status === 401 && !res.hasHeader('WWW-Authenticate')) res.setHeader('WWW-Authenticate', 'Bearer realm="api"')
    if (status === 503 && !res.hasHeader('Retry-After')) res.setHeader('Retry-After', '1')
    // A message with 5xx is about the server, and for its operator.
    answer(owner, req, res, status, code, status < 500 ? message : undefined)
    return undefined
  }
}

/** `guard.refuse(res, status, code, detail)`. */
function refuseAs(owner, res, status, code, detail) {
  check('res', typeof res?.setHeader === 'function' && typeof res.req?.headers === 'object', 'the response that the handler got')
  check('status', Number.isInteger(status) && status >= 400 && status <= 599, 'a whole number from 400 to 599')
  check('code', typeof code === 'string' && CODE.test(code), 'lower-case words with underscores between them, such as \'order_closed\'')
  check('detail', detail === undefined || (typeof detail === 'string' && detail !== '' && detail.length <= MAX_DETAIL), `a sentence for the client of at most ${MAX_DETAIL} characters`)
  check('res', !res.headersSent, 'a response whose head was not sent yet')
  answer(owner, res.req, res, status, code, detail)
}

function answer(owner, req, res, status, code, detail) {
  // What the guard itself has refused, and `onRefuse` has passed on as an error, was logged then.
  const isLogged = refused.has(res)
  if (owner.log !== undefined && !isLogged) emitDecision(owner, req, viewOf(req, stateOf(req)), { outcome: 'refuse', status, code })
  end(res, status, problemOf(status, code, detail))
}

function check(name, isGood, wanted) {
  if (!isGood) throw new GuardError(`\`${name}\` must be ${wanted}`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

module.exports = { errorHandler, refuseAs }

'use strict'

// A clock that tests move, and a guard that forgets. Both take away protection, so neither works in
// production.

const { types } = require('node:util')
const native = require('../../native.js')
const { GuardError, unwrap, warnOnce } = require('../errors.js')
const { kForget } = require('../shared.js')
const { invalid, readSpan } = require('./arguments.js')

/** A clock ahead of the machine's, which the guards of this thread follow. */
function createTestClock() {
  refuseInProduction('createTestClock')
  if (!isTestRun()) {
    warnOnce('GUARD_TEST_CLOCK', 'the guards of this thread follow a test clock: tokens and limits end when it says so; use it in tests alone')
  }
  const advance = (ms) => void unwrap(native.testClockAdvance(ms))
  // A clock that can't be moved is refused here, before the first test relies on it.
  advance(0)
  return Object.freeze({
    now: () => new Date(native.testClockNow()),
    advance: (span) => advance(readSpan('span', span)),
    set(time) {
      const ms = readTime(time) - native.testClockNow()
      if (ms < 0) throw invalid('time', 'lies behind the clock, which only goes on; release it and build another guard')
      advance(ms)
    },
    release: () => native.testClockRelease()
  })
}

function readTime(time) {
  const ms = types.isDate(time) ? Date.prototype.getTime.call(time) : typeof time === 'string' ? Date.parse(time) : NaN
  if (Number.isNaN(ms)) throw invalid('time', "must be a Date, or text such as '2030-01-31T12:00:00Z'")
  return ms
}

/** Forgets what a guard has counted, revoked and begun. */
function resetGuard(guard) {
  refuseInProduction('resetGuard')
  const forget = guard?.[kForget]
  if (typeof forget !== 'function') throw invalid('guard', 'must be what `createGuard` has returned')
  forget()
}

function refuseInProduction(name) {
  if (process.env.NODE_ENV !== 'production') return
  throw new GuardError(`\`${name}\` takes protection away, and NODE_ENV is 'production'; use it in tests alone`, { code: 'ERR_TESTING' })
}

/** Whether a test runner runs this: Jest, vitest or node:test. */
function isTestRun() {
  const { env } = process
  return env.NODE_ENV === 'test' || env.NODE_TEST_CONTEXT !== undefined || env.VITEST !== undefined || env.JEST_WORKER_ID !== undefined
}

/** The time as guards of this thread see it, in milliseconds since 1970. */
const guardTime = () => native.testClockNow()

module.exports = { createTestClock, guardTime, resetGuard }

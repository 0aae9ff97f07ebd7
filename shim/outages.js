'use strict'

// Warns when a shared store becomes unavailable, and when it is back. The core decides the warnings
// and their rate (src/store/outage.rs); none of this runs with a request.

const native = require('../native.js')
const { warn } = require('./errors.js')

/** The interval of the checks of the store, in milliseconds. */
const LOOK_MS = 1000

/**
 * Emits warnings about the store of a guard until it is stopped. It does not keep the process
 * alive.
 */
function followStore(handle) {
  const timer = setInterval(() => {
    const notice = look(handle)
    if (notice === '') return
    const { code, message } = JSON.parse(notice)
    warn(code, message)
  }, LOOK_MS)
  timer.unref()
  return () => clearInterval(timer)
}

function look(handle) {
  try {
    return native.storeNotice(handle)
  } catch {
    return '' // a panic: src/panics.rs has reported it
  }
}

module.exports = { followStore }

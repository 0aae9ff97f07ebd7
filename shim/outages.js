'use strict'

// Warns of a shared store that goes away, and when it is back. The core says what is to be told,
// and how often at most (src/store/outage.rs); nothing of it runs with a request.

const native = require('../native.js')
const { warn } = require('./errors.js')

/** How often it is looked at how the store is, in milliseconds. */
const LOOK_MS = 1000

/** Tells of the store of a guard until it is stopped. It does not hold the process open. */
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
    return '' // a panic: src/panics.rs has told of it
  }
}

module.exports = { followStore }

'use strict'

const native = require('../native.js')
const { describeError, warnOnce } = require('./errors.js')
const { flushSoon } = require('./store.js')

/**
 * Hands a receipt in to the core: the request is over. What it was charged may be given back where
 * it has failed, and its slots among the requests in flight are free.
 */
function finish(receipt, failed) {
  try {
    if (native.finished(receipt, failed)) flushSoon()
  } catch (error) {
    // No cost is given back: the request counts.
    warnOnce('GUARD_FAULT', `what a request was charged could not be given back: ${describeError(error)}`)
  }
}

module.exports = { finish }

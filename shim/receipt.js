'use strict'

const native = require('../native.js')
const { describeError, warnOnce } = require('./errors.js')
const { flushSoon } = require('./store.js')

/**
 * Hands a receipt in to the core: the request is over. If it has failed, its cost may be refunded.
 * Its slots of concurrent requests are released.
 */
function finish(receipt, failed) {
  try {
    if (native.finished(receipt, failed)) flushSoon()
  } catch (error) {
    // No cost is refunded: the request counts.
    warnOnce('GUARD_FAULT', `what a request was charged could not be given back: ${describeError(error)}`)
  }
}

module.exports = { finish }

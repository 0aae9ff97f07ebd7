'use strict'

// What a request was charged and may be given back once its response is known: the core keeps it under a receipt.

const native = require('../native.js')
const { warnOnce } = require('./errors.js')
const { flushSoon } = require('./store.js')

/** Hands a receipt in when the response is over. `state` is what is kept on the request. */
function keepReceipt(state, res, receipt) {
  // Nothing more is ever heard of a response that is over.
  if (res.destroyed) return handIn(res, receipt)
  if (state.receipts !== null) {
    state.receipts.push(receipt)
    return
  }
  state.receipts = [receipt]
  // 'close' follows 'finish', and comes alone where the client went away.
  res.once('close', () => {
    for (const kept of state.receipts) handIn(res, kept)
    state.receipts = null
  })
}

function handIn(res, receipt) {
  // Without an answer the request has failed, whatever the status that it would have had.
  const failed = !res.headersSent || res.statusCode >= 400
  try {
    if (native.finished(receipt, failed)) flushSoon()
  } catch (error) {
    // Nothing is given back: the request counts.
    warnOnce('GUARD_FAULT', `what a request was charged could not be given back: ${String(error?.message)}`)
  }
}

module.exports = { keepReceipt }

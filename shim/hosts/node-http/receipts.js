'use strict'

// The reservations of a request, which may be refunded once its response is known, and its slots of
// concurrent requests. The core keeps them under a receipt.

const { finish } = require('../../receipt.js')
const { streamOf } = require('./headers.js')
const { closeOf } = require('./response.js')
const { kState } = require('../../shared.js')

// On a socket: the callbacks to call when it closes, one for each pending response.
const kDue = Symbol('keepstone.due')

/** Hands a receipt in when the response is over. `state` is the request's kept state. */
function keepReceipt(state, req, res, receipt) {
  // A response that is over emits no more events.
  if (isOver(req, res)) return handIn(res, receipt)
  if (state.receipts !== null) {
    state.receipts.push(handIn, receipt)
    return
  }
  // The receipt of another copy of this shim may belong to another core.
  state.receipts = [handIn, receipt]
  const over = () => {
    const kept = state.receipts
    if (kept === null) return
    state.receipts = null
    state.handIn = null
    forget()
    for (let i = 0; i < kept.length; i += 2) kept[i](res, kept[i + 1])
  }
  // A refusal hands them in at once: its answer may be queued behind others, or its client may not
  // read it.
  state.handIn = over
  // 'close' follows 'finish', and comes alone if the client disconnected.
  closeOf(req, res).once('close', over)
  const forget = whenClosed(req, over)
}

function isOver(req, res) {
  const stream = req.httpVersionMajor >= 2 ? streamOf(res) : undefined
  return res.destroyed === true || stream?.destroyed === true || req.socket?.destroyed === true
}

/**
 * Calls `over` when the connection of a request closes. A response that is queued behind another
 * one on its connection (pipelining) has no socket yet, and never emits 'close' if the connection
 * closes. Returns a function that cancels it.
 */
function whenClosed(req, over) {
  const { socket } = req
  // An HTTP/2 stream emits 'close' by itself.
  if (typeof socket?.once !== 'function' || req.httpVersionMajor >= 2) return () => {}
  let due = socket[kDue]
  if (due === undefined) {
    // One listener, regardless of the number of requests on the connection.
    due = socket[kDue] = new Set()
    socket.once('close', () => {
      for (const over of due) over()
    })
  }
  due.add(over)
  return () => due.delete(over)
}

// Sockets that applications have taken over, with the states of their requests.
const taken = new Map()
/** The interval of the check for closed ones, in milliseconds. */
const ROUND = 60_000
let rounds = null

/**
 * Hands in the receipts of a handshake even if the application removes all listeners from its
 * socket, including ours.
 */
function watchTaken(socket, state) {
  if (state.receipts === null) return
  taken.set(socket, state)
  socket.once('close', () => leave(socket))
  rounds ??= setInterval(() => {
    for (const [socket, { handIn }] of taken) {
      if (!socket.destroyed) continue
      leave(socket)
      handIn?.()
    }
  }, ROUND).unref()
}

function leave(socket) {
  taken.delete(socket)
  if (taken.size > 0 || rounds === null) return
  clearInterval(rounds)
  rounds = null
}

/**
 * Whether a handshake was admitted: the application answers on the socket, and this response is
 * never sent.
 */
function isUpgraded({ req }) {
  return req !== undefined && req[kState]?.upgraded === true
}

function handIn(res, receipt) {
  // Without an answer the request has failed, whatever its status would have been.
  const failed = !isUpgraded(res) && (!res.headersSent || res.statusCode >= 400)
  finish(receipt, failed)
}

module.exports = { keepReceipt, watchTaken }

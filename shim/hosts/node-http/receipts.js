'use strict'

// What a request was charged and may be given back once its response is known, and its places among
// those that are under way: the core keeps it under a receipt.

const { finish } = require('../../receipt.js')
const { streamOf } = require('./headers.js')
const { closeOf } = require('./response.js')
const { kState } = require('../../shared.js')

// On a socket, what is to be called for each response that is still due on it when it closes.
const kDue = Symbol('keepstone.due')

/** Hands a receipt in when the response is over. `state` is what is kept on the request. */
function keepReceipt(state, req, res, receipt) {
  // Nothing more is ever heard of a response that is over.
  if (isOver(req, res)) return handIn(res, receipt)
  if (state.receipts !== null) {
    state.receipts.push(handIn, receipt)
    return
  }
  // The receipt of another copy of this shim may be of another core.
  state.receipts = [handIn, receipt]
  const over = () => {
    const kept = state.receipts
    if (kept === null) return
    state.receipts = null
    state.handIn = null
    forget()
    for (let i = 0; i < kept.length; i += 2) kept[i](res, kept[i + 1])
  }
  // A refusal hands them in at once: its answer may wait behind others, or for a client that does
  // not read.
  state.handIn = over
  // 'close' follows 'finish', and comes alone where the client went away.
  closeOf(req, res).once('close', over)
  const forget = whenClosed(req, over)
}

function isOver(req, res) {
  const stream = req.httpVersionMajor >= 2 ? streamOf(res) : undefined
  return res.destroyed === true || stream?.destroyed === true || req.socket?.destroyed === true
}

/**
 * Calls `over` when the connection of a request closes. A response that waits for another one on
 * its connection (pipelining) has no socket yet, and is never closed where that is. Returns what
 * takes it back.
 */
function whenClosed(req, over) {
  const { socket } = req
  // A stream of HTTP/2 closes by itself.
  if (typeof socket?.once !== 'function' || req.httpVersionMajor >= 2) return () => {}
  let due = socket[kDue]
  if (due === undefined) {
    // One listener, however many requests a connection has.
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
/** How often it is asked which of them are closed, in milliseconds. */
const ROUND = 60_000
let rounds = null

/**
 * Hands in what a handshake was charged also where the application takes all listeners off its
 * socket, ours among them.
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
 * Whether a handshake was let through: the application answers on the socket, and this response is
 * never sent.
 */
function isUpgraded({ req }) {
  return req !== undefined && req[kState]?.upgraded === true
}

function handIn(res, receipt) {
  // Without an answer the request has failed, whatever the status that it would have had.
  const failed = !isUpgraded(res) && (!res.headersSent || res.statusCode >= 400)
  finish(receipt, failed)
}

module.exports = { keepReceipt, watchTaken }

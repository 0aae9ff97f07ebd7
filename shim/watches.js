'use strict'

// `req.guard.signal`: aborts for an open response or socket whose request would be refused by now.
// The core checks all watches of the thread in one call (src/stack/watch.rs); this file calls it,
// and drops the watches of responses that are over.

const native = require('../native.js')
const { GuardError, unwrap } = require('./errors.js')
const { later } = require('./store.js')

/** The interval of the checks in milliseconds. */
const ROUND = 1000

// By the number of the watch: `{ ctx, onEnd }`.
const watches = new Map()
let rounds = null

/**
 * Watches a request of a stack. `passed` is an entry of `state.passed` in ./request.js, `head` its
 * head as text. `onEnd(error, end)` is called once if the request would be refused; `end` is the
 * refusal as the core writes it. Returns a function that ends the watch.
 */
function watch({ conversation, identity, ctx }, head, onEnd) {
  const [source, json] = identity ?? []
  const begun = unwrap(native.watch(conversation.stack, head, source, json, !ctx.state.hasUser))
  if (typeof begun !== 'number') {
    onEnd(errorOf(begun), begun)
    return () => {}
  }
  watches.set(begun, { ctx, onEnd })
  // The connection keeps the process alive while it is open.
  rounds ??= setInterval(look, ROUND).unref()
  return () => drop(begun)
}

function drop(number) {
  if (!watches.delete(number)) return
  native.unwatch(number)
  if (watches.size > 0) return
  clearInterval(rounds)
  rounds = null
}

/** Checks all watches now. */
function look() {
  for (const [number, { ctx }] of watches) if (ctx.isClosed()) drop(number)
  const rows = watches.size === 0 ? '' : native.watchesEnded()
  if (rows === '') return
  for (const [number, found] of JSON.parse(rows)) {
    if (typeof found === 'object') end(number, found)
    // It keeps no process alive: a connection does.
    else later(`{"later":${found}}`, false).then((ended) => ended !== null && end(number, ended), (error) => end(number, faultOf(error)))
  }
}

function end(number, found) {
  const watched = watches.get(number)
  drop(number)
  watched?.onEnd(errorOf(found), found)
}

/** The core failed, so it is unknown whether the request would be admitted. */
const faultOf = ({ message }) => ({ status: 500, code: 'internal_error', detail: message, reason: null, layer: null })

function errorOf({ status, code, detail }) {
  return new GuardError(detail, { code, status })
}

module.exports = { look, watch }

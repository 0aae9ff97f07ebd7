'use strict'

// Waiting for a shared store or an issuer. Commands of one tick are sent together; when answers
// have arrived, the core calls back once for all of them.

const { AsyncResource } = require('node:async_hooks')
const native = require('../native.js')
const { GuardError, unwrap } = require('./errors.js')

// The pending entries, by the slot of their ticket: src/node/slots.rs makes tickets. The operator
// `&` cuts a ticket to 32 bits, whose last 20 are the slot.
const PLACE = 0xfffff
const waiting = []

// Without this, an AsyncLocalStorage of the application (a trace, a transaction) would be lost
// after the guard.
class PendingTicket extends AsyncResource {
  constructor(ticket, goOn, what) {
    super('KEEPSTONE')
    this.ticket = ticket
    this.goOn = goOn
    this.what = what
  }
}

// The separator after each arrived ticket, and the code of the digit zero.
const BLANK = 32
const ZERO = 48
// The number of this copy's listener, which ends with its last guard; -1 for none.
let listener = -1
let flushing = false

/** Prepares this copy of the shim for the answers that a guard waits for. */
function listen(guard) {
  if (!native.join(guard, listener)) listener = native.listen(guard, deliver)
}

/**
 * Calls `goOn(ticket, what)` in the context of the caller once the answer has arrived:
 * `native.resumeWithStore(ticket)` fetches it.
 */
function wait(ticket, goOn, what) {
  waiting[ticket & PLACE] = new PendingTicket(ticket, goOn, what)
  flushSoon()
}

/** Sends pending store commands along with the other commands of this tick. */
function flushSoon() {
  if (flushing) return
  flushing = true
  setImmediate(flush)
}

function flush() {
  flushing = false
  if (native.flush(listener)) askIssuers()
}

let askIssuers = () => {}

/** Registers the function to call when an issuer is to be asked. */
function onFlush(ask) {
  askIssuers = ask
}

function deliver() {
  const tickets = native.arrived(listener)
  let ticket = 0
  for (let i = 0; i < tickets.length; i += 1) {
    const char = tickets.charCodeAt(i)
    if (char !== BLANK) {
      ticket = ticket * 10 + (char - ZERO)
      continue
    }
    goOnWith(ticket)
    ticket = 0
  }
}

function goOnWith(ticket) {
  const place = ticket & PLACE
  const known = waiting[place]
  if (known?.ticket !== ticket) return
  waiting[place] = undefined
  try {
    known.runInAsyncScope(known.goOn, undefined, ticket, known.what)
  } catch (error) {
    // An error of the application, from `next()`: it must not delay the other requests.
    setImmediate(() => {
      throw error
    })
  }
}

// The wake-up keeps nothing alive, but an awaited call must be answered before the process may end,
// and so must a request: on serverless platforms it has no connection that holds the process.
let calls = 0
let holding = null

function refLoop() {
  if (calls++ > 0) return
  if (holding === null) holding = setInterval(() => {}, 0x7fffffff)
  else holding.ref()
}

function unrefLoop() {
  if (--calls === 0) holding.unref()
}

/**
 * The answer of a call of the core: at once, or later from a shared store, an issuer or another
 * thread. The process stays alive until then, unless `holds` is false.
 */
function later(answer, holds = true) {
  const { later: ticket } = JSON.parse(answer)
  if (ticket === undefined) return Promise.resolve(unwrap(answer))
  if (holds) refLoop()
  return new Promise((resolve, reject) => {
    wait(ticket, () => {
      if (holds) unrefLoop()
      try {
        // It may have to wait once more: for an issuer first, then for the store.
        resolve(later(native.resumeWithStore(ticket)))
      } catch (error) {
        reject(error instanceof GuardError ? error : internal())
      }
    })
  })
}

/**
 * A panic in the core is not the caller's fault, but must not look like a refusal either. The error
 * of the core is not its `cause`: its message may quote an argument. Standard error has the
 * location (src/panics.rs).
 */
function internal() {
  return new GuardError('the core failed; this is a fault of keepstone, please report it', { code: 'ERR_INTERNAL' })
}

module.exports = { flushSoon, refLoop, internal, later, unrefLoop, listen, onFlush, wait }

'use strict'

// Waiting for a shared store or an issuer. What is asked within one tick leaves together; when
// answers have come, the core calls once for all of them.

const { AsyncResource } = require('node:async_hooks')
const native = require('../native.js')
const { GuardError, unwrap } = require('./errors.js')

// Who waits, by the slot of its ticket: src/node/slots.rs makes tickets. The operator `&` cuts a
// ticket to 32 bits, of which the last 20 are the slot.
const PLACE = 0xfffff
const waiting = []

// Without this, an AsyncLocalStorage of the application (a trace, a transaction) would be lost
// behind the guard.
class PendingTicket extends AsyncResource {
  constructor(ticket, goOn, what) {
    super('KEEPSTONE')
    this.ticket = ticket
    this.goOn = goOn
    this.what = what
  }
}

// What stands behind each ticket that has arrived, and the digit that others are counted from.
const BLANK = 32
const ZERO = 48
// The number of this copy's listener, which ends with the last guard that has it; -1 for none.
let listener = -1
let flushing = false

/** Makes this copy of the shim ready for the answers that a guard waits for. */
function listen(guard) {
  if (!native.join(guard, listener)) listener = native.listen(guard, deliver)
}

/**
 * Calls `goOn(ticket, what)` in the context of the caller once the answer is there:
 * `native.resumeWithStore(ticket)` fetches it.
 */
function wait(ticket, goOn, what) {
  waiting[ticket & PLACE] = new PendingTicket(ticket, goOn, what)
  flushSoon()
}

/** Lets what was told to a store leave with what else is asked in this tick. */
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

/** Names what is called when an issuer is to be asked for its keys. */
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
    // The application's own, from behind `next()`: it must not keep the others waiting.
    setImmediate(() => {
      throw error
    })
  }
}

// The wake-up holds nothing open, but a call that somebody awaits has to be answered before the
// process may end.
let calls = 0
let holding = null

function refLoop() {
  if (calls++ === 0) holding = setInterval(() => {}, 0x7fffffff)
}

function unrefLoop() {
  if (--calls === 0) clearInterval(holding)
}

/**
 * What a call of the core answers: at once, or later from a shared store, an issuer or another
 * thread. The process does not end before, unless `holds` is false.
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
 * A panic in the core is no fault of the caller, but must not look like a refusal either. The error
 * of the core is not its `cause`: its message may quote an argument. Standard error has the place
 * (src/panics.rs).
 */
function internal() {
  return new GuardError('the core failed; this is a fault of keepstone, please report it', { code: 'ERR_INTERNAL' })
}

module.exports = { flushSoon, refLoop, internal, later, unrefLoop, listen, onFlush, wait }

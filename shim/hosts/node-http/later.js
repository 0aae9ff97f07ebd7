'use strict'

// Whether a later layer of a guard takes the body of a request. It is asked only for a body that a
// stack would refuse, or whose size is not announced. In doubt the answer is no, and the stack
// refuses.

const { kConversation, kTakesBody } = require('../../shared.js')
const { walk } = require('./walk.js')

/** The operations of a document read bodies as the guard does. */
const AS_THE_GUARD = {}

/**
 * How the layer of `guard` reads the body that stands behind `handler` on this request's way,
 * before the end of its route, and declares its body: `{ maxBytes, timeout }`. Null if there is
 * none.
 */
function takerOf(req, handler, guard) {
  return walk(req, req.method, new TakerSearch(req, handler, guard)) || null
}

/** Finds the options of that layer; false if there is none. */
class TakerSearch {
  #req
  #handler
  #guard
  #isBehind = false

  constructor(req, handler, guard) {
    this.#req = req
    this.#handler = handler
    this.#guard = guard
  }

  handler(handle, base) {
    if (handle === this.#handler) {
      // If it stands there twice, it is not known which one runs.
      if (this.#isBehind) return false
      this.#isBehind = true
      return undefined
    }
    return this.#isBehind ? (this.#taking(handle, base) ?? undefined) : undefined
  }

  #taking(handle, base) {
    if (handle.guard !== this.#guard) return null
    return handle[kConversation]?.taking ?? (handle[kTakesBody]?.(this.#req, base) === true ? AS_THE_GUARD : null)
  }

  // The route answers: nothing behind it sees the body.
  answered() {
    return this.unknown()
  }

  routerAnswered() {
    return this.unknown()
  }

  unknown() {
    return this.#isBehind ? false : undefined
  }
}

module.exports = { takerOf }

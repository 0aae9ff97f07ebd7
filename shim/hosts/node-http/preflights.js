'use strict'

// Whose CORS options answer a preflight. Express runs no `app.post` for `OPTIONS`, so a handler for
// the whole application answers for the routes: it follows the way of the request that the browser
// asks about.

const { kConversation } = require('../../shared.js')
const { walk } = require('./walk.js')

/**
 * The conversation of `guard` whose CORS decision holds for the request of `method` that a
 * preflight asks for: the innermost one on the way of that request. Null if it is not known, and if
 * `handler`, which has received the preflight, was given to a route for `OPTIONS` alone.
 */
function corsHolderOf(req, method, handler, guard) {
  const search = new HolderSearch(handler, guard)
  walk(req, method, search)
  // Behind the route of that request, it stands on the way of every `OPTIONS` request.
  return search.isOnWay || walk(req, 'OPTIONS', new MountSearch(handler)) === true ? search.holder : null
}

class HolderSearch {
  holder = null
  isOnWay = false
  #handler
  #guard

  constructor(handler, guard) {
    this.#handler = handler
    this.#guard = guard
  }

  handler(handle) {
    if (handle === this.#handler) this.isOnWay = true
    const conversation = handle.guard === this.#guard ? handle[kConversation] : undefined
    const part = conversation?.cors ?? null
    if (part !== null && (part.decides || this.holder === null)) this.holder = conversation
    return undefined
  }

  // A route that ends in a handler of the guard passes the request on.
  answered(last) {
    return last.guard === this.#guard ? undefined : true
  }

  routerAnswered() {
    return true
  }

  unknown() {
    return true
  }
}

/** Whether a handler is mounted for all methods. */
class MountSearch {
  #handler

  constructor(handler) {
    this.#handler = handler
  }

  handler(handle, _base, method) {
    return handle === this.#handler ? method === undefined : undefined
  }

  answered() {
    return undefined
  }

  routerAnswered() {
    return false
  }

  unknown() {
    return undefined
  }
}

/**
 * Whether a preflight for `req` would reach a handler of `guard` that answers it, or a handler of
 * the application for `OPTIONS`. True if that is not known.
 */
function isPreflightSeen(req, guard) {
  const isSeen = walk(req, 'OPTIONS', new SeenSearch(guard))
  return isSeen === true || isSeen === null
}

class SeenSearch {
  #guard

  constructor(guard) {
    this.#guard = guard
  }

  handler(handle) {
    const isAnswering = handle.guard === this.#guard && (handle.whole === true || (handle[kConversation]?.cors ?? null) !== null)
    return isAnswering || undefined
  }

  answered() {
    return true
  }

  routerAnswered() {
    return false
  }

  unknown() {
    return true
  }
}

module.exports = { corsHolderOf, isPreflightSeen }

'use strict'

// State that all copies of this shim in a thread share. A thread may load several copies: bundlers,
// an emptied `require.cache`, package managers that install a package once for each set of peers.
// Layers of different copies may run on one request, which has one body, one set of used proofs and
// one `req.guard`.
//
/**
 * The format of all shared state. Change it with that state: copies with different formats share
 * nothing, and warn about it.
 */
const FORMAT = 4
const named = (name) => Symbol.for(`keepstone.${FORMAT}.${name}`)

const kShared = named('shared')

function findShared() {
  const known = globalThis[kShared]
  if (known !== undefined) return known
  const shared = Object.freeze({
    // One for all copies: a registry that is collected itself, with its copy, never calls its
    // callbacks.
    collected: new FinalizationRegistry((release) => release()),
    refused: new WeakSet(),
    // A request that waits in a stack of one copy may need the answer of an issuer for another.
    looks: new Set()
  })
  // A realm may be frozen; then each copy has its own state.
  Reflect.defineProperty(globalThis, kShared, { value: shared })
  return shared
}

const { collected, refused, looks } = findShared()

/** Calls `release` once `thing` is no longer referenced; `release` must not hold it. */
function whenCollected(thing, release) {
  collected.register(thing, release)
}

module.exports = {
  FORMAT,
  whenCollected,
  /** Responses that end with an answer of a guard's, which no schema applies to. */
  refused,
  /** The functions that check whether requests to issuers are due. */
  looks,
  /** On a request: its state. */
  kState: named('state'),
  /** On a handler: the conversation of its stack. */
  kConversation: named('conversation'),
  /** On a guard: whether a path may have empty segments somewhere. */
  kEmptySegments: named('emptySegments'),
  /**
   * On a handler without a conversation of its own: whether it takes the body of a request, by the
   * request and the path where the handler is mounted.
   */
  kTakesBody: named('takesBody'),
  /**
   * On a middleware of a host: its guard, and the handlers that it runs; null for the plain stack.
   */
  kHandlers: named('handlers'),
  /** On the server of an application of Fastify: the routes that the plugin has seen. */
  kRoutes: named('routes'),
  /** On the facts of a host: the function `taker` of the context, by the routes of the host. */
  kTaker: named('taker'),
  /**
   * On the facts of a host: whether the answer may go on after `result.end()`, which this host
   * calls when the handlers have made it.
   */
  kStreams: named('streams'),
  /** On a guard: the function that forgets what it has counted, for `keepstone/testing`. */
  kForget: named('forget'),
  /** On `req.guard`, in every version: its format. */
  kFormat: Symbol.for('keepstone.format'),
  /** On `req.guard`: the method that takes an answer of the core. */
  kTake: named('take'),
  /** On `req.guard`: the method that takes note of a stack that has let the request pass. */
  kWatch: named('watch')
}

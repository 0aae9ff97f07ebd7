'use strict'

// What the handlers of this process keep on a request: what applications see as `req.guard`, and
// what only they see.

const { randomBytes } = require('node:crypto')
const { GuardError, warnOnce } = require('./errors.js')
const { CLIENT, LIMITS, REASONS, TOKEN } = require('./answer.js')
const { FORMAT, kFormat, kState, kTake } = require('./shared.js')

const ID_PREFIX = randomBytes(6).toString('hex')
let idCounter = 0

/** What a handler sees as `req.guard`. */
class RequestGuard {
  #id = 0
  // Lines of answers, read when somebody asks.
  #token = ''
  #limits = []
  client = ''
  reasons = []

  /** A process-wide unique id of this request. */
  get id() {
    if (this.#id === 0) this.#id = ++idCounter
    return `${ID_PREFIX}-${this.#id.toString(36)}`
  }

  get token() {
    if (this.#token === '') return null
    const [jti, exp, iat, kid, alg, bound] = JSON.parse(this.#token)
    return { ...(jti === null ? {} : { jti }), exp, iat, ...(kid === null ? {} : { kid }), alg, ...(bound === undefined ? {} : { bound }) }
  }

  get limits() {
    const rows = this.#limits.flatMap((line) => JSON.parse(line))
    return rows.map(([name, limit, remaining, reset, , shadow]) => ({
      name,
      limit,
      remaining,
      reset,
      ...(shadow === undefined ? {} : { wouldRefuse: shadow === 1 })
    }))
  }

  get [kFormat]() {
    return FORMAT
  }

  /** Takes what the core says of this request; a second stack on the same request adds to it. */
  [kTake](answer) {
    if (answer[CLIENT] !== '') this.client = answer[CLIENT]
    if (answer[TOKEN] !== '') this.#token = answer[TOKEN]
    if (answer[REASONS] !== '') this.reasons = this.reasons.concat(JSON.parse(answer[REASONS]))
    if (answer[LIMITS] !== '') this.#limits.push(answer[LIMITS])
  }
}

/** What a handler sees as `req.guard`; another copy of this shim may have made it. */
function guardOf(req) {
  const { guard } = req
  if (guard?.[kTake] !== undefined) return guard
  if (guard?.[kFormat] !== undefined) {
    warnOnce('GUARD_TWO_VERSIONS', 'two versions of keepstone that know nothing of each other run on one request; install one')
  }
  return (req.guard = new RequestGuard())
}

/** Adds what an answer of the core says of a request to its `req.guard`. */
function takeAnswer(req, answer) {
  guardOf(req)[kTake](answer)
}

/** What the stacks and layers of one guard have decided about a response so far. */
class GuardDecisions {
  /** Whether the whole stack of the guard has run. */
  mounted = false
  /**
   * The response headers that are on, as `headersPart` prepared them; null until a stack or layer
   * has decided.
   */
  headers = null
  /** The fields that the last CORS decision put on; null until there is one. */
  cors = null
  /** Whether headers are taken off when the head is written. */
  stripsLate = false

  constructor(owner, next) {
    this.owner = owner
    this.next = next
  }
}

/** What this thread's guards have done for one request so far. */
class RequestState {
  /**
   * The one view that every layer has of the request, once a layer has asked: ./head.js makes it.
   */
  view = null
  /** Whether it is a handshake that `guard.upgrade` asks about. */
  handshake = false
  /** Whether every call of `guard.upgrade` so far has let it through. */
  upgraded = false
  /** A linked list: most requests meet one guard. */
  decisions = null
  /** The nonce of this response, once a policy has asked for one. */
  nonce = null
  /** Guards and the limits that they have counted, in turn. */
  counted = null
  /** The body as bytes, once it is read. */
  raw = null
  /** Whether `req.body` is ours. */
  hasBody = false
  /**
   * The path parameters that ./openapi.js has found, for the handler that it calls; else those of
   * the router count.
   */
  params = undefined
  /** The handler of ./openapi.js that stands in a route for those that it calls. */
  mounted = undefined
  /** What that one was called with. */
  mountedNext = undefined
  /** What each validating handler has found. */
  valid = null
  /**
   * What the core has noted of DPoP proofs that it took: a proof is used once, and every layer of
   * this request has it.
   */
  proofs = undefined
  /** Functions and receipts in turn: what is called with each receipt when the response is over. */
  receipts = null
  /** Hands them in; see ./receipts.js. */
  handIn = null
  /**
   * The conversations that know who asks, and have let this request pass: where it waits later on,
   * their stacks are asked again.
   */
  passed = null
  /** Whether it has waited since they were asked. */
  waited = false

  /** What `owner`, the inside of a guard, has decided about the response. */
  decisionsOf(owner) {
    for (let known = this.decisions; known !== null; known = known.next) {
      if (known.owner === owner) return known
    }
    return (this.decisions = new GuardDecisions(owner, this.decisions))
  }

  /**
   * The numbers of the limits of `owner` that this request was counted by already; undefined where
   * there are none.
   */
  countedBy(owner) {
    if (this.counted === null) return undefined
    const ids = []
    for (let i = 0; i < this.counted.length; i += 2) {
      if (this.counted[i] === owner) for (const limit of JSON.parse(this.counted[i + 1])) ids.push(limit[4])
    }
    return ids.length === 0 ? undefined : ids
  }

  /** This conversation has let the request pass. */
  pass(conversation) {
    if (this.passed === null) this.passed = [conversation]
    else this.passed.push(conversation)
  }

  /** Takes a token's line of an answer. */
  noteProof(line) {
    const mark = JSON.parse(line)[6] ?? null
    if (mark !== null) this.proofs = [...(this.proofs ?? []), mark]
  }

  count(owner, limits) {
    if (this.counted === null) this.counted = [owner, limits]
    else this.counted.push(owner, limits)
  }
}

/**
 * What the conversation of `guard.validate(...)` found valid on this request: `{ body, query,
 * params, headers }`.
 */
function validOf(req, conversation) {
  const valid = req[kState]?.valid?.get(conversation)
  if (valid === undefined) {
    throw new GuardError('this request was not validated by this handler; mount it on the route', {
      code: 'ERR_INVALID_ARGUMENT'
    })
  }
  return valid
}

module.exports = { RequestState, guardOf, takeAnswer, validOf }

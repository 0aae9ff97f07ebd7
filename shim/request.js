'use strict'

// The state that handlers of this process keep on a request: the public part as `req.guard`, and
// the private part.

const { randomBytes } = require('node:crypto')
const { GuardError, warnOnce } = require('./errors.js')
const { CLIENT, LIMITS, REASONS, TOKEN } = require('./answer.js')
const { FORMAT, kFormat, kState, kTake, kWatch } = require('./shared.js')

const ID_PREFIX = randomBytes(6).toString('hex')
let idCounter = 0

/** The type of `req.guard`. */
class RequestGuard {
  #id = 0
  // Lines of answers, parsed on first use.
  #token = ''
  #limits = []
  // The watch behind `signal`, once it is read, and the state of the request.
  #watch = null
  #state = null
  client = ''
  reasons = []
  /** The bytes of the body as they arrived, where `payload.rawBody` asks for them. */
  rawBody = undefined

  /** A process-wide unique id of this request. */
  get id() {
    if (this.#id === 0) this.#id = ++idCounter
    return `${ID_PREFIX}-${this.#id.toString(36)}`
  }

  get token() {
    if (this.#token === '') return null
    const [jti, exp, iat, kid, alg, , bound] = JSON.parse(this.#token)
    // An identity that is no token.
    if (alg === null) return null
    // An introspected token has no algorithm.
    return { ...(jti === null ? {} : { jti }), exp, ...(iat === 0 ? {} : { iat }), ...(kid === null ? {} : { kid }), ...(alg === '' ? {} : { alg }), ...(bound === undefined ? {} : { bound }) }
  }

  get identity() {
    if (this.#token === '') return null
    const [id, exp, iat, , , issuer] = JSON.parse(this.#token)
    return { issuer, ...(id === null ? {} : { id }), ...(exp === 0 ? {} : { exp }), ...(iat === 0 ? {} : { iat }) }
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

  /**
   * Aborts when the request would be refused by now: its token has expired or was revoked, or its
   * client is blocked.
   */
  get signal() {
    if (this.#watch === null) {
      this.#watch = new RequestWatch()
      for (const passed of this.#state?.passed ?? []) this.#watch.add(passed)
    }
    return this.#watch.signal
  }

  get [kFormat]() {
    return FORMAT
  }

  /** Takes note of a stack that has let this request pass. */
  [kWatch](state, passed) {
    this.#state = state
    this.#watch?.add(passed)
  }

  /** Takes the core's answer about this request; a second stack on the same request adds to it. */
  [kTake](answer) {
    if (answer[CLIENT] !== '') this.client = answer[CLIENT]
    if (answer[TOKEN] !== '') this.#token = answer[TOKEN]
    if (answer[REASONS] !== '') this.reasons = this.reasons.concat(JSON.parse(answer[REASONS]))
    if (answer[LIMITS] !== '') this.#limits.push(answer[LIMITS])
  }
}

/** Whether the stacks that have let a request pass would still do so. */
class RequestWatch {
  #controller = new AbortController()
  #stops = []

  get signal() {
    return this.#controller.signal
  }

  /** Watches one more stack: an entry of `passed` in the state of the request. */
  add(passed) {
    if (this.signal.aborted || passed.ctx.isClosed()) return
    this.#stops.push(passed.conversation.watch(passed, (error) => this.#end(error)))
  }

  #end(error) {
    for (const stop of this.#stops.splice(0)) stop()
    this.#controller.abort(error)
  }
}

/** The `req.guard` of a request; another copy of this shim may have created it. */
function guardOf(req) {
  const { guard } = req
  if (guard?.[kTake] !== undefined) return guard
  if (guard?.[kFormat] !== undefined) {
    warnOnce('GUARD_TWO_VERSIONS', 'two versions of keepstone that know nothing of each other run on one request; install one')
  }
  return (req.guard = new RequestGuard())
}

/** Adds an answer of the core about a request to its `req.guard`. */
function takeAnswer(req, answer) {
  guardOf(req)[kTake](answer)
}

/** The decisions of the stacks and layers of one guard about a response so far. */
class GuardDecisions {
  /** Whether the whole stack of the guard has run. */
  mounted = false
  /**
   * The response headers that are set, as `headersPart` prepared them; null until a stack or layer
   * has decided.
   */
  headers = null
  /** The fields that the last CORS decision has set; null without one. */
  cors = null
  /** Whether headers are removed when the head is written. */
  stripsLate = false

  constructor(owner, next) {
    this.owner = owner
    this.next = next
  }
}

/** The work of this thread's guards for one request so far. */
class RequestState {
  /**
   * The one view of the request for every layer, once a layer has read it: ./head.js makes it.
   */
  view = null
  /** Whether it is a handshake in `guard.upgrade`. */
  handshake = false
  /** Whether every call of `guard.upgrade` so far has admitted it. */
  upgraded = false
  /** A linked list: most requests pass only one guard. */
  decisions = null
  /** The nonce of this response, once a policy requires one. */
  nonce = null
  /** Guards and the limits that they have counted, in turn. */
  counted = null
  /** The body as bytes, once it is read: decompressed. */
  raw = null
  /** The files of a multipart body, until the request is refused; null without one. */
  uploads = null
  /** The bytes as they arrived; null if another parser has read them and kept none. */
  received = null
  /** Whether a guard has read the body, or left it to a later layer. */
  isRead = false
  /** Whether another parser has read the body. */
  isForeign = false
  /** What that parser left as `req.body`, while the body is pending. */
  foreignBody = undefined
  /** The guard that has judged the body last, by its internal object. */
  judgedBy = null
  /** Whether the body waits for a later layer: it is not judged yet, and no handler has it. */
  isPending = false
  /** Whether `req.body` was set by keepstone. */
  hasBody = false
  /**
   * The path parameters that ./openapi.js has extracted, for the handler that it calls; otherwise
   * those of the router apply.
   */
  params = undefined
  /** The handler of ./openapi.js that is mounted on a route in place of those that it calls. */
  mounted = undefined
  /** The `next` of that handler. */
  mountedNext = undefined
  /** The `next` of the latest handler of a document or of sessions, for refusals of their own. */
  next = undefined
  /** The valid values of each validating handler. */
  valid = null
  /**
   * The core's marks of accepted DPoP proofs: a proof is used once, and applies to every layer of
   * this request.
   */
  proofs = undefined
  /**
   * Functions and receipts in turn: each function is called with its receipt when the response is
   * over.
   */
  receipts = null
  /** Hands them in; see ./receipts.js. */
  handIn = null
  /**
   * The conversations that identify the caller and have let this request pass, each with the
   * identity that it got from the application, `[source, json]` or null, and its context. If the
   * request waits later on, their stacks are checked again; `req.guard.signal` watches them.
   */
  passed = null
  /**
   * Guards, the source of an identity, and what its function has returned, in turn: see
   * ./identity.js.
   */
  identities = null
  /** The digest of its API key. */
  keyDigest = null
  /** Whether it has waited since they were checked. */
  waited = false
  /** Whether a layer of keepstone has found a user. */
  hasUser = false

  /** The decisions of the guard `owner` about the response. */
  decisionsOf(owner) {
    for (let known = this.decisions; known !== null; known = known.next) {
      if (known.owner === owner) return known
    }
    return (this.decisions = new GuardDecisions(owner, this.decisions))
  }

  /**
   * The numbers of the limits of `owner` that have already counted this request; undefined if there
   * are none.
   */
  countedBy(owner) {
    if (this.counted === null) return undefined
    const ids = []
    for (let i = 0; i < this.counted.length; i += 2) {
      if (this.counted[i] === owner) for (const limit of JSON.parse(this.counted[i + 1])) ids.push(limit[4])
    }
    return ids.length === 0 ? undefined : ids
  }

  /** Records that this conversation has let the request pass. */
  pass(conversation, ctx) {
    const passed = { conversation, identity: ctx.identity, ctx }
    if (this.passed === null) this.passed = [passed]
    else this.passed.push(passed)
    guardOf(ctx.req)[kWatch](this, passed)
  }

  /** What the guard's function for this source has returned; undefined if it was not called. */
  identityOf(owner, source) {
    const kept = this.identities ?? []
    for (let i = 0; i < kept.length; i += 3) if (kept[i] === owner && kept[i + 1] === source) return kept[i + 2]
    return undefined
  }

  keepIdentity(owner, source, found) {
    this.identities ??= []
    this.identities.push(owner, source, found)
  }

  /** Records the proof in the token line of an answer. */
  noteProof(line) {
    const mark = JSON.parse(line)[7] ?? null
    if (mark !== null) this.proofs = [...(this.proofs ?? []), mark]
  }

  count(owner, limits) {
    if (this.counted === null) this.counted = [owner, limits]
    else this.counted.push(owner, limits)
  }
}

/**
 * The values that the conversation of `guard.validate(...)` found valid on this request:
 * `{ body, query, params, headers }`.
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

'use strict'

// `guard.check`: takes a request as facts and returns a result as data, for frameworks that are not
// based on node:http.

const { optional } = require('../../arguments.js')
const { GuardError } = require('../../errors.js')
const { problemOf } = require('../../problem.js')
const { finish } = require('../../receipt.js')
const { RequestState } = require('../../request.js')
const { checkAnswer } = require('../../response-check.js')
const { kConversation, whenCollected } = require('../../shared.js')
const { FactsContext } = require('./context.js')
const { readFacts } = require('./read.js')
const { ResponseHeaders } = require('./response-headers.js')

const CLOSED = problemOf(503, 'guard_closed', 'the guard of this API is closed')

/**
 * Builds `guard.check` for the guard with the internal object `owner`. `wholeStack()` returns the
 * handlers of its plain stack.
 */
function checkOf(owner, wholeStack) {
  return async function check(request, ...rest) {
    const facts = readFacts(request)
    const handlers = rest.length === 0 ? plainStack(wholeStack) : handlersOf(owner.pin, optional('stack', rest), 'stack')
    if (handlers === null) return refusedClosed()
    const shared = sharedOf(facts)
    if (facts.upgrade) shared.state.handshake = true
    return await run(handlers, facts, shared)
  }
}

/** Runs the stacks of `handlers` in turn and returns the result. */
function run(handlers, facts, shared) {
  const { signal } = facts
  return new Promise((resolve, reject) => {
    let settled = false
    const settle = (conclude, result) => {
      if (settled) return
      settled = true
      signal?.removeEventListener('abort', aborted)
      conclude(result)
    }
    const aborted = () => {
      shared.end(undefined)
      settle(reject, signal.reason)
    }
    const start = (i) => {
      if (i === handlers.length) return settle(resolve, passed(shared))
      handlers[i][kConversation].start(new FactsContext(facts, shared, {
        isSettled: () => settled,
        taker: () => takingOf(handlers.slice(i + 1)) ?? facts.taker(),
        pass: () => start(i + 1),
        refuse: (status, problem) => {
          shared.end(status)
          settle(resolve, refused(status, problem, shared.headers))
        },
        fail: (error) => {
          shared.end(undefined)
          settle(reject, error)
        }
      }))
    }
    if (signal?.aborted === true) return aborted()
    signal?.addEventListener('abort', aborted, { once: true })
    start(0)
  })
}

/** State that all checks of one request share. */
class SharedState {
  state = new RequestState()
  /** The object that `user`, `guard` and `body` are set on. */
  seen = {}
  /** The response headers so far: a later check may remove headers that an earlier one has set. */
  headers = new ResponseHeaders()
  /** The decisions whose headers are removed when the response is sent. */
  strips = null
  receipts
  /** The stacks that check the response, and their modes. */
  responses = []
  /** Whether the response has been checked. */
  isJudged = false
  /** What happens when the request is over. */
  onEnd = []
  /** Whether `end` was called. */
  isEnded = false

  constructor(receipts) {
    this.receipts = receipts
  }

  /** Ends the request. `status` is that of its answer; undefined without one. */
  end(status) {
    this.isEnded = true
    finishAll(this.receipts, !(status < 400))
    for (const run of this.onEnd.splice(0)) run()
  }
}

// The shared state of the checks of one request, by their `source`.
const known = new WeakMap()

function sharedOf({ source }) {
  let shared = source === undefined ? undefined : known.get(source)
  if (shared === undefined) {
    const receipts = []
    shared = new SharedState(receipts)
    // If a host never calls `end`, the slots are still released.
    whenCollected(shared, () => finishAll(receipts, true))
    if (source !== undefined) known.set(source, shared)
  }
  return shared
}

function finishAll(receipts, failed) {
  for (const receipt of receipts.splice(0)) finish(receipt, failed)
}

function passed(shared) {
  const { seen, state, headers } = shared
  return {
    allowed: true,
    user: seen.user,
    guard: seen.guard,
    body: seen.body,
    // Bytes that wait for a later layer are not judged yet.
    raw: state.isPending ? undefined : (state.raw ?? undefined),
    // Read when the response is sent: until then another check of the request may change them.
    get headers() {
      return headers.entries()
    },
    get remove() {
      return [...new Set([...headers.removed(), ...(shared.strips?.headers.strip ?? [])])]
    },
    checksResponse: shared.responses.length > 0,
    checkResponse: (status, json) => judge(shared, status, json),
    end: (status) => shared.end(status)
  }
}

function refused(status, problem, headers) {
  const own = [['Content-Length', String(Buffer.byteLength(problem ?? ''))]]
  if (problem !== undefined) own.push(['Content-Type', 'application/problem+json'])
  const code = problem === undefined ? undefined : JSON.parse(problem).code
  return { allowed: false, status, code, headers: [...headers.entries(), ...own], remove: headers.removed(), body: problem ?? null }
}

/**
 * Checks the answer: the innermost stack first, and each stack once. Returns the answer to send
 * instead; null if it is to be sent as it is.
 */
function judge(shared, status, json) {
  if (shared.isJudged) return null
  shared.isJudged = true
  let instead = null
  for (const check of shared.responses.toReversed()) {
    const answer = checkAnswer(check, status, Buffer.from(instead?.body ?? json))
    if (answer === null) continue
    if (answer.isFault) return { status: 500, type: 'application/problem+json', body: answer.text }
    instead = { status, type: 'application/json', body: answer.text }
  }
  return instead
}

function refusedClosed() {
  const headers = new ResponseHeaders()
  headers.setHeader('Retry-After', '1')
  return refused(503, CLOSED, headers)
}

/** How the first of these handlers that declares its body reads it; null if none does. */
function takingOf(handlers) {
  return handlers.find((handler) => handler[kConversation].taking !== null)?.[kConversation].taking ?? null
}

/** The plain stack; null if the guard was closed before its first check. */
function plainStack(wholeStack) {
  try {
    return wholeStack()
  } catch (error) {
    if (error.code === 'ERR_CLOSED') return null
    throw error
  }
}

/** The handlers of a stack or of layers of `guard`. `name` is that of the argument. */
function handlersOf(guard, stack, name) {
  const handlers = Array.isArray(stack) ? Array.from(stack) : [stack]
  const own = (handler) => typeof handler === 'function' && handler.guard === guard && handler[kConversation] !== undefined
  if (handlers.length > 0 && handlers.every(own)) return handlers
  throw new GuardError(`\`${name}\` must be what \`securityStack\` or a layer of the same guard has returned`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/**
 * The stack of a route on a host: `route` has options as `securityStack` takes them, or is what
 * `securityStack` or a layer of `guard` has returned, one or a list.
 */
function routeStack(guard, route, name) {
  if (typeof route === 'function' || Array.isArray(route)) return handlersOf(guard, route, name)
  return guard.securityStack(route)
}

module.exports = { checkOf, routeStack, takingOf }

'use strict'

// The conversation with the core about one request. The core decides (src/stack/mod.rs has the
// order); this file asks it and says what to do next. It knows no server: a host (./hosts) reads
// the request and carries out what is said here. One native call before the body, one after it, and
// one more where a shared store was asked; no promise unless the application's own functions return
// one.
//
// A host gives a context for each request, with these members:
//
// - `req`: what the application sees; it gets `user`, `guard` and `body`
// - `res`: the response's headers: `headersSent`, `getHeader`, `setHeader`, `removeHeader`
// - `state`: the RequestState (./request.js) of this request
// - `decisions`, `skipsCors`, `ticket`: null, false and null at first; this file keeps them
// - `subject()`: the request that the application's functions get
// - `view()`: the RequestView (./view.js)
// - `head(owner, conversation)`: the view as text, with what the host knows of the client
// - `routeParams()`: the path parameters that the router found
// - `putHeaders(fields)`, `stripLate(decisions)`: headers on, and off when the head is written
// - `isOver()`: whether the client went away or somebody has answered
// - `isEnded()`: whether somebody has answered
// - `onceClosed(run)`: calls `run` when the client goes away; returns what takes that back
// - `bodyReadBefore(isForm)`: the bytes of a body that somebody else has read; null where it is
//   still to be read
// - `readBody(limit, timeout, done, gone, late)`: reads it; ./hosts/node-http/body.js has the
//   contract
// - `keepBody(bytes)`: the bytes that are judged
// - `fingerprint()`: that of the client's certificate, by TLS; undefined where there is none
// - `keepReceipt(receipt)`: what to hand in to the core once the response is over
// - `checkResponse(stack, mode, report)`: puts the check of response schemas before what is sent
// - `end(status, problem)`: answers with a problem document, or without a body; returns false
// - `next()`: the request goes on to the application

const native = require('../native.js')
const { emitDecision } = require('./decision-event.js')
const { GuardError, describeError, unwrap, warnOnce } = require('./errors.js')
const { encode } = require('./encode.js')
const { addVary } = require('./headers.js')
const { inflate } = require('./inflate.js')
const { problemOf } = require('./problem.js')
const { takeAnswer } = require('./request.js')
const { admitsHandshake, corsPart, decideHeaders, decidesCors, headersPart, noteCors } = require('./response-decisions.js')
const { checkSecondStage, takeSchemas } = require('./schema.js')
const { whenCollected } = require('./shared.js')
const { wait } = require('./store.js')
const {
  read, readClaims, readHeaders,
  PASS, READ_BODY, REFUSE, PREFLIGHT, ASK_KEYS, DELAY, ASK_CERTIFICATE,
  KIND, STATUS, CODE, PROBLEM, READING, WAIT_MS, LIMIT, HAS_BODY, SECURE, HEADERS, RATE_LIMIT, CLAIMS, TOKEN, LIMITS, CHECKED, TICKET, RECEIPT
} = require('./answer.js')

// What HAS_BODY says of a body that was checked: its bytes are JSON, or the answer has it, as it
// was a form or a sanitizer has changed it.
const JSON_BODY = '1'
const WRITTEN_BODY = '2'

// Which core this is: a thread may have loaded the addon from two files.
const CORE = native.coreId()

/**
 * Builds the conversation of one stack: `start(ctx)` begins it for a request.
 * `owner` is the guard's inside ({ handle, log, pin }), `options` what the user narrowed, `only`
 * the one layer that it has (null: all of them).
 */
function buildConversation(owner, options, only) {
  // A layer that is mounted alone has no schemas: its `headers` are response headers.
  const takes = only === null || only === 'payload'
  const { options: rest, second, parts } = takes ? takeSchemas(options, owner.own) : { options: options ?? {}, second: [], parts: [] }
  const { json, functions } = encode(rest)
  const plan = unwrap(native.stack(owner.handle, json, only ?? ''))
  const stack = plan.stack
  const headers = headersPart(plan, only, rest)
  const cors = corsPart(plan, only, rest)
  const functionAt = (path) => functions.get(path) ?? owner.functions.get(path)
  const askOrigin = plan.askOrigin ? functionAt('cors.origins') : null
  const askKeys = plan.askKeys.map(([name, option, path]) => [name, option, functionAt(path)])
  const { wantsParams, hasShadow, wantsResponse, isAskedAgain, body: bodies } = plan
  const onResponse = rest.onResponse ?? 'strip'
  const whole = only === null && options === undefined
  const checksBody = parts.includes('body')
  // Only `guard.validate` hands out what it found valid.
  const keepsValid = only === 'payload' && parts.length > 0
  const conversation = { start, stack, core: CORE }

  function start(ctx) {
    if (headers !== null || cors !== null) ctx.decisions = ctx.state.decisionsOf(owner)
    if (whole) {
      if (ctx.decisions.mounted) {
        warnOnce('GUARD_MOUNTED_TWICE', 'the stack of one guard runs twice on one request; mount it once')
      }
      ctx.decisions.mounted = true
    }
    attempt(ctx, begin)
  }

  function begin(ctx) {
    if (headers !== null) decideHeaders(headers, ctx)
    if (cors !== null) ctx.skipsCors = !decidesCors(cors, ctx)
    if (askOrigin === null || ctx.skipsCors) return decide(ctx, undefined)
    const origin = ctx.view().get('origin')
    return origin === undefined ? decide(ctx, undefined) : askForOrigin(ctx, origin)
  }

  // Every step says whether the request has passed. The next handler is called outside of the
  // `try`: what it throws is its own affair.
  function attempt(ctx, step) {
    let passed = false
    try {
      passed = step(ctx)
    } catch (error) {
      return fail(ctx, error)
    }
    if (passed) ctx.next()
  }

  function askForOrigin(ctx, origin) {
    const allows = askOrigin(origin)
    if (typeof allows?.then !== 'function') return decide(ctx, allows === true)
    // A promise of our own settles once, whatever the function has returned.
    const goOn = (allowed) => {
      ctx.state.waited = true
      // Who it was can't be said of a client that has gone away.
      return ctx.isOver() ? false : decide(ctx, allowed)
    }
    Promise.resolve(allows).then((allowed) => attempt(ctx, () => goOn(allowed === true)), (error) => fail(ctx, error))
    return false
  }

  function decide(ctx, origin) {
    const { state, skipsCors } = ctx
    const counted = state.countedBy(owner)
    let extras
    const { proofs } = state
    const earlier = askedAgain(state)
    if (origin !== undefined || skipsCors || wantsParams || counted !== undefined || proofs !== undefined || earlier !== undefined) {
      const params = wantsParams ? (state.params ?? ctx.routeParams()) : undefined
      const waited = earlier === undefined ? undefined : state.waited
      const admitted = (skipsCors && state.handshake && admitsHandshake(ctx)) || undefined
      extras = JSON.stringify({ origin, skipsCors: skipsCors || undefined, admitted, params, counted, proofs, earlier, waited })
    }
    return go(ctx, native.decide(stack, ctx.head(owner), extras))
  }

  // The earlier stacks that the core asks again where the request waits here. One that does
  // nothing but check a body that was read before has nothing to wait for.
  function askedAgain(state) {
    const { passed } = state
    if (passed === null || (only === 'payload' && state.raw !== null && !state.waited)) return undefined
    // The number of a stack means something to its own core alone; that of another core can't be
    // asked here.
    return passed.filter((earlier) => earlier.core === CORE).map((earlier) => earlier.stack)
  }

  function go(ctx, answer) {
    if (typeof answer === 'string') return act(ctx, read(answer))
    // The ticket of a request that waits for a shared store.
    wait(answer, resumeWithStore, ctx)
    return false
  }

  function resumeWithStore(ticket, ctx) {
    attempt(ctx, () => go(ctx, native.resumeWithStore(ticket)))
  }

  function act(ctx, answer) {
    const { req, res } = ctx
    if (answer[TICKET] !== '') ctx.ticket = Number(answer[TICKET])
    if (answer.length > RECEIPT) ctx.keepReceipt(Number(answer[RECEIPT]))
    // While we waited, the client went away or another handler has answered.
    if (ctx.isOver()) {
      abandon(ctx)
      return false
    }
    if (!res.headersSent) answerHeaders(ctx, answer)
    takeAnswer(req, answer)
    if (answer[CLAIMS] !== '') {
      req.user = readClaims(answer[CLAIMS])
      if (ctx.view().get('dpop') !== undefined) ctx.state.noteProof(answer[TOKEN])
    }
    if (answer[LIMITS] !== '') ctx.state.count(owner, answer[LIMITS])
    switch (answer[KIND]) {
      case PASS:
        return pass(ctx, answer[HAS_BODY], answer[CHECKED])
      case READ_BODY:
        return takeBody(ctx, answer[READING])
      case REFUSE:
        return refuse(ctx, Number(answer[STATUS]), answer[CODE], answer[PROBLEM], answer[LIMIT])
      case PREFLIGHT:
        emit(ctx, 'preflight', Number(answer[STATUS]))
        return ctx.end(Number(answer[STATUS]), undefined)
      case ASK_KEYS:
        return runCallbacks(ctx)
      case ASK_CERTIFICATE:
        return go(ctx, native.resumeWithCertificate(takeTicket(ctx), ctx.fingerprint()))
      case DELAY:
        return delay(ctx, Number(answer[WAIT_MS]))
      default:
        throw new Error('unknown answer of the core')
    }
  }

  // A ticket is good once.
  function takeTicket(ctx) {
    const { ticket } = ctx
    ctx.ticket = null
    return ticket
  }

  function abandon(ctx) {
    if (ctx.ticket !== null) native.abandon(takeTicket(ctx))
  }

  // Its turn comes later; the core has the request's slot, and bounds how many there are.
  function delay(ctx, ms) {
    const timer = setTimeout(() => {
      cancel()
      attempt(ctx, () => go(ctx, native.resumeAfterDelay(takeTicket(ctx))))
    }, ms)
    // The connection keeps the process up, as long as there is one.
    timer.unref()
    const cancel = ctx.onceClosed(() => {
      clearTimeout(timer)
      abandon(ctx)
    })
    return false
  }

  function answerHeaders(ctx, answer) {
    const { res, decisions } = ctx
    if (answer[SECURE] === '1' && headers !== null && decisions.headers === headers) ctx.putHeaders(headers.secure)
    if (answer[HEADERS] !== '') {
      const { vary, fields } = readHeaders(answer[HEADERS])
      if (cors !== null) noteCors(decisions, fields)
      for (let i = 0; i < vary.length; i += 1) addVary(res, vary[i])
      ctx.putHeaders(fields)
    }
    if (answer[RATE_LIMIT] !== '') res.setHeader('RateLimit', answer[RATE_LIMIT])
  }

  function runCallbacks(ctx) {
    const results = askKeys.map(([name, option, fn]) => [name, option, checkedKey(name, option, fn(ctx.subject()))])
    return go(ctx, native.resumeWithCallbacks(takeTicket(ctx), JSON.stringify(results)))
  }

  function takeBody(ctx, reading) {
    // `102400`, or `102400 form`, or `102400 json gzip`
    const [most, format, coding] = reading.split(' ')
    const limit = Number(most)
    // Bytes that were read before are decompressed already.
    const bytes = ctx.state.raw ?? ctx.bodyReadBefore(format === 'form')
    if (bytes !== null) return judgeBody(ctx, bytes)
    ctx.readBody(
      limit,
      bodies.timeout,
      (read) => attempt(ctx, () => (coding === undefined ? judgeBody(ctx, read) : expand(ctx, read, coding, limit))),
      () => abandon(ctx),
      () => attempt(ctx, () => withoutBody(ctx, 'late'))
    )
    return false
  }

  function expand(ctx, bytes, coding, limit) {
    // What is too large as it came is refused as such, and not decompressed.
    if (bytes.length > limit) return judgeBody(ctx, bytes)
    inflate(bytes, coding, bodies.ratio, limit, (expanded, fault) =>
      attempt(ctx, () => (fault === null ? judgeBody(ctx, expanded) : withoutBody(ctx, fault)))
    )
    return false
  }

  function withoutBody(ctx, why) {
    return go(ctx, native.refuseBody(takeTicket(ctx), why))
  }

  function judgeBody(ctx, bytes) {
    ctx.keepBody(bytes)
    const answer = native.decideBody(takeTicket(ctx), bytes)
    if (answer !== undefined) return go(ctx, answer)
    // It passes, and there is nothing to add. While we waited, though, the client may have gone
    // away.
    return ctx.isOver() ? false : pass(ctx, JSON_BODY, '')
  }

  function pass(ctx, body, checked) {
    const { req, state } = ctx
    let valid
    if (keepsValid || second.length > 0 || body === WRITTEN_BODY) valid = checked === '' ? {} : JSON.parse(checked)
    // A stack without a schema of its own leaves what an earlier one has made of the body: it may
    // have dropped members.
    if (body !== '' && (!state.hasBody || checksBody)) {
      req.body = body === WRITTEN_BODY ? valid.body : JSON.parse(state.raw.toString())
      state.hasBody = true
    }
    if (keepsValid || second.length > 0) {
      if (checksBody) valid.body = req.body
      else delete valid.body // what has no schema is not called valid
      if (second.length > 0) {
        const problem = checkSecondStage(second, valid)
        if (problem !== null) return refuse(ctx, 422, 'validation_failed', problem)
        if (checksBody) req.body = valid.body
      }
      if (keepsValid) {
        state.valid ??= new Map()
        state.valid.set(conversation, valid)
      }
    }
    if (isAskedAgain) state.pass(conversation)
    state.waited = false
    if (wantsResponse) ctx.checkResponse(stack, onResponse, (status, problem) => reportResponse(ctx, status, problem))
    emit(ctx, 'allow')
    return true
  }

  // An answer of the application that is not as its schema says.
  function reportResponse(ctx, status, problem) {
    const errors = problem === null ? [] : (JSON.parse(problem).errors ?? [])
    const places = errors.map(({ pointer, code }) => `${pointer} ${code}`).slice(0, 3).join(', ')
    warnOnce('GUARD_RESPONSE', `an answer with the status ${status} is not as its schema says: ${places}`)
    emit(ctx, 'response', status, 'response_mismatch')
  }

  function refuse(ctx, status, code, problem, limit) {
    emit(ctx, 'refuse', status, code, limit)
    return ctx.end(status, problem)
  }

  // A fault on our side, or in a function of the application: never a pass.
  function fail(ctx, error) {
    abandon(ctx)
    warnOnce('GUARD_FAULT', `a request was refused with 500, since a layer failed: ${describeError(error)}`)
    if (!ctx.isEnded()) refuse(ctx, 500, 'internal_error', problemOf(500, 'internal_error'))
  }

  function emit(ctx, outcome, status, code, limit) {
    if (owner.log !== undefined) emitDecision(owner, ctx.req, ctx.view(), { outcome, status, code, limit, hasShadow })
  }

  // The closures hold the guard, so that it is not collected while a conversation of it is in use.
  whenCollected(conversation, releaserOf(owner.handle, stack))
  return conversation
}

/**
 * Gives the memory of a stack back: some build a handler for each request. It stands out here,
 * since a function made inside of `buildConversation` would hold the conversation itself.
 */
function releaserOf(guard, stack) {
  return () => native.releaseStack(guard, stack)
}

function checkedKey(name, option, value) {
  // It is refused below: its rejection must not end the process.
  if (typeof value?.then === 'function') Promise.resolve(value).then(undefined, () => {})
  if (option === 'key' && typeof value === 'string' && value !== '') return value
  if (option === 'cost' && Number.isSafeInteger(value) && value >= 0) return value
  throw new GuardError(
    `the function \`${option}\` of the rate limit '${name}' must return ${option === 'key' ? 'a string that is not empty' : 'a whole number'}`,
    { code: 'ERR_INVALID_ARGUMENT' }
  )
}

module.exports = { buildConversation }

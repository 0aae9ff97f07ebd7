'use strict'

// The conversation with the core about one request. The core decides (src/stack/mod.rs has the
// order). This file calls the core and derives the next action from its answer. It is independent
// of the server: a host (./hosts) reads the request and carries out the actions. A request takes
// one native call before the body, one after it, and one more after a shared store has answered. No
// promise is created unless the application's own functions return one.
//
// A host passes a context for each request, with these members:
//
// - `req`: the request as the application sees it; `user`, `guard` and `body` are set on it
// - `res`: the response's headers: `headersSent`, `getHeader`, `setHeader`, `removeHeader`
// - `state`: the RequestState (./request.js) of this request
// - `decisions`, `skipsCors`, `corsOf`, `ticket`, `identity`, `uploads`, `startedAt`: null, false,
//   null, null, null and 0; this file maintains them
// - `subject()`: the request that is passed to the application's functions
// - `view()`: the RequestView (./view.js)
// - `head(owner)`: the view as text, with the host's facts about the client
// - `routeParams()`: the path parameters that the router extracted
// - `putHeaders(fields)`, `stripLate(decisions)`: set headers; remove headers when the head is
//   written
// - `isOver()`: whether the client disconnected or the response has ended
// - `isEnded()`: whether the response has ended
// - `isClosed()`: whether the response, or the socket of a handshake, is over
// - `onceClosed(run)`: calls `run` when the client disconnects; returns a function that cancels it
// - `isUnchanged()`: whether the view is still that of the request that the router reads
// - `corsHolder()`: for a preflight: the conversation of the guard whose CORS decision holds for
//   the request that the page means to send; null if none is known
// - `isPreflightSeen()`: whether a preflight for this request would reach CORS of the guard, or
//   another handler for `OPTIONS`; true if that is not known
// - `taker()`: how a later layer of the guard that certainly takes the body reads it,
//   `{ maxBytes, timeout }`; null if none is known
// - `isForeignText()`: whether another parser has left the body as bytes or as one text
// - `bodyReadBefore(isForm)`: the bytes of a body that another parser has read; null if it is still
//   unread
// - `readBody(limit, timeout, done, gone, late)`: reads it; ./hosts/node-http/body.js has the
//   contract
// - `openBody()`: a source of its pieces (./uploads/source.js)
// - `onceOver(run)`: calls `run` when the response is over
// - `gone()`: the client has disconnected in the middle of a multipart body
// - `keepBody(bytes)`: the bytes that are checked
// - `keepPending()`: keeps the body from every handler until a later layer has accepted it
// - `fingerprint()`: that of the client's certificate, by TLS; undefined without one
// - `keepReceipt(receipt)`: keeps a receipt to hand in to the core when the response ends
// - `checkResponse(stack, mode, report)`: checks the response against its schemas before it is sent
// - `end(status, problem, cause)`: answers with a problem document, or without a body; returns
//   false. `cause` is as in ./decision-event.js
// - `next()`: passes the request on to the application

const native = require('../native.js')
const { checkedKey } = require('./arguments.js')
const { bodyReader } = require('./bodies.js')
const { causeText, emitDecision } = require('./decision-event.js')
const { GuardError, describeError, unwrap, warnOnce } = require('./errors.js')
const { noteClient } = require('./client-key.js')
const { encode } = require('./encode.js')
const { faultOf } = require('./identity.js')
const { addCookie, addVary } = require('./headers.js')
const { warnOutsideProxy, warnPublicProxy } = require('./outside-proxies.js')
const { isPreflight, needsPreflight, warnUnansweredPreflight } = require('./preflight.js')
const { problemOf } = require('./problem.js')
const { guardOf, takeAnswer } = require('./request.js')
const { admitsHandshake, corsPart, decideHeaders, decidesCors, headersPart, noteCors } = require('./response-decisions.js')
const { checkLibrarySchemas, takeSchemas } = require('./schema.js')
const { whenCollected } = require('./shared.js')
const { resourceOf } = require('./resource.js')
const { settler } = require('./settler.js')
const { refLoop, unrefLoop, wait } = require('./store.js')
const { discardUploads, fieldsOf } = require('./uploads/uploads.js')
const { watch } = require('./watches.js')
const {
  read, readClaims, readHeaders,
  PASS, READ_BODY, REFUSE, PREFLIGHT, RUN_CALLBACKS, DELAY, ASK_CERTIFICATE, ASK_IDENTITY, ASK_RESOURCE,
  KIND, STATUS, CODE, PROBLEM, READING, WAIT_MS, CAUSE, ASK, HAS_BODY, LAYER, SECURE, HEADERS, RATE_LIMIT, CLAIMS, TOKEN, CLIENT, LIMITS, CHECKED, TICKET, RECEIPT
} = require('./answer.js')

// Values of HAS_BODY for a checked body. JSON_BODY: its bytes are JSON. WRITTEN_BODY: the answer
// contains it, since it was a form or a sanitizer has changed it.
const JSON_BODY = '1'
const WRITTEN_BODY = '2'
// For a refusal: a later layer of the guard may take the body instead.
const TAKEN_LATER = '3'


// The longest asynchronous check in milliseconds where the application handles the body itself: the
// default of `payload.timeout`.
const MAX_CHECK = 30_000

// The longest time in milliseconds that functions of limits may take.
const MAX_CALLBACK_MS = 5000

// The number of this core: a thread may have loaded the addon from two files.
const CORE = native.coreId()

/**
 * Builds the conversation of one stack: `start(ctx)` begins it for a request. `owner` is the
 * guard's internal object ({ handle, log, identities, pin }), `options` are the user's narrowing
 * options, `layer` is its single layer (null: all layers).
 */
function buildConversation(owner, options, layer) {
  // A layer that is mounted alone has no schemas: its `headers` are response headers.
  const hasSchemas = layer === null || layer === 'payload'
  const { options: rest, librarySchemas, parts } = hasSchemas ? takeSchemas(options, owner.own) : { options: options ?? {}, librarySchemas: [], parts: [] }
  const { json, functions } = encode(rest)
  const plan = unwrap(native.stack(owner.handle, json, layer ?? ''))
  const stack = plan.stack
  const headers = headersPart(plan, layer, rest)
  const cors = corsPart(plan, layer, rest)
  const functionAt = (path) => functions.get(path) ?? owner.functions.get(path)
  const askOrigin = plan.askOrigin ? functionAt('cors.origins') : null
  const findResource = plan.asksResource ? resourceOf(functionAt('policy.input')) : null
  const callbacks = plan.callbacks.map(([name, option, path]) => [name, option, functionAt(path)])
  const { wantsParams, hasShadow, wantsResponse, readsIdentity, isAskedAgain, body: bodies } = plan
  const onResponse = rest.onResponse ?? 'strip'
  const whole = layer === null && options === undefined
  // The fields for files; null where none are read.
  const files = bodies?.files ? fieldsOf(bodies.files, rest.payload.files) : null
  const checksBody = parts.includes('body') || files !== null
  // For `valid(req)` of the handler.
  const keepsValid = parts.length > 0 || files !== null
  // How it reads a body that earlier stacks of the guard leave to it; null if they do not.
  const taking = bodies?.isTaken === true ? { maxBytes: bodies.maxBytes, timeout: bodies.timeout } : null
  // Whether a later layer may declare which bodies are taken.
  const defers = bodies?.isDeclared === false
  const keepsRaw = bodies?.rawBody === true
  const isBodyAlone = layer === 'payload' && checksBody && parts.length === 1 && librarySchemas.length === 0 && !wantsResponse
  // Whether this stack has yet to see that preflights of its route are answered.
  let looksForPreflights = cors !== null && cors.decides && cors.isOn
  // For guard.toOpenApi: the options as JSON, and the parts that the core does not judge alone.
  const declared = () => ({ options: hasSchemas ? JSON.parse(encode(rest).json) : {}, inexact: librarySchemas.map(([part]) => part) })
  const whenSettled = settler(attempt, abandon)
  const takeBody = bodyReader({ owner, bodies, files, defers, keepsValid, attempt, abandon, go, fail, takeTicket, judgeBody })
  const conversation = { start, stack, core: CORE, taking, cors, askOrigin, declared, readsParts: bodies?.isMultipart === true, watch: watchPassed }

  // Watches a request that has passed: see ./watches.js.
  function watchPassed(passed, onEnd) {
    const { ctx } = passed
    return watch(passed, ctx.head(owner), (error, { status, code, reason, layer }) => {
      emit(ctx, { outcome: 'end', status, code, cause: causeText(reason), layer: layer ?? undefined, startedAt: undefined })
      onEnd(error)
    })
  }

  function start(ctx) {
    if (owner.log !== undefined) ctx.startedAt = performance.now()
    if (headers !== null || cors !== null) ctx.decisions = ctx.state.decisionsOf(owner)
    if (isBodyAlone && isAccepted(ctx)) return ctx.next()
    if (whole) {
      if (ctx.decisions.mounted) {
        warnOnce('GUARD_MOUNTED_TWICE', 'the stack of one guard runs twice on one request; mount it once')
      }
      ctx.decisions.mounted = true
    }
    attempt(ctx, begin)
  }

  // The usual way behind a stack for the whole application: it has read the body and decided about
  // the rest, so that one call of the core is enough. Whatever this call does not accept takes the
  // whole way.
  function isAccepted(ctx) {
    const { req, state } = ctx
    if (state.raw === null || !state.isRead || state.isForeign || state.waited || state.view === null) return false
    const view = ctx.view()
    if (view.get('content-type') !== 'application/json' || view.get('content-encoding') !== undefined) return false
    try {
      if (ctx.isOver() || !ctx.isUnchanged() || !native.acceptsBody(stack, state.raw)) return false
      const body = JSON.parse(state.raw.toString())
      req.body = body
      state.hasBody = true
      state.isPending = false
      state.judgedBy = owner
      if (keepsRaw) keepRaw(ctx)
      return finish(ctx, { body })
    } catch {
      return false
    }
  }

  function begin(ctx) {
    if (headers !== null) decideHeaders(headers, ctx)
    const holder = (layer === null || layer === 'cors') && isPreflight(ctx.view()) ? corsHolder(ctx) : conversation
    if (holder !== conversation) ctx.corsOf = holder.stack
    if (holder.cors !== null) ctx.skipsCors = !decidesCors(holder.cors, ctx)
    if (looksForPreflights) warnUnseenPreflights(ctx)
    if (holder.askOrigin === null || ctx.skipsCors) return decide(ctx, undefined)
    const origin = ctx.view().get('origin')
    return origin === undefined ? decide(ctx, undefined) : askForOrigin(ctx, holder.askOrigin, origin)
  }

  // A preflight is answered as the request that it asks for would be: the innermost decision about
  // CORS on that request's way wins.
  function corsHolder(ctx) {
    const holder = ctx.corsHolder()
    return holder?.core === CORE ? holder : conversation
  }

  // Browsers ask before such a request, by a preflight that an `app.post` never sees.
  function warnUnseenPreflights(ctx) {
    if (!needsPreflight(ctx.view())) return
    looksForPreflights = false
    if (!ctx.isPreflightSeen()) warnUnansweredPreflight('mount `guard.securityStack()` before the routes, or give the handler of the route to `app.options` as well')
  }

  // Every step returns whether the request has passed. The next handler is called outside of the
  // `try`: its errors must propagate.
  function attempt(ctx, step) {
    let passed = false
    try {
      passed = step(ctx)
    } catch (error) {
      return fail(ctx, error)
    }
    if (passed) ctx.next()
  }

  function askForOrigin(ctx, askOrigin, origin) {
    const allows = askOrigin(origin)
    if (typeof allows?.then !== 'function') return decide(ctx, allows === true)
    // A promise of our own settles once, whatever the function returned.
    const goOn = (allowed) => {
      ctx.state.waited = true
      // A disconnected client can't be identified any more.
      return ctx.isOver() ? false : decide(ctx, allowed)
    }
    Promise.resolve(allows).then((allowed) => attempt(ctx, () => goOn(allowed === true)), (error) => fail(ctx, error))
    return false
  }

  function decide(ctx, origin) {
    const { state, skipsCors, corsOf } = ctx
    const counted = state.countedBy(owner)
    let extras
    const { proofs } = state
    const earlier = askedAgain(state)
    if (origin !== undefined || skipsCors || corsOf !== null || wantsParams || counted !== undefined || proofs !== undefined || earlier !== undefined) {
      const params = wantsParams ? (state.params ?? ctx.routeParams()) : undefined
      const waited = earlier === undefined ? undefined : state.waited
      const admitted = (skipsCors && state.handshake && admitsHandshake(ctx)) || undefined
      const anonymous = (earlier !== undefined && !state.hasUser) || undefined
      extras = JSON.stringify({ origin, skipsCors: skipsCors || undefined, corsOf: corsOf ?? undefined, admitted, params, counted, proofs, earlier, waited, anonymous })
    }
    return go(ctx, native.decide(stack, ctx.head(owner), extras))
  }

  // The earlier stacks that the core checks again if the request waits here. A stack that only
  // checks a body that was read before does not wait.
  function askedAgain(state) {
    const { passed } = state
    if (passed === null || (layer === 'payload' && state.raw !== null && !state.waited)) return undefined
    // The number of a stack is valid only in its own core; stacks of another core can't be checked
    // here.
    const ours = passed.filter(({ conversation: earlier }) => earlier.core === CORE)
    return ours.map(({ conversation: earlier, identity }) => (identity === null ? earlier.stack : [earlier.stack, ...identity]))
  }

  function go(ctx, answer) {
    if (typeof answer === 'string') return act(ctx, read(answer))
    // The ticket of a request that waits for a shared store.
    refLoop()
    wait(answer, resumeWithStore, ctx)
    return false
  }

  function resumeWithStore(ticket, ctx) {
    unrefLoop()
    attempt(ctx, () => go(ctx, native.resumeWithStore(ticket)))
  }

  function act(ctx, answer) {
    const { req, res } = ctx
    if (answer[TICKET] !== '') ctx.ticket = Number(answer[TICKET])
    if (answer.length > RECEIPT) ctx.keepReceipt(Number(answer[RECEIPT]))
    // Meanwhile the client may have disconnected, or another handler may have answered.
    if (ctx.isOver()) {
      abandon(ctx)
      return false
    }
    const isLeft = answer[KIND] === REFUSE && answer[HAS_BODY] === TAKEN_LATER && ctx.taker() !== null
    // The headers of a refusal that is not sent.
    if (!res.headersSent && !isLeft) answerHeaders(ctx, answer)
    takeAnswer(req, answer)
    if (answer[CLAIMS] !== '') {
      req.user = readClaims(answer[CLAIMS])
      ctx.state.hasUser = true
      if (ctx.view().get('dpop') !== undefined) ctx.state.noteProof(answer[TOKEN])
    }
    if (answer[LIMITS] !== '') ctx.state.count(owner, answer[LIMITS])
    if (isLeft) {
      ctx.keepPending()
      return finish(ctx, {})
    }
    switch (answer[KIND]) {
      case PASS:
        return pass(ctx, answer[HAS_BODY], answer[CHECKED])
      case READ_BODY:
        return takeBody(ctx, answer[READING])
      case REFUSE:
        return refuse(ctx, Number(answer[STATUS]), answer[CODE], answer[PROBLEM], answer[CAUSE], answer[LAYER] === TAKEN_LATER ? 'payload' : answer[LAYER])
      case PREFLIGHT:
        emit(ctx, { outcome: 'preflight', status: Number(answer[STATUS]), cause: answer[CAUSE], layer: answer[LAYER] })
        return ctx.end(Number(answer[STATUS]), undefined)
      case RUN_CALLBACKS:
        return runCallbacks(ctx)
      case ASK_CERTIFICATE:
        return go(ctx, native.resumeWithCertificate(takeTicket(ctx), ctx.fingerprint()))
      case ASK_IDENTITY:
        return askIdentity(ctx, answer[ASK])
      case ASK_RESOURCE:
        return askResource(ctx, Number(answer[ASK]))
      case DELAY:
        return delay(ctx, Number(answer[WAIT_MS]))
      default:
        throw new Error('unknown answer of the core')
    }
  }

  // A ticket is valid once.
  function takeTicket(ctx) {
    const { ticket } = ctx
    ctx.ticket = null
    return ticket
  }

  function abandon(ctx) {
    discardUploads(ctx.state)
    if (ctx.ticket !== null) native.abandon(takeTicket(ctx))
  }

  // The request waits for its turn. The core holds its delay slot, and bounds the number of slots.
  function delay(ctx, ms) {
    const timer = setTimeout(() => {
      cancel()
      attempt(ctx, () => go(ctx, native.resumeAfterDelay(takeTicket(ctx))))
    }, ms)
    const cancel = ctx.onceClosed(() => {
      clearTimeout(timer)
      abandon(ctx)
    })
    return false
  }

  function askIdentity(ctx, line) {
    const { ask, found } = owner.identities.find(line, ctx.state, owner, () => ctx.subject())
    if (typeof found.then !== 'function') return resumeWithIdentity(ctx, ask, found)
    return whenSettled(
      ctx, found, ask.timeout,
      (result) => resumeWithIdentity(ctx, ask, result),
      () => go(ctx, native.resumeWithIdentity(takeTicket(ctx), undefined, 'timeout'))
    )
  }

  function resumeWithIdentity(ctx, { source }, { json }) {
    // A disconnected client can't be identified any more.
    if (ctx.isOver()) {
      abandon(ctx)
      return false
    }
    ctx.identity = json === undefined ? null : [source, json]
    return go(ctx, native.resumeWithIdentity(takeTicket(ctx), json))
  }

  // Asks the application about the object of the request, for the policy.
  function askResource(ctx, timeout) {
    const subject = ctx.subject()
    noteClient(subject, ctx.req.guard.client)
    const goOn = ({ json, failure }) => {
      // The policy decides nothing for a client that has gone.
      if (ctx.isOver()) {
        abandon(ctx)
        return false
      }
      return go(ctx, native.resumeWithResource(takeTicket(ctx), json, failure))
    }
    const found = findResource(subject)
    return typeof found.then === 'function' ? whenSettled(ctx, found, timeout, goOn, () => goOn({ failure: 'timeout' })) : goOn(found)
  }

  function answerHeaders(ctx, answer) {
    const { res, decisions } = ctx
    const secure = answer[SECURE]
    if (secure.endsWith('o')) warnOutsideProxy(answer[CLIENT])
    else if (secure.endsWith('p')) warnPublicProxy()
    if (secure.startsWith('1') && headers !== null && decisions.headers === headers) ctx.putHeaders(headers.secure)
    if (answer[HEADERS] !== '') {
      const { vary, cookies, fields } = readHeaders(answer[HEADERS])
      if (cors !== null) noteCors(decisions, fields)
      for (let i = 0; i < vary.length; i += 1) addVary(res, vary[i])
      for (let i = 0; i < cookies.length; i += 1) addCookie(res, cookies[i])
      ctx.putHeaders(fields)
    }
    if (answer[RATE_LIMIT] !== '') res.setHeader('RateLimit', answer[RATE_LIMIT])
  }

  function runCallbacks(ctx) {
    const subject = ctx.subject()
    noteClient(subject, ctx.req.guard.client)
    const values = []
    try {
      for (let i = 0; i < callbacks.length; i += 1) values.push(callbacks[i][2](subject))
    } catch (error) {
      // The rejection of another one must not end the process.
      Promise.allSettled(values)
      throw error
    }
    if (!values.some((value) => typeof value?.then === 'function')) return resumeWithResults(ctx, values)
    return whenSettled(ctx, Promise.all(values), MAX_CALLBACK_MS, (results) => resumeWithResults(ctx, results), () => {
      throw new GuardError(`a function \`key\` or \`cost\` has not returned within ${MAX_CALLBACK_MS / 1000} s`, { code: 'ERR_INVALID_ARGUMENT' })
    })
  }

  function resumeWithResults(ctx, values) {
    // A client that has gone is counted by nothing.
    if (ctx.isOver()) {
      abandon(ctx)
      return false
    }
    const results = callbacks.map(([name, option], i) => [name, option, checkedKey(name, option, values[i])])
    return go(ctx, native.resumeWithCallbacks(takeTicket(ctx), JSON.stringify(results)))
  }
  function keepRaw({ req, state }) {
    if (state.received !== null) guardOf(req).rawBody = state.received
  }

  function judgeBody(ctx, bytes) {
    // A later layer may read another parser's object by the fields of its schema.
    if (!(defers && ctx.state.isForeign)) ctx.keepBody(bytes)
    const answer = native.decideBody(takeTicket(ctx), bytes)
    if (answer !== undefined) return go(ctx, answer)
    // The request passes without changes. If it waited, the client may have disconnected.
    return ctx.isOver() ? false : pass(ctx, JSON_BODY, '')
  }

  function pass(ctx, body, checked) {
    const { req, state } = ctx
    let valid
    if (keepsValid || librarySchemas.length > 0 || body === WRITTEN_BODY) valid = checked === '' ? {} : JSON.parse(checked)
    // A stack without a schema of its own keeps the body of an earlier stack, which may have
    // dropped members.
    if (body !== '' && (!state.hasBody || checksBody)) {
      // What another parser has made is judged here, and replaced only by what a route declares.
      if (!(defers && state.isForeign)) req.body = body === WRITTEN_BODY ? valid.body : JSON.parse(state.raw.toString())
      state.hasBody = true
      state.isPending = false
    }
    if (body !== '') state.judgedBy = owner
    if (body !== '' && keepsRaw) keepRaw(ctx)
    if (keepsValid || librarySchemas.length > 0) {
      if (checksBody) valid.body = req.body
      else delete valid.body // a part without a schema is not called valid
      if (librarySchemas.length > 0) {
        const problem = checkLibrarySchemas(librarySchemas, valid)
        if (problem instanceof Promise) return passLater(ctx, valid, problem)
        return passChecked(ctx, valid, problem)
      }
    }
    return accept(ctx, valid)
  }

  // The checks of a library's schemas are over.
  function passChecked(ctx, valid, problem) {
    if (problem !== null) return refuse(ctx, 422, 'validation_failed', problem, undefined, 'payload')
    if (checksBody) ctx.req.body = valid.body
    return accept(ctx, valid)
  }

  // Adds the files, which no schema has seen.
  function accept(ctx, valid) {
    if (files !== null) valid.body = ctx.req.body = { ...ctx.req.body, ...ctx.uploads.values() }
    return finish(ctx, valid)
  }

  // An asynchronous check of a library's schema is awaited, as long as a body may take.
  function passLater(ctx, valid, problem) {
    const most = bodies?.timeout ?? MAX_CHECK
    return whenSettled(
      ctx, problem, most,
      (settled) => {
        const passed = passChecked(ctx, valid, settled)
        // Meanwhile the token may have expired or been revoked: later layers verify it again.
        ctx.state.waited = true
        return passed
      },
      () => checkTimedOut(ctx, most)
    )
  }

  function checkTimedOut(ctx, most) {
    warnOnce('GUARD_FAULT', `a request was refused with 503, since an asynchronous check of a schema did not settle within ${most} ms`)
    ctx.res.setHeader('Retry-After', '1')
    return refuse(ctx, 503, 'validation_unavailable', problemOf(503, 'validation_unavailable', 'the request can\'t be checked at the moment'), undefined, 'payload')
  }

  function finish(ctx, valid) {
    const { state } = ctx
    if (keepsValid) {
      state.valid ??= new Map()
      state.valid.set(conversation, valid)
    }
    // Another middleware may have set a user that no source of the guard takes.
    if (readsIdentity && !state.hasUser && ctx.req.user !== undefined) ctx.req.user = undefined
    if (isAskedAgain) state.pass(conversation, ctx)
    state.waited = false
    if (wantsResponse) ctx.checkResponse(stack, onResponse, (status, problem) => reportResponse(ctx, status, problem))
    emit(ctx, { outcome: 'allow' })
    return true
  }

  // An answer of the application that does not match its schema.
  function reportResponse(ctx, status, problem) {
    const errors = problem === null ? [] : (JSON.parse(problem).errors ?? [])
    const places = errors.map(({ pointer, code }) => `${pointer} ${code}`).slice(0, 3).join(', ')
    warnOnce('GUARD_RESPONSE', `an answer with the status ${status} is not as its schema says: ${places}`)
    // It follows the handler, whose time is not the guard's.
    emit(ctx, { outcome: 'response', status, code: 'response_mismatch', layer: 'payload', startedAt: undefined })
  }

  function refuse(ctx, status, code, problem, cause, layer) {
    discardUploads(ctx.state)
    const fault = faultOf(cause)
    if (fault !== undefined) warnOnce('GUARD_FAULT', `a request was refused with 500, since ${fault}`)
    if (layer === 'authenticate') owner.identities.drop(ctx.state)
    emit(ctx, { outcome: 'refuse', status, code, cause, layer })
    return ctx.end(status, problem, cause)
  }

  // A fault of keepstone, or in a function of the application: never a pass.
  function fail(ctx, error) {
    abandon(ctx)
    warnOnce('GUARD_FAULT', `a request was refused with 500, since a layer failed: ${describeError(error)}`)
    if (!ctx.isEnded()) refuse(ctx, 500, 'internal_error', problemOf(500, 'internal_error'))
    return false
  }

  function emit(ctx, decision) {
    if (owner.log === undefined) return
    emitDecision(owner, ctx.req, ctx.view(), { startedAt: ctx.startedAt, hasShadow, ...decision })
  }

  // The closures hold the guard, so that it is not collected while a conversation of it is in use.
  whenCollected(conversation, releaserOf(owner.handle, stack))
  return conversation
}

/**
 * Releases the memory of a stack: some applications build a handler for each request. It is a
 * top-level function, since a function made inside of `buildConversation` would hold the
 * conversation itself.
 */
function releaserOf(guard, stack) {
  return () => native.releaseStack(guard, stack)
}

module.exports = { buildConversation }

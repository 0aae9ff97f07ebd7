'use strict'

// The request path. The core decides (src/stack.rs has the order); this file asks it and carries out the answer.
// One native call before the body, one after it, and one more where a shared store was asked; no promise unless the
// application's own functions return one.

const native = require('../native.js')
const { GuardError, describeError, unwrap, warnOnce } = require('./errors.js')
const { admitsHandshake, corsPart, decideHeaders, decidesCors, headersPart, noteCors } = require('./decisions.js')
const { encode } = require('./encode.js')
const { inflate, parsedElsewhere, readBody } = require('./body.js')
const { headOf, pathOf, viewOf } = require('./head.js')
const { addVary, putHeaders } = require('./headers.js')
const { keepReceipt } = require('./receipts.js')
const { guardOf, stateOf, takeAnswer } = require('./request.js')
const { guardResponse } = require('./respond.js')
const { closeOf, end, isOver } = require('./response.js')
const { checkSecondStage, takeSchemas } = require('./schema.js')
const { whenCollected } = require('./shared.js')
const { wait } = require('./store.js')
const {
  read, readClaims, readHeaders,
  PASS, READ_BODY, REFUSE, PREFLIGHT, ASK_KEYS, DELAY, ASK_CERTIFICATE,
  KIND, STATUS, CODE, PROBLEM, READING, WAIT_MS, LIMIT, HAS_BODY, SECURE, HEADERS, RATE_LIMIT, CLAIMS, TOKEN, LIMITS, CHECKED, TICKET, RECEIPT
} = require('./answer.js')

// What HAS_BODY says of a body that was checked: its bytes are JSON, or the answer has it, as it was a form or a sanitizer
// has changed it.
const JSON_BODY = '1'
const WRITTEN_BODY = '2'

const FAULT = '{"type":"about:blank","title":"Internal Server Error","status":500,"code":"internal_error"}'

// Which core this is: a thread may have loaded the addon from two files.
const CORE = native.coreId()

/**
 * Builds the handler of one stack.
 * `owner` is the guard's inside ({ handle, log, pin }), `options` what the user narrowed, `only` the one layer that
 * it has (null: all of them).
 */
function buildStack(owner, options, only) {
  // A layer that is mounted alone has no schemas: its `headers` are response headers.
  const takes = only === null || only === 'payload'
  const { options: rest, second, parts } = takes ? takeSchemas(options, owner.own) : { options: options ?? {}, second: [], parts: [] }
  const { json, functions } = encode(rest)
  const plan = unwrap(native.stack(owner.handle, json, only ?? ''))
  const handle = plan.stack
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

  function protect(req, res, next) {
    const state = stateOf(req)
    const decisions = headers !== null || cors !== null ? state.decisionsOf(owner) : null
    if (whole) {
      if (decisions.mounted) {
        warnOnce('GUARD_MOUNTED_TWICE', 'the stack of one guard runs twice on one request; mount it once')
      }
      decisions.mounted = true
    }
    const x = { req, res, next, state, decisions, skipsCors: false, ticket: null }
    attempt(x, begin)
  }

  function begin(x) {
    if (headers !== null) decideHeaders(headers, x)
    if (cors !== null) x.skipsCors = !decidesCors(cors, x)
    if (askOrigin === null || x.skipsCors) return decide(x, undefined)
    const origin = viewOf(x.req, x.state).get('origin')
    return origin === undefined ? decide(x, undefined) : askForOrigin(x, origin)
  }

  // Every step says whether the request has passed. The next handler is called outside of the `try`: what it throws is
  // its own affair.
  function attempt(x, step) {
    let passed = false
    try {
      passed = step(x)
    } catch (error) {
      return fail(x, error)
    }
    if (passed) x.next()
  }

  function askForOrigin(x, origin) {
    const verdict = askOrigin(origin)
    if (typeof verdict?.then !== 'function') return decide(x, verdict === true)
    // A promise of our own settles once, whatever the function has returned.
    const goOn = (allowed) => {
      x.state.waited = true
      // Who it was can't be said of a client that has gone away.
      return isOver(x.req, x.res) ? false : decide(x, allowed)
    }
    Promise.resolve(verdict).then((allowed) => attempt(x, () => goOn(allowed === true)), (error) => fail(x, error))
    return false
  }

  function decide(x, origin) {
    const { req, state, skipsCors } = x
    const counted = state.countedBy(owner)
    let extras
    const { proofs } = state
    const earlier = askedAgain(state)
    if (origin !== undefined || skipsCors || wantsParams || counted !== undefined || proofs !== undefined || earlier !== undefined) {
      const params = wantsParams ? (state.params ?? req.params) : undefined
      const waited = earlier === undefined ? undefined : state.waited
      const admitted = (skipsCors && state.handshake && admitsHandshake(x)) || undefined
      extras = JSON.stringify({ origin, skipsCors: skipsCors || undefined, admitted, params, counted, proofs, earlier, waited })
    }
    return go(x, native.decide(handle, headOf(req, state, owner, protect, x.next), extras))
  }

  // The earlier handlers that the core asks again where the request waits here. One that does
  // nothing but check a body that was read before has nothing to wait for.
  function askedAgain(state) {
    const { passed } = state
    if (passed === null || (only === 'payload' && state.raw !== null && !state.waited)) return undefined
    // The number of a stack means something to its own core alone; the handler of another one can't
    // be asked here.
    return passed.filter((handler) => handler.core === CORE).map((handler) => handler.stack)
  }

  function go(x, answer) {
    if (typeof answer === 'string') return act(x, read(answer))
    // The ticket of a request that waits for a shared store.
    wait(answer, settle, x)
    return false
  }

  function settle(ticket, x) {
    attempt(x, () => go(x, native.settle(ticket)))
  }

  function act(x, answer) {
    const { req, res } = x
    if (answer[TICKET] !== '') x.ticket = Number(answer[TICKET])
    if (answer.length > RECEIPT) keepReceipt(x.state, req, res, Number(answer[RECEIPT]))
    // While we waited, the client went away or another handler has answered.
    if (isOver(x.req, x.res)) {
      abandon(x)
      return false
    }
    if (!res.headersSent) answerHeaders(x, answer)
    takeAnswer(req, answer)
    if (answer[CLAIMS] !== '') {
      req.user = readClaims(answer[CLAIMS])
      if (viewOf(req, x.state).get('dpop') !== undefined) x.state.noteProof(answer[TOKEN])
    }
    if (answer[LIMITS] !== '') x.state.count(owner, answer[LIMITS])
    switch (answer[KIND]) {
      case PASS:
        return pass(x, answer[HAS_BODY], answer[CHECKED])
      case READ_BODY:
        return takeBody(x, answer[READING])
      case REFUSE:
        return refuse(x, Number(answer[STATUS]), answer[CODE], answer[PROBLEM], answer[LIMIT])
      case PREFLIGHT:
        tell(x, 'preflight', Number(answer[STATUS]))
        return end(res, Number(answer[STATUS]), undefined)
      case ASK_KEYS:
        return askForKeys(x)
      case ASK_CERTIFICATE:
        return showCertificate(x)
      case DELAY:
        return hold(x, Number(answer[WAIT_MS]))
      default:
        throw new Error('unknown answer of the core')
    }
  }

  // A ticket is good once.
  function spend(x) {
    const { ticket } = x
    x.ticket = null
    return ticket
  }

  function abandon(x) {
    if (x.ticket !== null) native.abandon(spend(x))
  }

  // Its turn comes later; the core has the request's place, and bounds how many there are.
  function hold(x, ms) {
    const { req, res } = x
    const timer = setTimeout(() => {
      closeOf(req, res).off('close', gone)
      attempt(x, () => go(x, native.wake(spend(x))))
    }, ms)
    // The connection keeps the process up, as long as there is one.
    timer.unref()
    closeOf(req, res).once('close', gone)
    return false

    function gone() {
      clearTimeout(timer)
      abandon(x)
    }
  }

  function answerHeaders({ res, decisions }, answer) {
    if (answer[SECURE] === '1' && headers !== null && decisions.headers === headers) putHeaders(res, headers.secure)
    if (answer[HEADERS] !== '') {
      const { vary, fields } = readHeaders(answer[HEADERS])
      if (cors !== null) noteCors(decisions, fields)
      for (let i = 0; i < vary.length; i += 1) addVary(res, vary[i])
      putHeaders(res, fields)
    }
    if (answer[RATE_LIMIT] !== '') res.setHeader('RateLimit', answer[RATE_LIMIT])
  }

  function askForKeys(x) {
    const keys = askKeys.map(([name, option, fn]) => [name, option, checkedKey(name, option, fn(x.req))])
    return go(x, native.resume(spend(x), JSON.stringify(keys)))
  }

  function showCertificate(x) {
    const fingerprint = fingerprintOf(x.req)
    return go(x, native.certified(spend(x), fingerprint))
  }

  function takeBody(x, reading) {
    const { req, state } = x
    // `102400`, or `102400 form`, or `102400 json gzip`
    const [most, format, coding] = reading.split(' ')
    const limit = Number(most)
    // Bytes that were read before are decompressed already.
    const bytes = state.raw ?? parsedElsewhere(req, format === 'form')
    if (bytes !== null) return judgeBody(x, bytes)
    readBody(
      req,
      limit,
      bodies.timeout,
      (read) => attempt(x, () => (coding === undefined ? judgeBody(x, read) : expand(x, read, coding, limit))),
      () => abandon(x),
      () => attempt(x, () => withoutBody(x, 'late'))
    )
    return false
  }

  function expand(x, bytes, coding, limit) {
    // What is too large as it came is refused as such, and not decompressed.
    if (bytes.length > limit) return judgeBody(x, bytes)
    inflate(bytes, coding, bodies.ratio, limit, (expanded, fault) =>
      attempt(x, () => (fault === null ? judgeBody(x, expanded) : withoutBody(x, fault)))
    )
    return false
  }

  function withoutBody(x, why) {
    return go(x, native.refuseBody(spend(x), why))
  }

  function judgeBody(x, bytes) {
    x.state.raw = bytes
    x.req._body = true // other body parsers leave the request alone
    const answer = native.decideBody(spend(x), bytes)
    if (answer !== undefined) return go(x, answer)
    // It passes, and there is nothing to add. While we waited, though, the client may have gone away.
    return isOver(x.req, x.res) ? false : pass(x, JSON_BODY, '')
  }

  function pass(x, body, checked) {
    const { req, state } = x
    let valid
    if (keepsValid || second.length > 0 || body === WRITTEN_BODY) valid = checked === '' ? {} : JSON.parse(checked)
    // A stack without a schema of its own leaves what an earlier one has made of the body: it may have dropped members.
    if (body !== '' && (!state.hasBody || checksBody)) {
      req.body = body === WRITTEN_BODY ? valid.body : JSON.parse(state.raw.toString())
      state.hasBody = true
    }
    if (keepsValid || second.length > 0) {
      if (checksBody) valid.body = req.body
      else delete valid.body // what has no schema is not called valid
      if (second.length > 0) {
        const problem = checkSecondStage(second, valid)
        if (problem !== null) return refuse(x, 422, 'validation_failed', problem)
        if (checksBody) req.body = valid.body
      }
      if (keepsValid) {
        state.valid ??= new Map()
        state.valid.set(protect, valid)
      }
    }
    if (isAskedAgain) state.pass(protect)
    state.waited = false
    if (wantsResponse) guardResponse(x.res, handle, onResponse, (status, problem) => tellResponse(x, status, problem))
    tell(x, 'allow')
    return true
  }

  // An answer of the application that is not as its schema says.
  function tellResponse(x, status, problem) {
    const errors = problem === null ? [] : (JSON.parse(problem).errors ?? [])
    const places = errors.map(({ pointer, code }) => `${pointer} ${code}`).slice(0, 3).join(', ')
    warnOnce('GUARD_RESPONSE', `an answer with the status ${status} is not as its schema says: ${places}`)
    tell(x, 'response', status, 'response_mismatch')
  }

  function refuse(x, status, code, problem, limit = '') {
    tell(x, 'refuse', status, code, limit)
    return end(x.res, status, problem)
  }

  // A fault on our side, or in a function of the application: never a pass.
  function fail(x, error) {
    abandon(x)
    warnOnce('GUARD_FAULT', `a request was refused with 500, since a layer failed: ${describeError(error)}`)
    if (!x.res.writableEnded) refuse(x, 500, 'internal_error', FAULT)
  }

  function tell(x, outcome, status, code, limit = '') {
    if (owner.log === undefined) return
    const { req } = x
    const guard = guardOf(req)
    const failed = (error) => warnOnce('GUARD_LOG_FAILED', `the log function threw: ${describeError(error)}`)
    const event = {
      time: new Date().toISOString(),
      id: guard.id,
      client: guard.client,
      method: req.method,
      path: pathOf(req),
      outcome,
      status,
      code,
      limit: limit === '' ? undefined : limit,
      user: req.user?.sub,
      reasons: guard.reasons,
      shadow: hasShadow ? guard.limits.filter((limit) => limit.wouldRefuse === true).map((limit) => limit.name) : undefined
    }
    try {
      const logged = owner.log(event)
      if (typeof logged?.then === 'function') Promise.resolve(logged).then(undefined, failed)
    } catch (error) {
      failed(error)
    }
  }

  // The closures hold the guard, so that it is not collected while a handler of it is in use.
  protect.guard = owner.pin
  protect.stack = handle
  protect.core = CORE
  protect.whole = only === null
  whenCollected(protect, releaserOf(owner.handle, handle))
  return protect
}

/**
 * Gives the memory of a stack back: some build a handler for each request. It stands out here,
 * since a function made inside of `buildStack` would hold the handler itself.
 */
function releaserOf(guard, stack) {
  return () => native.releaseStack(guard, stack)
}

// The client's certificate: what TLS has proved, and nothing that a header says. `authorized` is no help: where a session
// is resumed, Node says so of clients without a certificate, too.
const fingerprintOf = ({ socket }) => socket.getPeerX509Certificate?.()?.fingerprint256

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

module.exports = { buildStack }

'use strict'

const { isIP } = require('node:net')
const { setTimeout: sleep } = require('node:timers/promises')
const native = require('../native.js')
const { count, exactly, last, onlyOption, optional, text } = require('./arguments.js')
const { checkProcesses } = require('./cluster.js')
const { GuardError, unwrap, warn, warnOnce } = require('./errors.js')
const { encode, encodeData, encodeOptions } = require('./encode.js')
const { clientKey } = require('./client-key.js')
const { checkOf } = require('./hosts/facts/check.js')
const { captureRaw } = require('./hosts/node-http/body.js')
const { errorHandler, refuseAs } = require('./hosts/node-http/errors.js')
const { buildHandler } = require('./hosts/node-http/handler.js')
const { fromOpenApi } = require('./hosts/node-http/openapi.js')
const { sessionHandlers } = require('./hosts/node-http/sessions.js')
const { upgradeOf } = require('./hosts/node-http/upgrade.js')
const { identityFunctions } = require('./identity.js')
const { followIntrospection } = require('./introspection.js')
const { followIssuers } = require('./issuers.js')
const { followStore } = require('./outages.js')
const { toOpenApiOf } = require('./openapi/document.js')
const { readOptions } = require('./plain.js')
const { validOf } = require('./request.js')
const { keepRotating } = require('./rotation.js')
const { ownFunctions, readRoute, takePatterns } = require('./schema.js')
const { sessionsPart } = require('./session-options.js')
const { sessionCalls } = require('./sessions.js')
const { kConversation, kEmptySegments, kForget, whenCollected } = require('./shared.js')
const { internal, later, listen } = require('./store.js')
const { sessionOperations, tokenCalls } = require('./tokens.js')
const { look } = require('./watches.js')

/** How long `guard.ready()` waits for a shared store and for issuers, in milliseconds. */
const MAX_PATIENCE = 10_000

/** Which options of a guard are JSON, and where a Date is allowed. */
const READING = {
  isJson: (path) => path === 'payload.schemas' || path === 'policy.data',
  isTime: (path) => /^jwt\..*\.not(?:Before|After)$/.test(path)
}

// The default of `ipv6Prefix`.
const DEFAULT_IPV6_PREFIX = 56

/**
 * Builds a guard. Every option is checked now, and an invalid one throws a GuardError. types/
 * documents the options.
 */
function createGuard(...rest) {
  const config = readOptions('config', optional('config', rest, {}), READING)
  const { json, functions } = encode(takePatterns(forCore(config)))
  const sessions = sessionsPart(config)
  const { guard: handle, unknownInput, shared, fetches, introspects, rotation, refreshFor, leftOut } = ask(native.createGuard, json)
  // Needed even without a shared store: a handler of another guard with one may check this guard's
  // stack again while a request waits here.
  listen(handle)
  const keys = rotation === null ? null : keepRotating(handle, rotation, functions)
  const stops = [
    fetches ? followIssuers(handle, functions) : undefined,
    introspects ? followIntrospection(handle, functions) : undefined,
    shared ? followStore(handle) : undefined,
    keys?.stop
  ]
  const close = closerOf(handle, ...stops)
  checkProcesses(config)
  for (const sentence of leftOut) warn('GUARD_KEY_LEFT_OUT', sentence)
  if (unknownInput.length > 0) {
    const names = unknownInput.map((name) => `input.${name}`).join(', ')
    warnOnce('GUARD_POLICY_INPUT', `the policy reads ${names}, which no request has: is it misspelt?`)
  }
  const guard = {}
  // The part of the guard that handlers need; `pin` keeps it from being collected while one of them
  // is in use.
  const owner = {
    handle,
    functions,
    identities: identityFunctions(functions),
    own: ownFunctions(functions),
    log: config.log,
    onRefuse: config.onRefuse,
    trustsProxies: config.trustedProxies !== undefined,
    trustsUnix: Array.isArray(config.trustedProxies) && config.trustedProxies.includes('unix'),
    hasEmptySegments: config.paths?.emptySegments !== undefined,
    pin: guard
  }
  const route = (name, options) => readRoute(name, options, owner.own)
  const layer = (name, option) => (...given) => {
    const options = optional(option, given)
    if (options === false) {
      throw new GuardError(`\`${option}\` can't be false where its layer is mounted alone: leave the handler out`, { code: 'ERR_INVALID_OPTION', path: option })
    }
    return buildHandler(owner, options === undefined ? undefined : readOptions(option, { [option]: options }), name)
  }
  // Calls that may need a store return a promise, even with the memory store: a store may be on
  // another machine.
  const call = (fn, ...args) => ask(fn, handle, ...args)
  const soon = (fn, ...args) => later(answerOf(fn, handle, ...args))
  const limit = (fn, name, key, ...args) => soon(fn, text('name', name), parts(key), ...args)

  const list = (action, key, ttl, reason) =>
    soon(native.listClient, action, encodeData('key', key), encodeData('ttl', ttl ?? null), reason === undefined ? undefined : text('reason', reason))
  // Three arguments are a limit's name, a key and a duration, unless the first one can only be a
  // client.
  const isOfLimit = (first, third) =>
    third !== undefined && typeof first === 'string' && (isIP(first.split('/', 1)[0]) === 0 || call(native.knowsLimit, first))

  let handshakes = null
  const wholeStack = () => (handshakes ??= [buildHandler(owner, undefined, null)])
  const validating = (handler) => Object.assign(handler, { valid: (req) => validOf(req, handler[kConversation]) })

  const operations = tokenCalls(call, soon, (fn, ...args) => answerOf(fn, handle, ...args), keys)

  Object.assign(guard, {
    securityStack: (...given) =>
      spreadable(validating(buildHandler(owner, given.length === 0 ? undefined : route('route', optional('route', given)), null))),
    upgrade: upgradeOf(owner, wholeStack),
    check: checkOf(owner, wholeStack),
    headers: layer('headers', 'headers'),
    cors: layer('cors', 'cors'),
    csrf: layer('csrf', 'csrf'),
    rateLimit: layer('rateLimit', 'rateLimit'),
    authenticate: layer('jwt', 'jwt'),
    authorize: layer('policy', 'policy'),
    require: (...given) => buildHandler(owner, given.length === 0 ? {} : demandsOf(optional('demands', given)), 'require'),
    captureRaw,
    validate: (...given) => validating(buildHandler(owner, checked(route('schemas', optional('schemas', given))), 'payload')),
    fromOpenApi: (doc, ...given) => fromOpenApi(owner, buildHandler, doc, optional('options', given, {})),
    toOpenApi: toOpenApiOf(owner, config, wholeStack),
    limits: Object.freeze({
      consume: async (name, key, ...cost) => limit(native.limitConsume, name, key, costOf(cost)),
      get: exactly('limits.get', (name, key) => limit(native.limitGet, name, key)),
      penalize: async (name, key, ...cost) => void (await limit(native.limitPenalize, name, key, costOf(cost))),
      reward: async (name, key, ...cost) => void (await limit(native.limitReward, name, key, costOf(cost))),
      block: exactly('limits.block', async (first, second, third) => {
        if (isOfLimit(first, third)) await limit(native.limitBlock, first, second, encodeData('duration', third))
        else await list('block', first, second, third)
      }),
      allow: exactly('limits.allow', async (key, ttl) => void (await list('allow', key, ttl))),
      set: exactly('limits.set', async (policy) => void (await soon(native.limitSet, encodeOptions('policy', policy, 'policy')))),
      signal: exactly('limits.signal', async (key, options) => {
        await soon(native.limitSignal, encodeData('key', key), encodeOptions('options', options, 'options'))
      }),
      unblock: exactly('limits.unblock', async (key) => void (await list('unblock', key))),
      reset: exactly('limits.reset', async (name, key) => void (await limit(native.limitReset, name, key)))
    }),
    ...operations,
    apiKeys: Object.freeze({
      create: (...rest) => call(native.apiKeyCreate, prefixIn(rest)),
      digest: (key) => call(native.apiKeyDigest, text('key', key)),
      revoke: exactly('apiKeys.revoke', async (key) => void (await soon(native.apiKeyRevoke, text('key', key))))
    }),
    sessions: sessionCalls(sessions, sessionOperations(call, soon), refreshFor, (options, calls) => sessionHandlers(owner, options, calls)),
    policy: Object.freeze({
      evaluate: async (input, ...query) => call(native.policyEvaluate, encodeData('input', input), query.length === 0 ? undefined : text('query', last('query', query)))
    }),
    clientKey: (req) => clientKey(req, config.ipv6Prefix ?? DEFAULT_IPV6_PREFIX),
    errors: () => errorHandler(owner),
    refuse: (res, status, code, ...detail) => refuseAs(owner, res, status, code, optional('detail', detail)),
    health: () => call(native.health),
    ready: async () => {
      const end = performance.now() + MAX_PATIENCE
      while (!call(native.health).ready) {
        if (performance.now() > end) throw notReady(call(native.health), answerOf(native.storeFault, handle))
        await sleep(20)
      }
    },
    close: async () => close()
  })
  // Whether a path may have empty segments somewhere: a router must not merge them.
  Object.defineProperty(guard, kEmptySegments, { value: config.paths?.emptySegments !== undefined })
  Object.defineProperty(guard, kForget, {
    value: () => {
      owner.identities.forget()
      return call(native.forgetAll)
    }
  })
  // A guard that is no longer referenced releases its memory, even without a call of close().
  whenCollected(guard, close)
  return Object.freeze(guard)
}

/**
 * Closes a guard once, for the first caller: `close()` or the garbage collector. It is a top-level
 * function, since a function made inside of `createGuard` would hold the guard itself.
 */
function closerOf(handle, ...stops) {
  let open = true
  return () => {
    if (!open) return
    open = false
    for (const stop of stops) stop?.()
    native.release(handle)
    // Open responses of a closed guard end.
    look()
  }
}

/**
 * The error of a `guard.ready()` that timed out; `fault` is why the store is unavailable, if known.
 */
function notReady({ store, issuers }, fault) {
  const issuer = issuers.find(({ state }) => state === 'not-ready')
  const within = `within ${MAX_PATIENCE / 1000} seconds`
  if (issuer === undefined || store.available === false) {
    const why = fault === '' ? '' : `: ${fault}`
    return new GuardError(`the store has not answered ${within}${why}; is it where \`store\` says?`, { code: 'ERR_STORE_UNAVAILABLE', status: 503 })
  }
  const why = issuer.error === null ? '' : ` (${issuer.error})`
  return new GuardError(`the issuer '${issuer.issuer}' has given no keys ${within}${why}; are they where \`jwt\` says?`, {
    code: 'ERR_ISSUER_UNAVAILABLE',
    status: 503
  })
}

/** Calls the core and unwraps its answer. */
function ask(fn, ...args) {
  return unwrap(answerOf(fn, ...args))
}

function answerOf(fn, ...args) {
  try {
    return fn(...args)
  } catch {
    throw internal()
  }
}

/** The options for the core: `log`, `onRefuse` and `sessions` stay in JavaScript. */
function forCore({ log, onRefuse, ...config }) {
  delete config.sessions
  checkFunction('log', log, 'one event')
  checkFunction('onRefuse', onRefuse, '(refusal, req, res, next)')
  return config
}

function checkFunction(path, value, what) {
  if (value === undefined || typeof value === 'function') return
  throw new GuardError(`\`${path}\` must be a function that takes ${what}`, { code: 'ERR_INVALID_OPTION', path })
}

/** A handler that can also be spread: `app.use(stack)` and `app.get('/', ...stack, handler)`. */
function spreadable(handler) {
  return Object.assign(handler, { [Symbol.iterator]: () => [handler].values() })
}

/**
 * The requirements of `require`. An object without any is a mistake: `require()` requires only a
 * token.
 */
function demandsOf(demands) {
  const read = readOptions('demands', demands)
  if (Object.keys(read).length > 0) return read
  throw new GuardError('`demands` names no demand; write require() where any token will do', { code: 'ERR_INVALID_OPTION', path: 'demands' })
}

/** The schemas of `validate`. An object without any check is a mistake. */
function checked(schemas) {
  if (Object.keys(schemas).some((key) => key !== 'payload' || schemas.payload !== false)) return schemas
  throw new GuardError('`schemas` names nothing to check; write { body: schema }, or { payload: {} } for the bytes of a body alone', {
    code: 'ERR_INVALID_OPTION',
    path: 'schemas'
  })
}

/** The `cost` argument of a call, or 1. */
const costOf = (rest) => (rest.length === 0 ? 1 : count('cost', last('cost', rest)))

/** The `prefix` in the options of `apiKeys.create`. */
function prefixIn(rest) {
  const prefix = onlyOption(rest, 'prefix')
  return prefix === undefined ? undefined : text('options.prefix', prefix)
}

/** A key with the parts of the limit's `key`: one string, or a list of them. */
function parts(key) {
  return Array.isArray(key) && key.length > 0 ? Array.from(key, (part) => text('key', part)) : [text('key', key)]
}

module.exports = { createGuard }

'use strict'

// `keepstone/hono`: the whole stack as Hono middleware, by `guard.check`.

const { GuardError } = require('../errors.js')
const { routeStack, takingOf } = require('./facts/check.js')
const { factsOf } = require('./node-http/facts.js')
const { isJsonType } = require('../response-check.js')
const { warnUnansweredPreflight } = require('../preflight.js')
const { problemOf } = require('../problem.js')
const { kConversation, kHandlers, kStreams, kTaker } = require('../shared.js')
const { OF_ANOTHER_CONTENT } = require('./node-http/response.js')

// Statuses whose answers can't have a body (Fetch standard, "null body status").
const BODYLESS = new Set([101, 103, 204, 205, 304])

/**
 * The middleware: `app.use(keepstone(guard))`, or `app.post('/orders', keepstone(guard, { body:
 * schema }), handler)`. Instead of options, `route` may be layers of the guard:
 * `keepstone(guard, guard.require({ scope }))`. `options.address(c)` returns the address of the
 * connection on servers that this file does not support.
 */
function keepstone(guard, route, options = {}) {
  if (typeof guard?.check !== 'function') {
    throw new GuardError('`guard` must be what createGuard returns; write app.use(keepstone(guard))', { code: 'ERR_MISSING_OPTION', path: 'guard' })
  }
  const stack = route === undefined ? undefined : routeStack(guard, route, 'route')
  const addressOf = options.address ?? knownAddress
  if (stack !== undefined && [stack].flat().some(hasOwnCors)) withOwnCors.add(guard)

  const middleware = async function keepstone(c, next) {
    const facts = { ...factsOfContext(c, addressOf), [kTaker]: () => takerOf(c, guard), [kStreams]: !hasEnd(c) }
    const result = await (stack === undefined ? guard.check(facts) : guard.check(facts, stack))
    if (!result.allowed) return new Response(result.body, { status: result.status, headers: [...result.headers] })
    if (result.user !== undefined) c.set('user', result.user)
    c.set('guard', result.guard)
    if (result.raw !== undefined) {
      c.set('body', result.body)
      restoreBody(c, result.raw)
    } else if (result.body !== undefined) {
      // A multipart body is read, and its bytes are not kept.
      c.set('body', result.body)
    } else if (facts.body !== null) {
      refuseJson(c)
    }
    const isWatched = endWithAnswer(c, result)
    try {
      await next()
      await finishResponse(c, result)
      warnUnanswered(c, guard)
    } finally {
      if (!isWatched) result.end(c.res?.status)
    }
    return undefined
  }
  middleware[kHandlers] = { guard, handlers: stack === undefined ? null : [stack].flat() }
  middleware[kTaking] = { guard, taking: stack === undefined ? null : takingOf([stack].flat()) }
  return middleware
}

// On a middleware: its guard, and how it reads a body that it declares.
const kTaking = Symbol('keepstone taking')

// Guards with a middleware that has CORS options of its own.
const withOwnCors = new WeakSet()

const hasOwnCors = (handler) => {
  const { cors } = handler[kConversation]
  return cors !== null && cors.decides && cors.isOn
}

/**
 * Hono runs no `app.post` for `OPTIONS`, and shows a middleware the routes of its own method alone:
 * which of them a preflight is about is not known here.
 */
function warnUnanswered({ req, res }, guard) {
  if (req.method !== 'OPTIONS' || !withOwnCors.has(guard) || res.headers.has('access-control-allow-origin')) return
  if (req.header('origin') !== undefined && req.header('access-control-request-method') !== undefined) warnUnansweredPreflight('give the middleware of the route to `app.options` as well, or mount it by `app.use`')
}

/**
 * How a later middleware of the guard that matches the request reads a body; null without one, and
 * behind a handler that can't pass the request on.
 */
function takerOf({ req }, guard) {
  for (const { handler } of req.matchedRoutes.slice(req.routeIndex + 1)) {
    const own = handler[kTaking]
    if (own?.guard === guard && own.taking !== null) return own.taking
    if (handler.length < 2) return null
  }
  return null
}

/**
 * Hono's `c.req.json()` parses a body of any type: one that no layer has judged is not JSON for a
 * handler. Other readers of the request get it as it is.
 */
function refuseJson(c) {
  const problem = problemOf(415, 'unsupported_media_type', 'the body must be sent as application/json')
  c.req.json = async () => {
    throw Object.assign(new GuardError('the body is no JSON that the guard has checked', { code: 'ERR_INVALID_ARGUMENT', status: 415 }), {
      getResponse: () => new Response(problem, { status: 415, headers: { 'content-type': 'application/problem+json' } })
    })
  }
}

function factsOfContext(c, addressOf) {
  const { raw } = c.req
  const { incoming } = c.env ?? {}
  const target = targetOf(raw.url)
  const facts = incoming?.rawHeaders === undefined
    ? { method: raw.method, target, headers: raw.headers, tls: raw.url.startsWith('https:'), body: raw.body }
    : { ...factsOf(incoming, target), method: raw.method }
  // The bytes come from the framework: another middleware may have read the request itself.
  return { ...facts, body: facts.body === null ? null : raw.body, address: addressOf(c), route: routeOf(c), params: c.req.param(), signal: raw.signal, source: c }
}

/** Path and query, as Hono's router reads them. */
function targetOf(url) {
  const { pathname, search } = new URL(url)
  return pathname + search
}

/** The pattern of the route that answers; '' if only a wildcard matches. */
function routeOf(c) {
  const path = c.req.matchedRoutes?.at(-1)?.path ?? ''
  return path.endsWith('*') ? '' : path
}

/** The address on @hono/node-server, Bun and Deno. */
function knownAddress({ env, req }) {
  return env?.incoming?.socket?.remoteAddress ?? (env?.server ?? env)?.requestIP?.(req.raw)?.address ?? env?.remoteAddr?.hostname ?? ''
}

/** Replaces the consumed body: later readers of the request get the same bytes, decompressed. */
function restoreBody(c, raw) {
  const headers = new Headers(c.req.raw.headers)
  headers.delete('content-encoding')
  headers.delete('content-length')
  const { url, method, signal } = c.req.raw
  delete c.req.json // an earlier layer may have left the body to this one
  c.req.raw = new Request(url, { method, headers, signal, body: raw.length === 0 ? undefined : raw })
}

/** Headers that a handler has set itself are kept; `Vary` is extended. */
async function finishResponse(c, result) {
  addCookies(c, result)
  for (const [name, value] of result.headers) {
    if (name.toLowerCase() === 'set-cookie') continue
    if (!c.res.headers.has(name)) c.header(name, value)
    else if (name === 'Vary') addVary(c, value)
  }
  for (const name of result.remove) if (c.res.headers.has(name)) c.header(name, undefined)
  const { status, headers, body } = c.res
  if (body === null || BODYLESS.has(status) || !isJsonType(headers.get('content-type'))) return
  if (!result.checksResponse) return
  const text = await c.res.text()
  const instead = result.checkResponse(status, text)
  const sent = new Headers(headers)
  if (instead !== null) {
    for (const name of [...OF_ANOTHER_CONTENT, 'Content-Length']) sent.delete(name)
    sent.set('content-type', instead.type)
  }
  c.res = undefined
  c.res = new Response(instead?.body ?? text, { status: instead?.status ?? status, headers: sent })
}

/**
 * Puts the guard's cookies before those of the handler: of two with one name a browser keeps the
 * last one, and the guard clears a dead cookie that a log-in sets anew.
 */
function addCookies(c, result) {
  const cookies = [...result.headers].filter(([name]) => name.toLowerCase() === 'set-cookie').map(([, value]) => value)
  if (cookies.length === 0) return
  const own = c.res.headers.getSetCookie()
  c.header('Set-Cookie', undefined)
  for (const value of [...cookies, ...own]) c.header('Set-Cookie', value, { append: true })
}

function addVary(c, value) {
  const have = c.res.headers.get('Vary').toLowerCase().split(/\s*,\s*/)
  const more = value.split(', ').filter((name) => !have.includes('*') && !have.includes(name.toLowerCase()))
  if (more.length > 0) c.header('Vary', more.join(', '), { append: true })
}

/**
 * Whether an event signals the end of the answer: Node's response emits one, even if its client
 * disconnects. On other servers the answer is over once the handlers have made it.
 */
function endWithAnswer(c, result) {
  if (!hasEnd(c)) return false
  const { outgoing } = c.env
  outgoing.once('close', () => result.end(outgoing.writableFinished ? outgoing.statusCode : undefined))
  return true
}

const hasEnd = ({ env }) => typeof env?.outgoing?.once === 'function'

module.exports = { keepstone }

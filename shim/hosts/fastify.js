'use strict'

// `keepstone/fastify`: the whole stack on every route, by `guard.check`.

const { Readable } = require('node:stream')
const { GuardError } = require('../errors.js')
const { addVary } = require('../headers.js')
const { factsOf } = require('./node-http/facts.js')
const { isJsonType } = require('../response-check.js')
const { kConversation, kEmptySegments, kRoutes } = require('../shared.js')
const { OF_ANOTHER_CONTENT } = require('./node-http/response.js')

/** The error that Fastify's error handlers receive for a refused request. */
class RequestRefused extends Error {
  constructor({ status, code, body }) {
    super(JSON.parse(body).detail ?? code)
    this.name = 'RequestRefused'
    this.statusCode = status
    this.code = code
    this.problem = body
  }
}

/** The plugin: `app.register(keepstone, { guard })`. */
async function keepstone(fastify, { guard }) {
  if (typeof guard?.check !== 'function') {
    throw new GuardError('`guard` must be what createGuard returns; write app.register(keepstone, { guard })', { code: 'ERR_MISSING_OPTION', path: 'guard' })
  }
  const { ignoreDuplicateSlashes, routerOptions } = fastify.initialConfig
  if (guard[kEmptySegments] && (ignoreDuplicateSlashes === true || routerOptions?.ignoreDuplicateSlashes === true)) {
    throw new GuardError("`paths.emptySegments` can't be used where Fastify merges slashes: the layers would judge another path; leave out `ignoreDuplicateSlashes`", { code: 'ERR_CONFLICTING_OPTIONS', path: 'paths.emptySegments' })
  }
  const targetOf = splitsAtSemicolons(fastify) ? withoutSemicolon : (url) => url
  const kStack = Symbol('keepstone stack')
  if (!fastify.hasConstraintStrategy(PREFLIGHT.name)) fastify.addConstraintStrategy(PREFLIGHT)
  const routes = (fastify.server[kRoutes] ??= [])
  const results = new WeakMap()
  // The `Vary` of the guard, by request.
  const varies = new WeakMap()
  for (const name of ['user', 'guard']) if (!fastify.hasRequestDecorator(name)) fastify.decorateRequest(name, undefined)

  // Fastify calls it with the instance that has the route.
  fastify.addHook('onRoute', function (route) {
    const options = route.config?.keepstone
    // The routes that answer preflights, which this plugin adds itself.
    if (options === undefined && route.config !== undefined && kStack in route.config) return
    const stack = options === undefined ? undefined : options === false ? null : guard.securityStack(options)
    routes.push({ guard, methods: [route.method].flat(), url: route.url, stack })
    if (options === undefined) return
    route.config = { ...route.config, [kStack]: stack }
    if (options.cors !== undefined) addPreflights(this, route, { [kStack]: stack })
    const readsParts = stack !== null && [...stack][0][kConversation].readsParts
    // Fastify refuses a type for which it has no parser, and the check has read the body by then.
    if (readsParts && !this.hasContentTypeParser('multipart/form-data')) {
      this.addContentTypeParser('multipart/form-data', (request, _payload, done) => done(results.has(request) ? null : new Error('no layer has read this body'), undefined))
    }
  })

  fastify.addHook('onRequest', async (request, reply) => {
    const { config, url } = request.routeOptions
    const stack = config?.[kStack]
    if (stack === null) return undefined
    const gone = new AbortController()
    reply.raw.once('close', () => gone.abort())
    const facts = { ...factsOf(request.raw, targetOf(request.raw.url)), route: url ?? '', params: request.params, signal: gone.signal, source: request }
    const result = await (stack === undefined ? guard.check(facts) : guard.check(facts, stack))
    for (const name of result.remove) reply.removeHeader(name)
    // On a refusal, the code that sends the answer sets the headers of the body.
    const vary = setHeaders(reply, result.allowed ? result.headers : result.headers.filter(([name]) => !/^content-(?:type|length)$/i.test(name)))
    if (vary !== undefined) varies.set(request, vary)
    if (!result.allowed && result.body !== null) throw new RequestRefused(result)
    if (!result.allowed) return reply.code(result.status).send()
    results.set(request, result)
    reply.raw.once('close', () => result.end(reply.raw.writableFinished ? reply.raw.statusCode : undefined))
    if (result.user !== undefined) request.user = result.user
    request.guard = result.guard
    return undefined
  })

  // The check has read the body, so Fastify receives its bytes again.
  fastify.addHook('preParsing', async (request, _reply, payload) => {
    const raw = results.get(request)?.raw
    if (raw === undefined) return payload
    const stream = Readable.from(raw.length === 0 ? [] : [raw])
    // Fastify compares this with `Content-Length`, which differs for a compressed body.
    stream.receivedEncodedLength = Number(request.headers['content-length'] ?? raw.length)
    return stream
  })

  fastify.addHook('preValidation', async (request) => {
    const result = results.get(request)
    // Of a multipart body there are no bytes.
    if (result?.raw !== undefined || result?.body !== undefined) request.body = result.body
  })

  fastify.addHook('onSend', async (request, reply, payload) => {
    const result = results.get(request)
    if (result === undefined) return payload
    for (const name of result.remove) reply.removeHeader(name)
    // A handler may have set its own since.
    const vary = varies.get(request)
    if (vary !== undefined) addVary({ getHeader: (name) => reply.getHeader(name), setHeader: (name, value) => reply.header(name, value) }, vary)
    const isText = typeof payload === 'string' || Buffer.isBuffer(payload)
    if (!isText || !isJsonType(reply.getHeader('content-type'))) return payload
    const instead = result.checkResponse(reply.statusCode, payload)
    if (instead === null) return payload
    for (const name of [...OF_ANOTHER_CONTENT, 'Content-Length']) reply.removeHeader(name)
    reply.code(instead.status).header('content-type', instead.type)
    return instead.body
  })

  // An error handler of the application receives refusals like other errors.
  const { errorHandler } = fastify
  if (errorHandler.name !== 'defaultErrorHandler') return
  fastify.setErrorHandler(function (error, request, reply) {
    if (!(error instanceof RequestRefused)) return errorHandler.call(this, error, request, reply)
    return reply.code(error.statusCode).type('application/problem+json').send(Buffer.from(error.problem))
  })
}

/**
 * Whether the router takes `;` for the beginning of the query, as that of Fastify 4 does unless
 * `useSemicolonDelimiter` is false.
 */
function splitsAtSemicolons({ initialConfig, version }) {
  const { useSemicolonDelimiter, routerOptions } = initialConfig
  return (routerOptions?.useSemicolonDelimiter || useSemicolonDelimiter) ?? version.startsWith('4.')
}

/** The target with the path that such a router reads: it runs the handler of `/a` for `/a;b`. */
function withoutSemicolon(url) {
  return url.replace(/^([^?;]*);/, '$1?')
}

/**
 * Preflights of routes with `cors` have routes of their own, by the method that they ask for: one
 * path may have other options for each of its methods, and an `OPTIONS` route of the application.
 */
const PREFLIGHT = {
  name: 'keepstonePreflight',
  storage() {
    const routes = new Map()
    return { get: (method) => routes.get(method) ?? null, set: (method, route) => routes.set(method, route) }
  },
  deriveConstraint({ method, headers }) {
    return method === 'OPTIONS' && headers.origin !== undefined ? headers['access-control-request-method'] : undefined
  },
  validate() {}
}

/** Routes the preflights of `route`, which was added to `scope`, to the stack in `config`. */
function addPreflights(scope, route, config) {
  const { method, url, routePath, prefixTrailingSlash } = route
  for (const asked of [method].flat()) {
    const constraints = { ...route.constraints, [PREFLIGHT.name]: asked }
    if (asked === 'OPTIONS' || scope.hasRoute?.({ method: 'OPTIONS', url, constraints })) continue
    scope.route({
      method: 'OPTIONS',
      // Of a route for a prefix with and without a slash, Fastify shows the first.
      url: routePath === '' && prefixTrailingSlash !== 'no-slash' ? '/' : routePath,
      constraints,
      prefixTrailingSlash,
      schema: { hide: true },
      config,
      // Without CORS, as if there were no such route.
      handler: (_request, reply) => reply.callNotFound()
    })
  }
}

/** `Vary` is added to the existing value, and returned; other headers replace it. */
function setHeaders(reply, headers) {
  let vary
  for (const [name, value] of headers) {
    const isVary = name.toLowerCase() === 'vary'
    if (isVary) vary = value
    const old = isVary ? reply.getHeader(name) : undefined
    reply.header(name, old === undefined ? value : `${old}, ${value}`)
  }
  return vary
}

// Its hooks apply to all routes, including those outside of the registering scope.
keepstone[Symbol.for('skip-override')] = true
keepstone[Symbol.for('fastify.display-name')] = 'keepstone'
keepstone[Symbol.for('plugin-meta')] = { name: 'keepstone', fastify: '>=4.10' }

module.exports = { keepstone, RequestRefused }

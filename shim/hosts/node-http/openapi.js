'use strict'

// `guard.fromOpenApi`: a document's operations as handlers. The core reads the document
// (src/openapi), finds the operation of a request, and provides the schemas of each. This file runs
// the checks of the operation: its access rules and its input. The handlers of an operation are
// built on first use.

const native = require('../../../native.js')
const { GuardError, describeError, unwrap, warnOnce } = require('../../errors.js')
const { encode } = require('../../encode.js')
const { viewOf } = require('./head.js')
const { refuse } = require('./refuse.js')
const { isOver } = require('./response.js')
const { stateOf } = require('./state.js')
const { readDocument, readOptions } = require('../../plain.js')
const { validOf } = require('../../request.js')
const { kConversation, whenCollected } = require('../../shared.js')

/**
 * Reads a document and builds its guard. `owner` is the guard's internal object, `buildHandler`
 * that of ./handler.js.
 */
function fromOpenApi(owner, buildHandler, doc, options) {
  if (typeof doc === 'string' || Buffer.isBuffer(doc)) {
    throw new GuardError('`doc` must be an OpenAPI document as an object, not its text; parse it first, with JSON.parse or a YAML parser', {
      code: 'ERR_INVALID_OPENAPI',
      path: 'doc'
    })
  }
  const { json, functions } = encode(readOptions('options', options, { prefix: 'options' }))
  const plan = unwrap(native.openApi(owner.handle, JSON.stringify(readDocument(doc)), json))
  const { refusesUnknown } = plan
  const bases = plan.bases.map((base) => `'${base}'`).join(' and ')
  const schemeOf = (name) => functions.get(`security.${name}`)
  // Every user of the document holds this object.
  const document = { number: plan.api }
  whenCollected(document, releaserOf(plan.api))
  const operations = plan.operations.map((described, number) => new Operation(owner, buildHandler, document, number, described, schemeOf))
  // The match of each request: the operation, and the handler that has checked it.
  const seen = new WeakMap()

  function handler(req, res, next) {
    const state = stateOf(req)
    state.next = next
    const { method, target } = viewOf(req, state)
    const found = built(owner, req, res, () => native.openApiFind(document.number, method, target, mountOf(req)))
    if (found === undefined) return undefined
    switch (found[0]) {
      case '=': {
        const end = found.indexOf('\n')
        const params = end + 1 === found.length ? {} : JSON.parse(found.slice(end + 1))
        return run(operations[Number(found.slice(1, end))], params, req, res, next)
      }
      case '!':
        // CORS decides which origins are allowed, and the application which methods exist.
        if (!refusesUnknown || req.method === 'OPTIONS') return next()
        setOn(res, 'Allow', found.slice(1))
        return refuse(owner, req, res, 405, 'method_not_allowed', 'the path has other methods only')
      case '?':
        if (!refusesUnknown || req.method === 'OPTIONS') return next()
        return refuse(owner, req, res, 404, 'unknown_route', 'no operation of this API has this path')
      case '-':
        if (req.method === 'OPTIONS') return next()
        if (refusesUnknown) return refuse(owner, req, res, 404, 'unknown_route', 'the path is outside of this API')
        warnOnce('GUARD_OPENAPI_OUTSIDE', `a request passed \`api.handler\` unchecked, since its URL as it arrived lies outside of the document, whose paths begin with ${bases}: set \`basePath\` to what stands before them, mount the handler there alone, or set \`unknown: 'refuse'\``)
        return next()
      default: {
        const [code, status, detail] = found.slice(1).split('\n')
        return refuse(owner, req, res, Number(status), code, detail)
      }
    }
  }

  // `params` is undefined if the application's router has matched the path and has them in
  // `req.params`.
  function run(operation, params, req, res, next) {
    operation.admit(req, res, () => {
      const validate = built(owner, req, res, () => operation.validator(req))
      if (validate === undefined) return undefined
      if (validate === null) return refuse(owner, req, res, 415, 'unsupported_media_type', operation.noBody)
      const state = stateOf(req)
      // Only for this very call: another handler on this request has other parameters.
      state.params = params
      try {
        validate(req, res, () => {
          state.params = undefined
          seen.set(req, [operation, validate])
          next()
        })
      } finally {
        state.params = undefined
      }
    })
  }

  const named = (name) => {
    if (typeof name !== 'string') {
      throw new GuardError("`operation` must be a string: an operationId, or a method and a path such as 'GET /users/{id}'", {
        code: 'ERR_INVALID_ARGUMENT',
        path: 'operation'
      })
    }
    return operations[unwrap(native.openApiOperation(document.number, name))]
  }

  const result = {
    handler,
    stack(name) {
      const operation = named(name)
      const mounted = (req, res, next) => {
        const state = stateOf(req)
        state.next = next
        state.mounted = mounted
        state.mountedNext = next
        run(operation, undefined, req, res, next)
      }
      mounted.guard = owner.pin
      return [mounted]
    },
    valid(req) {
      const known = seen.get(req)
      if (known === undefined) {
        throw new GuardError('this request has not passed an operation of this document; mount `handler` or the stack of the operation before', {
          code: 'ERR_INVALID_ARGUMENT'
        })
      }
      const [operation, validate] = known
      return { operation: operation.shown, ...validOf(req, validate[kConversation]) }
    },
    operations: Object.freeze(operations.map((operation) => operation.shown))
  }
  // The handlers hold the guard, so that it is not collected while one of them is in use.
  handler.guard = owner.pin
  return Object.freeze(result)
}

/** Releases the memory of a document that is no longer used. */
function releaserOf(number) {
  return () => native.openApiRelease(number)
}

/** One operation of a document. */
class Operation {
  #owner
  #buildHandler
  #document
  #number
  #media
  #bodyRequired
  #security
  #challenges
  #schemeOf
  /** The handlers that check the input, by the number of the media type; -1 for none. */
  #validators = new Map()
  #token = null

  constructor(owner, buildHandler, document, number, described, schemeOf) {
    this.#owner = owner
    this.#buildHandler = buildHandler
    this.#document = document
    this.#number = number
    this.#media = described.media
    this.#bodyRequired = described.bodyRequired
    this.#security = described.security
    this.#challenges = described.challenges
    this.#schemeOf = schemeOf
    const { operationId, method, path } = described
    this.shown = Object.freeze({ ...(operationId === null ? {} : { operationId }), method, path })
  }

  /** Why a body has no suitable media type. */
  get noBody() {
    return this.#media.length === 0
      ? 'this operation takes no body'
      : 'the body must be sent as one of the media types of this operation'
  }

  /**
   * The handler that checks the input of this request; null if no media type suits its body.
   */
  validator(req) {
    let body = -1
    const view = viewOf(req, stateOf(req))
    if (view.hasBody) {
      const media = mediaOf(view)
      body = this.#media.findIndex(([range]) => fits(media, range))
      if (body === -1) return null
    } else if (this.#bodyRequired) {
      // The handler of this media type reports the missing body along with other errors. A media
      // type that is not read has no schema that could report it.
      body = this.#media.findIndex(([, unread]) => !unread)
      if (body === -1) return null
    }
    let handler = this.#validators.get(body)
    if (handler === undefined) {
      const schemas = unwrap(native.openApiSchemas(this.#document.number, this.#number, body === -1 ? undefined : body))
      handler = this.#buildHandler(this.#owner, schemas, 'payload')
      this.#validators.set(body, handler)
    }
    return handler
  }

  /** Calls `pass` if the caller may call this operation, and answers otherwise. */
  admit(req, res, pass) {
    const alternatives = this.#security
    if (alternatives.length === 0) return pass()
    const always = alternatives.every((demands) => demands.some(isToken))
    const mayHave = always || alternatives.some((demands) => demands.some(isToken))
    const judge = (hasToken) => this.#judge(req, res, hasToken, pass)
    if (!mayHave) return judge(false)
    if (always) {
      // If there is only one alternative, the core itself checks the scopes.
      const scopes = alternatives.length === 1 ? alternatives[0].flatMap((demand) => (isToken(demand) ? demand.scopes : [])) : []
      const token = this.#tokenHandler(req, res, scopes.length === 0 ? {} : { scope: scopes }, 'require')
      return token?.(req, res, () => judge(true))
    }
    // Credentials of another scheme may be for a function of the application.
    const authorization = viewOf(req, stateOf(req)).get('authorization')
    const byFunction = alternatives.some((demands) => demands.some((demand) => !isToken(demand)))
    if (byFunction && authorization !== undefined && !/^(?:bearer|dpop) /i.test(authorization)) return judge(false)
    const token = this.#tokenHandler(req, res, { jwt: { optional: true } }, 'jwt')
    if (token === undefined) return undefined
    // Regardless of earlier handlers, this shows whether there is a token that this guard has
    // verified.
    const before = req.user
    req.user = undefined
    return token(req, res, () => {
      const hasToken = req.user !== undefined
      if (!hasToken) {
        if (before === undefined) delete req.user
        else req.user = before
      }
      judge(hasToken)
    })
  }

  /**
   * The handler that verifies tokens; undefined if it could not be built and the request was
   * refused.
   */
  #tokenHandler(req, res, options, layer) {
    this.#token ??= built(this.#owner, req, res, () => this.#buildHandler(this.#owner, options, layer)) ?? null
    return this.#token ?? undefined
  }

  #judge(req, res, hasToken, pass) {
    const scopes = hasToken ? this.#scopesOf(req.user) : null
    const waits = []
    for (const demands of this.#security) {
      const asked = []
      let met = true
      for (const demand of demands) {
        if (!isToken(demand)) asked.push(demand)
        else if (scopes === null || !hasAll(scopes, demand)) met = false
      }
      if (!met) continue
      if (asked.length === 0 && waits.length === 0) return pass()
      waits.push(asked)
    }
    const refused = () => this.#refuse(req, res, scopes)
    if (waits.length === 0) return refused()
    this.#settle(req, res, waits, pass, refused)
  }

  /** The scopes of a token, as the core reads them; empty if no alternative requires any. */
  #scopesOf(claims) {
    const asks = this.#security.some((demands) => demands.some((demand) => isToken(demand) && demand.scopes.length > 0))
    return new Set(asks ? JSON.parse(native.openApiScopes(JSON.stringify(claims))) : [])
  }

  async #settle(req, res, lists, pass, refused) {
    let goOn
    try {
      goOn = (await this.#ask(req, lists)) ? pass : refused
    } catch (error) {
      warnOnce('GUARD_FAULT', `a request was refused with 500, since a security function failed: ${describeError(error)}`)
      goOn = () => refuse(this.#owner, req, res, 500, 'internal_error', undefined)
    }
    // Meanwhile the client may have disconnected, or another handler may have answered.
    if (isOver(req, res)) return
    // Its token may have expired or been revoked meanwhile: the handler that checks the input
    // verifies it again.
    stateOf(req).waited = true
    // Errors of the next handler must propagate, and not reject this promise.
    setImmediate(goOn)
  }

  /** Whether all functions of one of these lists accept the request. Only `true` accepts. */
  async #ask(req, lists) {
    for (const demands of lists) {
      let met = true
      for (const { scheme, scopes } of demands) {
        if ((await this.#schemeOf(scheme)(req, { scheme, scopes, operation: this.shown })) !== true) {
          met = false
          break
        }
      }
      if (met) return true
    }
    return false
  }

  /** `scopes` are those of the token, null without one. */
  #refuse(req, res, scopes) {
    // The missing scopes of each alternative with a token. If one alternative misses none, the
    // refusal has another cause than the token.
    const missed = this.#security.map((demands) => demands.filter(isToken)).filter((demands) => demands.length > 0)
      .map((demands) => demands.find((demand) => scopes !== null && !hasAll(scopes, demand)))
    if (scopes !== null && missed.length > 0 && !missed.includes(undefined)) {
      const detail = 'a scope that is needed here is missing'
      const scope = `, scope="${missed[0].scopes.join(' ')}"`
      setOn(res, 'WWW-Authenticate', `Bearer realm="api", error="insufficient_scope", error_description="${detail}"${scope}`)
      return refuse(this.#owner, req, res, 403, 'insufficient_scope', detail)
    }
    setOn(res, 'WWW-Authenticate', this.#challenges.map((scheme) => `${scheme} realm="api"`))
    return refuse(this.#owner, req, res, 401, 'credentials_missing', 'the request has no credentials that are taken here')
  }
}

const isToken = (demand) => demand.scheme === undefined

const hasAll = (scopes, demand) => demand.scopes.every((scope) => scopes.has(scope))

/** The path where the handler is mounted: Express provides it, Connect only removes it. */
function mountOf({ baseUrl, originalUrl, url }) {
  if (baseUrl !== undefined) return baseUrl
  return originalUrl?.endsWith(url) ? originalUrl.slice(0, -url.length) : ''
}

/** The media type of the body, without its parameters, which the core checks. */
function mediaOf(view) {
  return (view.get('content-type') ?? '').split(';', 1)[0].trim().toLowerCase()
}

function fits(media, range) {
  if (range === media) return true
  if (!range.includes('*')) return false
  // A range stands for the JSON types in it (src/openapi/body.rs); the core refuses the others with
  // 415.
  return range === '*/*' || media.startsWith(range.slice(0, range.indexOf('*')))
}

/** The result of `make`; undefined if it fails and the request was refused. Never a pass. */
function built(owner, req, res, make) {
  try {
    return make()
  } catch (error) {
    if (error.code === 'ERR_CLOSED') {
      refuse(owner, req, res, 503, 'guard_closed', 'the guard of this API is closed')
    } else {
      warnOnce('GUARD_FAULT', `a request was refused with 500, since an operation could not be looked up: ${describeError(error)}`)
      refuse(owner, req, res, 500, 'internal_error', undefined)
    }
    return undefined
  }
}

/**
 * Sets a header, unless another handler has begun an answer: then the refusal aborts that answer.
 */
function setOn(res, name, value) {
  if (!res.headersSent) res.setHeader(name, value)
}

module.exports = { fromOpenApi }

'use strict'

// guard.tokens, guard.revoke and guard.jwks().

const { createHash } = require('node:crypto')
const native = require('../native.js')
const { readClaims } = require('./answer.js')
const { onlyOption, optional, seconds, text } = require('./arguments.js')
const { encodeData, encodeOptions } = require('./encode.js')
const { GuardError } = require('./errors.js')
const { later } = require('./store.js')

/** The start of `native.tokenVerify`'s answer for a valid token; its claims follow, and a brace. */
const CLAIMS_OF = '{"ok":'

/**
 * How long caches may keep the public keys, in seconds: less than a key is published before it
 * signs.
 */
const JWKS_MAX_AGE = 300

/**
 * `call` calls the core synchronously, `soon` may wait for a store; both throw errors. `raw`
 * returns the core's text unchanged. `keys` are the signing keys that rotate automatically, or
 * null.
 */
function tokenCalls(call, soon, raw, keys) {
  return {
    tokens: Object.freeze({
      issue: async (claims, ...rest) => issue(soon, claims, optional('options', rest, {})),
      refresh: async (token, ...rest) => refreshSession(call, soon, token, claimsOption(rest)),
      rotate: async () => {
        if (keys !== null) return keys.rotate()
        throw new GuardError('`jwt.rotation` must be set on the guard', { code: 'ERR_MISSING_OPTION', path: 'jwt.rotation' })
      },
      verify: async (token) => {
        const answer = raw(native.tokenVerify, text('token', token))
        return answer.startsWith(CLAIMS_OF) ? readClaims(answer.slice(CLAIMS_OF.length, -1)) : later(answer)
      },
      jwks: () => call(native.tokenJwks)
    }),
    revoke: Object.freeze({
      token: async (tokenOrJti, exp, ...rest) =>
        void (await soon(native.revokeToken, text('token', tokenOrJti), seconds('exp', exp), issuerIn(rest))),
      subject: async (sub, before, ...rest) =>
        void (await soon(native.revokeSubject, text('sub', sub), seconds('before', before), issuerIn(rest))),
      session: async (sid, ...rest) => void (await soon(native.revokeSession, text('sid', sid), issuerIn(rest))),
      key: async (kid, ...rest) => void (await soon(native.revokeKey, text('kid', kid), issuerIn(rest)))
    }),
    protectedResource() {
      const found = call(native.protectedResource)
      if (found === null) {
        throw new GuardError('`jwt.resource` must be set for `guard.protectedResource()`: write the URL of this API', { code: 'ERR_MISSING_OPTION', path: 'jwt.resource' })
      }
      return resourceHandler(found)
    },
    jwks() {
      call(native.tokenJwks) // a guard without tokens has no such endpoint
      return (req, res, next) => {
        let body
        try {
          body = JSON.stringify(call(native.tokenJwks))
        } catch (error) {
          return closed(res, error, next)
        }
        const tag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
        res.setHeader('Cache-Control', `public, max-age=${JWKS_MAX_AGE}`)
        res.setHeader('ETag', tag)
        if (isKnown(req.headers['if-none-match'], tag)) {
          res.statusCode = 304
          return res.end()
        }
        res.setHeader('Content-Type', 'application/jwk-set+json')
        res.setHeader('Content-Length', String(Buffer.byteLength(body)))
        res.end(req.method === 'HEAD' ? undefined : body)
      }
    }
  }
}

/** The calls of ./sessions.js. */
function sessionOperations(call, soon) {
  return {
    /** As `tokens.issue`, but refuses an access token of more than `maxSize` bytes. */
    issue: (claims, options, maxSize) => issue(soon, claims, options, maxSize),
    /** As `tokens.refresh`; `onNext` gets the next refresh token before `claims` is called. */
    refresh: (token, claims, onNext) => refreshSession(call, soon, token, claims, onNext),
    /**
     * Ends the session of an access token that was signed here; false for any other token. A bound
     * token counts only if `proven` is its `jti`.
     */
    end: async (token, proven) => (await soon(native.revokeSessionOf, text('token', token), proven)) !== false
  }
}

async function issue(soon, claims, options, maxSize) {
  return soon(native.tokenIssue, encodeData('claims', claims), encodeOptions('options', options, 'options'), maxSize)
}

async function refreshSession(call, soon, token, claims, onNext) {
  const session = await soon(native.tokenRefresh, text('refreshToken', token), claims !== undefined)
  if (claims === undefined) return session
  // The application may change the object that it receives, but not the session that the core
  // continues with.
  const kept = JSON.stringify(session)
  onNext?.(session.refreshToken)
  // Whatever fails in it, within `reuseWindow` the same token may be presented again.
  const changed = await claims(session.claims)
  return call(native.tokenContinue, kept, encodeData('claims', changed ?? session.claims))
}

/** The handler of `guard.protectedResource()`: the metadata of RFC 9728, at its well-known path. */
function resourceHandler(found) {
  const body = JSON.stringify(found.document)
  const handler = (req, res, next) => {
    const path = String(req.originalUrl ?? req.url).split('?', 1)[0]
    if (path !== found.path) {
      if (next !== undefined) return next()
      res.statusCode = 404
      return res.end()
    }
    // It is public, and clients in a browser read it as well.
    res.setHeader('Access-Control-Allow-Origin', '*')
    if (req.method === 'OPTIONS') {
      res.setHeader('Access-Control-Allow-Methods', 'GET')
      res.setHeader('Access-Control-Allow-Headers', 'mcp-protocol-version')
      res.statusCode = 204
      return res.end()
    }
    if (req.method !== 'GET' && req.method !== 'HEAD') {
      res.setHeader('Allow', 'GET, HEAD, OPTIONS')
      res.statusCode = 405
      return res.end()
    }
    res.setHeader('Cache-Control', `public, max-age=${JWKS_MAX_AGE}`)
    res.setHeader('Content-Type', 'application/json')
    res.setHeader('Content-Length', String(Buffer.byteLength(body)))
    res.end(req.method === 'HEAD' ? undefined : body)
  }
  return Object.assign(handler, { path: found.path, document: found.document })
}

/** The application's function that may change the claims of a session. */
function claimsOption(rest) {
  const claims = onlyOption(rest, 'claims')
  if (claims === undefined || typeof claims === 'function') return claims
  throw new GuardError('`options.claims` must be a function that takes the claims of the session and gives those to issue', {
    code: 'ERR_INVALID_OPTION',
    path: 'options.claims'
  })
}

/** The issuer whose tokens are revoked: `{ issuer }`. */
function issuerIn(rest) {
  const issuer = onlyOption(rest, 'issuer')
  return issuer === undefined ? undefined : text('options.issuer', issuer)
}

/** Whether `If-None-Match` names this entity, by the weak comparison of RFC 9110 section 13.1.2. */
function isKnown(header, tag) {
  if (header === undefined) return false
  return header.trim() === '*' || header.split(',').some((known) => known.trim().replace(/^W\//, '') === tag)
}

function closed(res, error, next) {
  if (error.code !== 'ERR_CLOSED') return next(error)
  res.statusCode = 503
  res.setHeader('Retry-After', '1')
  res.end()
}

module.exports = { claimsOption, sessionOperations, tokenCalls }

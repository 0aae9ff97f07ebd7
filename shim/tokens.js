'use strict'

// guard.tokens, guard.revoke and guard.jwks().

const native = require('../native.js')
const { readClaims } = require('./answer.js')
const { seconds, text } = require('./arguments.js')
const { encode, encodeData } = require('./encode.js')
const { GuardError } = require('./errors.js')
const { later } = require('./store.js')

/** How `native.tokenVerify` begins to say that a token is good; its claims follow, and a brace. */
const CLAIMS_OF = '{"ok":'

/**
 * `call` asks the core at once, `soon` may have to wait for a store; both throw what is wrong. `raw` gives the core's text as
 * it is.
 */
function tokenCalls(call, soon, raw) {
  return {
    tokens: Object.freeze({
      issue: async (claims, options = {}) => call(native.tokenIssue, encodeData('claims', claims), encode(options).json),
      verify: async (token) => {
        const answer = raw(native.tokenVerify, text('token', token))
        return answer.startsWith(CLAIMS_OF) ? readClaims(answer.slice(CLAIMS_OF.length, -1)) : later(answer)
      },
      jwks: () => call(native.tokenJwks)
    }),
    revoke: Object.freeze({
      token: async (tokenOrJti, exp, options) =>
        void (await soon(native.revokeToken, text('token', tokenOrJti), seconds('exp', exp), issuerIn(options))),
      subject: async (sub, before, options) =>
        void (await soon(native.revokeSubject, text('sub', sub), seconds('before', before), issuerIn(options))),
      session: async (sid, options) => void (await soon(native.revokeSession, text('sid', sid), issuerIn(options))),
      key: async (kid, options) => void (await soon(native.revokeKey, text('kid', kid), issuerIn(options)))
    }),
    jwks() {
      call(native.tokenJwks) // a guard without tokens has no such endpoint
      return (req, res, next) => {
        let body
        try {
          body = JSON.stringify(call(native.tokenJwks))
        } catch (error) {
          return closed(res, error, next)
        }
        res.setHeader('Content-Type', 'application/jwk-set+json')
        res.setHeader('Cache-Control', 'public, max-age=300')
        res.setHeader('Content-Length', String(Buffer.byteLength(body)))
        res.end(req.method === 'HEAD' ? undefined : body)
      }
    }
  }
}

/** Whose tokens a revocation means: `{ issuer }`. */
function issuerIn(options) {
  if (options === undefined) return undefined
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw new GuardError('`options` must be an object such as { issuer }', { code: 'ERR_INVALID_ARGUMENT', path: 'options' })
  }
  for (const key of Object.keys(options)) {
    if (key !== 'issuer') {
      throw new GuardError(`\`options.${key.slice(0, 80)}\` is not an option; the only one is \`issuer\``, { code: 'ERR_UNKNOWN_OPTION', path: `options.${key.slice(0, 80)}` })
    }
  }
  return options.issuer === undefined ? undefined : text('options.issuer', options.issuer)
}

function closed(res, error, next) {
  if (error.code !== 'ERR_CLOSED') return next(error)
  res.statusCode = 503
  res.setHeader('Retry-After', '1')
  res.end()
}

module.exports = { tokenCalls }

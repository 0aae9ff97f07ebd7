'use strict'

// guard.tokens, guard.revoke and guard.jwks().

const native = require('../native.js')
const { readClaims } = require('./answer.js')
const { seconds, text } = require('./arguments.js')
const { encode, encodeData } = require('./encode.js')
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
      token: async (tokenOrJti, exp) => void (await soon(native.revokeToken, text('token', tokenOrJti), seconds('exp', exp))),
      subject: async (sub, before) => void (await soon(native.revokeSubject, text('sub', sub), seconds('before', before))),
      session: async (sid) => void (await soon(native.revokeSession, text('sid', sid))),
      key: async (kid) => void (await soon(native.revokeKey, text('kid', kid)))
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

function closed(res, error, next) {
  if (error.code !== 'ERR_CLOSED') return next(error)
  res.statusCode = 503
  res.setHeader('Retry-After', '1')
  res.end()
}

module.exports = { tokenCalls }

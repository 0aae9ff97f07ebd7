// Names that options have in other packages: the error says what to write here.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'

const limit = { name: 'api', limit: 1, window: '1s' }
const guard = createGuard({ rateLimit: false, jwt })

const CASES = [
  // express-rate-limit, rate-limiter-flexible, express-slow-down
  ['max', () => createGuard({ rateLimit: { ...limit, max: 100 } }), 'rateLimit.max', /`limit`/],
  ['windowMs', () => createGuard({ rateLimit: { ...limit, windowMs: 60000 } }), 'rateLimit.windowMs', /`window`.*'60s'/],
  ['points', () => createGuard({ rateLimit: { name: 'api', points: 5, window: '1s' } }), 'rateLimit.points', /`limit`/],
  ['duration', () => createGuard({ rateLimit: { name: 'api', limit: 5, duration: 1 } }), 'rateLimit.duration', /`window`.*'60s'/],
  ['skipSuccessfulRequests', () => createGuard({ rateLimit: [{ ...limit, skipSuccessfulRequests: true }] }), 'rateLimit[0].skipSuccessfulRequests', /`count: 'failed'`/],
  ['standardHeaders', () => createGuard({ rateLimit: { ...limit, standardHeaders: true } }), 'rateLimit.standardHeaders', /`rateLimitHeaders: 'draft-6'`/],
  ['legacyHeaders', () => createGuard({ rateLimit: { ...limit, legacyHeaders: true } }), 'rateLimit.legacyHeaders', /`rateLimitHeaders: 'x-ratelimit'`/],
  ['delayMs', () => createGuard({ rateLimit: { ...limit, delayMs: 5 } }), 'rateLimit.delayMs', /`onExceed: 'delay'`/],
  // cors
  ['allowedHeaders', () => createGuard({ cors: { origins: [], allowedHeaders: [] } }), 'cors.allowedHeaders', /`requestHeaders`/],
  ['origin', () => createGuard({ cors: { origin: 'https://a.example' } }), 'cors.origin', /`origins`/],
  ['exposedHeaders', () => createGuard({ cors: { origins: ['https://a.example'], exposedHeaders: [] } }), 'cors.exposedHeaders', /`exposeHeaders`/],
  ['optionsSuccessStatus', () => createGuard({ cors: { origins: ['https://a.example'], optionsSuccessStatus: 200 } }), 'cors.optionsSuccessStatus', /204/],
  // jsonwebtoken, express-jwt, passport-jwt, jwks-rsa
  ['publicKey', () => createGuard({ jwt: { issuer: 'https://id.example.com', audience: 'api', publicKey: 'x' } }), 'jwt.publicKey', /`keys: \[\{ kid, alg, key \}\]`/],
  ['expiresIn', () => createGuard({ jwt: { ...jwt, expiresIn: '1h' } }), 'jwt.expiresIn', /`guard\.tokens\.issue`/],
  ['jwksUri', () => createGuard({ jwt: { issuer: 'https://id.example.com', audience: 'api', jwksUri: 'https://id.example.com/jwks' } }), 'jwt.jwksUri', /`jwks`/],
  ['credentialsRequired', () => createGuard({ jwt: { ...jwt, credentialsRequired: false } }), 'jwt.credentialsRequired', /`optional`/],
  ['ignoreExpiration', () => createGuard({ jwt: { ...jwt, ignoreExpiration: true } }), 'jwt.ignoreExpiration', /always refused/],
  // helmet
  ['contentSecurityPolicy', () => createGuard({ headers: { contentSecurityPolicy: {} } }), 'headers.contentSecurityPolicy', /`csp`/],
  ['frameguard', () => createGuard({ headers: { frameguard: false } }), 'headers.frameguard', /`frameOptions`/],
  ['hidePoweredBy', () => createGuard({ headers: { hidePoweredBy: true } }), 'headers.hidePoweredBy', /always removed/],
  // body-parser, ajv
  ['limit of a body', () => createGuard({ payload: { limit: '1mb' } }), 'payload.limit', /`maxBytes`/],
  ['removeAdditional', () => createGuard({ payload: { removeAdditional: true } }), 'payload.removeAdditional', /undeclared members are refused/],
  // at the top
  ['helmet', () => createGuard({ helmet: {} }), 'helmet', /`headers`/],
  ['secret', () => createGuard({ secret: 'x' }), 'secret', /`jwt: \{ issuer, audience, secret \}`/],
  ['redis', () => createGuard({ redis: 'redis://127.0.0.1' }), 'redis', /`store: \{ redis/],
  ['trustProxy', () => createGuard({ trustProxy: true }), 'trustProxy', /`trustedProxies`/],
  ['body', () => createGuard({ body: {} }), 'body', /guard\.securityStack\(\{ body: schema \}\)/],
  // a schema in place of schemas
  ['validate(schema)', () => guard.validate({ type: 'object' }), 'type', /\{ body: schema \}/],
  ['a route with a schema', () => guard.securityStack({ properties: {} }), 'properties', /\{ body: schema \}/],
  ['roles of a route', () => guard.securityStack({ roles: ['admin'] }), 'roles', /`require: \{ role \}`/],
  ['querystring', () => guard.validate({ querystring: {} }), 'querystring', /`query`/]
]

for (const [name, build, path, advice] of CASES) {
  test(`${name}: the error names the option of keepstone`, () => {
    assert.throws(build, (error) => {
      assert.deepEqual([error.code, error.path], ['ERR_UNKNOWN_OPTION', path])
      assert.match(error.suggestion, advice)
      assert.ok(error.message.startsWith(`\`${path}\` is not an option; `), error.message)
      return true
    })
  })
}

test('the advice can be followed: each option that it names exists', () => {
  createGuard({ rateLimit: { ...limit, count: 'failed' } }).close()
  createGuard({ rateLimit: { ...limit, onExceed: 'delay', maxDelay: '1s' } }).close()
  createGuard({ jwt: { ...jwt, optional: true, from: ['header', { cookie: '__Host-token' }, { header: 'x-token' }] } }).close()
  createGuard({ payload: { maxBytes: '1mb' }, headers: { csp: { directives: {} }, frameOptions: false, remove: ['Server'] } }).close()
  guard.require({ role: 'admin' })
  guard.securityStack({ body: { type: 'object' } })
})

// Configuration, operations and errors.
import { createGuard, GuardError, securityStack } from 'keepstone'
import type {
  Algorithm,
  ConfigErrorCode,
  DecisionEvent,
  DecisionLayer,
  Guard,
  GuardConfig,
  GuardErrorCode,
  IssuedToken,
  JwkSet,
  KeyState,
  PolicyDecision,
  RequestHandler,
  SecurityStack,
  TokenErrorCode,
  VerifiedToken,
} from 'keepstone'
import { expect, type Equals } from './equals'

declare const jwks: JwkSet
const base = { issuer: 'https://issuer.example.com', audience: 'api' } as const

const full: GuardConfig = {
  profile: 'web',
  headers: {
    csp: { directives: { 'script-src': ["'self'"], 'style-src': false }, nonce: true },
    hsts: { maxAge: 31_536_000, includeSubDomains: true, preload: true },
    permissionsPolicy: { camera: [] },
    remove: ['Server'],
  },
  cors: { origins: async (origin) => origin.endsWith('.example.com'), credentials: true, maxAge: 600 },
  hosts: ['api.example.com'],
  trustedProxies: ['10.0.0.0/8'],
  store: { memory: { maxBytes: '32mb', shared: 'api' } },
  rateLimit: [
    { name: 'api', limit: 100, window: '60s' },
    { name: 'login', limit: 5, window: '15m', key: ['ip', 'user'], methods: ['POST'], paths: ['/login'], tiers: { pro: { limit: 50 } } },
  ],
  jwt: { ...base, secret: Buffer.alloc(32), clockTolerance: '5s', maxLifetime: '1h' },
  payload: { types: ['json', 'form'], maxBytes: '1mb', maxDepth: 8, operators: 'allow', inflate: { ratio: 10 }, timeout: '5s' },
  policy: { policies: { 'authz.rego': 'package httpapi.authz' }, query: 'data.httpapi.authz.allow', limits: { timeMs: 10 } },
  log: (event) => console.log(event.outcome),
}
const guard = createGuard(full)
expect<Equals<typeof guard, Guard>>()
expect<Equals<ReturnType<typeof securityStack>, SecurityStack<{}>>>()
const handler: RequestHandler = securityStack()
const handlers: RequestHandler[] = [...securityStack()]
void handler
void handlers

// A shared store.
createGuard({
  store: { redis: { sentinel: { nodes: ['redis://127.0.0.1:26379'], name: 'main' }, password: 'x', timeout: '50ms' } },
  rateLimit: { name: 'login', limit: 5, window: '15m', exact: true, onStoreFailure: 'closed' },
  jwt: { ...base, jwks },
  revocation: { mode: 'strict', maxStaleness: '2s', onStale: 'probe' },
})
createGuard({ store: { redis: 'redis://127.0.0.1:6379' } })
expect<Equals<ReturnType<typeof guard.require>, RequestHandler>>()
guard.require({ fresh: true })
// @ts-expect-error: not a demand
guard.require({ scopes: ['pay'] })
guard.require({ scope: ['read', 'write'], role: 'admin', claims: { email_verified: true, acr: ['a', 'b'], '/realm/level': 3 }, maxAge: '10m' })
// @ts-expect-error: an object is no value to compare with
guard.require({ claims: { realm: { level: 3 } } })
// @ts-expect-error: not a mode
createGuard({ revocation: { mode: 'local' } })

// Off is `false`. A key that is undefined throws, so it is left out.
createGuard({ headers: false, cors: false, rateLimit: false, jwt: false, revocation: false, policy: false })
createGuard()

// Key sources: at least one.
createGuard({ jwt: { ...base, jwks } })
createGuard({ jwt: { ...base, keys: [{ kid: 'a', alg: 'ES256', key: '-----BEGIN', notAfter: new Date() }] } })

// How tokens come, and what must come with them.
createGuard({
  jwt: { ...base, jwks, from: ['header', { cookie: '__Host-token' }, { query: 'access_token' }], dpop: 'if-bound' },
  csrf: { origins: ['https://app.example.com'] },
})
createGuard({ jwt: { ...base, jwks, dpop: 'required', dpopNonce: { secret: Buffer.alloc(32), lifetime: '5m' } } })
createGuard({ jwt: { ...base, jwks, dpopNonce: true }, csrf: false })
// @ts-expect-error: any host of the domain could set this cookie
createGuard({ jwt: { ...base, jwks, from: [{ cookie: 'token' }] } })
// @ts-expect-error: not a mode
createGuard({ jwt: { ...base, jwks, dpop: true } })
// @ts-expect-error: misspelt
createGuard({ csrf: { origin: ['https://app.example.com'] } })
guard.securityStack({ csrf: { origins: [] } })
expect<Equals<ReturnType<typeof guard.csrf>, RequestHandler>>()
expect<Equals<VerifiedToken['bound'], 'dpop' | 'mtls' | 'dpop+mtls' | undefined>>()

// @ts-expect-error: no key source
createGuard({ jwt: base })
createGuard({ jwt: { ...base, secret: process.env['JWT_SECRET'] ?? '', jwks } })
// @ts-expect-error: a secret that may be undefined is no key source
createGuard({ jwt: { ...base, secret: process.env['JWT_SECRET'] } })
// @ts-expect-error: no audience
createGuard({ jwt: { issuer: 'https://issuer.example.com', jwks } })
const asked = { url: 'https://issuer.example.com/introspect', clientId: 'api', clientSecret: 's' }
createGuard({ jwt: { ...base, introspection: asked } })
createGuard({ jwt: { ...base, jwks, introspection: { ...asked, cacheFor: '5s', timeout: '1s', iss: 'optional', tokenType: 'optional' } } })
createGuard({ jwt: { ...base, introspection: { url: asked.url, headers: async () => ({ authorization: 'x' }) } } })
createGuard({ jwt: { issuers: [{ ...base, jwks }, { ...base, introspection: { ...asked, jwts: true } }] } })
// @ts-expect-error: no credentials
createGuard({ jwt: { ...base, introspection: { url: asked.url } } })
// @ts-expect-error: two kinds of credentials
createGuard({ jwt: { ...base, introspection: { ...asked, headers: {} } } })
expect<Equals<VerifiedToken['alg'], Algorithm | undefined>>()

// @ts-expect-error: `none` is no algorithm
createGuard({ jwt: { ...base, jwks, algorithms: ['none'] } })

// Requests under way are another kind of limit, which a list may have beside those in time.
createGuard({ rateLimit: { name: 'reports', concurrent: 20, timeout: '60s', key: 'user', tiers: { pro: { concurrent: 100 } }, onExceed: 'shadow' } })
createGuard({ rateLimit: [{ name: 'reports', concurrent: 20 }, { name: 'api', limit: 100, window: '60s' }] })
// @ts-expect-error: both kinds in one
createGuard({ rateLimit: { name: 'reports', concurrent: 20, limit: 100, window: '60s' } })
// @ts-expect-error: nobody knows when a place comes free
createGuard({ rateLimit: { name: 'reports', concurrent: 20, onExceed: 'delay' } })
// @ts-expect-error: places that are not given back have no limit in time
createGuard({ rateLimit: { name: 'api', limit: 100, window: '60s', timeout: '60s' } })
// Keys that issuers publish, and several issuers.
createGuard({ jwt: { ...base, jwks: 'https://issuer.example.com/jwks', staleFor: '2h' } })
createGuard({ jwt: { ...base, discovery: true, algorithms: ['RS256'] } })
createGuard({ jwt: { ...base, preset: 'vault' } })
createGuard({
  jwt: {
    issuers: [
      { ...base, discovery: 'oauth', maxLifetime: '1h' },
      { ...base, secret: Buffer.alloc(32) },
      { preset: 'spiffe', issuer: 'spiffe://example.org', audience: 'api', jwks },
    ],
    typ: 'at+jwt',
    optional: true,
    cache: false,
  },
})
// @ts-expect-error: keys in the options beside a URL
createGuard({ jwt: { ...base, jwks: 'https://issuer.example.com/jwks', keys: [] } })
createGuard({ jwt: { ...base, jwks: 'https://issuer.example.com/jwks', secret: 'x' } })
createGuard({ jwt: { issuer: base.issuer, audience: false, claims: { client_id: ['a', 'b'], '/a/b': 1 }, jwks: { url: 'https://issuer.example.com/jwks', headers: () => ({ a: 'b' }) } } })
createGuard({ jwt: { ...base, issuer: 'https://login.example/{tenantid}', tenants: 'any', secret: 'x', from: [{ header: 'x-token' }], optional: 'lenient' } })
// @ts-expect-error: one issuer beside several
createGuard({ jwt: { issuers: [{ ...base, jwks }], issuer: 'https://issuer.example.com' } })
// @ts-expect-error: an issuer without an audience
createGuard({ jwt: { issuers: [{ issuer: 'https://issuer.example.com', jwks }] } })
// @ts-expect-error: what holds for all is not said by one
createGuard({ jwt: { issuers: [{ ...base, jwks, optional: true }] } })
// @ts-expect-error: no such preset
createGuard({ jwt: { ...base, preset: 'keycloak', jwks } })
void guard.revoke.token('jti', undefined, { issuer: 'https://issuer.example.com' })
void guard.revoke.session('s', { issuer: 'https://issuer.example.com' })
// @ts-expect-error: not an option
void guard.revoke.key('k', { iss: 'https://issuer.example.com' })
expect<Equals<ReturnType<typeof guard.health>['issuers'][number]['state'], 'ready' | 'failing' | 'stale' | 'not-ready'>>()

// @ts-expect-error: misspelt option
createGuard({ ratelimit: { name: 'api', limit: 1, window: '1s' } })
// @ts-expect-error: no origins
createGuard({ cors: { credentials: true } })
// @ts-expect-error: no such unit
createGuard({ payload: { maxBytes: '1gb' } })
// @ts-expect-error: no kind of body
createGuard({ payload: { types: ['xml'] } })
createGuard({ payload: { inflate: true, timeout: '10s' } })
// @ts-expect-error: no name
createGuard({ rateLimit: { limit: 1, window: '1s' } })
// @ts-expect-error: `true` is not an option
createGuard({ headers: true })

// Layers, operations.
expect<Equals<ReturnType<Guard['headers']>, RequestHandler>>()
expect<Equals<Awaited<ReturnType<Guard['limits']['consume']>>, KeyState>>()
expect<Equals<Awaited<ReturnType<Guard['limits']['get']>>, KeyState>>()
expect<Equals<ReturnType<Guard['limits']['block']>, Promise<void>>>()
expect<Equals<Awaited<ReturnType<Guard['tokens']['issue']>>, IssuedToken>>()
expect<Equals<ReturnType<Guard['tokens']['jwks']>, JwkSet>>()
expect<Equals<ReturnType<Guard['revoke']['subject']>, Promise<void>>>()
expect<Equals<ReturnType<Guard['policy']['evaluate']>, Promise<PolicyDecision>>>()
expect<Equals<ReturnType<Guard['ready']>, Promise<void>>>()
expect<Equals<DecisionEvent['outcome'], 'allow' | 'refuse' | 'preflight' | 'response' | 'end'>>()
expect<Equals<DecisionEvent['layer'], DecisionLayer | undefined>>()
expect<Equals<DecisionEvent['durationMs'], number | undefined>>()
void guard.limits.consume('api', '203.0.113.7', 2)
void guard.limits.set({ name: 'api', limit: 5 })
void guard.limits.set({ name: 'reports', concurrent: 5, tiers: { pro: { concurrent: 9 } } })
// @ts-expect-error: one kind or the other
void guard.limits.set({ name: 'reports', concurrent: 5, limit: 5 })
expect<Equals<KeyState['taken'], number | undefined>>()
void guard.revoke.token('jti', 1_800_000_000)
void guard.revoke.subject('user-1', new Date())
void guard.tokens.issue({ sub: 'ada', role: 'admin' }, { expiresIn: '5m' })
expect<Equals<Awaited<ReturnType<Guard['tokens']['refresh']>>, IssuedToken>>()
expect<Equals<IssuedToken['refreshToken'], string | undefined>>()
expect<Equals<Awaited<ReturnType<Guard['tokens']['rotate']>>, { readonly kid: string; readonly from: number }>>()
void guard.tokens.issue({ sub: 'ada' }, { refresh: false })
void guard.tokens.refresh('ksr_', { claims: async (claims) => ({ ...claims, role: 'admin' }) })
// @ts-expect-error: claims may change, so they are asked for
void guard.tokens.refresh('ksr_', { claims: { role: 'admin' } })
createGuard({ jwt: { issuer: 'i', audience: 'a', refresh: true, rotation: { storage: './keys.json' } } })
createGuard({ jwt: { issuer: 'i', audience: 'a', secret: 's', refresh: { lifetime: '30d', idle: '7d', reuseWindow: '10s' } } })
createGuard({ jwt: { issuer: 'i', audience: 'a', rotation: { every: '30d', alg: 'EdDSA', storage: { load: async () => null, save: (text, previous) => text !== previous } } } })
// @ts-expect-error: a secret can't be published
createGuard({ jwt: { issuer: 'i', audience: 'a', rotation: { alg: 'HS256', storage: './keys.json' } } })
// @ts-expect-error: keys at a URL are made elsewhere
createGuard({ jwt: { issuer: 'i', audience: 'a', jwks: 'https://id.example.com/jwks', rotation: { storage: './keys.json' } } })
// @ts-expect-error: the guard sets it
void guard.tokens.issue({ sub: 'ada', exp: 1_800_000_000 })
void guard.limits.block('login', ['203.0.113.7', 'ada'], '15m')
guard.securityStack({ cors: false, jwt: { optional: true }, policy: { query: 'data.a.b' } })
guard.authorize({ query: 'data.a.b', input: async (req) => ({ resource: { url: req.url } }), timeout: '2s' })
guard.securityStack({ policy: { input: () => null } })
// @ts-expect-error the function names no other member of the input
guard.authorize({ input: () => ({ user: 'ada' }) })

createGuard({ store: { memcached: ['127.0.0.1:11211'] as const } })
createGuard({ store: { memcached: { servers: ['a', 'b'], prefix: 'shop:', timeout: '50ms' } }, revocation: { scope: 'process' } })
// @ts-expect-error
createGuard({ store: { memcached: '127.0.0.1:11211' } })
// @ts-expect-error
createGuard({ store: { memcached: { prefix: 'shop:' } } })
// @ts-expect-error
createGuard({ revocation: { scope: 'all' } })

// What does not exist yet is not typed.
// @ts-expect-error
guard.forwardAuth
// @ts-expect-error
createGuard({ rateLimit: { name: 'api', limit: 1, window: '1s', format: 'draft-7' } })

// Lists of clients
createGuard({ clients: { allow: ['10.0.0.0/8'], block: ['203.0.113.7'] } })
guard.limits.block('203.0.113.7', '1h', 'why')
guard.limits.block({ user: 'eve' }, '1s')
guard.limits.block('login', ['203.0.113.7', '/login'], '1h')
guard.limits.allow('2001:db8::/56', '1d')
guard.limits.unblock({ user: 'eve' })
// @ts-expect-error
guard.limits.allow({ name: 'eve' }, '1d')
// @ts-expect-error
createGuard({ clients: { deny: [] } })

guard.limits.signal('203.0.113.7', { factor: 0.1, ttl: '10m' })
guard.limits.signal({ token: 'jti' }, { factor: 2, ttl: '1s', policy: 'login' })
// @ts-expect-error
guard.limits.signal('203.0.113.7', { ttl: '10m' })

guard.limits.set({ name: 'api', limit: 10, window: '1m', tiers: { pro: { limit: 20 } } })
// @ts-expect-error
guard.limits.set({ name: 'api', limit: 10, key: 'user' })

// What becomes of requests that are too many, and which count
createGuard({
  rateLimit: [
    { name: 'login', limit: 1, window: '1s', count: 'failed' },
    { name: 'slow', limit: 1, window: '1s', onExceed: 'delay', maxDelay: '5s', maxDelayed: 10 },
    { name: 'new', limit: 1, window: '1s', onExceed: 'shadow', count: 'succeeded' }
  ],
  log: ({ shadow }) => expect<Equals<typeof shadow, readonly string[] | undefined>>()
})
// @ts-expect-error
createGuard({ rateLimit: { name: 'api', limit: 1, window: '1s', count: 'none' } })
// @ts-expect-error
createGuard({ rateLimit: { name: 'api', limit: 1, window: '1s', onExceed: 'drop' } })

// Errors
function explain(error: unknown): string | undefined {
  if (!(error instanceof GuardError)) return undefined
  expect<Equals<typeof error.code, GuardErrorCode>>()
  const status: number | undefined = error.status
  switch (error.code) {
    case 'ERR_UNKNOWN_OPTION':
      return error.suggestion
    case 'token_expired':
      return String(status)
    // @ts-expect-error: no such code
    case 'token_expire':
      return undefined
    default:
      return error.path
  }
}
void explain
expect<Equals<Extract<GuardErrorCode, `ERR_WEAK_${string}`>, 'ERR_WEAK_SECRET' | 'ERR_WEAK_KEY'>>()
expect<Equals<Extract<ConfigErrorCode, TokenErrorCode>, never>>()
// @ts-expect-error: keepstone makes its errors itself
new GuardError()

// A document of an API.
const api = guard.fromOpenApi({ openapi: '3.1.0', paths: {} }, {
  unknown: 'refuse',
  security: { key: (req, { scopes }) => scopes.length === 0 && req.headers['x-key'] === 'x', basic: async () => true, mtls: false, jwt: 'token' },
})
expect<Equals<typeof api.handler, RequestHandler>>()
expect<Equals<ReturnType<typeof api.stack>, RequestHandler[]>>()
declare const loose: Record<string, unknown>
guard.fromOpenApi(loose)
guard.fromOpenApi(loose, { responses: 'strip' })
// @ts-expect-error: not a way
guard.fromOpenApi(loose, { responses: 'drop' })
// @ts-expect-error: a text is no document
guard.fromOpenApi('openapi: 3.1.0')
// @ts-expect-error: not a way
guard.fromOpenApi(loose, { unknown: 'deny' })

// Sessions of a browser.
const sessions = createGuard({
  jwt: { ...base, secret: Buffer.alloc(32), refresh: true, from: [{ cookie: '__Host-token' }] },
  sessions: { path: '/session', sameSite: 'lax', persistent: false, accessCookie: '__Host-token', refreshCookie: '__Secure-refresh' },
}).sessions
expect<Equals<ReturnType<typeof sessions.refresh>, RequestHandler>>()
expect<Equals<ReturnType<typeof sessions.logout>, RequestHandler>>()
sessions.refresh({ claims: async (claims) => ({ ...claims, role: 'reader' }) })
// @ts-expect-error: the cookies of a session are none of a page of another site
createGuard({ sessions: { sameSite: 'none' } })
// @ts-expect-error: a `__Host-` cookie can't have a path
createGuard({ sessions: { refreshCookie: '__Host-refresh' } })
// @ts-expect-error: the path is an option of the guard
sessions.refresh({ path: '/session' })

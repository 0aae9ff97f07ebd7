// Options that are good, for each type of them: all that types/*.d.ts have, each at least once.

import express from 'express'
import { createGuard } from 'keepstone'
import { createRequire } from 'node:module'
import { SECRET, policyText } from './articles.mjs'
import { keyPair } from './key-pair.mjs'
import { testCertificates } from './tls.mjs'

const { validateJson } = createRequire(import.meta.url)('keepstone/conformance')
const { privateKey } = keyPair('ec', { namedCurve: 'P-256' })
const { publicKey } = keyPair('ec', { namedCurve: 'P-256' })
const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'p', alg: 'ES256' }] }
const named = { issuer: 'https://issuer.example.com', audience: ['api'] }
const rules = { algorithms: ['ES256'], typ: 'at+jwt', clockTolerance: '5s', maxLifetime: '12h' }
const key = { kid: 'k', alg: 'ES256', key: pem, notBefore: new Date(0), notAfter: 4000000000 }
const storage = { load: () => null, save: () => true }
const rotation = { every: '10d', overlap: '2h', alg: 'ES256', storage }
const common = { name: 'a', key: 'ip', methods: ['GET'], paths: ['/v1/*'], onStoreFailure: 'open', onExceed: 'shadow' }
const timed = {
  ...common, limit: 10, window: '60s', algorithm: 'gcra', burst: 5, cost: 2, tiers: { pro: { limit: 20, window: '30s', burst: 10 } },
  exact: true, count: 'failed', maxDelay: '2s', maxDelayed: 10
}
const delayed = { ...timed, name: 'd', onExceed: 'delay' }
const { maxDelay: _, maxDelayed: __, ...watched } = timed
const inFlight = { ...common, name: 'b', concurrent: 5, tiers: { pro: { concurrent: 9 } }, timeout: '30s' }
const functions = { ...common, name: 'c', limit: 10, window: '60s', key: ['ip', () => 'k', async () => 'l'], cost: () => 1 }
const headers = {
  csp: { directives: { 'default-src': ["'self'"], 'report-to': ['main'] }, reportOnly: true, nonce: true }, hsts: { maxAge: 31536000, includeSubDomains: false, preload: false },
  frameOptions: 'DENY', referrerPolicy: ['no-referrer', 'origin'], corp: 'same-site', coop: 'unsafe-none', coep: 'credentialless',
  permissionsPolicy: { camera: ['self'], usb: false }, cacheControl: 'no-cache', reportingEndpoints: { main: 'https://reports.example.com' }, remove: ['server']
}
const cors = { origins: ['https://app.example.com'], credentials: true, methods: ['GET'], requestHeaders: ['x-a'], exposeHeaders: ['x-b'], maxAge: 60 }
const csrf = { origins: ['https://app.example.com'] }
const body = { types: ['json', 'form'], maxBytes: '10kb', maxDepth: 10, maxNodes: 100, maxKeys: 50, operators: 'allow', inflate: { ratio: 10 }, timeout: '5s', rawBody: true }
const files = { one: { types: ['image/png', 'image/*'], maxBytes: '1mb', optional: true, to: () => 'a', discard: () => {} }, many: { types: ['text/csv'], maxCount: 3, to: { directory: '.' } } }
const multipart = { types: ['multipart'], files }
const schema = { type: 'object', required: ['a'], properties: { a: { type: 'string', maxLength: 5, pattern: '^a' } }, additionalProperties: false }
const payload = {
  ...body, draft: '2019-09', schemas: { 'https://example.com/a.json': schema }, formats: { even: /^(..)*$/i, odd: (text) => text.length % 2 === 1, text: '^a' },
  keywords: { divisible: () => true }, messages: { required: 'must be there', de: { required: 'fehlt' } }
}
const policy = { policies: { 'a.rego': policyText, 'b.rego': 'package owner\ndefault allow = false\nallow { input.resource.owner == input.user.sub }' }, data: { roles: ['a', { b: 1 }] }, query: 'data.httpapi.authz.allow', regoVersion: 'v0', limits: { timeMs: 10, inputBytes: '32kb', depth: 16 } }
const owner = { query: 'data.owner.allow', input: async () => ({ resource: null }), timeout: '2s' }
const { server, client } = testCertificates()
const redis = { username: 'u', password: 'hunter2hunter2', db: 1, prefix: 'a:', timeout: '10ms', processes: 4, maxBytes: '2mb', minReplicas: 1 }
const schemas = { body: schema, query: { type: 'object', properties: {} }, params: { type: 'object' }, headers: { type: 'object' }, cookies: { type: 'object' }, response: { 200: schema }, onResponse: 'warn' }

const CONFIGS = [
  {
    profile: 'web', headers, cors, csrf, hosts: ['api.example.com'], trustedProxies: ['10.0.0.0/8', 'loopback', 'unix'], ipv6Prefix: 64, clients: { allow: ['192.0.2.1'], block: ['198.51.100.0/24'] },
    store: { memory: { maxBytes: '2mb', shared: 'options' } }, rateLimit: [watched, delayed, inFlight, functions], rateLimitHeaders: ['draft-6', 'x-ratelimit'],
    jwt: {
      ...named, ...rules, keys: [key], jwks, rotation, from: ['header', { cookie: '__Host-t' }, { query: 't' }], dpop: 'if-bound',
      dpopNonce: { secret: SECRET, lifetime: '1m' }, optional: true, cache: { maxBytes: '1mb' }, refresh: { lifetime: '10d', idle: '1d', reuseWindow: '5s', secret: [SECRET] }
    },
    apiKeys: { prefix: ['acme_live', 'acme_test'], lookup: () => null, header: 'x-key', timeout: '1s', cacheFor: '10s', subject: 'lenient' },
    identify: { claims: () => null, timeout: '1s', maxLifetime: '7d', subject: 'strict' }, revocation: {}, payload, policy, log: () => {}, onRefuse: () => {},
    sessions: { path: '/session', sameSite: 'lax', persistent: false, accessCookie: '__Host-t', refreshCookie: '__Secure-r' }
  },
  { cors: { origins: () => true }, rateLimit: { ...inFlight, tiers: { pro: { concurrent: 9 } } }, jwt: { ...named, secret: SECRET } },
  { apiKeys: { prefix: 'acme', lookup: () => null, scheme: 'ApiKey' }, identify: () => null, authenticate: { optional: true }, public: ['/health', 'POST /v1/login', { path: '/docs/*', limits: false }], paths: { encodedSlashes: ['/files/*'], emptySegments: ['GET /proxy/*'] } },
  { jwt: { ...named, preset: 'vault', staleFor: '20m' } },
  { jwt: { ...named, discovery: 'oauth' } },
  {
    jwt: {
      issuer: 'https://login.example.com/{tenantid}/v2.0', tenants: ['t1', 't2'], audience: false, claims: { azp: ['a', 'b'], '/realm/ok': true }, iat: 'optional', subject: 'lenient',
      jwks: { url: 'http://keycloak:8080/jwks', headers: { authorization: 'Bearer x' }, allowHttp: true }, secret: SECRET, from: [{ header: 'x-token' }, { cookie: '__Host-token' }], maxTokenSize: '16kb', optional: 'lenient'
    }
  },
  { jwt: { issuer: 'https://id.example.com', audience: false, dedicatedIssuer: true, jwks: { url: 'https://id.example.com/jwks', headers: () => ({ authorization: 'x' }) } } },
  {
    jwt: {
      issuer: 'https://id.example.com', secret: SECRET,
      resource: { url: 'https://api.example.com/mcp', scopes: ['read', 'write'], authorizationServers: ['https://id.example.com'], name: 'An API', documentation: 'https://api.example.com/docs' }
    }
  },
  { jwt: { ...named, introspection: { url: 'http://127.0.0.1:1/i', clientId: 'a', clientSecret: 'b', cacheFor: '5s', timeout: '1s', iss: 'optional', tokenType: 'optional', jwts: true } } },
  { jwt: { ...named, secret: SECRET, introspection: { url: 'http://keycloak:8080/i', allowHttp: true, headers: { authorization: 'Bearer x' } } } },
  {
    jwt: {
      issuers: [
        { ...named, secret: SECRET },
        { ...named, issuer: 'https://f.example.com', introspection: { url: 'http://keycloak:8080/i', allowHttp: true, clientId: 'a', clientSecret: 'b', cacheFor: '5s', timeout: '1s' } }
      ]
    }
  },
  {
    jwt: {
      issuers: [
        { ...named, issuer: 'https://f.example.com', introspection: { url: 'https://f.example.com/i', headers: () => ({ authorization: 'x' }), jwts: true, iss: 'required', tokenType: 'required' } },
        { ...named, ...rules, typ: 'JOSE', keys: [key], jwks: { keys: [{ ...jwks.keys[0], use: 'jwt-svid' }] }, rotation, preset: 'spiffe', issuer: 'spiffe://example.org' },
        { ...named, secret: SECRET, issuer: 'https://b.example.com' }, { ...named, discovery: true, staleFor: '20m', issuer: 'https://c.example.com' },
        {
          issuer: 'https://d.example.com/{tenantid}', tenants: 'any', audience: false, claims: { appid: 'a', '/b': [1, 2] }, iat: 'required', subject: 'strict',
          jwks: { url: 'https://d.example.com/jwks', headers: { 'x-key': 'v' }, allowHttp: false }, secret: SECRET
        },
        { issuer: 'https://e.example.com', audience: false, dedicatedIssuer: true, jwks: { url: 'https://e.example.com/jwks', headers: () => ({}) } }
      ]
    }
  },
  {
    store: { redis: { ...redis, url: 'rediss://127.0.0.1:1', tls: { ca: server.cert, cert: client.cert, key: client.key } } },
    jwt: { ...named, secret: SECRET }, revocation: { mode: 'strict', maxStaleness: '3s', onStale: 'probe' }
  },
  { store: { redis: { cluster: ['redis://127.0.0.1:1'] } } },
  { store: { redis: { sentinel: { nodes: ['redis://127.0.0.1:1'], name: 'main' } } } },
  { store: { memcached: { servers: ['127.0.0.1:1'], prefix: 'a:', timeout: '10ms', processes: 4, maxBytes: '2mb' } }, jwt: { ...named, secret: SECRET }, revocation: { scope: 'process' } }
]

const open = createGuard({ apiKeys: { prefix: ['acme_live', 'acme_test'], lookup: () => null }, jwt: { ...named, secret: SECRET, refresh: true, from: ['header', { cookie: '__Host-t' }] }, policy, rateLimit: [{ name: 'a', limit: 5, window: '1s' }, { name: 'b', concurrent: 5 }, { name: 't', limit: 5, window: '1s', key: 'token' }], payload: { keywords: { divisible: () => true } } })
const document = { openapi: '3.1.0', info: { title: 'a', version: '1' }, paths: { '/a': { get: { security: [{ key: [] }, { other: [] }], responses: { 200: { description: 'fine' } } } } }, components: { securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'x-key' }, other: { type: 'apiKey', in: 'header', name: 'x-other' } } } }

const described = express()
const router = express.Router()
router.get('/b', open.headers())
described.use('/a', router)

/** The guard that the calls below are made on. */
export const guard = open

/** Each call that takes options: `[type, path of its options in errors, call, examples]`. */
export const CALLS = [
  ['GuardConfig', '', (options) => createGuard(options), CONFIGS],
  ['RouteOptions', '', (options) => open.securityStack(options), [
    { cors, csrf, rateLimit: [watched, delayed, inFlight, functions], jwt: { optional: true }, payload: body, policy: owner, ...schemas },
    { rateLimit: inFlight, authenticate: { optional: true }, responseHeaders: { ...headers, profile: 'web' } },
    { rateLimit: inFlight, authenticate: { optional: true }, payload: multipart },
    { require: { fresh: true, scope: ['read'], role: ['admin'], claims: { acr: ['a', true], n: 1 }, maxAge: '10m' } }
  ]],
  ['ValidateOptions', '', (options) => open.validate(options), [{ payload: body, ...schemas }, { payload: multipart }]],
  ['RouteHeadersOptions', 'headers', (options) => open.headers(options), [{ ...headers, profile: 'web' }]],
  ['CorsOptions', 'cors', (options) => open.cors(options), [cors]],
  ['CsrfOptions', 'csrf', (options) => open.csrf(options), [csrf]],
  ['RateLimit', 'rateLimit', (options) => open.rateLimit(options), [watched, delayed, inFlight, functions]],
  ['AuthenticateOptions', 'jwt', (options) => open.authenticate(options), [{ optional: true }]],
  ['AuthorizeOptions', 'policy', (options) => open.authorize(options), [{ query: policy.query }, owner]],
  ['RouteDemands', '', (options) => open.require(options), [{ fresh: true, scope: ['read'], role: ['admin'], claims: { acr: ['a', true], n: 1 }, maxAge: '10m' }]],
  ['OpenApiOptions', 'options', (options) => open.fromOpenApi(document, options), [
    { basePath: '/v1', unknown: 'refuse', unreadable: 'pass', undeclared: 'accept', responses: 'fail', ignoreFormats: ['x'], ignorePatterns: ['x'], skip: [], tolerate: ['nullable'], security: { key: () => true, other: false } }
  ]],
  ['ToOpenApiOptions', 'options', (options) => open.toOpenApi(described, options), [
    {
      info: { title: 'a', version: '1', summary: 's', description: 'd', termsOfService: 'https://example.com', contact: {}, license: { name: 'MIT' } },
      servers: [{ url: '/' }], tags: [{ name: 'a' }], externalDocs: { url: 'https://example.com' }, version: '3.1.1', mounts: { '/a': router }, onOmission: () => {},
      operations: { 'GET /a/b': { operationId: 'b', summary: 's', description: 'd', tags: ['a'], deprecated: true, externalDocs: { url: 'https://example.com' } } }
    }
  ]],
  ['LimitChange', 'policy', (options) => open.limits.set(options), [
    { name: 'a', limit: 6, window: '2s', burst: 3, tiers: { pro: { limit: 20, window: '30s', burst: 10 } } }, { name: 'b', concurrent: 6, tiers: { pro: { concurrent: 9 } } }
  ]],
  ['SignalOptions', 'options', (options) => open.limits.signal('203.0.113.7', options), [{ factor: 0.5, ttl: '1m', policy: 'a' }]],
  ['IssueOptions', 'options', (options) => open.tokens.issue({ sub: 'ada' }, options), [{ expiresIn: '1m', refresh: false }]],
  ['RefreshTokenOptions', 'options', async (options) => open.tokens.refresh((await open.tokens.issue({ sub: 'ada' })).refreshToken, options), [{ claims: () => {} }]],
  ['SessionStartOptions', 'options', (options) => open.sessions.start(new Headers(), { sub: 'ada' }, options), [{ persistent: false, expiresIn: '1m' }]],
  ['NewApiKeyOptions', 'options', async (options) => open.apiKeys.create(options), [{ prefix: 'acme_test' }]],
  ['RevokeOptions', 'options', (options) => open.revoke.key('no-such-key', options), [{ issuer: named.issuer }]],
  ['ValidateJsonOptions', 'options', (options) => validateJson({ type: 'string' }, Buffer.from('"a"'), options), [{ draft: '7', registry: { 'https://example.com/a.json': schema }, formats: true }]]
]

/** Calls that take data: `[what stands before paths, call, example]`. */
export const DATA = [
  ['claims', (claims) => open.tokens.issue(claims), { sub: 'ada', roles: ['admin'], more: { deep: [1, true, null] } }],
  ['claims', (claims) => open.sessions.start(new Headers(), claims), { sub: 'ada', roles: ['admin'], more: { deep: [1, true, null] } }],
  ['input', (input) => open.policy.evaluate(input), { method: 'GET', user: { roles: ['a'] }, path: ['a'] }],
  ['key', (key) => open.limits.block(key, '1s'), { user: 'ada' }],
  ['key', (key) => open.limits.signal(key, { factor: 1, ttl: '1s' }), { token: 'j' }]
]

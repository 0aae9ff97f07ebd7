// What is wrong with a configuration is said when the guard is built: with a code, the option's
// path, and what to write instead. A guard that would be weaker than it looks never starts.

import test from 'node:test'
import assert from 'node:assert/strict'
import { keyPair } from './helpers/key-pair.mjs'
import { inspect } from 'node:util'
import { GuardError, createGuard } from 'keepstone'
import { SECRET, jwt, policyText } from './helpers/articles.mjs'

const rsa = (bits) => keyPair('rsa', { modulusLength: bits }).publicKey.export({ type: 'spki', format: 'pem' })
const ec = (namedCurve) => keyPair('ec', { namedCurve }).publicKey.export({ type: 'spki', format: 'pem' })
const { issuer, audience } = jwt
const limit = (more) => ({ rateLimit: { name: 'api', limit: 100, window: '60s', ...more } })
const cors = (more) => ({ cors: { origins: ['https://app.example.com'], ...more } })
const key = (more) => ({ jwt: { issuer, audience, keys: [{ kid: 'a', ...more }] } })
const redis = (more) => ({ store: { redis: typeof more === 'string' ? more : { url: 'redis://127.0.0.1:1', ...more } } })
const elsewhere = (more) => ({ store: { redis: more } })
const SENTINEL = ['redis://127.0.0.1:1']
const PASSWORD = 'hunter2hunter2'
const policy = (text, more) => ({ policy: { policies: { 'authz.rego': text }, query: 'data.httpapi.authz.allow', ...more } })

// [what is wrong, configuration, code, path, what the message says]
const CASES = [
  ['a layer that is no layer', { helmet: {} }, 'ERR_UNKNOWN_OPTION', 'helmet', /.+/],
  ['a misspelt layer', { ratelimit: {} }, 'ERR_UNKNOWN_OPTION', 'ratelimit', /did you mean `rateLimit`/],
  ['a configuration that is no object', 'strict', 'ERR_INVALID_OPTION', 'config', /must be an object/],
  ['a profile that does not exist', { profile: 'spa' }, 'ERR_INVALID_OPTION', 'profile', /'api' or 'web'/],

  ["the cors package's option name", { cors: { allowedOrigins: ['https://a.example'] } }, 'ERR_UNKNOWN_OPTION', 'cors.allowedOrigins', /did you mean `origins`/],
  ['CORS without origins', { cors: {} }, 'ERR_MISSING_OPTION', 'cors.origins', /must be given/],
  ['any origin with credentials', { cors: { origins: ['*'], credentials: true } }, 'ERR_CONFLICTING_OPTIONS', 'cors.origins', /credentials/],
  ['a trailing slash in an origin', { cors: { origins: ['https://app.example.com/'] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /slash/],
  ['a path in an origin', { cors: { origins: ['https://app.example.com/x'] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /path/],
  ['an origin without a scheme', { cors: { origins: ['app.example.com'] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /https:\/\//],
  ['the null origin', { cors: { origins: ['null'] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /null/],
  ['a wildcard over a public suffix', { cors: { origins: ['https://*.com'] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /.+/],
  ['a regular expression as origin', { cors: { origins: [/example\.com$/] } }, 'ERR_INVALID_OPTION', 'cors.origins[0]', /must be a string/],
  ['plain http with credentials', { cors: { origins: ['http://app.example.com'], credentials: true } }, null, 'cors.origins[0]', /https/],
  ['an empty list of origins', { cors: { origins: [] } }, 'ERR_INVALID_OPTION', 'cors.origins', /false/],
  ['a forbidden method', cors({ methods: ['TRACE'] }), 'ERR_INVALID_OPTION', 'cors.methods[0]', /.+/],
  ['a method in lower case', cors({ methods: ['get'] }), 'ERR_INVALID_OPTION', 'cors.methods[0]', /GET/],
  ['a preflight cache time that is no number', cors({ maxAge: '10m' }), 'ERR_INVALID_OPTION', 'cors.maxAge', /whole number/],

  ["helmet's spelling of a header option", { headers: { hsts: { maxage: 1 } } }, 'ERR_UNKNOWN_OPTION', 'headers.hsts.maxage', /did you mean `maxAge`/],
  ['HSTS preload with a short life', { headers: { hsts: { maxAge: 10, preload: true } } }, null, /headers\.hsts/, /a year or more/],
  ['an unknown CSP directive', { headers: { csp: { directives: { 'script-source': ["'self'"] } } } }, null, 'headers.csp.directives.script-source', /script-src/],
  ['an unquoted CSP keyword', { headers: { csp: { directives: { 'script-src': ['self'] } } } }, 'ERR_INVALID_OPTION', /headers\.csp\.directives\.script-src/, /'self'/],
  ["'none' beside another source", { headers: { csp: { directives: { 'script-src': ["'none'", "'self'"] } } } }, null, /headers\.csp\.directives\.script-src/, /'none'/],
  ['a line break in a directive', { headers: { csp: { directives: { 'img-src': ['https://a.example\r\nx: y'] } } } }, 'ERR_INVALID_OPTION', /headers\.csp\.directives\.img-src/, /.+/],
  ['an unknown referrer policy', { headers: { referrerPolicy: 'never' } }, 'ERR_INVALID_OPTION', /headers\.referrerPolicy/, /no-referrer/],

  ['a limit of 0', limit({ limit: 0 }), 'ERR_INVALID_OPTION', 'rateLimit.limit', /.+/],
  ["a window of '60 sec'", limit({ window: '60 sec' }), 'ERR_INVALID_OPTION', 'rateLimit.window', /'60s'/],
  ['a limit without a window', { rateLimit: { name: 'api', limit: 1 } }, 'ERR_MISSING_OPTION', 'rateLimit.window', /must be given/],
  ['an unknown algorithm', limit({ algorithm: 'gcr' }), 'ERR_INVALID_OPTION', 'rateLimit.algorithm', /did you mean 'gcra'/],
  ['two limits of one name', { rateLimit: [limit().rateLimit, limit().rateLimit] }, null, 'rateLimit[1].name', /.+/],
  ['a cost over the limit', limit({ cost: 101 }), null, 'rateLimit.cost', /.+/],
  ['a burst for a fixed window', limit({ algorithm: 'fixed-window', burst: 5 }), 'ERR_CONFLICTING_OPTIONS', 'rateLimit.burst', /.+/],
  ["express-rate-limit's other option name", limit({ max: 100 }), 'ERR_UNKNOWN_OPTION', 'rateLimit.max', /did you mean `limit`/],
  ["express-rate-limit's option name", limit({ windowMs: 1000 }), 'ERR_UNKNOWN_OPTION', 'rateLimit.windowMs', /did you mean `window`/],
  ['an unknown key', limit({ key: 'session' }), 'ERR_INVALID_OPTION', 'rateLimit.key', /'ip'/],

  ['a 16-byte HS256 secret', { jwt: { issuer, audience, secret: SECRET.slice(0, 16) } }, 'ERR_WEAK_SECRET', 'jwt.secret', /32/],
  ["'password' repeated to 32 bytes", { jwt: { issuer, audience, secret: 'password'.repeat(4) } }, 'ERR_WEAK_SECRET', 'jwt.secret', /randomBytes/],
  ['an empty secret', { jwt: { issuer, audience, secret: '' } }, 'ERR_WEAK_SECRET', 'jwt.secret', /.+/],
  ['a secret that is undefined', { jwt: { issuer, audience, secret: undefined } }, 'ERR_MISSING_OPTION', /^jwt/, /secret/],
  ['a public key as secret', { jwt: { issuer, audience, secret: rsa(2048) } }, 'ERR_INVALID_KEY', 'jwt.secret', /keys/],
  ['RSA 1024', key({ alg: 'RS256', key: rsa(1024) }), 'ERR_WEAK_KEY', 'jwt.keys[0].key', /2048/],
  ['alg none', key({ alg: 'none', key: rsa(2048) }), 'ERR_INVALID_OPTION', 'jwt.keys[0].alg', /none|RS256/],
  ['algorithms with none', { jwt: { ...jwt, algorithms: ['HS256', 'none'] } }, 'ERR_INVALID_OPTION', 'jwt.algorithms[1]', /.+/],
  ['a curve that is not the algorithm', key({ alg: 'ES256', key: ec('P-384') }), null, 'jwt.keys[0].key', /P-256/],
  ['no issuer', { jwt: { audience, secret: SECRET } }, 'ERR_MISSING_OPTION', 'jwt.issuer', /must be given/],
  ['no audience', { jwt: { issuer, secret: SECRET } }, 'ERR_MISSING_OPTION', 'jwt.audience', /must be given/],
  ['no key at all', { jwt: { issuer, audience } }, 'ERR_MISSING_OPTION', /^jwt/, /secret/],
  ['a clock tolerance of an hour', { jwt: { ...jwt, clockTolerance: '1h' } }, 'ERR_INVALID_OPTION', 'jwt.clockTolerance', /1m|60s/],
  ['revocation without tokens', { revocation: {} }, 'ERR_CONFLICTING_OPTIONS', 'revocation', /jwt/],

  ['a policy that can not be parsed', policy('package httpapi.authz\ndefault allow = false\nallow {\n  input.x ==\n}\n'), 'ERR_INVALID_POLICY', 'policy.policies', /authz\.rego:\d+:\d+/],
  ['a query without a rule', policy(policyText, { query: 'data.httpapi.authz.alow' }), 'ERR_INVALID_OPTION', 'policy.query', /did you mean 'data.httpapi.authz.allow'/],
  ['a rule without a default', policy('package httpapi.authz\nallow { input.x == 1 }\n'), 'ERR_INVALID_OPTION', 'policy.query', /default allow/],
  ['data that overrides a rule', policy(policyText, { data: { httpapi: { authz: { allow: true } } } }), 'ERR_INVALID_OPTION', 'policy.data', /data\.httpapi\.authz\.allow/],
  ['an unknown builtin', policy('package httpapi.authz\ndefault allow = false\nallow { http.send({"url": "http://x"}) }\n'), 'ERR_INVALID_POLICY', 'policy.policies', /http\.send/],
  ['a folder that is not there', { policy: { policies: './no-such-folder', query: 'data.a.allow' } }, null, 'policy.policies', /.+/],

  ['a body limit of nothing', { payload: { maxBytes: 0 } }, 'ERR_INVALID_OPTION', 'payload.maxBytes', /.+/],
  ['a depth that is no number', { payload: { maxDepth: 'deep' } }, 'ERR_INVALID_OPTION', 'payload.maxDepth', /whole number/],
  ['proxies as one text', { trustedProxies: 'loopback' }, 'ERR_INVALID_OPTION', 'trustedProxies', /in a list: \['loopback'\]/],
  ['proxies as a text with commas', { trustedProxies: 'loopback, 10.0.0.0/8' }, 'ERR_INVALID_OPTION', 'trustedProxies', /a text of its own/],
  ['proxies that are counted', { trustedProxies: 1 }, 'ERR_INVALID_OPTION', 'trustedProxies', /instead of counting/],
  ['any proxy', { trustedProxies: true }, 'ERR_INVALID_OPTION', 'trustedProxies', /any client choose its address/],
  ['no proxy', { trustedProxies: false }, 'ERR_INVALID_OPTION', 'trustedProxies', /write \[\]/],
  ['two proxies in one text', { trustedProxies: ['10.0.0.1,10.0.0.2'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /a text of its own/],
  ['a proxy by a host name', { trustedProxies: ['localhost'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /did you mean 'loopback'/],
  ['a preset that is misspelt', { trustedProxies: ['uniqueLocal'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /did you mean 'uniquelocal'/],
  ['a proxy with a port', { trustedProxies: ['10.0.0.1:80'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /without a port/],
  ['a proxy in brackets', { trustedProxies: ['[::1]'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /brackets/],
  ['all IPv4 addresses in IPv6 notation', { trustedProxies: ['::ffff:0.0.0.0/96'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /10\.0\.0\.0\/8/],
  ['a network that trusts everybody', { trustedProxies: ['0.0.0.0/0'] }, 'ERR_INVALID_OPTION', 'trustedProxies[0]', /10\.0\.0\.0\/8/],
  ['a host with a scheme', { hosts: ['https://api.example.com'] }, 'ERR_INVALID_OPTION', 'hosts[0]', /api\.example\.com/],
  ['a store that does not exist', { store: { mongo: 'mongodb://x' } }, 'ERR_UNKNOWN_OPTION', 'store.mongo', /.+/],

  ['a Redis without an address', elsewhere({}), 'ERR_MISSING_OPTION', 'store.redis.url', /redis:\/\/127\.0\.0\.1:6379/],
  ['a Redis that is undefined', elsewhere(undefined), 'ERR_MISSING_OPTION', 'store.redis', /undefined/],
  ['a Redis that is a port', elsewhere(6379), 'ERR_INVALID_OPTION', 'store.redis', /URL or an object/],
  ['a Redis of another scheme', redis('http://127.0.0.1:6379'), 'ERR_INVALID_OPTION', 'store.redis', /rediss:\/\//],
  ['a Redis without a scheme', redis('127.0.0.1:6379'), 'ERR_INVALID_OPTION', 'store.redis', /redis:\/\//],
  ['a Redis whose URL can not be read', redis({ url: `redis://:${PASSWORD}@127.0.0.1:port` }), 'ERR_INVALID_OPTION', 'store.redis.url', /percent-encoded/],
  ['a Redis database that is no number', redis(`redis://:${PASSWORD}@127.0.0.1:6379/zero`), 'ERR_INVALID_OPTION', 'store.redis', /.+/],
  ['a certificate that nobody checks', redis({ url: `rediss://:${PASSWORD}@127.0.0.1:6379/#insecure` }), 'ERR_INVALID_OPTION', 'store.redis.url', /tls\.ca/],
  ['a protocol that is not spoken', redis({ url: 'redis://127.0.0.1:6379/?protocol=resp3' }), 'ERR_INVALID_OPTION', 'store.redis.url', /RESP2/],
  ['a database below zero in a URL', redis({ url: 'redis://127.0.0.1:6379/-1' }), 'ERR_INVALID_OPTION', 'store.redis.url', /database/],
  ['no port in a URL', redis({ url: 'redis://127.0.0.1:0' }), 'ERR_INVALID_OPTION', 'store.redis.url', /port/],
  ['an authority that is no certificate', redis({ url: 'rediss://127.0.0.1:6379', tls: { ca: ec('P-256') } }), 'ERR_INVALID_OPTION', 'store.redis.tls', /PEM/],
  ['a misspelt option of Redis', redis({ passwrod: PASSWORD }), 'ERR_UNKNOWN_OPTION', 'store.redis.passwrod', /did you mean `password`/],
  ["ioredis's option name", redis({ keyPrefix: 'a:' }), 'ERR_UNKNOWN_OPTION', 'store.redis.keyPrefix', /did you mean `prefix`/],
  ['one Redis and a cluster', redis({ cluster: SENTINEL }), 'ERR_CONFLICTING_OPTIONS', 'store.redis.cluster', /one of/],
  ['a cluster without nodes', elsewhere({ cluster: [] }), 'ERR_INVALID_OPTION', 'store.redis.cluster', /1 to 64/],
  ['a cluster of addresses that are none', elsewhere({ cluster: [{ host: '127.0.0.1', port: 1 }] }), 'ERR_INVALID_OPTION', 'store.redis.cluster[0]', /string/],
  ['a cluster that is encrypted in part', elsewhere({ cluster: ['rediss://a:1', 'redis://b:1'] }), 'ERR_INVALID_OPTION', 'store.redis.cluster', /all or none/],
  ['a database of a cluster', elsewhere({ cluster: SENTINEL, db: 1 }), 'ERR_CONFLICTING_OPTIONS', 'store.redis.db', /one database/],
  ['sentinels without a name', elsewhere({ sentinel: { nodes: SENTINEL } }), 'ERR_MISSING_OPTION', 'store.redis.sentinel.name', /primary/],
  ['sentinels without addresses', elsewhere({ sentinel: { name: 'mymaster' } }), 'ERR_MISSING_OPTION', 'store.redis.sentinel.nodes', /.+/],
  ['a list of sentinels alone', elsewhere({ sentinel: SENTINEL }), 'ERR_INVALID_OPTION', 'store.redis.sentinel', /object/],
  ['TLS to an address that is not encrypted', redis({ tls: {} }), 'ERR_CONFLICTING_OPTIONS', 'store.redis.tls', /rediss:\/\//],
  ['a client certificate without its key', redis({ url: 'rediss://127.0.0.1:1', tls: { cert: rsa(2048) } }), 'ERR_MISSING_OPTION', 'store.redis.tls.key', /`cert`/],
  ['an authority that is the name of a file', redis({ url: 'rediss://127.0.0.1:1', tls: { ca: '/etc/ssl/ca.pem' } }), 'ERR_INVALID_OPTION', 'store.redis.tls.ca', /contents/],
  ['an authority that is no certificate', redis({ url: 'rediss://127.0.0.1:1', tls: { ca: '-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----\n' } }), 'ERR_INVALID_OPTION', 'store.redis.tls', /can't be read/],
  ['checks of certificates that are switched off', redis({ url: 'rediss://127.0.0.1:1', tls: { rejectUnauthorized: false } }), 'ERR_UNKNOWN_OPTION', 'store.redis.tls.rejectUnauthorized', /.+/],
  ['a user without a password', redis({ username: 'limits' }), 'ERR_MISSING_OPTION', 'store.redis.password', /username/],
  ['an empty password', redis({ password: '' }), 'ERR_INVALID_OPTION', 'store.redis.password', /leave it out/],
  ['a prefix with braces', redis({ prefix: '{shop}:' }), 'ERR_INVALID_OPTION', 'store.redis.prefix', /'shop:'/],
  ['an empty prefix', redis({ prefix: '' }), 'ERR_INVALID_OPTION', 'store.redis.prefix', /1 to 64/],
  ['more replicas than anybody has', redis({ minReplicas: 17 }), 'ERR_INVALID_OPTION', 'store.redis.minReplicas', /from 0 to 16/],
  ['no time to wait for Redis', redis({ timeout: '0s' }), 'ERR_INVALID_OPTION', 'store.redis.timeout', /.+/],
  ['a minute to wait for Redis', redis({ timeout: '1m' }), 'ERR_INVALID_OPTION', 'store.redis.timeout', /5s|5000/],
  ['a database that there is not', redis({ db: -1 }), 'ERR_INVALID_OPTION', 'store.redis.db', /65535/],
  ['two stores', { store: { memory: {}, redis: 'redis://127.0.0.1:1' } }, 'ERR_CONFLICTING_OPTIONS', 'store.memory', /one store/],
  ['a policy that may fail in a way of its own', limit({ onStoreFailure: 'allow' }), 'ERR_INVALID_OPTION', 'rateLimit.onStoreFailure', /'open'/],

  ['a log that is no function', { log: true }, 'ERR_INVALID_OPTION', 'log', /function/]
]

test('there are at least 40 misuse cases', () => assert.ok(CASES.length >= 40, `${CASES.length}`))

for (const [what, config, code, path, says] of CASES) {
  test(`${what} throws at construction`, () => {
    assert.throws(
      () => createGuard(config),
      (error) => {
        assert.ok(error instanceof GuardError && error instanceof Error, String(error))
        if (code === null) assert.match(error.code, /^ERR_(INVALID|CONFLICTING|UNKNOWN)_/, error.message)
        else assert.equal(error.code, code, error.message)
        if (path instanceof RegExp) assert.match(error.path, path, error.message)
        else assert.equal(error.path, path, error.message)
        assert.match(error.message, says)
        assert.match(error.message, /^`?[a-z]/, 'starts in lower case')
        assert.doesNotMatch(error.message, /\.$/, 'ends without a period')
        const told = inspect(error, { depth: 10 })
        for (const secret of ['passwordpassword', SECRET.slice(0, 16), PASSWORD]) assert.ok(!told.includes(secret), 'no secret in the text')
        return true
      }
    )
  })
}

// [what is wrong, schemas, path, what the message says]
const SCHEMAS = [
  ['a remote $ref', { body: { $ref: 'https://example.com/user.json' } }, /^body/, /\$ref/],
  ['a file $ref', { body: { $ref: 'file:///etc/passwd' } }, /^body/, /\$ref/],
  ['a misspelt keyword', { body: { type: 'object', requried: ['a'] } }, /^body/, /required/],
  ['an unknown type', { query: { type: 'strnig' } }, /^query/, /.+/],
  ['a pattern that needs backtracking', { body: { type: 'string', pattern: '^(?=a)b' } }, /^body/, /.+/],
  ['an unknown format', { body: { type: 'string', format: 'emial' } }, /^body/, /.+/],
  ['an unknown draft', { body: { $schema: 'https://json-schema.org/draft/2050-01/schema' } }, /^body/, /.+/],
  ['a schema that is no schema', { body: 'user' }, /^body/, /.+/],
  ['a part that does not exist', { files: {} }, 'files', /body/]
]

for (const [what, schemas, path, says] of SCHEMAS) {
  for (const build of ['validate', 'securityStack']) {
    test(`${what} throws when guard.${build} is called`, () => {
      const guard = createGuard({ rateLimit: false })
      assert.throws(
        () => guard[build](schemas),
        (error) => {
          assert.ok(error instanceof GuardError, String(error))
          assert.match(error.code, /^ERR_(INVALID_SCHEMA|UNKNOWN_OPTION|INVALID_OPTION)$/)
          if (path instanceof RegExp) assert.match(error.path, path, error.message)
          else assert.equal(error.path, path)
          assert.match(error.message, says)
          return true
        }
      )
    })
  }
}

test('a configuration that holds itself throws instead of running out of stack', () => {
  const config = { policy: { data: {} } }
  config.policy.data.again = config.policy.data
  assert.throws(() => createGuard(config), (error) => error.code === 'ERR_INVALID_OPTION')
})

test('bytes that were transferred to another thread are refused by name', () => {
  const secret = new Uint8Array(32)
  structuredClone(secret, { transfer: [secret.buffer] })
  const build = () => createGuard({ jwt: { algorithms: ['HS256'], secret, issuer, audience } })
  assert.throws(build, { name: 'GuardError', code: 'ERR_INVALID_OPTION', path: 'jwt.secret', message: /transferred away/ })
})

test('half of a surrogate pair is refused in names and values: in UTF-8 all of them would be one', async () => {
  const build = (config) => () => createGuard(config)
  assert.throws(build(limit({ name: '\ud800' })), { code: 'ERR_INVALID_OPTION', path: 'rateLimit.name', message: /surrogate/ })
  assert.throws(build({ policy: { policies: { '\ud800.rego': '' } } }), { code: 'ERR_INVALID_OPTION', path: 'policy.policies', message: /surrogate/ })
  const guard = createGuard(limit({ key: ['user'] }))
  for (const call of [
    () => guard.limits.consume('api', 'a\udc00'),
    () => guard.limits.block('api', 'a\udc00', '1m'),
    () => guard.limits.allow({ user: 'a\udc00' }, '1m'),
  ]) await assert.rejects(call, { name: 'GuardError', message: /surrogate/ })
  await guard.close()
})

test('an argument too many is refused: it could be the one that matters', async () => {
  const guard = createGuard(limit({ key: ['user'] }))
  const { limits, policy } = guard
  for (const [name, call] of [
    ['limits.allow', () => limits.allow({ user: 'a' }, '1m', 'a reason')],
    ['limits.unblock', () => limits.unblock({ user: 'a' }, '1m')],
    ['limits.set', () => limits.set({ name: 'api', limit: 5, window: '1m' }, '1m')],
    ['limits.signal', () => limits.signal({ user: 'a' }, { kind: 'x' }, 1)],
    ['limits.block', () => limits.block('api', 'a', '1m', 'a reason')],
    ['limits.get', () => limits.get('api', 'a', 1)],
    ['limits.reset', () => limits.reset('api', 'a', 1)],
    ['cost', () => limits.consume('api', 'a', 1, 2)],
    ['cost', () => limits.penalize('api', 'a', 1, 2)],
    ['query', () => policy.evaluate({}, 'data.a', 'data.b')],
  ]) {
    await assert.rejects(call, { name: 'GuardError', code: 'ERR_INVALID_ARGUMENT', message: new RegExp(`\`${name}\`.*leave out what follows`) })
  }
  await guard.close()
})

test('the parts of a key are read from the list itself, whatever methods it has', async () => {
  const guard = createGuard(limit({ key: ['user', 'route'] }))
  const key = Object.assign(['a', 'GET /b'], { map: () => 'nothing' })
  const { remaining } = await guard.limits.consume('api', key)
  assert.equal(remaining, 99)
  await guard.close()
})

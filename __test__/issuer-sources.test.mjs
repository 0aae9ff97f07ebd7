// The request for an issuer's keys (`jwks: { url, headers, allowHttp }`), a secret beside them, and
// keys that are left out, with real servers.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { makeKey, startIssuer } from './helpers/issuer.mjs'
import { waitUntil } from './helpers/servers.mjs'
import { secretToken } from './helpers/provider-tokens.mjs'

const AUDIENCE = 'my-api'
const SECRET = 'q8Zt2LmX0vNfR5yKc7WdHs3JbTgUeAp9'
const PASSWORD = 'Bearer s3cr3t-of-the-issuer'

const warnings = []
process.on('warning', (warning) => warnings.push(warning))
const about = (issuer) => warnings.filter(({ message }) => message.includes(`'${issuer}'`))
const only = (guard) => guard.health().issuers[0]

/**
 * A guard whose keys are at `/jwks` of a server that gives them to `PASSWORD` alone, if `locked`.
 */
async function guarded({ name, keys, locked = false, source = {}, more = {} }, use) {
  const server = await startIssuer()
  const set = JSON.stringify({ keys })
  server.publish('/jwks', (req, res) => (locked && req.headers.authorization !== PASSWORD ? res.writeHead(401).end() : res.end(set)))
  const jwks = typeof source === 'string' ? `${server.url}/jwks` : { url: `${server.url}/jwks`, ...source }
  const events = []
  const guard = createGuard({ rateLimit: false, jwt: { issuer: name, audience: AUDIENCE, jwks, ...more }, log: (event) => events.push(event) })
  const app = expresses[0][1]()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.json({ sub: req.user.sub }))
  try {
    await serve(app, (send) => use((token) => send({ headers: bearer(token) }), guard, { server, events }))
  } finally {
    await guard.close()
    await server.stop()
  }
}

const claims = (iss) => ({ iss, aud: AUDIENCE })

for (const [what, headers] of [
  ['an object', { authorization: PASSWORD, 'X-Tenant': 'shop' }],
  ['a function', () => ({ authorization: PASSWORD, 'x-tenant': 'shop' })],
  ['an async function', async () => ({ Authorization: PASSWORD, 'x-tenant': 'shop' })]
]) {
  test(`request headers from ${what} are sent with each fetch, and with the headers of the guard`, async () => {
    const [key, name] = [makeKey('k1'), `https://${what.replaceAll(' ', '-')}.example`]
    await guarded({ name, keys: [key.jwk], locked: true, source: { headers } }, async (get, guard, { server }) => {
      assert.equal((await get(key.token(claims(name)))).status, 200)
      // An unknown kid: a fetch past caches.
      assert.equal((await get(makeKey('k2').token(claims(name)))).status, 401)
      assert.equal(server.seen.length, 2)
      for (const { headers: seen } of server.seen) assert.deepEqual([seen.authorization, seen['x-tenant']], [PASSWORD, 'shop'])
      assert.equal(server.seen[1].headers['cache-control'], 'no-cache')
      assert.deepEqual(only(guard).error, null)
      assert.ok(!JSON.stringify(guard.health()).includes('s3cr3t'))
    })
  })
}

test('a function is called for each fetch, so a password may change', async () => {
  const [key, name] = [makeKey('k1'), 'https://changing.example']
  let password = 'Bearer old'
  await guarded({ name, keys: [key.jwk], locked: true, source: { headers: async () => ({ authorization: password }) } }, async (get, guard) => {
    await waitUntil('the refusal', () => only(guard).error === 'status')
    password = PASSWORD
    await guard.ready()
    assert.equal((await get(key.token(claims(name)))).status, 200)
  })
})

for (const [what, headers, error] of [
  ['throws', () => { throw new Error(PASSWORD) }, 'headers'],
  ['rejects', async () => { throw new Error(PASSWORD) }, 'headers'],
  ['returns nothing', () => undefined, 'headers'],
  ['returns null', async () => null, 'headers'],
  ['returns a text', () => PASSWORD, 'headers'],
  ['returns a list', () => [['authorization', PASSWORD]], 'headers'],
  ['returns a value that is no text', () => ({ authorization: undefined }), 'headers'],
  ['returns a line break', () => ({ authorization: `${PASSWORD}\r\nx-more: 1` }), 'headers'],
  ['returns a bad name', () => ({ 'a b': PASSWORD }), 'headers'],
  ['returns too many', () => Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`x-${i}`, 'a'])), 'headers'],
  ['never returns', () => new Promise(() => {}), 'timeout']
]) {
  test(`a function for headers that ${what} fails the fetch with '${error}', sends nothing, and is never quoted`, async () => {
    const [key, name] = [makeKey('k1'), `https://${what.replaceAll(' ', '-')}.example`]
    await guarded({ name, keys: [key.jwk], source: { headers } }, async (get, guard, { server, events }) => {
      await waitUntil('the fetch to fail', () => only(guard).error === error, 20_000)
      await waitUntil('a warning', () => about(name).length > 0)
      assert.deepEqual([server.seen.length, guard.health().ready], [0, false])
      const { status, json, text } = await get(key.token(claims(name)))
      assert.deepEqual([status, json.code], [503, 'issuer_unavailable'])
      assert.equal(about(name)[0].code, 'GUARD_ISSUER_FAILING')
      const output = `${text}${JSON.stringify(events)}${JSON.stringify(guard.health())}${about(name).map(String).join()}`
      assert.ok(!output.includes('s3cr3t'))
    })
  })
}

test('two issuers each get the headers of their own function', async () => {
  const servers = [await startIssuer(), await startIssuer()]
  const keys = [makeKey('k1'), makeKey('k1')]
  const issuers = servers.map((server, i) => {
    server.publish('/jwks', { keys: [keys[i].jwk] })
    return { issuer: `https://${i}.example`, audience: AUDIENCE, jwks: { url: `${server.url}/jwks`, headers: () => ({ 'x-own': `${i}` }) } }
  })
  const guard = createGuard({ rateLimit: false, jwt: { issuers } })
  try {
    await guard.ready()
    for (const [i, server] of servers.entries()) {
      assert.deepEqual(server.seen.map(({ headers }) => headers['x-own']), [`${i}`])
      assert.equal((await guard.tokens.verify(keys[i].token(claims(`https://${i}.example`)))).sub, 'ada')
    }
  } finally {
    await guard.close()
    for (const server of servers) await server.stop()
  }
})

test('http is allowed by name to a private host, and to no public address', () => {
  const build = (jwks) => createGuard({ rateLimit: false, jwt: { issuer: 'https://id.example', audience: AUDIENCE, jwks } }).close()
  for (const url of ['http://10.0.0.7/jwks', 'http://192.168.1.9:8080/jwks', 'http://[fd00::1]/jwks', 'http://127.0.0.1:9/jwks']) build({ url, allowHttp: true })
  for (const [jwks, path] of [
    ['http://keycloak:8080/jwks', 'jwt.jwks'],
    [{ url: 'http://keycloak:8080/jwks' }, 'jwt.jwks.url'],
    [{ url: 'http://keycloak:8080/jwks', allowHttp: false }, 'jwt.jwks.url'],
    [{ url: 'http://93.184.216.34/jwks', allowHttp: true }, 'jwt.jwks.url'],
    [{ url: 'http://[2606:4700::1]/jwks', allowHttp: true }, 'jwt.jwks.url'],
    [{ url: 'http://user:pass@keycloak/jwks', allowHttp: true }, 'jwt.jwks.url'],
    [{ url: 'ftp://keycloak/jwks', allowHttp: true }, 'jwt.jwks.url'],
    [{ url: 'https://id.example/jwks', headers: { authorization: 'a\nb' } }, 'jwt.jwks.headers.authorization'],
    [{ url: 'https://id.example/jwks', headers: { 'a b': 'c' } }, 'jwt.jwks.headers.a b'],
    [{ url: 'https://id.example/jwks', headers: 'Bearer x' }, 'jwt.jwks.headers']
  ]) {
    assert.throws(() => build(jwks), { code: 'ERR_INVALID_OPTION', path })
  }
})

test('a host in a private network is fetched over http', async () => {
  const [key, name] = [makeKey('k1'), 'https://public-name.example']
  await guarded({ name, keys: [key.jwk], source: { allowHttp: true } }, async (get) => {
    assert.equal((await get(key.token(claims(name)))).status, 200)
  })
})

test('beside published keys a secret verifies HS256 whatever the kid, and nothing else', async () => {
  const [key, name] = [makeKey('k1'), 'https://transition.example']
  await guarded({ name, keys: [key.jwk], source: 'url', more: { secret: SECRET, algorithms: ['ES256', 'HS256'] } }, async (get, guard) => {
    await guard.ready()
    const now = Math.floor(Date.now() / 1000)
    const payload = { ...claims(name), sub: 'ada', iat: now, exp: now + 60 }
    for (const [what, token, status] of [
      ['a token of the published key', key.token(claims(name)), 200],
      ['a token of the secret', secretToken(payload, {}, SECRET), 200],
      ['a token of the secret with a kid', secretToken(payload, { kid: 'legacy' }, SECRET), 200],
      ['a token of the secret with the kid of a published key', secretToken(payload, { kid: 'k1' }, SECRET), 200],
      ['another secret', secretToken(payload, { kid: 'legacy' }, `${SECRET}x`), 401],
      ['the public key as a secret', secretToken(payload, { kid: 'k1' }, JSON.stringify(key.jwk)), 401],
      ['another algorithm of the secret', secretToken(payload, { alg: 'HS512' }, SECRET), 401],
      ['the published key under another kid', key.token(claims(name), { kid: 'legacy' }), 401]
    ]) {
      assert.equal((await get(token)).status, status, what)
    }
    assert.ok(!JSON.stringify(guard.health()).includes(SECRET))
  })
})

test('before the published keys are there, a token of the secret is verified, and others get 503', async () => {
  const [key, name] = [makeKey('k1'), 'https://transition-early.example']
  await guarded({ name, keys: [key.jwk], locked: true, source: 'url', more: { secret: SECRET, algorithms: ['ES256', 'HS256'] } }, async (get) => {
    const now = Math.floor(Date.now() / 1000)
    const token = secretToken({ ...claims(name), sub: 'ada', iat: now, exp: now + 60 }, { kid: 'legacy' }, SECRET)
    assert.equal((await get(token)).status, 200)
    assert.equal((await get(key.token(claims(name)))).status, 503)
  })
})

const odd = [
  { kty: 'AKP', alg: 'ML-DSA-65', kid: 'pq', pub: 'AAAA' },
  { kty: 'OKP', crv: 'X25519', kid: 'x', x: 'AAAA' },
  { kty: 'RSA', kid: 'weak', alg: 'RS256', n: 'AQAB', e: 'AQAB' }
]

test('a key that can not be used is left out, named in health with its position, and warned of once', async () => {
  const [key, name] = [makeKey('k1'), 'https://odd.example']
  await guarded({ name, keys: [...odd, key.jwk], source: 'url' }, async (get, guard, { server }) => {
    assert.equal((await get(key.token(claims(name)))).status, 200)
    const { keys, leftOut, state } = only(guard)
    assert.deepEqual([keys, state, leftOut.map(({ index }) => index)], [1, 'ready', [0, 1, 2]])
    for (const { reason } of leftOut) assert.match(reason, /^`keys\[\d\][^`]*` /)
    await waitUntil('the warning', () => about(name).length > 0)
    assert.equal((await get(makeKey('k2').token(claims(name)))).status, 401, 'which fetches the same set once more')
    assert.equal(server.seen.length, 2)
    assert.deepEqual(about(name).map(({ code }) => code), ['GUARD_KEY_LEFT_OUT'])
    assert.ok(!about(name)[0].message.includes('AQAB'))
  })
})

test('a set in the options is judged alike', async () => {
  const [key, name] = [makeKey('k1'), 'https://odd-inline.example']
  const guard = createGuard({ rateLimit: false, jwt: { issuer: name, audience: AUDIENCE, jwks: { keys: [...odd, key.jwk] } } })
  assert.equal((await guard.tokens.verify(key.token(claims(name)))).sub, 'ada')
  assert.deepEqual(only(guard).leftOut.map(({ index }) => index), [0, 1, 2])
  await waitUntil('the warning', () => about(name).length > 0)
  assert.deepEqual(about(name).map(({ code }) => code), ['GUARD_KEY_LEFT_OUT'])
  await guard.close()
})

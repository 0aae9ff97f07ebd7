// Token introspection with a real authorization server, on every host.

import test, { after, before, describe } from 'node:test'
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import https from 'node:https'
import express from 'express'
import { createGuard } from 'keepstone'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { hosts } from './helpers/hosts.mjs'
import { bearer, send, serve } from './helpers/http.mjs'
import { CLIENT, startAuthorizationServer, startEndpoint } from './helpers/introspection-server.mjs'
import { makeKey } from './helpers/issuer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'
import { testCertificates } from './helpers/tls.mjs'

const API = 'https://orders.example'
let server
before(async () => void (server = await startAuthorizationServer()))
after(() => server.stop())

const guardOf = (jwt = {}, more = {}) =>
  createGuard({
    rateLimit: false,
    ...more,
    jwt: { issuer: server.issuer, audience: API, ...jwt, introspection: { url: server.endpoint, ...CLIENT, ...jwt.introspection } }
  })
const ofUser = (more = {}) => server.save('AccessToken', { client: 'shop', accountId: 'ada', aud: API, scope: 'orders:read', ...more })

const who = ({ user, guard }) => [200, { sub: user?.sub ?? null, client: user?.client_id ?? null, token: guard.token ?? null }]
const routes = [
  ['get', '/', {}, who],
  ['get', '/write', { require: { scope: 'orders:write' } }, who],
  ['post', '/', { body: { type: 'object', properties: { n: { type: 'integer' } } } }, ({ user, body }) => [200, { sub: user.sub, n: body.n }]]
]

for (const [host, start] of hosts) {
  test(`${host}: an opaque token is an identity while its issuer says so`, async () => {
    const guard = guardOf({ introspection: { cacheFor: '1s' } })
    const { port, stop } = await start(guard, routes.filter(([, path]) => path !== '/write'))
    const ask = (token, more = {}) => send(port, { headers: bearer(token), ...more })
    try {
      const token = await ofUser()
      const { status, json } = await ask(token)
      assert.deepEqual([status, json.sub, json.client], [200, 'ada', 'shop'])
      assert.ok(json.token.exp > Date.now() / 1000)
      assert.deepEqual([json.token.alg, json.token.kid], [undefined, undefined])
      const posted = await ask(token, { method: 'POST', headers: { ...bearer(token), 'content-type': 'application/json' }, body: '{"n":1}' })
      assert.deepEqual([posted.status, posted.json], [200, { sub: 'ada', n: 1 }])
      assert.equal((await ask('made-up')).json.code, 'token_inactive')
      assert.equal((await send(port)).json.code, 'token_missing')
      await server.revoke(token, 'shop')
      const until = Date.now() + 5000
      while ((await ask(token)).status === 200) assert.ok(Date.now() < until, 'the end of the token never came')
      assert.equal((await ask(token)).json.code, 'token_inactive')
    } finally {
      await stop()
      await guard.close()
    }
  })
}

describe('with oidc-provider', () => {
  let guard
  let app
  before(() => {
    guard = guardOf()
    app = express()
    app.use(guard.securityStack())
    app.get('/', (req, res) => res.json({ sub: req.user.sub ?? null, scope: req.user.scope }))
    app.get('/write', guard.require({ scope: 'orders:write' }), (req, res) => res.json({}))
  })
  after(() => guard.close())
  const asking = (use) => serve(app, async (ask) => await use(async (token, path = '/') => await ask({ path, headers: bearer(token) })))

  test('a token of client credentials has no subject, and its scopes are required', async () => {
    const token = await server.token('shop', { resource: API, scope: 'orders:read' })
    const both = await server.token('shop', { resource: API, scope: 'orders:read orders:write' })
    await asking(async (ask) => {
      assert.deepEqual((await ask(token)).json, { sub: null, scope: 'orders:read' })
      const { status, json, headers } = await ask(token, '/write')
      assert.deepEqual([status, json.code], [403, 'insufficient_scope'])
      assert.match(headers['www-authenticate'], /scope="orders:write"/)
      assert.equal((await ask(both, '/write')).status, 200)
    })
  })

  test('tokens for another API, and refresh tokens, are refused though they are active', async () => {
    const foreign = await server.token('shop', { resource: 'https://billing.example' })
    const refresh = await server.save('RefreshToken', { client: 'shop', accountId: 'ada', aud: API, scope: 'orders:read' })
    await asking(async (ask) => {
      assert.equal((await ask(foreign)).json.code, 'token_audience')
      const { status, json } = await ask(refresh)
      assert.deepEqual([status, json.code], [401, 'token_claims'])
    })
  })

  test('a refresh token is refused where nothing but its missing type tells', async () => {
    const bound = guardOf({ audience: false, claims: { client_id: 'shop' }, maxLifetime: '60d' })
    const refresh = await server.save('RefreshToken', { client: 'shop', accountId: 'ada', scope: 'orders:read' })
    await assert.rejects(bound.tokens.verify(refresh), { status: 401, message: /token_type/ })
    await bound.close()
  })

  test('tokens of another client are refused where the client binds them', async () => {
    const bound = guardOf({ audience: [API], claims: { client_id: 'shop' } })
    const other = await server.token('other', { resource: API })
    await assert.rejects(bound.tokens.verify(other), { status: 401 })
    assert.equal((await bound.tokens.verify(await server.token('shop', { resource: API }))).client_id, 'shop')
    await bound.close()
  })

  test('wrong credentials of this API are a fault of the operator, never of the token', async () => {
    const wrong = guardOf({ introspection: { clientSecret: 'another' } })
    const token = await server.token('shop', { resource: API })
    await serve(express().use(wrong.securityStack()), async (ask) => {
      const { status, json, headers } = await ask({ headers: bearer(token) })
      assert.deepEqual([status, json.code, headers['retry-after']], [503, 'introspection_unavailable', '1'])
    })
    await wrong.close()
  })

  test('tokens.verify() asks, too', async () => {
    const token = await ofUser()
    const claims = await guard.tokens.verify(token)
    assert.deepEqual([claims.sub, claims.active, claims.iss], ['ada', true, server.issuer])
    await assert.rejects(guard.tokens.verify('made-up'), { status: 401 })
  })

  test('a token that is bound to a key needs a proof of it', async () => {
    const key = dpopClient()
    const other = dpopClient()
    const proof = key.proof({ method: 'POST', url: `${server.issuer}/token`, token: '' })
    const token = await server.token('shop', { resource: API }, { dpop: proof })
    await serve(app, async (ask, { port }) => {
      const url = `http://127.0.0.1:${port}/`
      assert.equal((await ask({ headers: dpop(token, key.proof({ url, token })) })).status, 200)
      assert.equal((await ask({ headers: bearer(token) })).json.code, 'token_bound')
      assert.equal((await ask({ headers: dpop(token, other.proof({ url, token })) })).json.code, 'dpop_proof')
      const used = dpop(token, key.proof({ url, token }))
      assert.deepEqual([(await ask({ headers: used })).status, (await ask({ headers: used })).json.code], [200, 'dpop_replayed'])
      const plain = await server.token('shop', { resource: API })
      assert.equal((await ask({ headers: dpop(plain, key.proof({ url, token: plain })) })).json.code, 'token_unbound')
    })
  })

  test('a token that is bound to a certificate needs that one', async () => {
    const { server: own, client } = testCertificates()
    const tls = https.createServer({ key: own.key, cert: own.cert, requestCert: true, rejectUnauthorized: false }, app)
    const thumbprint = Buffer.from(new X509Certificate(client.cert).fingerprint256.replaceAll(':', ''), 'hex').toString('base64url')
    const mine = await ofUser({ 'x5t#S256': thumbprint })
    const foreign = await ofUser({ 'x5t#S256': Buffer.alloc(32).toString('base64url') })
    const shown = { key: client.key, cert: client.cert }
    await serve(app, async (ask) => {
      const over = async (token, certificate) => (await ask({ headers: bearer(token), client: https, rejectUnauthorized: false, ...certificate })).status
      assert.deepEqual([await over(mine, shown), await over(mine, {}), await over(foreign, shown)], [200, 401, 401])
    }, tls)
  })
})

describe('revocation', () => {
  test('revoke.token() refuses an opaque token at once, also a cached one and one that was never seen', async () => {
    const guard = guardOf({ introspection: { cacheFor: '5m' } })
    const [known, unknown, bystander] = [await ofUser(), await ofUser(), await ofUser()]
    await guard.tokens.verify(known)
    for (const token of [known, unknown]) {
      await guard.revoke.token(token)
      await assert.rejects(guard.tokens.verify(token), { status: 401, message: /revoked/ })
    }
    assert.equal((await guard.tokens.verify(bystander)).sub, 'ada')
    await guard.close()
  })

  test('revoke.subject() and revoke.session() reach cached answers', async () => {
    const endpoint = await startEndpoint((token) => active({ sub: token.split('.')[0], sid: token, jti: `id of ${token}` }))
    const guard = guardFor(endpoint, { introspection: { cacheFor: '5m' } })
    for (const token of ['ada.1', 'ada.2', 'eve.1', 'eve.2', 'bob.1']) await guard.tokens.verify(token)
    await guard.revoke.session('eve.1')
    await guard.revoke.token('id of eve.2')
    await guard.revoke.subject('ada')
    const taken = []
    for (const token of ['ada.1', 'ada.2', 'eve.1', 'eve.2', 'bob.1']) {
      await guard.tokens.verify(token).then(() => taken.push(token), ({ status }) => assert.equal(status, 401))
    }
    assert.deepEqual(taken, ['bob.1'])
    await guard.close()
    await endpoint.stop()
  })

  test('over Redis, a revocation of an opaque token reaches a guard that has its answer', async () => {
    const redis = await startRedis()
    const endpoint = await startEndpoint((token) => active(token === 'named' ? { jti: 'j1' } : {}))
    const store = { redis: { url: redis.url } }
    const [one, two] = [guardFor(endpoint, {}, { store }), guardFor(endpoint, {}, { store })]
    await Promise.all([one.ready(), two.ready()])
    for (const token of ['plain', 'named', 'bystander']) await two.tokens.verify(token)
    await one.revoke.token('plain')
    await one.revoke.token('j1')
    for (const token of ['plain', 'named']) await waitUntil('the revocation', () => two.tokens.verify(token).then(() => false, ({ status }) => status === 401))
    assert.equal((await two.tokens.verify('bystander')).sub, 'ada')
    await Promise.all([one.close(), two.close(), endpoint.stop()])
    await redis.stop()
  })

  test('a token that is revoked while its issuer is asked is refused', async () => {
    let answer
    const asked = deferred()
    const endpoint = await startEndpoint(() => {
      asked.resolve()
      return new Promise((resolve) => void (answer = resolve))
    })
    const guard = guardFor(endpoint)
    await serve(express().use(guard.securityStack()).get('/', (req, res) => res.json({})), async (ask) => {
      const asking = ask({ headers: bearer('opaque') })
      await asked.promise
      await guard.revoke.token('opaque')
      answer(active())
      assert.equal((await asking).json.code, 'token_revoked')
    })
    await guard.close()
    await endpoint.stop()
  })
})

describe('beside JWT issuers', () => {
  test('each kind of token goes to its own judge', async () => {
    const key = makeKey('k1')
    const endpoint = await startEndpoint((token) => (token.startsWith('good') ? active() : { active: false }))
    const guard = createGuard({
      rateLimit: false,
      jwt: {
        issuers: [
          { issuer: 'https://jwt.example', audience: 'api', jwks: { keys: [key.jwk] } },
          { issuer: 'https://id.example', audience: 'api', introspection: { url: endpoint.url, ...CLIENT } }
        ]
      }
    })
    const jwt = key.token({ iss: 'https://jwt.example', aud: 'api' })
    assert.equal((await guard.tokens.verify(jwt)).iss, 'https://jwt.example')
    assert.equal((await guard.tokens.verify('good')).iss, 'https://id.example')
    for (const forged of [makeKey('k1').token({ iss: 'https://jwt.example', aud: 'api' }), key.token({ iss: 'https://id.example', aud: 'api' }), `${jwt}x`]) {
      await assert.rejects(guard.tokens.verify(forged), { status: 401 })
    }
    assert.deepEqual(endpoint.asked, ['good'])
    await guard.close()
    await endpoint.stop()
  })
})

const deferred = () => {
  let resolve
  return { promise: new Promise((done) => void (resolve = done)), resolve }
}
const active = (more = {}) => {
  const iat = Math.floor(Date.now() / 1000) - 5
  return { active: true, iss: 'https://id.example', aud: 'api', sub: 'ada', iat, exp: iat + 600, token_type: 'Bearer', ...more }
}
const guardFor = (endpoint, { introspection, ...jwt } = {}, more = {}) =>
  createGuard({ rateLimit: false, ...more, jwt: { issuer: 'https://id.example', audience: 'api', ...jwt, introspection: { url: endpoint.url, ...CLIENT, ...introspection } } })

// oidc-provider as the issuer, found by discovery: rotation of its keys, bound tokens, refresh,
// tokens of services, logout.

import test from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import https from 'node:https'
import { createGuard } from 'keepstone'
import { basic, browserOf, claimsOf, logIn, signedBy, signingKey, startAuthorizationServer, tokenFor } from './helpers/authorization-server.mjs'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { bearer, expresses, send, serve } from './helpers/http.mjs'
import { selfSigned, testCertificates } from './helpers/tls.mjs'

const RESOURCE = 'https://api.example.com/orders'
const resources = { [RESOURCE]: ['orders:read', 'orders:write'] }
const secret = 'of-a-client-that-keeps-it-to-itself'
const REDIRECT = 'http://127.0.0.1:1/callback'
const SERVICE = { client_id: 'service', client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }
const WEB = { client_id: 'web', client_secret: secret, grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [REDIRECT] }
const ofService = { grant_type: 'client_credentials', resource: RESOURCE, scope: 'orders:read' }
const [, express] = expresses[0]

/** Runs `use` with an authorization server, which is stopped afterwards. */
async function withIssuer(options, use) {
  const issuer = await startAuthorizationServer({ resources, clients: [SERVICE, WEB], ...options })
  try {
    return await use(issuer)
  } finally {
    await issuer.stop()
  }
}

const guardOf = (issuer, jwt = {}, more = {}) => createGuard({ rateLimit: false, jwt: { issuer: issuer.url, discovery: true, audience: RESOURCE, typ: 'at+jwt', ...jwt }, ...more })

/** Runs `use(send, guard)` with an API behind a guard of the issuer. */
async function guarded(issuer, use, { jwt, server } = {}) {
  const guard = guardOf(issuer, jwt)
  const app = express()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.json({ sub: req.user.sub, client: req.user.client_id, scope: req.user.scope, bound: req.guard.token.bound }))
  try {
    return await serve(app, (request, at) => use(request, { guard, ...at }), server?.(app))
  } finally {
    await guard.close()
  }
}

const kidOf = (token) => JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid
const outcome = ({ status, json }) => [status, json.code]

test('a rotation of the signing key under load refuses nobody', async () => {
  const [a, b] = [signingKey('a'), signingKey('b')]
  await withIssuer({ keys: [a] }, async (issuer) => {
    await guarded(issuer, async (request, { guard }) => {
      // Published, then signing, then alone: at these numbers of served requests.
      const steps = [[300, [a, b]], [600, [b, a]], [1000, [b]]]
      const TOTAL = 1300
      const [refused, kids] = [[], new Set()]
      let served = 0
      let last
      const client = async () => {
        let token
        for (let own = 0; served < TOTAL; own++) {
          // Every client gets a new token from time to time, as before its expiry.
          if (own % 20 === 0) token = (await tokenFor(issuer, SERVICE, ofService)).access_token
          const { status, json } = await request({ headers: bearer(token) })
          if (status !== 200) refused.push([served, json?.code])
          kids.add(kidOf(token))
          if (++served >= steps[0]?.[0]) issuer.setKeys(steps.shift()[1])
          last = token
        }
      }
      await Promise.all(Array.from({ length: 8 }, client))
      assert.deepEqual([refused, [...kids], steps], [[], ['a', 'b'], []])
      // Fetched once when the guard was built, and once for the key that it did not know.
      assert.equal(issuer.seen.filter((path) => path === '/jwks').length, 2)
      assert.deepEqual([guard.health().issuers[0].state, guard.health().issuers[0].keys], ['ready', 2])

      // A guard that begins now does not know the old key.
      const old = signedBy(a, claimsOf(last))
      await guarded(issuer, async (other) => {
        assert.equal((await other({ headers: bearer(last) })).status, 200)
        assert.deepEqual(outcome(await other({ headers: bearer(old) })), [401, 'token_key'])
      })
    })
  })
})

test('a token that is bound to a key by DPoP passes with proofs of that key alone, nonces included', async () => {
  const features = { dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => true } }
  await withIssuer({ features }, async (issuer) => {
    const client = dpopClient()
    const url = `${issuer.url}/token`
    const proofFor = (more) => ({ dpop: client.proof({ method: 'POST', url, ...more }) })
    const first = await tokenFor(issuer, SERVICE, ofService, proofFor())
    assert.deepEqual([first.status, first.error], [400, 'use_dpop_nonce'])
    const { access_token: token, token_type: type } = await tokenFor(issuer, SERVICE, ofService, proofFor({ nonce: first.nonce }))
    assert.deepEqual([type, claimsOf(token).cnf], ['DPoP', { jkt: client.jkt }])

    await guarded(issuer, async (request, { port }) => {
      const api = `http://127.0.0.1:${port}/`
      const withProof = (by, more) => request({ headers: dpop(token, by.proof({ url: api, token, ...more })) })
      const asked = await withProof(client)
      assert.equal(asked.status, 401)
      assert.match(asked.headers['www-authenticate'], /error="use_dpop_nonce"/)
      const nonce = asked.headers['dpop-nonce']
      const proof = client.proof({ url: api, token, nonce })
      const passed = await request({ headers: dpop(token, proof) })
      assert.deepEqual([passed.status, passed.json.client, passed.json.bound], [200, 'service', 'dpop'])
      assert.deepEqual(outcome(await request({ headers: dpop(token, proof) })), [401, 'dpop_replayed'])
      assert.deepEqual(outcome(await request({ headers: bearer(token) })), [401, 'token_bound'])
      assert.deepEqual(outcome(await withProof(dpopClient(), { nonce })), [401, 'dpop_proof'])
      assert.deepEqual(outcome(await withProof(client, { nonce, url: `${api}other` })), [401, 'dpop_proof'])
      // A nonce of the authorization server is none of this API.
      assert.deepEqual(outcome(await withProof(client, { nonce: first.nonce })), [401, 'dpop_nonce'])
      const unbound = (await logIn(issuer, WEB, { scope: 'orders:read', resource: RESOURCE })).access_token
      assert.deepEqual(outcome(await request({ headers: bearer(unbound) })), [401, 'token_unbound'])
    }, { jwt: { dpop: 'required', dpopNonce: true } })
  })
})

test('a token that is bound to a client certificate passes over a connection with it alone', async () => {
  const { server: { key, cert, ca }, client } = testCertificates()
  const other = selfSigned()
  const service = { ...SERVICE, tls_client_certificate_bound_access_tokens: true }
  await withIssuer({ clients: [service], tls: { key, cert, ca } }, async (issuer) => {
    const own = { client: https, ca, key: client.key, cert: client.cert }
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    const post = { method: 'POST', path: '/token', headers: { ...basic(service), ...form }, body: String(new URLSearchParams(ofService)) }
    const { json: answer } = await send(Number(new URL(issuer.mtlsUrl).port), { ...post, ...own })
    assert.deepEqual(Object.keys(claimsOf(answer.access_token).cnf), ['x5t#S256'])

    const headers = bearer(answer.access_token)
    const server = (app) => https.createServer({ key, cert, ca, requestCert: true, rejectUnauthorized: false }, app)
    await guarded(issuer, async (request) => {
      const passed = await request({ ...own, headers })
      assert.deepEqual([passed.status, passed.json.client, passed.json.bound], [200, 'service', 'mtls'])
      assert.deepEqual(outcome(await request({ client: https, ca, headers })), [401, 'token_bound'])
      assert.deepEqual(outcome(await request({ ...own, key: other.key, cert: other.cert, headers })), [401, 'token_bound'])
    }, { server })
    await guarded(issuer, async (request) => {
      assert.deepEqual(outcome(await request({ headers })), [401, 'token_bound'])
    })
  })
})

test("a service has a token of its own, with the scopes that its issuer gave it", async () => {
  await withIssuer({}, async (issuer) => {
    await guarded(issuer, async (request) => {
      const { access_token: token, expires_in: lifetime } = await tokenFor(issuer, SERVICE, ofService)
      assert.equal(lifetime, 300)
      const { json } = await request({ headers: bearer(token) })
      assert.deepEqual(json, { sub: 'service', client: 'service', scope: 'orders:read' })
    })
  })
})

test('a refreshed token is accepted, and the one before it until it expires', async () => {
  const key = signingKey('first')
  await withIssuer({ keys: [key] }, async (issuer) => {
    await guarded(issuer, async (request) => {
      const first = await logIn(issuer, WEB, { scope: 'orders:read', resource: RESOURCE })
      const second = await tokenFor(issuer, WEB, { grant_type: 'refresh_token', refresh_token: first.refresh_token, resource: RESOURCE })
      assert.notEqual(second.access_token, first.access_token)
      for (const { access_token: token } of [first, second]) {
        assert.deepEqual((await request({ headers: bearer(token) })).json, { sub: 'ada', client: 'web', scope: 'orders:read' })
      }
      const iat = Math.floor(Date.now() / 1000) - 400
      const expired = signedBy(key, { ...claimsOf(first.access_token), iat, exp: iat + 300 })
      assert.deepEqual(outcome(await request({ headers: bearer(expired) })), [401, 'token_expired'])
      assert.deepEqual(outcome(await request({ headers: bearer(second.refresh_token) })), [401, 'token_malformed'])
      assert.deepEqual(outcome(await request({ headers: bearer((await logIn(issuer, WEB, { scope: 'openid', resource: RESOURCE })).id_token) })), [401, 'token_type'])
    })
  })
})

test('a logout at the issuer revokes the tokens of that session, and of no other', async () => {
  let notified
  const app = express()
  await serve(app, async (request, { port }) => {
    const client = { ...WEB, backchannel_logout_uri: `http://127.0.0.1:${port}/logout`, backchannel_logout_session_required: true }
    await withIssuer({ clients: [client] }, async (issuer) => {
      const guard = guardOf(issuer)
      // Logout tokens are for the client, and have a type of their own (OpenID Connect
      // Back-Channel Logout 1.0 section 2.4): no access token passes for one.
      const logouts = guardOf(issuer, { audience: client.client_id, typ: 'logout+jwt' })
      app.post('/logout', express.urlencoded({ extended: false }), async (req, res) => {
        notified = req.body.logout_token
        try {
          const { sid } = await logouts.tokens.verify(notified)
          await guard.revoke.session(sid)
          res.status(204).end()
        } catch {
          res.status(400).end()
        }
      })
      app.use(guard.securityStack())
      app.get('/', (req, res) => res.json({ sub: req.user.sub }))

      const [here, there] = [browserOf(issuer.url), browserOf(issuer.url)]
      const scope = { scope: 'openid orders:read', resource: RESOURCE }
      const [mine, other] = [await logIn(issuer, client, scope, here), await logIn(issuer, client, scope, there)]
      const get = async (token) => outcome(await request({ headers: bearer(token) }))
      const status = async (token) => (await get(token))[0]
      assert.deepEqual([await status(mine.access_token), await status(other.access_token)], [200, 200])

      const post = (token) => request({ method: 'POST', path: '/logout', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `logout_token=${token}` })
      for (const { access_token: access, id_token: id } of [mine, other]) {
        assert.deepEqual([(await post(access)).status, (await post(id)).status], [400, 400])
      }
      assert.equal(await status(mine.access_token), 200)

      const page = await here.open(`${issuer.url}/session/end?id_token_hint=${mine.id_token}`)
      const [, xsrf] = /name="xsrf" value="(\w+)"/.exec(page)
      await here.open(`${issuer.url}/session/end/confirm`, { xsrf, logout: 'yes' })
      assert.equal(claimsOf(notified).sid, claimsOf(mine.access_token).sid)
      assert.deepEqual(await get(mine.access_token), [401, 'token_revoked'])
      assert.equal(await status(other.access_token), 200)
      // What the issuer still gives for this session is revoked as well.
      assert.equal((await post(notified)).status, 204)
      assert.deepEqual(await get(notified), [401, 'token_type'])
      await Promise.all([guard.close(), logouts.close()])
    })
  })
})

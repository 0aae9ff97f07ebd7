// Tokens in cookies and in the query, and what keeps other sites from using them.

import test from 'node:test'
import assert from 'node:assert/strict'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'

const [, express] = expresses[0]
const COOKIE = '__Host-token'
const both = { ...jwt, from: ['header', { cookie: COOKIE }] }
const host = { host: 'api.example.com' }
const own = { origin: 'http://api.example.com' }
const cookie = (token) => ({ cookie: `theme=dark; ${COOKIE}=${token}` })

function appOf(express, ...handlers) {
  const app = express()
  app.use(...handlers)
  app.use((req, res) => res.json({ sub: req.user?.sub ?? null }))
  return app
}

const tokenOf = async (guard, claims = { sub: 'ada' }) => (await guard.tokens.issue(claims)).accessToken

for (const [name, express] of expresses) {
  test(`${name}: a token in a cookie is as good as in the header, for our own pages`, async () => {
    const guard = createGuard({ jwt: both, rateLimit: false })
    const token = await tokenOf(guard)
    await serve(appOf(express, guard.securityStack()), async (send) => {
      const status = async (method, headers) => (await send({ method, headers: { ...host, ...headers } })).status
      assert.equal(await status('GET', cookie(token)), 200)
      assert.equal(await status('GET', bearer(token)), 200)
      assert.equal(await status('GET', {}), 401)
      assert.equal(await status('GET', cookie('x')), 401, 'a bad one never passes')
      assert.equal(await status('POST', { ...cookie(token), 'sec-fetch-site': 'same-origin' }), 200)
      assert.equal(await status('POST', { ...cookie(token), ...own }), 200)
      for (const headers of [{}, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site', ...own }, { origin: 'https://evil.example' }, { origin: 'null' }]) {
        const answer = await send({ method: 'POST', headers: { ...host, ...cookie(token), ...headers } })
        assert.deepEqual([answer.status, answer.json.code], [403, 'csrf_failed'], JSON.stringify(headers))
        assert.equal(answer.headers['content-type'], 'application/problem+json')
      }
    })
  })
}

test('a token that a page has added by itself needs no such check: no other page could have', async () => {
  const guard = createGuard({ jwt: both, rateLimit: false, cors: { origins: ['https://app.example.com'] } })
  const token = await tokenOf(guard)
  await serve(appOf(express, guard.securityStack()), async (send) => {
    const crossSite = { 'sec-fetch-site': 'cross-site', origin: 'https://app.example.com' }
    assert.equal((await send({ method: 'POST', headers: { ...host, ...bearer(token), ...crossSite } })).status, 200)
    // A login that somebody else's page sends is none of ours, though it has no token yet.
    assert.equal((await send({ method: 'POST', headers: { ...host, ...crossSite } })).status, 403)
  })
})

test('pages of listed origins may send what they like, and a route may list others', async () => {
  const guard = createGuard({ jwt: both, rateLimit: false, csrf: { origins: ['https://app.example.com'] } })
  const token = await tokenOf(guard)
  const from = (origin) => ({ method: 'POST', headers: { ...host, ...cookie(token), 'sec-fetch-site': 'cross-site', origin } })
  await serve(appOf(express, guard.securityStack()), async (send) => {
    assert.equal((await send(from('https://app.example.com'))).status, 200)
    assert.equal((await send(from('https://partner.example'))).status, 403)
  })
  await serve(appOf(express, guard.securityStack({ csrf: { origins: ['https://partner.example'] } })), async (send) => {
    assert.equal((await send(from('https://partner.example'))).status, 200)
    assert.equal((await send(from('https://app.example.com'))).status, 403)
  })
})

test('every layer that takes a cookie for an identity is as careful', async () => {
  const guard = createGuard({ jwt: both })
  const token = await tokenOf(guard)
  for (const layer of [guard.authenticate(), guard.require(), guard.rateLimit()]) {
    await serve(appOf(express, layer), async (send) => {
      assert.equal((await send({ method: 'POST', headers: { ...host, ...cookie(token), origin: 'https://evil.example' } })).json.code, 'csrf_failed')
      assert.equal((await send({ method: 'POST', headers: { ...host, ...cookie(token), ...own } })).status, 200)
    })
  }
})

test('the check alone protects the cookies of an application', async () => {
  const guard = createGuard({ rateLimit: false })
  await serve(appOf(express, guard.csrf({ origins: ['https://app.example.com'] })), async (send) => {
    const post = async (headers) => (await send({ method: 'POST', headers: { ...host, ...headers } })).status
    assert.equal(await post({ cookie: 'session=1' }), 403)
    assert.equal(await post({ cookie: 'session=1', ...own }), 200)
    assert.equal(await post({ cookie: 'session=1', origin: 'https://app.example.com' }), 200)
    assert.equal(await post({ cookie: 'session=1', origin: 'https://evil.example' }), 403)
    assert.equal(await post({}), 200, 'a program without cookies')
  })
})

test('a header that nobody verifies is no way around the check', async () => {
  const guard = createGuard({ jwt: both, rateLimit: false, csrf: { origins: ['https://app.example.com'] } })
  const token = await tokenOf(guard)
  const evil = { cookie: 'session=1', 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
  const asked = createGuard({ jwt, rateLimit: false, csrf: {} })
  for (const layer of [guard.csrf(), guard.securityStack({ jwt: false }), asked.csrf(), asked.securityStack({ jwt: false })]) {
    await serve(appOf(express, layer), async (send) => {
      const post = async (headers) => (await send({ method: 'POST', headers: { ...host, ...headers } })).status
      for (const authorization of ['Bearer x', 'bearer x', 'DPoP x', `Bearer ${token}`, 'Basic eDp5', 'Bearer']) {
        const answer = await send({ method: 'POST', headers: { ...host, ...evil, authorization } })
        assert.deepEqual([answer.status, answer.json.code], [403, 'csrf_failed'], authorization.slice(0, 9))
      }
      assert.equal(await post(bearer(token)), 200, 'a program')
      assert.equal(await post({ ...bearer(token), ...own }), 200, 'our own page')
    })
  }
  await serve(appOf(express, guard.csrf()), async (send) => {
    const listed = { ...host, ...bearer(token), 'sec-fetch-site': 'cross-site', origin: 'https://app.example.com' }
    assert.equal((await send({ method: 'POST', headers: listed })).status, 200, 'a listed page')
  })
  // Where it is verified, what is no token gets no further.
  await serve(appOf(express, guard.securityStack({ jwt: { optional: true } })), async (send) => {
    assert.equal((await send({ method: 'POST', headers: { ...host, ...evil, authorization: 'Bearer x' } })).status, 401)
    assert.equal((await send({ method: 'POST', headers: { ...host, ...evil, ...bearer(token) } })).status, 200)
  })
})

test('where tokens come in headers alone, the check is off unless it is asked for', async () => {
  const guard = createGuard({ jwt: { ...jwt, optional: true }, rateLimit: false })
  const evil = { method: 'POST', headers: { ...host, cookie: 'a=b', origin: 'https://evil.example' } }
  await serve(appOf(express, guard.securityStack()), async (send) => assert.equal((await send(evil)).status, 200))
  const asked = createGuard({ csrf: {}, rateLimit: false })
  await serve(appOf(express, asked.securityStack()), async (send) => assert.equal((await send(evil)).status, 403))
})

test('a page that puts a token into the URL of its form has not got around the check', async () => {
  const guard = createGuard({ jwt: { ...jwt, from: [{ cookie: COOKIE }, { query: 'access_token' }], optional: true }, rateLimit: false })
  const token = await tokenOf(guard, { sub: 'eve' })
  const form = { method: 'POST', path: `/?access_token=${token}`, headers: { ...host, cookie: 'session=1', 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' } }
  for (const layer of [guard.securityStack(), guard.csrf(), guard.authenticate()]) {
    await serve(appOf(express, layer), async (send) => {
      assert.equal((await send(form)).json.code, 'csrf_failed')
      assert.equal((await send({ ...form, headers: { ...host, ...own } })).status, 200)
    })
  }
})

test('a request with two tokens is refused, wherever they are', async () => {
  const guard = createGuard({ jwt: { ...jwt, from: ['header', { cookie: COOKIE }, { query: 'access_token' }] }, rateLimit: false })
  const token = await tokenOf(guard)
  await serve(appOf(express, guard.securityStack()), async (send) => {
    for (const [path, headers] of [
      ['/', { ...bearer(token), ...cookie(token) }],
      [`/?access_token=${token}`, cookie(token)],
      [`/?access_token=${token}`, bearer(token)],
      [`/?access_token=${token}&access_token=${token}`, {}],
      ['/', { cookie: `${COOKIE}=${token}; ${COOKIE}=${token}` }]
    ]) {
      const answer = await send({ path, headers: { ...host, ...headers } })
      assert.deepEqual([answer.status, answer.json.code], [400, 'token_ambiguous'], path.slice(0, 20))
      assert.match(answer.headers['www-authenticate'], /error="invalid_request"/)
      assert.ok(!answer.text.includes(token))
    }
  })
})

test('an optional token may be absent and must not be bad', async () => {
  const guard = createGuard({ jwt: { ...both, optional: true }, rateLimit: false })
  await serve(appOf(express, guard.securityStack()), async (send) => {
    const anonymous = await send({ headers: { ...host, cookie: 'theme=dark' } })
    assert.deepEqual([anonymous.status, anonymous.json.sub], [200, null])
    for (const headers of [cookie('x'), cookie(''), bearer('x'), { authorization: 'Basic eDp5' }]) {
      assert.equal((await send({ headers: { ...host, ...headers } })).status, 401, JSON.stringify(headers))
    }
  })
})

test('a token in the query is found, and told to nobody', async () => {
  const events = []
  const guard = createGuard({ jwt: { ...jwt, from: [{ query: 'access_token' }] }, rateLimit: false, log: (event) => events.push(event) })
  const token = await tokenOf(guard)
  const forged = `${token.slice(0, -4)}AAAA`
  await serve(appOf(express, guard.securityStack()), async (send) => {
    const good = await send({ path: `/feed?access_token=${token}`, headers: host })
    assert.deepEqual([good.status, good.json.sub], [200, 'ada'])
    assert.equal(good.headers['cache-control'], 'no-store')
    const bad = await send({ path: `/feed?access_token=${forged}`, headers: host })
    assert.equal(bad.status, 401)
    assert.ok(!JSON.stringify([bad.raw, bad.text]).includes(forged.slice(0, 30)))
  })
  assert.equal(events.length, 2)
  assert.ok(!JSON.stringify(events).includes(token.slice(0, 30)))
})

for (const [name, express] of expresses) {
  test(`${name}: a token in the query is no undeclared name of it, and no handler finds it among what was checked`, async () => {
    const guard = createGuard({ jwt: { ...jwt, from: ['header', { query: 'access_token' }], optional: true }, rateLimit: false })
    const token = await tokenOf(guard)
    const query = { type: 'object', properties: { page: { type: 'integer' } } }
    const checks = [
      guard.validate({ query }),
      guard.validate({ query: { ...query, additionalProperties: true } }),
      guard.validate({ query: z.strictObject({ page: z.number() }) })
    ]
    for (const check of checks) {
      const app = express()
      app.use(check, (req, res) => res.json(check.valid(req).query))
      await serve(app, async (send) => {
        for (const path of [`/?page=2&access_token=${token}`, `/?%61ccess_token=${token}&page=2`]) {
          const answer = await send({ path, headers: host })
          assert.deepEqual([answer.status, answer.json], [200, { page: 2 }], answer.text)
        }
        assert.equal((await send({ path: `/?page=x&access_token=${token}`, headers: host })).status, 422)
      })
    }
    const stack = guard.securityStack({ query })
    await serve(appOf(express, stack), async (send) => {
      assert.equal((await send({ path: `/?page=2&access_token=${token}`, headers: host })).json.sub, 'ada')
      assert.equal((await send({ path: '/?page=2&access_token=x', headers: host })).status, 401)
      assert.equal((await send({ path: '/?page=2&token=x', headers: host })).status, 422)
    })
    const wanting = { ...query, properties: { access_token: { type: 'string' } } }
    assert.throws(() => guard.validate({ query: wanting }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'query' })
  })
}

test('a token that is bound to a key does not pass in a cookie, with its proof or without', async () => {
  const guard = createGuard({ jwt: both, rateLimit: false })
  const client = dpopClient()
  const token = await tokenOf(guard, { sub: 'ada', cnf: { jkt: client.jkt } })
  await serve(appOf(express, guard.securityStack()), async (send) => {
    const { dpop: proof } = dpop(token, client.proof({ url: 'http://api.example.com/', token }))
    for (const headers of [{}, { dpop: proof }]) {
      assert.equal((await send({ headers: { ...host, ...cookie(token), ...headers } })).json.code, 'token_bound')
    }
  })
})

test('a request with a body is checked before the body is read', async () => {
  const guard = createGuard({ jwt: both, rateLimit: false })
  const token = await tokenOf(guard)
  await serve(appOf(express, guard.securityStack()), async (send) => {
    const answer = await send(json('{"not json', { headers: { ...host, ...cookie(token), 'sec-fetch-site': 'cross-site' } }))
    assert.equal(answer.json.code, 'csrf_failed')
  })
})

test('what would be unsafe is refused when the guard is built', () => {
  const build = (more) => () => createGuard({ jwt: both, ...more })
  assert.throws(build({ csrf: false }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'csrf' })
  assert.throws(build({ csrf: { origins: ['*'] } }), { code: 'ERR_INVALID_OPTION', path: 'csrf.origins[0]' })
  assert.throws(build({ csrf: { origin: [] } }), { code: 'ERR_UNKNOWN_OPTION', suggestion: /`origins`/ })
  assert.throws(build({ jwt: { ...jwt, from: [{ cookie: 'token' }] } }), { code: 'ERR_INVALID_OPTION', path: 'jwt.from[0].cookie', suggestion: /__Host-/ })
  const guard = createGuard({ jwt: both })
  assert.throws(() => guard.securityStack({ csrf: false }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'csrf' })
  assert.throws(() => guard.csrf(false), { code: 'ERR_INVALID_OPTION', path: 'csrf' })
  // Where no token is looked at, nothing is done in anybody's name.
  assert.ok(guard.securityStack({ csrf: false, jwt: false }))
})

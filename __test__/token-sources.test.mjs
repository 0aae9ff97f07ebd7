// Where a token comes from: cookies that are dead with `optional: 'lenient'`, headers of proxies,
// credentials of another scheme, large tokens.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { serve as serveHono } from '@hono/node-server'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as fastifyPlugin } from 'keepstone/fastify'
import { keepstone as honoMiddleware } from 'keepstone/hono'
import { hosts } from './helpers/hosts.mjs'
import { bearer, expresses, json, send, serve } from './helpers/http.mjs'
import { makeKey } from './helpers/issuer.mjs'

const COOKIE = '__Host-token'
const ORIGIN = 'https://app.example'
const key = makeKey('k1')
const base = { issuer: 'https://id.example', audience: 'my-api', jwks: { keys: [key.jwk] } }
const claims = { iss: base.issuer, aud: base.audience }
const CLEARED = `${COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0`
const inCookie = (token) => ({ cookie: `theme=dark; ${COOKIE}=${token}` })
const past = Math.floor(Date.now() / 1000) - 7200

const guardOf = (jwt = {}, more = {}) => createGuard({ rateLimit: false, csrf: { origins: [ORIGIN] }, ...more, jwt: { ...base, from: ['header', { cookie: COOKIE }], optional: 'lenient', ...jwt } })

const dead = async (guard) => {
  const revoked = key.token({ ...claims, jti: 'j-revoked' })
  await guard.revoke.token(revoked)
  return {
    expired: key.token({ ...claims, iat: past, exp: past + 60 }),
    revoked,
    garbage: 'not-a-token',
    empty: '',
    'of another issuer': key.token({ ...claims, iss: 'https://evil.example' }),
    'of another audience': key.token({ ...claims, aud: 'other' }),
    'of another key': makeKey('k1').token(claims),
    'of an unknown key': makeKey('k9').token(claims),
    'too large': key.token({ ...claims, padding: 'x'.repeat(9000) })
  }
}

const anyone = ({ user }) => [200, { sub: user?.sub ?? null }]
const routes = [
  ['get', '/', {}, anyone],
  ['post', '/', { body: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } }, ({ user, body }) => [200, { sub: user?.sub ?? null, n: body.n }]],
  ['get', '/account', { jwt: { optional: false } }, anyone],
  ['get', '/strict', { jwt: { optional: true } }, anyone]
]

/** Serves `routes` on a host while `use(ask)` runs. */
async function on(start, guard, use) {
  const { port, stop } = await start(guard, routes)
  try {
    return await use((path, options = {}) => send(port, { path, ...options }), port)
  } finally {
    await stop()
    await guard.close()
  }
}

for (const [host, start] of hosts) {
  describe(`${host}: optional 'lenient'`, () => {
    test('a cookie whose token is dead counts as none, and is cleared', async () => {
      const guard = guardOf()
      const cookies = await dead(guard)
      await on(start, guard, async (ask) => {
        for (const [what, token] of Object.entries(cookies)) {
          const { status, json: body, headers } = await ask('/', { headers: inCookie(token) })
          assert.deepEqual([status, body], [200, { sub: null }], what)
          assert.deepEqual(headers['set-cookie'], [CLEARED], what)
          assert.equal(headers['www-authenticate'], undefined, what)
        }
      })
    })

    test('a good cookie is a user, no cookie is none, and neither is cleared', async () => {
      await on(start, guardOf(), async (ask) => {
        for (const [headers, sub] of [[inCookie(key.token(claims)), 'ada'], [{}, null], [{ cookie: 'theme=dark' }, null]]) {
          const answer = await ask('/', { headers })
          assert.deepEqual([answer.status, answer.json.sub, answer.headers['set-cookie']], [200, sub, undefined])
        }
      })
    })

    test('a dead token in the header is 401 all the same, and so are two tokens', async () => {
      const guard = guardOf()
      const cookies = await dead(guard)
      await on(start, guard, async (ask) => {
        for (const [what, token] of Object.entries(cookies).filter(([, token]) => token !== '')) {
          const { status, headers } = await ask('/', { headers: bearer(token) })
          assert.deepEqual([status, headers['set-cookie']], [401, undefined], what)
        }
        const both = await ask('/', { headers: { ...inCookie(cookies.expired), ...bearer(key.token(claims)) } })
        assert.deepEqual([both.status, both.json.code], [400, 'token_ambiguous'])
        assert.equal((await ask('/', { headers: { cookie: `${COOKIE}=a; ${COOKIE}=b` } })).status, 400)
      })
    })

    test('a slow body behind a dead cookie still arrives, and the cookie is cleared', async () => {
      const guard = guardOf()
      const { expired } = await dead(guard)
      await on(start, guard, async (ask, port) => {
        const answered = new Promise((resolve, reject) => {
          const request = http.request({ host: '127.0.0.1', port, method: 'POST', path: '/', agent: false, headers: { ...inCookie(expired), origin: ORIGIN, 'content-type': 'application/json' } }, (response) => {
            let text = ''
            response.on('data', (chunk) => (text += chunk))
            response.on('end', () => resolve({ status: response.statusCode, text, cookies: response.headers['set-cookie'] }))
          })
          request.on('error', reject)
          request.write('{"n"')
          setTimeout(() => request.end(':1}'), 200)
        })
        assert.deepEqual(await answered, { status: 200, text: '{"sub":null,"n":1}', cookies: [CLEARED] })
      })
    })

    test('a request of another site with a dead cookie is still refused', async () => {
      const guard = guardOf()
      const { expired } = await dead(guard)
      await on(start, guard, async (ask) => {
        const { status, json: body } = await ask('/', json({ n: 1 }, { headers: { ...inCookie(expired), origin: 'https://evil.example' } }))
        assert.deepEqual([status, body.code], [403, 'csrf_failed'])
      })
    })

    test('a route that needs a token gives 401 for a dead cookie, and one with `optional: true` too', async () => {
      const guard = guardOf()
      const { expired } = await dead(guard)
      await on(start, guard, async (ask) => {
        for (const path of ['/account', '/strict']) assert.equal((await ask(path, { headers: inCookie(expired) })).status, 401, path)
        assert.equal((await ask('/account')).status, 401)
        assert.equal((await ask('/strict')).status, 200)
      })
    })
  })
}

describe('a log-in that answers a dead cookie', () => {
  const FRESH = `${COOKIE}=fresh; Path=/; Secure; HttpOnly; SameSite=Lax`
  const last = (cookies) => [cookies].flat().filter((cookie) => cookie.startsWith(`${COOKIE}=`)).at(-1)

  for (const [name, express] of expresses) {
    test(`${name}: the new cookie is behind the one that clears`, async () => {
      const guard = guardOf()
      const app = express()
      app.post('/login', ...guard.securityStack(), (req, res) => {
        res.append('Set-Cookie', FRESH)
        res.status(204).end()
      })
      await serve(app, async (ask) => {
        const { headers } = await ask({ method: 'POST', path: '/login', headers: { ...inCookie('dead'), origin: ORIGIN } })
        assert.equal(last(headers['set-cookie']), FRESH)
      })
      await guard.close()
    })
  }

  test('Fastify: the new cookie is behind the one that clears', async () => {
    const guard = guardOf()
    const app = Fastify()
    await app.register(fastifyPlugin, { guard })
    app.post('/login', async (request, reply) => reply.header('set-cookie', FRESH).code(204).send())
    await app.listen({ port: 0, host: '127.0.0.1' })
    const { headers } = await send(app.server.address().port, { method: 'POST', path: '/login', headers: { ...inCookie('dead'), origin: ORIGIN } })
    assert.equal(last(headers['set-cookie']), FRESH)
    await app.close()
    await guard.close()
  })

  test('Hono: the new cookie is behind the one that clears', async () => {
    const guard = guardOf()
    const app = new Hono()
    app.post('/login', honoMiddleware(guard), (c) => {
      c.header('Set-Cookie', FRESH, { append: true })
      return c.body(null, 204)
    })
    const server = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
    await once(server, 'listening')
    const { headers } = await send(server.address().port, { method: 'POST', path: '/login', headers: { ...inCookie('dead'), origin: ORIGIN } })
    assert.equal(last(headers['set-cookie']), FRESH)
    server.closeAllConnections()
    server.close()
    await guard.close()
  })
})

const PROXY = 'x-goog-iap-jwt-assertion'
const proxied = (more = {}) => createGuard({ rateLimit: false, ...more, jwt: { ...base, from: [{ header: 'X-Goog-IAP-JWT-Assertion' }], ...more.jwt } })

for (const [host, start] of hosts) {
  test(`${host}: a token in a header of its own is taken in any case, alone, and protected from other sites`, async () => {
    await on(start, proxied(), async (ask) => {
      const token = key.token(claims)
      assert.deepEqual((await ask('/', { headers: { [PROXY]: token } })).json, { sub: 'ada' })
      assert.deepEqual((await ask('/', { headers: { 'X-Goog-Iap-Jwt-Assertion': token } })).json, { sub: 'ada' })
      assert.equal((await ask('/', { headers: bearer(token) })).status, 401, 'Authorization is not among the places')
      assert.equal((await ask('/', { headers: { [PROXY]: `Bearer ${token}` } })).status, 401)
      assert.equal((await ask('/', { headers: { [PROXY]: '' } })).status, 401)
      // A proxy adds the header to requests of other sites as well.
      const post = (more) => ask('/', json({ n: 1 }, { headers: { [PROXY]: token, ...more } }))
      assert.deepEqual([(await post({ origin: 'https://evil.example' })).status, (await post({ 'sec-fetch-site': 'cross-site' })).status], [403, 403])
      assert.equal((await post({ 'sec-fetch-site': 'same-origin' })).status, 200)
    })
  })
}

test('two lines of such a header are refused: which of them the proxy wrote is unknown', async () => {
  const guard = proxied()
  const app = expresses[0][1]()
  app.get('/', ...guard.securityStack(), (req, res) => res.json(req.user))
  await serve(app, async (ask) => {
    const token = key.token(claims)
    const { status } = await ask({ headers: { [PROXY]: [token, makeKey('k1').token(claims)] } })
    assert.ok(status === 400 || status === 401)
    assert.equal((await ask({ headers: { [PROXY]: `${token}, ${token}` } })).status, 401)
  })
  await guard.close()
})

test('`from` names no header that has a reader of its own, and no place twice', () => {
  for (const [from, path] of [
    [[{ header: 'authorization' }], 'jwt.from[0].header'],
    [[{ header: 'Cookie' }], 'jwt.from[0].header'],
    [[{ header: 'DPoP' }], 'jwt.from[0].header'],
    [[{ header: 'a b' }], 'jwt.from[0].header'],
    [[{ header: '' }], 'jwt.from[0].header'],
    [[{ header: 'x-token' }, { header: 'X-Token' }], 'jwt.from[1]'],
    [[{ header: 'x-token', cookie: COOKIE }], 'jwt.from[0]']
  ]) {
    assert.throws(() => createGuard({ jwt: { ...base, from } }), { code: 'ERR_INVALID_OPTION', path })
  }
})

for (const [host, start] of hosts) {
  test(`${host}: the password of a proxy does not beat a good cookie, and counts as none beside nothing`, async () => {
    await on(start, guardOf({ optional: false }), async (ask) => {
      const basic = { authorization: 'Basic c3RhZ2luZzpwYXNz' }
      assert.deepEqual((await ask('/', { headers: { ...basic, ...inCookie(key.token(claims)) } })).json, { sub: 'ada' })
      assert.equal((await ask('/', { headers: { ...basic, ...inCookie('dead') } })).status, 401)
      assert.equal((await ask('/', { headers: basic })).status, 401)
      assert.equal((await ask('/', { headers: { authorization: `Bearer ${key.token(claims)}`, cookie: `${COOKIE}=${key.token(claims)}` } })).status, 400)
    })
  })
}

test('tokens up to maxTokenSize are taken where Node takes the headers, and larger ones are named in the event', async () => {
  const events = []
  const guard = createGuard({ rateLimit: false, jwt: { ...base, maxTokenSize: '32kb' }, log: (event) => events.push(event) })
  const app = expresses[0][1]()
  app.get('/', ...guard.securityStack(), (req, res) => res.json({ roles: req.user.roles.length }))
  const roles = (length) => ({ ...claims, roles: Array.from({ length }, (_, i) => `role-with-a-long-name-${i}`) })
  await serve(app, async (ask) => {
    const large = key.token(roles(800))
    assert.ok(large.length > 24_000 && large.length < 32_768)
    assert.deepEqual((await ask({ headers: bearer(large) })).json, { roles: 800 })
    // Twice, so that the second comes from the cache.
    assert.deepEqual((await ask({ headers: bearer(large) })).json, { roles: 800 })
    assert.equal((await guard.tokens.verify(large)).roles.length, 800)
    const larger = key.token(roles(1200))
    const { status, json: body } = await ask({ headers: bearer(larger) })
    assert.deepEqual([status, body.code, events.at(-1).reason], [401, 'token_malformed', 'token_too_large'])
    await assert.rejects(guard.tokens.verify(larger), { code: 'token_malformed', reason: 'token_too_large' })
  }, http.createServer({ maxHeaderSize: 65_536 }, app))
  await guard.close()
  const small = createGuard({ rateLimit: false, jwt: base })
  await assert.rejects(small.tokens.verify(key.token(roles(400))), { code: 'token_malformed', reason: 'token_too_large' })
  await small.close()
  for (const maxTokenSize of ['33kb', 100, '0', true]) assert.throws(() => createGuard({ jwt: { ...base, maxTokenSize } }), { code: 'ERR_INVALID_OPTION', path: 'jwt.maxTokenSize' })
})

// `public`: paths that need no identity, on every host. No other spelling of a path is public, and
// what a route demands itself holds.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { sendBytes } from './helpers/raw.mjs'

const page = { 'sec-fetch-site': 'same-origin' }
const open = (more = {}) => createGuard({ jwt: { ...jwt, from: ['header', { cookie: '__Host-t' }] }, rateLimit: false, ...more })
const who = ({ user }) => [200, { sub: user?.sub ?? null }]

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const guard = open({
      public: ['/health', 'POST /v1/login', '/docs/*', '/admin', { path: '/live', limits: false }, { path: '/own', limits: false }],
      rateLimit: { name: 'few', limit: 2, window: '1h', paths: ['/live', '/own', '/docs/few'] },
      cors: { origins: ['https://app.example'] }
    })
    const routes = [
      ['get', '/health', {}, who],
      ['post', '/v1/login', { body: { type: 'object' } }, who],
      ['get', '/v1/login', {}, who],
      ['get', '/docs/:page', {}, who],
      ['get', '/live', {}, who],
      ['get', '/own', { rateLimit: { name: 'own', limit: 1, window: '1h' } }, who],
      ['get', '/admin', { require: { role: 'admin' } }, who],
      ['get', '/me', {}, who]
    ]
    const ask = serveRoutes(start, guard, routes)
    const isRefused = ({ status, json }, wanted, code) => assert.deepEqual([status, json?.code], [wanted, code])

    test('a public path needs no identity, and every other one does', async () => {
      for (const path of ['/health', '/docs/a']) assert.deepEqual((await ask(path)).json, { sub: null })
      assert.equal((await ask('/health', { method: 'HEAD' })).status, 200)
      assert.equal((await ask('/v1/login', { method: 'POST', ...json({}) })).status, 200)
      for (const path of ['/me', '/v1/login', '/nowhere']) isRefused(await ask(path), 401, 'token_missing')
    })
    test('no other spelling is public', async () => {
      for (const path of ['/Health', '/health/', '/healthx', '/health/x', '/health;a', '/DOCS/a', '/docsx', '/v1/login/']) {
        assert.equal((await ask(path)).status, 401, path)
      }
      for (const path of ['/health/../me', '/docs/%2e%2e/me', '/docs/..%2fme', '//health', '/docs//a', '/%68ealth', '/docs/%2e']) {
        const { status, json } = await ask(path)
        // The server of Hono resolves dot segments, and the core gets the path that they lead to.
        const isResolved = name === 'Hono' && /\/(?:\.|%2e)+(?:\/|$)/.test(path)
        if (isResolved) assert.equal(status, path === '/docs/%2e' ? 404 : 401, path)
        else assert.deepEqual([status, json?.code], [400, 'malformed_path'], path)
      }
    })
    test('a target in absolute form is no way round', async () => {
      const bytes = (target) => `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`
      for (const target of ['http://a/health', 'http://a/me', 'http:/health']) {
        assert.doesNotMatch(String(await sendBytes(ask.port(), bytes(target))), /^HTTP\/1.1 200/, target)
      }
    })
    test('who comes with a token is known, and a refused token in a header ends the request', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
      assert.deepEqual((await ask('/health', { headers: bearer(accessToken) })).json, { sub: 'ada' })
      isRefused(await ask('/health', { headers: bearer(`${accessToken}x`) }), 401, 'token_signature')
    })
    test('a dead token in a cookie counts as none and is cleared, so that its user can log in', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
      await guard.revoke.token(accessToken)
      const headers = { cookie: `__Host-t=${accessToken}`, ...page }
      const answer = await ask('/docs/a', { headers })
      assert.deepEqual([answer.status, answer.json], [200, { sub: null }])
      assert.match(String(answer.headers['set-cookie']), /__Host-t=;.*Max-Age=0/)
      assert.equal((await ask('/me', { headers })).status, 401)
    })
    test('what a route demands itself holds', async () => {
      isRefused(await ask('/admin'), 401, 'token_missing')
      assert.equal((await ask('/own')).status, 200)
      isRefused(await ask('/own'), 429, 'rate_limited')
    })
    test('the limits hold for a public path unless its entry frees it', async () => {
      for (let i = 0; i < 5; i += 1) assert.equal((await ask('/live')).status, 200)
      for (let i = 0; i < 2; i += 1) assert.equal((await ask('/docs/few')).status, 200)
      isRefused(await ask('/docs/few'), 429, 'rate_limited')
    })
    test('a preflight is answered as ever', async () => {
      const headers = { origin: 'https://app.example', 'access-control-request-method': 'GET' }
      for (const path of ['/health', '/me']) {
        if (name === 'Fastify' || name === 'Hono') continue // their routes take no OPTIONS
        assert.equal((await ask(path, { method: 'OPTIONS', headers })).status, 204)
      }
    })
  })
}

for (const [version, express] of expresses) {
  test(`${version}: below a mounted router the whole path is compared`, async () => {
    const guard = open({ public: ['/v1/health', '/me'] })
    const app = express()
    const v1 = express.Router()
    v1.use(guard.securityStack())
    for (const path of ['/health', '/me']) v1.get(path, (req, res) => res.json({}))
    app.use('/v1', v1)
    await serve(app, async (ask) => {
      assert.equal((await ask({ path: '/v1/health' })).status, 200)
      assert.equal((await ask({ path: '/v1/me' })).status, 401)
    })
  })

  test(`${version}: the layers of an application and of its routes agree, and a requirement of a route holds`, async () => {
    const guard = open({ public: ['/open'] })
    const app = express()
    app.use(guard.authenticate())
    app.get('/open', guard.validate({ query: { type: 'object' } }), (req, res) => res.json({}))
    app.get('/closed', (req, res) => res.json({}))
    app.get('/open', (req, res) => res.json({}))
    app.use(guard.require({ role: 'admin' }))
    await serve(app, async (ask) => {
      assert.equal((await ask({ path: '/open' })).status, 200)
      assert.equal((await ask({ path: '/closed' })).status, 401)
      assert.equal((await ask({ path: '/open', method: 'POST', headers: page })).status, 401)
    })
  })

  test(`${version}: a request whose method or URL was changed before the stack is not public`, async () => {
    const guard = open({ public: ['GET /health'] })
    const app = express()
    app.use((req, res, next) => {
      if (req.headers['x-method'] !== undefined) req.method = req.headers['x-method']
      if (req.headers['x-url'] !== undefined) req.url = req.headers['x-url']
      next()
    })
    app.use(guard.securityStack())
    app.use((req, res) => res.json({}))
    await serve(app, async (ask) => {
      assert.equal((await ask({ path: '/health' })).status, 200)
      for (const headers of [{ 'x-method': 'DELETE' }, { 'x-url': '/me' }]) {
        assert.notEqual((await ask({ path: '/health', headers })).status, 200, JSON.stringify(headers))
      }
      const { status } = await ask({ path: '/me', headers: { 'x-url': '/health' } })
      assert.notEqual(status, 200)
    })
  })
}

test('an entry that is wrong says what to write', () => {
  const wrong = (entry, text) => assert.throws(() => open({ public: [entry] }), (error) => error.path?.startsWith('public[0]') && text.test(error.message), String(entry))
  wrong('/*', /would make every path public/)
  wrong('/users/:id', /plain path/)
  wrong('/health/', /must not end with a slash/)
  wrong('//health', /no request can have/)
  wrong('/%61dmin', /no request can have/)
  wrong('get /health', /method in upper case/)
  wrong({ path: '/health', limits: true }, /leave it out/)
  assert.throws(() => open({ public: ['/docs/*', '/docs/a'] }), /`public\[1\]` adds nothing: `public\[0\]` covers it/)
  assert.throws(() => open({ unless: ['/health'] }), /did you mean `public`/)
  assert.throws(() => createGuard({ public: ['/health'] }), /needs no identity anyway/)
})

// Response headers and profiles of some routes: an API with a page of documentation.

import test from 'node:test'
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone } from 'keepstone/hono'
import { expresses, serve } from './helpers/http.mjs'

const SECURE = { 'x-forwarded-proto': 'https' }
const NAMES = ['content-security-policy', 'x-frame-options', 'referrer-policy', 'cross-origin-opener-policy', 'origin-agent-cluster', 'cache-control', 'permissions-policy', 'strict-transport-security', 'x-content-type-options']
const of = ({ headers }) => Object.fromEntries(NAMES.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])))
const nonce = (req, res) => res.send(req.guard.nonce ?? 'none')
const api = {
  'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-store'
}
const page = {
  csp: { nonce: true, directives: { 'img-src': ["'self'", 'data:'] } }, hsts: { maxAge: 60, includeSubDomains: false }, permissionsPolicy: false,
  profile: 'web'
}

function isWeb(answer, text) {
  const found = of(answer)
  const { 'content-security-policy': policy, ...rest } = found
  assert.match(policy, /^default-src 'self';.*img-src 'self' data:.*script-src 'self' 'nonce-[\w+/]{22}=='/)
  if (text !== undefined) assert.equal(policy.includes(`'nonce-${text}'`), true)
  assert.deepEqual(rest, {
    'x-frame-options': 'SAMEORIGIN', 'referrer-policy': 'strict-origin-when-cross-origin', 'cross-origin-opener-policy': 'same-origin',
    'origin-agent-cluster': '?1', 'strict-transport-security': 'max-age=60', 'x-content-type-options': 'nosniff'
  })
}

function isApi(answer) {
  const found = of(answer)
  for (const [name, value] of Object.entries(api)) assert.equal(found[name], value, name)
  assert.equal(found['cross-origin-opener-policy'], undefined)
}

for (const [name, express] of expresses) {
  for (const isNested of [true, false]) {
    test(`${name}: a route of pages has a profile of its own, ${isNested ? 'behind the stack of the application' : 'alone'}`, async () => {
      const guard = createGuard({ rateLimit: false, trustedProxies: ['127.0.0.1'] })
      const app = express()
      if (isNested) app.use(guard.securityStack())
      app.get('/docs', guard.securityStack({ responseHeaders: page }), nonce)
      app.get('/page', guard.headers(page), isNested ? [] : guard.securityStack({ responseHeaders: page }), nonce)
      app.get('/checked', guard.securityStack({ responseHeaders: page, query: { type: 'object', required: ['a'] } }), nonce)
      app.get('/bare', guard.securityStack({ responseHeaders: false }), nonce)
      app.get('/back', guard.securityStack({ responseHeaders: page }), guard.headers({}), nonce)
      app.use(guard.securityStack(), (req, res) => res.json({}))
      await serve(app, async (send) => {
        for (const path of ['/docs', '/page']) {
          const answer = await send({ path, headers: SECURE })
          isWeb(answer, answer.text)
        }
        const refused = await send({ path: '/checked', headers: SECURE })
        assert.equal(refused.status, 422)
        isWeb(refused)
        assert.deepEqual(of(await send({ path: '/bare', headers: SECURE })), {})
        const back = await send({ path: '/back', headers: SECURE })
        isApi(back)
        assert.equal(back.text, 'none')
        assert.match(back.headers['strict-transport-security'], /max-age=63072000/)
        isApi(await send({ path: '/data' }))
      })
    })
  }

  test(`${name}: answers to HEAD and 304 have the headers, too`, async () => {
    const guard = createGuard({ rateLimit: { name: 'a', limit: 9, window: '1m' }, cors: { origins: ['https://app.example.com'] } })
    const app = express().use(guard.securityStack()).get('/', (req, res) => res.set('ETag', '"1"').set('Vary', 'Accept-Encoding').send('ok'))
    await serve(app, async (send) => {
      for (const [status, request] of [[200, { method: 'HEAD' }], [304, { headers: { 'if-none-match': '"1"' } }]]) {
        const answer = await send({ ...request, headers: { ...request.headers, origin: 'https://app.example.com' } })
        assert.equal(answer.status, status)
        isApi({ headers: { 'cache-control': 'no-store', ...answer.headers } })
        assert.equal(answer.headers['access-control-allow-origin'], 'https://app.example.com')
        assert.match(answer.headers.ratelimit, /^"a";r=/)
      }
    })
  })
}

test('Fastify and Hono: a route has response headers of its own', async () => {
  const guard = createGuard({ rateLimit: false, trustedProxies: ['127.0.0.1'] })
  const app = Fastify()
  await app.register(plugin, { guard })
  app.get('/docs', { config: { keepstone: { responseHeaders: page } } }, async (request) => request.guard.nonce)
  app.get('/bare', { config: { keepstone: { responseHeaders: false } } }, async () => 'ok')
  app.get('/data', async () => ({}))
  const ask = (url) => app.inject({ url, headers: SECURE, remoteAddress: '127.0.0.1' })
  const docs = await ask('/docs')
  isWeb(docs, docs.body)
  assert.deepEqual(of(await ask('/bare')), {})
  isApi(await ask('/data'))

  const hono = new Hono()
  const at = { address: () => '127.0.0.1' }
  hono.use('/docs', keepstone(guard, undefined, at))
  hono.get('/docs', keepstone(guard, { responseHeaders: page }, at), (c) => c.text(c.get('guard').nonce))
  hono.get('/bare', keepstone(guard, undefined, at), keepstone(guard, { responseHeaders: false }, at), (c) => c.text('ok'))
  hono.use(keepstone(guard, undefined, at)).get('/data', (c) => c.json({}))
  const request = async (path) => {
    const answer = await hono.request(`http://localhost${path}`, { headers: SECURE })
    return { headers: Object.fromEntries(answer.headers), text: await answer.text() }
  }
  const shown = await request('/docs')
  isWeb(shown, shown.text)
  assert.deepEqual(of(await request('/bare')), {})
  isApi(await request('/data'))
})

test('options of response headers are judged with the profile of the route', () => {
  const web = createGuard({ profile: 'web', rateLimit: false })
  const guard = createGuard({ rateLimit: false })
  web.headers({ csp: { nonce: true } })
  const cases = [
    [() => guard.securityStack({ responseHeaders: { csp: { nonce: true } } }), 'responseHeaders.csp.nonce', /web/],
    [() => web.securityStack({ responseHeaders: { profile: 'api', csp: { nonce: true } } }), 'responseHeaders.csp.nonce', /web/],
    [() => guard.headers({ profile: 'page' }), 'headers.profile', /'api' or 'web'/],
    [() => createGuard({ headers: { profile: 'web' } }), 'headers.profile', /on the guard: `profile: 'web'`/],
    [() => guard.securityStack({ profile: 'web' }), 'profile', /`responseHeaders: \{ profile: 'web' \}`/],
    [() => guard.securityStack({ csp: false }), 'csp', /`responseHeaders: \{ csp/],
    [() => guard.securityStack({ responseHeaders: { hsts: 5 } }), 'responseHeaders.hsts', /./],
    [() => guard.securityStack({ responseHeaders: true }), 'responseHeaders', /./]
  ]
  for (const [build, path, message] of cases) assert.throws(build, (error) => error.path === path && message.test(error.message), path)
})

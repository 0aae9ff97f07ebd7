// CORS as a browser sees it.

import test from 'node:test'
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone as middleware } from 'keepstone/hono'
import { expresses, serve } from './helpers/http.mjs'

const [, express] = expresses[0]
const APP = 'https://app.example.com'

async function withCors(cors, use) {
  const app = express()
  app.use(createGuard({ ...(cors === undefined ? {} : { cors }), rateLimit: false }).securityStack())
  app.get('/', (req, res) => res.send('ok'))
  app.options('/', (req, res) => res.send('the handler'))
  await serve(app, use)
}

const preflight = (origin, method = 'PUT', headers) => ({
  method: 'OPTIONS',
  headers: { origin, 'access-control-request-method': method, ...(headers === undefined ? {} : { 'access-control-request-headers': headers }) }
})
const allowed = (answer) => answer.headers['access-control-allow-origin']

test('without `cors` no origin is allowed', async () => {
  await withCors(undefined, async (send) => {
    const answer = await send({ headers: { origin: APP } })
    assert.equal(answer.status, 200)
    assert.equal(allowed(answer), undefined)
  })
})

test('an exact origin and a one-label wildcard are allowed, their look-alikes are not', async () => {
  await withCors({ origins: [APP, 'https://*.tenants.example.com'], credentials: true }, async (send) => {
    for (const origin of [APP, 'https://a.tenants.example.com', 'https://xn--caf-dma.tenants.example.com']) {
      const answer = await send({ headers: { origin } })
      assert.equal(allowed(answer), origin)
      assert.equal(answer.headers['access-control-allow-credentials'], 'true')
      assert.match(answer.headers.vary, /\bOrigin\b/)
    }
    const others = ['https://evilapp.example.com', 'https://app.example.com.evil.example', 'http://app.example.com', 'https://app.example.com:8443', 'https://a.b.tenants.example.com', 'https://tenants.example.com', 'https://.tenants.example.com', 'https://*.tenants.example.com', 'null', '', 'https://APP.example.com']
    for (const origin of others) {
      const answer = await send({ headers: { origin } })
      assert.equal(allowed(answer), undefined, origin)
      assert.match(answer.headers.vary, /\bOrigin\b/, origin)
    }
    const none = await send()
    assert.match(none.headers.vary, /\bOrigin\b/, 'a cache must know, also when there is no Origin')
  })
})

test('a preflight is answered before any handler, and says what is allowed', async () => {
  await withCors({ origins: [APP], methods: ['GET', 'PUT'], requestHeaders: ['content-type', 'x-tenant'], maxAge: 600 }, async (send) => {
    const answer = await send(preflight(APP, 'PUT', 'content-type,x-tenant'))
    assert.equal(answer.status, 204)
    assert.equal(answer.text, '')
    assert.equal(allowed(answer), APP)
    assert.match(answer.headers['access-control-allow-methods'], /\bPUT\b/)
    assert.match(answer.headers['access-control-allow-headers'], /x-tenant/i)
    assert.equal(answer.headers['access-control-max-age'], '600')
    assert.match(answer.headers.vary, /Origin/)
    for (const bad of [preflight('https://evil.example'), preflight(APP, 'DELETE'), preflight(APP, 'PUT', 'x-other')]) {
      const refused = await send(bad)
      assert.equal(refused.status, 403)
      assert.equal(allowed(refused), undefined)
    }
    assert.equal((await send({ method: 'OPTIONS', headers: { origin: APP } })).text, 'the handler', 'an OPTIONS without Access-Control-Request-Method is no preflight')
  })
})

test('a function may decide about origins, also asynchronously; what it throws is never a yes', async () => {
  const cors = {
    origins: async (origin) => {
      if (origin === 'https://broken.example.com') throw new Error('the database is down')
      return origin === APP
    }
  }
  await withCors(cors, async (send) => {
    assert.equal(allowed(await send({ headers: { origin: APP } })), APP)
    assert.equal(allowed(await send({ headers: { origin: 'https://evil.example' } })), undefined)
    const broken = await send({ headers: { origin: 'https://broken.example.com' } })
    assert.equal(broken.status, 500)
    assert.equal(allowed(broken), undefined)
    assert.equal((await send(preflight(APP))).status, 204)
  })
  await withCors({ origins: () => 'yes' }, async (send) => {
    assert.equal(allowed(await send({ headers: { origin: APP } })), undefined, 'only true is a yes')
  })
})

test('the decision event says why a preflight allows nothing', async () => {
  const app = express()
  const events = []
  const cors = { origins: [APP], methods: ['GET', 'PUT'], requestHeaders: ['content-type'] }
  const guard = createGuard({ cors, rateLimit: false, log: (event) => events.push(event) })
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const asked = [
      [preflight('https://evil.example'), 'cors_origin'],
      [preflight('null'), 'cors_origin'],
      [preflight(APP, 'DELETE'), 'cors_method'],
      [preflight(APP, 'PUT', 'x-other'), 'cors_header'],
      [preflight(APP, 'PUT', 'content-type'), undefined]
    ]
    for (const [request, reason] of asked) {
      const answer = await send(request)
      const { outcome, status, reason: told } = events.at(-1)
      const expected = reason === undefined ? 204 : 403
      assert.deepEqual([answer.status, outcome, status, told], [expected, 'preflight', expected, reason])
      assert.doesNotMatch(answer.text + JSON.stringify(answer.headers), /cors_/, 'the page learns what is allowed, not why')
    }
  })
})

test('a Vary that is there already is added to, not replaced', async () => {
  const app = express()
  app.use((req, res, next) => {
    res.setHeader('Vary', 'Accept-Encoding')
    next()
  })
  app.use(createGuard({ cors: { origins: [APP] }, rateLimit: false }).securityStack())
  app.get('/', (req, res) => res.send('ok'))
  await serve(app, async (send) => {
    assert.equal((await send()).headers.vary, 'Accept-Encoding, Origin')
  })
})

test('a handler that sets `Vary` adds to it, and `null` and private networks get no CORS header', async () => {
  const guard = createGuard({ rateLimit: false, cors: { origins: [APP] } })
  const app = Fastify()
  await app.register(plugin, { guard })
  app.get('/', async (request, reply) => void reply.header('Vary', request.query.vary).send('ok'))
  const vary = async (value) => (await app.inject({ url: `/?vary=${value}`, headers: { origin: APP } })).headers.vary
  assert.deepEqual([await vary('Accept'), await vary('*'), await vary('origin')], ['Accept, Origin', '*', 'origin'])
  const hono = new Hono().use(middleware(guard, undefined, { address: () => '127.0.0.1' })).get('/', (c) => (c.header('Vary', 'Accept'), c.text('ok')))
  assert.equal((await hono.request('http://localhost/', { headers: { origin: APP } })).headers.get('vary'), 'Accept, Origin')
  for (const [, express] of expresses) {
    await serve(express().use(guard.securityStack()).get('/', (req, res) => res.vary('Accept').send('ok')), async (send) => {
      assert.equal((await send({ headers: { origin: APP } })).headers.vary, 'Origin, Accept')
      assert.equal((await send({ headers: { origin: 'null' } })).headers['access-control-allow-origin'], undefined)
      const asked = preflight(APP, 'GET')
      const { headers } = await send({ ...asked, headers: { ...asked.headers, 'access-control-request-private-network': 'true' } })
      assert.equal(headers['access-control-allow-private-network'], undefined)
    })
  }
})

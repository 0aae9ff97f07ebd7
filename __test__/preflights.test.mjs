// Preflights of routes that have CORS options of their own: a browser asks by `OPTIONS`, which no
// `app.post` sees.

import test from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone } from 'keepstone/hono'
import { expresses, json, serve } from './helpers/http.mjs'

const APP = 'https://app.example.com'
const ADMIN = 'https://admin.example.com'
const WIDE = { origins: [APP, ADMIN], methods: ['GET', 'POST', 'PUT', 'DELETE'] }
const NARROW = { origins: [ADMIN] }
const ok = (req, res) => res.end('ok')

const asks = (origin, method, path, headers) => ({
  method: 'OPTIONS',
  path,
  headers: { origin, 'access-control-request-method': method, ...(headers && { 'access-control-request-headers': headers }) }
})

/** Status and allowed origin of the answers to preflights, `[origin, method, path, headers]`. */
async function answersTo(send, preflights) {
  const answers = []
  for (const preflight of preflights) {
    const { status, headers } = await send(asks(...preflight))
    answers.push([status, headers['access-control-allow-origin']])
  }
  return answers
}

async function warnings(run) {
  const codes = []
  const note = ({ code }) => codes.push(code)
  process.on('warning', note)
  await run()
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', note)
  return codes
}

for (const [name, express] of expresses) {
  for (const place of ['before', 'behind']) {
    const app = (guard, addRoutes) => {
      const app = express()
      if (place === 'before') app.use(guard.securityStack())
      addRoutes(app)
      if (place === 'behind') app.use(guard.securityStack())
      return app
    }

    test(`${name}: the stack of the application, ${place} the routes, answers the preflights of routes with their own CORS`, async () => {
      const guard = createGuard({ rateLimit: false })
      const listener = app(guard, (app) => {
        app.post('/orders', guard.securityStack({ cors: WIDE, body: { type: 'object' } }), ok)
        app.get('/orders', guard.cors({ origins: ['*'] }), ok)
        app.route('/users/:id').put(guard.cors({ origins: [APP], requestHeaders: ['x-tenant'] }), ok).delete(guard.cors(NARROW), ok)
        app.get('/plain', ok)
      })
      await serve(listener, async (send) => {
        assert.deepEqual(
          await answersTo(send, [
            [APP, 'POST', '/orders?a=b'],
            ['https://evil.example', 'POST', '/orders'],
            [APP, 'POST', '/orders', 'x-other'],
            [APP, 'GET', '/orders'],
            [APP, 'HEAD', '/orders'],
            [APP, 'PUT', '/users/7', 'x-tenant'],
            [ADMIN, 'PUT', '/users/7', 'x-tenant'],
            [ADMIN, 'DELETE', '/users/7'],
            [APP, 'DELETE', '/users/7']
          ]),
          [[204, APP], [403, undefined], [403, undefined], [204, '*'], [204, '*'], [204, APP], [403, undefined], [204, ADMIN], [403, undefined]]
        )
        // Nothing of the guard allows these, so that they are the application's to answer.
        for (const [origin, method, path] of [[APP, 'GET', '/plain'], [APP, 'PATCH', '/orders'], [APP, 'PUT', '/none'], [APP, 'POST', '/orders/7']]) {
          const { headers } = await send(asks(origin, method, path))
          assert.equal(headers['access-control-allow-origin'], undefined, `${method} ${path}`)
        }
        assert.equal((await send({ method: 'OPTIONS', path: '/orders', headers: { origin: APP } })).headers['access-control-allow-origin'], undefined)
      })
    })

    test(`${name}: preflights go by the innermost CORS decision, with the stack ${place} the routes`, async () => {
      const guard = createGuard({ rateLimit: false, cors: WIDE })
      const listener = app(guard, (app) => {
        app.put('/admin', guard.cors(NARROW), ok)
        app.delete('/admin', guard.securityStack({ cors: false }), ok)
        app.use('/inner', guard.cors({ origins: [ADMIN], methods: ['PATCH'] }))
        app.patch('/inner/x', ok)
        app.all('/own', guard.cors(NARROW), ok)
        // It passes every request on.
        app.all('/checked/*rest'.replace('*rest', express === expresses[0][1] ? '*rest' : '*'), guard.cors(NARROW))
        app.put('/checked/x', guard.cors(WIDE), ok)
        app.get('/wide', ok)
      })
      await serve(listener, async (send) => {
        assert.deepEqual(
          await answersTo(send, [
            [APP, 'PUT', '/admin'], [ADMIN, 'PUT', '/admin'],
            [APP, 'PATCH', '/inner/x'], [ADMIN, 'PATCH', '/inner/x'],
            [APP, 'PUT', '/own'], [ADMIN, 'PUT', '/own'],
            [APP, 'GET', '/wide'], [APP, 'PUT', '/none']
          ]),
          [[403, undefined], [204, ADMIN], [403, undefined], [204, ADMIN], [403, undefined], [204, ADMIN], [204, APP], [204, APP]]
        )
        const checked = await answersTo(send, [[APP, 'PUT', '/checked/x']])
        // In front of the routes, the stack follows the request to its last decision.
        if (place === 'before') assert.deepEqual(checked, [[204, APP]])
        const off = await send(asks(APP, 'DELETE', '/admin'))
        assert.equal(off.headers['access-control-allow-origin'], undefined)
      })
    })
  }

  test(`${name}: routes of a router have their preflights answered by a stack in front of it`, async () => {
    const guard = createGuard({ rateLimit: false })
    const users = express.Router()
    users.route('/:id').put(guard.cors({ origins: [APP] }), ok).delete(guard.cors(NARROW), ok)
    const preflights = [[APP, 'PUT', '/users/7'], [ADMIN, 'PUT', '/users/7'], [ADMIN, 'DELETE', '/users/7'], [APP, 'DELETE', '/users/7']]
    for (const app of [express().use(guard.securityStack()).use('/users', users), express().use('/users', guard.securityStack(), users)]) {
      await serve(app, async (send) => {
        assert.deepEqual(await answersTo(send, preflights), [[204, APP], [403, undefined], [204, ADMIN], [403, undefined]])
      })
    }
    // A router answers `OPTIONS` for its routes by itself.
    await serve(express().use('/users', users).use(guard.securityStack()), async (send) => {
      assert.deepEqual(await answersTo(send, preflights.slice(0, 1)), [[200, undefined]])
    })
  })

  test(`${name}: a function of the route decides about the origin of its preflight`, async () => {
    const seen = []
    const guard = createGuard({ rateLimit: false, cors: { origins: () => assert.fail('the route has its own') } })
    const app = express()
    app.use(guard.securityStack())
    app.put('/a', guard.cors({ origins: async (origin) => (seen.push(origin), origin === APP) }), ok)
    await serve(app, async (send) => {
      assert.deepEqual(await answersTo(send, [[APP, 'PUT', '/a'], [ADMIN, 'PUT', '/a']]), [[204, APP], [403, undefined]])
      assert.deepEqual(seen, [APP, ADMIN])
    })
  })

  test(`${name}: what the stack refuses is refused for preflights of routes, too`, async () => {
    const guard = createGuard({ rateLimit: false, clients: { block: ['127.0.0.0/8'] } })
    const app = express()
    app.use(guard.securityStack())
    app.put('/a', guard.cors(WIDE), ok)
    await serve(app, async (send) => {
      const answer = await send(asks(APP, 'PUT', '/a'))
      assert.deepEqual([answer.status, answer.json.code, answer.headers['access-control-allow-origin']], [403, 'client_blocked', APP])
      assert.equal((await send(asks(APP, 'PUT', '/a//b'))).status, 400)
    })
  })

  test(`${name}: another guard's CORS, and odd targets, change nothing`, async () => {
    const guard = createGuard({ rateLimit: false, cors: WIDE })
    const other = createGuard({ rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    app.put('/a', other.cors(NARROW), ok)
    app.put('/b/:id', guard.cors(NARROW), ok)
    await serve(app, async (send) => {
      assert.deepEqual(await answersTo(send, [[APP, 'PUT', '/a']]), [[204, APP]])
      for (const path of ['/b/%', '/b/%zz', '/b/%ff']) assert.equal((await send(asks(APP, 'PUT', path))).status, 400, path)
      for (const method of ['__proto__', 'constructor', '_all', 'put']) {
        assert.equal((await send(asks(APP, method, '/b/7'))).status, 403, method)
      }
      assert.equal((await send({ ...asks(APP, 'PUT', '*') })).status, 204)
    })
  })

  test(`${name}: preflights that nobody answers are warned of, once it is certain`, async () => {
    const guard = createGuard({ rateLimit: false })
    const order = guard.securityStack({ cors: WIDE, body: { type: 'object' } })
    const silent = [
      (app) => app.options('/x', order).post('/x', order, ok),
      (app) => app.all('/x', order, ok),
      (app) => app.use(order, ok),
      (app) => app.post('/x', order, ok).use(guard.securityStack()),
      (app) => app.use(guard.securityStack()).post('/x', order, ok),
      (app) => app.use('/', guard.cors(WIDE)).post('/x', order, ok),
      (app) => app.options(/.*/, (req, res) => res.end()).post('/x', order, ok)
    ]
    for (const build of silent) {
      assert.deepEqual(await warnings(() => serve(build(express()), (send) => send(json('{}', { path: '/x' })))), [], String(build))
    }
    const simple = guard.securityStack({ cors: WIDE })
    assert.deepEqual(await warnings(() => serve(express().get('/x', simple, ok), (send) => send({ path: '/x', headers: { origin: APP } }))), [], 'no preflight comes before it')
  })
}

test('a route whose preflights reach no handler of the guard is warned of', async () => {
  const guard = createGuard({ rateLimit: false })
  const [, express] = expresses[0]
  const app = express().post('/x', guard.securityStack({ cors: WIDE, body: { type: 'object' } }), ok)
  const codes = await warnings(() =>
    serve(app, async (send) => {
      assert.equal((await send(asks(APP, 'POST', '/x'))).headers['access-control-allow-origin'], undefined)
      for (let i = 0; i < 2; i += 1) assert.equal((await send(json('{}', { path: '/x' }))).status, 200)
    })
  )
  assert.deepEqual(codes, ['GUARD_PREFLIGHT_UNANSWERED'])
})

test('Express: the stack in a route for OPTIONS answers its preflights', async () => {
  const guard = createGuard({ rateLimit: false, jwt: { issuer: 'https://id.example.com', audience: 'a', secret: randomBytes(32) } })
  const order = guard.securityStack({ cors: WIDE })
  for (const [, express] of expresses) {
    await serve(express().options('/x', order).post('/x', order, ok), async (send) => {
      assert.deepEqual(await answersTo(send, [[APP, 'POST', '/x'], ['https://evil.example', 'POST', '/x']]), [[204, APP], [403, undefined]])
    })
  }
})

test('Fastify: routes with CORS of their own answer their preflights, by method and prefix', async () => {
  const guard = createGuard({ rateLimit: false, cors: { origins: ['https://wide.example.com'] } })
  const app = Fastify()
  await app.register(plugin, { guard })
  const narrow = { config: { keepstone: { cors: NARROW } } }
  const handler = async () => 'ok'
  app.post('/orders', { config: { keepstone: { cors: WIDE, body: { type: 'object' } } } }, handler)
  app.get('/orders', narrow, handler)
  app.options('/orders', async () => 'the application')
  app.register(async (sub) => {
    sub.put('/', narrow, handler)
    sub.delete('/a/:id', { config: { keepstone: { cors: false } } }, handler)
    sub.route({ method: ['PATCH', 'POST'], url: '/many', ...narrow, handler })
  }, { prefix: '/sub' })
  const send = async ({ path, ...request }) => {
    const { statusCode, headers, body } = await app.inject({ ...request, url: path })
    return { status: statusCode, headers, text: body }
  }
  assert.deepEqual(
    await answersTo(send, [
      [APP, 'POST', '/orders'], [APP, 'GET', '/orders'], [ADMIN, 'GET', '/orders'], [ADMIN, 'HEAD', '/orders'], [APP, 'POST', '/orders', 'x-other'],
      ['https://wide.example.com', 'DELETE', '/orders'], [ADMIN, 'PUT', '/sub'], [ADMIN, 'PUT', '/sub/'], [APP, 'PUT', '/sub/'],
      ['https://wide.example.com', 'DELETE', '/sub/a/7'], [ADMIN, 'PATCH', '/sub/many'], [ADMIN, 'POST', '/sub/many'], ['https://wide.example.com', 'PUT', '/none']
    ]),
    [
      [204, APP], [403, undefined], [204, ADMIN], [204, ADMIN], [403, undefined],
      [204, 'https://wide.example.com'], [204, ADMIN], [204, ADMIN], [403, undefined],
      [404, undefined], [204, ADMIN], [204, ADMIN], [204, 'https://wide.example.com']
    ]
  )
  assert.equal((await send({ method: 'OPTIONS', path: '/orders', headers: { origin: APP } })).text, 'the application')
})

test('Hono: a route answers its preflights where it sees them, and a missing answer is warned of', async () => {
  const guard = createGuard({ rateLimit: false })
  const order = keepstone(guard, { cors: WIDE }, { address: () => '127.0.0.1' })
  const all = keepstone(guard, undefined, { address: () => '127.0.0.1' })
  const ask = async (app, method) => {
    const { headers } = asks(APP, method, '/x')
    const answer = await app.request('http://localhost/x', { method: 'OPTIONS', headers })
    return [answer.status, answer.headers.get('access-control-allow-origin')]
  }
  const done = (c) => c.text('ok')
  assert.deepEqual(await ask(new Hono().use('/x', order).post('/x', done), 'POST'), [204, APP])
  assert.deepEqual(await ask(new Hono().on(['POST', 'OPTIONS'], '/x', order, done).use(all), 'POST'), [204, APP])
  const codes = await warnings(async () => {
    assert.deepEqual(await ask(new Hono().post('/x', order, done).use(all), 'POST'), [404, null])
  })
  assert.deepEqual(codes, ['GUARD_PREFLIGHT_UNANSWERED'])
})

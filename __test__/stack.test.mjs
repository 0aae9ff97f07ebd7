// The stack as a whole: how it mounts, what a request costs, what handlers see.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import { createGuard, securityStack } from 'keepstone'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { CreateUserSchema, goodUser, jwt } from './helpers/articles.mjs'

const native = createRequire(import.meta.url)('../native.js')

const full = {
  cors: { origins: ['https://app.example.com'] },
  jwt,
  rateLimit: [
    { name: 'client', limit: 1000, window: '60s' },
    { name: 'user', limit: 500, window: '60s', key: 'user', tiers: { admin: { limit: 800 } } }
  ],
  policy: {
    policies: { 'authz.rego': 'package authz\ndefault allow = false\nallow { input.user.role = "admin"; input.method = "POST" }\ndefault read = false\nread { input.method = "GET" }\n' },
    query: 'data.authz.allow'
  }
}

/** Counts the native calls, and whether a promise was made, while `work` runs. */
async function counting(work) {
  const calls = []
  const real = {}
  for (const name of ['decide', 'decideBody', 'resume', 'abandon']) {
    real[name] = native[name]
    native[name] = (...args) => {
      calls.push(name)
      return real[name](...args)
    }
  }
  try {
    await work(calls)
  } finally {
    Object.assign(native, real)
  }
}

for (const [name, express] of expresses) {
  test(`${name}: a request through all layers costs one native call before the body and one after`, async () => {
    const guard = createGuard(full)
    const app = express()
    app.use('/v1/users', ...guard.securityStack({ body: CreateUserSchema }))
    app.post('/v1/users', (req, res) => res.status(201).json({ user: req.user.sub, name: req.body.username }))
    app.get('/v1/users', (req, res) => res.json([]))
    const { accessToken } = await guard.tokens.issue({ sub: 'ada', role: 'admin' })
    await serve(app, async (send) => {
      await counting(async (calls) => {
        const answer = await send(json(goodUser, { path: '/v1/users', headers: bearer(accessToken) }))
        assert.equal(answer.status, 201, answer.text)
        assert.deepEqual(answer.json, { user: 'ada', name: 'grace' })
        assert.deepEqual(calls, ['decide', 'decideBody'])
        assert.equal(answer.headers['ratelimit-policy'], '"client";q=1000;w=60, "user";q=800;w=60')
      })
      await counting(async (calls) => {
        assert.equal((await send({ path: '/v1/users' })).status, 401)
        assert.deepEqual(calls, ['decide'])
      })
    })
  })

  test(`${name}: the stack mounts as an array, spread on a path, and both at once without counting twice`, async () => {
    const guard = createGuard({ rateLimit: { name: 'api', limit: 10, window: '1h' } })
    const app = express()
    app.use(guard.securityStack())
    app.use('/v1/auth', ...guard.securityStack({ body: CreateUserSchema, rateLimit: { name: 'login', limit: 3, window: '1h' } }))
    app.post('/v1/auth', (req, res) => res.json(req.guard.limits))
    app.post('/v1/again', ...guard.securityStack({ body: CreateUserSchema }), (req, res) => res.json(req.guard.limits))
    app.get('/', (req, res) => res.json(req.guard.limits))
    await serve(app, async (send) => {
      const first = await send()
      assert.deepEqual(first.json.map((limit) => [limit.name, limit.limit, limit.remaining]), [['api', 10, 9]])
      const second = await send(json(goodUser, { path: '/v1/auth' }))
      assert.deepEqual(second.json.map((limit) => [limit.name, limit.remaining]), [['api', 8], ['login', 2]])
      const third = await send(json(goodUser, { path: '/v1/again' }))
      assert.deepEqual(third.json.map((limit) => [limit.name, limit.remaining]), [['api', 7]])
    })
  })

  test(`${name}: a route narrows the policy's query`, async () => {
    const guard = createGuard({ ...full, rateLimit: false })
    const app = express()
    app.get('/open', ...guard.securityStack({ policy: { query: 'data.authz.read' } }), (req, res) => res.send('ok'))
    app.get('/closed', ...guard.securityStack(), (req, res) => res.send('ok'))
    const headers = bearer((await guard.tokens.issue({ sub: 'bob', role: 'user' })).accessToken)
    await serve(app, async (send) => {
      assert.equal((await send({ path: '/open', headers })).status, 200)
      assert.equal((await send({ path: '/closed', headers })).status, 403)
    })
  })

  test(`${name}: each layer alone does its part and no other`, async () => {
    const guard = createGuard(full)
    const app = express()
    app.get('/headers', guard.headers(), (req, res) => res.send('ok'))
    app.get('/cors', guard.cors({ origins: ['https://other.example'] }), (req, res) => res.send('ok'))
    app.get('/limit', guard.rateLimit({ name: 'one', limit: 1, window: '1h' }), (req, res) => res.send('ok'))
    app.get('/token', guard.authenticate(), (req, res) => res.send(req.user.sub))
    app.get('/maybe', guard.authenticate({ optional: true }), (req, res) => res.send(req.user?.sub ?? 'anonymous'))
    app.post('/policy', guard.authorize(), (req, res) => res.send('ok'))
    const { accessToken: admin } = await guard.tokens.issue({ sub: 'ada', role: 'admin' })
    const { accessToken: user } = await guard.tokens.issue({ sub: 'bob', role: 'user' })
    await serve(app, async (send) => {
      const headers = await send({ path: '/headers' })
      assert.equal(headers.status, 200)
      assert.equal(headers.headers['x-frame-options'], 'DENY')
      const cors = await send({ path: '/cors', headers: { origin: 'https://other.example' } })
      assert.equal(cors.headers['access-control-allow-origin'], 'https://other.example')
      assert.equal(cors.headers['x-frame-options'], undefined)
      assert.deepEqual([(await send({ path: '/limit' })).status, (await send({ path: '/limit' })).status], [200, 429])
      assert.deepEqual([(await send({ path: '/token' })).status, (await send({ path: '/token', headers: bearer(user) })).text], [401, 'bob'])
      assert.deepEqual([(await send({ path: '/maybe' })).text, (await send({ path: '/maybe', headers: bearer(user) })).text], ['anonymous', 'bob'])
      assert.equal((await send({ path: '/maybe', headers: bearer('x.y.z') })).status, 401)
      const post = (token) => send({ method: 'POST', path: '/policy', headers: token ? bearer(token) : {} })
      assert.deepEqual([(await post()).status, (await post(user)).status, (await post(admin)).status], [403, 403, 200])
    })
  })

  test(`${name}: a key function sees the verified user, and one that throws is a 500, never a pass`, async () => {
    const guard = createGuard({
      jwt,
      rateLimit: {
        name: 'tenant',
        limit: 2,
        window: '1h',
        key: (req) => {
          if (req.user.tenant === undefined) throw new Error('no tenant')
          return req.user.tenant
        }
      }
    })
    const app = express()
    app.use(guard.securityStack())
    app.get('/', (req, res) => res.send('ok'))
    const token = async (claims) => bearer((await guard.tokens.issue(claims)).accessToken)
    await serve(app, async (send) => {
      const a = [await token({ sub: 'a1', tenant: 'a' }), await token({ sub: 'a2', tenant: 'a' }), await token({ sub: 'b', tenant: 'b' })]
      assert.deepEqual([(await send({ headers: a[0] })).status, (await send({ headers: a[1] })).status, (await send({ headers: a[0] })).status], [200, 200, 429])
      assert.equal((await send({ headers: a[2] })).status, 200)
      const failed = await send({ headers: await token({ sub: 'x' }) })
      assert.equal(failed.status, 500)
      assert.equal(failed.json.code, 'internal_error')
      assert.ok(!failed.text.includes('no tenant'))
    })
  })

  test(`${name}: what a handler changes in req.user is not seen by the next request`, async () => {
    const guard = createGuard({ jwt, rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    app.get('/', (req, res) => {
      const before = req.user.role
      req.user.role = 'admin'
      res.send(before)
    })
    const headers = bearer((await guard.tokens.issue({ sub: 'bob', role: 'user' })).accessToken)
    await serve(app, async (send) => {
      assert.deepEqual([(await send({ headers })).text, (await send({ headers })).text], ['user', 'user'])
    })
  })

  test(`${name}: req.guard says who, what was counted, and why`, async () => {
    const events = []
    const guard = createGuard({ jwt, log: (event) => events.push(event) })
    const app = express()
    app.use(guard.securityStack())
    app.get('/', (req, res) => res.json({ id: req.guard.id, client: req.guard.client, token: req.guard.token, limits: req.guard.limits }))
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    await serve(app, async (send) => {
      const seen = (await send({ headers: bearer(accessToken) })).json
      assert.equal(seen.client, '127.0.0.1')
      assert.equal(seen.token.alg, 'HS256')
      assert.equal(typeof seen.token.jti, 'string')
      assert.equal(seen.limits[0].name, 'default')
      await send({ path: '/x?secret=1' })
      assert.deepEqual(events.map((event) => [event.outcome, event.status, event.code, event.user, event.path]), [
        ['allow', undefined, undefined, 'ada', '/'],
        ['refuse', 401, 'token_missing', undefined, '/x']
      ])
      assert.equal(events[0].id, seen.id)
      assert.ok(!JSON.stringify(events).includes(accessToken))
    })
  })
}

test('plain node:http: the one handler of the stack takes (req, res, next)', async () => {
  const [protect] = securityStack({ rateLimit: { name: 'x', limit: 1, window: '1h' } })
  const listener = (req, res) => protect(req, res, () => res.end(JSON.stringify(req.body ?? null)))
  await serve(listener, async (send) => {
    const answer = await send(json({ a: [1, 'é', null] }))
    assert.equal(answer.status, 200)
    assert.deepEqual(answer.json, { a: [1, 'é', null] })
    assert.equal((await send()).status, 429)
  })
})

test('a guard that was closed refuses everything with 503', async () => {
  const guard = createGuard()
  const [protect] = guard.securityStack()
  await guard.close()
  await serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
    assert.equal((await send()).status, 503)
  })
  await assert.rejects(guard.limits.consume('default', 'a'), (error) => error.code === 'ERR_CLOSED')
  assert.throws(() => guard.securityStack(), (error) => error.code === 'ERR_CLOSED')
})

test('the paths that a router and a policy could read differently are refused before both', async () => {
  const [protect] = securityStack({ rateLimit: false })
  await serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
    for (const path of ['//admin', '/a//b', '/a/../b', '/%2e%2e/b', '/a%2fb', '/a%5cb', '/a%00', '/a%zz', '/%ff']) {
      const answer = await send({ path })
      assert.equal(answer.status, 400, path)
      assert.equal(answer.json.code, 'malformed_path')
    }
    assert.equal((await send({ path: '/a/b/' })).status, 200)
  })
})

test('two Authorization headers, or two Hosts, are refused', async () => {
  const [protect] = securityStack({ rateLimit: false })
  await serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
    for (const headers of [['Host', 'a', 'Authorization', 'Bearer a', 'authorization', 'Bearer b'], ['Host', 'a', 'Host', 'b'], ['Host', 'a', 'Origin', 'https://a.example', 'ORIGIN', 'https://b.example']]) {
      const answer = await send({ headers })
      assert.equal(answer.status, 400, headers.join())
    }
  })
})

test('a client that goes away in the middle of its body leaves nothing behind', async () => {
  const [protect] = securityStack({ rateLimit: false })
  let passed = 0
  await serve((req, res) => protect(req, res, () => { passed++; res.end() }), async (send, { port, server }) => {
    await counting(async (calls) => {
      const gone = new Promise((resolve) => server.once('connection', (socket) => socket.once('close', resolve)))
      const request = http.request({ host: '127.0.0.1', port, method: 'POST', agent: false, headers: { 'content-type': 'application/json', 'content-length': '100' } })
      request.on('error', () => {})
      request.write('{"a":')
      while (!calls.includes('decide')) await new Promise((resolve) => setTimeout(resolve, 5))
      request.destroy()
      await gone
      while (!calls.includes('abandon')) await new Promise((resolve) => setTimeout(resolve, 5))
      assert.deepEqual(calls, ['decide', 'abandon'])
    })
    assert.equal(passed, 0)
  })
})

for (const [name, express] of expresses) {
  test(`${name}: a stack is one handler, mounted as it is, in a list or spread, and it has the valid values`, async () => {
    const app = express()
    const guard = createGuard({ rateLimit: false })
    const query = { type: 'object', properties: { page: { type: 'integer' } }, required: ['page'] }
    const body = { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] }
    const paged = guard.securityStack({ query })
    const named = guard.securityStack({ body, query })
    const plain = guard.securityStack()
    app.get('/one', paged, (req, res) => res.json(paged.valid(req)))
    app.get('/list', [paged], (req, res) => res.json(paged.valid(req)))
    app.get('/spread', ...paged, (req, res) => res.json(paged.valid(req)))
    app.post('/named', named, (req, res) => res.json([named.valid(req), req.body]))
    app.get('/plain', plain, (req, res) => res.json(plain.valid(req)))
    app.get('/other', plain, (req, res) => res.json(paged.valid(req)))
    app.use((error, req, res, _next) => res.status(500).json(`${error.code} ${error.message}`))
    await serve(app, async (send) => {
      for (const path of ['/one', '/list', '/spread']) {
        assert.deepEqual((await send({ path: `${path}?page=2` })).json, { query: { page: 2 } })
        assert.equal((await send({ path: `${path}?page=two` })).status, 422)
      }
      assert.deepEqual((await send(json({ name: 'ada' }, { path: '/named?page=3' }))).json, [{ body: { name: 'ada' }, query: { page: 3 } }, { name: 'ada' }])
      for (const path of ['/plain', '/other?page=2']) assert.ok((await send({ path })).json.startsWith('ERR_INVALID_ARGUMENT this request was not validated by this handler'))
    })
    assert.deepEqual([...plain], [plain])
    assert.equal(plain.length, 3, 'Express takes a function of four for an error handler')
  })

  test(`${name}: a method that was mounted without being called says so, and lets nothing through`, async () => {
    const guard = createGuard({ rateLimit: false, jwt, csrf: {}, cors: { origins: ['https://app.example.com'] } })
    const methods = ['securityStack', 'headers', 'cors', 'csrf', 'rateLimit', 'authenticate', 'authorize', 'require', 'validate']
    for (const method of methods) {
      const app = express()
      app.use(guard[method])
      app.get('/', (req, res) => res.send('passed'))
      app.use((error, req, res, _next) => res.status(500).json(`${error.code} ${error.message}`))
      await serve(app, async (send) => {
        const answer = await send()
        assert.deepEqual([answer.status, answer.json.startsWith('ERR_INVALID_ARGUMENT a method of the guard was mounted without being called')], [500, true], method)
      })
    }
  })
}

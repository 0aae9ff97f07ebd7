// Rate limits as an API's users and its operators see them.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { jwt } from './helpers/articles.mjs'

const [, express] = expresses[0]
const K = '203.0.113.1'
const limit = (more) => ({ name: 'api', limit: 3, window: '1h', ...more })

/** Sends until a request is refused, ten times at the most; answers how many passed. */
async function admitted(send, request) {
  for (let i = 0; i < 10; i++) if ((await send(request)).status === 429) return i
  return 10
}

for (const algorithm of ['gcra', 'token-bucket', 'leaky-bucket', 'fixed-window', 'sliding-window']) {
  test(`${algorithm}: as many as the limit pass, each client by itself, and Retry-After says when to come back`, async () => {
    const app = express()
    app.use(createGuard({ rateLimit: limit({ algorithm }) }).securityStack())
    app.get('/', (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      assert.equal(await admitted(send), 3)
      const refused = await send()
      const wait = Number(refused.headers['retry-after'])
      assert.ok(wait >= 1 && wait <= 3600 * 2, `${wait}`)
      assert.ok(Number(/t=(\d+)/.exec(refused.headers.ratelimit)[1]) <= wait)
      assert.equal(await admitted(send, { from: '127.0.0.3' }), 3)
    })
  })
}

test('several limits: a refusal by one costs nothing in the others', async () => {
  const guard = createGuard({ rateLimit: [limit({ name: 'wide', limit: 5 }), limit({ name: 'tight', limit: 2 })] })
  const app = express()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.send('ok'))
  await serve(app, async (send) => {
    assert.equal(await admitted(send), 2)
    for (let i = 0; i < 5; i++) await send()
    assert.equal((await guard.limits.get('wide', '127.0.0.1')).remaining, 3)
    const refused = await send()
    assert.match(refused.headers.ratelimit, /^"wide";r=3;t=\d+, "tight";r=0;t=\d+$/)
    assert.match(refused.json.detail, /tight/)
  })
})

test('per user, per route and per role tier', async () => {
  const guard = createGuard({
    jwt,
    rateLimit: [
      limit({ name: 'user', limit: 2, key: 'user', tiers: { gold: { limit: 4 } } }),
      limit({ name: 'route', limit: 6, key: ['route'], paths: ['/shared/*'] })
    ]
  })
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  const as = async (sub, role) => ({ headers: bearer((await guard.tokens.issue({ sub, role })).accessToken) })
  const [ada, bob, eve] = [await as('ada', 'gold'), await as('bob', 'user'), await as('eve', 'gold')]
  await serve(app, async (send) => {
    assert.equal(await admitted(send, ada), 4)
    assert.equal(await admitted(send, bob), 2)
    assert.equal(await admitted(send, { ...(await as('bob', 'user')), from: '127.0.0.9' }), 0, 'another address is the same user')
    const shared = { ...eve, path: '/shared/x' }
    assert.equal(await admitted(send, shared), 4)
    assert.equal(await admitted(send, { ...(await as('kim', 'gold')), path: '/shared/x' }), 2, 'the route is full for everybody')
  })
})

test('a cost takes more than one, also from a function', async () => {
  const app = express()
  app.use(createGuard({ rateLimit: limit({ limit: 10, cost: (req) => (req.method === 'POST' ? 5 : 1) }) }).securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, async (send) => {
    assert.equal((await send({ method: 'POST' })).status, 200)
    assert.equal(await admitted(send), 5)
  })
})

test('trusted proxies: the client is who the nearest untrusted hop is, and a forged one is nobody', async () => {
  const app = express()
  app.use(createGuard({ trustedProxies: ['127.0.0.1/32'], rateLimit: limit() }).securityStack())
  app.get('/', (req, res) => res.send(req.guard.client))
  await serve(app, async (send) => {
    const via = (forwarded) => ({ headers: { 'x-forwarded-for': forwarded } })
    assert.equal((await send(via('6.6.6.6, 203.0.113.5'))).text, '203.0.113.5')
    assert.equal((await send({ ...via('203.0.113.99'), from: '127.0.0.4' })).text, '127.0.0.4')
    assert.equal(await admitted(send, via('7.7.7.7, 203.0.113.5')), 2)
    // One customer has a whole /56 of addresses.
    assert.equal(await admitted(send, via('2001:db8:0:1::1')), 3)
    assert.equal(await admitted(send, via('2001:db8:0:ff::2')), 0)
    assert.equal(await admitted(send, via('2001:db8:0:100::1')), 3)
    assert.equal(await admitted(send, via('::ffff:203.0.113.5')), 0)
  })
})

test("Express's own trust proxy decides where trustedProxies is not set", async () => {
  const app = express()
  app.set('trust proxy', 'loopback')
  app.use(createGuard({ rateLimit: false }).securityStack())
  app.get('/', (req, res) => res.send(req.guard.client))
  await serve(app, async (send) => {
    assert.equal((await send({ headers: { 'x-forwarded-for': '203.0.113.5' } })).text, '203.0.113.5')
    const https = await send({ headers: { 'x-forwarded-proto': 'https' } })
    assert.ok(https.headers['strict-transport-security'])
  })
})

test('guard.limits: consume, get, penalize, reward, block and reset', async () => {
  const guard = createGuard({ rateLimit: limit({ limit: 5 }) })
  const { limits } = guard
  const first = await limits.consume('api', K, 2)
  assert.deepEqual([first.allowed, first.remaining, first.limit], [true, 3, 5])
  await limits.penalize('api', K, 2)
  assert.equal((await limits.get('api', K)).remaining, 1)
  await limits.reward('api', K, 1)
  assert.equal((await limits.get('api', K)).remaining, 2)
  assert.equal((await limits.consume('api', K, 3)).allowed, false)
  assert.equal((await limits.get('api', K)).remaining, 2, 'a refusal costs nothing')
  await limits.reset('api', K)
  assert.equal((await limits.get('api', K)).remaining, 5)
  await limits.block('api', K, '1h')
  assert.equal((await limits.consume('api', K)).allowed, false)
  await assert.rejects(limits.consume('nope', K), (error) => error.code === 'ERR_UNKNOWN_LIMIT')
  await assert.rejects(limits.consume('api', 'not an address'), (error) => error.code === 'ERR_INVALID_ARGUMENT')
  await assert.rejects(limits.consume('api', ''), (error) => error.code === 'ERR_INVALID_ARGUMENT')
  await assert.rejects(limits.block('api', K, '60 sec'), (error) => error.code === 'ERR_INVALID_OPTION')
})

test('two guards count apart, unless they share a store by name', async () => {
  const config = (shared) => ({ rateLimit: limit(), ...(shared ? { store: { memory: { shared } } } : {}) })
  const remaining = async (guard) => (await guard.limits.consume('api', K)).remaining
  assert.deepEqual([await remaining(createGuard(config())), await remaining(createGuard(config()))], [2, 2])
  assert.deepEqual([await remaining(createGuard(config('t1'))), await remaining(createGuard(config('t1')))], [2, 1])
})

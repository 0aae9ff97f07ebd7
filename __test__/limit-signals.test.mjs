// Signals that make the limits of a client tighter or wider: over every store.

import assert from 'node:assert/strict'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { jwt } from './helpers/articles.mjs'
import { waitUntil } from './helpers/servers.mjs'
import { memoryAndRedis } from './helpers/stores.mjs'

const [, express] = expresses[0]
const { redis, stores } = await memoryAndRedis('signal')
after(() => redis.stop())

const K = '127.0.0.1'
const policy = (more) => ({ name: 'api', limit: 20, window: '300d', exact: true, ...more })

async function api(config, use) {
  const guard = createGuard({ revocation: false, jwt: { ...jwt, optional: true }, ...config })
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, (send) => use(send, guard))
  await guard.close()
}

async function admitted(send, request) {
  for (let i = 0; i < 100; i++) if ((await send(request)).status === 429) return i
  return 100
}

for (const [store, option] of Object.entries(stores)) {
  for (const algorithm of ['gcra', 'fixed-window', 'sliding-window']) {
    test(`${store}, ${algorithm}: a client's limits are tighter or wider, and nobody else's`, () =>
      api({ ...option(), rateLimit: policy({ algorithm }) }, async (send, { limits }) => {
        await limits.signal(K, { factor: 0.1, ttl: '1h' })
        assert.equal((await limits.get('api', K)).remaining, 2)
        assert.equal(await admitted(send), 2)
        assert.equal((await limits.consume('api', K)).allowed, false)
        await limits.signal('127.0.0.2', { factor: 1.5, ttl: '1h' })
        assert.equal(await admitted(send, { from: '127.0.0.2' }), 30)
        assert.equal(await admitted(send, { from: '127.0.0.3' }), 20)
        await limits.signal('127.0.0.4', { factor: 0.01, ttl: '1h' })
        assert.equal(await admitted(send, { from: '127.0.0.4' }), 1)
        await limits.signal('127.0.0.5', { factor: 0.1, ttl: '1h' })
        await limits.signal('127.0.0.5', { factor: 1, ttl: '1h' })
        assert.equal(await admitted(send, { from: '127.0.0.5' }), 20)
      }))
  }

  test(`${store}: several limits at once, one by name, and a signal that ends`, () =>
    api({ ...option(), rateLimit: [policy(), policy({ name: 'win', limit: 10, algorithm: 'fixed-window' }), policy({ name: 'route', key: ['ip', 'route'] })] }, async (send, { limits }) => {
      const left = async () => Promise.all([limits.get('api', K), limits.get('win', K), limits.get('route', [K, '/'])].map(async (state) => (await state).remaining))
      assert.equal((await send()).status, 200)
      await limits.signal(K, { factor: 0.5, ttl: '1h' })
      // GCRA: 19 units are left, and each request takes two of them.
      assert.deepEqual(await left(), [9, 4, 19])
      await limits.signal(K, { factor: 0.5, ttl: '50ms' })
      await waitUntil('the signal has ended', async () => (await left()).join() === '19,9,19')
      await limits.signal(K, { factor: 0.2, ttl: '1h', policy: 'win' })
      assert.deepEqual(await left(), [19, 1, 19])
      const { status, headers } = await send()
      assert.deepEqual([status, /"win";r=(\d+)/.exec(headers.ratelimit)[1]], [200, '0'])
      assert.equal((await send()).status, 429)
      await limits.reset('win', K)
      assert.deepEqual(await left(), [18, 2, 18])
    }))

  test(`${store}: a user and a token, and what can't be meant rejects`, () =>
    api({ ...option(), rateLimit: [policy({ key: 'user' }), policy({ name: 'token', key: 'token' })] }, async (send, { limits, tokens }) => {
      const { accessToken } = await tokens.issue({ sub: 'eve' })
      await limits.signal({ user: 'eve' }, { factor: 0.1, ttl: '1h' })
      assert.equal(await admitted(send, { headers: bearer(accessToken) }), 2)
      const other = await tokens.issue({ sub: 'ada', jti: 'j1' }).catch(() => tokens.issue({ sub: 'ada' }))
      const { jti } = JSON.parse(Buffer.from(other.accessToken.split('.')[1], 'base64url'))
      await limits.signal({ token: jti }, { factor: 0.25, ttl: '1h' })
      assert.equal(await admitted(send, { headers: bearer(other.accessToken) }), 5)
      const good = { factor: 0.5, ttl: '1h' }
      for (const [key, options, code] of [
        [K, { ttl: '1h' }, 'ERR_MISSING_OPTION'],
        [K, { factor: 1 }, 'ERR_MISSING_OPTION'],
        [K, { ...good, factor: 0.001 }, 'ERR_INVALID_OPTION'],
        [K, { ...good, factor: 11 }, 'ERR_INVALID_OPTION'],
        [K, { ...good, factor: '1' }, 'ERR_INVALID_OPTION'],
        [K, { ...good, policy: 'nope' }, 'ERR_UNKNOWN_LIMIT'],
        [K, { ...good, limit: 'api' }, 'ERR_UNKNOWN_OPTION'],
        [{ user: 'eve' }, { ...good, policy: 'token' }, 'ERR_INVALID_ARGUMENT'],
        ['10.0.0.0/8', good, 'ERR_INVALID_OPTION'],
        [{ user: 'eve', token: 'x' }, good, 'ERR_INVALID_OPTION'],
        [{}, good, 'ERR_INVALID_OPTION']
      ]) {
        await assert.rejects(limits.signal(key, options), (error) => error.code === code, `${JSON.stringify([key, options])} ${code}`)
      }
    }))
}

test('redis: a signal reaches other processes, is no key without an end, and outlives what is counted', async () => {
  const store = (host) => ({ redis: { url: redis.url.replace('127.0.0.1', host), prefix: 'signals:', timeout: '5s' } })
  const rateLimit = policy({ window: '4s', limit: 10 })
  const [one, two] = [createGuard({ store: store('127.0.0.1'), rateLimit }), createGuard({ store: store('localhost'), rateLimit })]
  await one.limits.signal(K, { factor: 0.1, ttl: '1h' })
  assert.equal((await two.limits.get('api', K)).remaining, 1)
  assert.equal((await two.limits.consume('api', K)).allowed, true)
  assert.equal((await one.limits.consume('api', K)).allowed, false)
  await waitUntil('what was counted has ended', async () => (await two.limits.get('api', K)).remaining === 1)
  for (const key of await redis.keys('signals:l:*')) assert.ok((await redis.ttl(key)) > 3_500_000)
  await Promise.all([one.close(), two.close()])
})

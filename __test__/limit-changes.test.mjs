// Limits that get other figures while the guard runs: over every store, and in all processes.

import assert from 'node:assert/strict'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'
import { waitUntil } from './helpers/servers.mjs'
import { memoryAndRedis } from './helpers/stores.mjs'

const [, express] = expresses[0]
const { redis, stores } = await memoryAndRedis('set')
after(() => redis.stop())

const K = '127.0.0.1'
const policy = (more) => ({ name: 'api', limit: 5, window: '300d', exact: true, ...more })

for (const [store, option] of Object.entries(stores)) {
  test(`${store}: a limit of the guard and one of a route change at once in this process`, async () => {
    const guard = createGuard({ ...option(), rateLimit: policy() })
    const app = express()
    app.use('/route', guard.securityStack({ rateLimit: policy({ name: 'route', limit: 9 }) }), (req, res) => res.send('ok'))
    app.use(guard.securityStack())
    app.use((req, res) => res.send('ok'))
    await serve(app, async (send) => {
      const of = async (path) => (await send({ path })).headers['ratelimit-policy']
      assert.equal(await of('/'), '"api";q=5;w=25920000')
      await guard.limits.set({ name: 'api', limit: 2 })
      assert.equal(await of('/'), '"api";q=2;w=25920000')
      assert.equal((await send()).status, 200)
      assert.equal((await send()).status, 429)
      await guard.limits.set({ name: 'route', limit: 1, window: '1h' })
      assert.match(await of('/route'), /"route";q=1;w=3600/)
      assert.equal((await guard.limits.get('route', K)).limit, 1)
      await guard.limits.set({ name: 'api', limit: 100 })
      assert.equal((await send()).status, 200)
    })
    for (const [change, code] of [
      [{ name: 'nope', limit: 1 }, 'ERR_UNKNOWN_LIMIT'],
      [{ limit: 1 }, 'ERR_UNKNOWN_LIMIT'],
      [{ name: 'api' }, 'ERR_MISSING_OPTION'],
      [{ name: 'api', limit: 0 }, 'ERR_INVALID_OPTION'],
      [{ name: 'api', limit: 1, algorithm: 'gcra' }, 'ERR_INVALID_OPTION'],
      [{ name: 'api', limit: 1, windo: '1s' }, 'ERR_UNKNOWN_OPTION'],
      [undefined, 'ERR_MISSING_OPTION']
    ]) {
      await assert.rejects(guard.limits.set(change), (error) => error.code === code, `${JSON.stringify(change)} ${code}`)
    }
    await guard.close()
  })

  test(`${store}: requests that are inside while a limit changes are judged and given back by the old one`, async () => {
    const guard = createGuard({ ...option(), rateLimit: policy({ count: 'failed' }) })
    const [protect] = guard.securityStack()
    const inside = []
    await serve((req, res) => protect(req, res, () => inside.push(res)), async (send) => {
      const asked = [send(), send()]
      await waitUntil('both are inside', () => inside.length === 2)
      await guard.limits.set({ name: 'api', limit: 1 })
      for (const res of inside.splice(0)) res.end()
      for (const { status } of await Promise.all(asked)) assert.equal(status, 200)
      const last = send()
      await waitUntil('one is inside', () => inside.length === 1)
      assert.equal((await send()).status, 429)
      inside[0].end()
      assert.equal((await last).status, 200)
    })
    await guard.close()
  })
}

test('redis: a change reaches other processes and one that starts later, but none that is configured otherwise', async () => {
  const open = (host, more) =>
    createGuard({ store: { redis: { url: redis.url.replace('127.0.0.1', host), prefix: 'changes:', timeout: '5s' } }, rateLimit: policy(more) })
  const limitOf = async (guard) => (await guard.limits.get('api', K)).limit
  const [one, two] = [open('127.0.0.1'), open('localhost')]
  assert.equal(await limitOf(two), 5)
  await one.limits.set({ name: 'api', limit: 7 })
  assert.equal(await limitOf(one), 7)
  await waitUntil('the other one knows', async () => (await limitOf(two)) === 7)
  const other = open('localhost', { limit: 6 })
  assert.equal(await limitOf(other), 6)
  assert.equal(await limitOf(open('localhost')), 7)
  await Promise.all([one.close(), two.close(), other.close()])
})

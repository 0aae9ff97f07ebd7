// Every store counts alike: one table of cases, over each of them. What Redis is asked for it is
// counted, too.

import assert from 'node:assert/strict'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { CASES, runCase } from './helpers/limit-cases.mjs'
import { expresses, serve } from './helpers/http.mjs'
import { startMemcached, startRedis } from './helpers/servers.mjs'

const [, express] = expresses[0]
const [redis, memcached, memcached2] = await Promise.all([startRedis(), startMemcached(), startMemcached()])
after(() => Promise.all([redis.stop(), memcached.stop(), memcached2.stop()]))
const memcachedAt = (servers) => (i) => ({
  memcached: { servers: servers.map(({ port }) => `127.0.0.1:${port}`), prefix: `case${servers.length}-${i}:`, timeout: '5s' }
})

// The option `store` for the case of this number. Requests wait longer than they would in
// production: these tests are about counts, and machines that run tests are slow.
const STORES = {
  memory: () => undefined,
  redis: (i) => ({ redis: { url: redis.url, prefix: `case${i}:`, timeout: '5s' } }),
  memcached: memcachedAt([memcached]),
  'two memcached': memcachedAt([memcached, memcached2])
}

for (const [store, option] of Object.entries(STORES)) {
  for (const [i, one] of CASES.entries()) test(`${store}: ${one.name}`, () => runCase(one, option(i)))
}

const EIGHT = Array.from({ length: 8 }, (_, i) => ({
  name: `limit${i}`,
  limit: 1000,
  window: '300d',
  algorithm: ['gcra', 'fixed-window', 'sliding-window'][i % 3],
  key: ['ip', 'user', ['user', 'route'], (req) => req.headers['x-tenant']][i % 4],
  exact: true
}))

/** What Redis was asked while `use` ran, by command, without the signs of life. */
async function commandsOf(use) {
  await redis.command('CONFIG', 'RESETSTAT')
  await use()
  const stats = await redis.commandStats()
  return (command) => stats[command]?.calls ?? 0
}

const open = (prefix, rateLimit) => createGuard({ rateLimit, store: { redis: { url: redis.url, prefix, timeout: '5s' } } })

test('Redis: eight exact limits of four subjects cost a request one call of a script, and each record one GET and one SET', async () => {
  const guard = open('eight:', EIGHT)
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const request = () => send({ path: '/a', headers: { 'x-tenant': 't' } })
    assert.equal((await request()).status, 200)
    const calls = await commandsOf(async () => {
      for (let i = 0; i < 50; i++) assert.equal((await request()).status, 200)
    })
    assert.equal(calls('evalsha'), 50)
    // The only other scripts are signs of life, one in two seconds.
    assert.ok(calls('eval') <= 10, `${calls('eval')}`)
    // Nobody is logged in, so address and user are the same subject.
    assert.equal(calls('get'), 50 * 3)
    assert.equal(calls('set'), 50 * 3)
    const unexpected = ['del', 'expire', 'script|load', 'select', 'multi']
    assert.deepEqual(unexpected.filter((command) => calls(command) > 0), [])
    assert.ok(calls('time') <= 50 + calls('eval'), `${calls('time')}`)
  })
})

test('Redis: what is asked in one tick costs one call for 64 questions', async () => {
  const guard = open('tick:', [{ name: 'one', limit: 1000, window: '300d', exact: true }, { ...EIGHT[1], key: 'ip' }])
  await guard.limits.get('one', '10.0.0.1')
  const calls = await commandsOf(async () => {
    const questions = Array.from({ length: 256 }, (_, i) => guard.limits.consume('one', `10.0.${i % 2}.${i}`))
    const states = await Promise.all(questions)
    assert.ok(states.every(({ allowed }) => allowed))
  })
  assert.equal(calls('evalsha'), 4)
  assert.ok(calls('time') <= 4 + calls('eval'), `${calls('time')}`)
})

test('Redis: concurrent requests never cost more than a call each, and a refused client asks about once a second', async () => {
  const guard = open('crowd:', { name: 'crowd', limit: 100, window: '300d' })
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const statuses = []
    const crowd = await commandsOf(async () => {
      const answers = await Promise.all(Array.from({ length: 150 }, () => send()))
      statuses.push(...answers.map(({ status }) => status))
    })
    assert.equal(statuses.filter((status) => status === 200).length, 100)
    assert.equal(statuses.filter((status) => status === 429).length, 50)
    assert.ok(crowd('evalsha') <= 150, `${crowd('evalsha')}`)
    const start = performance.now()
    const refused = await commandsOf(async () => {
      for (let i = 0; i < 100; i++) assert.equal((await send()).status, 429)
    })
    const seconds = (performance.now() - start) / 1000
    assert.ok(refused('evalsha') <= seconds + 2, `${refused('evalsha')} in ${seconds} s`)
  })
})

test('Redis: every key has an end and begins with the prefix, and no address or name of a user is in it', async () => {
  const guard = open('ends:', { name: 'user', limit: 3, window: '300d', key: (req) => req.headers['x-user'] })
  for (let i = 0; i < 5; i++) await guard.limits.consume('user', 'ada@example.com')
  await guard.limits.block('user', 'eve@example.com', '1h')
  const keys = await redis.keys('ends:*')
  assert.equal(keys.filter((key) => /^ends:l:[\w-]{22}$/.test(key)).length, 2)
  for (const key of keys) {
    assert.ok((await redis.ttl(key)) > 0, key)
    assert.doesNotMatch(key, /ada|eve|example/)
  }
})

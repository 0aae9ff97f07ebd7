// Requests under way in several processes at once: what Redis counts together, and what becomes of
// that when a process or Redis itself is gone.

import assert from 'node:assert/strict'
import http from 'node:http'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { startPeer } from './helpers/peer.mjs'
import { startCluster, startMemcached, startRedis, waitUntil } from './helpers/servers.mjs'

const K = '127.0.0.1'

async function forTest(t, starting, end = 'stop') {
  const server = await starting
  t.after(() => server[end]())
  return server
}

// Requests wait longer for the store than in production: a slow machine is no fault.
const config = (redis, rateLimit, more) => ({ rateLimit, store: { redis: { url: redis.url, timeout: '5s', ...more } } })
const peers = (t, count, config) => Promise.all(Array.from({ length: count }, () => forTest(t, startPeer(config))))
const taken = async (peer, name = 'reports') => (await peer.call('limits.get', name, K)).taken
const takes = (peer, count, name) => waitUntil(`${count} under way`, async () => (await taken(peer, name)) === count, 20_000)
/** Asks for something that takes longer than the test; `end()` goes away. */
function hold(peer, ms = 600_000) {
  const request = http.get({ host: K, port: peer.port, path: `/slow/${ms}`, agent: false })
  request.on('error', () => {})
  return { end: () => request.destroy() }
}

/** A server that knows how many are inside, and how many were at most. */
async function startCounter(t, stay) {
  const seen = { inside: 0, most: 0, entered: 0 }
  const server = http.createServer((req, res) => {
    if (req.url === '/leave') {
      seen.inside -= 1
      return res.end()
    }
    seen.inside += 1
    seen.entered += 1
    seen.most = Math.max(seen.most, seen.inside)
    setTimeout(() => res.end(), stay)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => (server.close(), server.closeAllConnections()))
  return Object.assign(seen, { port: server.address().port })
}

test('five processes under load: never more than the limit inside, all of it in use, and nothing left in Redis', async (t) => {
  const redis = await forTest(t, startRedis())
  const processes = await peers(t, 5, config(redis, [{ name: 'reports', concurrent: 7 }, { name: 'api', limit: 1_000_000, window: '1h' }]))
  const counter = await startCounter(t, 5)
  let left = 1000
  const statuses = { 200: 0, 429: 0 }
  const visit = async (i) => {
    while (left-- > 0) {
      const { status } = await processes[i % 5].get(`/counted/${counter.port}`)
      statuses[status] += 1
    }
  }
  await Promise.all(Array.from({ length: 40 }, (_, i) => visit(i)))
  assert.equal(counter.most, 7)
  assert.equal(statuses[200] + statuses[429], 1000)
  assert.equal(statuses[200], counter.entered)
  assert.ok(statuses[200] > 100 && statuses[429] > 100, JSON.stringify(statuses))
  await takes(processes[0], 0)
  await waitUntil('no place is left', async () => (await redis.keys('keepstone:p:*')).length === 0)
})

test('the places of a process that was killed are free after `timeout`, and no earlier or later than that those of a living one', async (t) => {
  const redis = await forTest(t, startRedis())
  const [one, two] = await peers(t, 2, config(redis, { name: 'reports', concurrent: 3, timeout: '2s' }))
  hold(one)
  hold(one)
  hold(two)
  await takes(two, 3)
  assert.equal((await two.get('/slow/0')).status, 429)
  await one.kill()
  const start = performance.now()
  await takes(two, 1)
  assert.ok(performance.now() - start < 15_000)
  // The one that lives has held its place for longer than `timeout` by now, and holds it still.
  await waitUntil('some time has gone', () => performance.now() - start > 5_000)
  assert.equal(await taken(two), 1)
  hold(two)
  hold(two)
  await takes(two, 3)
  assert.equal((await two.get('/slow/0')).status, 429)
})

test('a request that takes longer than `timeout` keeps its place, and gives it back when it ends', async (t) => {
  const redis = await forTest(t, startRedis())
  const [one, two] = await peers(t, 2, config(redis, { name: 'reports', concurrent: 1, timeout: '1s' }))
  const slow = hold(one)
  await takes(two, 1)
  const start = performance.now()
  while (performance.now() - start < 4_000) {
    assert.equal((await two.get('/slow/0')).status, 429)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  slow.end()
  await takes(two, 0)
  assert.equal((await two.get('/slow/0')).status, 200)
})

test('Redis loses its data: what is under way is counted again, and what has ended is not', async (t) => {
  const redis = await forTest(t, startRedis())
  const [one, two] = await peers(t, 2, config(redis, { name: 'reports', concurrent: 3, timeout: '1s' }))
  hold(one)
  hold(two)
  const short = hold(two)
  await takes(one, 3)
  await redis.command('FLUSHALL')
  short.end()
  await takes(one, 2)
  await redis.command('FLUSHALL')
  await takes(two, 2)
})

test('Redis is away: each process has its part, or does as `onStoreFailure` says; and once it is back, what was let in or ended meanwhile is counted right', async (t) => {
  const redis = await forTest(t, startRedis())
  const limit = (onStoreFailure, ...paths) => ({ name: onStoreFailure, concurrent: 4, timeout: '1h', paths, onStoreFailure })
  const limits = [limit('local', '/slow/700001', '/slow/1'), limit('closed', '/slow/2'), limit('open', '/slow/3')]
  const [one, two] = await peers(t, 2, config(redis, limits, { timeout: '300ms' }))
  for (const peer of [one, two]) await waitUntil('it has heard of the other', async () => (await peer.get('/slow/2')).status === 200)
  // Both have said that they are alive; each learns of it with its next sign of life.
  await new Promise((resolve) => setTimeout(resolve, 3_500))
  const before = hold(one, 700_001)
  await takes(two, 1, 'local')
  await redis.kill()
  await waitUntil('it is taken as away', async () => (await one.get('/slow/2')).status === 503 && (await two.get('/slow/2')).status === 503)
  assert.equal((await one.get('/slow/3')).status, 200)
  // Two of the four, of which the one that began before is one.
  const full = (peer) => waitUntil('its part is used', async () => (await peer.get('/slow/1')).status === 429)
  hold(one, 700_001)
  await full(one)
  before.end()
  await waitUntil('one of it is free', async () => (await one.get('/slow/1')).status === 200)
  hold(two, 700_001)
  hold(two, 700_001)
  await full(two)
  await redis.restart()
  await waitUntil('it is back', async () => (await one.get('/slow/2')).status === 200 && (await two.get('/slow/2')).status === 200, 20_000)
})

test('what ends while Redis does not answer is free soon after it does, however long `timeout` is', async (t) => {
  const redis = await forTest(t, startRedis())
  const [one, two] = await peers(t, 2, config(redis, { name: 'reports', concurrent: 2, timeout: '1h' }, { timeout: '100ms' }))
  const held = [hold(one), hold(one)]
  await takes(two, 2)
  redis.pause()
  for (const request of held) request.end()
  await new Promise((resolve) => setTimeout(resolve, 500))
  redis.resume()
  await takes(two, 0)
})

test('a cluster: a request that another of its limits refuses on another node gives its place back', async (t) => {
  const cluster = await forTest(t, startCluster({ primaries: 3, replicasPer: 0 }))
  const rateLimit = [{ name: 'reports', concurrent: 3 }, { name: 'more', concurrent: 9 }, { name: 'few', limit: 2, window: '1h', exact: true }]
  const [one, two] = await peers(t, 2, { rateLimit, store: { redis: { cluster: cluster.seeds.map(({ port }) => `redis://127.0.0.1:${port}`), timeout: '5s' } } })
  hold(one)
  hold(two)
  await takes(one, 2)
  for (let i = 0; i < 5; i++) assert.equal((await one.get('/slow/0')).status, 429)
  await takes(two, 2)
  await takes(two, 2, 'more')
  await one.call('limits.reset', 'few', K)
  const third = hold(one)
  await takes(two, 3)
  assert.equal((await two.get('/slow/0')).status, 429)
  third.end()
  await takes(two, 2)
})

test('Memcached: a limit of requests under way is refused when the guard is built', async (t) => {
  const memcached = await forTest(t, startMemcached())
  const rateLimit = [{ name: 'api', limit: 9, window: '1s' }, { name: 'reports', concurrent: 3 }]
  assert.throws(() => createGuard({ rateLimit, store: { memcached: [`127.0.0.1:${memcached.port}`] } }), {
    code: 'ERR_CONFLICTING_OPTIONS',
    path: 'rateLimit[1].concurrent',
    message: /memcached/
  })
})

test('a user of Redis with the documented rights holds, renews and gives back places', async (t) => {
  const rules = '~keepstone:* +eval +evalsha +time +get +set +del +zadd +zrem +zremrangebyscore +zcard +zcount +zrangebyscore +pexpire +pttl'
  const redis = await forTest(t, startRedis({ acl: [{ user: 'limits', password: 'hunter2', rules }] }))
  const url = redis.url.replace('://', '://limits:hunter2@')
  const [one, two] = await peers(t, 2, config({ url }, { name: 'reports', concurrent: 2, timeout: '1s', onStoreFailure: 'closed' }))
  const slow = hold(one)
  await takes(two, 1)
  await two.call('limits.reset', 'reports', K)
  // It is renewed.
  await takes(two, 1)
  slow.end()
  await takes(two, 0)
})

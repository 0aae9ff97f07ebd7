// How a limit is divided among processes that can't reach their store, above all those that start
// during the outage.

import assert from 'node:assert/strict'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { startPeer } from './helpers/peer.mjs'
import { startMemcached, startRedis, waitUntil } from './helpers/servers.mjs'

const LIMIT = 20
const COUNT = 4
const rateLimit = { name: 'api', limit: LIMIT, window: '300d', algorithm: 'fixed-window' }

const kinds = {
  redis: { start: startRedis, store: ({ url }, more) => ({ redis: { url, ...more } }) },
  memcached: { start: startMemcached, store: ({ port }, more) => ({ memcached: { servers: [`127.0.0.1:${port}`], ...more } }) }
}

/** Starts processes, and stops them after the test. */
async function startPeers(t, count, config) {
  const peers = await Promise.all(Array.from({ length: count }, () => startPeer(config)))
  t.after(() => Promise.all(peers.map((peer) => peer.stop())))
  return peers
}

/** How many requests each of them admits, of as many as the whole limit. */
async function admitted(peers) {
  const counts = []
  for (const peer of peers) {
    let passed = 0
    for (let i = 0; i < LIMIT; i++) {
      const { status } = await peer.get()
      assert.ok(status === 200 || status === 429, `${status}`)
      if (status === 200) passed += 1
    }
    counts.push(passed)
  }
  return counts
}

for (const [kind, { start, store }] of Object.entries(kinds)) {
  test(`${kind}: processes that start while the store is away admit together what one limit says, and count again when it is back`, async (t) => {
    const server = await start()
    t.after(() => server.stop())
    await server.kill()
    const peers = await startPeers(t, COUNT, { rateLimit, store: store(server, { processes: COUNT }) })
    assert.deepEqual(await admitted(peers), Array(COUNT).fill(LIMIT / COUNT))
    await server.restart()
    await waitUntil('the store judges requests in all processes', async () => {
      const states = await Promise.all(peers.map((peer) => peer.call('health')))
      return states.every((health) => health.store.available)
    })
    const [first, second] = peers
    const remaining = async (peer) => (await peer.call('limits.consume', 'api', '203.0.113.7')).remaining
    assert.equal(await remaining(first), LIMIT - 1)
    assert.equal(await remaining(second), LIMIT - 2)
  })

  test(`${kind}: the number last seen alive counts where it is larger than \`processes\``, async (t) => {
    const server = await start()
    t.after(() => server.stop())
    const peers = await startPeers(t, COUNT, { rateLimit, store: store(server, { processes: 2 }) })
    await waitUntil('each has seen the others', async () => {
      const states = await Promise.all(peers.map((peer) => peer.call('health')))
      return states.every((health) => health.store.instances === COUNT)
    })
    await server.kill()
    assert.deepEqual(await admitted(peers), Array(COUNT).fill(LIMIT / COUNT))
  })

  test(`${kind}: \`processes\` is a whole number from 1 to 100000`, async () => {
    const address = { url: 'redis://127.0.0.1:1', port: 1 }
    for (const processes of [0, -1, 1.5, 100_001, '4', null, NaN]) {
      assert.throws(
        () => createGuard({ rateLimit, store: store(address, { processes }) }),
        (error) => error.code === 'ERR_INVALID_OPTION' && error.message.includes(`store.${kind}.processes`) && /whole number from 1 to 100000|finite/.test(error.message),
        `${processes}`
      )
    }
    for (const processes of [1, 100_000]) await createGuard({ rateLimit, store: store(address, { processes }) }).close()
  })
}

test('redis: with the default, a process that starts while the store is away admits all of the limit', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  await redis.kill()
  const peers = await startPeers(t, 1, { rateLimit, store: { redis: redis.url } })
  assert.deepEqual(await admitted(peers), [LIMIT])
})

test('redis: requests under way are divided as limits are', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  await redis.kill()
  const concurrent = { name: 'slow', concurrent: 4, paths: ['/slow/2000'] }
  const peers = await startPeers(t, 2, { rateLimit: [concurrent], store: { redis: { url: redis.url, processes: 2 } } })
  for (const peer of peers) {
    const answers = await Promise.all(Array.from({ length: 4 }, () => peer.get('/slow/2000')))
    const passed = answers.filter(({ status }) => status === 200).length
    assert.equal(passed, 2, `${answers.map(({ status }) => status)}`)
  }
})

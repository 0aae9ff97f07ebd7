// `limits.block`, `allow`, `unblock` and `set` after a store has acknowledged them and then lost
// them.

import assert from 'node:assert/strict'
import test from 'node:test'
import { startPeer } from './helpers/peer.mjs'
import { startCluster, startRedis, startSentinels, waitUntil } from './helpers/servers.mjs'

const BLOCKED = '127.0.0.1'
const NOTICES = 'keepstone:{notices}'

async function forTest(t, starting) {
  const server = await starting
  t.after(() => server.stop())
  return server
}

const config = (redis) => ({ rateLimit: { name: 'api', limit: 1_000_000, window: '1h' }, store: { redis: { timeout: '1s', ...redis } } })
const start = (t, redis) => forTest(t, startPeer(config(redis)))
const status = async (peer) => (await peer.get()).status
const answers = (what, peer, wanted, timeout) => waitUntil(what, async () => (await status(peer)) === wanted, timeout)
const ready = (peers) => waitUntil('the store answers all of them', async () => (await Promise.all(peers.map((peer) => peer.call('health')))).every((health) => health.store.available && health.ready))

/**
 * The ways to lose what the primary had acknowledged: each gives options of `store.redis` and
 * `lose(change)`.
 */
const ways = {
  async sentinel(t) {
    const sentinels = await forTest(t, startSentinels())
    const nodes = sentinels.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
    const primary = await sentinels.primary()
    return {
      redis: { sentinel: { nodes, name: sentinels.masterName } },
      async lose(change) {
        await primary.holdReplication()
        await change()
        await primary.kill()
        await sentinels.promoted(primary)
      }
    }
  },
  async cluster(t) {
    const cluster = await forTest(t, startCluster())
    const primary = await cluster.primaryOf(NOTICES)
    return {
      redis: { cluster: cluster.seeds.map(({ host, port }) => `redis://${host}:${port}`) },
      async lose(change) {
        await primary.holdReplication()
        await change()
        await primary.kill()
        await waitUntil('another node has taken over', async () => ![undefined, primary].includes(await cluster.primaryOf(NOTICES)), 20_000)
      }
    }
  }
}

for (const [kind, way] of Object.entries(ways)) {
  test(`${kind}: a block that was acknowledged is known everywhere after a failover to a replica that had not got it`, async (t) => {
    const { redis, lose } = await way(t)
    const [one, two] = [await start(t, redis), await start(t, redis)]
    await ready([one, two])
    // Something that the replica has.
    await one.call('limits.block', '198.51.100.1', '1h')
    await lose(() => one.call('limits.block', BLOCKED, '1h', 'too much'))
    await answers('the other one knows it', two, 403, 20_000)
    const late = await start(t, redis)
    await answers('one that has started since knows it', late, 403)
    assert.equal(await status(one), 403)
  })

  test(`${kind}: an acknowledged end of a block is not undone by a replica that had the block alone`, async (t) => {
    const { redis, lose } = await way(t)
    const [one, two] = [await start(t, redis), await start(t, redis)]
    await ready([one, two])
    await one.call('limits.block', BLOCKED, '1h')
    await answers('the other one knows it', two, 403)
    await new Promise((resolve) => setTimeout(resolve, 500))
    await lose(() => two.call('limits.unblock', BLOCKED))
    await answers('the first one knows of its end', one, 200, 20_000)
    const late = await start(t, redis)
    await answers('one that has started since knows of its end', late, 200)
    assert.equal(await status(two), 200)
  })
}

test('a restart without data: what the processes hold is in the store again, and what somebody took back meanwhile is not', async (t) => {
  const redis = await forTest(t, startRedis())
  const options = { url: redis.url }
  const [one, two] = [await start(t, options), await start(t, options)]
  await ready([one, two])
  await one.call('limits.block', BLOCKED, '1h')
  await one.call('limits.block', { user: 'eve' }, '1h')
  await one.call('limits.set', { name: 'api', limit: 7 })
  await answers('the other one knows it', two, 403)
  await redis.command('FLUSHALL')
  // And since when the list is there.
  await waitUntil('all of it is there again', async () => (await redis.command('HLEN', NOTICES)) === 4)
  await two.stop()
  await one.stop()
  const late = await start(t, options)
  await answers('one that starts later knows it', late, 403)
  assert.equal((await late.call('limits.get', 'api', '203.0.113.7')).limit, 7)
})

test('what was taken back in a store that had lost it is not brought back by a process that was cut off', async (t) => {
  const redis = await forTest(t, startRedis())
  const [one, two] = [await start(t, { url: redis.url }), await start(t, { url: redis.url })]
  await ready([one, two])
  await one.call('limits.block', BLOCKED, '1h')
  process.kill(one.pid, 'SIGSTOP')
  // The second one may know of it or not: it takes back what the store does not have any more.
  await redis.command('DEL', NOTICES, `${NOTICES}:versions`, `${NOTICES}:ends`)
  await two.call('limits.unblock', BLOCKED)
  process.kill(one.pid, 'SIGCONT')
  await answers('the first one knows of the end', one, 200)
  // It looks once a second for what is lost.
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  assert.deepEqual([await status(one), await status(two)], [200, 200])
  const late = await start(t, { url: redis.url })
  await ready([late])
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  assert.equal(await status(late), 200)
})

test('users: the rights that the documentation names are enough for blocks to be shared and kept', async (t) => {
  const rights = '~keepstone:* +eval +evalsha +time +get +set +del +hset +hdel +hlen +hmget +zadd +zrem +zremrangebyscore +zrangebyscore +zrevrangebyscore +zscore +zcard +pexpire'
  const password = 'hunter2-hunter2'
  const redis = await forTest(t, startRedis({ acl: [{ user: 'limits', password, rules: rights }] }))
  const options = { url: redis.url, username: 'limits', password }
  const [one, two] = [await start(t, options), await start(t, options)]
  await ready([one, two])
  await one.call('limits.block', BLOCKED, '1h')
  await answers('the other one knows it', two, 403)
  await redis.command('FLUSHALL')
  await waitUntil('it is there again', async () => (await redis.command('HLEN', NOTICES)) === 2)
})

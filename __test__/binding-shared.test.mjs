// A proof is used once over all processes of a service: real processes, real stores.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startMemcached, startRedis, waitUntil } from './helpers/servers.mjs'

const HOST = 'api.example.com'
const URL_ = `http://${HOST}/`
const PROCESSES = 4
const REPLAYS = 1000
const secret = randomBytes(48).toString('base64url')

/** Sends one proof again and again to all processes at once; the statuses by how often they came. */
async function replay(peers, headers) {
  const counts = {}
  const each = REPLAYS / PROCESSES
  const sendAll = async (peer) => {
    for (let sent = 0; sent < each; sent += 25) {
      const answers = await Promise.all(Array.from({ length: 25 }, () => peer.get('/', headers)))
      for (const { status, json } of answers) {
        const key = status === 200 ? '200' : `${status} ${json.code}`
        counts[key] = (counts[key] ?? 0) + 1
      }
    }
  }
  await Promise.all(peers.map(sendAll))
  return counts
}

for (const [kind, start, store, revocation] of [
  // Nobody is to be late here, however slow the machine: a request that waits too long is refused and has used its proof.
  ['Redis', startRedis, ({ url }) => ({ redis: { url, timeout: '5s' } }), {}],
  ['Memcached', startMemcached, ({ port }) => ({ memcached: { servers: [`127.0.0.1:${port}`], timeout: '5s' } }), { scope: 'process' }]
]) {
  test(`${kind}: of ${REPLAYS} requests with one proof to ${PROCESSES} processes, one passes`, { timeout: 240_000 }, async (t) => {
    const server = await start()
    t.after(() => server.stop())
    const config = { store: store(server), rateLimit: false, revocation, jwt: { issuer: 'https://id.example', audience: 'api', secret } }
    const peers = await Promise.all(Array.from({ length: PROCESSES }, () => startPeer(config)))
    t.after(() => Promise.all(peers.map((peer) => peer.stop())))
    await Promise.all(peers.map((peer) => peer.call('ready')))
    const client = dpopClient()
    const { accessToken: token } = await peers[0].call('tokens.issue', { sub: 'ada', cnf: { jkt: client.jkt } })
    const fresh = () => ({ host: HOST, ...dpop(token, client.proof({ url: URL_, token })) })
    for (const peer of peers) {
      await waitUntil('it takes proofs', async () => (await peer.get('/', fresh())).status === 200)
    }
    const counts = await replay(peers, fresh())
    assert.deepEqual(counts, { 200: 1, '401 dpop_replayed': REPLAYS - 1 })
    assert.equal((await peers[0].get('/', fresh())).status, 200, 'another proof is as good as ever')
  })
}

test('what Redis keeps of a proof names nobody and goes away', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const peer = await startPeer({
    store: { redis: { url: redis.url, prefix: 'shop:', timeout: '5s' } },
    rateLimit: false,
    revocation: false,
    jwt: { issuer: 'https://id.example', audience: 'api', secret }
  })
  t.after(() => peer.stop())
  await peer.call('ready')
  const client = dpopClient()
  const { accessToken: token } = await peer.call('tokens.issue', { sub: 'ada', cnf: { jkt: client.jkt } })
  const proof = client.proof({ url: URL_, token, jti: 'the-name-of-a-proof' })
  assert.equal((await peer.get('/', { host: HOST, ...dpop(token, proof) })).status, 200)
  const keys = await redis.keys('shop:l:*')
  assert.equal(keys.length, 1)
  assert.match(keys[0], /^shop:l:[\w-]{22}$/)
  const ttl = await redis.ttl(keys[0])
  assert.ok(ttl > 60_000 && ttl <= 140_000, String(ttl))
})

// A proof is used once over all processes of a service: real processes, real stores.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import express from 'express'
import { createGuard } from 'keepstone'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { serve } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startMemcached, startRedis, waitUntil } from './helpers/servers.mjs'

const HOST = 'api.example.com'
const URL_ = `http://${HOST}/`
const PROCESSES = 4
const REPLAYS = 1000
const secret = randomBytes(48).toString('base64url')

/**
 * Sends one proof again and again to all processes at once; the statuses by how often they came.
 */
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
  // Nobody is to be late here, however slow the machine: a request that waits too long is refused
  // and has used its proof.
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

test('a request that guards with stores of their own admit has its proof used once in each', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const jwt = { issuer: 'https://id.example', audience: 'api', secret }
  const inRedis = (prefix, timeout = '5s') => createGuard({ rateLimit: false, jwt, store: { redis: { url: redis.url, prefix, timeout } } })
  // The last one has a connection of its own to the records of another.
  const guards = { memory: createGuard({ rateLimit: false, jwt }), a: inRedis('a:'), b: inRedis('b:'), again: inRedis('a:'), slower: inRedis('a:', '4s') }
  t.after(() => Promise.all(Object.values(guards).map((guard) => guard.close())))
  await Promise.all(Object.values(guards).map((guard) => guard.ready()))
  const client = dpopClient()
  const { accessToken: token } = await guards.memory.tokens.issue({ sub: 'ada', cnf: { jkt: client.jkt } })
  for (const names of [['memory', 'a'], ['a', 'memory'], ['a', 'b'], ['b', 'memory', 'a'], ['a', 'again'], ['a', 'slower']]) {
    const app = express()
    app.use(...names.map((name) => guards[name].require()), (req, res) => res.json({ sub: req.user.sub }))
    await serve(app, async (send) => {
      const fresh = () => ({ host: HOST, ...dpop(token, client.proof({ url: URL_, token })) })
      await waitUntil('proofs are taken', async () => (await send({ headers: fresh() })).json.code !== 'dpop_nonce')
      const headers = fresh()
      const { status, json } = await send({ headers })
      assert.deepEqual([status, json], [200, { sub: 'ada' }], names.join())
      const again = await send({ headers })
      assert.deepEqual([again.status, again.json.code], [401, 'dpop_replayed'], names.join())
    })
  }
})

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
  const proof = () => client.proof({ url: URL_, token, jti: 'the-name-of-a-proof' })
  // A proof that is refused, since the list is too young, leaves nothing there.
  await waitUntil('it takes proofs', async () => (await peer.get('/', { host: HOST, ...dpop(token, proof()) })).status === 200)
  const keys = await redis.keys('shop:{dpop}*')
  // Since when the list is complete, the proof, and how many its key has used.
  assert.equal(keys.length, 3)
  for (const [i, pattern] of [/^shop:\{dpop\}$/, /^shop:\{dpop\}:[\w-]{22}$/, /^shop:\{dpop\}k:[\w-]{22}$/].entries()) assert.match(keys[i], pattern)
  for (const key of keys.slice(1)) {
    const ttl = await redis.ttl(key)
    assert.ok(ttl > 60_000 && ttl <= 140_000, String(ttl))
  }
})

const jwtOptions = { issuer: 'https://id.example', audience: 'api', secret }
const storeAt = (redis, prefix) => ({ redis: { url: redis.url, prefix, timeout: '5s' } })

/** A client with a token, and `headers(claims)` with a new proof. */
async function clientOf(peer, sub = 'ada') {
  const client = dpopClient()
  const { accessToken: token } = await peer.call('tokens.issue', { sub, cnf: { jkt: client.jkt } })
  return { headers: (claims = {}) => ({ host: HOST, ...dpop(token, client.proof({ url: URL_, token, ...claims })) }) }
}

const outcome = ({ status, json }) => (status === 200 ? 200 : `${status} ${json.code}`)

/**
 * Sends a proof with `claims`, and once more with the nonce that the answer gives, as RFC 9449
 * says.
 */
async function persistent(peer, client, claims) {
  const first = await peer.get('/', client.headers(claims))
  const nonce = first.headers['dpop-nonce']
  if (first.status !== 401 || nonce === undefined) return outcome(first)
  return outcome(await peer.get('/', client.headers({ ...claims, nonce })))
}

test('in memory: no proof that was used before a restart is good after it, and a new one is at once', { timeout: 120_000 }, async (t) => {
  const config = { rateLimit: false, jwt: jwtOptions }
  const first = await startPeer(config)
  t.after(() => first.stop())
  const client = await clientOf(first)
  const used = client.headers()
  const ofAWholeSecond = client.headers({ iat: Math.floor(Date.now() / 1000) })
  await waitUntil('it takes proofs of whole seconds', async () => {
    return (await first.get('/', client.headers({ iat: Math.floor(Date.now() / 1000) }))).status === 200
  })
  assert.equal(outcome(await first.get('/', used)), 200)
  await first.get('/', ofAWholeSecond)
  await first.kill()
  const second = await startPeer(config)
  t.after(() => second.stop())
  for (const headers of [used, ofAWholeSecond]) {
    const answer = await second.get('/', headers)
    assert.equal(outcome(answer), '401 dpop_nonce')
    assert.match(answer.headers['www-authenticate'], /^DPoP .*error="use_dpop_nonce"/)
    assert.equal(typeof answer.headers['dpop-nonce'], 'string')
  }
  assert.equal(outcome(await second.get('/', client.headers())), 200)
  // Of which second it is does not matter, where the nonce says that it is new.
  assert.equal(await persistent(second, client, { iat: Math.floor(Date.now() / 1000) }), 200)
})

test('Redis: no proof that was used before its data was lost is good after it, in any process, and new ones are at once', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const config = { store: storeAt(redis, 'lost:'), rateLimit: false, revocation: false, jwt: jwtOptions }
  const [one, other] = await Promise.all([startPeer(config), startPeer(config)])
  t.after(() => Promise.all([one.stop(), other.stop()]))
  await Promise.all([one.call('ready'), other.call('ready')])
  const client = await clientOf(one)
  assert.equal(await persistent(one, client), 200)
  const used = client.headers()
  assert.equal(outcome(await one.get('/', used)), 200)
  assert.equal(outcome(await other.get('/', used)), '401 dpop_replayed')
  const unseen = client.headers()
  assert.equal(outcome(await one.get('/', unseen)), 200)
  await redis.command('FLUSHALL')
  assert.equal(outcome(await other.get('/', unseen)), '401 dpop_nonce')
  assert.equal(outcome(await one.get('/', unseen)), '401 dpop_replayed', 'this process has seen it')
  assert.equal(outcome(await other.get('/', client.headers())), 200)
  assert.equal(await persistent(other, client, { iat: Math.floor(Date.now() / 1000) }), 200)
  // A process that starts over a list that is there refuses nothing.
  const late = client.headers()
  const third = await startPeer(config)
  t.after(() => third.stop())
  await third.call('ready')
  assert.equal(outcome(await third.get('/', late)), 200)
})

test('Redis: a server that was started again begins a new list, whatever it has saved', { timeout: 120_000 }, async (t) => {
  const first = await startRedis()
  const config = { store: storeAt(first, 'again:'), rateLimit: false, revocation: false, jwt: jwtOptions }
  const peers = await Promise.all([startPeer(config), startPeer(config)])
  t.after(() => Promise.all(peers.map((peer) => peer.stop())))
  await Promise.all(peers.map((peer) => peer.call('ready')))
  const client = await clientOf(peers[0])
  assert.equal(await persistent(peers[0], client), 200)
  const [began] = await first.keys('again:{dpop}')
  const saved = await first.command('GET', began)
  const used = client.headers()
  assert.equal(outcome(await peers[0].get('/', used)), 200)
  const { port } = first
  await first.stop()
  const second = await startRedis({ port })
  t.after(() => second.stop())
  // It was saved before that proof was used.
  await second.command('SET', began, saved)
  await waitUntil('it takes proofs', async () => (await peers[1].get('/', client.headers())).status === 200)
  assert.equal(outcome(await peers[1].get('/', used)), '401 dpop_nonce')
})

test('Redis: whoever is over a limit fills no list of used proofs, and a replay eats nothing of a quota', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const rateLimit = { name: 'api', limit: 5, window: '1d', key: 'user' }
  const peer = await startPeer({ store: storeAt(redis, 'over:'), rateLimit, revocation: false, jwt: jwtOptions })
  t.after(() => peer.stop())
  await peer.call('ready')
  const client = await clientOf(peer)
  const used = client.headers()
  assert.equal(outcome(await peer.get('/', used)), 200)
  for (let i = 0; i < 10; i += 1) assert.equal(outcome(await peer.get('/', used)), '401 dpop_replayed')
  const outcomes = []
  for (let i = 0; i < 20; i += 1) outcomes.push(outcome(await peer.get('/', client.headers())))
  assert.deepEqual(outcomes, [...Array(4).fill(200), ...Array(16).fill('429 rate_limited')])
  assert.equal((await redis.keys('over:{dpop}:*')).length, 5)
  const other = await clientOf(peer, 'grace')
  assert.equal(outcome(await peer.get('/', other.headers())), 200)
})

test('Redis: a key that has used too many proofs is refused, and no other is', { timeout: 120_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const peer = await startPeer({ store: storeAt(redis, 'many:'), rateLimit: false, revocation: false, jwt: jwtOptions })
  t.after(() => peer.stop())
  await peer.call('ready')
  const greedy = await clientOf(peer)
  assert.equal(await persistent(peer, greedy), 200)
  const [count] = await redis.keys('many:{dpop}k:*')
  const [used, till] = (await redis.command('GET', count)).split(' ')
  assert.equal(used, '1')
  await redis.command('SET', count, `100000 ${till}`, 'KEEPTTL')
  const answer = await peer.get('/', greedy.headers())
  assert.deepEqual([outcome(answer), answer.headers['retry-after']], ['429 dpop_too_many', '1'])
  assert.equal((await redis.keys('many:{dpop}:*')).length, 1, 'nothing is written for it')
  assert.equal(outcome(await peer.get('/', (await clientOf(peer, 'grace')).headers())), 200)
})

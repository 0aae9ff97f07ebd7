// The clock of Redis, or of a process, is set while guards use it: what is exclusive stays so, and
// nothing is good again.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import http from 'node:http'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { startPeer } from './helpers/peer.mjs'
import { settableClock, startCluster, startRedis, waitUntil } from './helpers/servers.mjs'

const HOST = 'api.example.com'
const URL_ = `http://${HOST}/`
const HOUR = 3_600_000
const jwt = { issuer: 'https://id.example', audience: 'api', secret: randomBytes(48).toString('base64url') }

async function redisWithClock(t) {
  const clock = settableClock()
  const redis = await startRedis({ clock })
  t.after(() => redis.stop())
  return { clock, redis, store: { redis: { url: redis.url, timeout: '5s' } } }
}

async function peersOf(t, count, config) {
  const peers = await Promise.all(Array.from({ length: count }, () => startPeer(config)))
  t.after(() => Promise.all(peers.map((peer) => peer.stop())))
  return peers
}

/** Asks for something that takes longer than the test. */
function hold(peer) {
  const request = http.get({ host: '127.0.0.1', port: peer.port, path: '/slow/600000', agent: false })
  request.on('error', () => {})
  return { end: () => request.destroy() }
}

// Less and more than `timeout`, so much that some places have ended, all have, and their key would
// have.
for (const ahead of [2_500, 5_000, 131_000, HOUR]) {
  test(`no more than the limit are in flight where the clock is set ahead by ${ahead} ms, and all places come free in the end`, { timeout: 120_000 }, async (t) => {
    const { clock, store } = await redisWithClock(t)
    const peers = await peersOf(t, 2, { rateLimit: { name: 'reports', concurrent: 3, timeout: '4s' }, store })
    const taken = async () => (await peers[0].call('limits.get', 'reports', '127.0.0.1')).taken
    const held = [hold(peers[0]), hold(peers[1]), hold(peers[1])]
    await waitUntil('all are in flight', async () => (await taken()) === 3)
    clock.shift(ahead)
    const start = performance.now()
    while (performance.now() - start < 9_000) {
      const statuses = await Promise.all(peers.map(async (peer) => (await peer.get('/slow/0')).status))
      assert.deepEqual(statuses, [429, 429], `${Math.round(performance.now() - start)} ms later`)
      await sleep(50)
    }
    assert.equal(await taken(), 3)
    for (const request of held) request.end()
    await waitUntil('all are free', async () => (await taken()) === 0)
    assert.equal((await peers[0].get('/slow/0')).status, 200)
  })
}

test('the places of a process that was killed come free, also where no other process has one', { timeout: 120_000 }, async (t) => {
  const { clock, redis, store } = await redisWithClock(t)
  const [one, two] = await peersOf(t, 2, { rateLimit: { name: 'reports', concurrent: 2, timeout: '2s' }, store })
  hold(one)
  hold(one)
  await waitUntil('both are taken', async () => (await two.call('limits.get', 'reports', '127.0.0.1')).taken === 2)
  assert.equal((await two.get('/slow/0')).status, 429)
  await one.kill()
  await waitUntil('they are free', async () => (await two.get('/slow/0')).status === 200, 20_000)
  // And where the clock is set on top of it.
  hold(two)
  clock.shift(HOUR)
  await waitUntil('it is renewed', async () => (await redis.command('ZCARD', (await redis.keys('keepstone:p:*'))[0])) === 1)
})

for (const kind of ['Redis alone', 'a cluster']) {
  test(`${kind}: no used DPoP proof is taken again where the clock is set ahead, and new ones are at once`, { timeout: 120_000 }, async (t) => {
    const clock = settableClock()
    const server = kind === 'a cluster' ? await startCluster({ primaries: 3, replicasPer: 0, clock }) : await startRedis({ clock })
    t.after(() => server.stop())
    const urls = server.seeds?.map(({ port }) => `redis://127.0.0.1:${port}`)
    const store = { redis: { ...(urls ? { cluster: urls } : { url: server.url }), timeout: '5s' } }
    const peers = await peersOf(t, 2, { store, rateLimit: false, revocation: {}, jwt })
    await Promise.all(peers.map((peer) => peer.call('ready')))
    const client = dpopClient()
    const { accessToken: token } = await peers[0].call('tokens.issue', { sub: 'ada', cnf: { jkt: client.jkt } })
    const proof = (claims) => ({ host: HOST, ...dpop(token, client.proof({ url: URL_, token, ...claims })) })
    for (const peer of peers) await waitUntil('it takes proofs', async () => (await peer.get('/', proof())).status === 200)
    for (const ahead of [131_000, 1_000_000, HOUR]) {
      const used = proof()
      assert.equal((await peers[0].get('/', used)).status, 200)
      clock.shift(ahead)
      const { status, headers, json } = await peers[1].get('/', used)
      assert.deepEqual([status, json.code], [401, 'dpop_nonce'])
      const nonce = headers['dpop-nonce']
      assert.equal((await peers[1].get('/', proof({ nonce }))).status, 200)
      // Signs of life go by.
      await sleep(3_000)
      assert.equal((await peers[0].get('/', proof())).status, 200)
    }
  })
}

test('a refresh token that was used is a replay where the clock of Redis is set back, whatever the window', { timeout: 120_000 }, async (t) => {
  const { clock, store } = await redisWithClock(t)
  for (const [reuseWindow, back] of [['0s', HOUR], ['0s', 1_000], ['10s', HOUR], ['10s', 60_000], ['1m', 100 * HOUR]]) {
    clock.shift(0)
    const guard = createGuard({ rateLimit: false, store, jwt: { ...jwt, refresh: { reuseWindow } } })
    t.after(() => guard.close())
    await guard.ready()
    const { refreshToken: first } = await guard.tokens.issue({ sub: 'ada' })
    const { refreshToken: second } = await guard.tokens.refresh(first)
    clock.shift(-back)
    await assert.rejects(guard.tokens.refresh(first), { code: 'ERR_REFRESH_REUSED' }, `${reuseWindow} ${back}`)
    await assert.rejects(guard.tokens.refresh(second), { code: /ERR_REFRESH_(REUSED|INVALID|REVOKED)/ })
  }
})

test('a refresh whose answer was lost is given the same successor where the clock of Redis went back by a little', { timeout: 60_000 }, async (t) => {
  const { clock, store } = await redisWithClock(t)
  const guard = createGuard({ rateLimit: false, store, jwt: { ...jwt, refresh: { reuseWindow: '30s' } } })
  t.after(() => guard.close())
  await guard.ready()
  const { refreshToken: first } = await guard.tokens.issue({ sub: 'ada' })
  const { refreshToken: second } = await guard.tokens.refresh(first)
  clock.shift(-1_000)
  assert.equal((await guard.tokens.refresh(first)).refreshToken, second)
  // It does not open a second time.
  clock.shift(40_000)
  await assert.rejects(guard.tokens.refresh(first), { code: 'ERR_REFRESH_REUSED' })
})

test('a client that is over its limit is let in again in its time after the clock of Redis was set back', { timeout: 60_000 }, async (t) => {
  const { clock, store } = await redisWithClock(t)
  const limits = ['gcra', 'fixed-window', 'sliding-window'].flatMap((algorithm) => [
    { name: algorithm, limit: 2, window: '2s', algorithm, paths: [`/slow/1`] },
    { name: `exact-${algorithm}`, limit: 2, window: '2s', algorithm, exact: true, paths: [`/slow/2`] }
  ])
  const [peer] = await peersOf(t, 1, { rateLimit: limits, store })
  for (const path of ['/slow/1', '/slow/2']) {
    clock.shift(0)
    await waitUntil('it is used up', async () => (await peer.get(path)).status === 429)
    clock.shift(-HOUR)
    await waitUntil('it is let in', async () => (await peer.get(path)).status === 200, 20_000)
    await peer.call('limits.block', path === '/slow/1' ? 'gcra' : 'exact-gcra', '127.0.0.1', '3s')
    assert.equal((await peer.get(path)).status, 429)
    clock.shift(-2 * HOUR)
    await waitUntil('the block is over', async () => (await peer.get(path)).status === 200, 20_000)
  }
})

for (const kind of ['memory', 'redis']) {
  test(`${kind}: what is revoked while the clock of the process is ahead is refused when it is right again`, { timeout: 60_000 }, async (t) => {
    const clock = settableClock()
    let store
    if (kind === 'redis') {
      const redis = await startRedis()
      t.after(() => redis.stop())
      store = { redis: { url: redis.url, timeout: '5s' } }
    }
    const peer = await startPeer({ rateLimit: false, jwt, ...(store && { store }) }, { clock })
    t.after(() => peer.stop())
    await peer.call('ready')
    const { accessToken: early } = await peer.call('tokens.issue', { sub: 'ada' })
    const { accessToken: late } = await peer.call('tokens.issue', { sub: 'bob' })
    const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
    const status = async (token) => (await peer.get('/', { authorization: `Bearer ${token}` })).status
    await waitUntil('tokens are taken', async () => (await status(early)) === 200)
    await peer.call('revoke.token', claims(early).jti, claims(early).exp)
    clock.shift(40 * 24 * HOUR)
    await peer.call('revoke.token', claims(late).jti, claims(late).exp)
    // The tokens are over by this clock, and so would be what was revoked.
    for (let i = 0; i < 200; i += 1) await peer.call('revoke.token', `other-${i}`)
    clock.shift(0)
    assert.deepEqual([await status(early), await status(late)], [401, 401])
  })
}

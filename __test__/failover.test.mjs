// A revocation or a logout that was acknowledged holds, also where the primary dies and a replica
// that lags takes over: real processes, a real Redis with a replica whose link is held.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startFailover } from './helpers/failover.mjs'
import { bearer } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { waitUntil } from './helpers/servers.mjs'

const secret = randomBytes(48).toString('base64url')

/** Processes of one service over a Redis with a replica. */
async function service(t, count, store = {}, jwt = {}) {
  const redis = await startFailover()
  t.after(() => redis.stop())
  const start = async () => {
    const peer = await startPeer({
      store: { redis: { url: redis.url, timeout: '5s', ...store } },
      rateLimit: false,
      jwt: { issuer: 'https://id.example', audience: 'api', secret, ...jwt }
    })
    t.after(() => peer.stop())
    await peer.call('ready')
    return peer
  }
  const peers = await Promise.all(Array.from({ length: count }, start))
  await redis.caughtUp()
  return { redis, peers, start }
}

const issue = async (peer) => (await peer.call('tokens.issue', { sub: 'ada' })).accessToken
const status = async (peer, token) => (await peer.get('/', bearer(token))).status

for (const [away, seconds] of [['a moment', 0], ['longer than maxStaleness', 7]]) {
  test(`a revocation that the next primary lacks is known to all, where the change takes ${away}`, { timeout: 60_000 }, async (t) => {
    const { redis, peers } = await service(t, 2)
    const [one, other] = peers
    const [token, good] = [await issue(one), await issue(one)]
    redis.lag()
    await one.call('revoke.token', token)
    const revoked = performance.now()
    await redis.kill()
    await sleep(seconds * 1000)
    await redis.promote()
    const answers = []
    await waitUntil('the other one knows', async () => {
      const answer = await status(other, token)
      answers.push([performance.now() - revoked, answer])
      return answer === 401
    }, 20_000)
    const late = answers.filter(([after, answer]) => after > 5000 && answer === 200)
    assert.deepEqual(late, [], 'nobody takes what was revoked longer than maxStaleness ago')
    for (const peer of peers) await waitUntil('all is well again', async () => (await status(peer, good)) === 200)
    assert.equal(await status(one, token), 401)
  })
}

test('what was stored while the next primary was in charge is known as well', { timeout: 60_000 }, async (t) => {
  const { redis, peers, start } = await service(t, 2)
  const [one, other] = peers
  const [first, second] = [await issue(one), await issue(one)]
  redis.lag()
  await one.call('revoke.token', first)
  await redis.kill()
  await redis.promote()
  await waitUntil('the next primary takes it', async () => {
    await other.call('revoke.token', second)
    return true
  }, 20_000)
  const late = await start()
  for (const peer of [one, other, late]) {
    for (const token of [first, second]) await waitUntil('it is known', async () => (await status(peer, token)) === 401)
  }
})

test('with minReplicas, what was acknowledged is not lost, though nobody is left who knows it', { timeout: 60_000 }, async (t) => {
  const { redis, peers, start } = await service(t, 1, { minReplicas: 1 }, { refresh: true })
  const [one] = peers
  const login = await one.call('tokens.issue', { sub: 'ada' })
  const token = await issue(one)
  await redis.caughtUp()
  await one.call('revoke.token', token)
  await one.call('revoke.session', JSON.parse(Buffer.from(login.accessToken.split('.')[1], 'base64url')).sid)
  await redis.kill()
  await one.stop()
  await redis.promote()
  const next = await start()
  assert.equal(await status(next, token), 401)
  assert.equal(await status(next, login.accessToken), 401)
  await assert.rejects(next.call('tokens.refresh', login.refreshToken), { code: 'ERR_REFRESH_INVALID' })
})

test('with minReplicas, a call rejects where the replica lags, and what it said holds', { timeout: 60_000 }, async (t) => {
  const { redis, peers } = await service(t, 2, { minReplicas: 1 })
  const [one, other] = peers
  const token = await issue(one)
  redis.lag()
  await assert.rejects(one.call('revoke.token', token), { code: 'ERR_STORE_UNAVAILABLE' })
  await waitUntil('the other one knows', async () => (await status(other, token)) === 401)
  assert.equal(await status(one, token), 401)
})

test('a session that was ended stays so, where the next primary has its record again', { timeout: 60_000 }, async (t) => {
  const { redis, peers } = await service(t, 2, {}, { refresh: true })
  const [one, other] = peers
  const login = await one.call('tokens.issue', { sub: 'ada' })
  await redis.caughtUp()
  redis.lag()
  await one.call('revoke.session', JSON.parse(Buffer.from(login.accessToken.split('.')[1], 'base64url')).sid)
  await redis.kill()
  await redis.promote()
  await waitUntil('the other one knows', async () => (await status(other, login.accessToken)) === 401)
  const refresh = (peer) => peer.call('tokens.refresh', login.refreshToken).then(() => 'refreshed', ({ code }) => code)
  for (const peer of [one, other]) {
    // Each process has to find the next primary first.
    const answer = await waitUntil('it has an answer', async () => {
      const code = await refresh(peer)
      return code !== 'ERR_STORE_UNAVAILABLE' && code
    })
    assert.equal(answer, 'token_revoked')
  }
})

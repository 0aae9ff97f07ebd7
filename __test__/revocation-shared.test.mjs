// One list of revocations for all processes: real processes, a real Redis, and a way to it that
// fails.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { bearer } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const secret = randomBytes(48).toString('base64url')
let redis
let prefix = 0
const peers = new Set()

before(async () => {
  redis = await startRedis()
})
after(async () => {
  for (const peer of peers) await peer.stop()
  await redis.stop()
})

// Calls wait longer for the store than in production: machines that run tests are slow.
/** One more process of the service that was started last. */
async function peerWith(revocation = {}, url = redis.url, timeout = '5s') {
  const peer = await startPeer({
    store: { redis: { url, prefix: `t${prefix}:`, timeout } },
    rateLimit: false,
    jwt: { issuer: 'https://id.example', audience: 'api', secret },
    revocation
  })
  peers.add(peer)
  return peer
}

/** Processes that share a list of their own. */
async function service(count) {
  prefix += 1
  const started = await Promise.all(Array.from({ length: count }, () => peerWith()))
  await Promise.all(started.map((peer) => peer.call('ready')))
  return started
}

const issue = async (peer, claims = { sub: 'ada' }) => (await peer.call('tokens.issue', claims)).accessToken
const status = async (peer, token, path = '/') => (await peer.get(path, bearer(token))).status

test('a logout in one process is a logout in the others', async () => {
  const [one, two, three] = await service(3)
  const token = await issue(one)
  const other = await issue(two, { sub: 'eve' })
  for (const peer of [one, two, three]) assert.equal(await status(peer, token), 200)
  await one.call('revoke.token', token)
  assert.equal(await status(one, token), 401)
  await waitUntil('the others know', async () => (await status(two, token)) === 401 && (await status(three, token)) === 401)
  assert.equal(await status(three, other), 200)
  const refused = await two.get('/', bearer(token))
  assert.equal(refused.json.code, 'token_revoked')
  await assert.rejects(two.call('tokens.verify', token), { code: 'token_revoked' })
})

test('subject, session and key reach the others too, and a login after that is good', async () => {
  const [one, two] = await service(2)
  const session = await issue(one, { sub: 'ada', sid: 's1' })
  const subject = await issue(one, { sub: 'bob' })
  await one.call('revoke.session', 's1')
  await one.call('revoke.subject', 'bob')
  await waitUntil('both are refused', async () => (await status(two, session)) === 401 && (await status(two, subject)) === 401)
  assert.equal(await status(two, await issue(one, { sub: 'bob' })), 200)
})

test('a process that starts later refuses what was revoked before it was there', async () => {
  const [one] = await service(1)
  const token = await issue(one)
  await one.call('revoke.token', token)
  const late = await peerWith()
  // Until it has read the list, it says that it can't know: never 200.
  let answer = await late.get('/', bearer(token))
  while (answer.status === 503) {
    assert.equal(answer.json.code, 'revocation_stale')
    assert.equal(answer.headers['retry-after'], '1')
    answer = await late.get('/', bearer(token))
  }
  assert.equal(answer.status, 401)
})

test('requests ask the store nothing', async () => {
  // Processes follow their lists, whether requests come or not: the fewer of them, the less.
  for (const peer of peers) await peer.stop()
  const [one] = await service(1)
  const token = await issue(one)
  const commands = async () => Object.values(await redis.commandStats()).reduce((all, { calls }) => all + calls, 0)
  const before = await commands()
  for (let i = 0; i < 10; i++) {
    const seen = await Promise.all(Array.from({ length: 60 }, () => status(one, token)))
    assert.ok(seen.every((code) => code === 200), `${seen}`)
  }
  const asked = (await commands()) - before
  assert.ok(asked < 300, `${asked} commands for 600 requests`)
})

test('the store loses everything: nothing that was revoked is taken, and a new process learns of it', async () => {
  const [one, two] = await service(2)
  const token = await issue(one)
  await one.call('revoke.token', token)
  await waitUntil('both know', async () => (await status(two, token)) === 401)
  await redis.command('FLUSHALL')
  const late = await peerWith()
  await late.call('ready')
  for (const peer of [one, two, late]) assert.equal(await status(peer, token), 401)
})

test('the store loses everything and is written to at once: all that was revoked is put back', async () => {
  const [one, two] = await service(2)
  const tokens = await Promise.all([1, 2, 3].map(() => issue(one)))
  for (const token of tokens) await one.call('revoke.token', token)
  await waitUntil('both know', async () => (await status(two, tokens.at(-1))) === 401)
  // The newest entry alone is there again while every process still waits for what comes next.
  const stream = `t${prefix}:{rev}`
  const script = `
    local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2]
    redis.call('DEL', KEYS[1])
    return redis.call('XADD', KEYS[1], '*', newest[1], newest[2])`
  await redis.command('EVAL', script, 1, stream)
  await waitUntil('the others are put back', async () => (await redis.command('XLEN', stream)) >= tokens.length)
  const late = await peerWith()
  await late.call('ready')
  for (const token of tokens) assert.equal(await status(late, token), 401)
})

test('a route that wants it fresh, and a strict guard, know what another process did a moment ago', async () => {
  const [one, two] = await service(2)
  const strict = await peerWith({ mode: 'strict' })
  await strict.call('ready')
  for (let i = 0; i < 20; i += 1) {
    const token = await issue(one)
    assert.equal(await status(two, token, '/fresh'), 200)
    await one.call('revoke.token', token)
    assert.deepEqual([await status(two, token, '/fresh'), await status(strict, token)], [401, 401])
  }
  assert.equal((await two.get('/fresh')).status, 401)
})

test('without the store it is 503 after the bound and never 401, revoke says that it has failed, and all is well again after', async () => {
  const own = await startRedis()
  const peer = await peerWith({ maxStaleness: '1s' }, own.url, '300ms')
  try {
    await peer.call('ready')
    const [token, bad] = [await issue(peer), await issue(peer)]
    await peer.call('revoke.token', bad)
    own.pause()
    await waitUntil('it is stale', async () => (await status(peer, token)) === 503)
    assert.equal(await status(peer, token, '/fresh'), 503)
    assert.equal((await peer.call('health')).revocation.state, 'stale')
    await assert.rejects(peer.call('revoke.subject', 'ada'), { code: 'ERR_STORE_UNAVAILABLE' })
    own.resume()
    await waitUntil('it is fresh', async () => (await peer.call('health')).revocation.state === 'fresh')
    assert.equal(await status(peer, bad), 401)
    // What could not be stored for certain is in force here all the same.
    assert.equal(await status(peer, token), 401)
  } finally {
    await peer.stop()
    await own.stop()
  }
})

test('processes with a shared list end by themselves', async () => {
  const [peer] = await service(1)
  assert.equal(await peer.stop(), 0)
})

test('what something else has put in the place of a key is none, and is not in the way', async () => {
  const [one, two] = await service(2)
  const token = await issue(one)
  await one.call('revoke.token', token)
  await one.call('limits.block', '203.0.113.9', '1h')
  const isDone = (call) => call.then(() => true, () => false)
  for (const key of ['live', '{notices}', '{notices}:versions', '{notices}:ends', '{rev}']) {
    const name = `t${prefix}:${key}`
    await redis.command('DEL', name)
    await redis.command('SET', name, 'x')
    await waitUntil(`calls work again after ${key}`, async () =>
      (await redis.command('TYPE', name)) !== 'string' &&
      (await isDone(one.call('limits.block', '203.0.113.8', '1h'))) &&
      (await isDone(two.call('revoke.token', await issue(two)))))
  }
  const late = await peerWith()
  await late.call('ready')
  await waitUntil('one that starts knows what was revoked', async () => (await status(late, token)) === 401)
})

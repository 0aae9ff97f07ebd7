// Refresh tokens over both kinds of store, between processes, and over a way to the store that
// fails.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, test } from 'node:test'
import { createGuard, GuardError } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { startFaultProxy } from './helpers/fault-proxy.mjs'
import { bearer, serve } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const KINDS = ['memory', 'redis']
let redis
const guards = []
// One prefix: a list of revocations that is new is waited for.
const stores = { memory: () => ({}), redis: () => ({ store: { redis: { url: redis.url, prefix: 'refresh:', timeout: '5s' } } }) }

before(async () => {
  redis = await startRedis()
})
after(async () => {
  await Promise.all(guards.map((guard) => guard.close()))
  await redis.stop()
})

async function guardWith(kind, refresh = true, more = {}) {
  const guard = createGuard({ rateLimit: false, jwt: { ...jwt, refresh, ...more }, ...stores[kind]() })
  guards.push(guard)
  await guard.ready()
  return guard
}

const refused = (promise, code) => assert.rejects(promise, (error) => error instanceof GuardError && error.code === code && error.status === 401)
const reused = (promise) => refused(promise, 'ERR_REFRESH_REUSED')
const invalid = (promise) => refused(promise, 'ERR_REFRESH_INVALID')
function statusOf(guard, token) {
  const [protect] = guard.securityStack()
  return serve((req, res) => protect(req, res, () => res.end('ok')), async (send) => (await send({ headers: bearer(token) })).status)
}

for (const kind of KINDS) {
  test(`${kind}: a login gives both tokens, and each use of the refresh token gives the next pair`, async () => {
    const guard = await guardWith(kind)
    const login = await guard.tokens.issue({ sub: 'ada', role: 'admin' }, { expiresIn: '5m' })
    assert.deepEqual(Object.keys(login).sort(), ['accessToken', 'expiresIn', 'refreshToken', 'tokenType'])
    assert.match(login.refreshToken, /^ksr_[\w-]{86}$/)
    const { sid, role } = await guard.tokens.verify(login.accessToken)
    assert.equal(role, 'admin')
    let { refreshToken } = login
    for (let i = 0; i < 5; i += 1) {
      const next = await guard.tokens.refresh(refreshToken)
      assert.notEqual(next.refreshToken, refreshToken)
      assert.deepEqual([next.expiresIn, next.tokenType], [300, 'Bearer'])
      const claims = await guard.tokens.verify(next.accessToken)
      assert.deepEqual([claims.sub, claims.role, claims.sid], ['ada', 'admin', sid])
      refreshToken = next.refreshToken
    }
  })

  test(`${kind}: a hundred refreshes of one token at once give one successor, and nobody is logged out`, async () => {
    const guard = await guardWith(kind)
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    const all = await Promise.all(Array.from({ length: 100 }, () => guard.tokens.refresh(refreshToken)))
    assert.equal(new Set(all.map((pair) => pair.refreshToken)).size, 1)
    assert.equal(new Set(all.map((pair) => pair.accessToken)).size, 100, 'each has an access token of its own')
    for (const { accessToken } of all.slice(0, 5)) assert.equal((await guard.tokens.verify(accessToken)).sub, 'ada')
    await guard.tokens.refresh(all[0].refreshToken)
  })

  test(`${kind}: a replay of an older token ends the family and the session's access tokens`, async () => {
    const guard = await guardWith(kind)
    const first = await guard.tokens.issue({ sub: 'ada' })
    const second = await guard.tokens.refresh(first.refreshToken)
    const third = await guard.tokens.refresh(second.refreshToken)
    assert.equal(await statusOf(guard, third.accessToken), 200)
    await reused(guard.tokens.refresh(first.refreshToken))
    assert.equal(await statusOf(guard, third.accessToken), 401)
    await refused(guard.tokens.verify(first.accessToken), 'token_revoked')
    // The thief may have been first: nobody goes on with this session.
    await reused(guard.tokens.refresh(third.refreshToken))
    // Another session of the same user does.
    const other = await guard.tokens.issue({ sub: 'ada' })
    assert.equal(await statusOf(guard, other.accessToken), 200)
    await guard.tokens.refresh(other.refreshToken)
  })

  test(`${kind}: the token before the current one is a replay when its window has closed`, async () => {
    const guard = await guardWith(kind, { reuseWindow: '300ms' })
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    const next = await guard.tokens.refresh(refreshToken)
    let error
    // Within the window it is the same token, however slow this machine is; then it is a replay.
    await waitUntil('the window closes', () =>
      guard.tokens.refresh(refreshToken).then(
        (again) => assert.equal(again.refreshToken, next.refreshToken),
        (caught) => (error = caught)
      )
    )
    assert.equal(error.code, 'ERR_REFRESH_REUSED')
    await reused(guard.tokens.refresh(next.refreshToken))
  })

  test(`${kind}: with no window the second use is a replay`, async () => {
    const guard = await guardWith(kind, { reuseWindow: '0s' })
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    await guard.tokens.refresh(refreshToken)
    await reused(guard.tokens.refresh(refreshToken))
  })

  test(`${kind}: a guard for another audience takes no session, and uses nothing up`, async () => {
    const memory = kind === 'memory' ? { store: { memory: { shared: 'refresh-audience' } } } : stores.redis()
    const guardFor = async (audience) => {
      const guard = createGuard({ rateLimit: false, jwt: { ...jwt, audience, refresh: true }, ...memory })
      guards.push(guard)
      await guard.ready()
      return guard
    }
    const [open, admin, both] = await Promise.all(['public-api', 'admin-api', ['public-api', 'admin-api']].map(guardFor))
    const { refreshToken } = await open.tokens.issue({ sub: 'ada' })
    await invalid(admin.tokens.refresh(refreshToken))
    await invalid(both.tokens.refresh(refreshToken))
    const next = await open.tokens.refresh(refreshToken)
    await invalid(admin.tokens.refresh(refreshToken))
    const { accessToken } = await open.tokens.refresh(next.refreshToken)
    assert.equal((await open.tokens.verify(accessToken)).aud, 'public-api')
  })

  test(`${kind}: a logout ends the refresh token too, also where it is used within the window`, async () => {
    const guard = await guardWith(kind)
    const first = await guard.tokens.issue({ sub: 'ada' })
    const second = await guard.tokens.refresh(first.refreshToken)
    const { sid } = await guard.tokens.verify(second.accessToken)
    await guard.revoke.session(sid)
    await invalid(guard.tokens.refresh(first.refreshToken))
    await invalid(guard.tokens.refresh(second.refreshToken))
    await refused(guard.tokens.verify(second.accessToken), 'token_revoked')
  })

  test(`${kind}: a change of password ends the sessions before it, and the one that begins then is good`, async () => {
    const guard = await guardWith(kind)
    const before = await guard.tokens.issue({ sub: 'ada' })
    const other = await guard.tokens.issue({ sub: 'eve' })
    await guard.revoke.subject('ada')
    await refused(guard.tokens.refresh(before.refreshToken), 'token_revoked')
    const since = await guard.tokens.issue({ sub: 'ada' })
    const next = await guard.tokens.refresh(since.refreshToken)
    assert.equal((await guard.tokens.verify(next.accessToken)).sub, 'ada')
    await guard.tokens.refresh(other.refreshToken)
  })

  test(`${kind}: another login in a session takes the place of the one before`, async () => {
    const guard = await guardWith(kind)
    const first = await guard.tokens.issue({ sub: 'ada', sid: 'desk' })
    const second = await guard.tokens.issue({ sub: 'ada', sid: 'desk' })
    await invalid(guard.tokens.refresh(first.refreshToken))
    await guard.tokens.refresh(second.refreshToken)
  })

  test(`${kind}: who made a token up, or has only seen an access token, ends nobody's session`, async () => {
    const guard = await guardWith(kind)
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    const bytes = Buffer.from(refreshToken.slice(4), 'base64url')
    // The place follows from the `sid`, which is in every access token; the rest is made up.
    const forged = Buffer.concat([bytes.subarray(0, 16), randomBytes(48)])
    for (const bad of [`ksr_${forged.toString('base64url')}`, refreshToken.slice(0, -1), `${refreshToken}A`, refreshToken.slice(4), 'x', 'ksr_']) {
      await invalid(guard.tokens.refresh(bad))
    }
    await guard.tokens.refresh(refreshToken)
  })

  test(`${kind}: the application may change the claims on the way, or refuse; the same token is good again then`, async () => {
    const guard = await guardWith(kind)
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada', role: 'user', plan: 'free' })
    const promoted = await guard.tokens.refresh(refreshToken, { claims: async (claims) => ({ ...claims, role: 'admin', sub: 'eve', sid: 'x' }) })
    const { sub, role, plan, sid } = await guard.tokens.verify(promoted.accessToken)
    assert.deepEqual([sub, role, plan], ['ada', 'admin', 'free'], 'whose session it is does not change')
    assert.notEqual(sid, 'x')
    // What was changed holds for that token: the next one is asked for anew.
    const plain = await guard.tokens.refresh(promoted.refreshToken)
    assert.equal((await guard.tokens.verify(plain.accessToken)).role, 'user')
    // What it is given it may change in place: whose session it is, and which, stays all the same.
    const inPlace = (claims) => {
      claims.sub = 'eve'
      delete claims.sid
      return claims
    }
    const edited = await guard.tokens.refresh(plain.refreshToken, { claims: inPlace })
    const kept = await guard.tokens.verify(edited.accessToken)
    assert.deepEqual([kept.sub, kept.sid], ['ada', sid])
    Object.assign(plain, edited)
    const closed = new Error('the account is closed')
    await assert.rejects(guard.tokens.refresh(plain.refreshToken, { claims: () => Promise.reject(closed) }), closed)
    await assert.rejects(guard.tokens.refresh(plain.refreshToken, { claims: () => ({ exp: 1 }) }), { code: 'ERR_INVALID_ARGUMENT' })
    await guard.tokens.refresh(plain.refreshToken, { claims: () => undefined })
  })

  test(`${kind}: who is logged out everywhere while the application is asked gets no token`, async () => {
    const guard = await guardWith(kind)
    const { refreshToken } = await guard.tokens.issue({ sub: 'zoe' })
    const refresh = guard.tokens.refresh(refreshToken, { claims: () => guard.revoke.subject('zoe') })
    await refused(refresh, 'token_revoked')
  })

  test(`${kind}: what is asked for is given, and what can't be is refused by name`, async () => {
    const guard = await guardWith(kind)
    assert.equal((await guard.tokens.issue({ sub: 'ada' }, { refresh: false })).refreshToken, undefined)
    assert.match((await guard.tokens.issue({}, { refresh: true })).refreshToken, /^ksr_/)
    await assert.rejects(guard.tokens.issue({}, { refresh: 'yes' }), { code: 'ERR_INVALID_OPTION' })
    for (const token of [undefined, '', 5]) await assert.rejects(guard.tokens.refresh(token), { code: 'ERR_INVALID_ARGUMENT' })
    await assert.rejects(guard.tokens.refresh('x', { claims: {} }), { code: 'ERR_INVALID_OPTION', path: 'options.claims' })
    await assert.rejects(guard.tokens.refresh('x', { claim: () => {} }), { code: 'ERR_UNKNOWN_OPTION' })
    for (const options of [null, 5, () => {}]) await assert.rejects(guard.tokens.refresh('x', options), { code: 'ERR_INVALID_ARGUMENT', path: 'options' })
    const without = createGuard({ jwt })
    assert.equal((await without.tokens.issue({})).refreshToken, undefined)
    await assert.rejects(without.tokens.issue({}, { refresh: true }), { code: 'ERR_MISSING_OPTION' })
    await assert.rejects(without.tokens.refresh('x'), { code: 'ERR_MISSING_OPTION' })
  })
}

test('options of refresh tokens are judged when the guard is built', () => {
  const build = (refresh, more = {}) => () => createGuard({ jwt: { ...jwt, refresh }, ...more })
  assert.throws(build(true, { revocation: false }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'jwt.refresh' })
  assert.throws(build(true, { store: { memcached: ['127.0.0.1:1'] }, revocation: { scope: 'process' } }), (error) => error.code === 'ERR_CONFLICTING_OPTIONS' && /Memcached/.test(error.message))
  assert.throws(build({ idle: '31d' }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'jwt.refresh.idle' })
  assert.throws(build({ reuseWindow: '2m' }), { code: 'ERR_INVALID_OPTION', path: 'jwt.refresh.reuseWindow' })
  assert.throws(build({ rotate: true }), { code: 'ERR_UNKNOWN_OPTION' })
})

test('a use does not move the end of a session, and without a use it ends when it has been idle', async () => {
  const guard = await guardWith('redis', { lifetime: '1h', idle: '30m' })
  const known = new Set(await redis.command('KEYS', 'refresh:r:*'))
  let { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
  const key = (await redis.command('KEYS', 'refresh:r:*')).find((name) => !known.has(name))
  const left = async () => (await redis.command('PTTL', key)) / 60_000
  assert.ok((await left()) > 25 && (await left()) <= 30)
  // Its end lies where the login has put it: 8 bytes behind the state, the family and the token.
  const ends = async () => (await redis.command('GETRANGE', key, 50, 57)).toString('latin1')
  const end = await ends()
  ;({ refreshToken } = await guard.tokens.refresh(refreshToken))
  assert.equal(await ends(), end)
  assert.ok((await left()) > 25)
  await guard.tokens.refresh(refreshToken)
})

test('guards and worker threads with one shared memory store have one set of sessions', async () => {
  const config = { jwt: { ...jwt, refresh: true }, store: { memory: { shared: 'refresh-test' } } }
  const [one, two] = [createGuard(config), createGuard(config)]
  const { refreshToken } = await one.tokens.issue({ sub: 'ada' })
  const next = await two.tokens.refresh(refreshToken)
  assert.equal((await one.tokens.refresh(refreshToken)).refreshToken, next.refreshToken)
  await Promise.all([one.close(), two.close()])
})

function peerOf(prefix, url = redis.url) {
  return startPeer({ store: { redis: { url, prefix, timeout: '5s' } }, rateLimit: false, jwt: { ...jwt, refresh: true } })
}

test('a hundred refreshes of one token over four processes give one successor, and a late replay ends the session in all of them', async () => {
  const peers = await Promise.all(Array.from({ length: 4 }, () => peerOf('refresh-peers:')))
  try {
    await Promise.all(peers.map((peer) => peer.call('ready')))
    const first = await peers[0].call('tokens.issue', { sub: 'ada' })
    const all = await Promise.all(Array.from({ length: 100 }, (_, i) => peers[i % 4].call('tokens.refresh', first.refreshToken)))
    assert.equal(new Set(all.map(({ refreshToken }) => refreshToken)).size, 1)
    const last = await peers[1].call('tokens.refresh', all[0].refreshToken)
    const status = async (peer) => (await peer.get('/', bearer(last.accessToken))).status
    for (const peer of peers) assert.equal(await status(peer), 200)
    await assert.rejects(peers[2].call('tokens.refresh', first.refreshToken), { code: 'ERR_REFRESH_REUSED' })
    assert.equal(await status(peers[2]), 401)
    await waitUntil('all processes refuse it', async () => (await Promise.all(peers.map(status))).every((found) => found === 401))
    for (const peer of peers) await assert.rejects(peer.call('tokens.refresh', last.refreshToken), { code: 'ERR_REFRESH_REUSED' })
    for (const peer of peers) assert.equal(await peer.stop(), 0, 'processes with sessions end by themselves')
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
  }
})

test('an answer that was lost costs nothing: the token is good again and gives the successor that was made then', async () => {
  const proxy = await startFaultProxy(redis.port)
  const peer = await peerOf('refresh-lost:', `redis://127.0.0.1:${proxy.port}`)
  try {
    await peer.call('ready')
    const { refreshToken } = await peer.call('tokens.issue', { sub: 'ada' })
    const [key] = await redis.command('KEYS', 'refresh-lost:r:*')
    const record = () => redis.command('GET', key)
    const before = await record()
    // The record is read in time and changed, but that answer comes later than anybody waits for.
    proxy.latency(600)
    await assert.rejects(peer.call('tokens.refresh', refreshToken), { code: 'ERR_STORE_UNAVAILABLE' })
    await waitUntil('the script has run', async () => (await record()) !== before)
    proxy.latency(0)
    const rotated = await record()
    let next
    await waitUntil('the store answers again', () =>
      peer.call('tokens.refresh', refreshToken).then(
        (pair) => (next = pair),
        (error) => void assert.match(error.code, /^(ERR_STORE_UNAVAILABLE|revocation_stale)$/)
      )
    )
    assert.equal(await record(), rotated, 'nothing was rotated again')
    assert.equal((await peer.call('tokens.refresh', next.refreshToken)).tokenType, 'Bearer')
  } finally {
    await peer.stop()
    await proxy.stop()
  }
})

test('without the store it is 503, and after it the same token is good', async () => {
  const own = await startRedis()
  const guard = createGuard({ rateLimit: false, jwt: { ...jwt, refresh: true }, store: { redis: { url: own.url, timeout: '5s' } } })
  try {
    await guard.ready()
    const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    own.pause()
    const away = (error) => error instanceof GuardError && error.status === 503
    await assert.rejects(guard.tokens.refresh(refreshToken), away)
    await assert.rejects(guard.tokens.issue({ sub: 'ada' }), away)
    own.resume()
    let next
    await waitUntil('the store is back', () => guard.tokens.refresh(refreshToken).then((pair) => (next = pair), (error) => void assert.ok(away(error))))
    await guard.tokens.refresh(next.refreshToken)
  } finally {
    await guard.close()
    await own.stop()
  }
})

test('no token, and no secret of one, is in the store or in an error', async () => {
  const guard = await guardWith('redis')
  const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
  const bytes = Buffer.from(refreshToken.slice(4), 'base64url')
  const bad = `${refreshToken}x`
  const error = await guard.tokens.refresh(bad).catch((caught) => caught)
  assert.ok(!JSON.stringify([error.message, { ...error }]).includes(refreshToken.slice(4, 30)))
  for (const key of await redis.command('KEYS', 'refresh:r:*')) {
    const record = String(await redis.command('GET', key))
    assert.ok(!record.includes(refreshToken) && !record.includes(bytes.subarray(32).toString('latin1')))
  }
})

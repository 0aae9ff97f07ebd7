// Limits over real Memcached servers, as users and operators of several processes see them.

import assert from 'node:assert/strict'
import net from 'node:net'
import test, { after, before } from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { expresses, serve } from './helpers/http.mjs'
import { startFaultProxy, startMemcached, waitUntil } from './helpers/servers.mjs'

const [, express] = expresses[0]
// Requests wait this long for the store. More than in production, so that a busy machine is not
// taken for a fault.
const TIMEOUT = 500

let one
let two
before(async () => {
  ;[one, two] = await Promise.all([startMemcached(), startMemcached()])
})
after(() => Promise.all([one.stop(), two.stop()]))

// A fault of the guard itself is a warning and a 500: no failure of a store may be one.
const faults = []
process.on('warning', ({ code, message }) => {
  if (code === 'GUARD_FAULT') faults.push(message)
})
after(() => assert.deepEqual(faults, []))

let prefixes = 0
const [ADA, BOB] = ['203.0.113.1', '203.0.113.2']
const fresh = () => `t${prefixes++}:`
const address = ({ port }) => `127.0.0.1:${port}`
const limit = (more) => ({ name: 'api', limit: 5, window: '1h', ...more })

/**
 * A guard over `servers`. Another `maxBytes` makes it another store in this process, as in another
 * process.
 */
function build({ servers = [one], prefix = fresh(), process = 1, rateLimit = limit(), ...more } = {}) {
  const memcached = { servers: servers.map(address), prefix, timeout: `${TIMEOUT}ms`, maxBytes: `${process}mb` }
  return createGuard({ store: { memcached }, rateLimit, ...more })
}

const judged = (guard) => waitUntil('the store is there', () => guard.limits.get('api', '203.0.113.99'))

function appOf(guard) {
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  return app
}

const statuses = async (send, count, request) => {
  const found = []
  for (let i = 0; i < count; i++) found.push((await send(request)).status)
  return found
}

/** A line for each item. Not by `command`: this Memcached forgets what was sent behind a dump. */
async function dumpOf({ port }) {
  const socket = net.connect({ host: '127.0.0.1', port })
  socket.write('lru_crawler metadump all\r\n')
  let dump = ''
  for await (const chunk of socket) {
    dump += chunk
    if (dump.endsWith('END\r\n')) break
  }
  return dump
}

test('processes count together, each client by itself', async (t) => {
  const prefix = fresh()
  // Exact: otherwise the first process would have debited ahead what the second asks for.
  const rateLimit = limit({ exact: true })
  const guards = [build({ prefix, process: 1, rateLimit }), build({ prefix, process: 2, rateLimit })]
  t.after(() => guards.forEach((guard) => guard.close()))
  await Promise.all(guards.map(judged))
  await serve(appOf(guards[0]), (sendOne) =>
    serve(appOf(guards[1]), async (sendTwo) => {
      assert.deepEqual(await statuses(sendOne, 3), [200, 200, 200])
      assert.deepEqual(await statuses(sendTwo, 4), [200, 200, 429, 429])
      const refused = await sendOne()
      assert.equal(refused.status, 429)
      assert.match(refused.headers['retry-after'], /^\d+$/)
      assert.match(refused.headers.ratelimit, /^"api";r=0;t=\d+$/)
      assert.equal((await sendTwo({ from: '127.0.0.9' })).status, 200)
    })
  )
  assert.equal(guards[0].health().store.kind, 'memcached')
  assert.ok(guards[0].health().store.available)
})

for (const algorithm of ['gcra', 'fixed-window', 'sliding-window']) {
  test(`${algorithm}: many requests at once from two processes never pass more than the limit`, async (t) => {
    const prefix = fresh()
    const rateLimit = limit({ limit: 40, algorithm, window: '30d', exact: true })
    const guards = [build({ prefix, process: 1, rateLimit }), build({ prefix, process: 2, rateLimit })]
    t.after(() => guards.forEach((guard) => guard.close()))
    await Promise.all(guards.map(judged))
    const calls = Array.from({ length: 120 }, (_, i) => guards[i % 2].limits.consume('api', ADA))
    const answers = await Promise.allSettled(calls)
    const admitted = answers.filter(({ value }) => value?.allowed).length
    const failed = answers.filter(({ status }) => status === 'rejected')
    for (const { reason } of failed) assert.equal(reason.code, 'ERR_STORE_UNAVAILABLE')
    assert.ok(admitted <= 40, `${admitted}`)
    if (failed.length === 0) assert.equal(admitted, 40)
  })
}

test('guard.limits: consume, get, penalize, reward, block, reset', async (t) => {
  const guard = build({ servers: [one, two] })
  t.after(() => guard.close())
  await judged(guard)
  const { limits } = guard
  assert.equal((await limits.consume('api', ADA, 2)).remaining, 3)
  await limits.penalize('api', ADA, 2)
  assert.equal((await limits.get('api', ADA)).remaining, 1)
  await limits.reward('api', ADA, 3)
  assert.equal((await limits.get('api', ADA)).remaining, 4)
  await limits.block('api', ADA, '1m')
  const blocked = await limits.consume('api', ADA)
  assert.equal(blocked.allowed, false)
  assert.ok(blocked.blockedFor > 55 && blocked.blockedFor <= 60, `${blocked.blockedFor}`)
  await limits.reset('api', ADA)
  assert.deepEqual(await limits.get('api', ADA), {
    allowed: true,
    limit: 5,
    remaining: 5,
    reset: 0,
    retryAfter: 0,
    blockedFor: 0
  })
  assert.equal((await limits.get('api', BOB)).remaining, 5)
})

test('a window of more than 30 days counts, and no item is without an expiry', async (t) => {
  const [prefix, server] = [fresh(), one]
  const rateLimit = [limit({ limit: 2, window: '400d' }), limit({ name: 'short', limit: 1000, window: '10ms' })]
  const guard = build({ prefix, rateLimit })
  t.after(() => guard.close())
  await judged(guard)
  const allowed = []
  for (let i = 0; i < 4; i++) allowed.push((await guard.limits.consume('api', ADA)).allowed)
  assert.deepEqual(allowed, [true, true, false, false])
  await guard.limits.consume('short', ADA)
  const dump = await dumpOf(server)
  const items = dump.split('\n').filter((line) => line.includes(encodeURIComponent(prefix)))
  assert.ok(items.length >= 2, dump)
  for (const item of items) assert.match(item, /exp=[1-9]\d*/)
})

test('a refused request charges none of its limits, though they are on different servers', async (t) => {
  const rateLimit = [limit({ limit: 100, key: 'route' }), limit({ name: 'tight', limit: 2 })]
  const guard = build({ servers: [one, two], rateLimit })
  t.after(() => guard.close())
  await waitUntil('the store is there', () => guard.limits.get('tight', '203.0.113.99'))
  await serve(appOf(guard), async (send) => {
    const found = await statuses(send, 8)
    assert.deepEqual(found.filter((status) => status === 200).length, 2)
    const { headers } = await send({ from: '127.0.0.7' })
    assert.match(headers.ratelimit, /"api";r=97;/)
  })
})

test('while the store is away each policy does as it says, exact ones are closed, and it is used again by itself', async (t) => {
  const proxy = await startFaultProxy(one.port)
  t.after(() => proxy.stop())
  const rateLimit = [
    limit({ name: 'closed', limit: 50, exact: true, paths: ['/closed'] }),
    limit({ name: 'local', limit: 4, paths: ['/local'] }),
    limit({ name: 'open', limit: 3, onStoreFailure: 'open', paths: ['/open'] })
  ]
  const guard = build({ servers: [proxy], rateLimit })
  t.after(() => guard.close())
  const there = () => guard.limits.get('closed', '203.0.113.99')
  await serve(appOf(guard), async (send) => {
    for (const [harm, mend] of [
      [() => Promise.all([proxy.refuse(true), proxy.cut()]), () => proxy.refuse(false)],
      [() => proxy.blackhole(true), () => proxy.blackhole(false)],
      [() => one.pause(), () => one.resume()],
      [() => one.kill(), () => one.restart()]
    ]) {
      await waitUntil('the store is there', there)
      assert.equal((await send({ path: '/closed' })).status, 200)
      await harm()
      const closed = await statuses(send, 8, { path: '/closed' })
      assert.deepEqual(closed, Array(8).fill(503))
      await waitUntil('the breaker opens', () => !guard.health().store.available)
      assert.deepEqual(await statuses(send, 5, { path: '/open' }), Array(5).fill(200))
      const local = await statuses(send, 8, { path: '/local' })
      assert.ok(local.includes(429) && local.filter((status) => status === 200).length <= 4, `${local}`)
      await assert.rejects(there(), { code: 'ERR_STORE_UNAVAILABLE', status: 503 })
      await mend()
    }
    await waitUntil('the store is there', there)
    assert.equal((await send({ path: '/closed' })).status, 200)
  })
})

test('of two servers one that is down takes its own keys along and no others', async (t) => {
  const three = await startMemcached()
  t.after(() => three.stop())
  const guard = build({ servers: [two, three] })
  t.after(() => guard.close())
  const keys = Array.from({ length: 30 }, (_, i) => `203.0.113.${i}`)
  const consume = () => Promise.allSettled(keys.map((key) => guard.limits.consume('api', key)))
  const good = async () => (await consume()).filter(({ status }) => status === 'fulfilled').length
  await waitUntil('both are there', async () => (await good()) === 30)
  const faults = [
    [() => three.kill(), () => three.restart()],
    [() => three.pause(), () => three.resume()]
  ]
  for (const [harm, mend] of faults) {
    await harm()
    await waitUntil('some are away', async () => {
      const count = await good()
      return count >= 3 && count <= 27 && guard.health().store.away === 1
    })
    // None of the others is refused from here on.
    const counts = [await good(), await good(), await good()]
    assert.ok(counts[0] >= 3 && counts.every((count) => count === counts[0]), `${counts}`)
    assert.ok(guard.health().store.available)
    await mend()
    await waitUntil('both are there again', async () => (await good()) === 30 && guard.health().store.away === 0)
  }
})

test('a flush forgets what was counted: the guarantee is weaker than that of Redis', async (t) => {
  const guard = build({ servers: [two] })
  t.after(() => guard.close())
  await judged(guard)
  for (let i = 0; i < 6; i++) await guard.limits.consume('api', ADA)
  assert.equal((await guard.limits.get('api', ADA)).remaining, 0)
  assert.equal(await two.command('flush_all'), 'OK')
  assert.equal((await guard.limits.get('api', ADA)).remaining, 5)
})

test('what cannot be used is refused when the guard is built', () => {
  const refused = (store, more) => {
    try {
      createGuard({ store, ...more }).close()
    } catch (error) {
      return [error.code, error.path, error.suggestion ?? '']
    }
    return null
  }
  for (const [store, code, path] of [
    [{ memcached: [] }, 'ERR_INVALID_OPTION', 'store.memcached'],
    [{ memcached: '127.0.0.1:11211' }, 'ERR_INVALID_OPTION', 'store.memcached'],
    [{ memcached: ['a:b'] }, 'ERR_INVALID_OPTION', 'store.memcached[0]'],
    [{ memcached: ['a', 'a:11211'] }, 'ERR_INVALID_OPTION', 'store.memcached[1]'],
    [{ memcached: Array.from({ length: 65 }, (_, i) => `h${i}`) }, 'ERR_INVALID_OPTION', 'store.memcached'],
    [{ memcached: { server: ['a'] } }, 'ERR_UNKNOWN_OPTION', 'store.memcached.server'],
    [{ memcached: {} }, 'ERR_MISSING_OPTION', 'store.memcached.servers'],
    [{ memcached: ['a'], redis: 'redis://a' }, 'ERR_CONFLICTING_OPTIONS', 'store.memcached'],
    [{ memcached: ['a'], memory: {} }, 'ERR_CONFLICTING_OPTIONS', 'store.memory']
  ]) {
    assert.deepEqual(refused(store)?.slice(0, 2), [code, path], JSON.stringify(store))
  }
})

test('revocations are not kept in Memcached: the user says that each process has its own, or there are none', async () => {
  const store = { memcached: [address(one)] }
  const conflict = (path) => ({ code: 'ERR_CONFLICTING_OPTIONS', path, suggestion: /redis.*scope: 'process'/ })
  assert.throws(() => createGuard({ store, jwt }), conflict('revocation'))
  assert.throws(() => createGuard({ store, jwt, revocation: {} }), conflict('revocation'))
  assert.throws(() => createGuard({ store, jwt, revocation: { scope: 'process', mode: 'strict' } }), conflict('revocation.mode'))
  assert.throws(() => createGuard({ store, jwt, revocation: { scope: 'all' } }), { code: 'ERR_INVALID_OPTION', path: 'revocation.scope' })
  assert.throws(() => createGuard({ jwt, revocation: { scope: 'process' } }), { code: 'ERR_UNKNOWN_OPTION', path: 'revocation.scope' })
  createGuard({ store, jwt, revocation: false }).close()
  const guard = createGuard({ store, jwt, revocation: { scope: 'process' } })
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  await guard.revoke.token(accessToken)
  await assert.rejects(guard.tokens.verify(accessToken), { code: 'token_revoked' })
  guard.close()
})

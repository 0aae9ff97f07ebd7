// The ways that Redis is run in production: encrypted, with users, as a cluster, under sentinels.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import net from 'node:net'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { createGuard } from 'keepstone'
import { startCluster, startRedis, startSentinels, waitUntil } from './helpers/servers.mjs'
import { KEY, LIMIT, POLICIES, assertCallsFail, assertUnavailable, serveGuard } from './helpers/store-guard.mjs'
import { selfSigned } from './helpers/tls.mjs'

const PASSWORD = 'hunter2-hunter2'

/** What a user needs who does nothing but count. */
const RIGHTS = '~keepstone:* +eval +evalsha +time +get +set +del +zadd +zremrangebyscore +zcard +pexpire'

/** A server that is stopped after the test. */
async function forTest(t, starting) {
  const server = await starting
  t.after(() => server.stop())
  return server
}

// Where the store answers, requests wait longer than in production: a busy machine is no fault.
// Where it does not, less.
const options = (more) => ({ timeout: '1s', ...more })
const useless = (more) => options({ timeout: '100ms', ...more })

/** Requests are counted one by one in the store. */
async function assertCounts(api) {
  await api.judged()
  const first = await api.remaining('/closed')
  assert.equal(await api.remaining('/closed'), first - 1)
  assert.equal((await api.guard.limits.consume('closed', KEY)).remaining, first - 2)
  assert.equal(await api.remaining('/closed'), first - 3)
}

/**
 * The store can't be used: each policy does as it says, and nothing of it is ever passed on in the
 * clear.
 */
async function assertUnusable(api) {
  for (let i = 0; i < 3; i++) {
    assertUnavailable(await api.get('/closed'))
    assert.equal((await api.get('/local')).status, 200)
    assert.equal((await api.get('/open')).status, 200)
  }
  await assertCallsFail(api.guard)
}

/** Whatever is told of a guard, its secrets are not. */
function assertSecret({ guard }, ...secrets) {
  const told = [inspect(guard, { depth: 10, showHidden: true }), JSON.stringify(guard.health()), String(guard)].join('\n')
  for (const secret of secrets) assert.ok(!told.includes(secret))
}

test('TLS: a server of a private authority is asked, with the authority as text or bytes', async (t) => {
  const redis = await forTest(t, startRedis({ tls: true }))
  for (const ca of [redis.tls.ca, readFileSync(redis.tls.caFile)]) {
    const api = await serveGuard(t, options({ url: redis.url, tls: { ca } }))
    await assertCounts(api)
  }
})

test('TLS: a server that wants a certificate of its clients is given one, and refuses who has none', async (t) => {
  const redis = await forTest(t, startRedis({ tls: { clientAuth: true } }))
  const { ca, cert, key } = redis.tls
  const api = await serveGuard(t, options({ url: redis.url, tls: { ca, cert, key } }))
  await assertCounts(api)
  assertSecret(api, key.split('\n')[1])
  await assertUnusable(await serveGuard(t, useless({ url: redis.url, tls: { ca } })))
})

test('TLS: a server whose certificate another authority has signed is never asked, encrypted or not', async (t) => {
  const redis = await forTest(t, startRedis({ tls: true }))
  const strangers = [{ tls: { ca: selfSigned().cert } }, {}]
  for (const tls of strangers) await assertUnusable(await serveGuard(t, useless({ url: redis.url, ...tls })))
  assert.equal((await redis.command('DBSIZE')), 0)
  const { evalsha, eval: evals, auth } = await redis.commandStats()
  assert.deepEqual([evalsha, evals, auth], [undefined, undefined, undefined])
})

test('TLS: the name of the server is checked, not only who signed it', async (t) => {
  const redis = await forTest(t, startRedis({ tls: true }))
  const { ca } = redis.tls
  await assertCounts(await serveGuard(t, options({ url: `rediss://localhost:${redis.port}`, tls: { ca } })))
  // Another address of this machine, which the certificate does not name.
  const other = await startRedis({ tls: true, args: ['--bind', '127.0.0.1', '127.0.0.2'] })
  t.after(() => other.stop())
  await assertUnusable(await serveGuard(t, useless({ url: `rediss://127.0.0.2:${other.port}`, tls: { ca } })))
})

test('TLS: an encrypted address is never spoken to in the clear, and a plain one is not where TLS is spoken', async (t) => {
  const plain = await forTest(t, startRedis())
  await assertUnusable(await serveGuard(t, useless({ url: `rediss://127.0.0.1:${plain.port}` })))
  const encrypted = await forTest(t, startRedis({ tls: true }))
  await assertUnusable(await serveGuard(t, useless({ url: `redis://127.0.0.1:${encrypted.port}` })))
})

test('TLS: #insecure is refused when the guard is built, however it is spelt', () => {
  for (const url of ['rediss://127.0.0.1:1/#insecure', 'rediss://127.0.0.1:1#insecure', `rediss://u:${PASSWORD}@127.0.0.1:1/0#insecure`]) {
    for (const redis of [url, { url }, { cluster: [url] }, { sentinel: { name: 'a', nodes: [url] } }]) {
      assert.throws(
        () => createGuard({ store: { redis } }),
        (error) => error.code === 'ERR_INVALID_OPTION' && /certificate is always checked/.test(error.message) && !inspect(error).includes(PASSWORD)
      )
    }
  }
})

test('users: the least rights are enough, and a password is told to nobody', async (t) => {
  const redis = await forTest(t, startRedis({ acl: [{ user: 'limits', password: PASSWORD, rules: RIGHTS }] }))
  const ways = [
    { url: redis.url, username: 'limits', password: PASSWORD },
    { url: redis.url.replace('://', `://limits:${PASSWORD}@`) }
  ]
  for (const way of ways) {
    const api = await serveGuard(t, options(way))
    await assertCounts(api)
    await api.guard.limits.block('local', KEY, '1h')
    assert.equal((await api.get('/local')).status, 429)
    await api.guard.limits.reset('local', KEY)
    assert.equal((await api.get('/local')).status, 200)
    assertSecret(api, PASSWORD)
  }
})

test('users: each right that is missing is seen as a store that is away, not as a limit that counts nothing', async (t) => {
  const rights = ['eval', 'time', 'get', 'set', 'zadd', 'zcard']
  const acl = rights.map((right) => ({ user: `without-${right}`, password: PASSWORD, rules: `${RIGHTS} -${right}` }))
  const elsewhere = { user: 'elsewhere', password: PASSWORD, rules: RIGHTS.replace('keepstone', 'other') }
  const redis = await forTest(t, startRedis({ acl: [...acl, elsewhere] }))
  for (const { user } of [...acl, elsewhere]) {
    const api = await serveGuard(t, useless({ url: redis.url, username: user, password: PASSWORD }))
    for (let i = 0; i < 3; i++) assertUnavailable(await api.get('/closed'))
    assert.equal((await api.get('/local')).status, 200)
    await api.close()
  }
})

test('users: a wrong password is a store that is away, and is told to nobody', async (t) => {
  const redis = await forTest(t, startRedis({ acl: [{ user: 'limits', password: 'another-one', rules: RIGHTS }] }))
  for (const way of [{ username: 'limits', password: PASSWORD }, { password: PASSWORD }, {}]) {
    const api = await serveGuard(t, useless({ url: redis.url, ...way }))
    await assertUnusable(api)
    assertSecret(api, PASSWORD)
    const error = await api.guard.limits.get('local', KEY).catch((error) => error)
    assert.ok(!inspect(error, { depth: 10 }).includes(PASSWORD))
  }
})

test('a database of its own is used, by URL and by option', async (t) => {
  const redis = await forTest(t, startRedis())
  await assertCounts(await serveGuard(t, options({ url: `${redis.url}/3` })))
  await assertCounts(await serveGuard(t, options({ url: redis.url, db: 5 })))
  const info = await redis.info('keyspace')
  assert.deepEqual(Object.keys(info).sort(), ['db3', 'db5'])
})

const MUCH = 1_000_000
const byHeader = (name, limit) => ({ name, limit, window: '300d', algorithm: 'fixed-window', exact: true, key: (req) => req.headers[`x-${name}`] ?? 'nobody' })

/**
 * A cluster counts subjects that live on different nodes, all of them or none, and goes on when a
 * node is replaced.
 */
async function assertClusterCounts(t, cluster, redis) {
  const rateLimit = [byHeader('wide', MUCH), byHeader('tight', 3), byHeader('other', MUCH)]
  const api = await serveGuard(t, options(redis), { rateLimit })
  const { limits } = api.guard
  const headers = (i) => ({ 'x-wide': 'w', 'x-tight': `t${i}`, 'x-other': 'o' })
  const get = (i) => api.get('/', { headers: headers(i) })
  await waitUntil('the cluster judges requests', async () => (await get('boot')).status === 200)
  await limits.reset('wide', 'w')
  await limits.reset('other', 'o')
  let passed = 0
  for (let i = 0; i < 20; i++) {
    for (const wanted of [200, 200, 200, 429]) {
      assert.equal((await get(i)).status, wanted)
      passed += wanted === 200 ? 1 : 0
    }
  }
  // What a refused request had charged on other nodes comes back a moment later.
  const left = async (name, key) => (await limits.get(name, key)).remaining
  await waitUntil('refused requests have cost nothing', async () => (await left('wide', 'w')) === MUCH - passed && (await left('other', 'o')) === MUCH - passed)
  assert.equal(await left('tight', 't7'), 0)
  const keys = await Promise.all(cluster.nodes.map((node) => node.keys('*l:*')))
  assert.ok(keys.filter((some) => some.length > 0).length >= 3, 'the subjects live on different nodes')
  return { api, left, passed }
}

/** While one node answers nothing, what lives on the others is counted as before. */
async function assertNodesFailAlone(cluster, api) {
  const ask = (key) => api.guard.limits.consume('other', key).then(() => true, () => false)
  const keys = Array.from({ length: 30 }, (_, i) => `alone${i}`)
  await waitUntil('all nodes answer', async () => (await Promise.all(keys.map((key) => ask(key)))).every(Boolean))
  const node = await cluster.primaryOf('keepstone:live')
  node.pause()
  const answered = await Promise.all(keys.map((key) => ask(key)))
  node.resume()
  assert.ok(answered.includes(false), 'some live on the node that hangs')
  assert.ok(answered.filter(Boolean).length >= 8, `${answered.filter(Boolean).length} of 30 were answered`)
  await cluster.settled()
  await waitUntil('all nodes answer again', async () => (await Promise.all(keys.map((key) => ask(key)))).every(Boolean))
}

test('Redis Cluster: subjects on different nodes are charged together or not at all, and a replaced primary is found', async (t) => {
  const cluster = await forTest(t, startCluster({ primaries: 3, replicasPer: 1 }))
  const urls = cluster.seeds.map(({ host, port }) => `redis://${host}:${port}`)
  const { api, left, passed } = await assertClusterCounts(t, cluster, { cluster: urls.slice(0, 2) })
  await assertNodesFailAlone(cluster, api)
  const [key] = (await Promise.all(cluster.nodes.map((node) => node.keys('*l:*')))).flat()
  const start = performance.now()
  await cluster.killPrimaryOf(key)
  const statuses = new Set()
  let asked = 0
  await waitUntil(
    'the cluster judges requests again',
    async () => {
      const requests = Array.from({ length: 12 }, () => api.get('/', { headers: { 'x-wide': 'w', 'x-tight': `new${asked++}`, 'x-other': 'o' } }))
      const answers = (await Promise.all(requests)).map(({ status }) => status)
      for (const status of answers) statuses.add(status)
      return answers.every((status) => status === 200)
    },
    20_000
  )
  t.diagnostic(`all subjects were judged again ${(performance.now() - start).toFixed(0)} ms after a primary was killed`)
  assert.ok([...statuses].every((status) => status === 200 || status === 503), `${[...statuses]}`)
  assert.ok((await left('wide', 'w')) <= MUCH - passed - 12)
})

test('Redis Cluster with TLS and users: the same', async (t) => {
  const rules = `${RIGHTS} +cluster|slots`
  const acl = [{ user: 'limits', password: PASSWORD, rules }]
  const cluster = await forTest(t, startCluster({ primaries: 3, replicasPer: 0, tls: true, acl }))
  const urls = cluster.seeds.map(({ host, port }) => `rediss://${host}:${port}`)
  const { ca } = cluster.nodes[0].tls
  await assertClusterCounts(t, cluster, { cluster: urls, tls: { ca }, username: 'limits', password: PASSWORD })
})

test('Sentinel: the primary is found by its name, and the next one when it is gone', async (t) => {
  const acl = [{ user: 'limits', password: PASSWORD, rules: `${RIGHTS} +role` }]
  const sentinels = await forTest(t, startSentinels({ acl }))
  const nodes = sentinels.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  const redis = { sentinel: { nodes, name: sentinels.masterName }, username: 'limits', password: PASSWORD }
  const api = await serveGuard(t, options(redis))
  await assertCounts(api)
  const known = await api.remaining('/closed')
  const old = await sentinels.killPrimary()
  const start = performance.now()
  assert.equal((await api.get('/local')).status, 200)
  await api.judged(25_000)
  t.diagnostic(`requests were judged again ${(performance.now() - start).toFixed(0)} ms after the primary was killed`)
  assert.notEqual(await sentinels.promoted(old), old)
  const remaining = await api.remaining('/closed')
  assert.ok(remaining < known && remaining > LIMIT - 100, `${known} ${remaining}`)
  assertSecret(api, PASSWORD)
})

test('Sentinel: nobody writes to a primary that was replaced and lives on, though it takes writes', async (t) => {
  const sentinels = await forTest(t, startSentinels())
  const nodes = sentinels.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  const jwt = { issuer: 'https://id.example', audience: 'api', secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV', refresh: true }
  const redis = { sentinel: { nodes, name: sentinels.masterName }, timeout: '2s' }
  const guard = createGuard({ rateLimit: POLICIES, jwt, store: { redis } })
  t.after(() => guard.close())
  await guard.ready()
  const use = async () => {
    await guard.limits.consume('closed', KEY)
    await guard.revoke.token((await guard.tokens.issue({ sub: 'ada' })).accessToken)
    await guard.limits.block('198.51.100.1', '1h')
  }
  await use()
  const old = await sentinels.primary()
  // Else the sentinels make it a replica after a while, which ends its connections.
  await old.command('ACL', 'SETUSER', 'default', '-replicaof', '-slaveof')
  await sentinels.sentinels[0].command('SENTINEL', 'FAILOVER', sentinels.masterName)
  const primary = await sentinels.promoted(old)
  const written = async (node) => {
    const keys = (await node.keys('keepstone:*')).filter((key) => /^keepstone:[lr]:/.test(key))
    return JSON.stringify([await node.command('XLEN', 'keepstone:{rev}'), await node.command('ZRANGE', 'keepstone:{notices}:versions', 0, -1, 'WITHSCORES'), keys])
  }
  await waitUntil('the guard writes to the other one', async () => {
    const [before, then] = [await written(old), await written(primary)]
    await use()
    return (await written(old)) === before && (await written(primary)) !== then
  })
  assert.equal((await old.info('replication')).role, 'master')
  for (let i = 0; i < 10; i++) {
    const before = await written(old)
    await use()
    assert.equal(await written(old), before)
  }
})

test('Sentinel: one that hangs keeps nobody from the primary, wherever it stands in the list', async (t) => {
  const sentinels = await forTest(t, startSentinels())
  const nodes = sentinels.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  for (const hangs of sentinels.sentinels) {
    hangs.pause()
    // Another size is another store, which begins anew.
    const api = await serveGuard(t, options({ sentinel: { nodes, name: sentinels.masterName }, maxBytes: hangs.port * 1000 }))
    t.diagnostic(`judged after ${(await api.judged()).toFixed(0)} ms`)
    await assertCounts(api)
    hangs.resume()
  }
})

test('Sentinel: a name that no sentinel knows is a store that is away', async (t) => {
  const sentinels = await forTest(t, startSentinels({ sentinels: 1, replicas: 0 }))
  const nodes = sentinels.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  await assertUnusable(await serveGuard(t, useless({ sentinel: { nodes, name: 'nobody' } })))
})

for (const count of [2, 4]) {
  test(`Sentinel: what one says alone counts for nothing, while the primary that ${count} others name hangs`, async (t) => {
    const primary = await forTest(t, startRedis())
    const stale = await forTest(t, startRedis())
    const named = [stale, ...Array.from({ length: count }, () => primary)]
    const nodes = await Promise.all(named.map((server) => sentinelThatNames(t, server.port)))
    const api = await serveGuard(t, useless({ sentinel: { nodes, name: 'm' } }))
    await api.judged()
    primary.pause()
    t.after(() => primary.resume())
    await waitUntil('it is seen that the primary hangs', () => !api.guard.health().store.available)
    for (let i = 0; i < 20; i++) {
      assertUnavailable(await api.get('/closed'))
      await sleep(100)
    }
    assert.deepEqual(await stale.keys('keepstone:*'), [])
    primary.resume()
    await api.judged()
  })
}

/** Answers as a sentinel that takes the server at `port` for the primary. */
async function sentinelThatNames(t, port) {
  const address = `*2\r\n$9\r\n127.0.0.1\r\n$${String(port).length}\r\n${port}\r\n`
  const sockets = new Set()
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    let text = ''
    socket.on('data', (bytes) => {
      text += bytes
      for (let command; (command = /^\*(\d+)\r\n/.exec(text)); ) {
        const parts = text.slice(command[0].length).match(new RegExp(`^(?:\\$\\d+\\r\\n[^\\r]*\\r\\n){${command[1]}}`))
        if (!parts) return
        text = text.slice(command[0].length + parts[0].length)
        socket.write(/sentinel/i.test(parts[0]) ? address : /hello/i.test(parts[0]) ? '-ERR unknown command\r\n' : '+OK\r\n')
      }
    })
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `redis://127.0.0.1:${server.address().port}`
}

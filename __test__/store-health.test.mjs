// What an operator learns of a shared store that is away: a word in `health()`, a warning when it
// goes and when it is back, and how far its clock differs.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { startLyingServer, endless, said } from './helpers/lying-server.mjs'
import { freePort } from './helpers/processes.mjs'
import { startCluster, startFaultProxy, startMemcached, startRedis, startSentinels, waitUntil } from './helpers/servers.mjs'
import { selfSigned } from './helpers/tls.mjs'
import { settableClock } from './helpers/clock.mjs'
import { serveGuard } from './helpers/store-guard.mjs'

const SECRET = 'hunter2-of-the-store'
const USER = 'app'
const DENIED = '~* &* +@all -evalsha -eval'

const started = async (t, starting) => {
  const server = await starting
  t.after(() => server.stop())
  return server
}
const url = (port, login = '') => ({ url: `redis://${login}127.0.0.1:${port}` })

/** A server that answers each command with `text`. */
async function startTalker(t, text) {
  const sockets = new Set()
  const server = net.createServer((socket) => {
    sockets.add(socket)
    const commands = (bytes) => bytes.toString('latin1').match(/^(?:\*\d+|stats|gets .*|add .*)\r$/gm) ?? []
    socket.on('error', () => {}).on('data', (bytes) => socket.write(text.repeat(commands(bytes).length)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server.address().port
}

const passwordOf = (t) => started(t, startRedis({ acl: [{ user: USER, password: SECRET, rules: '~* &* +@all' }] }))

// [the word, what is wrong, the store]
const CAUSES = [
  ['name', 'the name of the server is unknown', () => ({ redis: { url: 'redis://keepstone.invalid' } })],
  ['refused', 'nothing listens there', async () => ({ redis: url(await freePort()) })],
  ['password-missing', 'the server wants a password', async (t) => ({ redis: url((await passwordOf(t)).port) })],
  ['password-wrong', 'the password is wrong', async (t) => ({ redis: url((await passwordOf(t)).port, `${USER}:${SECRET}x@`) })],
  ['permission', 'the user may run no scripts', async (t) => {
    const redis = await started(t, startRedis({ acl: [{ user: USER, password: SECRET, rules: DENIED }] }))
    return { redis: url(redis.port, `${USER}:${SECRET}@`) }
  }],
  ['permission', 'the user may not use the keys', async (t) => {
    const redis = await started(t, startRedis({ acl: [{ user: USER, password: SECRET, rules: '~other:* +@all' }] }))
    return { redis: url(redis.port, `${USER}:${SECRET}@`) }
  }],
  ['scripts', 'the server has no EVAL', async (t) => {
    const redis = await started(t, startRedis({ args: ['--rename-command', 'EVAL', ''] }))
    return { redis: url(redis.port) }
  }],
  ['database', 'there is no such database', async (t) => ({ redis: { ...url((await started(t, startRedis())).port), db: 99 } })],
  ['certificate', 'nobody here trusts the certificate', async (t) => {
    const redis = await started(t, startRedis({ tls: true }))
    return { redis: { url: redis.url, tls: { ca: selfSigned().cert } } }
  }],
  ['certificate-name', 'the certificate is for another name', async (t) => {
    const redis = await started(t, startRedis({ tls: true, args: ['--bind', '127.0.0.1', '127.0.0.2'] }))
    return { redis: { url: `rediss://127.0.0.2:${redis.port}`, tls: { ca: redis.tls.ca } } }
  }],
  ['tls', 'the port is none for TLS', async (t) => {
    const server = http.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    return { redis: { url: `rediss://127.0.0.1:${server.address().port}` } }
  }],
  ['read-only', 'the server is a replica', async (t) => {
    const redis = await started(t, startRedis())
    await redis.command('REPLICAOF', '127.0.0.1', '1')
    return { redis: url(redis.port) }
  }],
  ['memory', 'the memory of the server is full', async (t) => {
    const redis = await started(t, startRedis())
    await redis.command('CONFIG', 'SET', 'maxmemory', '1')
    return { redis: url(redis.port) }
  }],
  ['replicas', 'too few replicas are connected', async (t) => {
    const redis = await started(t, startRedis({ args: ['--min-replicas-to-write', '1'] }))
    return { redis: url(redis.port) }
  }],
  ['disk', 'the server can write no snapshots', async (t) => ({ redis: url(await startTalker(t, '-MISCONF Redis is configured to save RDB snapshots\r\n')) })],
  ['loading', 'the server reads its data', async (t) => ({ redis: url(await startTalker(t, '-LOADING Redis is loading the dataset in memory\r\n')) })],
  ['timeout', 'the server says nothing', async (t) => ({ redis: url(await startTalker(t, '')) })],
  ['protocol', 'a web server is there', async (t) => {
    const server = http.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    return { redis: url(server.address().port) }
  }],
  ['error', 'the server says what nobody knows', async (t) => ({ redis: url(await startTalker(t, `-${SECRET.toUpperCase()} ${SECRET}\r\n`)) })],
  ['not-cluster', 'a server of its own is named as a cluster', async (t) => ({ redis: { cluster: [`redis://127.0.0.1:${(await started(t, startRedis())).port}`] } })],
  ['refused', 'no node of the cluster is there', async () => ({ redis: { cluster: [`redis://127.0.0.1:${await freePort()}`] } })],
  ['refused', 'no server of Memcached is there', async () => ({ memcached: [`127.0.0.1:${await freePort()}`] })],
  ['protocol', 'another server is taken for Memcached', async (t) => ({ memcached: [`127.0.0.1:${(await started(t, startRedis())).port}`] })],
  ['memory', 'the memory of Memcached is full', async (t) => ({ memcached: [`127.0.0.1:${await startTalker(t, 'SERVER_ERROR out of memory storing object\r\n')}`] })],
  ['password-missing', 'Memcached wants a login', async (t) => ({ memcached: [`127.0.0.1:${await startTalker(t, 'CLIENT_ERROR unauthenticated\r\n')}`] })]
]

for (const [word, what, arrange] of CAUSES) {
  test(`health() says why the store is away: ${what}`, { timeout: 30_000 }, async (t) => {
    const guard = createGuard({ store: await arrange(t) })
    t.after(() => guard.close())
    const { store } = await waitFor(guard, ({ store }) => store.error !== null && store.available === false)
    assert.equal(store.error, word)
    assert.equal(store.clockSkewMs === null || Math.abs(store.clockSkewMs) < 2_000, true)
    assert.ok(!JSON.stringify(guard.health()).includes(SECRET))
  })
}

async function waitFor(guard, condition, timeout = 10_000) {
  await waitUntil('health() says so', () => condition(guard.health()), timeout)
  return guard.health()
}

test('sentinels that know no such primary, and one that names a replica, are causes of their own', async (t) => {
  const service = await started(t, startSentinels({ replicas: 0 }))
  const nodes = service.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  const error = async (name) => {
    const guard = createGuard({ store: { redis: { sentinel: { nodes, name } } } })
    t.after(() => guard.close())
    return (await waitFor(guard, ({ store }) => store.error !== null)).store.error
  }
  assert.equal(await error('nobody'), 'sentinel-name')
  const primary = await service.primary()
  await primary.command('REPLICAOF', '127.0.0.1', '1')
  assert.equal(await error(service.masterName), 'not-primary')
})

test('slots of a cluster that nobody serves are a cause', async (t) => {
  const cluster = await started(t, startCluster({ primaries: 3, replicasPer: 0, args: ['--cluster-require-full-coverage', 'no'] }))
  const api = await serveGuard(t, { cluster: [cluster.nodes[0].url], timeout: '250ms' })
  await api.judged()
  assert.equal(api.store().error, null)
  await cluster.nodes[2].kill()
  await waitUntil('a node is away', () => api.store().away > 0)
  assert.ok(['refused', 'network', 'slots'].includes(api.store().error), api.store().error)
  await cluster.nodes[2].restart()
  await waitUntil('all nodes are there', () => api.store().away === 0 && api.store().error === null, 20_000)
})

test('a node of a cluster that is taken for a server of its own says so', async (t) => {
  const cluster = await started(t, startCluster({ primaries: 3, replicasPer: 0 }))
  const words = new Set()
  for (const node of cluster.nodes) {
    const guard = createGuard({ store: { redis: { url: node.url } } })
    t.after(() => guard.close())
    await waitUntil('it is known how the node is', () => guard.health().store.error !== null || guard.health().ready)
    words.add(guard.health().store.error)
  }
  // One of them has the slot that is asked for at the beginning.
  assert.ok(words.has('cluster'), [...words].join())
})

test('a cause goes when the store answers, and one behind it takes its place', async (t) => {
  const redis = await started(t, startRedis())
  const proxy = await started(t, startFaultProxy(redis.port))
  const api = await serveGuard(t, { ...url(proxy.port), timeout: '250ms' })
  await api.judged()
  assert.equal(api.store().error, null)
  assert.equal('error' in createGuard().health().store, false, 'the memory of the process is no store to lose')

  proxy.blackhole(true)
  await api.lost()
  assert.equal(api.store().error, 'timeout')
  proxy.blackhole(false)
  await api.judged()
  await waitUntil('the cause is gone', () => api.store().error === null)

  await redis.command('CONFIG', 'SET', 'maxmemory', '1')
  await api.lost()
  assert.equal(api.store().error, 'memory')
  await redis.command('CONFIG', 'SET', 'maxmemory', '0')
  await api.judged()
  await waitUntil('the cause is gone', () => api.store().error === null)
})

test('a reply that is too large is a cause, also where the connection was good before', async (t) => {
  const redis = await started(t, startRedis())
  const liar = await started(t, startLyingServer(redis.port))
  const api = await serveGuard(t, { ...url(liar.port), timeout: '250ms' })
  await api.judged()
  liar.lie(endless('$2000000000\r\n', 'x'))
  await api.lost()
  assert.equal(api.store().error, 'too-large')
  liar.lie(said('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await waitUntil('it is no Redis', () => api.store().error === 'protocol')
  liar.lie(null)
  await api.judged()
})

test('ready() rejects with the cause', async (t) => {
  const redis = await passwordOf(t)
  const guard = createGuard({ store: { redis: url(redis.port, `${USER}:${SECRET}x@`) } })
  t.after(() => guard.close())
  await assert.rejects(guard.ready(), ({ code, message }) => {
    assert.equal(code, 'ERR_STORE_UNAVAILABLE')
    assert.match(message, /within 10 seconds: it does not accept the user or the password; is it where `store` says\?$/)
    return !message.includes(SECRET)
  })
})

/** The warnings of stores, as they come. */
function warnings(t) {
  const seen = []
  const listener = ({ code, message }) => {
    if (code?.startsWith('GUARD_STORE_')) seen.push([code, message])
  }
  process.on('warning', listener)
  t.after(() => process.off('warning', listener))
  return seen
}

for (const kind of ['redis', 'memcached']) {
  test(`${kind}: an outage is a warning when it begins and one when it ends, whatever number of guards and requests sees it`, async (t) => {
    const server = await started(t, kind === 'redis' ? startRedis() : startMemcached())
    const store = kind === 'redis' ? { redis: { ...url(server.port), timeout: '250ms' } } : { memcached: { servers: [`127.0.0.1:${server.port}`], timeout: '250ms' } }
    const seen = warnings(t)
    const api = await serveGuard(t, undefined, { store })
    const other = createGuard({ store })
    t.after(() => other.close())
    await api.judged()
    await sleep(1_200)
    assert.deepEqual(seen, [], 'a store that answers is no news')

    await server.kill()
    for (let i = 0; i < 20; i++) await api.get('/local')
    await waitUntil('it was told', () => seen.length > 0)
    await sleep(2_500)
    assert.equal(seen.length, 1, seen.join())
    const [code, message] = seen[0]
    assert.equal(code, 'GUARD_STORE_AWAY')
    assert.match(message, new RegExp(`^the store \\(${kind}\\) is not available: (?:the connection is refused; nothing listens there|it can't be reached, or the connection broke)$`))

    await server.restart()
    await api.judged()
    await waitUntil('it was told', () => seen.length > 1)
    assert.deepEqual(seen[1], ['GUARD_STORE_BACK', `the store (${kind}) answers again`])

    // The next one within the same minute is not told.
    await server.kill()
    await api.lost()
    await sleep(2_500)
    await server.restart()
    await api.judged()
    await sleep(3_500)
    assert.equal(seen.length, 2, seen.join())
  })
}

test('a store that was never there is a warning, and none of a guard that is closed', async (t) => {
  const seen = warnings(t)
  const closed = createGuard({ store: { redis: url(await freePort()) } })
  closed.close()
  const guard = createGuard({ store: { redis: url(await freePort(), `${USER}:${SECRET}@`) } })
  t.after(() => guard.close())
  await waitUntil('it was told', () => seen.length > 0)
  await sleep(1_500)
  assert.deepEqual(seen, [['GUARD_STORE_AWAY', 'the store (redis) is not available: the connection is refused; nothing listens there']])
})

test('health() has how far the clock of the store differs', async (t) => {
  const clock = settableClock()
  const redis = await started(t, startRedis({ clock }))
  const guard = createGuard({ store: { redis: url(redis.port) } })
  t.after(() => guard.close())
  assert.equal(guard.health().store.clockSkewMs, null)
  await guard.ready()
  const skew = () => guard.health().store.clockSkewMs
  assert.ok(Number.isInteger(skew()) && Math.abs(skew()) < 500, String(skew()))
  for (const shift of [-90_000, 3_600_000]) {
    clock.shift(shift)
    await waitUntil('the difference is known', () => Math.abs(skew() - shift) < 1_000)
  }
  assert.equal('clockSkewMs' in createGuard().health().store, false)
})

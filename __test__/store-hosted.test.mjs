// Redis as it is hosted: far away, behind certificates that sign themselves, set to evict keys.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'
import { createGuard } from 'keepstone'
import { startFaultProxy, startRedis, waitUntil } from './helpers/servers.mjs'
import { expiredAuthority, selfSignedAuthority } from './helpers/tls.mjs'
import { serveGuard } from './helpers/store-guard.mjs'

const started = async (t, starting) => {
  const server = await starting
  t.after(() => server.stop())
  return server
}

/** The warnings of guards from now on, as `[code, message]`. */
function warnings(t) {
  const seen = []
  const note = (warning) => {
    if (warning.code?.startsWith('GUARD_STORE_')) seen.push([warning.code, warning.message])
  }
  process.on('warning', note)
  t.after(() => process.off('warning', note))
  return seen
}

/** A port for TLS in front of a server without: the port that it listens on. */
async function startTlsFront(t, { key, cert }, target) {
  const sockets = new Set()
  const front = tls.createServer({ key, cert }, (socket) => {
    const behind = net.connect(target, '127.0.0.1')
    for (const one of [socket, behind]) sockets.add(one.on('error', () => {}))
    socket.pipe(behind).pipe(socket)
  })
  front.on('tlsClientError', () => {})
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  t.after(() => {
    for (const socket of sockets) socket.destroy()
    front.close()
  })
  return front.address().port
}

for (const distance of [30, 60]) {
  test(`limits that need the store are judged by one that is ${distance} ms away`, async (t) => {
    const redis = await started(t, startRedis())
    const proxy = await started(t, startFaultProxy(redis.port))
    proxy.latency(distance)
    const seen = warnings(t)
    const api = await serveGuard(t, `redis://127.0.0.1:${proxy.port}`)
    await api.guard.ready()
    for (let i = 0; i < 20; i += 1) assert.equal((await api.get('/closed')).status, 200)
    assert.deepEqual(seen, [])
  })
}

test('a store that is further away than its timeout is a warning with both figures', async (t) => {
  const redis = await started(t, startRedis())
  const proxy = await started(t, startFaultProxy(redis.port))
  proxy.latency(60)
  const seen = warnings(t)
  const api = await serveGuard(t, { url: `redis://127.0.0.1:${proxy.port}`, timeout: '20ms' })
  await api.guard.ready()
  await waitUntil('it was told', () => seen.some(([code]) => code === 'GUARD_STORE_FAR'))
  const [, message] = seen.find(([code]) => code === 'GUARD_STORE_FAR')
  assert.match(message, /^the store \(redis\) is [6-9]\d ms away \(round trip\), and a request waits 20 ms for it: set its `timeout` to '\d+ms'/)
})

test('a certificate that signs itself is taken as the own one of the server', async (t) => {
  const redis = await started(t, startRedis())
  for (const names of ['', 'IP:127.0.0.1', 'DNS:other.example, IP:127.0.0.1']) {
    const own = selfSignedAuthority(names)
    const port = await startTlsFront(t, own, redis.port)
    const api = await serveGuard(t, { url: `rediss://127.0.0.1:${port}`, tls: { ca: own.cert } })
    await api.judged()
  }
})

test('a certificate for another name, one that has expired, and one that is not in `tls.ca`, are refused', async (t) => {
  const redis = await started(t, startRedis())
  const [other, expired, stranger, listed] = [selfSignedAuthority('DNS:redis.example'), expiredAuthority(), selfSignedAuthority(), selfSignedAuthority()]
  for (const [own, ca, error] of [
    [other, other.cert, 'certificate-name'],
    [other, other.cert + listed.cert, 'certificate-name'],
    [expired, expired.cert, 'certificate'],
    [expired, expired.valid, 'certificate'],
    [stranger, listed.cert, 'certificate'],
    [stranger, undefined, 'certificate']
  ]) {
    const port = await startTlsFront(t, own, redis.port)
    const api = await serveGuard(t, { url: `rediss://127.0.0.1:${port}`, ...(ca && { tls: { ca } }) })
    await waitUntil('the cause is known', () => api.store().error === error)
    assert.equal((await api.get('/closed')).status, 503)
  }
})

test('a Unix socket is the address of a server', { skip: process.platform === 'win32' }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const socket = join(folder, 'redis.sock')
  const redis = await started(t, startRedis({ args: ['--unixsocket', socket] }))
  for (const scheme of ['unix', 'redis+unix', 'valkey+unix']) {
    const api = await serveGuard(t, { url: `${scheme}://${socket}?db=3`, prefix: `${scheme}:` })
    await api.judged()
    await redis.command('SELECT', '3')
    assert.ok((await redis.keys(`${scheme}:*`)).length > 0)
  }
  const api = await serveGuard(t, `unix://${socket}.missing`)
  await waitUntil('the cause is known', () => api.store().error === 'refused')
})

test('a Unix socket in a cluster, without a path, or with `tls` is a mistake', () => {
  for (const [redis, path] of [
    [{ cluster: ['unix:///run/redis.sock'] }, 'store.redis.cluster[0]'],
    [{ sentinel: { name: 'main', nodes: ['unix:///run/redis.sock'] } }, 'store.redis.sentinel.nodes[0]'],
    ['unix://', 'store.redis'],
    ['unix:///', 'store.redis'],
    ['unix://host/run/redis.sock', 'store.redis'],
    ['unix:///run/redis.sock?db=-1', 'store.redis'],
    [{ url: 'unix:///run/redis.sock', tls: { ca: selfSignedAuthority().cert } }, 'store.redis.tls']
  ]) {
    assert.throws(() => createGuard({ store: { redis } }), { path })
  }
})

for (const policy of ['allkeys-lru', 'volatile-ttl']) {
  test(`a server that evicts keys (${policy}) is a warning`, async (t) => {
    const redis = await started(t, startRedis({ args: ['--maxmemory-policy', policy] }))
    const seen = warnings(t)
    const api = await serveGuard(t, redis.url)
    await api.judged()
    await waitUntil('it was told', () => seen.length > 0)
    await sleep(1_500)
    assert.deepEqual(seen.map(([code]) => code), ['GUARD_STORE_EVICTS'])
    assert.ok(seen[0][1].includes(policy), seen[0][1])
  })
}

test('a server that evicts nothing, and one that does not say, are no news', async (t) => {
  const silent = { user: 'app', password: 'hunter2', rules: '~* &* +@all -info -config' }
  const seen = warnings(t)
  for (const options of [{}, { acl: [silent], args: ['--maxmemory-policy', 'allkeys-lru'] }]) {
    const redis = await started(t, startRedis(options))
    const login = options.acl === undefined ? '' : `${silent.user}:${silent.password}@`
    const api = await serveGuard(t, `redis://${login}127.0.0.1:${redis.port}`)
    await api.judged()
  }
  await sleep(1_500)
  assert.deepEqual(seen, [])
})

test('a busy key far below its limit seldom asks the store', async (t) => {
  const redis = await started(t, startRedis())
  const limits = [6_000_000, 600_000]
  for (const limit of limits) {
    const api = await serveGuard(t, redis.url, { rateLimit: { name: `busy${limit}`, limit, window: '60s' } })
    await api.guard.ready()
    await redis.command('CONFIG', 'RESETSTAT')
    let requests = 0
    while (requests < 2_000) {
      const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await api.get('/')).status))
      assert.ok(statuses.every((status) => status === 200))
      requests += statuses.length
    }
    const { evalsha } = await redis.commandStats()
    assert.ok(evalsha.calls < requests / 10, `${evalsha.calls} commands for ${requests} requests`)
  }
})

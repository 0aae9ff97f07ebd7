// The servers that other tests run against do what their helpers say, and end with the tests.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import net from 'node:net'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startPeer } from './helpers/peer.mjs'
import { settableClock, startCluster, startFaultProxy, startMemcached, startRedis, startSentinels, waitUntil } from './helpers/servers.mjs'

const helpers = new URL('helpers/servers.mjs', import.meta.url)

/** A server that is stopped after the test. */
async function forTest(t, starting) {
  const server = await starting
  t.after(() => server.stop())
  return server
}

/** Whether a promise is still open after `ms`. */
async function hangs(promise, ms = 300) {
  const open = Symbol('open')
  return (await Promise.race([promise, sleep(ms, open)])) === open
}

/** Whether nobody listens on a port. */
async function refuses(port) {
  const socket = net.connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return false
  } catch (error) {
    return error.code === 'ECONNREFUSED'
  } finally {
    socket.destroy()
  }
}

async function millisecondsOf(promise) {
  const start = performance.now()
  await promise
  return performance.now() - start
}

test('Redis: starts on a free port, lets look into it, and is gone with its files after stop()', async (t) => {
  const redis = await forTest(t, startRedis())
  assert.equal(redis.url, `redis://127.0.0.1:${redis.port}`)
  const [, folder] = await redis.command('CONFIG', 'GET', 'dir')
  assert.ok(existsSync(folder))

  await redis.command('SET', 'a:1', 'x', 'PX', 60_000)
  await redis.command('EVAL', "return redis.call('INCR', KEYS[1])", 1, 'b:1')
  assert.deepEqual(await redis.keys(), ['a:1', 'b:1'])
  assert.deepEqual(await redis.keys('a:*'), ['a:1'])
  const ttl = await redis.ttl('a:1')
  assert.ok(ttl > 50_000 && ttl <= 60_000, `${ttl}`)
  assert.equal(await redis.ttl('b:1'), -1)
  const { eval: evals, set } = await redis.commandStats()
  assert.deepEqual([evals.calls, set.calls, typeof set.usec], [1, 1, 'number'])

  await redis.stop()
  assert.ok(await refuses(redis.port))
  assert.ok(!existsSync(folder))
})

test('Redis: every type of reply is read, however it is cut into packets', async (t) => {
  const redis = await forTest(t, startRedis())
  const long = 'x'.repeat(300_000)
  assert.equal(await redis.command('ECHO', long), long)
  const script = "return { 1, 'é', false, { redis.status_reply('FINE'), {} }, redis.error_reply('BAD luck') }"
  const [number, text, nothing, nested, error] = await redis.command('EVAL', script, 0)
  assert.deepEqual([number, text, nothing, nested], [1, 'é', null, ['FINE', []]])
  assert.equal(error.code, 'BAD')
  await assert.rejects(redis.command('NONSENSE'), { code: 'ERR' })
  const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => redis.command('ECHO', i)))
  assert.deepEqual(answers, Array.from({ length: 500 }, (_, i) => String(i)))
})

test('Redis: comes back on the same port after a crash and after restart(), with another process id', async (t) => {
  const redis = await forTest(t, startRedis({ args: ['--appendonly', 'yes'] }))
  const { port, pid } = redis
  await redis.command('SET', 'a', 'kept')
  const held = redis.command('BLPOP', 'none', 0)
  await Promise.all([redis.kill(), assert.rejects(held)])
  assert.ok(await refuses(port))
  await redis.restart()
  assert.equal(redis.port, port)
  assert.notEqual(redis.pid, pid)
  assert.equal(await redis.command('GET', 'a'), 'kept')
})

test('Redis: its wall clock is set while it runs, ahead and back, and again after a restart', async (t) => {
  const clock = settableClock()
  const redis = await forTest(t, startRedis({ clock }))
  const ahead = async () => Number((await redis.command('TIME'))[0]) - Date.now() / 1000
  const shows = async (seconds) => assert.ok(Math.abs((await ahead()) - seconds) < 5, `${await ahead()} for ${seconds}`)
  await shows(0)
  await redis.command('SET', 'a', 'x', 'PX', 100_000)
  clock.shift(61_500)
  await shows(61.5)
  assert.ok((await redis.ttl('a')) < 40_000, 'keys end by the wall clock')
  clock.shift(-3_600_000)
  await shows(-3600)
  await redis.restart()
  await shows(-3600)
  clock.shift(0)
  await shows(0)
})

test('a process of the service has a wall clock that is set while it runs', async (t) => {
  const clock = settableClock()
  const peer = await startPeer({ jwt: { secret: randomBytes(32).toString('base64url'), issuer: 'https://id.example', audience: 'api' } }, { clock })
  t.after(() => peer.stop())
  const issuedAt = async () => {
    const { accessToken } = await peer.call('tokens.issue', { sub: 'ann' })
    return JSON.parse(Buffer.from(accessToken.split('.')[1], 'base64url')).iat - Date.now() / 1000
  }
  assert.ok(Math.abs(await issuedAt()) < 5)
  clock.shift(3_600_000)
  assert.ok(Math.abs((await issuedAt()) - 3600) < 5)
})

test('Redis: a paused server takes commands and answers them when it goes on', async (t) => {
  const redis = await forTest(t, startRedis())
  redis.pause()
  const answer = redis.client().command('PING')
  assert.ok(await hangs(answer))
  redis.resume()
  assert.equal(await answer, 'PONG')
})

test('Redis with TLS: speaks only TLS, under a certificate of its authority', async (t) => {
  const redis = await forTest(t, startRedis({ tls: true }))
  assert.equal(redis.url, `rediss://127.0.0.1:${redis.port}`)
  const { ca } = redis.tls
  assert.equal(await redis.client({ tls: { ca } }).command('PING'), 'PONG')
  assert.equal(await redis.client({ tls: { ca, host: 'localhost' } }).command('PING'), 'PONG')
  await assert.rejects(redis.client({ tls: {} }).command('PING'), /self-signed certificate in certificate chain/)
  await assert.rejects(redis.client({ tls: undefined }).command('PING'))
})

test('Redis with TLS and client certificates: refuses a client that has none', async (t) => {
  const redis = await forTest(t, startRedis({ tls: { clientAuth: true } }))
  assert.equal(await redis.command('PING'), 'PONG')
  const { ca } = redis.tls
  await assert.rejects(redis.client({ tls: { ca } }).command('PING'), /certificate required/i)
  assert.ok(existsSync(redis.tls.keyFile))
})

test('Redis with users: refuses strangers, wrong passwords and what the rules do not name', async (t) => {
  const redis = await forTest(t, startRedis({ acl: [{ user: 'app', password: 'p w', rules: '~app:* +get +set' }] }))
  const app = redis.client({ user: 'app', password: 'p w' })
  assert.equal(await app.command('SET', 'app:a', '1'), 'OK')
  await assert.rejects(app.command('GET', 'other'), { code: 'NOPERM' })
  await assert.rejects(app.command('DEL', 'app:a'), { code: 'NOPERM' })
  await assert.rejects(redis.client({ user: 'app', password: 'no' }).command('GET', 'app:a'), { code: 'WRONGPASS' })
  await assert.rejects(redis.client({ password: undefined }).command('GET', 'app:a'), { code: 'NOAUTH' })
  assert.deepEqual(await redis.keys(), ['app:a'], 'the helper sees all')
})

test('Redis: one that does not start says why, at once', async () => {
  const starting = startRedis({ args: ['--maxmemory', 'lots'] })
  await assert.rejects(starting, /argument must be a memory value/)
})

test('Memcached: answers commands and statistics, and is controlled as Redis is', async (t) => {
  const memcached = await forTest(t, startMemcached({ args: ['-m', '2'] }))
  assert.equal(await memcached.command('set a 0 60 5\r\nvalue'), 'STORED')
  assert.equal(await memcached.command('get a'), 'VALUE a 0 5\r\nvalue\r\nEND')
  assert.equal(await memcached.command('nonsense'), 'ERROR')
  const stats = await memcached.stats()
  assert.deepEqual([stats.cmd_set, stats.limit_maxbytes, typeof stats.version], [1, 2 << 20, 'string'])

  memcached.pause()
  const answer = memcached.command('get a')
  assert.ok(await hangs(answer))
  memcached.resume()
  assert.match(await answer, /^VALUE/)

  await memcached.restart()
  assert.equal(await memcached.command('get a'), 'END', 'it keeps nothing')
  await memcached.kill('SIGTERM')
  assert.ok(await refuses(memcached.port))
})

test('cluster: names the node that holds a key, moves slots by failover, and replaces a primary that dies', async (t) => {
  const cluster = await forTest(t, startCluster())
  assert.equal(cluster.nodes.length, 6)
  assert.deepEqual(cluster.seeds[0], { host: '127.0.0.1', port: cluster.nodes[0].port })
  const first = await cluster.primaryOf('a')
  const [second] = await cluster.replicasOf('a')
  await first.command('SET', 'a', 'kept')
  assert.equal(await first.command('WAIT', 1, 5000), 1)
  const other = cluster.nodes.find((node) => node !== first)
  await assert.rejects(other.command('GET', 'a'), { code: 'MOVED', message: `MOVED 15495 127.0.0.1:${first.port}` })

  await cluster.failover(second)
  assert.equal(await cluster.primaryOf('a'), second)
  assert.deepEqual(await cluster.replicasOf('a'), [first])
  await assert.rejects(first.command('SET', 'a', 'x'), { code: 'MOVED' })

  assert.equal(await cluster.killPrimaryOf('a'), second)
  await cluster.settled()
  assert.equal(await cluster.primaryOf('a'), first)
  assert.equal(await first.command('GET', 'a'), 'kept')

  await second.restart()
  await cluster.settled()
  assert.deepEqual(await cluster.replicasOf('a'), [second])
  await cluster.stop()
  for (const { port } of cluster.nodes) assert.ok(await refuses(port))
})

test('cluster: with TLS, client certificates and users, its nodes talk to each other', async (t) => {
  const cluster = await forTest(t, startCluster({ tls: { clientAuth: true }, acl: [{ user: 'app', password: 'pw', rules: '~* +@all' }] }))
  const primary = await cluster.primaryOf('a')
  assert.equal(await primary.client({ user: 'app', password: 'pw' }).command('SET', 'a', '1'), 'OK')
  assert.equal(await primary.command('WAIT', 1, 5000), 1)
})

test('Sentinel: promotes the replica when the primary dies, with the data it had', async (t) => {
  const watched = await forTest(t, startSentinels({ acl: [{ user: 'app', password: 'pw', rules: '~* +@all' }] }))
  const primary = await watched.primary()
  assert.equal(primary, watched.nodes[0])
  assert.equal(watched.sentinels.length, 3)
  const [{ port }] = watched.sentinels
  assert.ok(!(await refuses(port)))
  assert.equal(await primary.client({ user: 'app', password: 'pw' }).command('SET', 'a', 'kept'), 'OK')
  assert.equal(await primary.command('WAIT', 1, 5000), 1)
  await assert.rejects(watched.nodes[1].command('SET', 'a', 'x'), { code: 'READONLY' })

  assert.equal(await watched.killPrimary(), primary)
  const next = await watched.promoted(primary)
  assert.equal(next, watched.nodes[1])
  assert.equal(await next.command('GET', 'a'), 'kept')
  assert.equal(await next.command('SET', 'a', 'new'), 'OK')
  const address = await watched.sentinels[2].command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', watched.masterName)
  assert.deepEqual(address, ['127.0.0.1', String(next.port)])
})

test('a server whose program is missing fails with what to install', async (t) => {
  const path = process.env.PATH
  t.after(() => (process.env.PATH = path))
  process.env.PATH = '/nowhere'
  await assert.rejects(startRedis(), /need redis-server or valkey-server[^]+apt-get install redis-server/)
  await assert.rejects(startCluster(), /brew install redis/)
  await assert.rejects(startSentinels(), /dnf install valkey/)
  await assert.rejects(startMemcached(), /need memcached/)
})

test('fault proxy: passes everything on and counts it; latency makes a round trip longer', async (t) => {
  const redis = await forTest(t, startRedis())
  const proxy = await forTest(t, startFaultProxy(redis.port))
  const client = redis.client({ port: proxy.port })
  const long = 'x'.repeat(3_000_000)
  assert.equal(await client.command('ECHO', long), long)
  const { bytesUp, bytesDown } = proxy.stats
  assert.ok(bytesUp > long.length && bytesDown > long.length)
  assert.deepEqual([proxy.stats.connections, proxy.stats.open], [1, 1])

  proxy.latency(1000)
  const pings = Promise.all([client.command('PING'), client.command('PING')])
  const ms = await millisecondsOf(pings)
  assert.ok(ms >= 1000 && ms < 1950, `two at once take one round trip: ${ms}`)
  proxy.latency(0)
  assert.ok((await millisecondsOf(client.command('PING'))) < 1000)
})

test('fault proxy: throttle carries so many bytes in a second', async (t) => {
  const redis = await forTest(t, startRedis())
  const proxy = await forTest(t, startFaultProxy(redis.port))
  const client = redis.client({ port: proxy.port })
  proxy.throttle(100_000)
  const ms = await millisecondsOf(client.command('SET', 'a', 'x'.repeat(200_000)))
  assert.ok(ms > 1900, `${ms}`)
  proxy.throttle(Infinity)
  assert.ok((await millisecondsOf(client.command('SET', 'a', 'x'.repeat(200_000)))) < 1900)
})

test('fault proxy: a black hole keeps connections open in silence, even when the server goes away', async (t) => {
  const redis = await forTest(t, startRedis())
  const proxy = await forTest(t, startFaultProxy(redis.port))
  const old = redis.client({ port: proxy.port })
  assert.equal(await old.command('PING'), 'PONG')
  proxy.blackhole(true)
  const lost = old.command('SET', 'a', '1')
  const fresh = redis.client({ port: proxy.port }).command('PING')
  const outcome = assert.rejects(Promise.all([lost, fresh]), { code: 'ECONNRESET' })
  assert.ok(await hangs(outcome))
  await redis.restart()
  assert.ok(await hangs(outcome))
  assert.deepEqual(await redis.keys(), [], 'the command never came')
  proxy.blackhole(false)
  await outcome
  assert.equal(await old.command('PING'), 'PONG', 'over a new connection')
})

test('fault proxy: cut resets open connections, refuse turns away new ones only', async (t) => {
  const redis = await forTest(t, startRedis())
  const proxy = await forTest(t, startFaultProxy(redis.port))
  const [one, two] = [redis.client({ port: proxy.port }), redis.client({ port: proxy.port })]
  await one.command('PING')
  const blocked = assert.rejects(one.command('BLPOP', 'none', 0), { code: 'ECONNRESET' })
  await sleep(50)
  proxy.cut()
  await blocked
  assert.equal(await one.command('PING'), 'PONG')
  await proxy.refuse(true)
  await assert.rejects(two.command('PING'), { code: 'ECONNREFUSED' })
  assert.equal(await one.command('PING'), 'PONG')
  await proxy.refuse(false)
  assert.equal(await two.command('PING'), 'PONG')
})

test('fault proxy: a server that goes away closes the connection, and one that is not there resets it', async (t) => {
  const redis = await forTest(t, startRedis())
  const proxy = await forTest(t, startFaultProxy(redis.port))
  const client = redis.client({ port: proxy.port })
  const blocked = assert.rejects(client.command('BLPOP', 'none', 0))
  await sleep(50)
  await redis.kill()
  await blocked
  await assert.rejects(client.command('PING'), { code: 'ECONNRESET' })
  await waitUntil('no connection is left', () => proxy.stats.open === 0)
})

test('servers do not keep the process open, and end with it however it ends', async () => {
  const script = `
    import { startRedis, startMemcached, startFaultProxy } from ${JSON.stringify(helpers)}
    const redis = await startRedis()
    const memcached = await startMemcached()
    const proxy = await startFaultProxy(redis.port)
    await redis.client({ port: proxy.port }).command('PING')
    const [, folder] = await redis.command('CONFIG', 'GET', 'dir')
    redis.pause()
    console.log(redis.port, memcached.port, folder)
  `
  const endings = [
    ['', 0, null],
    ['process.exit(3)', 3, null],
    ["setTimeout(() => { throw new Error('a failed test') })", 1, null],
    ["process.kill(process.pid, 'SIGKILL')", null, 'SIGKILL'],
    ["process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 10_000)", null, 'SIGTERM']
  ]
  await Promise.all(
    endings.map(async ([ending, ...expected]) => {
      const child = spawn(process.execPath, ['--input-type=module', '-e', `${script}\n${ending}`], { stdio: ['ignore', 'pipe', 'ignore'] })
      let printed = ''
      child.stdout.on('data', (chunk) => (printed += chunk))
      assert.deepEqual(await once(child, 'close'), expected, ending)
      const [redis, memcached, folder] = printed.trim().split(' ')
      const gone = async () => (await refuses(redis)) && (await refuses(memcached)) && !existsSync(folder)
      await waitUntil(`the servers are gone after '${ending}'`, gone, 3000)
    })
  )
})

// What clients see while the store fails in each of the ways that stores fail in: no crash, no 429
// for a client that is under its limit, and the store back in use soon after it is back.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import test, { after, before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createGuard } from 'keepstone'
import { freePort } from './helpers/processes.mjs'
import { startFaultProxy, startRedis, waitUntil } from './helpers/servers.mjs'
import { KEY, LIMIT, assertCallsFail, assertUnavailable, serveGuard } from './helpers/store-guard.mjs'

// Requests wait this long for the store. More than in production, so that a busy machine is not
// taken for a fault.
const TIMEOUT = 250
const root = fileURLToPath(new URL('..', import.meta.url))

let redis
let proxy
before(async () => {
  redis = await startRedis()
  proxy = await startFaultProxy(redis.port)
})
after(async () => {
  await proxy.stop()
  await redis.stop()
})

// A fault of the guard itself is a warning and a 500: no failure of a store may be one.
const faults = []
process.on('warning', ({ code, message }) => {
  if (code === 'GUARD_FAULT') faults.push(message)
})
after(() => assert.deepEqual(faults, []))

let prefixes = 0
const options = (more) => ({ url: `redis://127.0.0.1:${proxy.port}`, prefix: `f${prefixes++}:`, timeout: `${TIMEOUT}ms`, ...more })

/** A process of its own, in the package's folder, that has the options of its store in `STORE`. */
const start = (script, store, stdio) => spawn(process.execPath, ['-e', script], { cwd: root, stdio, env: { ...process.env, STORE: JSON.stringify(store) } })

/** Runs a process until it ends; answers its exit code and output. */
async function run(script, store) {
  const child = start(script, store, ['ignore', 'pipe', 'pipe'])
  let out = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (out += chunk))
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
  const [code, signal] = await once(child, 'close')
  clearTimeout(timer)
  return { code, signal, out }
}

// [what happens, how it is done, how it is mended, whether the counts are there afterwards]
const FAULTS = [
  ['the store is killed', () => redis.kill(), () => redis.restart(), false],
  ['the store is stopped and keeps its connections', () => redis.pause(), () => redis.resume(), true],
  ['the way to the store is a black hole', () => proxy.blackhole(true), () => proxy.blackhole(false), true],
  ['the network resets connections and refuses new ones', () => Promise.all([proxy.refuse(true), proxy.cut()]), () => proxy.refuse(false), true],
  ['the store is a replica that takes no writes', () => redis.command('REPLICAOF', '127.0.0.1', '1'), () => redis.command('REPLICAOF', 'NO', 'ONE'), true],
  ['the memory of the store is full', () => redis.command('CONFIG', 'SET', 'maxmemory', '1'), () => redis.command('CONFIG', 'SET', 'maxmemory', '0'), true]
]

for (const [what, harm, mend, keepsCounts] of FAULTS) {
  test(`${what}: each policy does as it says, nobody waits for long, and the store is used again by itself`, async (t) => {
    const api = await serveGuard(t, options())
    await api.judged()
    for (let i = 0; i < 5; i++) assert.equal((await api.get('/local')).status, 200)
    const known = await api.remaining('/closed')

    await harm()
    const during = async (count) => {
      for (let i = 0; i < count; i++) {
        assert.equal((await api.get('/local')).status, 200)
        assert.equal((await api.get('/open')).status, 200)
        assertUnavailable(await api.get('/closed'))
      }
    }
    await during(5)
    await api.lost()
    const start = performance.now()
    await during(20)
    const each = (performance.now() - start) / 60
    assert.ok(each < TIMEOUT / 2, `a request took ${each} ms: it waited for the store`)
    await assertCallsFail(api.guard)

    await mend()
    const recovery = await api.judged()
    t.diagnostic(`a request took ${each.toFixed(1)} ms without the store, which was back in use after ${recovery.toFixed(0)} ms`)
    const remaining = await api.remaining('/closed')
    if (keepsCounts) {
      // The one that found it back, and this one. What was asked in vain may have been counted,
      // too.
      assert.ok(remaining <= known - 2 && remaining >= known - 40, `${known} ${remaining}`)
    } else {
      assert.equal(remaining, LIMIT - 2)
    }
    assert.equal((await api.get('/local')).status, 200)
    assert.equal((await api.get('/open')).status, 200)
  })
}

test('the store answers, but too late: nobody gets a 429, and most requests do not wait', async (t) => {
  const api = await serveGuard(t, options())
  await api.judged()
  proxy.latency(1.6 * TIMEOUT)
  t.after(() => proxy.latency(0))
  const waits = []
  const end = performance.now() + 4_000
  // So few that each limit has room for its half of them.
  while (performance.now() < end && waits.length < 2 * LIMIT - 50) {
    const start = performance.now()
    const { status } = await api.get(waits.length % 2 === 0 ? '/local' : '/open')
    waits.push(performance.now() - start)
    assert.equal(status, 200)
  }
  const waited = waits.filter((ms) => ms >= TIMEOUT * 0.9)
  t.diagnostic(`${waited.length} of ${waits.length} requests waited for the store`)
  assert.ok(waited.length <= waits.length / 4, `${waited.length} of ${waits.length}`)
  proxy.latency(0)
  await api.judged()
})

test('a guard boots while nothing listens: it decides at once, and counts in the store once that is there', async (t) => {
  const port = await freePort()
  const api = await serveGuard(t, options({ url: `redis://127.0.0.1:${port}` }))
  assert.equal((await api.get('/local')).status, 200)
  assert.equal((await api.get('/open')).status, 200)
  assertUnavailable(await api.get('/closed'))
  await assertCallsFail(api.guard)
  const late = await startRedis({ port })
  t.after(() => late.stop())
  await api.judged()
  assert.equal(await api.remaining('/closed'), LIMIT - 2)
})

test('scripts that the store has forgotten are sent again, and no request is lost', async (t) => {
  const api = await serveGuard(t, options())
  await api.judged()
  for (let i = 2; i < 22; i++) {
    if (i % 4 === 0) await redis.command('SCRIPT', 'FLUSH')
    assert.equal(await api.remaining('/closed'), LIMIT - i)
  }
  const flush = redis.command('SCRIPT', 'FLUSH')
  const states = await Promise.all(Array.from({ length: 150 }, () => api.guard.limits.consume('local', KEY)))
  await flush
  assert.deepEqual(states.map(({ remaining }) => remaining).sort((a, b) => b - a), Array.from({ length: 150 }, (_, i) => LIMIT - 1 - i))
})

test('connections that the store kills, again and again, cost nobody a 429 and no count', async (t) => {
  const api = await serveGuard(t, options())
  await api.judged()
  let passed = 1
  let failed = 0
  for (let i = 0; i < 60; i++) {
    if (i % 10 === 5) await redis.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    const { status } = await api.get('/closed')
    assert.ok(status === 200 || status === 503, `${status}`)
    if (status === 200) passed++
    else failed++
    assert.equal((await api.get('/local')).status, 200)
    if (i % 10 === 9) passed += await api.judged() && 1
  }
  const remaining = await api.remaining('/closed')
  assert.ok(remaining <= LIMIT - passed - 1 && remaining >= LIMIT - passed - failed - 40, `${remaining} after ${passed} and ${failed}`)
})

// Serves the guard to its parent: each message is how many requests to make, answered by how many
// passed and were refused.
const MEMBER = `
const { createGuard } = require('keepstone')
const http = require('node:http')
const guard = createGuard({ rateLimit: { name: 'share', limit: 30, window: '300d', algorithm: 'fixed-window' }, store: { redis: JSON.parse(process.env.STORE) } })
const [protect] = guard.securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('ok'))).listen(0, '127.0.0.1', () => process.send('up'))
const get = () => new Promise((resolve, reject) => {
  http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => res.resume().on('end', () => resolve(res.statusCode))).on('error', reject)
})
process.on('message', async (count) => {
  if (count === 'health') return process.send(guard.health().store)
  const seen = {}
  for (let i = 0; i < count; i++) { const status = await get(); seen[status] = (seen[status] ?? 0) + 1 }
  process.send(seen)
})
`

test('three processes without their store admit together what one limit says, each its share, and no more', async (t) => {
  const store = options({ url: redis.url })
  const members = Array.from({ length: 3 }, () => start(MEMBER, store, ['ignore', 'inherit', 'inherit', 'ipc']))
  t.after(() => members.forEach((member) => member.kill('SIGKILL')))
  const tell = async (member, message) => {
    member.send(message)
    const [answer] = await once(member, 'message')
    return answer
  }
  await Promise.all(members.map((member) => once(member, 'message')))
  await waitUntil('each has heard of the others', async () => {
    const seen = await Promise.all(members.map((member) => tell(member, 'health')))
    return seen.every(({ instances }) => instances === 3)
  })
  await redis.kill()
  const seen = await Promise.all(members.map((member) => tell(member, 40)))
  const passed = seen.map((statuses) => statuses[200] ?? 0)
  const total = passed.reduce((sum, count) => sum + count)
  assert.deepEqual(seen.map((statuses) => (statuses[200] ?? 0) + (statuses[429] ?? 0)), [40, 40, 40])
  assert.ok(passed.every((count) => count >= 9), `${passed}`)
  assert.ok(total <= 33, `${passed}`)
  await redis.restart()
})

test('a request whose client leaves, and a guard that is closed, while the store is asked: nothing is left over', async (t) => {
  const api = await serveGuard(t, options({ timeout: '1s' }))
  await api.judged()
  redis.pause()
  const left = http.get({ host: '127.0.0.1', port: api.port, path: '/closed', agent: false })
  left.on('error', () => {})
  await sleep(50)
  left.destroy()
  const held = api.get('/closed')
  await sleep(50)
  await api.guard.close()
  assert.equal((await held).status, 503)
  assert.equal((await api.get('/local')).status, 503)
  redis.resume()
})

test('more questions than a store could answer in time are refused at once and never sent', async (t) => {
  const api = await serveGuard(t, options({ url: redis.url, timeout: '5s' }))
  await api.judged()
  await redis.command('CONFIG', 'RESETSTAT')
  const questions = Array.from({ length: 25_000 }, () => api.guard.limits.get('local', KEY))
  const answers = await Promise.allSettled(questions)
  // On a slow machine some of the others may not be answered in time.
  const refused = answers.filter(({ reason }) => reason?.message === 'too many requests wait for the store')
  assert.equal(refused.length, 5_000)
  assert.ok(refused.every(({ reason }) => reason.code === 'ERR_STORE_UNAVAILABLE'))
  assert.equal(api.store().waiting, 0)
  const { get } = await redis.commandStats()
  assert.ok(get.calls <= 20_000, `${get.calls}`)
})

test('guards that are closed leave no connection behind', async () => {
  const clients = async () => (await redis.command('CLIENT', 'LIST')).split('\n').filter((line) => !line.includes('cmd=client')).length
  const before = await clients()
  for (let i = 0; i < 10; i++) {
    const guard = createGuard({ rateLimit: { name: 'a', limit: 9, window: '300d' }, store: { redis: options({ url: redis.url, timeout: '5s' }) } })
    assert.equal((await guard.limits.consume('a', KEY)).remaining, 8)
    await guard.close()
  }
  await waitUntil('the connections are closed', async () => (await clients()) <= before)
})

test('worker threads that are terminated while they wait for the store take nothing with them', async () => {
  const script = `
const guard = require('keepstone').createGuard({ rateLimit: { name: 'w', limit: 1000000, window: '300d' }, store: { redis: ${JSON.stringify(options({ timeout: '5s' }))} } })
const ask = () => guard.limits.consume('w', '127.0.0.1').then(ask)
for (let i = 0; i < 50; i++) ask()
require('node:worker_threads').parentPort.postMessage('up')
`
  const program = `
const { Worker } = require('node:worker_threads')
const { once } = require('node:events')
;(async () => {
  for (let i = 0; i < 8; i++) {
    const worker = new Worker(${JSON.stringify(script)}, { eval: true })
    await once(worker, 'message')
    await new Promise((resolve) => setTimeout(resolve, 10 * i))
    await worker.terminate()
  }
})()
`
  const { code, signal, out } = await run(program, {})
  assert.deepEqual([code, signal], [0, null], out)
})

test('the context of AsyncLocalStorage is there behind the guard, each request its own', async (t) => {
  const contexts = new AsyncLocalStorage()
  const guard = createGuard({ rateLimit: { name: 'als', limit: 100, window: '300d', cost: () => 1 }, store: { redis: options() } })
  t.after(() => guard.close())
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => {
    contexts.run(req.url, () => protect(req, res, () => res.end(contexts.getStore())))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const get = async (path) => (await fetch(`http://127.0.0.1:${server.address().port}${path}`)).text()
  const paths = Array.from({ length: 40 }, (_, i) => `/${i}`)
  assert.deepEqual(await Promise.all(paths.map((path) => get(path))), paths)
  const named = await contexts.run('call', async () => {
    await guard.limits.get('als', KEY)
    return contexts.getStore()
  })
  assert.equal(named, 'call')
})

const ENDS = `
const http = require('node:http')
const { createGuard } = require('keepstone')
const guard = createGuard({ rateLimit: { name: 'ends', limit: 10, window: '300d', exact: true }, store: { redis: JSON.parse(process.env.STORE) } })
const [protect] = guard.securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('ok')))
server.listen(0, '127.0.0.1', () => {
  const get = () => http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => {
    res.resume().on('end', () => {
      if (res.statusCode !== 200) return setTimeout(get, 20)
      console.log('counted', res.headers.ratelimit)
      server.close()
    })
  })
  get()
})
`

test('a process ends by itself after server.close(), with a connection to the store that lives', async () => {
  const { code, signal, out } = await run(ENDS, options())
  assert.deepEqual([code, signal], [0, null], out)
  assert.match(out, /counted "ends";r=9/)
})

test('a call of guard.limits that is awaited is answered before the process ends', async () => {
  const script = `
const guard = require('keepstone').createGuard({ rateLimit: { name: 'x', limit: 10, window: '300d' }, store: { redis: JSON.parse(process.env.STORE) } })
guard.limits.consume('x', '127.0.0.1').then(({ remaining }) => console.log('left', remaining))
`
  const { code, out } = await run(script, options({ timeout: '5s' }))
  assert.equal(code, 0, out)
  assert.match(out, /left 9/)
})

test('8 worker threads that load, decide through the store and end leave exit code 0, and count together', async () => {
  const script = `
const { Worker } = require('node:worker_threads')
const { once } = require('node:events')
;(async () => {
  await Promise.all(Array.from({ length: 8 }, async () => {
    const [code] = await once(new Worker(${JSON.stringify(ENDS)}, { eval: true }), 'exit')
    if (code !== 0) throw new Error('worker ended with ' + code)
  }))
})()
`
  const { code, signal, out } = await run(script, options({ timeout: '5s' }))
  assert.deepEqual([code, signal], [0, null], out)
  const left = [...out.matchAll(/counted "ends";r=(\d+)/g)].map(([, remaining]) => Number(remaining))
  assert.deepEqual(left.sort((a, b) => b - a), [9, 8, 7, 6, 5, 4, 3, 2], out)
})

test('a store that has not answered yet is not said to be available', async () => {
  const guard = createGuard({ rateLimit: { name: 'api', limit: 10, window: '1m' }, store: { redis: { url: 'redis://127.0.0.1:1' } } })
  assert.equal(guard.health().store.available, false)
})

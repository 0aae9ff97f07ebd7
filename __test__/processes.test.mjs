// Processes that come and go: rolling restarts, exits in the middle of a call, and many guards.

import assert from 'node:assert/strict'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { AUDIENCE, ISSUER, jwt } from './helpers/articles.mjs'
import { bearer, send } from './helpers/http.mjs'
import { startRedis } from './helpers/servers.mjs'

const redis = await startRedis()
const folder = mkdtempSync(join(tmpdir(), 'keepstone-processes-'))
after(async () => {
  await redis.stop()
  rmSync(folder, { recursive: true })
})
const root = fileURLToPath(new URL('..', import.meta.url))
let prefixes = 0
const store = () => ({ redis: { url: redis.url, prefix: `processes-${(prefixes += 1)}:`, timeout: '5s' } })

test('rolling restarts of a cluster under load: nobody is refused who should not be, and the limit is exact', { timeout: 180_000 }, async (t) => {
  const LIMIT = 900
  const config = {
    jwt,
    store: store(),
    rateLimit: [{ name: 'api', limit: LIMIT, window: '300d', algorithm: 'fixed-window', exact: true, onStoreFailure: 'closed' }, { name: 'inside', concurrent: 200 }]
  }
  const guard = createGuard(config)
  t.after(() => guard.close())
  await guard.ready()
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' }, { expiresIn: '1h' })
  const service = fork(fileURLToPath(new URL('./helpers/cluster-process.mjs', import.meta.url)), {
    env: { ...process.env, SERVICE: JSON.stringify({ config, workers: 3 }) }
  })
  const next = async () => (await once(service, 'message'))[0]
  const { port } = await next()
  const counts = {}
  const over = new AbortController()
  const load = async () => {
    while (!over.signal.aborted) {
      const { status, json } = await send(port, { headers: bearer(accessToken) })
      const outcome = json?.code ?? status
      counts[outcome] = (counts[outcome] ?? 0) + 1
    }
  }
  const loads = Array.from({ length: 6 }, load)
  for (let round = 0; round < 2; round += 1) {
    service.send('restart')
    const { ends } = await next()
    assert.deepEqual(ends, Array.from({ length: 3 }, () => [0, null]))
  }
  while ((counts.rate_limited ?? 0) < 50) await Promise.race([...loads, new Promise((resolve) => setTimeout(resolve, 50))])
  over.abort()
  await Promise.all(loads)
  assert.deepEqual(Object.keys(counts).toSorted(), ['200', 'rate_limited'], JSON.stringify(counts))
  assert.equal(counts[200], LIMIT)
  assert.equal((await guard.limits.get('inside', '127.0.0.1')).taken, 0)
  service.send('stop')
  assert.deepEqual(await once(service, 'exit'), [0, null])
})

/** Runs a text in a process that has `config`, until it ends. */
async function run(script, config) {
  const child = spawn(process.execPath, ['--expose-gc', '-e', script], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, CONFIG: JSON.stringify(config) } })
  let [out, errors] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  const [code, signal] = await once(child, 'close')
  return { code, signal, out, errors }
}

// Each revocation that was acknowledged is written out before the next turn of the event loop.
const REVOKES = `
const { writeSync } = require('node:fs')
const guard = require('keepstone').createGuard(JSON.parse(process.env.CONFIG))
let [session, acknowledged] = [0, 0]
const revoke = async () => {
  const name = 'session ' + (session += 1)
  await guard.revoke.session(name)
  writeSync(1, name + '\\n')
  if ((acknowledged += 1) === 40) setTimeout(END, Math.random() * 40)
  setImmediate(revoke)
}
guard.ready().then(() => {
  for (let i = 0; i < 20; i += 1) revoke()
})
`
const ENDS = {
  'process.exit': ['() => process.exit(0)', 0, null],
  'process.exit in a callback of the call': ["() => guard.revoke.session('last').then(() => process.exit(0))", 0, null],
  'an exception that nobody catches': ["() => { throw new Error('x') }", 1, null],
  'a signal': ["() => process.kill(process.pid, 'SIGTERM')", null, 'SIGTERM'],
  'a crash': ["() => process.kill(process.pid, 'SIGKILL')", null, 'SIGKILL']
}

for (const [what, [end, code, signal]] of Object.entries(ENDS)) {
  test(`${what}: every revocation that was acknowledged is in force, whatever was under way`, { timeout: 60_000 }, async (t) => {
    const config = { jwt, store: store(), rateLimit: false }
    const ended = await run(REVOKES.replace('END', end), config)
    assert.deepEqual([ended.code, ended.signal], [code, signal], ended.errors)
    const sessions = ended.out.trim().split('\n')
    assert.ok(sessions.length >= 40, `${sessions.length} were acknowledged`)
    const guard = createGuard(config)
    t.after(() => guard.close())
    await guard.ready()
    const { accessToken } = await guard.tokens.issue({ sub: 'ada', sid: 'another session' })
    assert.ok(await guard.tokens.verify(accessToken))
    for (const sid of sessions) {
      const token = (await guard.tokens.issue({ sub: 'ada', sid })).accessToken
      await assert.rejects(guard.tokens.verify(token), { code: 'token_revoked' }, sid)
    }
  })
}

test('an exception that the process lives through: the guard goes on, and the place of its request comes back', { timeout: 60_000 }, async () => {
  const script = `
const http = require('node:http')
const guard = require('keepstone').createGuard(JSON.parse(process.env.CONFIG))
const [protect] = guard.securityStack()
const server = http.createServer((req, res) => protect(req, res, () => {
  if (req.url === '/throw') throw new Error('of the application')
  res.end('ok')
}))
process.on('uncaughtException', () => {})
server.listen(0, '127.0.0.1', async () => {
  const get = (path) => new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port: server.address().port, path, agent: false, timeout: 300 }, (res) => res.resume().on('end', () => resolve(res.statusCode)))
    request.on('timeout', () => request.destroy()).on('error', () => resolve('cut'))
  })
  const answers = await Promise.all([1, 2, 3].map(() => get('/throw')))
  answers.push(await get('/'))
  await new Promise((resolve) => setTimeout(resolve, 200))
  const { taken } = await guard.limits.get('inside', '127.0.0.1')
  console.log(JSON.stringify({ answers, taken }))
  server.close()
})`
  for (const where of [{}, { store: store() }]) {
    const { code, out, errors } = await run(script, { ...where, rateLimit: { name: 'inside', concurrent: 5 } })
    assert.equal(code, 0, errors)
    assert.deepEqual(JSON.parse(out), { answers: ['cut', 'cut', 'cut', 200], taken: 0 })
  }
})

const MANY = `
const { readdirSync, mkdtempSync } = require('node:fs')
const { createGuard } = require('keepstone')
const { config, rotation } = JSON.parse(process.env.CONFIG)
const measure = () => {
  gc()
  const files = process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0
  const threads = process.platform === 'linux' ? readdirSync('/proc/self/task').length : 0
  return { files, threads, rss: process.memoryUsage().rss / 1024 }
}
const build = (i) => {
  const guard = createGuard(rotation ? { ...config, jwt: { ...config.jwt, rotation: { storage: rotation } } } : config)
  guard.securityStack()
  return guard
}
;(async () => {
  await build(0).close()
  const first = build(0)
  await first.ready()
  const before = measure()
  let start = performance.now()
  const guards = Array.from({ length: 1000 }, (_, i) => build(i))
  const created = performance.now() - start
  await Promise.all(guards.map((guard) => guard.ready()))
  await new Promise((resolve) => setTimeout(resolve, 500))
  const open = measure()
  const healthy = guards.filter((guard) => guard.health().ready).length
  start = performance.now()
  await Promise.all(guards.map((guard) => guard.close()))
  const closed = performance.now() - start
  // One after the other, until the allocator has what it keeps for later; then what leaks shows.
  for (let i = 0; i < 3000; i += 1) await build(i).close()
  await new Promise((resolve) => setTimeout(resolve, 500))
  const middle = measure()
  for (let i = 0; i < 3000; i += 1) await build(i).close()
  await new Promise((resolve) => setTimeout(resolve, 500))
  const after = measure()
  await first.close()
  console.log(JSON.stringify({ created, closed, healthy, before, open, middle, after }))
})()`

const MANY_CONFIGS = {
  'on their own': () => ({ config: {} }),
  'with tokens, limits and a shared memory store': () => ({ config: { jwt, store: { memory: { shared: 'many' } }, rateLimit: { name: 'api', limit: 10, window: '1m' } } }),
  'with one key file': () => ({ config: { jwt: { issuer: ISSUER, audience: AUDIENCE }, rateLimit: false }, rotation: join(folder, 'keys.json') }),
  'with one Redis': () => ({ config: { jwt, store: store(), rateLimit: { name: 'api', limit: 10, window: '1m' } } })
}

for (const [what, options] of Object.entries(MANY_CONFIGS)) {
  test(`1,000 guards ${what}: they share what they can, and leave nothing behind`, { timeout: 240_000 }, async (t) => {
    const { code, out, errors } = await run(MANY, options())
    assert.equal(code, 0, errors)
    const report = JSON.parse(out)
    t.diagnostic(out.trim())
    assert.equal(report.healthy, 1000)
    assert.ok(report.open.files <= report.before.files + 8, 'they share their connections')
    assert.ok(report.open.threads <= report.before.threads + 4, 'they share their threads')
    assert.ok(report.open.rss - report.before.rss < 200_000, 'a guard takes less than 200 kB')
    assert.ok(report.after.files <= report.before.files + 1, 'no connection is left')
    assert.ok(report.after.threads <= report.before.threads, 'no thread is left')
    // The allocator keeps some: 3,000 guards would take 100 MB and more.
    assert.ok(report.after.rss - report.middle.rss < 40_000, 'no memory is left')
  })
}

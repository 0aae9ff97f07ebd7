// Worker threads that are terminated wherever they are: in the core, in a function of the
// application, while they wait. Their process goes on, and what they held comes back.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { after } from 'node:test'
import { Worker } from 'node:worker_threads'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { startRedis } from './helpers/servers.mjs'

const redis = await startRedis()
const folder = mkdtempSync(join(tmpdir(), 'keepstone-threads-'))
after(async () => {
  await redis.stop()
  rmSync(folder, { recursive: true })
})
const program = fileURLToPath(new URL('./helpers/thread-process.mjs', import.meta.url))

/** Runs the program to its end, and gives what it has reported. */
async function run(args) {
  const child = spawn(process.execPath, [program, JSON.stringify(args)], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, errors] = ['', '']
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  const [code, signal] = await once(child, 'close')
  assert.deepEqual([code, signal], [0, null], `${errors}\n${out}`)
  return JSON.parse(out)
}

const stores = {
  memory: () => ({ memory: { shared: 'threads' } }),
  redis: () => ({ redis: { url: redis.url, prefix: 'threads:', timeout: '5s' } })
}

for (const [kind, store] of Object.entries(stores)) {
  test(`${kind}: worker threads that are terminated at any point of a decision take nothing with them`, { timeout: 300_000 }, async (t) => {
    const report = await run({ store: store(), folder: mkdtempSync(join(folder, kind)), rounds: 5 })
    t.diagnostic(JSON.stringify(report))
    assert.equal(report.terminated, 65)
    for (const [point, { reached }] of Object.entries(report.points)) assert.equal(reached, 5, `a worker was there: ${point}`)
    // Each that was acknowledged is counted, and none that nobody has asked for.
    assert.ok(report.acknowledged <= report.counted && report.counted <= report.asked, JSON.stringify(report))
    assert.ok(report.acknowledged > 0)
    assert.equal(report.taken, 0, 'all places are free')
    assert.deepEqual(report.statuses, [200, 200, 401])
    assert.ok(report.threads.after <= report.threads.before, JSON.stringify(report.threads))
    assert.ok(report.files.after <= report.files.before, JSON.stringify(report.files))
    assert.ok(report.rss.after < report.rss.before + 96, JSON.stringify(report.rss))
  })
}

test('threads share the memory store of one name: counts, blocks, revocations and sessions, and nothing with another name', { timeout: 60_000 }, async (t) => {
  const config = (shared) => ({ jwt: { ...jwt, optional: true, refresh: true }, store: { memory: shared }, rateLimit: { name: 'api', limit: 100, window: '300d', algorithm: 'fixed-window' } })
  const guards = [{ shared: 'some' }, { shared: 'others' }, {}].map((shared) => createGuard(config(shared)))
  t.after(() => Promise.all(guards.map((guard) => guard.close())))
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const guard = require(workerData.entry).createGuard(workerData.config)
     parentPort.on('message', async ([owner, call, ...args]) => {
       const answer = await guard[owner][call](...args).then((value) => ({ value }), ({ code }) => ({ code }))
       parentPort.postMessage(answer)
     })`,
    { eval: true, workerData: { config: config({ shared: 'some' }), entry: fileURLToPath(new URL('../index.js', import.meta.url)) } }
  )
  t.after(() => worker.terminate())
  const there = async (...call) => {
    worker.postMessage(call)
    return (await once(worker, 'message'))[0]
  }
  const [guard, ...others] = guards
  await there('limits', 'consume', 'api', '192.0.2.1')
  assert.equal((await guard.limits.get('api', '192.0.2.1')).remaining, 99)
  for (const other of others) assert.equal((await other.limits.get('api', '192.0.2.1')).remaining, 100)

  const { accessToken, refreshToken } = (await there('tokens', 'issue', { sub: 'ada' })).value
  const next = await guard.tokens.refresh(refreshToken)
  for (const other of others) await assert.rejects(other.tokens.refresh(next.refreshToken), { code: 'ERR_REFRESH_INVALID' })
  await guard.revoke.token(accessToken)
  assert.deepEqual(await there('tokens', 'verify', accessToken), { code: 'token_revoked' })
  for (const other of others) assert.equal((await other.tokens.verify(accessToken)).sub, 'ada')

  await guard.limits.block('api', '192.0.2.2', '1h')
  assert.equal((await there('limits', 'get', 'api', '192.0.2.2')).value.remaining, 0)
  for (const other of others) assert.equal((await other.limits.get('api', '192.0.2.2')).remaining, 100)
})

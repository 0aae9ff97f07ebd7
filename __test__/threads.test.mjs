// Worker threads that are terminated wherever they are: in the core, in a function of the
// application, while they wait. Their process goes on, and what they held comes back.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test, { after } from 'node:test'
import { startRedis } from './helpers/servers.mjs'

const redis = await startRedis()
after(() => redis.stop())
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
    const report = await run({ store: store(), rounds: 5 })
    t.diagnostic(JSON.stringify(report))
    assert.equal(report.terminated, 55)
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

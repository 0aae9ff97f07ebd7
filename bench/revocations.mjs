// Revocations that processes share through Redis: how soon they are known, and what a million of
// them take. See README.md. Usage: node bench/revocations.mjs [spread|million ...]

import { randomBytes } from 'node:crypto'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient } from './lib/redis.mjs'
import { cpuOf, startRedis, startServer, stop } from './lib/processes.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
process.env.KEEPSTONE_ROOT = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..'))
const worker = path.join(here, 'servers', 'revocations.cjs')
const experiments = { spread, million }
const chosen = process.argv.slice(2)

const at = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]

const redis = await startRedis()
const client = await createClient(Number(new URL(redis.url).port))
const secret = randomBytes(48).toString('base64url')
const start = () => startServer(worker, { redis: redis.url, secret }, { pinned: false })
for (const name of chosen.length > 0 ? chosen : Object.keys(experiments)) {
  await client.command('FLUSHALL')
  await experiments[name]()
}
await stop(redis.child)
process.exit(0)

/** 8 processes that watch, one of which revokes: how long until each of them refuses. */
async function spread() {
  const all = await Promise.all(Array.from({ length: 8 }, start))
  const delays = []
  for (let i = 0; i < 200; i += 1) {
    const revoker = all[i % all.length]
    const { token } = await revoker.ask('issue')
    const watching = all.map((one) => one.ask('watch', { token }))
    const { stored } = await revoker.ask('revoke', { token })
    for (const { at: refused } of await Promise.all(watching)) delays.push(Math.max(0, refused - stored))
  }
  delays.sort((a, b) => a - b)
  console.log(`spread: 200 revocations, 8 processes, ms from acknowledged to refused everywhere: p50 ${at(delays, 0.5)}, p99 ${at(delays, 0.99)}, most ${delays.at(-1)}`)
  for (const one of all) await stop(one.child)
}

/**
 * A million revocations: bytes in Redis and in a process, and how long a new process takes to know
 * them.
 */
async function million() {
  const count = Number(process.env.REVOCATIONS ?? 1_000_000)
  const writers = await Promise.all([start(), start()])
  const began = Date.now()
  await Promise.all(writers.map((one, i) => one.ask('fill', { from: i * (count / 2), count: count / 2 })))
  console.log(`million: ${count} revoked in ${((Date.now() - began) / 1000).toFixed(1)} s`)
  for (const one of writers) await stop(one.child)
  const key = /\$\d+\r\n(\S*rev\S*)\r\n/.exec(await client.command('KEYS', '*rev*'))?.[1]
  const bytes = Number((await client.command('MEMORY', 'USAGE', key, 'SAMPLES', '0')).slice(1))
  console.log(`  ${(bytes / count).toFixed(1)} bytes each in Redis`)
  for (let round = 0; round < 3; round += 1) {
    const before = cpuOf(redis.child)
    const late = await start()
    const { health, rss } = await late.ask('health')
    console.log(`  a new process was ready after ${late.port} ms with ${health.revoked.tokens} tokens, ${(rss / 1e6).toFixed(0)} MB in all; ${cpuOf(late.child) / 1000} ms of its processor, ${(cpuOf(redis.child) - before) / 1000} ms of Redis'`)
    await stop(late.child)
  }
}

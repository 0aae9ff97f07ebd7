// Whether a service stays as it is under mixed traffic: its memory, handles and open files.
// Usage: npm run soak -- [minutes, 30] [stores, memory,redis]

import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startServer } from '../__test__/helpers/processes.mjs'
import { startRedis } from '../__test__/helpers/redis.mjs'
import { randomBy } from './random.mjs'
import { ask } from './services.mjs'
import { soakClient } from './soak-traffic.mjs'
import { slope, verdict } from './soak-verdict.mjs'
import { now } from './time.mjs'

const CLIENTS = 12
const SAMPLE_EVERY = 10_000
const program = fileURLToPath(new URL('./soak-service.mjs', import.meta.url))

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(code))

const [minutes = '30', names = 'memory,redis'] = process.argv.slice(2)
const kinds = names.split(',')
if (!(Number(minutes) > 0) || kinds.some((kind) => !['memory', 'redis'].includes(kind))) {
  console.error('usage: npm run soak -- [minutes, 30] [stores, of memory,redis]')
  process.exit(2)
}

async function startService(store) {
  return await startServer({
    program: process.execPath,
    args: (port) => ['--expose-gc', program, String(port), JSON.stringify(store)],
    isReady: async (port) => (await ask(port, { path: '/ready' })).status === 200
  })
}

/** Traffic that can be held, so that nothing is under way when a sample is taken. */
function startTraffic({ port }) {
  const traffic = { acts: 0, underWay: 0, held: false, over: false }
  const run = async (client) => {
    while (!traffic.over) {
      if (traffic.held) {
        await sleep(20)
        continue
      }
      traffic.underWay += 1
      await client.act()
      traffic.underWay -= 1
      traffic.acts += 1
    }
  }
  const running = Array.from({ length: CLIENTS }, (_, i) => run(soakClient(port, randomBy(i + 1), i)))
  return Object.assign(traffic, {
    running,
    async hold() {
      traffic.held = true
      while (traffic.underWay > 0) await sleep(10)
      // The service sees the last connections close.
      await sleep(300)
    },
    goOn: () => (traffic.held = false)
  })
}

async function soak(kind, ms) {
  const redis = kind === 'redis' ? await startRedis() : undefined
  const service = await startService(redis ? { redis: { url: redis.url, timeout: '1s' } } : { memory: {} })
  const traffic = startTraffic(service)
  const samples = []
  const start = now()
  while (now() - start < ms) {
    await sleep(SAMPLE_EVERY)
    await traffic.hold()
    const { json } = await ask(service.port, { path: '/sample' })
    samples.push({ at: now() - start, ...json })
    traffic.goOn()
  }
  traffic.over = true
  await Promise.all(traffic.running)
  await Promise.all([service, redis].map((server) => server?.stop()))
  return { kind, samples, acts: traffic.acts }
}

const mb = (bytes) => (bytes / 1_048_576).toFixed(1)
const handlesText = (handles) => Object.entries(handles).map(([name, count]) => `${name} ${count}`).join(', ')

function print({ kind, samples, acts }) {
  const step = Math.max(1, Math.floor(samples.length / 10))
  console.log(`\n== ${kind}: ${acts} acts of ${CLIENTS} clients, ${samples.length} samples`)
  for (const { at, rss, heapUsed, files, handles, p99, keys, bytes, revoked } of samples.filter((_, i) => i % step === 0 || i === samples.length - 1)) {
    console.log(`  ${(at / 60_000).toFixed(1)} min: RSS ${mb(rss)} MB, heap ${mb(heapUsed)} MB, ${files} files, p99 of the loop ${p99.toFixed(0)} ms, store ${keys} keys ${mb(bytes)} MB, revoked ${revoked.tokens} tokens ${revoked.sessions} sessions; ${handlesText(handles)}`)
  }
  const { text, holds } = verdict(samples)
  console.log(`  slope of RSS over the last two thirds: ${slope(samples).toFixed(2)} MB in 30 min\n  ${text}`)
  return holds
}

// At once, each in a process of its own.
const results = await Promise.all(kinds.map((kind) => soak(kind, Number(minutes) * 60_000)))
const all = results.map(print)
process.exit(all.every(Boolean) ? 0 : 1)

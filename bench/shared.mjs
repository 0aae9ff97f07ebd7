// Limits over Redis: whether they hold when many processes ask at once, and what a decision costs.
// See README.md. Usage: node bench/shared.mjs [exact|lease|busy|cost ...]

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createClient } from './lib/redis.mjs'
import { cpuOf, startRedis, startServer, stop } from './lib/processes.mjs'
import { median } from './lib/stats.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
process.env.KEEPSTONE_ROOT = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..'))
const worker = path.join(here, 'servers', 'limits.cjs')
const chosen = process.argv.slice(2)
const experiments = { exact, lease, busy, cost }

const sum = (numbers) => numbers.reduce((all, number) => all + number, 0)
const total = (reports, status) => sum(reports.map(({ statuses }) => statuses[status] ?? 0))

const redis = await startRedis()
const client = await createClient(Number(new URL(redis.url).port))
for (const name of chosen.length > 0 ? chosen : Object.keys(experiments)) await experiments[name]()
await stop(redis.child)
process.exit(0)

/** Starts `count` processes, lets `use` work with them, and ends them. */
async function processes(count, settings, use) {
  await client.command('FLUSHALL')
  const started = await Promise.all(
    Array.from({ length: count }, () => startServer(worker, { redis: redis.url, ...settings }, { pinned: count === 1 })),
  )
  await client.command('CONFIG', 'RESETSTAT')
  const redisBefore = cpuOf(redis.child)
  try {
    return await use(async (ask, what) => {
      const reports = await Promise.all(started.map((one) => one.ask(ask, what)))
      const commands = await client.commandStats()
      return { reports, commands, redisCpu: cpuOf(redis.child) - redisBefore }
    })
  } finally {
    for (const one of started) await stop(one.child)
  }
}

/**
 * 8 processes, 100 keys, a million decisions, every one asked: nobody gets more than the limit and
 * what came back.
 */
async function exact() {
  const limit = 2000
  const policies = [{ name: 'exact', limit, seconds: 60, exact: true }]
  await processes(8, { limiter: 'keepstone', policies }, async (all) => {
    const { reports, commands } = await all('hammer', { count: 131_072, keys: 100, inFlight: 32 })
    const seconds = (Math.max(...reports.map((r) => r.ended)) - Math.min(...reports.map((r) => r.began))) / 1000
    const bound = limit + Math.ceil((limit * seconds) / 60)
    const admitted = Array.from({ length: 100 }, (_, key) => sum(reports.map((r) => r.admitted[key])))
    const decisions = sum(reports.flatMap((r) => Object.values(r.statuses)))
    console.log(`exact: ${decisions} decisions of 8 processes on 100 keys in ${seconds.toFixed(1)} s`)
    console.log(`  admitted per key ${Math.min(...admitted)} to ${Math.max(...admitted)}, bound ${bound}: ${admitted.every((n) => n <= bound) ? 'held' : 'BROKEN'}`)
    console.log(`  statuses 200: ${total(reports, 200)}, 429: ${total(reports, 429)}, 503: ${total(reports, 503)}; calls of scripts per decision ${(commands.evalsha.calls / decisions).toFixed(3)}`)
  })
}

/** Requests at random, 8 processes: how few of them ask, and whether the stated bound holds. */
async function lease() {
  for (const { rate, keys, load } of [
    { rate: 100, keys: 40, load: 0.6 },
    { rate: 100, keys: 40, load: 0.95 },
    { rate: 100, keys: 20, load: 3 },
    { rate: 1000, keys: 6, load: 0.9 },
    { rate: 1000, keys: 3, load: 3 },
  ]) {
    const seconds = 25
    const limit = rate * 60
    const burst = rate * 6
    const policies = [{ name: 'lease', limit, seconds: 60, burst }]
    await processes(8, { limiter: 'keepstone', policies }, async (all) => {
      const { reports, commands } = await all('arrive', { keys, rate: (rate * load) / 8, seconds })
      const elapsed = (Math.max(...reports.map((r) => r.ended)) - Math.min(...reports.map((r) => r.began))) / 1000
      const admitted = Array.from({ length: keys }, (_, key) => sum(reports.map((r) => r.admitted[key])))
      const decisions = sum(reports.flatMap((r) => Object.values(r.statuses)))
      const bound = burst + rate * (elapsed + 1)
      const ideal = Math.min(decisions / keys, burst + rate * seconds)
      console.log(`lease: ${rate}/s per key at ${load * 100} % load, ${decisions} decisions: ${(commands.evalsha.calls / decisions).toFixed(3)} calls per decision, admitted ${(sum(admitted) / keys / ideal * 100).toFixed(1)} % of what could be, at most ${Math.max(...admitted)} of ${Math.round(bound)}: ${admitted.every((n) => n <= bound) ? 'held' : 'BROKEN'}`)
    })
  }
}

/**
 * One busy key in one process, at a part of its limit: how many requests ask the store. Rates
 * beyond `BUSY_MOST` per second (15,000) are brought down to it, as one process has no more.
 */
async function busy() {
  const most = Number(process.env.BUSY_MOST ?? 15_000)
  const [seconds, parts] = [4, [0.1, 0.3, 0.6, 0.9]]
  for (const limit of [100, 1000, 1e4, 1e5, 1e6, 1e7]) {
    for (const part of parts) {
      const rate = Math.min((limit / 60) * part, most)
      const policies = [{ name: 'busy', limit, seconds: 60 }]
      await processes(1, { limiter: 'keepstone', policies }, async (all) => {
        const { reports, commands } = await all('arrive', { keys: 1, rate, seconds })
        const decisions = sum(reports.flatMap((r) => Object.values(r.statuses)))
        const calls = commands.evalsha?.calls ?? 0
        console.log(`busy: ${limit} per minute at ${part * 100} %, ${rate.toFixed(1)}/s, ${decisions} decisions: ${(calls / Math.max(decisions, 1)).toFixed(3)} calls per decision, not admitted ${total(reports, 429) + total(reports, 503)}`)
      })
    }
  }
}

/** What a decision costs beside rate-limiter-flexible: in this process, and in Redis. */
async function cost() {
  const policies = [1, 60, 3600].map((seconds, i) => ({ name: `p${i}`, limit: 200_000 * seconds, seconds, exact: true }))
  for (const count of [1, 3]) {
    const rounds = []
    for (let round = 0; round < 5; round += 1) {
      const measure = (limiter) =>
        processes(1, { limiter, policies: policies.slice(0, count) }, async (all) => {
          await all('hammer', { count: 20_000, keys: 5000, inFlight: 64 })
          await client.command('CONFIG', 'RESETSTAT')
          const redisBefore = cpuOf(redis.child)
          const { reports, commands } = await all('hammer', { count: 60_000, keys: 5000, inFlight: 64 })
          const decisions = 60_000
          return { process: reports[0].cpu / decisions, redis: (cpuOf(redis.child) - redisBefore) / decisions, script: commands.evalsha.usec / decisions }
        })
      rounds.push({ keepstone: await measure('keepstone'), flexible: await measure('flexible') })
    }
    for (const what of ['process', 'redis', 'script']) {
      const [ours, theirs] = ['keepstone', 'flexible'].map((name) => median(rounds.map((round) => round[name][what])))
      const ratio = median(rounds.map((round) => round.keepstone[what] / round.flexible[what]))
      console.log(`cost, ${count} ${count === 1 ? 'policy' : 'policies'}, us of ${what} per decision: keepstone ${ours.toFixed(1)}, rate-limiter-flexible ${theirs.toFixed(1)}, ratio ${ratio.toFixed(2)}`)
    }
  }
}

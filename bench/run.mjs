// Measures the same route under the same load in several stacks, side by side. See README.md for
// what each one does, and `node bench/run.mjs --help`.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { requests } from './lib/fixtures.mjs'
import { chooseTool, load } from './lib/load.mjs'
import { REDIS_MISSING, cpuOf, has, pins, startRedis, startServer, stop } from './lib/processes.mjs'
import { fileOf, settingsOf, stacks } from './lib/stacks.mjs'
import { median, number, paired, spread, table, withRange } from './lib/stats.mjs'
import { tightLimits, verify, verifyLimits } from './lib/verify.mjs'
import { layerStacks } from './layers.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

// Another build of keepstone, relative to where we were called; the servers read it too.
const keepstone = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..'))
process.env.KEEPSTONE_ROOT = keepstone

const usage = `node bench/run.mjs [options]

  --rounds N         rounds, each stack once per round        (9; with --layers 5)
  --seconds N        seconds per stack and round, whole       (2; with --layers 1)
  --warmup N         most seconds of load before the rounds   (8; with --layers 5)
  --connections N    connections kept busy                    (32)
  --only A,B         these stacks only (bare always runs)
  --layers           the cost of each layer instead of the stacks
  --load TOOL        wrk or autocannon                        (wrk if installed)
  --json FILE        every measurement, for other programs

Stacks: ${stacks.map(({ name }) => name).join(', ')}`

function fail(message) {
  console.error(message)
  process.exit(1)
}

function readOptions() {
  const text = { type: 'string' }
  const flag = { type: 'boolean', default: false }
  let values
  try {
    ;({ values } = parseArgs({
      options: { rounds: text, seconds: text, warmup: text, connections: text, only: text, load: text, json: text, layers: flag, help: flag },
    }))
  } catch (error) {
    fail(`${error.message}\n\n${usage}`)
  }
  if (values.help) {
    console.log(usage)
    process.exit(0)
  }
  const whole = (name, standard) => {
    const value = Number(values[name] ?? standard)
    return Number.isInteger(value) && value > 0 ? value : fail(`--${name} must be a whole number above 0`)
  }
  const { layers } = values
  if (![undefined, 'wrk', 'autocannon'].includes(values.load)) fail('--load must be wrk or autocannon')
  const known = (layers ? layerStacks : stacks).map(({ name }) => name)
  const only = values.only?.split(',')
  const unknown = only?.find((name) => !known.includes(name))
  if (unknown !== undefined) fail(`--only: no stack is called ${unknown}; there are ${known.join(', ')}`)
  return {
    layers,
    only,
    json: values.json,
    tool: chooseTool(values.load),
    rounds: whole('rounds', layers ? 5 : 9),
    seconds: whole('seconds', layers ? 1 : 2),
    warmup: whole('warmup', layers ? 5 : 8),
    connections: whole('connections', 32),
  }
}

/**
 * The stacks of this run, without those whose needs are not met here; says loudly which and why.
 */
function choose({ layers, only }) {
  const skipped = []
  const noKeepstone = whyNoKeepstone()
  const chosen = (layers ? layerStacks : stacks).filter((stack) => {
    if (only !== undefined && stack.name !== 'bare' && stack.name !== layersBase(stack) && !only.includes(stack.name)) return false
    const missing =
      stack.database !== undefined && !has('redis-server')
        ? REDIS_MISSING
        : stack.file === 'keepstone.cjs'
          ? noKeepstone
          : null
    if (missing === null) return true
    skipped.push({ name: stack.name, why: missing })
    return false
  })
  return { chosen, skipped }

  // With --only, the rows that a wanted row is counted from are wanted as well.
  function layersBase(stack) {
    if (!layers) return null
    const wanted = layerStacks.filter(({ name }) => only.includes(name))
    return wanted.some(({ over }) => over === stack.name) ? stack.name : null
  }
}

/** Why keepstone cannot be measured here; null when it can. */
function whyNoKeepstone() {
  const trial = spawnSync(process.execPath, ['-e', 'require(process.argv[1]).createGuard.name', keepstone], { encoding: 'utf8' })
  if (trial.status === 0) return null
  const reason = /^\w*Error.*$/m.exec(trial.stderr)?.[0] ?? `ended with ${trial.signal ?? trial.status}`
  return `keepstone does not load (npm ci && npm run build in the repository): ${reason}`
}

/** What was left out, one line for each reason. */
function sayings(skipped) {
  return [...new Set(skipped.map(({ why }) => why))].map((why) => {
    const names = skipped.filter((skip) => skip.why === why).map(({ name }) => name)
    return `SKIPPED: ${names.join(', ')}: ${why}`
  })
}

/**
 * Starts, checks and keeps a server for each stack. One that does not start joins `skipped`; one
 * that fails its checks ends the run, since its figures would be no figures.
 */
async function startAll(chosen, skipped, redis, layers) {
  const running = []
  for (const stack of chosen) {
    let server
    try {
      server = await startServer(fileOf(stack), settingsOf(stack, redis?.url))
    } catch (error) {
      if (stack.name === 'bare') throw error
      skipped.push({ name: stack.name, why: `does not start: ${/^\w*Error.*$/m.exec(error.message)?.[0] ?? error.message}` })
      console.error(sayings(skipped.slice(-1))[0])
      continue
    }
    let checks = 0
    if (!layers && stack.layers.includes('limit')) {
      const probe = await startServer(fileOf(stack), settingsOf(stack, redis?.url, { limits: tightLimits, database: 15 - (stack.database ?? 0) }))
      checks += await verifyLimits(stack, probe)
      await stop(probe.child)
    }
    checks += await verify(stack, server)
    console.error(`checked ${stack.name}: ${checks} checks passed`)
    running.push({ stack, server, rounds: [] })
  }
  return running
}

/**
 * Time the server's own processor was busy, and in all, in milliseconds; zeros where the server is
 * not pinned.
 */
function processorTimes() {
  const times = pins === null ? {} : os.cpus()[pins.server].times
  const total = Object.values(times).reduce((sum, value) => sum + value, 0)
  return { busy: total - (times.idle ?? 0), total }
}

async function measure({ stack, server }, run, seconds, redis) {
  const redisBefore = redis === null ? null : cpuOf(redis.child)
  const before = await server.ask('usage')
  const processorBefore = processorTimes()
  const result = await run(server.url, seconds)
  const after = await server.ask('usage')
  const processorAfter = processorTimes()
  const redisAfter = redis === null ? null : cpuOf(redis.child)

  const served = after.served - before.served
  if (result.refused > 0 || result.failed > 0) {
    fail(`${stack.name}: ${result.refused} answers were not 2xx and ${result.failed} requests failed under load\n${server.output()}`)
  }
  if (served < result.requests) fail(`${stack.name}: ${result.requests} answers, but the handler ran ${served} times`)

  const cpu = after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system
  const processor = { busy: processorAfter.busy - processorBefore.busy, total: processorAfter.total - processorBefore.total }
  const share = (ms) => (processor.total > 0 ? Math.max(0, ms) / processor.total : 0)
  return {
    rps: result.requests / result.seconds,
    p50: result.p50,
    p99: result.p99,
    cpu: cpu / served, // microseconds per request
    idle: share(processor.total - processor.busy),
    others: share(processor.busy - cpu / 1000), // other processes on the server's processor
    redis: stack.database === undefined || redisBefore === null ? null : (redisAfter - redisBefore) / served,
  }
}

/**
 * Until V8 has seen the hot path often enough to have compiled it; counted in requests, for a slow
 * stack needs longer.
 */
async function warm({ server }, run, seconds) {
  for (let second = 0; second < seconds; second += 1) {
    await run(server.url, 1)
    if ((await server.ask('usage')).served >= 15_000) return
  }
}

const percent = (share) => `${number(share * 100, 0)} %`
const column = (entry, key) => entry.rounds.map((round) => round[key])

function stackReport(entries) {
  const find = (name) => entries.find(({ stack }) => stack.name === name)
  const bare = find('bare')
  const articles = find('articles')
  const results = entries.map((entry) => {
    const over = (key, other, combine) => (other === undefined ? null : paired(column(entry, key), column(other, key), combine))
    return {
      name: entry.stack.name,
      what: entry.stack.what,
      rps: spread(column(entry, 'rps')),
      p50: spread(column(entry, 'p50')),
      p99: spread(column(entry, 'p99')),
      cpu: spread(column(entry, 'cpu')),
      idle: median(column(entry, 'idle')),
      redis: entry.rounds[0].redis === null ? null : spread(column(entry, 'redis')),
      addedCpu: over('cpu', bare, (mine, floor) => mine - floor),
      cpuToBare: over('cpu', bare, (mine, floor) => mine / floor),
      rpsToBare: over('rps', bare, (mine, floor) => mine / floor),
      cpuToArticles: over('cpu', articles, (mine, theirs) => mine / theirs),
      rpsToArticles: over('rps', articles, (mine, theirs) => mine / theirs),
      rounds: entry.rounds,
    }
  })
  const times = (value) => (value === null ? '-' : `${number(value.median, 2)}x (${number(value.min, 2)}-${number(value.max, 2)})`)
  const text = [
    table(
      ['stack', 'requests/s', 'p50 ms', 'p99 ms', 'CPU us/request', 'added us', 'Redis us/request'],
      results.map((result) => [
        result.name,
        withRange(result.rps, 0),
        withRange(result.p50, 1),
        withRange(result.p99, 1),
        withRange(result.cpu, 1),
        result.name === 'bare' ? '-' : withRange(result.addedCpu, 1),
        result.redis === null ? '-' : withRange(result.redis, 1),
      ]),
    ),
    table(
      ['ratio', 'requests/s to bare', 'requests/s to articles', 'CPU to bare', 'CPU to articles'],
      results.map((result) => [
        result.name,
        times(result.rpsToBare),
        times(result.rpsToArticles),
        times(result.cpuToBare),
        times(result.cpuToArticles),
      ]),
    ),
    results.map(({ name, what }) => `  ${name}: ${what}`).join('\n'),
  ].join('\n\n')
  return { results, text }
}

function layerReport(entries) {
  const find = (name) => entries.find(({ stack }) => stack.name === name)
  const results = entries.map((entry) => {
    const base = find(entry.stack.over) ?? find('bare')
    return {
      name: entry.stack.name,
      what: entry.stack.what,
      over: base.stack.name,
      cpu: spread(column(entry, 'cpu')),
      added: paired(column(entry, 'cpu'), column(base, 'cpu'), (mine, floor) => mine - floor),
      rounds: entry.rounds,
    }
  })
  const text = table(
    ['layer', 'what', 'CPU us/request', 'added us', 'over'],
    results.map((result) => [
      result.name,
      result.what,
      withRange(result.cpu, 1),
      result.name === 'bare' ? '-' : withRange(result.added, 1),
      result.name === 'bare' ? '-' : result.over,
    ]),
  )
  return { results, text }
}

async function main() {
  const options = readOptions()
  const { dependencies } = JSON.parse(readFileSync(path.join(here, 'package.json'), 'utf8'))
  if (!Object.keys(dependencies).every((name) => existsSync(path.join(here, 'node_modules', name)))) {
    console.error('installing the peers')
    if (spawnSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: here, stdio: 'inherit' }).status !== 0) fail('the peers could not be installed')
  }
  if (options.tool === 'autocannon') {
    if (!has('wrk')) console.error('wrk is not installed (Debian: apt-get install wrk; macOS: brew install wrk)')
    console.error('autocannon makes the load: it is slower than wrk, and with a fast stack its own limit shows in requests/s')
  }
  const { chosen, skipped } = choose(options)
  for (const line of sayings(skipped)) console.error(line)

  const { rounds, seconds, warmup, connections } = options
  const expected = chosen.length * (warmup + rounds * (seconds + 0.2) + 2)
  console.error(`${chosen.length} stacks, ${rounds} rounds of ${seconds} s: at most about ${Math.ceil(expected)} s`)
  setTimeout(() => fail('the run took twice as long as it should and was ended'), (expected * 2 + 60) * 1000).unref()

  const machine = {
    node: process.version,
    cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
    cpus: os.availableParallelism(),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    loadAtStart: os.loadavg()[0],
    pinned: pins !== null,
  }
  const needsRedis = chosen.some(({ database }) => database !== undefined)
  const redis = needsRedis ? await startRedis() : null
  const entries = await startAll(chosen, skipped, redis, options.layers)

  const run = load(options.tool, requests(), connections)
  for (const entry of entries) await warm(entry, run, warmup)
  for (let round = 0; round < rounds; round += 1) {
    // Another first stack each round, and every second round backwards, so that no stack always
    // follows the same one.
    const turn = entries.map((_, index) => entries[(index + round) % entries.length])
    if (round % 2 === 1) turn.reverse()
    for (const entry of turn) entry.rounds.push(await measure(entry, run, seconds, redis))
    console.error(`round ${round + 1} of ${rounds}`)
  }

  const { results, text } = options.layers ? layerReport(entries) : stackReport(entries)
  const how = `${options.tool}, ${connections} connections, ${rounds} rounds of ${seconds} s, medians (min-max)`
  console.log(`\nNode ${machine.node}, ${machine.cpu}, ${machine.cpus} processors, ${machine.system}`)
  console.log(`${how}; ${pins === null ? 'processes not pinned' : 'the server alone on one processor'}; load average at start ${number(machine.loadAtStart, 2)}\n`)
  console.log(text)
  if (!options.layers) {
    console.log(`
CPU is that of the server process with all its threads. Ratios are taken within each round; below 1 is less.
The peers run without a policy engine: the articles' OPA sidecar would add an HTTP call to every request.
p50 and p99 are under saturation, where latency is connections divided by throughput.`)
    for (const { name, idle } of results.filter((result) => result.idle > 0.1)) {
      console.log(`NOTE: the processor of ${name} idled ${percent(idle)} of the time: trust its CPU per request, not its requests/s.`)
    }
  }
  const others = median(entries.flatMap((entry) => column(entry, 'others')))
  if (others > 0.05) {
    console.log(`NOTE: other processes took ${percent(others)} of the server's processor: trust ratios and CPU per request only.`)
  }
  for (const line of sayings(skipped)) console.log(line)

  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ machine, options, versions: versions(), othersOnProcessor: others, results, skipped }, null, 2)}\n`)
  }
  for (const { server } of entries) await stop(server.child)
  if (redis !== null) await stop(redis.child)
  // What a token costs by itself, in a process of its own.
  const whole = !options.layers && options.only === undefined && whyNoKeepstone() === null
  if (whole) console.log()
  process.exit(whole ? spawnSync(process.execPath, [path.join(here, 'tokens.mjs')], { stdio: 'inherit' }).status ?? 1 : 0)
}

/** The exact peers that were measured. */
function versions() {
  const { dependencies } = JSON.parse(readFileSync(path.join(here, 'package.json'), 'utf8'))
  return dependencies
}

main().catch((error) => fail(error.stack))

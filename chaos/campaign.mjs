// One store, the service on it under load, and faults for some time.

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../__test__/helpers/processes.mjs'
import { keepBusy, stayPolite, takePlaces, useUp } from './clients/limits.mjs'
import { useLists } from './clients/lists.mjs'
import { useProofs } from './clients/proofs.mjs'
import { useSessions } from './clients/tokens.mjs'
import { settle } from './faults.mjs'
import { startHistory } from './history.mjs'
import { PROCESSES } from './limits.mjs'
import { findHomes, startProber } from './prober.mjs'
import { randomBy } from './random.mjs'
import { drawFaults } from './schedule.mjs'
import { countAnswers, startService } from './services.mjs'
import { STORES } from './stores.mjs'
import { now, watchStalls } from './time.mjs'
import { RECONSIDERED, startWatch } from './watch.mjs'

/** Of `store.recovery`. */
const RECOVERY = 2_000
/** How much longer a process takes that has just started over an empty list of revocations. */
const NEW_LIST = 1_000
const SESSIONS = 5

/**
 * Runs for `ms`, with the faults that the seed draws, and answers what was seen. `recovery` is how
 * long a process may take to give normal answers again.
 */
export async function runCampaign({ kind, seed, ms, recovery = RECOVERY, say = () => {} }) {
  const random = randomBy(seed)
  const history = startHistory()
  // Memcached tells its time in seconds.
  const watch = startWatch(history, { clocksDiffer: kind === 'memcached' ? 2_000 : 0 })
  const answers = countAnswers()
  const recoveries = []
  const store = { kind, ...(await STORES[kind]()) }
  const services = []
  let over = false
  let last = 0
  let stuck
  const context = {
    store,
    services,
    random,
    history,
    watch,
    hasTokens: kind !== 'memcached',
    isOver: () => over,
    numbers: { next: () => (last += 1) }
  }
  try {
    const jwt = { issuer: 'https://id.example', audience: 'api', secret: randomBytes(48).toString('base64url'), refresh: true }
    for (let i = 0; i < PROCESSES; i++) {
      services.push(await startService(i, { store: store.optionsOf(i), ...(context.hasTokens ? { jwt } : {}) }, answers))
    }
    void followStalls(context)
    await waitUntil('the processes are ready', () => areReady(context), 30_000)
    const prober = startProber(context, await findHomes(store, services[0]))
    const load = startLoad(context)
    await prober.recovered(now())
    say(`${kind}: ${PROCESSES} processes are under load`)
    // What was seen until the servers got stuck counts all the same.
    stuck = await strike({ ...context, prober, recoveries, recovery, say }, seed, ms).catch((error) => error)
    over = true
    await Promise.all(load)
    await sleep(RECONSIDERED)
  } finally {
    over = true
    await Promise.all([...services, store].map((part) => part.stop()))
  }
  return { kind, seed, stuck, answers: answers.counts, faults: history.faults, recoveries, checked: watch.checked, violations: watch.violations, stalls: history.stalls.length, revocations: history.revocations ?? 0 }
}

async function areReady({ services }) {
  const states = await Promise.all(services.map((service) => service.ask({ path: '/health' })))
  return states.every(({ json }) => json.ready && json.store.available && (json.revocation === null || json.revocation.state === 'fresh'))
}

function startLoad(context) {
  const { watch, hasTokens } = context
  const limits = [
    useUp(context),
    keepBusy(context, '/paced', 10, watch.pacedAdmitted),
    keepBusy(context, '/leased', 60, watch.leasedAdmitted),
    stayPolite(context)
  ]
  if (!hasTokens) return limits
  return [...limits, takePlaces(context), useProofs(context), useLists(context), ...Array.from({ length: SESSIONS }, () => useSessions(context))]
}

// Reads when the event loops of the processes stood still, and sees those that have ended.
async function followStalls({ services, history, watch, isOver }) {
  const own = watchStalls()
  const known = new Set()
  const add = (spans) => {
    for (const span of spans) {
      if (known.has(span[0])) continue
      known.add(span[0])
      history.stalls.push(span)
    }
  }
  const look = async (service) => {
    const { generation } = service
    const { json } = await service.ask({ path: '/stalls', timeout: 1_000 })
    if (Array.isArray(json)) add(json)
    const why = service.whyEnded()
    const hasEnded = service.up && generation === service.generation && why !== null
    if (hasEnded) service.up = false
    watch.check('process.up', () => !hasEnded, () => `process ${service.index}: ${why}: ${service.tail()}`)
  }
  while (!isOver()) {
    add(own)
    await Promise.all(services.map(look))
    await sleep(300, undefined, { ref: false })
  }
}

async function strike(context, seed, ms) {
  const { store, random, history, prober, say } = context
  const end = now() + ms
  for (const draw of drawFaults(store, randomBy(seed + 1))) {
    await sleep(random.between(800, 3_000))
    if (now() >= end) return
    const name = draw.map(({ name }) => name).join(', and ')
    const [from, generations] = [now(), context.services.map(({ generation }) => generation)]
    const result = await carryOut(context, draw, name)
    const isNew = context.services.map(({ generation }, i) => generation !== generations[i] && history.lossesIn(from, result.endedAt) > 0)
    await judgeRecovery(context, name, result.endedAt, isNew)
    for (const comeBack of result.comeBacks) {
      await sleep(random.between(0, 2_000))
      const back = history.begin('the old server comes back')
      await comeBack()
      back.end()
      await judgeRecovery(context, 'the old server comes back', now())
    }
    await settle(store)
    say(`${history.at(now())}  ${name}`)
    await prober.recovered(now())
  }
}

/** Does the faults of one draw at once. They have ended when the last one has. */
async function carryOut(context, draw, name) {
  const { history, random, services, prober, store } = context
  const fault = history.begin(name, { outage: draw.some(({ outage = true }) => outage) })
  const results = await Promise.all(
    draw.map(async ({ run }) => {
      const result = await run({ ...context, lose: history.loss(), service: random.pick(services), watchOthers: (node) => prober.watchOthers(store, node) })
      return { endedAt: now(), ...result }
    })
  )
  fault.end()
  return { endedAt: Math.max(...results.map(({ endedAt }) => endedAt)), comeBacks: results.map(({ comeBack }) => comeBack).filter(Boolean) }
}

// `isNew` says of each process whether it has started over what was just lost.
async function judgeRecovery({ prober, history, watch, recoveries, recovery }, name, endedAt, isNew = []) {
  const times = await prober.recovered(endedAt)
  const late = (time) => (time === undefined ? Infinity : time - endedAt)
  const taken = Math.max(...times.map(late))
  const beyond = Math.max(...times.map((time, i) => late(time) - (isNew[i] ? NEW_LIST : 0)))
  recoveries.push({ name, ms: taken })
  const within = () => beyond - history.stalled(endedAt, endedAt + Math.min(taken, 20_000)) <= recovery
  const each = times.map((time, i) => `process ${i} ${Math.round(late(time))} ms`).join(', ')
  watch.check('store.recovery', within, () => `after ${name}: ${each}`)
}

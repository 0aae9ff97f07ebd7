// Asks every process over and over whether it gives normal answers.

import { setTimeout as sleep } from 'node:timers/promises'
import { now } from './time.mjs'

const EVERY = 40
const LONGEST = 20_000
const CANDIDATES = 40

/** Asks for the keys in `homes`, and with a token where there are some, until the run is over. */
export function startProber(context, homes) {
  const { services, watch, history, hasTokens } = context
  const good = []
  const hanging = []
  let token
  const kinds = [...homes.map(({ client }) => client), ...(hasTokens ? ['token'] : [])]

  const issue = async () => {
    while (!context.isOver()) {
      const answer = await services[0].ask({ path: '/login', body: { sub: 'prober' } })
      const isSure = services[0].shift === 0 && answer.status === 200
      if (isSure) token = answer.json.accessToken
      await sleep(isSure ? 60_000 : 100, undefined, { ref: false })
    }
  }
  const probe = async (service, kind) => {
    const request = kind === 'token' ? { path: '/me', headers: { authorization: `Bearer ${token}` } } : { path: '/probe', headers: { 'x-client': kind } }
    const answer = await service.ask({ ...request, timeout: 8_000 })
    const { status, began, ended } = answer
    history.answered(answer)
    if (status === 200) good.push({ process: service.index, kind, began, ended })
    for (const hang of hanging) {
      if (!hang.others.includes(kind) || began < hang.from || ended > hang.to || status === 0) continue
      watch.check('cluster.others', () => status === 200 || history.stalled(began - 500, ended) > 0, () => `process ${service.index} answers ${status} ${answer.code} to a client of a node that runs`)
    }
    if (good.length > 4_000) good.splice(0, 2_000)
  }
  const run = async (service) => {
    for (let i = 0; !context.isOver(); i++) {
      const kind = kinds[i % kinds.length]
      if (service.up && (kind !== 'token' || token !== undefined)) void probe(service, kind)
      await sleep(EVERY)
    }
  }
  if (hasTokens) void issue()
  for (const service of services) void run(service)

  /** When the process gave the first normal answer of each kind that was asked for since `from`. */
  const firstGood = (process, from) => {
    const times = kinds.map((kind) => good.find((answer) => answer.process === process && answer.kind === kind && answer.began >= from)?.ended)
    return times.includes(undefined) ? undefined : Math.max(...times)
  }
  return {
    /** Waits until all processes have given normal answers since `from`, and says when each has. */
    async recovered(from) {
      for (;;) {
        const times = services.map(({ index }) => firstGood(index, from))
        if (!times.includes(undefined) || now() > from + LONGEST) return times
        await sleep(EVERY / 2)
      }
    },
    /** Until `end()`, the clients of other nodes are to get every answer. */
    async watchOthers(store, node) {
      const owners = await Promise.all(homes.map(({ key }) => store.primaryOf(key)))
      const hang = { from: now(), to: Infinity, others: homes.filter((_, i) => owners[i] !== node && owners[i] !== undefined).map(({ client }) => client) }
      hanging.push(hang)
      return { end: () => (hang.to = now()) }
    }
  }
}

/** For each primary a client whose count it has; of a single server any. Before there is load. */
export async function findHomes(store, service) {
  if (!store.isCluster) return [{ client: 'probe-0' }]
  const homes = new Map()
  const primaries = await store.primaries()
  const keys = async () => (await Promise.all(primaries.map(async (node) => (await node.keys('*l:*')).map((key) => ({ key, node }))))).flat()
  for (let i = 0; i < CANDIDATES && homes.size < primaries.length; i++) {
    const before = new Set((await keys()).map(({ key }) => key))
    await service.ask({ path: '/probe', headers: { 'x-client': `probe-${i}` } })
    const added = (await keys()).find(({ key }) => !before.has(key))
    if (added !== undefined && !homes.has(added.node)) homes.set(added.node, { client: `probe-${i}`, key: added.key })
  }
  return [...homes.values()]
}

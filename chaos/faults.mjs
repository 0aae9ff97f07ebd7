// What can go wrong, by name. Each fault says on which stores it can be done, does it, and answers
// when it is over: `{ endedAt }`, and what it did that the promises have to know of.

import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../__test__/helpers/processes.mjs'
import { now } from './time.mjs'

const isRedis = ({ kind }) => kind !== 'memcached'
const isAlone = ({ kind }) => kind === 'redis'
const hasProxies = ({ proxies }) => proxies !== undefined
const failsOver = ({ kind }) => kind === 'sentinel' || kind === 'cluster'

/** Within so many milliseconds a process knows who is primary now. */
const HEARD_OF = 2_000

/** A command that may get no answer, since its server hangs or dies. */
const ask = (node, ...args) => Promise.race([node.command(...args).catch(() => {}), sleep(5_000, undefined, { ref: false })])

async function somePrimary({ store, random }) {
  return random.pick(await store.primaries())
}

/** Faults of servers and of the ways to them. `run(context)` is between its begin and its end. */
export const STORE_FAULTS = {
  'the server hangs': {
    on: () => true,
    async run({ store, random, watchOthers }) {
      const node = await somePrimary({ store, random })
      // Shorter than what makes another one take over.
      const ms = random.between(300, failsOver(store) ? 700 : 6_000)
      const seen = store.isCluster && (await watchOthers(node))
      node.pause()
      await sleep(store.isCluster ? ms * 2.5 : ms)
      seen?.end()
      node.resume()
    }
  },
  'the server is killed, and started with its data': {
    on: isAlone,
    async run({ store, random }) {
      await store.crash({ keepsData: true })
      await sleep(random.between(0, 4_000))
      await store.revive()
    }
  },
  'the server is killed, and started without data': {
    on: ({ kind }) => kind === 'redis' || kind === 'memcached',
    async run({ store, random, lose }) {
      await store.crash({ keepsData: false })
      await sleep(random.between(0, 4_000))
      lose('restart without data')
      await store.revive()
      lose('restart without data')
    }
  },
  'all data is deleted': {
    on: () => true,
    async run({ store, lose }) {
      const primaries = await store.primaries()
      lose('FLUSHALL')
      await (store.flush?.() ?? Promise.all(primaries.map((node) => ask(node, 'FLUSHALL'))))
      lose('FLUSHALL')
    }
  },
  'connections are killed by the server': {
    on: isRedis,
    async run({ store, random }) {
      for (let times = random.whole(1, 4); times > 0; times--) {
        await Promise.all((await store.primaries()).map((node) => ask(node, 'CLIENT', 'KILL', 'TYPE', 'normal')))
        await sleep(random.between(0, 300))
      }
    }
  },
  'the server has no memory left': {
    on: isRedis,
    async run({ store, random }) {
      const node = await somePrimary({ store, random })
      await ask(node, 'CONFIG', 'SET', 'maxmemory', '1')
      await sleep(random.between(300, 6_000))
      await ask(node, 'CONFIG', 'SET', 'maxmemory', '0')
    }
  },
  'the server sleeps in a command': {
    on: isRedis,
    async run({ store, random }) {
      const node = await somePrimary({ store, random })
      await ask(node, 'DEBUG', 'SLEEP', random.between(0.1, failsOver(store) ? 0.7 : 3).toFixed(2))
    }
  },
  'scripts are flushed': {
    on: isRedis,
    run: async ({ store }) => void (await Promise.all((await store.primaries()).map((node) => ask(node, 'SCRIPT', 'FLUSH'))))
  },
  'connections are reset': {
    on: hasProxies,
    async run({ store, random }) {
      for (let times = random.whole(1, 6); times > 0; times--) {
        for (const proxy of store.proxies) if (random.chance(0.7)) proxy.cut()
        await sleep(random.between(0, 300))
      }
    }
  },
  'the network swallows everything': {
    on: hasProxies,
    run: (context) => throughProxies(context, (proxy, on) => proxy.blackhole(on))
  },
  'connections are refused': {
    on: hasProxies,
    run: (context) =>
      throughProxies(context, async (proxy, on) => {
        await proxy.refuse(on)
        if (on) proxy.cut()
      })
  },
  'the network is slow': {
    on: hasProxies,
    async run(context) {
      const latency = context.random.pick([20, 100, 400, 1_500])
      await throughProxies(context, (proxy, on) => proxy.latency(on ? latency : 0))
    }
  },
  'the network is narrow': {
    on: hasProxies,
    run: (context) => throughProxies(context, (proxy, on) => proxy.throttle(on ? 2_000 : Infinity))
  },
  'the clock of the server is set': {
    outage: false,
    on: ({ clock }) => clock !== undefined,
    async run({ store, random, history }) {
      const ms = Math.round(random.pick([-1, 1]) * random.pick([3_000, 9_000, 60_000, 1_500_000]))
      history.serverClockSet(ms)
      store.clock.shift(ms)
      await sleep(random.between(500, 6_000))
      history.serverClockSet(-ms)
      store.clock.shift(0)
    }
  },
  'the replicas lag, and catch up': {
    on: failsOver,
    async run({ store, random }) {
      const node = await somePrimary({ store, random })
      await node.holdReplication()
      await sleep(random.between(500, 3_000))
      await ask(node, 'ACL', 'SETUSER', 'default', '+psync', '+sync')
    }
  },
  'a failover is asked for': {
    on: failsOver,
    async run({ store, random, lose }) {
      const old = await somePrimary({ store, random })
      const how = random.pick([[], ['FORCE'], ['TAKEOVER']])
      const { promoted } = await store.failover(old, how)
      await promoted()
      // The old one lives, and takes writes from those who have not heard of it yet.
      lose(`failover ${how}`, HEARD_OF)
    }
  },
  'the primary is killed': {
    on: failsOver,
    run: (context) => failover(context, async (old) => await old.kill())
  },
  'the primary is killed while its replicas lag': {
    on: failsOver,
    run: (context) =>
      failover(context, async (old) => {
        await old.holdReplication()
        await sleep(context.random.between(200, 2_000))
        await old.kill()
      })
  },
  'the primary hangs until it is replaced': {
    on: failsOver,
    run: (context) => failover(context, async (old) => old.pause())
  },
  'a sentinel hangs': {
    outage: false,
    on: ({ sentinels }) => sentinels !== undefined,
    async run({ store, random }) {
      const node = random.pick(store.sentinels)
      node.pause()
      await sleep(random.between(1_000, 4_000))
      node.resume()
    }
  }
}

// The fault ends when another server takes writes; the old one comes back later.
async function failover({ store, random, lose }, strike) {
  const old = await somePrimary({ store, random })
  const replica = await store.replicaOf?.(old)
  await strike(old)
  await (store.takesOver?.(replica) ?? store.promoted(old))
  const endedAt = now()
  lose('failover')
  const comeBack = async () => {
    if (!old.resume()) await old.restart()
    lose('the old primary comes back', HEARD_OF)
  }
  return { endedAt, comeBack }
}

async function throughProxies({ store, random, history }, set) {
  const one = random.chance(0.5) ? random.whole(0, store.proxies.length - 1) : null
  const chosen = one === null ? store.proxies : [store.proxies[one]]
  const from = now()
  for (const proxy of chosen) await set(proxy, true)
  await sleep(random.between(200, 7_000))
  for (const proxy of chosen) await set(proxy, false)
  history.note(`which were those of ${one === null ? 'all processes' : `process ${one}`}`)
  for (const proxy of chosen) history.processGone(store.proxies.indexOf(proxy), from, now() + 2_000)
}

/** Faults of the processes of the service. */
export const PROCESS_FAULTS = {
  'a process is killed and started again': {
    async run({ service, random, history }) {
      service.up = false
      await service.kill()
      history.note(`process ${service.index} is killed`)
      history.processGone(service.index, now(), now())
      await sleep(random.between(0, 2_000))
      service.generation += 1
      await service.restart()
      service.up = true
    }
  },
  'a process hangs': {
    async run({ service, random, history }) {
      const from = now()
      history.note(`process ${service.index} hangs`)
      service.pause()
      await sleep(random.between(300, 7_000))
      service.resume()
      history.processGone(service.index, from, now() + 2_000)
    }
  },
  'the clock of a process is set': {
    outage: false,
    async run({ service, random, history }) {
      const ms = random.pick([-1, 1]) * random.pick([5_000, 60_000, 1_500_000])
      history.note(`the clock of process ${service.index} is set by ${ms} ms`)
      service.shift = ms
      service.clock.shift(ms)
      await sleep(random.between(500, 6_000))
      service.clock.shift(0)
      service.shift = 0
      service.clockWrongUntil = now() + 1_000
    }
  }
}

/** Until every server runs and follows whom it has to. */
export const settle = (store) => waitUntil('the servers have settled', async () => ((await store.settled()), true), 60_000)

// The stores that the service runs on: each with its servers, and what the service is told of them.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder, removeFolder } from '../__test__/helpers/processes.mjs'
import { settableClock, startCluster, startFaultProxy, startMemcached, startRedis, startSentinels, waitUntil } from '../__test__/helpers/servers.mjs'
import { PROCESSES, STORE_TIMEOUT } from './limits.mjs'

const DEBUG = ['--enable-debug-command', 'yes']
const common = { timeout: `${STORE_TIMEOUT}ms`, processes: PROCESSES }

/** A proxy in front of the server for each process, so that one alone can be cut off. */
async function startProxies(server) {
  const proxies = []
  for (let i = 0; i < PROCESSES; i++) proxies.push(await startFaultProxy(server.port))
  return proxies
}

async function redis() {
  const clock = settableClock()
  const dir = makeFolder()
  // Every write is on the disk before it is acknowledged.
  const server = await startRedis({ clock, dir, args: ['--appendonly', 'yes', '--appendfsync', 'always', ...DEBUG] })
  const proxies = await startProxies(server)
  return {
    nodes: [server],
    primaries: async () => [server],
    proxies,
    clock,
    optionsOf: (i) => ({ redis: { url: `redis://127.0.0.1:${proxies[i].port}`, ...common } }),
    settled: async () => {},
    async crash({ keepsData }) {
      await server.kill()
      if (!keepsData) rmSync(join(dir, 'appendonlydir'), { recursive: true, force: true })
    },
    revive: () => server.restart(),
    async stop() {
      await Promise.all([...proxies, server].map((part) => part.stop()))
      removeFolder(dir)
    }
  }
}

async function memcached() {
  const server = await startMemcached()
  const proxies = await startProxies(server)
  return {
    nodes: [server],
    primaries: async () => [server],
    proxies,
    optionsOf: (i) => ({ memcached: { servers: [`127.0.0.1:${proxies[i].port}`], ...common } }),
    settled: async () => {},
    crash: () => server.kill(),
    revive: () => server.restart(),
    flush: () => server.command('flush_all'),
    async stop() {
      await Promise.all([...proxies, server].map((part) => part.stop()))
    }
  }
}

async function sentinel() {
  const set = await startSentinels({ replicas: 2, args: DEBUG })
  const urls = set.sentinels.map(({ port }) => `redis://127.0.0.1:${port}`)
  const primary = () => waitUntil('the sentinels agree', () => set.primary(), 20_000)
  return {
    nodes: set.nodes,
    sentinels: set.sentinels,
    primaries: async () => [await primary()],
    optionsOf: () => ({ redis: { sentinel: { nodes: urls, name: set.masterName }, ...common } }),
    /** Asks for a failover that nothing has made necessary. */
    async failover() {
      const old = await primary()
      const begin = () => waitUntil('a sentinel begins', () => set.sentinels[0].command('SENTINEL', 'FAILOVER', set.masterName), 30_000)
      await begin()
      // A sentinel gives up where it finds no good replica: it is asked once more.
      const again = async () => {
        await begin()
        return set.promoted(old)
      }
      return { old, promoted: () => set.promoted(old).catch(again) }
    },
    promoted: (old) => set.promoted(old),
    /** Until each replica follows the primary that the sentinels have. */
    settled: () =>
      waitUntil(
        'the replicas follow',
        async () => {
          const states = await Promise.all(set.nodes.map((node) => node.info('replication')))
          const following = states.filter(({ role, master_link_status: link }) => role === 'slave' && link === 'up')
          const known = await Promise.all(set.sentinels.map((sentinel) => sentinel.command('SENTINEL', 'CKQUORUM', set.masterName)))
          return following.length === set.nodes.length - 1 && known.every(Boolean)
        },
        60_000
      ),
    stop: () => set.stop()
  }
}

async function cluster() {
  const set = await startCluster({ primaries: 3, replicasPer: 1, nodeTimeout: 3_000, args: ['--cluster-replica-validity-factor', '0', ...DEBUG] })
  const isPrimary = async (node) => (await node.info('replication')).role === 'master'
  const replicaOf = async (primary) => {
    for (const node of set.nodes) {
      const { role, master_port: port } = node === primary ? {} : await node.info('replication')
      if (role === 'slave' && Number(port) === primary.port) return node
    }
    throw new Error('the primary has no replica')
  }
  const takesOver = (replica) =>
    waitUntil('the replica takes writes', async () => (await isPrimary(replica)) && (await replica.command('CLUSTER', 'INFO')).includes('cluster_state:ok'), 30_000)
  return {
    nodes: set.nodes,
    async primaries() {
      const roles = await Promise.all(set.nodes.map(isPrimary))
      return set.nodes.filter((_, i) => roles[i])
    },
    optionsOf: () => ({ redis: { cluster: set.seeds.map(({ port }) => `redis://127.0.0.1:${port}`), ...common } }),
    isCluster: true,
    primaryOf: set.primaryOf,
    replicaOf,
    async failover(old, how) {
      const replica = await replicaOf(old)
      await replica.command('CLUSTER', 'FAILOVER', ...how)
      return { old, promoted: () => takesOver(replica) }
    },
    takesOver,
    settled: () => set.settled(),
    stop: () => set.stop()
  }
}

export const STORES = { redis, sentinel, cluster, memcached }

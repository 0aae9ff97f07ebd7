// A real Redis Cluster for one test.

import { answersOf, waitUntil } from './processes.mjs'
import { startRedis } from './redis.mjs'

const SLOTS = 16384

/**
 * Starts a cluster of `primaries`, each with `replicasPer` replicas. A node that is gone for
 * `nodeTimeout` milliseconds is replaced. `tls`, `acl` and `args` are those of `startRedis`, for
 * every node.
 */
export async function startCluster({ primaries = 3, replicasPer = 1, nodeTimeout = 1000, args = [], ...options } = {}) {
  const clusterArgs = ['--cluster-enabled', 'yes', '--cluster-node-timeout', String(nodeTimeout), '--repl-ping-replica-period', '1']
  const count = primaries * (1 + replicasPer)
  const nodes = await startAll(count, () => startRedis({ ...options, args: [...clusterArgs, ...args] }))
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()))
  }
  // Of those that answer: a node that was cut off may take itself for the primary still, but not
  // with the last epoch.
  const primaryOf = async (key) => {
    const slot = await keySlot(nodes, key)
    const owners = (await views(nodes)).filter(([, view]) => owns(self(view), slot))
    const [owner] = owners.toSorted(([, a], [, b]) => self(b).epoch - self(a).epoch)
    return owner?.[0]
  }
  const settled = () => waitUntil('the nodes of the cluster agree', () => agree(nodes), 20_000)

  try {
    await join(nodes, primaries)
    await settled()
  } catch (error) {
    await stop()
    throw error
  }
  return {
    nodes,
    /** Addresses to begin with. */
    seeds: nodes.map(({ host, port }) => ({ host, port })),
    /** The node that holds the key now; `undefined` while none does. */
    primaryOf,
    async replicasOf(key) {
      const all = await views(nodes)
      const owner = await primaryOf(key)
      const [, ownView] = all.find(([node]) => node === owner) ?? []
      if (ownView === undefined) return []
      return all.filter(([, view]) => self(view).primary === self(ownView).id).map(([node]) => node)
    },
    /**
     * Kills the node that holds the key and returns it; `settled()` waits for the one that takes
     * over.
     */
    async killPrimaryOf(key) {
      const primary = await primaryOf(key)
      await primary.kill()
      return primary
    },
    /**
     * Makes a replica the primary, with the consent of the primary, and returns when all nodes
     * know.
     */
    async failover(replica) {
      await replica.command('CLUSTER', 'FAILOVER')
      await waitUntil('the replica is primary', async () => self(await viewOf(replica)).primary === '-')
      await settled()
    },
    /**
     * Waits until the nodes that run serve all slots, have their data and agree on who holds what.
     */
    settled,
    stop
  }
}

// One that does not start must not leave the others.
async function startAll(count, start) {
  const results = await Promise.allSettled(Array.from({ length: count }, start))
  const failed = results.find(({ status }) => status === 'rejected')
  if (failed === undefined) return results.map(({ value }) => value)
  await Promise.all(results.map(({ value }) => value?.stop()))
  throw failed.reason
}

async function join(nodes, primaries) {
  // The order of ADDSLOTS, epochs and MEET is that of redis-cli.
  await Promise.all(
    nodes.slice(0, primaries).map((node, i) => node.command('CLUSTER', 'ADDSLOTS', ...slotsOf(i, primaries)))
  )
  await Promise.all(nodes.map((node, i) => node.command('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)))
  const [first, ...others] = nodes
  await Promise.all(others.map((node) => first.command('CLUSTER', 'MEET', node.host, node.port)))
  await waitUntil('all nodes of the cluster have met', async () => {
    const all = await views(nodes)
    const met = (view) => view.length === nodes.length && view.every(({ flags }) => !flags.includes('handshake'))
    return all.length === nodes.length && all.every(([, view]) => met(view))
  })
  const ids = await Promise.all(nodes.map((node) => node.command('CLUSTER', 'MYID')))
  const replicate = (node, i) => node.command('CLUSTER', 'REPLICATE', ids[i % primaries])
  await Promise.all(nodes.slice(primaries).map((node, i) => replicate(node, i)))
}

function slotsOf(i, primaries) {
  const bound = (i) => Math.round((i * SLOTS) / primaries)
  return Array.from({ length: bound(i + 1) - bound(i) }, (_, at) => bound(i) + at)
}

async function keySlot(nodes, key) {
  const [[, slot]] = await answersOf(nodes, (node) => node.command('CLUSTER', 'KEYSLOT', key))
  return slot
}

const views = (nodes) => answersOf(nodes, viewOf)

// What a node knows of all: CLUSTER NODES.
async function viewOf(node) {
  const text = await node.command('CLUSTER', 'NODES')
  return text.trim().split('\n').map(parseNode)
}

function parseNode(line) {
  const [id, , flags, primary, , , epoch, , ...ranges] = line.split(' ')
  const slots = ranges.filter((range) => !range.startsWith('[')).map((range) => range.split('-').map(Number))
  return { id, flags: flags.split(','), primary, epoch: Number(epoch), slots }
}

const self = (view) => view.find(({ flags }) => flags.includes('myself'))
const owns = ({ slots }, slot) => slots.some(([from, to = from]) => from <= slot && slot <= to)

async function agree(nodes) {
  const all = await views(nodes)
  const ids = all.map(([, view]) => self(view).id)
  const known = all.map(([, view]) => {
    const running = view.filter(({ id }) => ids.includes(id)).toSorted((a, b) => (a.id < b.id ? -1 : 1))
    return JSON.stringify(running.map(({ id, primary, slots }) => [id, primary, slots]))
  })
  const ranges = all.flatMap(([, view]) => self(view).slots)
  const served = ranges.reduce((sum, [from, to = from]) => sum + to - from + 1, 0)
  return served === SLOTS && new Set(known).size === 1 && (await allServe(all.map(([node]) => node)))
}

async function allServe(nodes) {
  const serves = nodes.map(async (node) => {
    const state = await node.command('CLUSTER', 'INFO')
    const { role, master_link_status: link } = await node.info('replication')
    return state.includes('cluster_state:ok') && (role === 'master' || link === 'up')
  })
  return (await Promise.all(serves)).every(Boolean)
}

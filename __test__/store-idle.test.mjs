// Connections to a store that somebody closes while nothing is sent, and those of guards that are
// closed.

import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { startCluster } from './helpers/cluster.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const clients = async (node) =>
  String(await node.command('CLIENT', 'LIST', 'TYPE', 'normal'))
    .split('\n')
    .map((line) => Object.fromEntries(line.split(' ').map((pair) => pair.split('='))))
    .filter(({ cmd }) => cmd !== undefined && cmd !== 'client|list')

/** Closes the connections on which nothing is asked over and over. */
async function closeIdle(nodes) {
  for (const node of nodes) {
    for (const { id, cmd } of await clients(node)) if (!/^x(read|range|del)$/.test(cmd)) await node.command('CLIENT', 'KILL', 'ID', id)
  }
  // Until then a command may be on its way into a closed connection, and nobody knows its outcome.
  await sleep(50)
}

const topologies = {
  redis: async () => {
    const server = await startRedis()
    return { nodes: [server], store: { url: server.url }, stop: () => server.stop() }
  },
  cluster: async () => {
    const cluster = await startCluster({ primaries: 3, replicasPer: 0 })
    const seeds = cluster.seeds.map(({ host, port }) => `redis://${host}:${port}`)
    return { nodes: cluster.nodes, store: { cluster: seeds }, stop: () => cluster.stop() }
  }
}

for (const [name, start] of Object.entries(topologies)) {
  test(`${name}: connections that were closed while they were idle refuse no login, refresh, revocation or block`, async (t) => {
    const { nodes, store, stop } = await start()
    const guard = createGuard({ store: { redis: { ...store, timeout: '5s' } }, jwt: { ...jwt, refresh: true }, rateLimit: { name: 'api', limit: 10, window: '1m' } })
    t.after(async () => {
      await guard.close()
      await stop()
    })
    await guard.ready()
    let { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    await guard.revoke.token((await guard.tokens.issue({ sub: 'eve' })).accessToken)
    for (let i = 0; i < 3; i += 1) {
      await closeIdle(nodes)
      refreshToken = (await guard.tokens.refresh(refreshToken)).refreshToken
      await closeIdle(nodes)
      await guard.revoke.token((await guard.tokens.issue({ sub: 'eve' })).accessToken)
      await closeIdle(nodes)
      await guard.limits.block('192.0.2.7', '1m')
    }
  })
}

test('cluster: a guard that was closed leaves no connection, and counts as no process any more', async (t) => {
  const { nodes, store, stop } = await topologies.cluster()
  t.after(stop)
  const count = async () => (await Promise.all(nodes.map(clients))).flat().length
  const before = await count()
  for (let i = 0; i < 5; i += 1) {
    const guard = createGuard({ store: { redis: { cluster: store.cluster, prefix: `closed${i}:` } }, jwt, rateLimit: { name: 'api', limit: 10, window: '1m' } })
    await guard.ready()
    assert.ok((await count()) > before)
    await guard.close()
  }
  await waitUntil('all connections are closed', async () => (await count()) <= before, 10_000)
})

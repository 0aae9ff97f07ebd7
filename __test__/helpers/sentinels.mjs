// A Redis primary with replicas under the watch of real Sentinels, for one test.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../scripts/servers.mjs'
import { answersOf, makeFolder, startServer, waitUntil } from './processes.mjs'
import { ADMIN, answers, startRedis } from './redis.mjs'
import { respClient } from './resp.mjs'

const NAME = 'keepstone'

/**
 * Starts all of them. `acl` and `args` are those of `startRedis`, for the primary and its replicas.
 */
export async function startSentinels({ sentinels: count = 3, replicas = 1, acl, args = [] } = {}) {
  const nodes = []
  const sentinels = []
  const stop = async () => {
    await Promise.all([...sentinels, ...nodes].map((server) => server.stop()))
  }
  /** The primary by the word of the sentinels that answer; `undefined` while they don't agree. */
  const primary = async () => {
    const ports = (await answersOf(sentinels, primaryPort)).map(([, port]) => port)
    return new Set(ports).size === 1 ? nodes.find(({ port }) => port === ports[0]) : undefined
  }
  const promoted = (old) =>
    waitUntil(
      'the sentinels have another primary',
      async () => {
        const node = await primary()
        return node !== undefined && node !== old && (await node.info('replication')).role === 'master' && node
      },
      20_000
    )

  try {
    nodes.push(await startRedis({ acl, args }))
    const [{ host, port }] = nodes
    for (let i = 0; i < replicas; i++) nodes.push(await startRedis({ acl, args: ['--replicaof', host, String(port), ...args] }))
    // Sentinels look for replicas once in ten seconds, so these are there before.
    await waitUntil('the replicas have their data', async () => {
      const states = await Promise.all(nodes.slice(1).map((node) => node.info('replication')))
      return states.every((state) => state.master_link_status === 'up')
    })
    for (let i = 0; i < count; i++) sentinels.push(await startSentinel(nodes[0], Math.floor(count / 2) + 1, acl !== undefined))
    await waitUntil('the sentinels know of each other', async () => {
      const states = await Promise.all(sentinels.map(masterState))
      const complete = (state) => Number(state['num-slaves']) === replicas && Number(state['num-other-sentinels']) === count - 1
      return states.every(complete)
    })
  } catch (error) {
    await stop()
    throw error
  }
  return {
    masterName: NAME,
    /** Each with `host`, `port`, and what else a server has. */
    sentinels,
    /** The primary and the replicas. */
    nodes,
    primary,
    /** Kills the primary and returns it; `promoted(it)` waits for the one that takes over. */
    async killPrimary() {
      const node = await primary()
      await node.kill()
      return node
    },
    /** Waits until all sentinels have another primary than `old`, and returns it. */
    promoted,
    stop
  }
}

async function startSentinel({ host, port: primary }, quorum, withUsers) {
  const folder = makeFolder()
  const config = join(folder, 'sentinel.conf')
  const login = withUsers ? [`sentinel auth-user ${NAME} ${ADMIN.user}`, `sentinel auth-pass ${NAME} ${ADMIN.password}`] : []
  const lines = [
    `sentinel monitor ${NAME} ${host} ${primary} ${quorum}`,
    `sentinel down-after-milliseconds ${NAME} 1000`,
    `sentinel failover-timeout ${NAME} 5000`,
    ...login
  ]
  writeFileSync(config, `${lines.join('\n')}\n`)
  const client = (port) => respClient({ port })
  const server = await startServer({
    program: findProgram('redis'),
    folder,
    args: (port) => [config, '--sentinel', '--port', String(port), '--bind', '127.0.0.1', '--dir', folder],
    isReady: (port) => answers(client(port))
  })
  return Object.assign(server, { client: () => client(server.port), command: client(server.port).command })
}

async function primaryPort(sentinel) {
  const [, port] = await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)
  return Number(port)
}

async function masterState(sentinel) {
  const fields = await sentinel.command('SENTINEL', 'MASTER', NAME)
  return Object.fromEntries(fields.flatMap((name, i) => (i % 2 === 0 ? [[name, fields[i + 1]]] : [])))
}

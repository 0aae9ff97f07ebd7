// A Redis with a replica that can be made to lag, behind an address that survives a failover.

import { startFaultProxy } from './fault-proxy.mjs'
import { waitUntil } from './processes.mjs'
import { startRedis } from './redis.mjs'

/**
 * Starts a primary, a replica of it, and a proxy in front of them. Processes are given `url`, the
 * address of the proxy.
 */
export async function startFailover() {
  const primary = await startRedis()
  const link = await startFaultProxy(primary.port)
  // The replica gives a silent primary up after a minute; a test is over by then.
  const replica = await startRedis({ args: ['--replicaof', '127.0.0.1', String(link.port)] })
  await waitUntil('the replica follows', async () => (await replica.info('replication')).master_link_status === 'up')
  const front = await startFaultProxy(primary.port)
  return {
    url: `redis://127.0.0.1:${front.port}`,
    primary,
    replica,
    /** What the primary stores from now on does not reach the replica. */
    lag: () => link.blackhole(true),
    /** Waits until the replica has what the primary has. */
    caughtUp: () =>
      waitUntil('the replica has all', async () => {
        const [one, other] = [await primary.info('replication'), await replica.info('replication')]
        return one.master_repl_offset === other.master_repl_offset
      }),
    /** Kills the primary. Nobody answers until `promote()`. */
    async kill() {
      await front.refuse(true)
      front.cut()
      await primary.kill()
    },
    /** The replica takes over as it is. */
    async promote() {
      await replica.command('REPLICAOF', 'NO', 'ONE')
      front.lead(replica.port)
      await front.refuse(false)
    },
    async stop() {
      await Promise.all([front, link, replica, primary].map((part) => part.stop()))
    }
  }
}

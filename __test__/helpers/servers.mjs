// The servers that tests of the shared store run against.

export { settableClock } from './clock.mjs'
export { startCluster } from './cluster.mjs'
export { startFaultProxy } from './fault-proxy.mjs'
export { startMemcached } from './memcached.mjs'
export { startRedis } from './redis.mjs'
export { startSentinels } from './sentinels.mjs'
export { waitUntil } from './processes.mjs'

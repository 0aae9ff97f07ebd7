'use strict'

// Several processes of one application, each with a store in its own memory.

const cluster = require('node:cluster')
const { warnOnce } = require('./errors.js')

/**
 * Whether this process is one of several that share its work: a worker of `node:cluster`, also by
 * `pm2 -i`, or an instance of pm2's fork mode after the first, whose number is 0 even if it is
 * alone.
 */
function isOneOfSeveral() {
  return cluster.isWorker || Number(process.env.NODE_APP_INSTANCE) > 0
}

/**
 * Warns if the guard of `config` counts, or keeps revocations, in the memory of this process while
 * others do the same.
 */
function checkProcesses(config) {
  const isInMemory = config.store?.redis === undefined && config.store?.memcached === undefined
  const hasIdentities = [config.jwt, config.apiKeys, config.identify].some((source) => source !== undefined && source !== false)
  const keepsSomething = config.rateLimit !== false || (hasIdentities && config.revocation !== false)
  if (!isInMemory || !keepsSomething || !isOneOfSeveral()) return
  warnOnce(
    'GUARD_STORE_PER_PROCESS',
    'each process of this cluster has a store of its own in memory: together they admit a limit as often as there are processes, and a revocation holds in one of them; give them one store, as in `store: { redis: \'redis://127.0.0.1:6379\' }`'
  )
}

module.exports = { checkProcesses }

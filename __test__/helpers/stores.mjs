// The stores that a behaviour of limits is tested over.

import { startRedis } from './servers.mjs'

/**
 * Starts a Redis and gives it with `stores`: by name, a function that makes the part of a
 * configuration that is about the store, each time one of its own. `name` tells the keys of one
 * test file from those of others.
 */
export async function memoryAndRedis(name) {
  const redis = await startRedis()
  let prefixes = 0
  const stores = {
    memory: () => ({}),
    redis: () => ({ store: { redis: { url: redis.url, prefix: `${name}${prefixes++}:`, timeout: '5s' } } })
  }
  return { redis, stores }
}

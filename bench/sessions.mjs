// What a session with a refresh token takes: bytes in the process, and in Redis. `node --expose-gc
// bench/sessions.mjs [sessions]`

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { startRedis } from '../__test__/helpers/servers.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const root = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..'))
const { createGuard } = createRequire(import.meta.url)(path.join(root, 'index.js'))

const SESSIONS = Number(process.argv[2] ?? 50_000)
const jwt = { issuer: 'https://id.example.com', audience: 'api', secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV', refresh: true, cache: false }

async function begin(guard, use) {
  let last
  for (let i = 0; i < SESSIONS; i += 200) {
    const batch = Array.from({ length: 200 }, (_, j) => guard.tokens.issue({ sub: `user-${i + j}`, role: 'customer' }))
    last = await Promise.all(batch)
    // A token that was used before has a predecessor, as nearly all have.
    if (use) await Promise.all(last.map(({ refreshToken }) => guard.tokens.refresh(refreshToken)))
  }
}

const memory = createGuard({ rateLimit: false, jwt })
await begin(memory, true)
const collect = globalThis.gc ?? (() => {})
const other = createGuard({ rateLimit: false, jwt })
collect()
const before = process.memoryUsage()
await begin(other, true)
collect()
const after = process.memoryUsage()
// Outside of V8's heap.
const native = ({ rss, heapTotal }) => rss - heapTotal
console.log(`memory: ${Math.round((native(after) - native(before)) / SESSIONS)} bytes a session (${SESSIONS} sessions, growth of the process outside of V8)`)
await Promise.all([memory.close(), other.close()])

const redis = await startRedis()
const shared = createGuard({ rateLimit: false, jwt, store: { redis: { url: redis.url, timeout: '5s' } } })
await shared.ready()
const used = async () => Number((await redis.info('memory')).used_memory)
const empty = await used()
await begin(shared, true)
console.log(`redis: ${Math.round(((await used()) - empty) / SESSIONS)} bytes a session, its key included`)
const [, keys] = await redis.command('SCAN', 0, 'MATCH', 'keepstone:r:*', 'COUNT', 1000)
console.log(`redis: ${await redis.command('STRLEN', keys[0])} bytes are the record`)
await shared.close()
await redis.stop()

// A guard over a shared store behind an API, as the tests of failures and of topologies look at it.

import assert from 'node:assert/strict'
import http from 'node:http'
import { GuardError, createGuard } from 'keepstone'
import { send } from './http.mjs'
import { waitUntil } from './servers.mjs'

export const LIMIT = 500
export const KEY = '127.0.0.1'

const policy = (onStoreFailure, exact) => ({
  name: onStoreFailure,
  limit: LIMIT,
  window: '300d',
  algorithm: 'fixed-window',
  paths: [`/${onStoreFailure}`],
  onStoreFailure,
  exact
})

/**
 * `/local`, `/closed` and `/open` are what becomes of a request without the store; each has a limit
 * of its own. That of `/closed` is exact: what is left of it is what the store says.
 */
export const POLICIES = [policy('local', false), policy('closed', true), policy('open', false)]

/** Serves an API behind a guard over `redis` (options of the store) until the test ends. */
export async function serveGuard(t, redis, { rateLimit = POLICIES, store = { redis }, listener = (req, res) => res.end('ok') } = {}) {
  const guard = createGuard({ rateLimit, store })
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => protect(req, res, () => listener(req, res)))
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  const close = async () => {
    server.close()
    server.closeAllConnections()
    await guard.close()
  }
  t.after(close)
  const get = (path, options) => send(port, { path, ...options })
  const health = () => guard.health().store
  return {
    guard,
    port,
    get,
    close,
    store: health,
    /** What a request leaves of its limit. */
    remaining: async (path) => remainingOf(await get(path)),
    /** Waits until the store judges requests, and answers how many milliseconds that took. */
    async judged(timeout = 15_000) {
      const start = performance.now()
      await waitUntil('the store judges requests', async () => (await get('/closed')).status === 200, timeout)
      return performance.now() - start
    },
    /** Waits until no request waits for the store any more. */
    lost: () => waitUntil('the store is taken as lost', async () => (await get('/closed')) && !health().available)
  }
}

export const remainingOf = ({ headers }) => Number(/r=(\d+)/.exec(headers.ratelimit)[1])

/** A request that its policy refuses since the store is away: 503, with a time to come back. */
export function assertUnavailable({ status, headers, json }) {
  assert.equal(status, 503)
  assert.equal(json.code, 'store_unavailable')
  assert.ok(Number(headers['retry-after']) >= 1, headers['retry-after'])
}

/** No call of `guard.limits` can be carried out. */
export async function assertCallsFail({ limits }) {
  const calls = {
    consume: () => limits.consume('local', KEY),
    get: () => limits.get('local', KEY),
    penalize: () => limits.penalize('local', KEY, 2),
    reward: () => limits.reward('local', KEY),
    block: () => limits.block('local', KEY, '1ms'),
    reset: () => limits.reset('local', KEY)
  }
  for (const [name, call] of Object.entries(calls)) {
    await assert.rejects(call(), (error) => error instanceof GuardError && error.code === 'ERR_STORE_UNAVAILABLE' && error.status === 503, name)
  }
}

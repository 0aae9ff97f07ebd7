// `req.guard.signal`: an open response or socket learns that its request would be refused by now.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { createRequire } from 'node:module'
import test, { after, before, describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { createTestClock } from 'keepstone/testing'
import { jwt } from './helpers/articles.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { bearer, send, serve } from './helpers/http.mjs'
import { CLIENT, startAuthorizationServer } from './helpers/introspection-server.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)('ws')

/** Two rounds of the check, and room for a slow machine. */
const MOST = 10_000

/** Answers with the reason of the signal, once it aborts. */
const untilEnd = async ({ guard }) => {
  const { signal } = guard
  if (!signal.aborted) await once(signal, 'abort', { signal: AbortSignal.timeout(MOST) })
  return [200, { name: signal.reason.name, code: signal.reason.code, status: signal.reason.status }]
}
const routes = [
  ['get', '/events', {}, untilEnd],
  ['get', '/anonymous', { authenticate: { optional: true } }, untilEnd],
  ['get', '/recent', { require: { maxAge: '5m' } }, untilEnd],
  ['get', '/peek', {}, ({ guard }) => [200, { aborted: guard.signal.aborted }]]
]

/** Requests to `/events` of `guard` on plain node:http; `open(token)` resolves once it is open. */
async function streaming(guard, use, { path = '/events' } = {}) {
  const [, start] = hosts.find(([name]) => name === 'node:http')
  let opened = 0
  const counting = routes.map(([method, at, options, answer]) => [method, at, options, (req) => (opened++, answer(req))])
  const { port, stop } = await start(guard, counting)
  const open = async (headers, at = path) => {
    const before = opened
    const answer = send(port, { path: at, headers })
    answer.catch(() => {})
    await Promise.race([answer, waitUntil('it is open', () => opened > before)])
    return { answer }
  }
  try {
    await use({ open, port })
  } finally {
    await stop()
    await guard.close()
  }
}

const codeOf = async ({ answer }) => (await answer).json.code

for (const [host, start] of hosts) {
  describe(host, () => {
    const events = []
    const guard = createGuard({ rateLimit: false, jwt, log: (event) => events.push(event) })
    const ask = serveRoutes(start, guard, routes)

    test('a response ends when its token is revoked, and those of others go on', async () => {
      const of = async (sub) => bearer((await guard.tokens.issue({ sub })).accessToken)
      const ended = ask('/events', { headers: await of('ada') })
      const open = ask('/events', { headers: await of('eve') })
      await waitUntil('both are open', () => events.filter(({ outcome }) => outcome === 'allow').length === 2)
      await guard.revoke.subject('ada')
      assert.deepEqual((await ended).json, { name: 'GuardError', code: 'token_revoked', status: 401 })
      const seen = events.filter(({ outcome }) => outcome === 'end')
      assert.deepEqual(seen.map(({ user, code, status, layer, reason, path }) => ({ user, code, status, layer, reason, path })), [
        { user: 'ada', code: 'token_revoked', status: 401, layer: 'authenticate', reason: 'token_revoked', path: '/events' }
      ])
      await guard.revoke.subject('eve')
      assert.equal((await open).json.code, 'token_revoked')
    })

    test('a response that is over is not watched any more', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'mia' })
      assert.deepEqual((await ask('/peek', { headers: bearer(accessToken) })).json, { aborted: false })
      await guard.revoke.subject('mia')
      await sleep(2200)
      assert.deepEqual(events.filter(({ outcome, user }) => outcome === 'end' && user === 'mia'), [])
    })
  })
}

describe('what ends an open response', () => {
  test('its token, session, key or user is revoked, or its client is blocked', async () => {
    const guard = createGuard({ rateLimit: false, jwt: { ...jwt, refresh: true } })
    await streaming(guard, async ({ open }) => {
      const issue = async () => (await guard.tokens.issue({ sub: 'ada' })).accessToken
      const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
      const ends = [
        ['token_revoked', (token) => guard.revoke.token(token)],
        ['token_revoked', (token) => guard.revoke.session(claims(token).sid)],
        ['token_revoked', () => guard.revoke.subject('ada')],
        ['client_blocked', () => guard.limits.block({ user: 'ada' }, '1m')],
        ['client_blocked', () => guard.limits.block('127.0.0.1', '1m')]
      ]
      for (const [code, end] of ends) {
        const token = await issue()
        const stream = await open(bearer(token))
        await end(token)
        assert.equal(await codeOf(stream), code)
        await guard.limits.unblock({ user: 'ada' })
      }
    })
  })

  test('its token expires, or the login that its route demands is too long ago', async () => {
    const clock = createTestClock()
    const guard = createGuard({ rateLimit: false, jwt })
    try {
      await streaming(guard, async ({ open }) => {
        const token = async () => bearer((await guard.tokens.issue({ sub: 'ada', auth_time: Math.floor(clock.now() / 1000) }, { expiresIn: '15m' })).accessToken)
        const login = await open(await token(), '/recent')
        const stream = await open(await token())
        clock.advance('6m')
        assert.equal(await codeOf(login), 'insufficient_user_authentication')
        clock.advance('10m')
        assert.equal(await codeOf(stream), 'token_expired')
      })
    } finally {
      clock.release()
    }
  })

  test('its API key is revoked, or the record of the key has expired', async () => {
    const clock = createTestClock()
    const records = new Map()
    const guard = createGuard({ rateLimit: false, apiKeys: { prefix: 'acme', lookup: async (digest) => records.get(digest) ?? null } })
    const issue = (more) => {
      const { key, digest } = guard.apiKeys.create()
      records.set(digest, { digest, sub: 'robot', ...more })
      return key
    }
    try {
      await streaming(guard, async ({ open }) => {
        const key = issue()
        const stream = await open({ 'x-api-key': key })
        await guard.apiKeys.revoke(key)
        assert.equal(await codeOf(stream), 'api_key_invalid')
        const short = await open({ 'x-api-key': issue({ exp: Math.floor(clock.now() / 1000) + 60 }) })
        clock.advance('5m')
        assert.equal(await codeOf(short), 'api_key_invalid')
      })
    } finally {
      clock.release()
    }
  })

  test('the guard is closed, also for a request without a user', async () => {
    const guard = createGuard({ rateLimit: false, jwt })
    await streaming(guard, async ({ open }) => {
      const stream = await open({}, '/anonymous')
      await guard.close()
      assert.equal(await codeOf(stream), 'guard_closed')
    })
  })

  test('its issuer says that the token is no longer active', async () => {
    const server = await startAuthorizationServer()
    const guard = createGuard({
      rateLimit: false,
      jwt: { issuer: server.issuer, audience: 'https://orders.example', introspection: { url: server.endpoint, ...CLIENT, cacheFor: '1s' } }
    })
    try {
      await streaming(guard, async ({ open }) => {
        const token = await server.save('AccessToken', { client: 'shop', accountId: 'ada', aud: 'https://orders.example', scope: 'orders:read' })
        const stream = await open(bearer(token))
        await sleep(2500)
        assert.ok(server.asked() > 1, 'the issuer is asked again')
        await server.revoke(token, 'shop')
        assert.equal(await codeOf(stream), 'token_inactive')
      })
    } finally {
      await server.stop()
    }
  })
})

test('a layer that passes later is watched as well', async () => {
  const clock = createTestClock()
  const guard = createGuard({ rateLimit: false, jwt })
  const [whole] = guard.securityStack()
  const recent = guard.require({ maxAge: '5m' })
  const server = http.createServer((req, res) => whole(req, res, () => {
    const { signal } = req.guard
    recent(req, res, () => {
      res.flushHeaders()
      signal.addEventListener('abort', () => res.end(signal.reason.code))
    })
  }))
  try {
    await serve(null, async (ask) => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada', auth_time: Math.floor(clock.now() / 1000) }, { expiresIn: '1h' })
      const answer = ask({ headers: bearer(accessToken) })
      await sleep(200)
      clock.advance('6m')
      assert.equal((await answer).text, 'insufficient_user_authentication')
    }, server)
  } finally {
    clock.release()
    await guard.close()
  }
})

test('a WebSocket ends when its token is revoked', async () => {
  const guard = createGuard({ rateLimit: false, jwt })
  const sockets = new WebSocketServer({ noServer: true })
  const server = http.createServer()
  server.on('upgrade', async (req, socket, head) => {
    if (!(await guard.upgrade(req, socket, head))) return
    sockets.handleUpgrade(req, socket, head, (ws) => {
      const { signal } = req.guard
      signal.addEventListener('abort', () => ws.close(4401, signal.reason.code))
      ws.send('hello')
    })
  })
  await serve(null, async (_, { port }) => {
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    const ws = new WebSocket(`ws://127.0.0.1:${port}/`, { headers: bearer(accessToken) })
    await once(ws, 'message')
    const closed = once(ws, 'close')
    await guard.revoke.subject('ada')
    const [code, reason] = await closed
    assert.deepEqual([code, String(reason)], [4401, 'token_revoked'])
  }, server)
  await guard.close()
})

describe('over Redis', () => {
  let redis
  before(async () => void (redis = await startRedis()))
  after(() => redis.stop())
  const config = () => ({
    rateLimit: false,
    jwt,
    store: { redis: { url: redis.url, timeout: '5s' } }
  })

  test('another process revokes, and the response here ends', async () => {
    const guard = createGuard(config())
    const peer = await startPeer(config())
    await Promise.all([guard.ready(), peer.call('ready')])
    try {
      await streaming(guard, async ({ open }) => {
        const of = async (sub) => bearer((await guard.tokens.issue({ sub })).accessToken)
        const streams = await Promise.all([open(await of('ada')), open(await of('ada'))])
        await peer.call('revoke.subject', 'ada')
        assert.deepEqual(await Promise.all(streams.map(codeOf)), ['token_revoked', 'token_revoked'])
      })
    } finally {
      await peer.stop()
    }
  })

  test('a list that always asks the store is asked for an open response, too', async () => {
    const guard = createGuard({ ...config(), revocation: { mode: 'strict' } })
    const peer = await startPeer(config())
    await Promise.all([guard.ready(), peer.call('ready')])
    try {
      await streaming(guard, async ({ open }) => {
        const stream = await open(bearer((await guard.tokens.issue({ sub: 'eve' })).accessToken))
        await peer.call('revoke.subject', 'eve')
        assert.equal(await codeOf(stream), 'token_revoked')
      })
    } finally {
      await peer.stop()
    }
  })
})

test('without the store, responses end when revocations are unknown for longer than `maxStaleness`', async () => {
  const redis = await startRedis()
  const guard = createGuard({ rateLimit: false, jwt, store: { redis: redis.url }, revocation: { maxStaleness: '2s' } })
  try {
    await guard.ready()
    await streaming(guard, async ({ open }) => {
      const stream = await open(bearer((await guard.tokens.issue({ sub: 'ada' })).accessToken))
      await redis.stop()
      assert.equal(await codeOf(stream), 'revocation_stale')
    })
  } finally {
    await redis.stop()
  }
})

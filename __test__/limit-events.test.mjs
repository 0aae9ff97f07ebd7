// The `log` event of a refusal names the limit that refused, whoever asks it.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { expresses, send as sendTo, serve } from './helpers/http.mjs'
import { freePort } from './helpers/processes.mjs'
import { startRedis } from './helpers/servers.mjs'

const limit = (name, more) => ({ name, limit: 1, window: '1h', ...more })

/** The refusals that a guard has told of, as `[code, limit]`. */
function guardOf(config) {
  const refused = []
  const log = ({ outcome, code, limit, ...rest }) => {
    if (outcome === 'refuse') refused.push([code, limit, rest.shadow])
    else assert.equal(limit, undefined, outcome)
  }
  return { guard: createGuard({ ...config, log }), refused }
}

for (const [name, express] of expresses) {
  test(`${name}: the limit of a guard, of a route and of a layer alone is named`, async () => {
    const { guard, refused } = guardOf({ rateLimit: limit('all', { limit: 3 }) })
    const app = express()
    app.get('/route', ...guard.securityStack({ rateLimit: limit('route') }), (req, res) => res.send('ok'))
    app.get('/layer', guard.rateLimit(limit('layer')), (req, res) => res.send('ok'))
    app.get('/all', ...guard.securityStack(), (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      for (const path of ['/route', '/layer']) for (const status of [200, 429]) assert.equal((await send({ path })).status, status)
      for (const status of [200, 200, 200, 429]) assert.equal((await send({ path: '/all' })).status, status)
    })
    assert.deepEqual(refused.map(([, limit]) => limit), ['route', 'layer', 'all'])
    assert.ok(refused.every(([code]) => code === 'rate_limited'))
    guard.close()
  })

  test(`${name}: of several limits it is the first that refused, and never one that only watches`, async () => {
    const { guard, refused } = guardOf({
      rateLimit: [limit('watches', { onExceed: 'shadow' }), limit('wide', { limit: 5 }), limit('day'), limit('hour')]
    })
    const app = express()
    app.use(guard.securityStack())
    app.get('/', (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      for (const status of [200, 429]) assert.equal((await send()).status, status)
    })
    assert.deepEqual(refused, [['rate_limited', 'day', ['watches']]])
    guard.close()
  })
}

/** Serves a guard on `node:http` until the test ends. */
async function serveHttp(t, guard, listener = (req, res) => res.end('ok')) {
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => protect(req, res, () => listener(req, res)))
  server.on('upgrade', (req, socket, head) => guard.upgrade(req, socket, head).then((passed) => passed && socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    server.closeAllConnections()
    guard.close()
  })
  return server.address().port
}

test('a limit on requests under way is named', async (t) => {
  const { guard, refused } = guardOf({ rateLimit: { name: 'reports', concurrent: 1 } })
  let entered
  const first = new Promise((resolve) => (entered = resolve))
  const port = await serveHttp(t, guard, (req, res) => entered(res))
  const held = sendTo(port, {})
  const res = await first
  assert.equal((await sendTo(port, {})).status, 429)
  res.end('ok')
  assert.equal((await held).status, 200)
  assert.deepEqual(refused, [['rate_limited', 'reports', undefined]])
})

test('a limit that refuses a handshake is named', async (t) => {
  const { guard, refused } = guardOf({ rateLimit: limit('sockets') })
  const port = await serveHttp(t, guard)
  for (const status of ['101', '429']) {
    const socket = net.connect(port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n')
    const [answer] = await once(socket, 'data')
    assert.equal(String(answer).split(' ')[1], status)
    socket.destroy()
  }
  assert.deepEqual(refused, [['rate_limited', 'sockets', undefined]])
})

test('a limit that the store could not count is named where it refuses, and the shared store names the others, too', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const rateLimit = [limit('here', { limit: 100, onStoreFailure: 'local' }), limit('logins', { exact: true, onStoreFailure: 'closed' })]
  const shared = guardOf({ store: { redis: { url: redis.url, timeout: '500ms' } }, rateLimit })
  const port = await serveHttp(t, shared.guard)
  await shared.guard.ready()
  for (const status of [200, 429]) assert.equal((await sendTo(port, {})).status, status)
  assert.deepEqual(shared.refused, [['rate_limited', 'logins', undefined]])

  const away = guardOf({ store: { redis: `redis://127.0.0.1:${await freePort()}` }, rateLimit })
  assert.equal((await sendTo(await serveHttp(t, away.guard), {})).status, 503)
  assert.deepEqual(away.refused, [['store_unavailable', 'logins', undefined]])
})

test('a refusal by something else names no limit', async (t) => {
  const { guard, refused } = guardOf({ jwt, rateLimit: limit('all') })
  const port = await serveHttp(t, guard)
  assert.equal((await sendTo(port, {})).status, 401)
  assert.deepEqual(refused, [['token_missing', undefined, undefined]])
})

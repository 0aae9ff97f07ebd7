// `guard.upgrade`: handshakes of WebSocket pass no middleware, so the whole stack is asked about
// them.

import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { sendBytes } from './helpers/raw.mjs'
import { waitUntil } from './helpers/servers.mjs'

const { WebSocket, WebSocketServer } = createRequire(import.meta.url)('ws')

/** Serves a WebSocket echo behind a guard while `use({ connect, handshake, guard })` runs. */
async function chat(config, use, { stackOf, listener } = {}) {
  const guard = createGuard({ rateLimit: false, ...config })
  const stack = stackOf === undefined ? [] : [stackOf(guard)]
  const sockets = new WebSocketServer({ noServer: true })
  sockets.on('connection', (ws, req) => {
    ws.send(JSON.stringify({ user: req.user?.sub ?? null, client: req.guard.client }))
    ws.on('message', (data) => ws.send(String(data)))
  })
  const passed = []
  const server = http.createServer(listener?.(guard))
  server.on('upgrade', async (req, socket, head) => {
    passed.push(await guard.upgrade(req, socket, head, ...stack))
    if (passed.at(-1)) sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit('connection', ws, req))
  })
  await serve(null, (send, { port }) => {
    const connect = async (headers = {}, path = '/') => {
      const ws = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers, ...(headers.origin === undefined ? {} : { origin: headers.origin }) })
      const [kind, value] = await Promise.race([
        once(ws, 'message').then(([data]) => ['open', JSON.parse(String(data))]),
        once(ws, 'unexpected-response').then(([, response]) => ['refused', response])
      ])
      if (kind === 'open') return { status: 101, hello: value, ws }
      const chunks = await value.toArray()
      return { status: value.statusCode, headers: value.headers, problem: JSON.parse(Buffer.concat(chunks).toString()) }
    }
    return use({ connect, guard, port, passed, send })
  }, server)
  for (const client of sockets.clients) client.terminate()
  sockets.close()
  await guard.close()
}

const status = async (connection) => {
  const { status: got, ws } = await connection
  ws?.terminate()
  return got
}

test('a handshake passes all layers, and the socket is the application\'s then', async () => {
  await chat({ jwt, rateLimit: { name: 'sockets', limit: 3, window: '1h' } }, async ({ connect, guard }) => {
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    const refused = await connect()
    assert.deepEqual([refused.status, refused.problem.code], [401, 'token_missing'])
    assert.equal(refused.headers.connection, 'close')
    assert.equal(refused.headers['x-content-type-options'], 'nosniff')
    const { hello, ws } = await connect(bearer(accessToken))
    assert.deepEqual(hello, { user: 'ada', client: '127.0.0.1' })
    ws.send('echo')
    assert.equal(String((await once(ws, 'message'))[0]), 'echo')
    ws.terminate()
    await status(connect(bearer(accessToken)))
    await status(connect(bearer(accessToken)))
    const over = await connect(bearer(accessToken))
    assert.deepEqual([over.status, over.problem.code], [429, 'rate_limited'])
    assert.ok(Number(over.headers['retry-after']) > 0)
  })
})

test('a page of another origin opens no socket in the user\'s name, unless it is listed', async () => {
  const cookieJwt = { ...jwt, from: [{ cookie: '__Host-token' }] }
  const cases = async (config, expected) => chat(config, async ({ connect, guard }) => {
    const { accessToken } = config.jwt === undefined ? {} : await guard.tokens.issue({ sub: 'ada' })
    const cookie = accessToken === undefined ? 'session=1' : `__Host-token=${accessToken}`
    const evil = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' }
    const app = { origin: 'https://app.example.com', 'sec-fetch-site': 'same-site' }
    const found = {
      evil: await status(connect({ cookie, ...evil })),
      evilWithoutCookie: await status(connect(evil)),
      evilOld: await status(connect({ cookie, origin: 'https://evil.example' })),
      app: await status(connect({ cookie, ...app })),
      appWithoutCookie: await status(connect(app)),
      own: await status(connect({ cookie, 'sec-fetch-site': 'same-origin' })),
      program: await status(connect({}))
    }
    assert.deepEqual(found, expected)
  })
  const origins = ['https://app.example.com']
  const none = { evil: 403, evilWithoutCookie: 403, evilOld: 403, app: 403, appWithoutCookie: 403, own: 101, program: 101 }
  await cases({}, none)
  await cases({ csrf: { origins } }, { ...none, app: 101, appWithoutCookie: 101 })
  await cases({ cors: { origins, credentials: true } }, { ...none, app: 101, appWithoutCookie: 101 })
  // Without `credentials`, CORS lets those pages use the API as anybody, and not as the user.
  await cases({ cors: { origins } }, { ...none, appWithoutCookie: 101 })
  await cases({ cors: { origins: ['*'] } }, { ...none, evilWithoutCookie: 101, appWithoutCookie: 101 })
  await cases({ cors: { credentials: true, origins: async (origin) => origins.includes(origin) } }, { ...none, app: 101, appWithoutCookie: 101 })
  await cases({ csrf: false }, { evil: 101, evilWithoutCookie: 101, evilOld: 101, app: 101, appWithoutCookie: 101, own: 101, program: 101 })
  await cases({ jwt: cookieJwt }, { ...none, appWithoutCookie: 403, program: 401 })
})

test('a place of `concurrent` is held until the socket closes', async () => {
  await chat({ rateLimit: { name: 'sockets', concurrent: 2 } }, async ({ connect, guard }) => {
    const taken = async () => (await guard.limits.get('sockets', '127.0.0.1')).taken
    const [first, second] = [await connect(), await connect()]
    assert.equal(await taken(), 2)
    assert.equal(await status(connect()), 429)
    first.ws.close()
    await waitUntil('one place is free', async () => (await taken()) === 1)
    second.ws.terminate()
    await waitUntil('both places are free', async () => (await taken()) === 0)
  })
})

test('an open socket is a success for limits that count failures, and a refused one is none', async () => {
  const rateLimit = [{ name: 'failed', limit: 2, window: '1h', count: 'failed' }]
  await chat({ rateLimit, jwt: { ...jwt, optional: true } }, async ({ connect, guard }) => {
    const left = async () => (await guard.limits.get('failed', '127.0.0.1')).remaining
    const { ws } = await connect()
    ws.terminate()
    await waitUntil('it is given back', async () => (await left()) === 2)
  })
})

test('options of a route come with a stack of the same guard', async () => {
  const stackOf = (guard) => guard.securityStack({ rateLimit: { name: 'chat', limit: 1, window: '1h' } })
  await chat({}, async ({ connect }) => {
    assert.deepEqual([await status(connect()), await status(connect())], [101, 429])
  }, { stackOf })
  const guard = createGuard({ rateLimit: false })
  const other = createGuard({ rateLimit: false })
  for (const stack of [other.securityStack(), [], [() => {}], 'chat', null]) {
    const req = new http.IncomingMessage(new net.Socket())
    await assert.rejects(guard.upgrade(req, new net.Socket(), Buffer.alloc(0), stack), { code: 'ERR_INVALID_ARGUMENT' })
  }
  await guard.close()
})

test('a guard that is closed refuses handshakes, whether it has seen one before or not', async () => {
  for (const before of [0, 1]) {
    await chat({}, async ({ connect, guard, passed }) => {
      for (let i = 0; i < before; i += 1) await status(connect())
      await guard.close()
      const { problem, headers } = await connect()
      assert.deepEqual([problem.code, headers['retry-after'], passed.at(-1)], ['guard_closed', '1', false])
    })
  }
})

test('a handshake with a body is refused, and a client that goes away meanwhile ends it', async () => {
  let slow = () => {}
  const key = () => '1'
  await chat({ cors: { origins: () => new Promise((resolve) => (slow = resolve)) }, rateLimit: { name: 'a', concurrent: 1, key } }, async ({ port, passed, guard }) => {
    const handshake = (fields) => `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n`
    assert.equal((await sendBytes(port, handshake('Content-Length: 5\r\n') + 'hello')).status, 400)
    const socket = net.connect(port, '127.0.0.1')
    socket.write(handshake('Origin: https://app.example.com\r\n'))
    await new Promise((resolve) => setTimeout(resolve, 50))
    socket.resetAndDestroy()
    await waitUntil('it is over', () => passed.length === 2)
    slow(true)
    assert.deepEqual(passed, [false, false])
    assert.equal((await guard.limits.get('a', '1')).taken, 0)
  })
})

for (const [name, express] of expresses) {
  test(`${name}: requests and handshakes of one server share one guard and its limits`, async () => {
    const listener = (guard) => express().use(guard.securityStack()).get('/', (req, res) => res.send('ok'))
    await chat({ rateLimit: { name: 'all', limit: 2, window: '1h' } }, async ({ connect, send }) => {
      assert.equal((await send({ path: '/' })).status, 200)
      assert.equal(await status(connect()), 101)
      assert.equal(await status(connect()), 429)
      assert.equal((await send({ path: '/' })).status, 429)
    }, { listener })
  })
}

test('Socket.IO: its engine gets requests behind the stack and handshakes behind guard.upgrade', async () => {
  const require = createRequire(import.meta.url)
  const { Server } = require('socket.io')
  const { Server: Engine } = createRequire(require.resolve('socket.io'))('engine.io')
  const { io: connectTo } = require('socket.io-client')
  const guard = createGuard({ jwt, rateLimit: false })
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  const chat = guard.securityStack({ payload: false, csrf: { origins: ['https://app.example.com'] } })
  const io = new Server()
  const engine = new Engine({ path: '/socket.io/' })
  io.bind(engine)
  io.on('connection', (socket) => socket.emit('hello', socket.request.user.sub))
  const [[, express]] = expresses
  const app = express().use('/socket.io/', chat, (req, res) => engine.handleRequest(req, res))
  const server = http.createServer(app)
  server.on('upgrade', async (req, socket, head) => {
    if (!req.url.startsWith('/socket.io/')) return socket.destroy()
    if (await guard.upgrade(req, socket, head, chat)) engine.handleUpgrade(req, socket, head)
  })
  await serve(null, async (send, { port }) => {
    const open = (transports, extraHeaders) => connectTo(`http://127.0.0.1:${port}`, { transports, extraHeaders, reconnection: false })
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      const socket = open(transports, bearer(accessToken))
      const user = await new Promise((resolve, reject) => {
        socket.on('hello', resolve)
        socket.on('connect_error', reject)
      })
      assert.equal(user, 'ada', transports.join())
      if (transports.length === 2) await waitUntil('it is upgraded', () => socket.io.engine.transport.name === 'websocket')
      socket.close()
      const refused = open(transports, {})
      const error = await new Promise((resolve) => refused.on('connect_error', resolve))
      assert.ok(error instanceof Error)
      refused.close()
    }
  }, server)
  io.close()
})

test('a handshake that nobody can answer is false, and its socket is closed', async () => {
  await chat({ jwt }, async ({ port, passed }) => {
    const handshake = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'
    // Behind a request whose answer is under way.
    await sendBytes(port, `GET / HTTP/1.1\r\nHost: a\r\n\r\n${handshake}`)
    assert.deepEqual(passed, [false])
  }, { listener: () => (req, res) => setTimeout(() => res.end(), 20) })
  for (const config of [{}, { jwt }]) {
    const guard = createGuard(config)
    const server = http.createServer()
    const results = []
    server.on('upgrade', async (req, socket, head) => {
      if (req.url === '/gone') socket.destroy()
      else socket.end()
      results.push(await guard.upgrade(req, socket, head))
    })
    await serve(null, async (send, { port }) => {
      for (const path of ['/gone', '/ended']) await sendBytes(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
      await waitUntil('both are answered', () => results.length === 2)
    }, server)
    assert.deepEqual(results, [false, false])
  }
})

test('a layer alone is no stack for a handshake: it would leave out who may open the socket', async () => {
  const guard = createGuard({ jwt })
  const api = guard.fromOpenApi({ openapi: '3.1.0', info: { title: 'a', version: '1' }, paths: { '/': { get: { security: [], responses: { 200: { description: 'ok' } } } } } })
  for (const stack of [guard.authenticate(), guard.rateLimit(), guard.headers(), [guard.require()], api.handler]) {
    const socket = new net.Socket()
    await assert.rejects(guard.upgrade(new http.IncomingMessage(socket), socket, Buffer.alloc(0), stack), { code: 'ERR_INVALID_ARGUMENT', path: 'stack' })
  }
})

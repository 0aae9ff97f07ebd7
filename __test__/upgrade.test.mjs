// `guard.upgrade`: handshakes of WebSocket pass no middleware, so the whole stack is asked about
// them.

import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { Writable } from 'node:stream'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { sendBytes } from './helpers/raw.mjs'
import { waitUntil } from './helpers/servers.mjs'

const [[, express]] = expresses
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

const HANDSHAKE = 'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'

/**
 * Serves `listener(req, socket, head)` for handshakes while `use(port, open)` runs; `open` has the
 * sockets.
 */
async function handshakes(listener, use) {
  const server = http.createServer()
  const open = new Set()
  server.on('connection', (socket) => {
    open.add(socket)
    socket.on('error', () => {}).on('close', () => open.delete(socket))
  })
  server.on('upgrade', listener)
  // An upgraded connection is nobody's to close but ours.
  await serve(null, (send, { port }) => use(port, open).finally(() => open.forEach((socket) => socket.destroy())), server)
}

test('the CORS decision in force says which pages open a socket, whichever layer has made it', async () => {
  const [app, partner, admin] = ['app', 'partner', 'admin'].map((name) => `https://${name}.example.com`)
  const wide = { origins: [app, partner], credentials: true }
  const narrow = { origins: [admin], credentials: true }
  const cases = {
    'the layer first': [(guard) => [guard.cors(narrow), ...guard.securityStack()], { [partner]: 403, [admin]: 101 }],
    'the layer last': [(guard) => [...guard.securityStack({ cors: { ...wide, origins: [app, partner, admin] } }), guard.cors(narrow)], { [partner]: 403, [admin]: 101 }],
    'a narrower stack first': [(guard) => [...guard.securityStack({ cors: narrow }), ...guard.securityStack()], { [partner]: 403, [admin]: 101 }],
    'no CORS first': [(guard) => [...guard.securityStack({ cors: false, csrf: false }), ...guard.securityStack()], { [partner]: 403, [admin]: 403 }],
    'the same twice': [(guard) => [...guard.securityStack(), ...guard.securityStack()], { [partner]: 101, [admin]: 403 }],
    'a layer without a decision': [(guard) => [...guard.securityStack(), guard.cors()], { [partner]: 101, [admin]: 403 }]
  }
  for (const origins of [wide.origins, async (origin) => wide.origins.includes(origin)]) {
    for (const [name, [stackOf, expected]] of Object.entries(cases)) {
      await chat({ cors: { ...wide, origins } }, async ({ connect }) => {
        for (const [origin, wanted] of Object.entries(expected)) {
          assert.equal(await status(connect({ cookie: 'session=1', origin, 'sec-fetch-site': 'cross-site' })), wanted, `${name}: ${origin}`)
        }
        assert.equal(await status(connect({})), 101, name)
      }, { stackOf })
    }
  }
  // A page can't put a token there, and a program may well name an origin.
  await chat({ jwt, cors: wide }, async ({ connect, guard }) => {
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    assert.equal(await status(connect({ ...bearer(accessToken), origin: partner })), 101)
  }, { stackOf: (guard) => [...guard.securityStack(), guard.cors(narrow)] })
  // A function is asked again in a second call.
  const guard = createGuard({ rateLimit: false, cors: { origins: async () => true } })
  await handshakes(async (req, socket, head) => {
    if (await guard.upgrade(req, socket, head) && await guard.upgrade(req, socket, head)) socket.end('HTTP/1.1 101 Yes\r\n\r\n')
  }, async (port) => {
    assert.equal((await sendBytes(port, `${HANDSHAKE}Origin: ${app}\r\n\r\n`)).status, 101)
  })
})

test('a client that closes its side while its handshake waits loses its place and its socket', async () => {
  const waits = [
    { rateLimit: [{ name: 'slow', limit: 1, window: '7s', onExceed: 'delay', maxDelay: '1m' }, { name: 'a', concurrent: 9 }] },
    { rateLimit: { name: 'a', concurrent: 9 }, cors: { origins: () => new Promise(() => {}) } }
  ]
  for (const config of waits) {
    for (const early of ['', 'sent too early']) {
      const guard = createGuard(config)
      const results = []
      await handshakes(async (req, socket, head) => results.push(await guard.upgrade(req, socket, head)), async (port, open) => {
        for (const leave of ['end', 'destroy', 'resetAndDestroy']) {
          for (let i = 0; i < 3; i += 1) {
            const socket = net.connect(port, '127.0.0.1').on('error', () => {})
            await once(socket, 'connect')
            socket.write(`${HANDSHAKE}Origin: http://a\r\n\r\n`)
            await new Promise((resolve) => setTimeout(resolve, 20))
            if (early !== '') socket.write(early)
            socket[leave]()
          }
        }
        // The first one of a limit has nothing to wait for.
        const held = config.cors === undefined ? 1 : 0
        await waitUntil('they are over', () => results.length === 9)
        assert.equal(results.filter(Boolean).length, held)
        await waitUntil('their sockets are closed', () => open.size <= held)
        for (const socket of open) socket.destroy()
        await waitUntil('their places are free', async () => (await guard.limits.get('a', '127.0.0.1')).taken === 0)
      })
      await guard.close()
    }
  }
})

test('what a client sends while its handshake waits reaches the application in its order, up to 64 kB', async () => {
  const guard = createGuard({ rateLimit: false, cors: { origins: () => new Promise((resolve) => setTimeout(resolve, 100, true)) } })
  let passed
  const read = {
    data: (socket, done) => {
      let text = ''
      socket.on('data', (data) => (text += data)).on('end', () => done(text))
    },
    pipe: (socket, done) => {
      let text = ''
      socket.pipe(new Writable({ write: (chunk, encoding, next) => next(null, void (text += chunk)) })).on('finish', () => done(text))
    },
    iterate: async (socket, done) => {
      let text = ''
      for await (const chunk of socket) text += chunk
      done(text)
    }
  }
  for (const [name, take] of Object.entries(read)) {
    let done
    const all = new Promise((resolve) => (done = resolve))
    await handshakes(async (req, socket, head) => {
      passed = await guard.upgrade(req, socket, head)
      if (!passed) return
      if (head.length > 0) socket.unshift(head)
      socket.write('HTTP/1.1 101 Yes\r\n\r\n')
      take(socket, done)
    }, async (port) => {
      const socket = net.connect(port, '127.0.0.1').on('error', () => {})
      socket.write(`${HANDSHAKE}Origin: http://a\r\n\r\none `)
      await new Promise((resolve) => setTimeout(resolve, 30))
      socket.write('two ')
      await new Promise((resolve) => setTimeout(resolve, 30))
      socket.write('three ')
      await once(socket, 'data')
      socket.end('four')
      assert.equal(await all, 'one two three four', name)
      const flood = net.connect(port, '127.0.0.1').on('error', () => {})
      flood.write(`${HANDSHAKE}Origin: http://a\r\n\r\n`)
      await new Promise((resolve) => setTimeout(resolve, 30))
      passed = undefined
      flood.write(Buffer.alloc(200_000))
      flood.resume()
      await new Promise((resolve) => flood.once('close', resolve))
      await waitUntil('it is over', () => passed === false)
    })
  }
  await guard.close()
})

test('a handshake that a second call refuses is no success, and its refusal has the security headers', async () => {
  const failed = { name: 'failed', limit: 9, window: '1h', count: 'failed' }
  const gate = createGuard({ rateLimit: failed })
  const tenant = createGuard({ rateLimit: false, jwt })
  const both = createGuard({ rateLimit: failed, jwt })
  for (const [first, second, guard, options] of [[gate, tenant, gate, []], [both, both, both, [both.securityStack({ jwt: false })]]]) {
    await handshakes(async (req, socket, head) => {
      if (await first.upgrade(req, socket, head, ...options) && await second.upgrade(req, socket, head)) socket.destroy()
    }, async (port) => {
      const { status: got, head } = await sendBytes(port, `${HANDSHAKE}\r\n`)
      assert.equal(got, 401)
      assert.match(head, /\r\nX-Content-Type-Options: nosniff\r\n/i)
      await new Promise((resolve) => setTimeout(resolve, 50))
      assert.equal((await guard.limits.get('failed', '127.0.0.1')).remaining, 8)
    })
  }
})

test('an application that takes all listeners off its socket does not keep the place of a closed one', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  const guard = createGuard({ rateLimit: { name: 'a', concurrent: 9 } })
  const taken = async () => (await guard.limits.get('a', '127.0.0.1')).taken
  await handshakes(async (req, socket, head) => {
    if (!(await guard.upgrade(req, socket, head))) return
    if (req.url === '/') socket.removeAllListeners('close').on('error', () => {})
    socket.resume().write('HTTP/1.1 101 Yes\r\n\r\n')
  }, async (port, open) => {
    const [first, second] = ['/', '/kept'].map((path) => net.connect(port, '127.0.0.1').on('error', () => {}).resume().setNoDelay(true)
      .on('connect', function () {
        this.write(`${HANDSHAKE.replace('/', path)}\r\n`)
      }))
    await waitUntil('both are open', async () => (await taken()) === 2)
    const sockets = [...open]
    t.mock.timers.tick(60_000)
    assert.equal(await taken(), 2)
    first.resetAndDestroy()
    await waitUntil('one is closed', () => sockets.filter((socket) => socket.destroyed).length === 1)
    t.mock.timers.tick(60_000)
    assert.equal(await taken(), 1)
    second.resetAndDestroy()
    await waitUntil('the other one is closed', async () => (await taken()) === 0)
  })
  await guard.close()
})

test('an argument of guard.upgrade that is not what the event gives rejects by its name, and closes the socket', async () => {
  const guard = createGuard({ rateLimit: false })
  const [protect] = guard.securityStack()
  const socketOf = () => new net.Socket()
  const head = Buffer.alloc(0)
  const reqOf = (socket) => new http.IncomingMessage(socket)
  const cases = [
    ['req', () => []],
    ['req', (socket) => [undefined, socket, head]],
    ['socket', (socket) => [reqOf(socket)]],
    ['socket', (socket) => [reqOf(socket), null, head]],
    ['head', (socket) => [reqOf(socket), socket]],
    ['head', (socket) => [reqOf(socket), socket, guard.securityStack()]],
    ['stack', (socket) => [reqOf(socket), socket, head, Object.assign([], { 1: protect })]],
    ['stack', (socket) => [reqOf(socket), socket, head, [protect, undefined]]]
  ]
  for (const [path, given] of cases) {
    const socket = socketOf()
    const args = given(socket)
    await assert.rejects(guard.upgrade(...args), { name: 'GuardError', code: 'ERR_INVALID_ARGUMENT', path })
    if (args[1] === socket) assert.ok(socket.destroyed, path)
  }
  await guard.close()
})

test('a handshake that a proxy may have sent is refused unless the guard knows its proxies', async () => {
  const forwarded = { 'x-forwarded-for': '203.0.113.7' }
  const listener = (guard) => express().set('trust proxy', 'loopback').use(guard.securityStack()).get('/', (req, res) => res.send('ok'))
  const clients = { block: ['203.0.113.7'] }
  await chat({ clients }, async ({ connect, send }) => {
    assert.equal((await send({ headers: forwarded })).json.code, 'client_blocked')
    const { status: got, problem } = await connect(forwarded)
    assert.deepEqual([got, problem.code], [400, 'untrusted_proxy'])
    assert.equal(await status(connect({})), 101)
  }, { listener })
  await chat({ clients, trustedProxies: ['127.0.0.1'] }, async ({ connect }) => {
    assert.equal((await connect(forwarded)).problem.code, 'client_blocked')
    assert.equal(await status(connect({ 'x-forwarded-for': '203.0.113.8' })), 101)
  })
  await chat({ clients, trustedProxies: [] }, async ({ connect }) => {
    assert.equal(await status(connect(forwarded)), 101, 'there are no proxies, and the header is a made-up one')
  })
})

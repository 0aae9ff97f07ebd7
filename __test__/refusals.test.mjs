// Refusals on connections of HTTP/1.1 that are not at their end: bodies under way, pipelines,
// upgrades.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { expresses, serve } from './helpers/http.mjs'
import { waitUntil } from './helpers/processes.mjs'

const HEAD = 'Host: a\r\nContent-Type: application/json\r\n'
const TWO = { name: 'two', concurrent: 2 }
// Behind the limits, so that a request has its place when it is refused.
const onlyGood = { policies: { p: 'package p\nimport rego.v1\ndefault allow := false\nallow if input.path[0] == "good"' }, query: 'data.p.allow' }

/**
 * Serves `protect` of a guard while `use` runs. `open` are the responses of the requests that have
 * passed.
 */
async function api(config, use, prepare = () => {}) {
  const guard = createGuard({ rateLimit: TWO, policy: onlyGood, ...config })
  const [protect] = guard.securityStack()
  const open = []
  const server = http.createServer((req, res) => protect(req, res, () => open.push(res)))
  prepare(server, protect)
  // An upgraded connection is nobody's to close but ours.
  const sockets = new Set()
  server.on('connection', (socket) => sockets.add(socket))
  const taken = async () => (await guard.limits.get('two', '127.0.0.1')).taken
  try {
    await serve(null, (send, { port }) => use({ send, port, open, taken }).finally(() => sockets.forEach((socket) => socket.destroy())), server)
  } finally {
    await guard.close()
  }
}

/** A connection: `text()` is what has come so far, and `closed()` whether it is closed. */
async function connect(port) {
  const socket = net.connect(port, '127.0.0.1')
  let text = ''
  let closed = false
  socket.on('data', (chunk) => (text += chunk)).on('error', () => {}).on('close', () => (closed = true))
  await once(socket, 'connect')
  return { socket, text: () => text, closed: () => closed, until: (part) => waitUntil(`${part} to come`, () => text.includes(part)) }
}

test('a refusal gives its place back at once, though its client is still sending', () =>
  api({}, async ({ port, taken }) => {
    for (const [head, code] of [['Content-Length: 20000000\r\n', 'body_too_large'], ['Transfer-Encoding: chunked\r\n', 'body_too_large']]) {
      const { socket, until, closed } = await connect(port)
      socket.write(`POST /good HTTP/1.1\r\n${HEAD}${head}\r\n`)
      const chunk = 'a'.repeat(200_000)
      socket.write(head.startsWith('T') ? `${chunk.length.toString(16)}\r\n${chunk}\r\n` : chunk)
      await until(code)
      assert.deepEqual([await taken(), closed()], [0, false], 'the rest is still read and thrown away')
      socket.destroy()
    }
  }))

test('a refusal behind an answer that is not ready gives its place back at once', () =>
  api({}, async ({ port, open, taken }) => {
    const { socket, until, text } = await connect(port)
    socket.write(`GET /good HTTP/1.1\r\n${HEAD}\r\n${`GET /bad HTTP/1.1\r\n${HEAD}\r\n`.repeat(5)}`)
    await waitUntil('the first to be inside', () => open.length === 1)
    assert.equal(await taken(), 1)
    open[0].end('first')
    await until('first')
    await waitUntil('the others', () => text().split('"status":403').length === 6)
    assert.equal(await taken(), 0)
    socket.destroy()
  }))

test('an upload that is refused early is thrown away, and its connection serves the next request', () =>
  api({}, async ({ port, open, taken }) => {
    const { socket, until } = await connect(port)
    const size = 3_000_000
    socket.write(`POST /bad HTTP/1.1\r\n${HEAD}Content-Length: ${size}\r\n\r\n`)
    await until('policy')
    assert.equal(await taken(), 0)
    socket.write(`${'a'.repeat(size)}GET /good HTTP/1.1\r\n${HEAD}\r\n`)
    await waitUntil('the next request', () => open.length === 1)
    open[0].end('next')
    await until('next')
    socket.destroy()
  }))

test('a client that waits for `100 Continue` and is refused loses its connection, since it need not send the body', () => {
  const continued = (server, protect) => server.on('checkContinue', (req, res) => protect(req, res, () => (res.writeContinue(), res.end('ok'))))
  return api({}, async ({ port, taken }) => {
    const { socket, until, closed, text } = await connect(port)
    socket.write(`POST /bad HTTP/1.1\r\n${HEAD}Content-Length: 40\r\nExpect: 100-continue\r\n\r\n`)
    await until('policy')
    assert.match(text(), /^HTTP\/1\.1 403 /)
    assert.match(text(), /\r\nConnection: close\r\n/i)
    assert.equal(await taken(), 0)
    // What would have been the body of the request that was refused is no request, and is not
    // answered.
    socket.write(`GET /good HTTP/1.1\r\n${HEAD}\r\n`)
    await waitUntil('the connection to close', closed)
    assert.equal(text().match(/HTTP\/1\.1/g).length, 1)
  }, continued)
})

test('an upgrade that is refused is answered, and its connection closed', () => {
  const upgrades = (server, protect) =>
    server.on('upgrade', (req, socket) => {
      const res = new http.ServerResponse(req)
      res.assignSocket(socket)
      protect(req, res, () => socket.destroy())
    })
  return api({}, async ({ port, taken }) => {
    for (let i = 0; i < 3; i += 1) {
      const { socket, closed, text } = await connect(port)
      socket.write('GET /bad HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
      await waitUntil('the connection to close', closed)
      assert.match(text(), /^HTTP\/1\.1 403 /)
      assert.match(text(), /\r\nConnection: close\r\n/i)
      assert.match(text(), /"status":403/)
      assert.equal(await taken(), 0)
    }
  }, upgrades)
})

test('HEAD that is refused has the head of the refusal and no body, and the next request is served', () =>
  api({}, async ({ port, open }) => {
    const { socket, text } = await connect(port)
    socket.write(`HEAD /bad HTTP/1.1\r\n${HEAD}\r\nGET /good HTTP/1.1\r\n${HEAD}\r\n`)
    await waitUntil('the next request', () => open.length === 1)
    open[0].end('next')
    await waitUntil('its answer', () => text().endsWith('next'))
    const [first, second] = text().split(/(?=HTTP\/1\.1 200)/)
    assert.match(first, /^HTTP\/1\.1 403 [^]*application\/problem\+json[^]*\r\n\r\n$/)
    assert.match(second, /^HTTP\/1\.1 200 /)
    socket.destroy()
  }))

test('a refusal says nothing of the answer that a handler before it meant to send', async () => {
  const guard = createGuard({ jwt })
  const [protect] = guard.securityStack()
  const about = {
    'content-encoding': 'gzip', 'content-location': '/page', etag: '"1"', 'last-modified': 'Thu, 01 Jan 2026 00:00:00 GMT', location: '/elsewhere',
    'content-disposition': 'attachment', 'content-range': 'bytes 0-1/2', 'content-digest': 'sha-256=:YQ==:', 'repr-digest': 'sha-256=:YQ==:', refresh: '0;url=/elsewhere'
  }
  for (const message of ['Everything Fine', 'two\r\nlines']) {
    await serve((req, res) => {
      for (const [name, value] of Object.entries(about)) res.setHeader(name, value)
      res.statusMessage = message
      protect(req, res, () => res.end())
    }, async (send, { port }) => {
      const { status, headers, json } = await send({})
      assert.deepEqual([status, json.code], [401, 'token_missing'])
      assert.deepEqual(Object.keys(about).filter((name) => headers[name] !== undefined), [])
      const { socket, until } = await connect(port)
      socket.write(`GET / HTTP/1.1\r\n${HEAD}\r\n`)
      await until('HTTP/1.1 401 Unauthorized\r\n')
      socket.destroy()
    })
  }
})

const ways = [...expresses.map(([name, express]) => [name, (...handlers) => express().use(...handlers)]), ['node:http', (before, protect, last) => (req, res) => before(req, res, () => protect(req, res, () => last(req, res)))]]
for (const [name, listen] of ways) {
  test(`${name}: whatever a handler before has made of a response, its refusal is written or its connection is closed`, async () => {
    const guard = createGuard({ jwt })
    const [protect] = guard.securityStack()
    const before = (req, res, next) => {
      if (req.url === '/trailer') res.setHeader('Trailer', 'Server-Timing')
      if (req.url === '/throws') res.writeHead = () => { throw new Error('written by nobody') }
      if (req.url === '/sets') res.setHeader = () => { throw new Error('set by nobody') }
      next()
    }
    const server = http.createServer({ rejectNonStandardBodyWrites: true }, listen(before, protect, (req, res) => res.end('ok')))
    await serve(null, async (send) => {
      const { status, json } = await send({ path: '/trailer' })
      assert.deepEqual([status, json.code], [401, 'token_missing'])
      assert.equal((await send({ method: 'HEAD' })).status, 401)
      for (const path of ['/throws', '/sets']) await assert.rejects(send({ path }), { code: 'ECONNRESET' })
      assert.equal((await send({})).status, 401, 'the process still answers')
    }, server)
    await guard.close()
  })
}

// Limits of requests that are under way at once: over every store that has them, with real
// connections.

import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, send as sendTo, serve } from './helpers/http.mjs'
import { waitUntil } from './helpers/servers.mjs'
import { memoryAndRedis } from './helpers/stores.mjs'

const { redis, stores } = await memoryAndRedis('flight')
after(() => redis.stop())

const K = '127.0.0.1'
const REPORTS = { name: 'reports', concurrent: 2 }
const REQUEST = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'

const taken = async (guard, name = 'reports', key = K) => (await guard.limits.get(name, key)).taken
const takes = (guard, count, name, key) => waitUntil(`${count} under way`, async () => (await taken(guard, name, key)) === count)

/**
 * Serves a guard's stack. `open` are the requests inside: `[req, res]`. `wrap` may make the
 * listener another one. When the test is over no place is taken, whatever has happened.
 */
async function api(config, use, { inside = () => {}, server = (listener) => http.createServer(listener) } = {}) {
  const guard = createGuard(config)
  const [protect] = guard.securityStack()
  const open = []
  const listener = (req, res) =>
    protect(req, res, () => {
      open.push([req, res])
      inside(req, res)
    })
  await serve(null, (send, more) => use({ send, guard, open, entered: (count) => waitUntil(`${count} inside`, () => open.length === count), ...more }), server(listener))
  await takes(guard, 0)
  await guard.close()
}

async function connected(port) {
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => {}).resume()
  await once(socket, 'connect')
  return socket
}

for (const [store, option] of Object.entries(stores)) {
  test(`${store}: so many requests are inside and no more, and each that is answered makes room for another`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ send, guard, open, entered }) => {
      const first = [send(), send()]
      await entered(2)
      const full = await guard.limits.get('reports', K)
      assert.deepEqual([full.allowed, full.limit, full.remaining, full.taken, full.retryAfter, full.reset], [false, 2, 0, 2, 1, 0])
      for (let i = 0; i < 3; i++) {
        const { status, headers, json } = await send()
        assert.deepEqual([status, json.code, headers['retry-after']], [429, 'rate_limited', '1'])
        assert.match(json.detail, /`reports`/)
        assert.equal(headers.ratelimit, '"reports";r=0')
        assert.equal(headers['ratelimit-policy'], '"reports";q=2;qu="concurrent-requests"')
      }
      open[0][1].end('done')
      // Whichever of them came in first.
      const { status, headers } = await Promise.race(first)
      assert.deepEqual([status, headers.ratelimit], [200, '"reports";r=1'])
      await takes(guard, 1)
      const third = send()
      await entered(3)
      assert.equal((await send()).status, 429)
      for (const [, res] of open) res.end('done')
      assert.deepEqual((await Promise.all([...first, third])).map((answer) => answer.status), [200, 200, 200])
    }))

  test(`${store}: \`req.guard.limits\` says how many places are left`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ send }) => {
      assert.deepEqual((await send()).json, [{ name: 'reports', limit: 2, remaining: 1, reset: 0 }])
    }, { inside: (req, res) => res.end(JSON.stringify(req.guard.limits)) }))

  test(`${store}: a place is given back once, however a request ends`, () =>
    api({ ...option(), rateLimit: { ...REPORTS, concurrent: 1 } }, async ({ guard, open, entered, port }) => {
      const ends = [
        ['the client goes away before an answer', ({ socket }) => socket.destroy()],
        ['the client goes away within an answer', ({ socket, res }) => (res.write('half'), socket.destroy())],
        ['the client closes its half', ({ socket, res }) => (socket.end(), res.end())],
        ['the server destroys the response', ({ res }) => res.destroy()],
        ['the server destroys the connection', ({ req }) => req.socket.destroy()],
        ['the answer is written to the socket by hand', ({ req }) => req.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')],
        ['the response is ended twice, and destroyed', ({ res, socket }) => (res.end(), res.end(), res.destroy(), socket.destroy())]
      ]
      for (const [i, [how, end]] of ends.entries()) {
        const socket = await connected(port)
        socket.write(REQUEST)
        await entered(i + 1)
        assert.equal(await taken(guard), 1, how)
        const [req, res] = open[i]
        end({ socket, req, res })
        await takes(guard, 0)
        // It was one place: with another request under way, what comes late must not free that
        // one's.
        const other = await connected(port)
        other.write(REQUEST)
        await entered(i + 2)
        res.emit('close')
        assert.equal(await taken(guard), 1, how)
        other.destroy()
        socket.destroy()
        await takes(guard, 0)
        open.pop()
      }
    }))

  test(`${store}: on a connection that is kept alive each request has a place, and gives it back before the next`, () =>
    api({ ...option(), rateLimit: { ...REPORTS, concurrent: 1 } }, async ({ guard, port }) => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (let i = 0; i < 30; i++) {
        assert.equal((await sendTo(port, { agent })).status, 200)
        await takes(guard, 0)
      }
      agent.destroy()
    }, { inside: (req, res) => res.end() }))

  test(`${store}: requests that are pipelined on one connection each take a place, and all come free when it is cut`, () =>
    api({ ...option(), rateLimit: { ...REPORTS, concurrent: 3 } }, async ({ guard, open, entered, port, send }) => {
      const socket = await connected(port)
      socket.write(REQUEST.repeat(4))
      await entered(3)
      assert.equal(await taken(guard), 3)
      assert.equal((await send()).status, 429)
      // The first one is not answered, so these wait: their clients have no answer yet.
      open[1][1].end('second')
      open[2][1].end('third')
      assert.equal(await taken(guard), 3)
      socket.destroy()
      await takes(guard, 0)

      const again = await connected(port)
      again.write(REQUEST.repeat(3))
      await entered(6)
      let text = ''
      again.on('data', (chunk) => (text += chunk))
      for (const i of [5, 4, 3]) open[i][1].end(`<${i}>`)
      await waitUntil('all are answered', () => text.includes('<5>'))
      assert.ok(text.indexOf('<3>') < text.indexOf('<4>') && text.indexOf('<4>') < text.indexOf('<5>'))
      await takes(guard, 0)
      again.destroy()
    }))

  test(`${store}: an upgraded connection holds its place until it is closed`, async () => {
    const guard = createGuard({ ...option(), rateLimit: { ...REPORTS, concurrent: 1 } })
    const [protect] = guard.securityStack()
    const server = http.createServer((req, res) => protect(req, res, () => res.end()))
    let upgraded
    server.on('upgrade', (req, socket) => {
      const res = new http.ServerResponse(req)
      res.assignSocket(socket)
      protect(req, res, () => {
        res.detachSocket(socket)
        upgraded = socket
        // As every WebSocket server does: what is upgraded is nobody else's to close.
        socket.on('error', () => {}).on('end', () => socket.end()).resume()
        socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
      })
    })
    await serve(null, async (send, { port }) => {
      for (const side of ['client', 'server']) {
        upgraded = undefined
        const socket = await connected(port)
        socket.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n')
        await waitUntil('it is upgraded', () => upgraded)
        assert.equal(await taken(guard), 1)
        assert.equal((await send()).status, 429)
        if (side === 'client') socket.destroy()
        else upgraded.destroy()
        await takes(guard, 0)
        socket.destroy()
      }
    }, server)
    await guard.close()
  })

  test(`${store}: HTTP/2 streams of one connection each take a place`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ guard, open, entered, port }) => {
      const session = http2.connect(`http://127.0.0.1:${port}`)
      const ask = () => session.request({ ':path': '/', ':authority': 'a' })
      const status = async (stream) => (await once(stream, 'response'))[0][':status']
      const [one, two] = [ask(), ask()]
      await entered(2)
      assert.equal(await status(ask()), 429)
      one.close()
      await takes(guard, 1)
      open[1][1].end()
      assert.equal(await status(two), 200)
      await takes(guard, 0)
      ask()
      await entered(3)
      session.destroy()
      await takes(guard, 0)
    }, { server: (listener) => Object.assign(http2.createServer(listener), { closeAllConnections() {} }) }))

  test(`${store}: whatever a later layer refuses, and a handler that throws, hold no place`, async () => {
    for (const [name, express] of expresses) {
      const guard = createGuard({ ...option(), rateLimit: { ...REPORTS, concurrent: 1 }, policy: { policies: { p: 'package p\nimport rego.v1\ndefault allow := false\ndenied if input.path[0] == "denied"\nallow if not denied' }, query: 'data.p.allow' } })
      const app = express()
      app.use(guard.securityStack())
      app.post('/valid', guard.validate({ body: { type: 'object', required: ['a'] } }), (req, res) => res.send('ok'))
      app.use('/throws', () => {
        throw new Error('on purpose')
      })
      app.use('/rejects', async (req, res, next) => next(new Error('on purpose')))
      app.use((req, res) => res.send('ok'))
      app.use((error, req, res, next) => res.headersSent ? next(error) : res.status(500).send('failed'))
      await serve(app, async (send) => {
        const body = (text) => ({ method: 'POST', path: '/valid', headers: { 'content-type': 'application/json' }, body: text })
        for (const [what, status] of [
          [{ path: '/denied' }, 403],
          [{ method: 'POST', headers: { 'content-type': 'text/json' }, body: 'x' }, 415],
          [body('{"a":'), 400],
          [body('{}'), 422],
          [body(`{"a":"${'x'.repeat(200_000)}"}`), 413],
          [body('{"a":1}'), 200],
          [{ path: '/throws' }, 500],
          [{ path: '/rejects' }, 500],
          [{ path: '/' }, 200]
        ]) {
          assert.equal((await send(what)).status, status, `${name} ${JSON.stringify(what).slice(0, 80)}`)
          await takes(guard, 0)
        }
      })
      await guard.close()
    }
  })

  test(`${store}: a client that goes away while its body is read gives its place back`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ guard, port }) => {
      const socket = await connected(port)
      socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"a":')
      await takes(guard, 1)
      socket.destroy()
      await takes(guard, 0)
    }))

  test(`${store}: with other limits in one list, a request that one of them refuses takes of none`, () =>
    api({
      ...option(),
      rateLimit: [
        { ...REPORTS, concurrent: 1 },
        { name: 'day', limit: 3, window: '300d', algorithm: 'fixed-window' },
        { name: 'all', concurrent: 9, key: () => 'everybody' },
        { name: 'smooth', limit: 50, window: '300d' }
      ]
    }, async ({ send, guard, open, entered }) => {
      const left = async () => [await taken(guard), (await guard.limits.get('day', K)).remaining, await taken(guard, 'all', 'everybody'), (await guard.limits.get('smooth', K)).remaining]
      const first = send()
      await entered(1)
      assert.deepEqual(await left(), [1, 2, 1, 49])
      for (let i = 0; i < 3; i++) {
        const { status, headers, json } = await send()
        assert.deepEqual([status, headers['retry-after']], [429, '1'])
        assert.match(json.detail, /`reports`/)
        assert.match(headers.ratelimit, /^"reports";r=0, "day";r=2;t=\d+, "all";r=8, "smooth";r=49;t=\d+$/)
      }
      assert.deepEqual(await left(), [1, 2, 1, 49])
      open[0][1].end()
      await first
      await takes(guard, 0)
      await guard.limits.penalize('day', K, 3)
      for (let i = 0; i < 3; i++) {
        const { status, headers } = await send()
        assert.equal(status, 429)
        assert.ok(Number(headers['retry-after']) > 60)
      }
      assert.deepEqual(await left(), [0, 0, 0, 49])
    }))

  test(`${store}: two stacks on one request take its place once, and a limit of the route is another one`, async () => {
    const guard = createGuard({ ...option(), rateLimit: REPORTS })
    const stacks = [guard.securityStack(), guard.rateLimit(), guard.rateLimit({ name: 'route', concurrent: 1 })]
    const inside = []
    const server = http.createServer((req, res) => {
      const next = (i) => (i === stacks.length ? inside.push(res) : stacks[i](req, res, () => next(i + 1)))
      next(0)
    })
    await serve(null, async (send) => {
      const first = send()
      await waitUntil('it is inside', () => inside.length === 1)
      assert.deepEqual([await taken(guard), await taken(guard, 'route')], [1, 1])
      assert.equal((await send()).status, 429)
      await takes(guard, 1)
      inside[0].end()
      await first
      await takes(guard, 0)
      await takes(guard, 0, 'route')
    }, server)
    await guard.close()
  })

  test(`${store}: by user and role, each has places of its own`, async () => {
    const rateLimit = { name: 'reports', key: 'user', concurrent: 1, tiers: { gold: { concurrent: 2 } } }
    await api({ ...option(), jwt: { ...jwt, optional: true }, revocation: false, rateLimit }, async ({ send, guard, open, entered }) => {
      const as = async (claims) => send({ headers: bearer((await guard.tokens.issue(claims)).accessToken) })
      const under = [as({ sub: 'ada', role: 'gold' }), as({ sub: 'ada', role: 'gold' }), as({ sub: 'bob' }), send()]
      await entered(4)
      for (const claims of [{ sub: 'ada', role: 'gold' }, { sub: 'bob' }]) assert.equal((await as(claims)).status, 429)
      assert.equal((await send()).status, 429)
      for (const [, res] of open) res.end()
      assert.deepEqual((await Promise.all(under)).map(({ status }) => status), [200, 200, 200, 200])
    })
  })

  test(`${store}: in shadow nobody is refused or told, and the log says who would have been`, () => {
    const events = []
    return api({ ...option(), log: (event) => events.push(event.shadow), rateLimit: { ...REPORTS, concurrent: 1, onExceed: 'shadow' } }, async ({ send, guard, open, entered }) => {
      const answers = [send(), send(), send()]
      await entered(3)
      assert.deepEqual(events.toSorted(), [[], ['reports'], ['reports']])
      assert.equal(await taken(guard), 1)
      for (const [, res] of open) res.end()
      for (const { status, headers } of await Promise.all(answers)) assert.deepEqual([status, headers.ratelimit], [200, undefined])
    })
  })

  test(`${store}: \`limits.set\` changes how many there are while requests are under way, and those still count`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ send, guard, open, entered }) => {
      const answers = [send(), send()]
      await entered(2)
      await guard.limits.set({ name: 'reports', concurrent: 3 })
      answers.push(send())
      await entered(3)
      assert.equal((await send()).status, 429)
      await guard.limits.set({ name: 'reports', concurrent: 1 })
      const { limit, remaining, taken } = await guard.limits.get('reports', K)
      assert.deepEqual([limit, remaining, taken], [1, 0, 3])
      for (const [, res] of open.slice(0, 2)) res.end()
      await takes(guard, 1)
      assert.equal((await send()).status, 429)
      open[2][1].end()
      await Promise.all(answers)
      await takes(guard, 0)
      answers.push(send())
      await entered(4)
      assert.equal((await send()).status, 429)
      open[3][1].end()
      for (const [change, code] of [
        [{ name: 'reports', limit: 3, window: '1s' }, 'ERR_CONFLICTING_OPTIONS'],
        [{ name: 'reports' }, 'ERR_MISSING_OPTION'],
        [{ name: 'reports', concurrent: 0 }, 'ERR_INVALID_OPTION'],
        [{ name: 'reports', concurrent: 3, timeout: '2s' }, 'ERR_INVALID_OPTION']
      ]) await assert.rejects(guard.limits.set(change), { code }, JSON.stringify(change))
    }))

  test(`${store}: \`reset\` frees all places, and what gives one back later frees nobody else's`, () =>
    api({ ...option(), rateLimit: REPORTS }, async ({ send, guard, open, entered }) => {
      const old = [send(), send()]
      await entered(2)
      await guard.limits.reset('reports', K)
      assert.equal(await taken(guard), 0)
      const young = [send(), send()]
      await entered(4)
      for (const [, res] of open.slice(0, 2)) res.end()
      await Promise.all(old)
      assert.equal(await taken(guard), 2)
      assert.equal((await send()).status, 429)
      for (const [, res] of open.slice(2)) res.end()
      await Promise.all(young)
    }))

  test(`${store}: calls that are about limits in time are refused by name`, async () => {
    const guard = createGuard({ ...option(), rateLimit: REPORTS })
    for (const call of [() => guard.limits.consume('reports', K), () => guard.limits.penalize('reports', K), () => guard.limits.reward('reports', K), () => guard.limits.block('reports', K, '1s')]) {
      await assert.rejects(call, { code: 'ERR_INVALID_ARGUMENT', message: /under way/ })
    }
    await guard.close()
  })

  test(`${store}: a crowd of aborted and answered requests leaves no place taken`, () =>
    api({ ...option(), rateLimit: { ...REPORTS, concurrent: 5 } }, async ({ guard, port }) => {
      const answers = []
      const sockets = []
      for (let i = 0; i < 200; i++) {
        if (i % 2 === 0) answers.push(sendTo(port))
        else {
          const socket = await connected(port)
          socket.write(REQUEST)
          sockets.push(socket)
          if (i % 3 === 0) setImmediate(() => socket.destroy())
        }
      }
      const statuses = new Set((await Promise.all(answers)).map(({ status }) => status))
      assert.ok(statuses.has(200))
      for (const socket of sockets) socket.destroy()
      await takes(guard, 0)
    }, { inside: (req, res) => setTimeout(() => res.end(), 5) }))
}

test('memory: places that a worker held are free when it has ended', async () => {
  const config = { store: { memory: { shared: 'in-flight-workers' } }, rateLimit: REPORTS }
  const guard = createGuard(config)
  const worker = new Worker(
    `const http = require('node:http')
     const { parentPort, workerData } = require('node:worker_threads')
     const { createGuard } = require(workerData.entry)
     const [protect] = createGuard(workerData.config).securityStack()
     const server = http.createServer((req, res) => protect(req, res, () => parentPort.postMessage('inside')))
     server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))`,
    { eval: true, workerData: { config, entry: new URL('../index.js', import.meta.url).pathname } }
  )
  const [port] = await once(worker, 'message')
  const sockets = [await connected(port), await connected(port)]
  for (const socket of sockets) {
    socket.write(REQUEST)
    await once(worker, 'message')
  }
  assert.equal(await taken(guard), 2)
  await worker.terminate()
  await takes(guard, 0)
  for (const socket of sockets) socket.destroy()
  await guard.close()
})

// One request, one view: what every layer reads of a request is what the parser has read and what
// the router will run, or the request is refused.

import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { mkdtempSync, rmSync } from 'node:fs'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { request, sendBytes } from './helpers/raw.mjs'
import { waitUntil } from './helpers/servers.mjs'

const pass = (req, res) => res.end(`passed ${req.url}`)
const codeOf = ({ text }) => JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)).code
const openApi = (paths, more = {}) => ({ openapi: '3.1.0', info: { title: 'a', version: '1' }, paths, ...more })
const ok = { responses: { 200: { description: 'ok' } } }

/** Every way to serve one handler behind others. */
const hosts = [
  ...expresses.map(([name, express]) => [name, (...handlers) => express().use(...handlers)]),
  ['node:http', (...handlers) => (req, res) => {
    const next = (i) => () => handlers[i](req, res, next(i + 1))
    next(0)()
  }]
]

for (const [name, app] of hosts) {
  test(`${name}: a request with as many headers as the parser keeps is refused, since more may have been dropped`, async () => {
    const guard = createGuard({ rateLimit: false })
    const schema = { body: { type: 'object', required: ['name'] } }
    const api = guard.fromOpenApi(openApi({ '/': { post: { ...ok, requestBody: { required: true, content: { 'application/json': { schema: schema.body } } } } } }))
    for (const handlers of [guard.securityStack(), guard.securityStack(schema), [guard.validate(schema)], [api.handler]]) {
      await serve(app(...handlers, pass), async (send, { port, server }) => {
        const padding = (count) => Array.from({ length: count }, () => 'a:')
        const body = ['Content-Type: text/json', 'Content-Length: 5']
        for (const count of [1000, 1017, 1030, 1900]) {
          const answer = await sendBytes(port, request('POST', '/', [...padding(count), ...body], 'hello'))
          // The API looks for the operation's media type first, where that header has come through.
          const isMedia = handlers[0] === api.handler && answer.status === 415
          assert.equal(codeOf(answer), isMedia ? 'unsupported_media_type' : 'too_many_headers', `${count} headers`)
        }
        server.maxHeadersCount = 20
        const refused = (await sendBytes(port, request('POST', '/', [...padding(30), ...body], 'hello'))).status
        assert.ok(refused === 431 || (handlers[0] === api.handler && refused === 415), String(refused))
        // Without a cap nothing is dropped, and what is there is judged.
        server.maxHeadersCount = 0
        assert.equal((await sendBytes(port, request('POST', '/', [...padding(1100), ...body], 'hello'))).status, 415)
      })
    }
  })

  test(`${name}: a request whose body may end at two places is refused`, async () => {
    const guard = createGuard({ rateLimit: false })
    const server = http.createServer({ insecureHTTPParser: true }, app(...guard.securityStack(), pass))
    await serve(null, async (send, { port }) => {
      for (const [why, bytes] of [
        ['both framings', request('POST', '/', ['Content-Type: application/json', 'Transfer-Encoding: chunked', 'Content-Length: 3'], '2\r\n{}\r\n0\r\n\r\n')],
        ['a coding that is not read', request('POST', '/', ['Content-Type: application/json', 'Transfer-Encoding: gzip, chunked'], '2\r\n{}\r\n0\r\n\r\n')],
        ['HTTP/1.0 with a coding', request('POST', '/', ['Content-Type: application/json', 'Transfer-Encoding: chunked'], '2\r\n{}\r\n0\r\n\r\n').replace('HTTP/1.1', 'HTTP/1.0')]
      ]) {
        assert.equal((await sendBytes(port, bytes)).status, 400, why)
      }
      assert.equal((await sendBytes(port, request('POST', '/', ['Content-Type: application/json', 'Transfer-Encoding: Chunked'], '2\r\n{}\r\n0\r\n\r\n'))).status, 200)
    }, server)
  })

  test(`${name}: what an adapter puts into headers alone is read, and what a handler takes out of them still counts`, async () => {
    const guard = createGuard({ rateLimit: false, csrf: {}, jwt })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    const adapter = (req, res, next) => {
      Object.defineProperty(req, 'rawHeaders', { value: [] })
      next()
    }
    const taker = (req, res, next) => {
      delete req.headers.authorization
      next()
    }
    await serve(app(adapter, ...guard.securityStack(), pass), async (send) => {
      assert.equal((await send({ headers: bearer(accessToken) })).status, 200)
      assert.equal((await send({})).status, 401)
    })
    await serve(app(adapter, guard.csrf(), pass), async (send) => {
      const headers = { cookie: 'session=1', 'sec-fetch-site': 'cross-site' }
      assert.equal((await send({ method: 'POST', headers })).status, 403)
    })
    await serve(app(taker, ...guard.securityStack(), pass), async (send) => {
      assert.equal((await send({ headers: bearer(accessToken) })).status, 200)
    })
  })

  test(`${name}: the function that judges origins is asked about the origin that CORS answers`, async () => {
    const asked = []
    const guard = createGuard({ rateLimit: false, cors: { origins: (origin) => asked.push(origin) > 0 && origin === 'https://app.example.com' } })
    const change = (req, res, next) => {
      req.headers.origin = 'https://app.example.com'
      next()
    }
    await serve(app(change, ...guard.securityStack(), pass), async (send) => {
      const { headers } = await send({ headers: { origin: 'https://evil.example' } })
      assert.deepEqual([asked, headers['access-control-allow-origin']], [['https://evil.example'], undefined])
    })
  })

  test(`${name}: a client that a trusted proxy can't name is nobody whom a list knows`, async () => {
    const guard = createGuard({
      trustedProxies: ['127.0.0.1', '10.0.0.0/8'],
      clients: { allow: ['127.0.0.1', '10.0.0.0/8'], block: ['192.0.2.1'] },
      rateLimit: { name: 'api', limit: 2, window: '1h' }
    })
    await serve(app(...guard.securityStack(), pass), async (send) => {
      const ask = async (forwarded) => {
        const { status, json: problem } = await send({ headers: { 'x-forwarded-for': forwarded } })
        return problem?.code ?? status
      }
      for (const odd of ['192.0.2', 'unknown', '_hidden', '192.0.2.1x', '::g', '192.0.2.1, ', ', 10.0.0.1', '192.0.2.1 10.0.0.1', '%31', '', '192.0.2.1, nonsense, 10.0.0.2']) {
        assert.equal(await ask(odd), 'malformed_forwarded_for', odd)
      }
      assert.equal(await ask('192.0.2.1'), 'client_blocked')
      assert.equal(await ask('nonsense, 198.51.100.1'), 200)
      assert.equal(await ask('10.0.0.7'), 200)
    })
  })

  test(`${name}: a client behind a Unix socket is whom the proxy there names, if it is trusted`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
    const warnings = []
    const note = (warning) => warnings.push(warning.code)
    process.on('warning', note)
    const ask = async (config, fields) => {
      const guard = createGuard({ ...config, clients: { block: ['192.0.2.1'] } })
      const server = http.createServer(app(...guard.securityStack(), pass))
      const path = join(folder, `${Math.random()}.sock`)
      server.listen(path)
      await once(server, 'listening')
      try {
        return (await sendBytes(0, request('GET', '/', fields), { path })).status
      } finally {
        server.close()
        await once(server, 'close')
      }
    }
    try {
      const forwarded = ['X-Forwarded-For: 192.0.2.1']
      assert.equal(await ask({ trustedProxies: ['unix'] }, forwarded), 403)
      assert.equal(await ask({ trustedProxies: ['unix'] }, ['X-Forwarded-For: 192.0.2.2']), 200)
      assert.equal(await ask({ trustedProxies: ['unix'] }, ['X-Forwarded-For: odd']), 400)
      assert.equal(await ask({ trustedProxies: ['10.0.0.1'] }, forwarded), 200, 'the socket is no proxy that is trusted')
      await new Promise((resolve) => setImmediate(resolve))
      if (name === 'Express 5') assert.ok(warnings.includes('GUARD_NO_CLIENT_ADDRESS'))
    } finally {
      process.off('warning', note)
      rmSync(folder, { recursive: true })
    }
  })
}

test('HTTP/2: a method in lower case is refused, and no router runs it', async () => {
  const guard = createGuard({ rateLimit: false })
  const api = guard.fromOpenApi(openApi({ '/items': { delete: { ...ok, security: [] }, get: ok } }), { unknown: 'refuse' })
  for (const handlers of [[guard.securityStack()], [api.handler], [guard.validate({ query: { type: 'object' } })]]) {
    const server = http2.createServer((req, res) => {
      const next = (i) => () => (i === handlers.length ? res.end('passed') : handlers[i](req, res, next(i + 1)))
      next(0)()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
    const ask = async (fields) => {
      const stream = client.request({ ':path': '/items', ...fields })
      const [head] = await once(stream, 'response')
      stream.resume()
      return head[':status']
    }
    try {
      for (const method of ['delete', 'post', 'Delete', 'gET']) assert.equal(await ask({ ':method': method }), 400, method)
      assert.equal(await ask({ ':method': 'GET' }), 200)
      assert.equal(await ask({ ':method': 'GET', ':authority': 'api.example', host: 'api.example' }), 200)
      assert.equal(await ask({ ':method': 'GET', ':authority': 'api.example', host: 'other.example' }), 400, 'two hosts')
    } finally {
      client.destroy()
      server.close()
    }
  }
})

test('HTTP/2: no layer sees a header that the client has not sent', async () => {
  const guard = createGuard({ rateLimit: false })
  const validate = guard.validate({ headers: { type: 'object', properties: { 'transfer-encoding': false } }, body: { type: 'object' } })
  const server = http2.createServer((req, res) => validate(req, res, () => res.end(JSON.stringify(req.body))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  try {
    const stream = client.request({ ':method': 'POST', ':path': '/', 'content-type': 'application/json' })
    stream.end('{"a":1}')
    const [head] = await once(stream, 'response')
    assert.equal(head[':status'], 200)
    stream.resume()
  } finally {
    client.destroy()
    server.close()
  }
})

for (const [name, express] of expresses) {
  test(`${name}: key 'route' is the route's pattern: a client can't make quotas up by the path of a mount`, async () => {
    const guard = createGuard({ rateLimit: { name: 'api', limit: 2, window: '1h', key: 'route' } })
    const app = express()
    const tenants = express.Router()
    tenants.get('/items/:id', ...guard.securityStack(), pass)
    const others = express.Router()
    others.get('/items/:id', ...guard.securityStack(), pass)
    const inner = express()
    inner.get('/items/:id', ...guard.securityStack(), pass)
    app.use('/t/:tenant', tenants)
    app.use('/fixed', others)
    app.use('/app/:any', inner)
    await serve(app, async (send) => {
      const ask = async (path) => (await send({ path })).status
      assert.deepEqual([await ask('/t/a/items/1'), await ask('/t/b/items/2'), await ask('/t/c/items/3'), await ask('/T/d/Items/4')], [200, 200, 429, 429])
      // Another router's route of the same pattern is another route, however its mount is written.
      assert.deepEqual([await ask('/fixed/items/1'), await ask('/FIXED/items/1'), await ask('/Fixed/items/1')], [200, 200, 429])
      assert.deepEqual([await ask('/app/a/items/1'), await ask('/app/b/items/1'), await ask('/app/c/items/1')], [200, 200, 429])
    })
  })

  test(`${name}: a policy sees the route's pattern and no text of the client in it`, async () => {
    const seen = []
    const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.route = "/items/:id" }' }, query: 'data.a.allow' }
    const guard = createGuard({ rateLimit: false, policy, log: (event) => seen.push(event.outcome) })
    const router = express.Router()
    router.get('/items/:id', ...guard.securityStack(), pass)
    await serve(express().use('/t/:tenant', router), async (send) => {
      assert.equal((await send({ path: '/t/acme/items/1' })).status, 200)
    })
    assert.deepEqual(seen, ['allow'])
  })

  test(`${name}: a request that was rewritten before a layer is refused, since another handler would run`, async () => {
    const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.path[0] = "public" }' }, query: 'data.a.allow' }
    const guard = createGuard({ rateLimit: false, policy })
    const to = (url) => (req, res, next) => {
      req.url = url
      next()
    }
    const admin = (app) => app.get('/admin', pass).get('/public/admin', pass)
    const ask = (app, path = '/public/admin') => serve(app, async (send) => {
      const { status, json: problem } = await send({ path })
      return problem?.code ?? status
    })
    const whole = [...guard.securityStack()]
    assert.equal(await ask(admin(express().use(to('/admin'), whole))), 'url_rewritten')
    assert.equal(await ask(admin(express().use(whole, to('/admin'), guard.validate({ query: { type: 'object' } })))), 'url_rewritten')
    assert.equal(await ask(admin(express().use(whole))), 200)
    const override = (req, res, next) => {
      req.method = 'DELETE'
      next()
    }
    assert.equal(await ask(express().use(whole, override, guard.authorize(), pass)), 'url_rewritten')
    // Who rewrites for the guard too says so.
    const both = (req, res, next) => {
      req.url = req.originalUrl = '/admin'
      next()
    }
    assert.equal(await ask(admin(express().use(both, whole))), 'policy_denied')
    // Mounts cut the path, and are no rewriting.
    const mounted = express.Router().use(whole, pass)
    for (const path of ['/public', '/public/', '/public?a=1', '/public/?a=1', '/PUBLIC', '/public/a/b?c=/', '/public/%7E', '/public//']) {
      const status = await ask(express().use('/public', mounted), path)
      assert.equal(status, path === '/PUBLIC' ? 'policy_denied' : path === '/public//' ? 'malformed_path' : 200, path)
    }
    const deep = express().use('/public', express.Router().use('/:x', express.Router().use('/y', mounted)))
    assert.equal(await ask(deep, '/public/a/y/z'), 200)
    const sub = express().use(mounted)
    assert.equal(await ask(express().use('/public', sub), '/public/a'), 200)
  })

  test(`${name}: the body of a form of a mounted router is read once, with one view for all layers`, async () => {
    const guard = createGuard({ rateLimit: { name: 'api', limit: 10, window: '1m' } })
    const router = express.Router()
    router.post('/a/:id', guard.validate({ body: { type: 'object', required: ['x'] }, params: { type: 'object', required: ['id'] } }), (req, res) => res.json(req.body))
    await serve(express().use(guard.securityStack()).use('/m', router), async (send) => {
      assert.deepEqual((await send(json({ x: 1 }, { path: '/m/a/1' }))).json, { x: 1 })
      assert.equal((await send(json({}, { path: '/m/a/1' }))).status, 422)
    })
  })
}

test('an upgrade counts as a request that changes something, where CSRF is asked', async () => {
  const guard = createGuard({ rateLimit: false, csrf: {} })
  await serve(hosts[2][1](...guard.securityStack(), pass), async (send) => {
    const ask = async (headers) => (await send({ headers: { connection: 'upgrade', upgrade: 'websocket', cookie: 'a=1', ...headers } })).status
    assert.equal(await ask({ 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }), 403)
    assert.equal(await ask({ origin: 'https://evil.example' }), 403)
    assert.equal(await ask({}), 403)
    assert.equal(await ask({ 'sec-fetch-site': 'same-origin' }), 200)
    assert.equal((await send({ headers: { 'sec-fetch-site': 'cross-site', cookie: 'a=1' } })).status, 200)
  })
})

test('a client that resets its connection at once is refused, and never taken for one of a Unix socket', async () => {
  for (const config of [{ clients: { block: ['127.0.0.0/8'] } }, { trustedProxies: ['unix'], clients: { block: ['127.0.0.0/8'] } }]) {
    const guard = createGuard(config)
    let ran = 0
    const server = http.createServer((req, res) => guard.securityStack()(req, res, () => {
      ran += 1
      res.end()
    }))
    await serve(null, async (send, { port }) => {
      for (let i = 0; i < 20; i += 1) {
        const socket = net.connect(port, '127.0.0.1')
        await once(socket, 'connect')
        socket.write(request('POST', '/', ['X-Forwarded-For: 192.0.2.77']))
        setImmediate(() => socket.resetAndDestroy())
        await once(socket, 'close')
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }, server)
    assert.equal(ran, 0)
  }
})

test('a client that resets its connection while its request waits is nobody whom it has named', async () => {
  for (const before of [true, false]) {
    const origins = () => new Promise((resolve) => setTimeout(resolve, 60, true))
    const guard = createGuard({ trustedProxies: ['unix'], rateLimit: { name: 'a', limit: 3, window: '1h' }, ...(before ? {} : { cors: { origins } }) })
    const [protect] = guard.securityStack()
    let ran = 0
    let judged = 0
    const server = http.createServer((req, res) => {
      const go = () => protect(req, res, () => (ran += 1))
      if (before) setTimeout(go, 60)
      else go()
      setTimeout(() => (judged += 1), 120)
    })
    await serve(null, async (send, { port }) => {
      for (let i = 1; i <= 4; i += 1) {
        const socket = net.connect(port, '127.0.0.1')
        await once(socket, 'connect')
        socket.write(request('GET', '/', ['Origin: https://app.example.com', 'X-Forwarded-For: 192.0.2.77']))
        await new Promise((resolve) => setTimeout(resolve, 20))
        socket.resetAndDestroy()
        await waitUntil('it is over', () => judged === i)
      }
      assert.deepEqual([(await guard.limits.get('a', '192.0.2.77')).remaining, ran], [3, 0])
    }, server)
    await guard.close()
  }
})

test('a network of proxies holds IPv4 addresses, however it is written', async () => {
  const ask = (trustedProxies) => {
    const guard = createGuard({ trustedProxies, clients: { block: ['192.0.2.1'] } })
    return serve((req, res) => guard.securityStack()(req, res, () => res.end()), (send) => send({ headers: { 'x-forwarded-for': '192.0.2.1' } }))
  }
  for (const network of ['127.0.0.1', '127.0.0.0/8', '::ffff:127.0.0.1', '::ffff:127.0.0.0/104', '::ffff:7f00:1/128']) {
    assert.equal((await ask([network])).status, 403, network)
  }
  assert.equal((await ask(['::ffff:126.0.0.0/104'])).status, 200)
  for (const network of ['0.0.0.0/0', '::/0', '::ffff:0:0/96', '::ffff:127.0.0.1/90', '::/64']) {
    assert.throws(() => createGuard({ trustedProxies: [network] }), { code: 'ERR_INVALID_OPTION', path: 'trustedProxies[0]' }, network)
  }
})

for (const [name, express] of expresses) {
  test(`${name}: a route that has passed a request on is not the route of the handlers behind it`, async () => {
    const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.route = "/:page" }' }, query: 'data.a.allow' }
    const guard = createGuard({ rateLimit: false, policy })
    const app = express().get('/:page', guard.authorize(), (req, res, next) => next()).use('/admin', guard.authorize(), pass)
    await serve(app, async (send) => {
      assert.equal((await send({ path: '/admin' })).status, 403)
    })
  })

  test(`${name}: a handler that stands in a route and behind it has the route in the route alone`, async () => {
    const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.route = "/:page" }' }, query: 'data.a.allow' }
    const guard = createGuard({ rateLimit: false, policy })
    const on = (req, res, next) => (req.params.page === 'home' ? res.send('home') : next())
    for (const protect of [guard.authorize(), guard.securityStack()]) {
      for (const first of [[protect, on], [(req, res, next) => next(req.params.page === 'home' ? undefined : 'route'), protect, on]]) {
        for (const mount of ['/admin', '/']) {
          const app = express().get('/:page', ...first).use(mount, protect, (req, res) => res.send('admin'))
          const inner = express().use(express.Router().get('/:page', ...first).use(mount, protect, (req, res) => res.send('admin')))
          for (const served of [app, inner]) {
            await serve(served, async (send) => {
              assert.equal((await send({ path: '/home' })).text, 'home')
              assert.equal((await send({ path: '/admin' })).status, 403)
            })
          }
        }
      }
    }
  })

  test(`${name}: a handler in another function has no route, and the guard warns of it`, async () => {
    const warnings = []
    const note = (warning) => warnings.push(warning.code)
    process.on('warning', note)
    const guard = createGuard({ rateLimit: { name: 'a', limit: 9, window: '1h', key: 'route' } })
    const [protect] = guard.securityStack()
    const app = express().get('/a/:id', (req, res, next) => protect(req, res, () => next()), pass)
    await serve(app, (send) => send({ path: '/a/1' }))
    process.off('warning', note)
    if (name === 'Express 5') assert.ok(warnings.includes('GUARD_ROUTE_UNKNOWN'))
  })

  test(`${name}: parameters that the application has converted are judged, and what can't be read is refused`, async () => {
    const guard = createGuard({ rateLimit: false })
    const validate = guard.validate({ params: { type: 'object', properties: { k: { type: 'integer', maximum: 5 } } } })
    const app = express()
    app.param('k', (req, res, next, value) => {
      req.params.k = value === 'object' ? {} : Number(value)
      next()
    })
    app.get('/k/:k', validate, pass)
    await serve(app, async (send) => {
      const ask = async (k) => (await send({ path: `/k/${k}` })).status
      assert.deepEqual([await ask(4), await ask(99), await ask('object')], [200, 422, 500])
    })
  })

  test(`${name}: an entry that X-Forwarded-For leaves empty is nobody, also where Express decides`, async () => {
    const guard = createGuard({ clients: { allow: ['127.0.0.0/8'] } })
    const app = express().set('trust proxy', 'loopback').use(guard.securityStack(), pass)
    await serve(app, async (send) => {
      for (const forwarded of [',', ', 127.0.0.1', '192.0.2.1,']) {
        assert.equal((await send({ headers: { 'x-forwarded-for': forwarded } })).json.code, 'malformed_forwarded_for', forwarded)
      }
      const twice = { 'x-forwarded-for': ['192.0.2.1', ','] }
      assert.equal((await send({ headers: twice })).json.code, 'malformed_forwarded_for', 'in a second header')
      assert.equal((await send({ headers: { 'x-forwarded-for': '192.0.2.1' } })).status, 200)
    })
  })
}

test('a key function that is asynchronous refuses its request, and its rejection ends no process', async () => {
  const key = async () => {
    throw new Error('away')
  }
  const guard = createGuard({ rateLimit: { name: 'a', limit: 1, window: '1m', key } })
  await serve(hosts[2][1](...guard.securityStack(), pass), async (send) => {
    assert.equal((await send({})).status, 500)
    assert.equal((await send({})).status, 500)
  })
})

for (const [name, express] of expresses) {
  const app = (...handlers) => express().use(...handlers)
  test(`${name}: the scheme is read as the trusted proxies forward it, and nobody else's`, async () => {
    const ask = (trustedProxies, headers) => {
      const guard = createGuard({ ...(trustedProxies === undefined ? {} : { trustedProxies }), rateLimit: false })
      return serve(app(guard.securityStack(), pass), async (send) => {
        const { status, headers: got } = await send({ headers })
        return status === 200 ? got['strict-transport-security'] !== undefined : status
      })
    }
    for (const proto of ['https', 'https,http', 'HTTPS , http', ['https', 'http'], 'wss']) {
      for (const proxies of [['loopback'], ['::ffff:127.0.0.1'], ['::ffff:7f00:1'], ['127.0.0.1']]) {
        assert.equal(await ask(proxies, { 'x-forwarded-proto': proto }), true, `${proto} ${proxies}`)
      }
      assert.equal(await ask(['uniquelocal', 'linklocal', 'unix'], { 'x-forwarded-proto': proto }), false, `${proto}`)
      assert.equal(await ask([], { 'x-forwarded-proto': proto }), false, `${proto}`)
      assert.equal(await ask(undefined, { 'x-forwarded-proto': proto }), false, `${proto}`)
    }
    for (const headers of [{ 'x-forwarded-host': ['a', 'b, c'] }, { forwarded: ['for="[::1"', 'proto=https'] }, { 'x-forwarded-proto': ['', ','] }]) {
      for (const proxies of [undefined, [], ['loopback'], ['10.0.0.1']]) assert.equal(await ask(proxies, headers), false)
    }
    const chain = (addresses, proto) => ask(['loopback', 'uniquelocal'], { 'x-forwarded-for': addresses, 'x-forwarded-proto': proto })
    assert.equal(await chain('192.0.2.1', 'https, http'), false, 'the first entry is what the client wrote')
    assert.equal(await chain('192.0.2.1, 10.0.0.2', 'http, https, http'), true)
  })
}

test('a proxy outside of `trustedProxies` is named in a warning, once', async () => {
  const warnings = []
  const note = ({ code, message }) => code === 'GUARD_UNTRUSTED_PROXY' && warnings.push(message)
  process.on('warning', note)
  try {
    const guard = createGuard({ trustedProxies: ['10.0.0.0/8'] })
    await serve((req, res) => guard.securityStack()(req, res, () => res.end()), async (send) => {
      await send({ from: '127.0.0.9' })
      await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(warnings.filter((text) => text.includes('127.0.0.9')), [])
      for (let i = 0; i < 3; i += 1) await send({ from: '127.0.0.9', headers: { 'x-forwarded-for': '192.0.2.1' } })
      await new Promise((resolve) => setImmediate(resolve))
      assert.equal(warnings.filter((text) => text.includes('127.0.0.9')).length, 1)
    })
  } finally {
    process.off('warning', note)
  }
})

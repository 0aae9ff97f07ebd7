// Which layer judges a body: a stack for the whole application knows no schema, a route behind it
// does. Also bodies that no route asked for, bodies that other parsers have read, and no bodies.

import test from 'node:test'
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import net from 'node:net'
import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { Hono } from 'hono'
import { serve as serveHono } from '@hono/node-server'
import fastify from 'fastify'
import multer from 'multer'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone } from 'keepstone/hono'
import { expresses, json, send as sendTo, serve } from './helpers/http.mjs'

const unlimited = (more = {}) => createGuard({ rateLimit: false, ...more })
const code = ({ status, json: problem }) => [status, problem?.code]
const echo = (req, res) => res.json({ body: req.body === undefined ? 'none' : req.body })
const typed = (type, body, more = {}) => ({ method: 'POST', ...more, headers: { ...(type === undefined ? {} : { 'content-type': type }), ...more.headers }, body })
const FORM = 'application/x-www-form-urlencoded'
const MULTIPART = 'multipart/form-data; boundary=x'
const fields = (pairs) => Buffer.from(`${pairs.map(([name, value]) => `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`).join('')}--x--\r\n`)

/** One request as bytes on a socket; gives the answer. */
async function bytes(port, text) {
  const socket = net.connect(port, '127.0.0.1')
  socket.on('error', () => {})
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk))
  socket.write(text)
  await once(socket, 'close')
  return answer
}
const statusOf = (answer) => Number(answer.split(' ')[1])
const chunked = (method, type, chunks, path = '/') =>
  `${method} ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n${type === null ? '' : `Content-Type: ${type}\r\n`}\r\n${chunks.map((chunk) => `${Buffer.byteLength(chunk).toString(16)}\r\n${chunk}\r\n`).join('')}0\r\n\r\n`

const LABELS = { type: 'object', properties: { labels: { type: 'object', additionalProperties: { type: 'string' } }, $schema: { type: 'string' }, 'urn:scim:1.0:User': { type: 'object', properties: { 'manager.name': { type: 'string' } } } } }
const declared = [
  { $schema: 'https://x.example/a' },
  { 'urn:scim:1.0:User': { 'manager.name': 'a' } }
]
const UNDECLARED = '{"$where":"1"}'

for (const [name, express] of expresses) {
  test(`${name}: what the schema of a route declares is data behind a stack for the whole application`, async () => {
    const guard = unlimited()
    const app = express()
    app.use(guard.securityStack())
    app.post('/validate', guard.validate({ body: LABELS }), echo)
    app.post('/stack', guard.securityStack({ body: LABELS }), echo)
    app.post('/zod', guard.validate({ body: z.record(z.string(), z.string()) }), echo)
    app.post('/patterns', guard.validate({ body: { type: 'object', patternProperties: { '^[a-z.$/]+$': { type: 'string' } }, additionalProperties: false } }), echo)
    app.post('/operators', guard.securityStack({ payload: { operators: 'allow' } }), echo)
    app.post('/open', echo)
    const router = express.Router()
    router.use((req, res, next) => next())
    router.post('/items/:id', guard.validate({ body: LABELS }), echo)
    router.post('/bare/:id', echo)
    app.use('/nested', router)
    await serve(app, async (send) => {
      const post = (path, body) => send({ ...json(body), path })
      for (const path of ['/validate', '/stack', '/nested/items/1?x=1']) {
        for (const body of declared) assert.deepEqual((await post(path, body)).json, { body }, path)
        assert.deepEqual(code(await post(path, UNDECLARED)), [400, 'operator_key'], path)
        assert.deepEqual(code(await post(path, '{"$schema":"a","$schema":"b"}')), [400, 'duplicate_key'], path)
        assert.deepEqual(code(await post(path, '{"$schema":"a","x":1}')), [422, 'validation_failed'], path)
      }
      assert.deepEqual((await post('/operators', UNDECLARED)).json, { body: { $where: '1' } })
      const labels = { 'app.kubernetes.io/name': 'a' }
      for (const path of ['/zod', '/patterns']) assert.deepEqual((await post(path, labels)).json, { body: labels }, path)
      for (const path of ['/open', '/nested/bare/1', '/none']) {
        assert.deepEqual(code(await post(path, UNDECLARED)), [400, 'operator_key'], path)
        assert.deepEqual(code(await post(path, '{"a":1,"a":2}')), [400, 'duplicate_key'], path)
      }
    })
  })

  test(`${name}: types, sizes and codings are those of the route behind the stack`, async () => {
    const guard = unlimited()
    const app = express()
    app.use(guard.securityStack(), express.json(), express.urlencoded({ extended: true }))
    const body = { type: 'object', properties: { a: { type: 'string' } } }
    app.post('/form', guard.validate({ body, payload: { types: ['form'] } }), echo)
    app.post('/large', guard.validate({ body, payload: { maxBytes: '1mb' } }), echo)
    app.post('/gzip', guard.validate({ body, payload: { inflate: true } }), echo)
    app.post('/deep', guard.validate({ body: {}, payload: { maxDepth: 100 } }), echo)
    app.post('/json', guard.validate({ body }), echo)
    app.post('/open', echo)
    await serve(app, async (send, { port }) => {
      assert.deepEqual((await send({ ...typed(FORM, 'a=1'), path: '/form' })).json, { body: { a: '1' } })
      const a = 'x'.repeat(200_000)
      assert.equal((await send({ ...json({ a }), path: '/large' })).json.body.a, a)
      const streamed = chunked('POST', 'application/json', [`{"a":"${a.slice(0, 150_000)}`, `${a.slice(150_000)}"}`], '/large')
      assert.equal(statusOf(await bytes(port, streamed)), 200, 'without a length')
      assert.deepEqual((await send({ ...typed('application/json', gzipSync('{"a":"1"}'), { headers: { 'content-encoding': 'gzip' } }), path: '/gzip' })).json, { body: { a: '1' } })
      const deep = `${'['.repeat(50)}1${']'.repeat(50)}`
      assert.equal((await send({ ...json(deep), path: '/deep' })).status, 200)
      for (const path of ['/open', '/json']) {
        assert.deepEqual(code(await send({ ...typed(FORM, 'a=1'), path })), [415, 'unsupported_media_type'], path)
        assert.deepEqual(code(await send({ ...json({ a }), path })), [413, 'body_too_large'], path)
        assert.deepEqual(code(await send({ ...typed('application/json', gzipSync('{}'), { headers: { 'content-encoding': 'gzip' } }), path })), [415, 'unsupported_encoding'], path)
        assert.deepEqual(code(await send({ ...typed('application/json; charset=utf-7', '{}'), path })), [415, 'unsupported_charset'], path)
        assert.deepEqual(code(await send({ ...json(deep), path })), [400, 'too_deep'], path)
        assert.equal(statusOf(await bytes(port, streamed.replace('/large', path))), 413, path)
      }
    })
  })

  test(`${name}: a body of a kind that no route asked for is neither read nor refused`, async () => {
    const guard = unlimited()
    const app = express()
    app.use(guard.securityStack())
    app.post('/open', async (req, res) => {
      assert.equal(req.body, undefined)
      let size = 0
      for await (const chunk of req) size += chunk.length
      res.json({ size })
    })
    app.post('/schema', guard.validate({ body: { type: 'object' } }), echo)
    app.post('/types', guard.securityStack({ payload: { types: ['json', 'form'] } }), echo)
    app.post('/bytes', guard.validate({ payload: {} }), echo)
    await serve(app, async (send) => {
      for (const type of ['multipart/form-data; boundary=x', 'application/octet-stream', 'text/plain', 'text/plain; charset=iso-8859-1', 'text/event-stream', 'text/csv', 'application/xml', 'image/png', 'application/grpc-web']) {
        assert.deepEqual((await send({ ...typed(type, '{"$a":1}'), path: '/open' })).json, { size: 8 }, type)
        for (const path of ['/schema', '/types', '/bytes']) assert.deepEqual(code(await send({ ...typed(type, '{}'), path })), [415, 'unsupported_media_type'], `${path} ${type}`)
      }
      // What some parser may take for JSON, or what has no reading, is refused.
      for (const type of [undefined, '', 'text', 'text/json', 'application/json5', 'application/jsonp', 'application/json, text/plain', 'text/plain, application/json', 'application/json; charset', FORM]) {
        assert.deepEqual(code(await send({ ...typed(type, '{}'), path: '/open' })), [415, 'unsupported_media_type'], String(type))
      }
      const twice = await send({ method: 'POST', path: '/open', headers: { 'content-type': ['text/plain', 'application/json'] }, body: '{}' })
      assert.equal(twice.status === 400 || twice.status === 415, true)
    })
  })

  test(`${name}: no body is no body, whatever announces one`, async () => {
    const guard = unlimited()
    const app = express()
    app.get('/app', guard.securityStack(), echo)
    app.get('/schema', guard.securityStack({ query: { type: 'object' } }), echo)
    app.get('/types', guard.securityStack({ payload: { types: ['json'] } }), echo)
    app.post('/body', guard.validate({ body: { type: 'object' } }), echo)
    const api = guard.fromOpenApi({ openapi: '3.1.0', info: { title: 'a', version: '1' }, paths: { '/api': { get: { responses: { 200: { description: 'a' } } } } } })
    app.get('/api', api.handler, echo)
    await serve(app, async (send, { port }) => {
      for (const path of ['/app', '/schema', '/types', '/api']) {
        assert.equal(statusOf(await bytes(port, chunked('GET', null, [], path))), 200, path)
        assert.equal(statusOf(await bytes(port, chunked('GET', null, ['{}'], path))), 415, path)
      }
      assert.equal(statusOf(await bytes(port, chunked('POST', null, [], '/body'))), 422, 'a body is required')
      assert.equal(statusOf(await bytes(port, chunked('POST', 'text/plain', ['{}'], '/body'))), 415)
    })
  })

  test(`${name}: what another parser has read is judged by the schema, and left alone where nothing asks`, async () => {
    const guard = unlimited()
    const app = express()
    const upload = multer()
    const order = { type: 'object', required: ['name'], properties: { name: { type: 'string', maxLength: 5 }, amount: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } }, filter: { type: 'object', properties: { status: { type: 'string' } }, additionalProperties: false } } }
    const labels = { type: 'object', additionalProperties: { type: 'string' } }
    app.post('/raw', express.raw({ type: '*/*' }), guard.securityStack(), (req, res) => res.json({ isBuffer: Buffer.isBuffer(req.body), text: String(req.body) }))
    app.post('/object', express.json({ type: '*/*' }), guard.securityStack(), echo)
    app.use('/app', guard.securityStack())
    app.post('/app/upload', upload.any(), guard.validate({ body: order }), (req, res) => res.json({ body: req.body, files: req.files.length }))
    app.post('/app/labels', upload.none(), guard.validate({ body: labels }), echo)
    app.post('/app/text', express.text(), guard.validate({ body: order }), echo)
    app.post('/app/sns', express.json({ type: 'text/plain', verify: guard.captureRaw }), guard.validate({ body: order }), echo)
    app.post('/app/raw', express.raw({ type: 'application/octet-stream' }), guard.validate({ body: order }), echo)
    app.post('/app/csp', express.json({ type: 'text/csp' }), guard.validate({ body: order }), echo)
    await serve(app, async (send) => {
      const post = (path, type, body) => send({ ...typed(type, body), path })
      assert.deepEqual((await post('/app/upload', MULTIPART, fields([['name', 'Ada'], ['amount', '3'], ['tags', 'a'], ['tags', 'b'], ['filter[status]', 'x']]))).json, { body: { name: 'Ada', amount: 3, tags: ['a', 'b'], filter: { status: 'x' } }, files: 0 })
      assert.deepEqual(code(await post('/app/upload', MULTIPART, fields([['name', 'too long'], ['amount', 'x']]))), [422, 'validation_failed'])
      assert.deepEqual(code(await post('/app/upload', MULTIPART, fields([['name', 'Ada'], ['filter[$ne]', '1']]))), [400, 'operator_key'])
      assert.deepEqual(code(await post('/app/upload', MULTIPART, fields([['name[$ne]', '1']]))), [400, 'bracketed_key'])
      assert.deepEqual((await post('/app/labels', MULTIPART, fields([['a.b/c', '1']]))).json, { body: { 'a.b/c': '1' } })
      for (const [path, type] of [['/app/text', 'text/plain'], ['/app/sns', 'text/plain'], ['/app/raw', 'application/octet-stream'], ['/app/csp', 'text/csp']]) {
        assert.deepEqual((await post(path, type, '{"name":"Ada"}')).json, { body: { name: 'Ada' } }, path)
        assert.deepEqual(code(await post(path, type, '{"name":"Ada","x":1}')), [422, 'validation_failed'], path)
        if (path !== '/app/csp') assert.deepEqual(code(await post(path, type, '{"name":"a","name":"b"}')), [400, 'duplicate_key'], path)
      }
      assert.deepEqual((await post('/raw', 'application/json', UNDECLARED)).json, { isBuffer: true, text: UNDECLARED })
      assert.deepEqual((await post('/raw', 'text/plain', 'a')).json, { isBuffer: true, text: 'a' })
      for (const type of ['application/json', 'text/plain', FORM]) {
        assert.deepEqual(code(await post('/object', type, UNDECLARED)), [400, 'operator_key'], type)
        assert.deepEqual((await post('/object', type, '{"a":{"b":1}}')).json, { body: { a: { b: 1 } } }, type)
      }
    })
  })

  test(`${name}: no handler sees a body that nobody has judged, whatever stands between stack and route`, async () => {
    const guard = unlimited()
    const other = unlimited()
    const seen = []
    const look = (req, res, next) => {
      seen.push(req.body)
      next()
    }
    const app = express()
    app.use('/late', guard.securityStack(), look, express.json({ type: '*/*' }), express.text({ type: '*/*' }), look)
    app.post('/late/a', look, guard.validate({ body: LABELS }), echo)
    app.use(guard.securityStack())
    app.post('/wrapped', (req, res, next) => guard.validate({ body: LABELS })(req, res, next), echo)
    app.post('/before', echo, guard.validate({ body: LABELS }))
    app.post('/first', echo)
    app.post('/first', guard.validate({ body: LABELS }), echo)
    app.post('/foreign', other.validate({ body: LABELS }), echo)
    app.post('/false', guard.securityStack({ payload: false }), echo)
    app.post('/query', guard.validate({ query: { type: 'object' } }), echo)
    app.get('/method', guard.validate({ body: LABELS }), echo)
    app.post('/method', echo)
    app.all('/a%ff', guard.validate({ body: LABELS }), echo)
    app.post('/skipped', (req, res, next) => next('route'), guard.validate({ body: LABELS }), echo)
    app.post('/skipped', echo)
    app.post('/params', guard.validate({ query: { type: 'object', properties: { q: { type: 'string' } } } }), guard.validate({ body: LABELS }), echo)
    const inner = express()
    inner.post('/a', echo)
    app.use('/inner', inner)
    app.use('/inner', guard.validate({ body: LABELS }), echo)
    await serve(app, async (send) => {
      const post = (path, body, more) => send({ ...json(body, more), path })
      assert.deepEqual((await post('/late/a', { $schema: 'a' })).json, { body: { $schema: 'a' } })
      assert.deepEqual(code(await post('/late/a', UNDECLARED)), [400, 'operator_key'])
      assert.deepEqual(seen, [undefined, undefined, undefined, undefined, undefined, undefined])
      seen.length = 0
      assert.deepEqual((await post('/late/a', {})).json, { body: {} })
      assert.deepEqual(seen, [{}, {}, {}])
      for (const path of ['/wrapped', '/first', '/foreign', '/false', '/query', '/method', '/inner/a', '/nowhere', '/a%ff']) {
        assert.equal((await post(path, { $schema: 'a' })).status, 400, path)
      }
      for (const path of ['/before', '/skipped']) {
        assert.deepEqual((await post(path, UNDECLARED)).json, { body: 'none' }, `${path}: the body is absent`)
      }
      assert.deepEqual((await post('/params?q=a', { $schema: 'a' })).json, { body: { $schema: 'a' } })
      assert.equal((await post('/params?z=a', { $schema: 'a' })).status, 422)
    })
  })

  test(`${name}: rawBody has the bytes as they arrived, where that is asked for`, async () => {
    const guard = unlimited()
    const all = unlimited({ payload: { rawBody: true } })
    const show = (req, res) => res.json({ isBuffer: Buffer.isBuffer(req.guard.rawBody), raw: req.guard.rawBody?.toString('base64') })
    const app = express()
    app.use('/app', guard.securityStack())
    app.post('/app/hook', guard.validate({ body: { type: 'object' }, payload: { rawBody: true, inflate: true } }), show)
    app.post('/app/none', guard.validate({ body: { type: 'object' } }), show)
    app.post('/route', guard.securityStack({ payload: { rawBody: true } }), show)
    app.post('/all', all.securityStack(), show)
    app.post('/express', express.json({ verify: all.captureRaw }), all.securityStack(), show)
    await serve(app, async (send) => {
      const text = Buffer.from('{ "a" : 1.0 }')
      const wanted = { isBuffer: true, raw: text.toString('base64') }
      for (const path of ['/app/hook', '/route', '/all', '/express']) assert.deepEqual((await send({ ...json(text), path })).json, wanted, path)
      assert.deepEqual((await send({ ...json(text), path: '/app/none' })).json, { isBuffer: false })
      const packed = gzipSync('{}')
      assert.deepEqual((await send({ ...json(packed, { headers: { 'content-encoding': 'gzip' } }), path: '/app/hook' })).json.raw, packed.toString('base64'))
      assert.deepEqual((await send({ ...typed('text/plain', 'a'), path: '/all' })).json, { isBuffer: false })
    })
  })
}

test('node:http: a stack judges JSON as before, and leaves other kinds alone', async () => {
  const guard = unlimited({ payload: { rawBody: true } })
  const stack = guard.securityStack()
  const unread = guard.securityStack({ payload: false })
  const validate = guard.validate({ body: LABELS })
  const answer = (req, res) => res.end(JSON.stringify({ body: req.body ?? 'none', raw: String(req.guard.rawBody) }))
  const listener = (req, res) => {
    if (req.url === '/payload-false') return unread(req, res, () => validate(req, res, () => answer(req, res)))
    return stack(req, res, () => (req.url === '/validate' ? validate(req, res, () => answer(req, res)) : answer(req, res)))
  }
  await serve(listener, async (send) => {
    assert.deepEqual(code(await send(json(UNDECLARED))), [400, 'operator_key'])
    assert.deepEqual((await send({ ...json({}), path: '/validate' })).json, { body: {}, raw: '{}' })
    assert.deepEqual((await send(typed('text/plain', 'a'))).json, { body: 'none', raw: 'undefined' })
    assert.deepEqual((await send({ ...json({ $schema: 'a' }), path: '/payload-false' })).json.body, { $schema: 'a' })
  })
})

test('HTTP/2: an empty DATA frame is no body', async () => {
  const guard = unlimited()
  const stack = guard.securityStack({ payload: { types: ['json'] } })
  const server = http2.createServer((req, res) => stack(req, res, () => res.end('ok')))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  for (const [data, status] of [[Buffer.alloc(0), 200], [Buffer.from('{}'), 415]]) {
    const stream = client.request({ ':method': 'GET', ':path': '/' }, { endStream: false })
    stream.end(data)
    const [headers] = await once(stream, 'response')
    assert.equal(headers[':status'], status)
    stream.resume()
    stream.on('error', () => {})
  }
  client.destroy()
  server.close()
})

test('Fastify: routes declare their bodies, and other kinds go to its own parsers', async () => {
  const guard = unlimited()
  const app = fastify()
  await app.register(plugin, { guard })
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (request, body, done) => done(null, body))
  app.post('/open', async (request) => ({ body: request.body ?? 'none' }))
  app.post('/bytes', async (request) => ({ size: request.body.length }))
  app.post('/labels', { config: { keepstone: { body: LABELS, payload: { rawBody: true } } } }, async (request) => ({ body: request.body, raw: String(request.guard.rawBody) }))
  const address = new URL(await app.listen({ port: 0, host: '127.0.0.1' }))
  const send = (options) => sendTo(Number(address.port), options)
  try {
    assert.deepEqual((await send({ ...json('{"$schema":"a"}'), path: '/labels' })).json, { body: { $schema: 'a' }, raw: '{"$schema":"a"}' })
    assert.deepEqual(code(await send({ ...json(UNDECLARED), path: '/open' })), [400, 'operator_key'])
    assert.deepEqual((await send({ ...typed('text/plain', 'a'), path: '/open' })).json, { body: 'a' })
    assert.deepEqual((await send({ ...typed('application/octet-stream', 'abc'), path: '/bytes' })).json, { size: 3 })
    assert.deepEqual(code(await send({ ...typed('text/plain', 'a'), path: '/labels' })), [415, 'unsupported_media_type'])
    for (const type of ['application/json5', 'text/json', undefined]) assert.equal((await send({ ...typed(type, UNDECLARED), path: '/open' })).status, 415, String(type))
  } finally {
    await app.close()
  }
})

test('Hono: the schema of a route decides behind the middleware of the application', async () => {
  const guard = unlimited()
  const app = new Hono()
  app.use(keepstone(guard))
  app.post('/labels', keepstone(guard, { body: LABELS, payload: { rawBody: true } }), (c) => c.json({ body: c.get('body'), raw: String(c.get('guard').rawBody) }))
  app.post('/form', keepstone(guard, { body: { type: 'object', properties: { a: { type: 'string' } } }, payload: { types: ['form'] } }), (c) => c.json({ body: c.get('body') }))
  app.post('/large', keepstone(guard, { body: {}, payload: { maxBytes: '1mb' } }), (c) => c.json({ size: c.get('body').length }))
  app.post('/open', async (c) => c.json({ body: c.get('body') ?? 'none', json: await c.req.json() }))
  app.post('/text', async (c) => c.json({ text: await c.req.text() }))
  app.post('/between', async (c, next) => {
    c.set('seen', await c.req.json().catch(() => 'nothing'))
    await next()
  }, keepstone(guard, { body: LABELS }), (c) => c.json({ seen: c.get('seen'), body: c.get('body') }))
  app.on('GET', '/peek', keepstone(guard, { payload: { types: ['json'] } }), (c) => c.text('ok'))
  const server = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await once(server, 'listening')
  const { port } = server.address()
  const send = (options) => sendTo(port, options)
  try {
    assert.deepEqual((await send({ ...json('{"$schema":"a"}'), path: '/labels' })).json, { body: { $schema: 'a' }, raw: '{"$schema":"a"}' })
    assert.deepEqual(code(await send({ ...json(UNDECLARED), path: '/labels' })), [400, 'operator_key'])
    assert.deepEqual(code(await send({ ...json(UNDECLARED), path: '/open' })), [400, 'operator_key'])
    assert.deepEqual((await send({ ...typed(FORM, 'a=1'), path: '/form' })).json, { body: { a: '1' } })
    assert.deepEqual(code(await send({ ...typed(FORM, 'a=1'), path: '/open' })), [415, 'unsupported_media_type'])
    assert.deepEqual((await send({ ...json(JSON.stringify('x'.repeat(200_000))), path: '/large' })).json, { size: 200_000 })
    assert.deepEqual((await send({ ...typed('text/plain', 'a'), path: '/text' })).json, { text: 'a' })
    assert.deepEqual(code(await send({ ...typed('text/plain', UNDECLARED), path: '/open' })), [415, 'unsupported_media_type'], 'a handler reads no JSON of another type')
    assert.deepEqual((await send({ ...json('{"$schema":"a"}'), path: '/between' })).json, { seen: 'nothing', body: { $schema: 'a' } })
    assert.equal(statusOf(await bytes(port, chunked('POST', null, [], '/text'))), 200)
  } finally {
    server.close()
    server.closeAllConnections()
  }
})

test('guard.check: a list of layers is known, so that the last one decides', async () => {
  const guard = unlimited()
  const facts = (body, type = 'application/json') => ({ method: 'POST', target: '/', address: '127.0.0.1', headers: [['host', 'x'], ['content-type', type], ['content-length', String(body.length)]], body: Buffer.from(body) })
  const whole = guard.securityStack()
  const labels = guard.validate({ body: LABELS })
  const result = await guard.check(facts('{"$schema":"a"}'), [whole, labels])
  assert.deepEqual([result.allowed, result.body], [true, { $schema: 'a' }])
  assert.equal((await guard.check(facts('{"$schema":"a"}'), [labels, whole])).allowed, true)
  assert.equal((await guard.check(facts(UNDECLARED), [whole, labels])).code, 'operator_key')
  assert.equal((await guard.check(facts(UNDECLARED), [whole])).code, 'operator_key')
  const text = await guard.check(facts('a', 'text/plain'), [whole])
  assert.deepEqual([text.allowed, text.body, text.raw], [true, undefined, undefined])
})

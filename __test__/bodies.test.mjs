// How the bytes of a body come in: forms, compressed bodies, slow and vanished clients, and parsers
// of the application.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'
import { waitUntil } from './helpers/processes.mjs'

const unlimited = (payload = {}) => createGuard({ rateLimit: false, payload })
const FORM = 'application/x-www-form-urlencoded'
const form = (body, headers = {}) => ({ method: 'POST', headers: { 'content-type': FORM, ...headers }, body })
const ORDER = {
  type: 'object',
  required: ['name'],
  properties: { name: { type: 'string' }, amount: { type: 'integer' }, gift: { type: 'boolean', default: false }, tags: { type: 'array', items: { type: 'string' } } }
}
const echo = (req, res) => res.json({ body: req.body })
const code = ({ status, json: problem }) => [status, problem?.code]

/**
 * Writes `parts` one after the other, each once the one before is sent, and gives what comes back
 * until the end.
 */
async function raw(port, parts, { half = false } = {}) {
  const socket = net.connect(port, '127.0.0.1').setNoDelay(true)
  socket.on('error', () => {})
  let answer = ''
  socket.on('data', (chunk) => (answer += chunk))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  for (const part of parts) {
    socket.write(part)
    await new Promise(setImmediate)
  }
  if (half) socket.end()
  await closed
  return answer
}
const head = (length, more = '') => `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${length === null ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`}\r\n${more}\r\n`

for (const [name, express] of expresses) {
  test(`${name}: a form has the types of its schema where a route takes forms, and is refused where none does`, async () => {
    const guard = unlimited()
    const app = express()
    const types = ['json', 'form']
    const handler = guard.validate({ body: ORDER, payload: { types } })
    app.post('/stack', ...guard.securityStack({ body: ORDER, payload: { types } }), echo)
    app.post('/validate', handler, (req, res) => res.json({ body: handler.valid(req).body }))
    app.post('/loose', ...guard.securityStack({ payload: { types } }), echo)
    app.post('/json', ...guard.securityStack({ body: ORDER }), echo)
    await serve(app, async (send) => {
      const text = 'name=Ada+L&amount=3&tags=a&tags=b'
      const order = { name: 'Ada L', amount: 3, tags: ['a', 'b'], gift: false }
      for (const path of ['/stack', '/validate']) {
        assert.deepEqual((await send({ ...form(text), path })).json, { body: order }, path)
        assert.deepEqual((await send({ ...form('name=a&tags[]=x'), path })).json.body.tags, ['x'], path)
        assert.deepEqual((await send({ ...json({ name: 'Ada' }), path })).json, { body: { name: 'Ada' } }, path)
        const bad = await send({ ...form('amount=x&admin=1'), path })
        assert.equal(bad.status, 422)
        assert.deepEqual(bad.json.errors.map((error) => `${error.in} ${error.pointer}`).sort(), ['body #/admin', 'body #/amount', 'body #/name'])
        assert.deepEqual(code(await send({ ...form(''), path })), [422, 'validation_failed'], 'a form of nothing is no body')
      }
      assert.deepEqual((await send({ ...form('a=1&b[]=2&b[]=3'), path: '/loose' })).json, { body: { a: '1', b: ['2', '3'] } })
      assert.deepEqual(code(await send({ ...form('a=1&a=2'), path: '/loose' })), [400, 'duplicate_key'])
      assert.deepEqual(code(await send({ ...form(text), path: '/json' })), [415, 'unsupported_media_type'])
      assert.match((await send({ ...form('a=%', { 'content-type': 'text/plain' }), path: '/loose' })).json.detail, /application\/json or application\/x-www-form-urlencoded/)
    })
  })

  test(`${name}: a form and a query are sanitized like JSON, by the guard's schemas, on a route that narrows its bodies`, async () => {
    const USER = 'https://api.example.com/user.json'
    const schemas = { [USER]: { type: 'object', required: ['email'], properties: { email: { type: 'string', format: 'email', 'x-trim': true, 'x-lowercase': true } } } }
    const guard = unlimited({ schemas, formats: { sku: /^[a-z]{3}-\d+$/ }, messages: { format: 'no good' } })
    const text = { type: 'string', format: 'sku', 'x-trim': true, 'x-lowercase': true }
    const route = { body: { $ref: USER, properties: { sku: text } }, query: { properties: { q: text } }, payload: { types: ['form'] } }
    const handler = guard.validate(route)
    const app = express()
    app.post('/stack', ...guard.securityStack(route), echo)
    app.post('/validate', ...guard.securityStack({ payload: { types: ['form'] } }), handler, (req, res) => res.json({ body: req.body, ...(req.query.q && handler.valid(req)) }))
    await serve(app, async (send) => {
      const seen = { body: { email: 'ada@example.com', sku: 'abc-1' } }
      const text = 'email=+Ada%40Example.COM+&sku=ABC-1'
      for (const path of ['/stack', '/validate']) {
        assert.deepEqual((await send({ ...form(text), path })).json, seen, path)
        const bad = await send({ ...form('email=x&sku=1'), path: `${path}?q=1` })
        assert.deepEqual(bad.json.errors.map(({ in: part, pointer, detail }) => `${part} ${pointer} ${detail}`).sort(), ['body #/email no good', 'body #/sku no good', 'query #/q no good'], path)
        assert.deepEqual(code(await send({ ...json({ email: 'a@b.example' }), path })), [415, 'unsupported_media_type'], path)
      }
      assert.deepEqual((await send({ ...form(text), path: '/validate?q=+DEF-2' })).json, { ...seen, query: { q: 'def-2' } })
    })
    for (const key of ['schemas', 'draft']) {
      const payload = { types: ['form'], [key]: key === 'draft' ? '7' : schemas }
      for (const build of [guard.validate, guard.securityStack]) assert.throws(() => build({ ...route, payload }), { code: 'ERR_INVALID_OPTION', path: `payload.${key}` })
    }
  })

  test(`${name}: a form goes through a stack without a schema and is read by the schema of its route`, async () => {
    const guard = unlimited({ types: ['json', 'form'] })
    const app = express()
    app.use(guard.securityStack())
    app.post('/', guard.validate({ body: z.object({ name: z.string().trim(), amount: z.number().int(), tags: z.array(z.string()) }) }), echo)
    await serve(app, async (send) => {
      assert.deepEqual((await send(form('name=+Ada+&amount=3&tags[]=a'))).json, { body: { name: 'Ada', amount: 3, tags: ['a'] } })
      assert.deepEqual(code(await send(form('name=a&amount=3.5&tags[]=a'))), [422, 'validation_failed'])
    })
  })

  test(`${name}: a policy sees the form that the handler sees`, async () => {
    const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.body.amount < 5 }\n' }, query: 'data.a.allow' }
    const guard = createGuard({ rateLimit: false, policy })
    const app = express()
    app.post('/', ...guard.securityStack({ body: ORDER, payload: { types: ['form'] } }), echo)
    await serve(app, async (send) => {
      assert.deepEqual([(await send(form('name=a&amount=4'))).status, (await send(form('name=a&amount=5'))).status], [200, 403])
    })
  })

  test(`${name}: captureRaw has the bytes judged that a parser of the application has read`, async () => {
    const guard = unlimited({ types: ['json', 'form'] })
    const app = express()
    app.use(express.json({ verify: guard.captureRaw }), express.urlencoded({ extended: true, verify: guard.captureRaw }))
    const check = guard.validate({ body: { ...ORDER, additionalProperties: true } })
    app.post('/', check, echo)
    app.post('/stack', ...guard.securityStack({ body: { ...ORDER, additionalProperties: true } }), echo)
    await serve(app, async (send) => {
      for (const path of ['/', '/stack']) {
        assert.deepEqual((await send({ ...json({ name: 'Ada', amount: 3 }), path })).json, { body: { name: 'Ada', amount: 3 } })
        assert.deepEqual((await send({ ...form('name=Ada&amount=3&tags=a&tags=b'), path })).json, { body: { name: 'Ada', amount: 3, gift: false, tags: ['a', 'b'] } })
        for (const [request, wanted] of [
          [json('{"name":"user","name":"admin"}'), 'duplicate_key'],
          [json('{"name":"a","x":{"\\u005f_proto__":1}}'), 'forbidden_key'],
          [json('{"name":"a","id":9007199254740993}'), 'unsafe_number'],
          [json('{"name":"\\ud800"}'), 'invalid_unicode'],
          [form('name=user&n%61me=admin'), 'duplicate_key'],
          [form('name=a&x[__proto__][y]=1'), 'bracketed_key'],
          [form('name[$ne]='), 'bracketed_key']
        ]) {
          assert.deepEqual(code(await send({ ...request, path })), [400, wanted], String(request.body))
        }
        // body-parser inflates before it calls `verify`; the header still says that it came
        // compressed.
        assert.deepEqual(code(await send({ ...json(gzipSync('{"name":"a"}'), { headers: { 'content-encoding': 'gzip' } }), path })), [415, 'unsupported_encoding'])
      }
    })
  })

  test(`${name}: a form that another parser has read without captureRaw is judged as far as that goes`, async () => {
    const guard = unlimited({ types: ['form'] })
    const app = express()
    app.use(express.urlencoded({ extended: true }))
    app.post('/', guard.validate({ body: ORDER }), echo)
    await serve(app, async (send) => {
      assert.deepEqual((await send(form('name=a+b&amount=3&tags[]=x&tags[]=y'))).json, { body: { name: 'a b', amount: 3, gift: false, tags: ['x', 'y'] } })
      assert.deepEqual(code(await send(form('name=a&amount=x'))), [422, 'validation_failed'])
      for (const text of ['name=a&tags[x]=1', 'name[$ne]=1', 'name=a&name=b']) assert.deepEqual(code(await send(form(text))), [400, 'bracketed_key'], text)
    })
  })

  test(`${name}: compressed bodies are read within a ratio and a size, where that is asked for`, async () => {
    const guard = unlimited({ inflate: true, types: ['json', 'form'] })
    const app = express()
    app.post('/wide', ...unlimited({ inflate: { ratio: 1000 } }).securityStack(), echo)
    app.use(guard.securityStack())
    // A second look at the same body takes the bytes as they are by now.
    app.post('/', guard.validate({ body: { type: 'object', properties: { text: { type: 'string' }, a: {} } } }), echo)
    const body = JSON.stringify({ text: 'a text that is no bomb, é' })
    const bomb = JSON.stringify({ text: 'a'.repeat(90_000) })
    const coded = (bytes, coding, path = '/') => ({ ...json(bytes, { headers: { 'content-encoding': coding } }), path })
    await serve(app, async (send) => {
      for (const [coding, bytes] of [['gzip', gzipSync(body)], ['x-gzip', gzipSync(body)], ['GZIP', gzipSync(body)], ['deflate', deflateSync(body)], ['br', brotliCompressSync(body)], ['identity', body]]) {
        const answer = await send(coded(bytes, coding))
        assert.deepEqual(answer.json?.body, JSON.parse(body), `${coding}: ${answer.text}`)
      }
      const halves = [gzipSync(body.slice(0, 20)), gzipSync(body.slice(20))]
      assert.deepEqual((await send(coded(Buffer.concat(halves), 'gzip'))).json?.body, JSON.parse(body), 'gzip in two members')
      assert.deepEqual((await send({ ...form(gzipSync('text=x+y'), { 'content-encoding': 'gzip' }) })).json, { body: { text: 'x y' } })
      for (const [what, bytes, coding, wanted] of [
        ['a bomb', gzipSync(bomb), 'gzip', [413, 'body_expands']],
        ['a bomb of brotli', brotliCompressSync(bomb), 'br', [413, 'body_expands']],
        ['a bomb of deflate', deflateSync(bomb), 'deflate', [413, 'body_expands']],
        ['something behind it', Buffer.concat([gzipSync(body), Buffer.from('{"a":1}')]), 'gzip', [400, 'malformed_encoding']],
        ['zeros behind it', Buffer.concat([gzipSync(body), Buffer.alloc(4)]), 'gzip', [400, 'malformed_encoding']],
        ['something behind deflate', Buffer.concat([deflateSync(body), Buffer.from('x')]), 'deflate', [400, 'malformed_encoding']],
        ['something behind brotli', Buffer.concat([brotliCompressSync(body), Buffer.from('x')]), 'br', [400, 'malformed_encoding']],
        ['deflate without its coat', deflateRawSync(body), 'deflate', [400, 'malformed_encoding']],
        ['no gzip at all', Buffer.from(body), 'gzip', [400, 'malformed_encoding']],
        ['a cut', gzipSync(body).subarray(0, -9), 'gzip', [400, 'malformed_encoding']],
        ['a broken checksum', (() => { const bytes = gzipSync(body); bytes[bytes.length - 6] ^= 1; return bytes })(), 'gzip', [400, 'malformed_encoding']],
        ['gzip in gzip', gzipSync(gzipSync(body)), 'gzip, gzip', [415, 'unsupported_encoding']],
        ['zstd', Buffer.from(body), 'zstd', [415, 'unsupported_encoding']],
        ['a key twice inside', gzipSync('{"a":1,"a":2}'), 'gzip', [400, 'duplicate_key']]
      ]) {
        assert.deepEqual(code(await send(coded(bytes, coding))), wanted, what)
      }
      assert.equal((await send(coded(gzipSync(bomb), 'gzip', '/wide'))).status, 200)
      assert.deepEqual(code(await send(coded(gzipSync(`"${'a'.repeat(103_000)}"`), 'gzip', '/wide'))), [413, 'body_too_large'])
      assert.equal((await send(coded(Buffer.alloc(0), 'gzip', '/wide'))).status, 200, 'nothing is nothing')
      const refused = await send(coded(Buffer.from(body), 'zstd'))
      assert.equal(refused.headers['accept-encoding'], 'gzip, deflate, br, identity')
    })
  })
}

const [, express] = expresses[0]
const served = (payload) => express().use(unlimited(payload).securityStack(), echo)

test('a body that does not arrive in time is refused with 408, and the connection is closed', async () => {
  await serve(served({ timeout: '50ms' }), async (_, { port }) => {
    for (const parts of [[head(10)], [head(10), '{"a"'], [head(null), '4\r\n{"a"\r\n']]) {
      const answer = await raw(port, parts)
      assert.match(answer, /^HTTP\/1\.1 408 /, answer)
      assert.match(answer, /connection: close/i)
      assert.match(answer, /"code":"body_timeout"/)
    }
  })
})

test('a client that goes away in the middle of its body reaches no handler, and its timer ends with it', async () => {
  let reached = 0
  const app = express().use(unlimited({ timeout: '1h' }).securityStack(), () => (reached += 1))
  await serve(app, async (_, { port, server }) => {
    for (const parts of [[head(10), '{"a"'], [head(null), '4\r\n{"a"\r\n']]) {
      const socket = net.connect(port, '127.0.0.1')
      for (const part of parts) socket.write(part)
      await once(server, 'request')
      socket.destroy()
    }
    await waitUntil('the server to lose its clients', () => new Promise((resolve) => server.getConnections((_error, count) => resolve(count === 0))))
    assert.equal(reached, 0)
    // A timer that was left would keep this process up for an hour.
  })
})

test('a client that sends far more than allowed, and only then reads, finds the refusal', async () => {
  await serve(served(), async (_, { port }) => {
    for (const start of [head(20_000_000), head(null)]) {
      const chunk = Buffer.alloc(1 << 20, 'a')
      const framed = start.includes('chunked') ? Buffer.concat([Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from('\r\n')]) : chunk
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      const errors = []
      socket.on('error', (error) => errors.push(error.code))
      socket.pause()
      socket.write(start)
      // 8 MB are more than what the system's buffers take: without somebody who reads them, this
      // never ends.
      for (let i = 0; i < 8; i += 1) await new Promise((resolve) => socket.write(framed, resolve))
      let answer = ''
      socket.on('data', (data) => (answer += data))
      socket.resume()
      await waitUntil('the answer', () => answer.includes('body_too_large'))
      assert.match(answer, /^HTTP\/1\.1 413 /)
      assert.deepEqual(errors, [])
      socket.destroy()
    }
  })
})

test('a client that asks before it sends is told no by the answer, or told to go on', async () => {
  await serve(served({ maxBytes: 20 }), async (_, { port }) => {
    const ask = (length) =>
      new Promise((resolve, reject) => {
        const request = http.request({ host: '127.0.0.1', port, method: 'POST', agent: false, headers: { 'content-type': 'application/json', 'content-length': length, expect: '100-continue' } })
        request.on('continue', () => request.end('{"a":1}'.padEnd(Math.min(length, 20))))
        request.on('response', (response) => (resolve(response.statusCode), response.resume()))
        request.on('error', reject)
        request.flushHeaders()
      })
    assert.equal(await ask(7), 200)
    assert.equal(await ask(21), 413)
  })
})

test('the bytes of a body are given back with its request', async () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc')
  const guard = unlimited()
  const bytes = []
  const app = express()
  app.use(express.json({ verify: (req, res, buffer) => (bytes.push(new WeakRef(buffer)), guard.captureRaw(req, res, buffer)) }))
  app.post('/', guard.validate({ body: ORDER }), echo)
  await serve(app, async (send) => {
    for (let i = 0; i < 50; i += 1) await send(json({ name: `${i}` }))
    assert.equal(bytes.length, 50)
    await waitUntil('the bytes to be collected', () => (gc(), bytes.every((ref) => ref.deref() === undefined)))
  })
})

test('a route that leaves its body to the application still has its other parts checked', async () => {
  const guard = unlimited()
  const check = guard.validate({ query: { type: 'object', properties: { n: { type: 'integer' } } }, payload: false })
  const app = expresses[0][1]()
  app.post('/', check, (req, res) => {
    const chunks = []
    req.on('data', (chunk) => chunks.push(chunk)).on('end', () => res.json([check.valid(req), Buffer.concat(chunks).toString()]))
  })
  await serve(app, async (send) => {
    const csv = { method: 'POST', headers: { 'content-type': 'text/csv' }, body: 'a,b' }
    assert.deepEqual((await send({ ...csv, path: '/?n=1' })).json, [{ query: { n: 1 } }, 'a,b'])
    assert.equal((await send({ ...csv, path: '/?n=x' })).status, 422)
  })
})

test('captureRaw says what it takes', () => {
  assert.throws(() => unlimited().captureRaw({}, {}, 'text'), { name: 'GuardError', code: 'ERR_INVALID_ARGUMENT' })
})

test('payload options that can not be meant are refused where they stand', () => {
  const guard = unlimited()
  for (const [make, path] of [
    [() => unlimited({ types: ['forms'] }), 'payload.types[0]'],
    [() => unlimited({ inflate: { ratio: 2000 } }), 'payload.inflate.ratio'],
    [() => unlimited({ timeout: '1ms' }), 'payload.timeout'],
    [() => guard.validate({ body: ORDER, payload: false }), 'payload'],
    [() => guard.securityStack({ body: { properties: { a: { type: 'integer', default: 'x' } } }, payload: { types: ['form'] } }), 'body']
  ]) {
    assert.throws(make, (error) => error.name === 'GuardError' && error.path === path, path)
  }
})

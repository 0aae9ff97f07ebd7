// Bodies, queries, params and headers: what reaches a handler, and what never does.

import test from 'node:test'
import assert from 'node:assert/strict'
import net from 'node:net'
import { gzipSync } from 'node:zlib'
import { z } from 'zod'
import Type from 'typebox'
import * as v from 'valibot'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'
import { CreateUserSchema, goodUser } from './helpers/articles.mjs'

const raw = (body, headers = {}) => json(Buffer.isBuffer(body) ? body : Buffer.from(body), { headers })

// [what it is, request, status, code]
const ATTACKS = [
  ['a key twice', raw('{"role":"user","role":"admin"}'), 400, 'duplicate_key'],
  ['a key twice, once escaped', raw('{"role":"user","\\u0072ole":"admin"}'), 400, 'duplicate_key'],
  ['a key twice, deep inside', raw('{"a":[{"b":{"c":1,"c":2}}]}'), 400, 'duplicate_key'],
  ['__proto__', raw('{"__proto__":{"admin":true}}'), 400, 'forbidden_key'],
  ['__proto__, escaped', raw('{"\\u005f_proto__":{"admin":true}}'), 400, 'forbidden_key'],
  ['constructor.prototype', raw('{"constructor":{"prototype":{"admin":true}}}'), 400, 'forbidden_key'],
  ['a NoSQL operator', raw('{"password":{"$gt":""}}'), 400, 'operator_key'],
  ['a dotted key', raw('{"profile.role":"admin"}'), 400, 'operator_key'],
  ['an unsafe integer', raw('{"id":9007199254740993}'), 400, 'unsafe_number'],
  ['a number that is not finite', raw('{"id":1e999}'), 400, 'unsafe_number'],
  ['33 levels', raw(`${'['.repeat(33)}${']'.repeat(33)}`), 400, 'too_deep'],
  ['100,000 levels', raw('['.repeat(100_000)), 400, 'too_deep'],
  ['a lone surrogate', raw('{"a":"\\ud800"}'), 400, 'invalid_unicode'],
  ['a NUL', raw('{"a":"\\u0000"}'), 400, null],
  ['bytes that are no UTF-8', raw(Buffer.from('7b2261223a22ff227d', 'hex')), 400, null],
  ['a byte order mark', raw('\ufeff{}'), 400, 'invalid_unicode'],
  ['a comment', raw('{"a":1 /* x */}'), 400, 'malformed_json'],
  ['a trailing comma', raw('{"a":1,}'), 400, 'malformed_json'],
  ['two documents', raw('{}{}'), 400, 'malformed_json'],
  ['more bytes than allowed', raw(JSON.stringify('a'.repeat(101 * 1024))), 413, 'body_too_large'],
  ['more bytes than allowed, chunked', raw(JSON.stringify('a'.repeat(101 * 1024)), { 'transfer-encoding': 'chunked' }), 413, 'body_too_large'],
  ['utf-7', raw('{"a":"+ADw-"}', { 'content-type': 'application/json; charset=utf-7' }), 415, 'unsupported_charset'],
  ['utf-16', raw(Buffer.from('{"a":1}', 'utf16le'), { 'content-type': 'application/json; charset=utf-16le' }), 415, 'unsupported_charset'],
  ['a form', raw('a=b', { 'content-type': 'application/x-www-form-urlencoded' }), 415, 'unsupported_media_type'],
  ['another type of JSON', raw('{}', { 'content-type': 'text/json' }), 415, 'unsupported_media_type'],
  ['gzip', raw(gzipSync('{"a":1}'), { 'content-encoding': 'gzip' }), 415, 'unsupported_encoding']
]

for (const [name, express] of expresses) {
  test(`${name}: what JSON.parse would let through is refused on the bytes`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    let reached = 0
    app.post('/', (req, res) => res.json({ reached: ++reached, body: req.body }))
    await serve(app, async (send) => {
      for (const [what, request, status, code] of ATTACKS) {
        const answer = await send(request)
        assert.equal(answer.status, status, `${what}: ${answer.text}`)
        assert.equal(answer.headers['content-type'], 'application/problem+json', what)
        if (code !== null) assert.equal(answer.json.code, code, what)
        assert.ok(answer.text.length < 8192, what)
      }
      assert.equal(reached, 0)
      for (const body of ['{"a":[1.5,-0,true,null,"\\u00e9\\ud83d\\ude00"]}', '[]', '"text"', '9007199254740991', ' {} ', 'null']) {
        const answer = await send(raw(body))
        assert.equal(answer.status, 200, body)
        assert.deepEqual(answer.json.body, JSON.parse(JSON.stringify(JSON.parse(body))))
      }
      const typed = await send(raw('{"a":1}', { 'content-type': 'application/vnd.api+json; charset="UTF-8"' }))
      assert.deepEqual(typed.json.body, { a: 1 })
    })
  })

  test(`${name}: query, params and headers are checked and read by their schemas, and req.query is left alone`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    const check = guard.validate({
      query: { type: 'object', properties: { page: { type: 'integer', minimum: 1, default: 1 }, tags: { type: 'array', items: { type: 'string' } }, q: { type: 'string' } } },
      params: { type: 'object', required: ['id'], properties: { id: { type: 'integer' } } },
      headers: { type: 'object', required: ['x-tenant'], properties: { 'x-tenant': { type: 'string', minLength: 2 } } }
    })
    app.get('/users/:id', check, (req, res) => {
      const { query, params, headers } = check.valid(req)
      res.json({ query, params, tenant: headers['x-tenant'], raw: req.query })
    })
    const headers = { 'x-tenant': 'acme' }
    await serve(app, async (send) => {
      const good = await send({ path: '/users/7?page=2&tags=a&tags=b&q=x%20y', headers })
      assert.equal(good.status, 200, good.text)
      assert.deepEqual(good.json, { query: { page: 2, tags: ['a', 'b'], q: 'x y' }, params: { id: 7 }, tenant: 'acme', raw: { page: '2', tags: ['a', 'b'], q: 'x y' } })
      assert.deepEqual((await send({ path: '/users/7', headers })).json.query, { page: 1 })
      const bad = await send({ path: '/users/x?page=0&admin=1' })
      assert.equal(bad.status, 422, bad.text)
      const found = bad.json.errors.map((error) => `${error.in} ${error.pointer}`)
      for (const wanted of ['query #/page', 'query #/admin', 'params #/id', 'headers #/x-tenant']) assert.ok(found.includes(wanted), `${wanted} in ${found}`)
      for (const path of ['/users/7?page=1&page=2', '/users/7?page=%ff', '/users/7?__proto__=1', '/users/7?q[$gt]=', '/users/7?page=0x10', '/users/7?page=%201']) {
        const answer = await send({ path, headers })
        assert.ok([400, 422].includes(answer.status), `${path}: ${answer.status}`)
      }
    })
  })

  test(`${name}: a body that another parser has read is still checked, with a warning`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.use(express.json())
    app.post('/', guard.validate({ body: CreateUserSchema }), (req, res) => res.json(req.body))
    const warnings = []
    const listen = (warning) => warnings.push(warning.code)
    process.on('warning', listen)
    await serve(app, async (send) => {
      assert.deepEqual((await send(json(goodUser))).json, goodUser)
      assert.equal((await send(json({ ...goodUser, admin: true }))).status, 422)
    })
    await new Promise(setImmediate)
    process.removeListener('warning', listen)
    if (name === 'Express 5') assert.ok(warnings.includes('GUARD_BODY_PARSED'), `${warnings}`)
  })
}

const [, express] = expresses[0]

/** Sends values through `schema` and compares the verdict with the library's own. */
async function verdicts(schema, own, values) {
  const guard = createGuard({ rateLimit: false })
  const app = express()
  app.post('/', ...guard.securityStack({ body: schema }), (req, res) => res.json({ body: req.body }))
  await serve(app, async (send) => {
    for (const value of values) {
      const answer = await send(json(JSON.stringify(value)))
      const { ok, output } = own(value)
      assert.equal(answer.status, ok ? 200 : 422, `${JSON.stringify(value)}: ${answer.text}`)
      if (ok) assert.deepEqual(answer.json.body, JSON.parse(JSON.stringify(output)))
      else assert.ok(answer.json.errors.length >= 1)
    }
  })
}

const zodVerdict = (schema) => (value) => {
  const { success, data } = schema.safeParse(value)
  return { ok: success, output: data }
}

const users = [goodUser, { ...goodUser, username: 'no' }, { ...goodUser, admin: true }, { ...goodUser, email: 'a@b' }, { ...goodUser, email: 'Name <a@b.co>' }, { ...goodUser, password: 'short' }, {}, [], 'x', null, 5]

test('zod: CreateUserSchema has the same verdict as zod alone', async () => {
  const schema = z.strictObject({ username: z.string().min(3).max(20).regex(/^[a-zA-Z0-9]+$/), email: z.email(), password: z.string().min(12) })
  await verdicts(schema, zodVerdict(schema), users)
})

test('zod: what its JSON Schema loses is checked all the same, and its output is what the handler gets', async () => {
  const schema = z
    .object({
      name: z.string().trim().toLowerCase(),
      code: z.string().regex(/^[a-z]+$/i),
      noA: z.string().regex(/^[^a]+$/i),
      from: z.number(),
      to: z.number(),
      note: z.string().regex(/^(?=x)x+$/).optional()
    })
    .refine((value) => value.from < value.to, { message: 'from must be before to', path: ['from'] })
  const good = { name: '  Ada ', code: 'ABC', noA: 'xyz', from: 1, to: 2 }
  await verdicts(schema, zodVerdict(schema), [
    good,
    { ...good, from: 3 },
    { ...good, code: 'a1' },
    { ...good, noA: 'A' },
    { ...good, note: 'xx' },
    { ...good, note: 'y' },
    { ...good, extra: 'stripped by zod' },
    { ...good, name: 5 }
  ])
})

test('zod: a type that JSON has no word for is refused when the route is built', () => {
  const guard = createGuard({ rateLimit: false })
  assert.throws(() => guard.validate({ body: z.object({ when: z.date() }) }), (error) => error.code === 'ERR_INVALID_SCHEMA' && error.path === 'body')
})

test('zod and valibot: asynchronous checks are awaited, and decide', async () => {
  const guard = createGuard({ rateLimit: false })
  const free = async (name) => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    if (name === 'broken') throw new Error('s3cret')
    return name !== 'taken'
  }
  const app = express()
  app.post('/zod', ...guard.securityStack({ body: z.object({ name: z.string().refine(free), n: z.number().default(1) }) }), (req, res) => res.json(req.body))
  app.post('/valibot', guard.validate({ body: v.objectAsync({ name: v.pipeAsync(v.string(), v.checkAsync(free)) }) }), (req, res) => res.json(req.body))
  const query = guard.validate({ query: z.object({ name: z.string().refine(free).transform((name) => name.toUpperCase()) }) })
  app.get('/query', query, (req, res) => res.json(query.valid(req).query))
  app.use((error, req, res, next) => res.status(599).end(error.message, next))
  await serve(app, async (send) => {
    for (const path of ['/zod', '/valibot']) {
      const fine = await send(json({ name: 'ada' }, { path }))
      assert.deepEqual([fine.status, fine.json.name], [200, 'ada'], fine.text)
      const taken = await send(json({ name: 'taken' }, { path }))
      assert.deepEqual([taken.status, taken.json.errors[0].pointer], [422, '#/name'], taken.text)
      const wrong = await send(json({ name: 5 }, { path }))
      assert.equal(wrong.status, 422)
      const broken = await send(json({ name: 'broken' }, { path }))
      assert.deepEqual([broken.status, broken.text.includes('s3cret')], [500, false])
    }
    assert.deepEqual((await send({ path: '/query?name=ada' })).json, { name: 'ADA' })
    assert.equal((await send({ path: '/query?name=taken' })).status, 422)
  })
})

test('TypeBox: CreateUserSchema accepts and refuses as written', async () => {
  const schema = Type.Object(
    { username: Type.String({ minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' }), email: Type.String({ format: 'email' }), password: Type.String({ minLength: 12 }) },
    { additionalProperties: false }
  )
  const fine = new Set([0])
  await verdicts(schema, (value) => ({ ok: fine.has(users.indexOf(value)), output: value }), users)
})

test('JSON Schema: draft 7, 2019-09 and 2020-12 are told apart by $schema', async () => {
  const tuple = (schema) => ({ type: 'array', ...schema })
  await verdicts(tuple({ $schema: 'http://json-schema.org/draft-07/schema#', items: [{ type: 'integer' }], additionalItems: false }), (value) => ({ ok: value.length <= 1, output: value }), [[1], [1, 2]])
  await verdicts(tuple({ $schema: 'https://json-schema.org/draft/2019-09/schema', items: [{ type: 'integer' }], additionalItems: false }), (value) => ({ ok: value.length <= 1, output: value }), [[1], [1, 2]])
  await verdicts(tuple({ prefixItems: [{ type: 'integer' }], items: false }), (value) => ({ ok: value.length <= 1, output: value }), [[1], [1, 2]])
})

test('an object schema is closed unless it says otherwise', async () => {
  const open = { type: 'object', properties: { a: { type: 'integer' } } }
  await verdicts(open, (value) => ({ ok: !('b' in value), output: value }), [{ a: 1 }, { a: 1, b: 2 }])
  await verdicts({ ...open, additionalProperties: true }, (value) => ({ ok: true, output: value }), [{ a: 1 }, { a: 1, b: 2 }])
})

test('a body that comes in single bytes is read whole', async () => {
  const guard = createGuard({ rateLimit: false })
  const app = express()
  app.post('/', ...guard.securityStack(), (req, res) => res.json(req.body))
  await serve(app, async (_, { port }) => {
    const body = '{"a":"é"}'
    const bytes = Buffer.from(body)
    const socket = net.connect(port, '127.0.0.1').setNoDelay(true)
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${bytes.length}\r\nConnection: close\r\n\r\n`)
    for (const byte of bytes) {
      socket.write(Buffer.from([byte]))
      await new Promise(setImmediate)
    }
    let answer = ''
    for await (const chunk of socket) answer += chunk
    assert.ok(answer.endsWith('{"a":"é"}'), answer)
  })
})

// What a guard's schemas share, and what they change: drafts, registered schemas, own formats,
// keywords and texts, sanitizers; and functions that the core can't ask.

import test from 'node:test'
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { z } from 'zod'
import Type from 'typebox'
import * as v from 'valibot'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'

const [, express] = expresses[0]

/** An app that answers what `validate` found, and `use(post)` that sends bodies to it. */
async function validating(guard, schemas, use) {
  const app = express()
  const check = guard.validate(schemas)
  app.post('/:id', check, (req, res) => res.json({ body: req.body, valid: check.valid(req) }))
  await serve(app, (send) => use((body, more = {}) => send({ path: '/1', ...json(JSON.stringify(body), more) }), send))
}

const places = (answer) => answer.json.errors.map(({ in: part, pointer, code }) => `${part} ${pointer} ${code}`)

for (const [name, express] of expresses) {
  test(`${name}: sanitizers change body, query, params and headers before they are checked, and req.body is what was checked`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    const text = { type: 'string', 'x-trim': true, 'x-lowercase': true, minLength: 2 }
    const check = guard.validate({
      body: { properties: { email: { type: 'string', format: 'email', 'x-normalize-email': true }, name: { type: 'string', 'x-nfc': true, maxLength: 3 } } },
      query: { properties: { q: text } },
      params: { properties: { id: text } },
      headers: { properties: { 'x-tenant': text } }
    })
    app.post('/:id', check, (req, res) => res.json({ body: req.body, ...check.valid(req), raw: req.query }))
    const headers = { 'content-type': 'application/json', 'x-tenant': 'ACME' }
    await serve(app, async (send) => {
      const post = (body, path = '/%20AB%20?q=+CD+') => send({ method: 'POST', path, headers, body: JSON.stringify(body) })
      const answer = await post({ email: ' Ada@EXAMPLE.com ', name: 'A\u030ada' })
      assert.equal(answer.status, 200, answer.text)
      assert.deepEqual(answer.json, { body: { email: 'Ada@example.com', name: '\u00c5da' }, query: { q: 'cd' }, params: { id: 'ab' }, headers: { 'x-tenant': 'acme' }, raw: { q: ' CD ' } })
      // Only blanks are nothing.
      assert.deepEqual(places(await post({ email: ' a@b ' }, '/ab?q=+++')), ['body #/email format', 'query #/q minLength'])
    })
  })

  test(`${name}: a body that is as it should be already is the handler's as it came, with a schema in the stack, too`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.post('/', ...guard.securityStack({ body: { properties: { a: { type: 'string', 'x-trim': true } } } }), (req, res) => res.json(req.body))
    await serve(app, async (send) => {
      for (const [sent, seen] of [['{"a":"x"}', { a: 'x' }], ['{"a":" x "}', { a: 'x' }]]) assert.deepEqual((await send(json(sent))).json, seen)
    })
  })
}

test('formats and keywords of the application are asserted: patterns by the core, functions behind it', async () => {
  const guard = createGuard({
    rateLimit: false,
    payload: {
      formats: { sku: /^[a-z]{3}-\d+$/i, luhn: (text) => [...text].reduce((sum, digit) => sum + Number(digit), 0) % 10 === 0 },
      keywords: { even: (value, wanted) => typeof value !== 'number' || (value % 2 === 0) === wanted }
    }
  })
  const schemas = {
    body: {
      properties: {
        sku: { type: 'string', format: 'sku' },
        card: { type: 'string', format: 'luhn' },
        list: { type: 'array', items: { type: 'integer', even: true } },
        n: { allOf: [{ even: false }] }
      }
    },
    params: { properties: { id: { type: 'integer', even: false } } }
  }
  await validating(guard, schemas, async (post, send) => {
    const good = { sku: 'ABC-1', card: '55', list: [2, 4], n: 1 }
    assert.deepEqual((await post(good)).json.body, good)
    assert.deepEqual(places(await post({ ...good, sku: 'AB-1' })), ['body #/sku format'])
    const bad = await post({ card: '56', list: [2, 3], n: 2 })
    assert.deepEqual(places(bad).toSorted(), ['body #/card format', 'body #/list/1 even', 'body #/n even'])
    assert.ok(!bad.text.includes('56'), 'the value is not echoed')
    assert.deepEqual(places(await send({ path: '/2', ...json('{}') })), ['params #/id even'])
  })
})

test('a function that might apply or not, or is asynchronous, is never a pass', async () => {
  const guard = createGuard({ rateLimit: false, payload: { formats: { odd: () => true, late: async () => true } } })
  for (const schema of [
    { anyOf: [{ format: 'odd' }, { type: 'null' }] },
    { not: { format: 'odd' } },
    { $ref: '#/$defs/a', $defs: { a: { format: 'odd' } } },
    { if: { properties: { a: { format: 'odd' } } } },
    Type.Union([Type.Refine(Type.String(), () => false), Type.Null()]),
    Type.Codec(Type.String()).Decode(Number).Encode(String)
  ]) {
    assert.throws(() => guard.validate({ body: schema }), (error) => error.code === 'ERR_INVALID_SCHEMA' && error.path === 'body', JSON.stringify(schema))
  }
  await validating(guard, { body: { type: 'string', format: 'late' } }, async (post) => assert.equal((await post('a')).status, 500))
})

test('a function that would not be asked is refused: in answers, behind references, in registered schemas', async () => {
  const own = { formats: { luhn: () => false }, keywords: { even: () => false } }
  const guard = createGuard({ rateLimit: false, payload: own })
  const refused = (build, path, why) => assert.throws(build, (error) => error.code === 'ERR_INVALID_SCHEMA' && error.path === path && why.test(error.message), why)
  const refined = Type.Refine(Type.String(), () => false)
  for (const schema of [{ type: 'string', format: 'luhn' }, { items: { anyOf: [{ even: true }] } }, refined, Type.Array(refined), { $ref: '#/parts/a', parts: { a: { format: 'luhn' } } }]) {
    refused(() => guard.validate({ response: { 200: schema } }), 'response.200', /asks a function, which answers are not judged by/)
    const uri = 'https://example.com/a.json'
    refused(() => createGuard({ payload: { ...own, schemas: { 'https://example.com/0.json': { $ref: uri }, [uri]: schema } } }), `payload.schemas['${uri}']`, /asks a function/)
  }
  for (const schema of [
    { properties: { n: { even: true }, self: { $ref: '#' } } },
    { $id: 'https://example.com/a', properties: { n: { even: true }, self: { $ref: 'a' } } },
    { $ref: '#/parts/a', parts: { a: { format: 'luhn' } } },
    { patternProperties: { '^a': {} }, additionalProperties: { format: 'luhn' } },
    Type.Cyclic({ Node: Type.Object({ name: refined, next: Type.Optional(Type.Ref('Node')) }) }, 'Node')
  ]) {
    refused(() => guard.validate({ body: schema }), 'body', /asks a function, but may apply or not/)
  }
  refused(() => guard.validate({ body: { properties: { a: { $dynamicRef: '#b' }, n: { even: true } }, $defs: { b: { $dynamicAnchor: 'b' } } } }), 'body', /can't be followed/)
  refused(() => guard.validate({ response: { 200: Type.Codec(Type.String()).Decode(Number).Encode(String) } }), 'response.200', /codec/)
})

test('names of members and data are not taken for keywords of the application, nor members that a pattern declares for others', async () => {
  const guard = createGuard({ rateLimit: false, payload: { formats: { luhn: () => false }, keywords: { even: () => false } } })
  const schema = {
    type: 'object',
    properties: { a: { const: { format: 'luhn', even: true } }, b: { type: 'object', patternProperties: { even: { type: 'integer' } }, dependentRequired: { even: ['format'] } } },
    $defs: { even: { type: 'string' } },
    dependentSchemas: { even: true },
    examples: [{ even: true }],
    'x-meta': { format: 'luhn' }
  }
  await validating(guard, { body: schema }, async (post) => {
    assert.equal((await post({ a: { format: 'luhn', even: true }, b: { even: 1, format: 'x' } })).status, 200)
    assert.equal((await post({ b: { even: 'x' } })).status, 422)
  })
})

test('a schema of valibot is not changed by another one that is made of its parts', async () => {
  const guard = createGuard({ rateLimit: false })
  const base = v.pipe(v.string(), v.regex(/^[a-z]*$/), v.regex(/^[a-p]*$/))
  const short = v.pipe(base, v.regex(/^[a-c]*$/))
  await validating(guard, { body: v.strictObject({ a: base, b: short, c: base }) }, async (post) => {
    assert.equal((await post({ a: 'abcdefg', b: 'abc', c: 'abcdefg' })).status, 200)
    assert.equal((await post({ a: 'abcdefg', b: 'abcdefg', c: 'a' })).status, 422)
  })
})

test('options about schemas are judged when the guard is built, and belong to the guard', () => {
  for (const [payload, path] of [
    [{ formats: { a: 5 } }, 'payload.formats.a'],
    [{ formats: { a: /a/g } }, 'payload.formats.a'],
    [{ formats: { a: /(?=a)a/ } }, 'payload.formats.a'],
    [{ keywords: { type: () => true } }, 'payload.keywords.type'],
    [{ keywords: { even: 'yes' } }, 'payload.keywords.even'],
    [{ draft: '5' }, 'payload.draft'],
    [{ schemas: { a: {} } }, 'payload.schemas'],
    [{ messages: { requierd: 'x' } }, 'payload.messages.requierd'],
    [{ shemas: {} }, 'payload.shemas']
  ]) {
    assert.throws(() => createGuard({ payload }), (error) => error.path === path, path)
  }
  const guard = createGuard({ rateLimit: false })
  assert.throws(() => guard.securityStack({ payload: { formats: { a: /a/ } } }), (error) => error.path === 'payload.formats')
  assert.throws(() => guard.validate({ onResponse: 'strip' }), (error) => error.path === 'onResponse')
  assert.throws(() => guard.validate({ response: { 200: {} }, onResponse: 'drop' }), (error) => error.path === 'onResponse')
  assert.throws(() => guard.validate({ body: { $ref: 'https://example.com/user.json' } }), /'https:\/\/example\.com\/user\.json'.*payload\.schemas/)
})

test('a registered schema and a draft of the guard are what its schemas are read by', async () => {
  const guard = createGuard({ rateLimit: false, payload: { draft: '7', schemas: { 'https://example.com/user.json': { type: 'object', properties: { name: { type: 'string', minLength: 2 } }, additionalProperties: false } } } })
  await validating(guard, { body: { type: 'array', items: [{ $ref: 'https://example.com/user.json' }], additionalItems: false } }, async (post) => {
    assert.equal((await post([{ name: 'ada' }])).status, 200)
    assert.deepEqual(places(await post([{ name: 'a' }])), ['body #/0/name minLength'])
    assert.equal((await post([{}, {}])).status, 422)
  })
})

test('errors speak the words of the application, in the language that the client asks for', async () => {
  const guard = createGuard({ rateLimit: false, payload: { messages: { required: '{key} is missing', de: { required: '{key} fehlt' } } } })
  await validating(guard, { body: { required: ['name'] } }, async (post) => {
    const plain = await post({})
    assert.deepEqual([plain.json.errors[0].detail, plain.headers['content-language']], ['name is missing', undefined])
    const german = await post({}, { headers: { 'accept-language': 'de-CH, en;q=0.5' } })
    assert.deepEqual([german.json.errors[0].detail, german.headers['content-language']], ['name fehlt', 'de'])
    assert.match(german.headers.vary, /accept-language/i)
  })
})

test('the limit in a text of the application is that of the schema, whichever library wrote it', async () => {
  const messages = { format: 'as {limit}', minLength: 'at least {limit}', maxLength: 'at most {limit}' }
  const told = [
    [messages, ['as ipv4', 'at least 12', 'at most 3']],
    [{}, ['must be an IPv4 address', 'must have at least 12 characters', 'must have at most 3 characters']]
  ]
  for (const schema of [
    z.strictObject({ ip: z.ipv4(), a: z.string().min(12), b: z.string().max(3) }),
    v.strictObject({ ip: v.pipe(v.string(), v.ipv4()), a: v.pipe(v.string(), v.minLength(12)), b: v.pipe(v.string(), v.maxLength(3)) })
  ]) {
    for (const [messages, texts] of told) {
      await validating(createGuard({ rateLimit: false, payload: { messages } }), { body: schema }, async (post) => {
        const answer = await post({ ip: '1.2.3.x', a: '7 letters', b: 'abcd' })
        assert.deepEqual(answer.json.errors.map(({ detail }) => detail).sort(), texts)
      })
    }
  }
})

test('of several forms the closest one is told, and an answer has at most 20 errors and 8 kB', async () => {
  const guard = createGuard({ rateLimit: false })
  const form = (name) => ({ type: 'object', properties: { [name]: { type: 'string' }, n: { type: 'integer' } }, required: [name, 'n'], additionalProperties: false })
  await validating(guard, { body: { oneOf: [form('a'), form('b')] } }, async (post) => assert.deepEqual(places(await post({ a: 'x', n: 'y' })), ['body #/n type']))
  const long = `${'"'.repeat(40)}${'\u00e9'.repeat(60)}`
  const strict = z.strictObject({}).refine(() => true)
  for (const schema of [{ type: 'object', additionalProperties: { type: 'object', additionalProperties: { type: 'null' } } }, strict, z.record(z.string(), z.record(z.string(), z.string().refine(() => false)))]) {
    await validating(guard, { body: schema }, async (post) => {
      const answer = await post(Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`${i}${long}`, { [long]: 'hunter2' }])))
      assert.equal(answer.status, 422)
      assert.ok(Buffer.byteLength(answer.text) <= 8192 && answer.json.errors.length <= 20, `${Buffer.byteLength(answer.text)}`)
      assert.ok(!answer.text.includes('hunter2'))
    })
  }
})

test('a handler that nobody holds any more gives its stack back', async () => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc')
  const guard = createGuard({ rateLimit: false })
  const kept = guard.validate({ body: { type: 'string' } })
  // A large schema: a hundred of them would be seen.
  const schema = { enum: Array.from({ length: 4000 }, (_, i) => `${i}-${'x'.repeat(40)}`) }
  const build = () => void guard.validate({ body: schema })
  build()
  gc()
  const before = process.memoryUsage().rss
  for (let i = 0; i < 150; i += 1) {
    build()
    gc()
    await turn()
  }
  const grown = process.memoryUsage().rss - before
  assert.ok(grown < 50 << 20, `${grown >> 20} MB for 150 handlers`)
  const app = express()
  app.post('/', kept, (req, res) => res.json(req.body))
  await serve(app, async (send) => assert.equal((await send(json('"a"'))).status, 200))
})

test('a schema that fails without an issue refuses, and one that gives no result is a fault', async () => {
  const guard = createGuard({ rateLimit: false })
  const standard = (result) => ({ '~standard': { version: 1, vendor: 'own', validate: () => result } })
  for (const [result, status] of [[{ issues: [] }, 422], [{ value: 1 }, 200], [false, 500], [true, 500], [undefined, 500], ['text', 500], [null, 500]]) {
    const app = express().post('/', guard.validate({ body: standard(result) }), (req, res) => res.json(req.body))
    await serve(app, async (send) => assert.equal((await send(json({ a: 1 }))).status, status, JSON.stringify(result)))
  }
})

test('a `~standard` that is null is an error by name', () => {
  const guard = createGuard({ rateLimit: false })
  assert.throws(() => guard.validate({ body: { '~standard': null } }), { code: 'ERR_INVALID_SCHEMA', path: 'body' })
})

// guard.toOpenApi: the document of the routes that a guard protects.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import { once } from 'node:events'
import { Hono } from 'hono'
import Fastify from 'fastify'
import { Type } from 'typebox'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { keepstone as fastifyPlugin } from 'keepstone/fastify'
import { keepstone as honoMiddleware } from 'keepstone/hono'
import { Requests, operationsOf } from '../bench/lib/openapi-requests.mjs'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, send, serve } from './helpers/http.mjs'

const require = createRequire(import.meta.url)
const info = { title: 'Orders', version: '1' }
const ok = (req, res) => res.json({})

const item = { type: 'object', required: ['sku'], properties: { sku: { type: 'string', pattern: '^[a-z]{1,10}$' }, count: { type: 'integer', minimum: 1 } } }
const order = {
  type: 'object',
  required: ['items', 'pay'],
  properties: {
    note: { type: 'string', maxLength: 20 },
    mail: { type: 'string', format: 'email' },
    items: { type: 'array', minItems: 1, maxItems: 4, items: { $ref: '#/$defs/Item' } },
    pay: { anyOf: [{ type: 'object', required: ['digits'], properties: { digits: { type: 'string' } }, additionalProperties: false }, { const: 'cash' }] }
  },
  $defs: { Item: item }
}
const tree = { type: 'object', properties: { name: { type: 'string' }, parts: { type: 'array', items: { $ref: '#' } } }, additionalProperties: false }
const id = { type: 'object', properties: { id: { type: 'integer', minimum: 1 } } }

/** An API with routers in routers, and schemas of three kinds. */
function api(express, guard) {
  const app = express()
  app.use(guard.securityStack())
  const orders = express.Router()
  const list = guard.validate({ query: { type: 'object', required: ['limit'], properties: { limit: { type: 'integer', maximum: 50 }, tags: { type: 'array', items: { enum: ['a', 'b'] } } } } })
  orders.get('/', list, ok)
  orders.post('/', guard.require({ scope: 'orders:write' }), guard.validate({ query: { type: 'object', properties: {} }, body: order, response: { 201: { type: 'object', properties: { id: { type: 'integer' } } } } }), ok)
  orders.put('/:id', guard.validate({ query: { type: 'object', properties: {} }, params: id, headers: { type: 'object', required: ['x-kind'], properties: { 'x-kind': { enum: ['one', 'two'] } } }, body: z.strictObject({ name: z.string().max(9), size: z.number().min(2).optional() }) }), ok)
  app.use('/v1/orders', orders)
  app.post('/trees', guard.validate({ query: { type: 'object', properties: {} }, body: tree }), ok)
  app.patch('/boxes/:box', guard.validate({ query: { type: 'object', properties: {} }, body: Type.Object({ wide: Type.Boolean(), tag: Type.Optional(Type.Union([Type.Literal('x'), Type.Null()])) }) }), ok)
  return { app, mounts: { '/v1/orders': orders } }
}

/** Whether another validator takes the document for one of OpenAPI. */
async function assertIsOpenApi(document) {
  const express = require('express')
  const { middleware } = require('express-openapi-validator')
  const app = express()
  app.use(middleware({ apiSpec: structuredClone(document), validateApiSpec: true, validateSecurity: false }))
  app.use((error, req, res, _next) => res.status(error.status ?? 500).json({ message: error.message }))
  await serve(app, async (request) => {
    const { status, text } = await request({ path: '/not-there' })
    assert.equal(status, 404, text)
  })
}

for (const [name, express] of expresses) {
  test(`${name}: a guard from the document judges generated requests as the routes do`, async () => {
    const guard = createGuard({ jwt, rateLimit: false })
    const { app, mounts } = api(express, guard)
    const omissions = []
    const document = guard.toOpenApi(app, { info, mounts, onOmission: (it) => omissions.push(it) })
    assert.deepEqual(omissions, [])
    await assertIsOpenApi(document)
    assert.deepEqual(Object.keys(document.paths), ['/v1/orders', '/v1/orders/{id}', '/trees', '/boxes/{box}'])

    const second = createGuard({ jwt, rateLimit: false })
    const again = express()
    again.use(second.securityStack({ payload: false }), second.fromOpenApi(document, { unknown: 'refuse' }).handler, ok)
    const { accessToken } = await guard.tokens.issue({ sub: 'ada', scope: 'orders:write' })
    const weak = (await guard.tokens.issue({ sub: 'ada' })).accessToken
    const maker = new Requests(document, 11)
    const targets = operationsOf(document)
    await serve(app, (_, first) => serve(again, async (_, other) => {
      const counts = {}
      for (let i = 0; i < 600; i += 1) {
        const request = maker.make(targets[i % targets.length], i % 3 !== 0)
        const token = i % 17 === 0 ? {} : bearer(i % 13 === 0 ? weak : accessToken)
        const sent = { ...request, headers: { ...request.headers, ...token } }
        const [one, two] = await Promise.all([send(first.port, sent), send(other.port, sent)])
        // Express has no 405.
        assert.equal(two.status === 405 ? 404 : two.status, one.status, JSON.stringify({ request, one: one.text, two: two.text }))
        counts[one.status] = (counts[one.status] ?? 0) + 1
      }
      for (const status of [200, 401, 403, 415, 422]) assert.ok(counts[status] > 5, JSON.stringify(counts))
    }))
  })
}

const whole = { jwt, rateLimit: { name: 'ip', limit: 9, window: '1m' } }

test('an operation says who may call it, and which answers the guard itself gives', () => {
  const guard = createGuard({ ...whole, public: ['/health'], apiKeys: { prefix: 'sk', lookup: () => null } })
  const express = require('express')
  const app = express()
  app.use(guard.securityStack())
  app.get('/health', ok)
  app.get('/users/:id', guard.require({ scope: 'users:read', role: 'admin' }), ok)
  app.post('/users', ok)
  app.delete('/users/:id', ok)
  const omissions = []
  const { paths, components } = guard.toOpenApi(app, { info, servers: [{ url: '/' }], onOmission: (it) => omissions.push(it) })
  assert.deepEqual(components.securitySchemes, { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' }, apiKey: { type: 'apiKey', in: 'header', name: 'x-api-key' } })
  assert.deepEqual(paths['/health'].get.security, [{ bearer: [] }, { apiKey: [] }, {}])
  assert.deepEqual(paths['/users/{id}'].get.security, [{ bearer: ['users:read'] }, { apiKey: ['users:read'] }])
  assert.deepEqual(paths['/users/{id}'].get.parameters, [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }])
  // No layer declares the body, so the handler may take any.
  assert.deepEqual(paths['/users'].post.requestBody, { content: { '*/*': {} } })
  assert.deepEqual(Object.keys(paths['/health'].get.responses), ['400', '401', '429', '503', '2XX'])
  assert.deepEqual(Object.keys(paths['/users/{id}'].get.responses), ['400', '401', '403', '429', '503', '2XX'])
  assert.deepEqual(omissions, [{ operation: 'GET /users/{id}', problem: 'the requirement `role` for tokens' }])
})

test('tokens in cookies, proofs of possession and forms are described', () => {
  const describe = (config, route) => {
    const guard = createGuard({ rateLimit: false, ...config })
    return guard.toOpenApi([{ method: 'POST', path: '/a', handlers: [guard.securityStack(route)] }], { info })
  }
  const cookie = describe({ jwt: { ...jwt, from: ['header', { cookie: '__Host-session' }] } }, {})
  assert.deepEqual(cookie.paths['/a'].post.security, [{ bearer: [] }, { cookieToken: [] }])
  assert.deepEqual(cookie.components.securitySchemes.cookieToken, { type: 'apiKey', in: 'cookie', name: '__Host-session' })
  assert.ok('403' in cookie.paths['/a'].post.responses, 'a request of another site is refused')
  const proven = describe({ jwt: { ...jwt, dpop: 'required' } }, {})
  assert.deepEqual(proven.components.securitySchemes, { dpop: { type: 'http', scheme: 'dpop' } })
  const form = describe({}, { payload: { types: ['form'] }, body: { type: 'object', properties: { a: { type: 'integer' } } } })
  assert.deepEqual(form.paths['/a'].post.requestBody, {
    required: true,
    content: { 'application/x-www-form-urlencoded': { schema: { type: 'object', properties: { a: { type: 'integer' } }, additionalProperties: false } } }
  })
})

test('a multipart body is described by its type, and its fields and files are listed as left out', () => {
  const guard = createGuard({ rateLimit: false })
  const found = []
  const body = { type: 'object', properties: { title: { type: 'string' } }, required: ['title'], additionalProperties: false }
  const stack = guard.securityStack({ body, payload: { types: ['multipart'], files: { photo: { types: ['image/png'], maxBytes: 1000 } } } })
  const document = guard.toOpenApi([{ method: 'POST', path: '/a', handlers: [stack] }], { info, onOmission: (it) => found.push(it.problem) })
  assert.deepEqual(document.paths['/a'].post.requestBody, { required: true, content: { 'multipart/form-data': {} } })
  assert.deepEqual(found, ['the fields and files of a multipart body'])
})

test('what the document has no words for is listed, and never stricter than the route', () => {
  const guard = createGuard({
    rateLimit: false,
    payload: {
      formats: { sku: /^[A-Z]+$/, iban: (text) => text.length > 4, word: /^x$/i },
      keywords: { even: (value) => value % 2 === 0 },
      schemas: { 'https://example.com/name': { type: 'string', minLength: 2 } }
    }
  })
  const problems = (schemas, method = 'POST', path = '/a') => {
    const found = []
    const document = guard.toOpenApi([{ method, path, handlers: [guard.validate(schemas)] }], { info, onOmission: (it) => found.push(it.problem) })
    return [document, found]
  }
  const body = (schema) => problems({ body: schema })
  const schemaOf = (document) => document.paths['/a'].post.requestBody.content['application/json'].schema
  const [own, ownProblems] = body({ type: 'object', properties: { a: { format: 'sku' }, b: { format: 'iban' }, c: { format: 'word' }, d: { even: true }, e: { 'x-trim': true, type: 'string' }, f: { $ref: 'https://example.com/name' } } })
  assert.deepEqual(schemaOf(own).properties, { a: { pattern: '^[A-Z]+$' }, b: {}, c: {}, d: {}, e: { 'x-trim': true, type: 'string' }, f: { $ref: '#/components/schemas/name' } })
  assert.deepEqual(own.components.schemas.name, { type: 'string', minLength: 2 })
  assert.deepEqual(ownProblems, [
    'body: checks and changes of its library (refinements, transforms, own functions)',
    'body: the format `iban`, which is a function',
    'body: the format `word`, which is a pattern with flags',
    'body: the keyword `even`, which is a function',
    'body: `x-trim`, which changes a value before it is judged'
  ])
  const [, refined] = body(z.object({ a: z.string().refine(async () => true) }))
  assert.ok(refined[0].startsWith('body: checks and changes of its library'))
  const [old] = body({ $schema: 'http://json-schema.org/draft-04/schema#', type: 'object', additionalProperties: false, properties: { a: { minimum: 1, exclusiveMinimum: true }, b: { items: [{ type: 'string' }], additionalItems: false }, c: { $ref: '#/definitions/C', title: 'ignored' } }, dependencies: { a: ['b'], b: { required: ['c'] } }, definitions: { C: { type: 'null' } } })
  assert.deepEqual(schemaOf(old), {
    type: 'object',
    additionalProperties: false,
    properties: { a: { exclusiveMinimum: 1 }, b: { prefixItems: [{ type: 'string' }], items: false }, c: { $ref: '#/components/schemas/C' } },
    dependentRequired: { a: ['b'] },
    dependentSchemas: { b: { required: ['c'] } }
  })
  const [, query] = problems({ query: { type: 'object', properties: {}, patternProperties: { '^x-': {} } } })
  assert.deepEqual(query, ['query: `patternProperties` of the whole'])
  const [, wild] = problems({ body: true }, 'GET', '/files/*path')
  assert.deepEqual(wild, ['its path is a pattern that OpenAPI has no words for'])
})

test('schemas that refer to others are components, one for all routes that have them', () => {
  const guard = createGuard({ rateLimit: false })
  const Node = z.strictObject({ name: z.string(), get kids() { return z.array(Node) } })
  const at = (path, body) => ({ method: 'PUT', path, handlers: [guard.validate({ body })] })
  const { components, paths } = guard.toOpenApi([at('/a', order), at('/b', order), at('/c', { ...tree, title: 'Tree' }), at('/d', Node), at('/e', { type: 'object', properties: { x: { $ref: '#/$defs/Item' } }, $defs: { Item: { type: 'null' } } })], { info, onOmission: () => {} })
  assert.deepEqual(Object.keys(components.schemas), ['Item', 'Tree', 'Schema', 'Item2', 'Problem'])
  assert.deepEqual(components.schemas.Tree.properties.parts, { type: 'array', items: { $ref: '#/components/schemas/Tree' } })
  assert.equal(paths['/e'].put.requestBody.content['application/json'].schema.properties.x.$ref, '#/components/schemas/Item2')
})

test('a request method or path that two routes share is described once', () => {
  const guard = createGuard({ rateLimit: false })
  const express = require('express')
  const app = express()
  app.get('/a', guard.securityStack(), ok)
  app.get('/a', guard.securityStack(), ok)
  app.get('/unguarded', ok)
  app.all('/b', guard.securityStack(), ok)
  const omissions = []
  const { paths } = guard.toOpenApi(app, { info, onOmission: (it) => omissions.push(it) })
  assert.deepEqual(Object.keys(paths), ['/a', '/b'])
  assert.deepEqual(Object.keys(paths['/b']), ['get', 'put', 'post', 'delete', 'patch'], 'app.all')
  assert.deepEqual(omissions, [{ operation: 'GET /a', problem: 'a second route of this method and path' }])
})

test('layers count for the routes behind them and under their path', () => {
  for (const [name, express] of expresses) {
    const guard = createGuard(whole)
    const app = express()
    app.get('/early', guard.headers(), ok)
    app.use('/admin', guard.require({ scope: 'admin' }))
    app.use(guard.authenticate())
    app.get('/admin/users', ok)
    app.get('/late', ok)
    const { paths } = guard.toOpenApi(app, { info })
    assert.equal(paths['/early'].get.security, undefined, name)
    assert.deepEqual(paths['/admin/users'].get.security, [{ bearer: ['admin'] }], name)
    assert.deepEqual(paths['/late'].get.security, [{ bearer: [] }], name)
  }
})

test('a router that Express 5 hides is named in `mounts`, or listed', () => {
  const guard = createGuard({ rateLimit: false })
  const [[, express5], [, express4]] = expresses
  for (const express of [express5, express4]) {
    const app = express()
    const router = express.Router({ mergeParams: true })
    router.get('/x', guard.securityStack(), ok)
    app.use('/t/:tenant', router)
    const inner = express()
    inner.get('/y', guard.securityStack(), ok)
    app.use('/inner', inner)
    const found = []
    const { paths } = guard.toOpenApi(app, { info, mounts: { '/t/{tenant}': router, '/inner': inner }, onOmission: (it) => found.push(it) })
    assert.deepEqual([Object.keys(paths), found], [['/t/{tenant}/x', '/inner/y'], []])
    const less = guard.toOpenApi(app, { info, onOmission: (it) => found.push(it) })
    assert.deepEqual(Object.keys(less.paths), express === express4 ? ['/t/{tenant}/x'] : [])
    assert.equal(found.length, express === express4 ? 1 : 2)
    const twice = express()
    twice.use(['/a', '/b'], router)
    assert.deepEqual(Object.keys(guard.toOpenApi(twice, { info, mounts: { '/a': router, '/b': router } }).paths), ['/a/x', '/b/x'])
  }
})

test('Fastify and Hono: the routes are known to the plugin and the application', async () => {
  const schemas = { body: { type: 'object', properties: { a: { type: 'integer' } } } }
  const wanted = { type: 'object', properties: { a: { type: 'integer' } }, additionalProperties: false }
  const bodyOf = ({ paths }, path) => paths[path].post.requestBody.content['application/json'].schema

  const guard = createGuard(whole)
  const fastify = Fastify()
  await fastify.register(fastifyPlugin, { guard })
  fastify.get('/plain/:id', async () => ({}))
  fastify.post('/things', { config: { keepstone: schemas } }, async () => ({}))
  fastify.get('/open', { config: { keepstone: false } }, async () => ({}))
  await fastify.register(async (scope) => void scope.get('/inner', async () => ({})), { prefix: '/v1' })
  const ofFastify = guard.toOpenApi(fastify, { info })
  assert.deepEqual(Object.keys(ofFastify.paths), ['/plain/{id}', '/things', '/v1/inner'])
  assert.deepEqual(bodyOf(ofFastify, '/things'), wanted)
  assert.deepEqual(ofFastify.paths['/v1/inner'].get.security, [{ bearer: [] }])
  await assertIsOpenApi(ofFastify)
  await fastify.close()

  const hono = new Hono()
  hono.get('/before', (c) => c.json({}))
  hono.use('/api/*', honoMiddleware(guard))
  hono.post('/api/things', honoMiddleware(guard, schemas), (c) => c.json({}))
  hono.get('/api/things/:id{[0-9]+}', honoMiddleware(guard, guard.require({ scope: 'x' })), (c) => c.json({}))
  const omissions = []
  const ofHono = guard.toOpenApi(hono, { info, onOmission: (it) => omissions.push(it) })
  assert.deepEqual(Object.keys(ofHono.paths), ['/api/things', '/api/things/{id}'])
  assert.deepEqual(bodyOf(ofHono, '/api/things'), wanted)
  assert.deepEqual(ofHono.paths['/api/things/{id}'].get.security, [{ bearer: ['x'] }])
  assert.deepEqual(omissions, [{ operation: 'GET /api/things/{id}', problem: 'the pattern of `id` in the path' }])
  await assertIsOpenApi(ofHono)
})

test('texts of operations are added by name, and nothing else', () => {
  const guard = createGuard({ rateLimit: false })
  const routes = [{ method: 'get', path: '/users/:id', handlers: [guard.securityStack()] }]
  const { paths, openapi, tags } = guard.toOpenApi(routes, { info, version: '3.1.1', tags: [{ name: 'users' }], operations: { 'GET /users/{id}': { operationId: 'getUser', tags: ['users'] } } })
  assert.deepEqual([paths['/users/{id}'].get.operationId, openapi, tags], ['getUser', '3.1.1', [{ name: 'users' }]])
  for (const [options, path] of [
    [undefined, 'options.info'],
    [{}, 'options.info.title'],
    [{ info: { title: 'x' } }, 'options.info.version'],
    [{ info, version: '3.0.3' }, 'options.version'],
    [{ info, onOmission: true }, 'options.onOmission'],
    [{ info, inf: {} }, 'options.inf'],
    [{ info, operations: { 'GET /nope': {} } }, 'options.operations.GET /nope'],
    [{ info, operations: { 'GET /users/{id}': { security: [] } } }, 'options.operations.GET /users/{id}'],
    [{ info, mounts: { '/a': {} } }, 'options.mounts./a']
  ]) {
    const app = path.includes('mounts') ? require('express')() : routes
    assert.throws(() => guard.toOpenApi(app, options), { name: 'GuardError', path }, path)
  }
  for (const app of [undefined, {}, [{}], http.createServer()]) assert.throws(() => guard.toOpenApi(app, { info }), { name: 'GuardError' })
})

test('what is omitted is a warning where nobody takes it', async () => {
  const guard = createGuard({ rateLimit: false })
  const warning = once(process, 'warning')
  guard.toOpenApi([{ method: 'POST', path: '/omitted', handlers: [guard.validate({ body: { type: 'string', 'x-trim': true } })] }], { info })
  const [{ code, message }] = await warning
  assert.equal(code, 'GUARD_OPENAPI_OMITTED')
  assert.match(message, /POST \/omitted: body: `x-trim`/)
})

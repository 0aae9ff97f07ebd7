// What is Fastify's own: its error handlers, its plugins and scopes, and its bridges to Connect.

import test from 'node:test'
import assert from 'node:assert/strict'
import fastifyExpress from '@fastify/express'
import middie from '@fastify/middie'
import Fastify from 'fastify'
import { createGuard } from 'keepstone'
import { RequestRefused, keepstone } from 'keepstone/fastify'
import { json, send } from './helpers/http.mjs'

const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }

/** Runs `use(ask)` on an application that `build` has filled. */
async function on(build, use, options = {}) {
  const app = Fastify(options)
  await build(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  try {
    return await use((path, more) => send(app.server.address().port, { path, ...more }))
  } finally {
    app.server.closeAllConnections()
    await app.close()
  }
}

// A warning comes once in a process.
const warned = []
process.on('warning', (warning) => warned.push(warning))

const plain = createGuard({ rateLimit: false })

test('a refusal goes through the error handler of the application', async () => {
  await on(
    async (app) => {
      app.setErrorHandler((error, _request, reply) => {
        assert.ok(error instanceof RequestRefused)
        return reply.code(error.statusCode).send({ mine: error.code })
      })
      await app.register(keepstone, { guard: plain })
      app.post('/', { config: { keepstone: { body: schema } } }, async (request) => request.body)
    },
    async (ask) => {
      const { status, json: answer, headers } = await ask('/', json({ n: 'x' }))
      assert.deepEqual([status, answer], [422, { mine: 'validation_failed' }])
      assert.equal(headers['x-content-type-options'], 'nosniff')
    }
  )
})

test('an error handler that is set after the plugin has refusals, too, and other errors stay Fastify\'s', async () => {
  await on(
    async (app) => {
      await app.register(keepstone, { guard: plain })
      app.get('/', async () => {
        throw Object.assign(new Error('teapot'), { statusCode: 418 })
      })
      await app.register(async (scope) => {
        scope.setErrorHandler((error, _request, reply) => reply.code(error.statusCode).send({ scoped: error.code }))
        scope.post('/scoped', { config: { keepstone: { body: schema } } }, async (request) => request.body)
      })
    },
    async (ask) => {
      assert.deepEqual((await ask('/scoped', json({}))).json, { scoped: 'validation_failed' })
      const { status, json: answer } = await ask('/')
      assert.deepEqual([status, answer.message], [418, 'teapot'])
    }
  )
})

test('routes of scopes that are registered elsewhere are guarded, those that are taken out are not', async () => {
  await on(
    async (app) => {
      await app.register(async (scope) => scope.register(keepstone, { guard: createGuard({ rateLimit: { name: 'all', limit: 1, window: '1h' } }) }))
      await app.register(keepstone, { guard: createGuard({ rateLimit: { name: 'all', limit: 1, window: '1h' } }) })
      await app.register(async (scope) => scope.get('/deep', async () => 'ok'), { prefix: '/v1' })
      app.get('/health', { config: { keepstone: false } }, async () => 'ok')
    },
    async (ask) => {
      assert.equal((await ask('/v1/deep')).status, 200)
      assert.equal((await ask('/v1/deep')).status, 429)
      for (let i = 0; i < 3; i += 1) assert.equal((await ask('/health')).status, 200)
      assert.equal((await ask('/nothing')).status, 429, 'a path without a route is counted, too')
    }
  )
})

test('options of a route that are wrong throw when the route is added', async () => {
  const app = Fastify()
  await app.register(keepstone, { guard: plain })
  assert.throws(() => app.get('/', { config: { keepstone: { bodi: {} } } }, async () => 'ok'), { code: 'ERR_UNKNOWN_OPTION' })
})

test('the plugin says what it misses', async () => {
  await assert.rejects(async () => await Fastify().register(keepstone, {}), { code: 'ERR_MISSING_OPTION', path: 'guard' })
})

test('a body that no schema is about is Fastify\'s to read', async () => {
  await on(
    async (app) => {
      await app.register(keepstone, { guard: plain })
      app.addContentTypeParser('text/plain', { parseAs: 'string' }, async (_request, text) => text)
      app.post('/', { config: { keepstone: { payload: false } } }, async (request) => ({ got: request.body }))
    },
    async (ask) => {
      const answer = await ask('/', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
      assert.deepEqual([answer.status, answer.json], [200, { got: 'hello' }])
      assert.deepEqual((await ask('/', json({ n: 1 }))).json, { got: { n: 1 } })
    }
  )
})

for (const [name, bridge] of [['@fastify/middie', middie], ['@fastify/express', fastifyExpress]]) {
  test(`a stack with a body schema behind ${name} does not hang, and says what to use instead`, async () => {
    await on(
      async (app) => {
        await app.register(bridge)
        app.use(...createGuard({ rateLimit: false }).securityStack({ body: schema }))
        app.post('/', async (request) => request.body)
        app.get('/', async () => 'ok')
      },
      async (ask) => {
        assert.equal((await ask('/')).status, 422)
        assert.equal((await ask('/', json({ n: 1 }))).status, 500)
      }
    )
    assert.ok(warned.some(({ message }) => message.includes('keepstone/fastify')), warned.map(String).join())
  })
  test(`a stack that reads no body works behind ${name}`, async () => {
    await on(
      async (app) => {
        await app.register(bridge)
        app.use(...createGuard({ rateLimit: false }).securityStack({ payload: false }))
        app.post('/', async (request) => request.body)
      },
      async (ask) => {
        const answer = await ask('/', json({ n: 1 }))
        assert.deepEqual([answer.status, answer.json, answer.headers['x-content-type-options']], [200, { n: 1 }, 'nosniff'])
      }
    )
  })
}

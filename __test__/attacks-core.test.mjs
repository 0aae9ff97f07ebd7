// Attacks that only the core can stop.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'

const [, express] = expresses[0]
const policy = { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { not input.body.evil }\n' }, query: 'data.a.allow' }

test('a body schema beside `payload: false` throws, rather than check nothing', () => {
  const guard = createGuard({ rateLimit: false })
  assert.throws(() => guard.securityStack({ payload: false, body: { type: 'object' } }), (error) => error.code === 'ERR_CONFLICTING_OPTIONS' && error.path === 'payload')
})

test('a policy that reads the body beside `payload: false` throws, rather than decide without it', () => {
  const guard = createGuard({ rateLimit: false, policy })
  assert.throws(() => guard.securityStack({ payload: false }), (error) => error.code === 'ERR_CONFLICTING_OPTIONS' && error.path === 'payload')
})

test('query, params and headers are checked also where the body is left to the application', async () => {
  const guard = createGuard({ rateLimit: false })
  const app = express()
  app.post('/:id', ...guard.securityStack({ payload: false, query: { type: 'object', properties: { a: { type: 'integer' } } }, params: { type: 'object', properties: { id: { type: 'integer' } } } }), (req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const status = async (path) => (await send(json('not json', { path }))).status
    assert.deepEqual([await status('/1?a=1'), await status('/1?a=x'), await status('/x')], [200, 422, 422])
  })
})

test('a limit on a path that is written percent-encoded counts it', async () => {
  const app = express()
  app.use(createGuard({ rateLimit: { name: 'x', limit: 1, window: '1h', paths: ['/caf%C3%A9', '/%C3%BC/*'] } }).securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const status = async (path) => (await send({ path })).status
    assert.deepEqual([await status('/caf%C3%A9'), await status('/caf%c3%a9'), await status('/%C3%BC/a'), await status('/a')], [200, 429, 429, 200])
  })
})

test('a limit by route gives a client no new quota for each path that it makes up', async () => {
  const app = express()
  app.use(createGuard({ rateLimit: { name: 'x', limit: 2, window: '1h', key: ['ip', 'route'] } }).securityStack())
  app.get('/users/:id', (req, res) => res.send('ok'))
  await serve(app, async (send) => {
    const status = async (path) => (await send({ path })).status
    assert.deepEqual([await status('/users/1'), await status('/users/2'), await status('/users/3')], [200, 200, 429])
  })
})

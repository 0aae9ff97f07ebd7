// What is Hono's own: middleware in middleware, the request behind the check, and other runtimes.

import test from 'node:test'
import assert from 'node:assert/strict'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone } from 'keepstone/hono'

const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
const guard = createGuard({ rateLimit: false, cors: { origins: ['https://a.example', 'https://b.example'] } })
const address = () => '192.0.2.1'
const everywhere = keepstone(guard, undefined, { address })
const post = (body, more = {}) => ({ method: 'POST', body, headers: { 'content-type': 'application/json', ...more } })

test('the innermost decision about CORS wins, and `Vary` names each header once', async () => {
  const app = new Hono()
  app.use(everywhere)
  app.get('/narrow', keepstone(guard, { cors: { origins: ['https://b.example'] } }, { address }), (c) => c.text('ok', 200, { Vary: 'Accept' }))
  const ask = async (origin) => (await app.request('http://api.example/narrow', { headers: { origin } })).headers
  assert.equal((await ask('https://b.example')).get('access-control-allow-origin'), 'https://b.example')
  const headers = await ask('https://a.example')
  assert.equal(headers.get('access-control-allow-origin'), null)
  assert.deepEqual(headers.get('vary').split(/\s*,\s*/).sort(), ['Accept', 'Origin'])
  assert.equal(headers.get('x-content-type-options'), 'nosniff')
})

test('an answer is judged once by each schema, and a refused one goes out as the refusal', async () => {
  const events = []
  const logged = createGuard({ rateLimit: false, log: ({ outcome }) => void events.push(outcome) })
  const strict = { response: { default: schema }, onResponse: 'fail' }
  const app = new Hono()
  app.use(keepstone(logged, strict, { address }))
  app.get('/', keepstone(logged, strict, { address }), (c) => c.json({ n: 'x' }))
  const answer = await app.request('http://api.example/')
  assert.equal(answer.status, 500)
  assert.equal((await answer.json()).code, 'response_mismatch')
  assert.deepEqual(events, ['allow', 'allow', 'response'])
})

test('whoever reads the request behind the check gets the same bytes', async () => {
  const app = new Hono()
  app.post('/', keepstone(guard, { body: schema }, { address }), async (c) => c.json({ body: await c.req.json(), checked: c.get('body') }))
  const answer = await app.request('http://api.example/', post('{"n":1}'))
  assert.deepEqual(await answer.json(), { body: { n: 1 }, checked: { n: 1 } })
})

test('a request without a body is one behind the check, too', async () => {
  const app = new Hono()
  app.post('/', keepstone(guard, { payload: {} }, { address }), async (c) => c.text(`[${await c.req.text()}]`))
  assert.equal(await (await app.request('http://api.example/', post(''))).text(), '[]')
})

test('headers that a handler sets itself stay, on answers that Hono did not make as well', async () => {
  const app = new Hono()
  app.get('/', everywhere, () => new Response('ok', { headers: { 'Cache-Control': 'max-age=5' } }))
  const { headers } = await app.request('http://api.example/')
  assert.equal(headers.get('cache-control'), 'max-age=5')
  assert.equal(headers.get('x-frame-options'), 'DENY')
})

test('an error of a handler keeps the security headers, and gives its slot back', async () => {
  const slots = createGuard({ rateLimit: { name: 'one', concurrent: 1 } })
  const app = new Hono()
  app.onError((_error, c) => c.text('mine', 500))
  app.get('/', keepstone(slots, undefined, { address }), () => {
    throw new Error('x')
  })
  for (let i = 0; i < 3; i += 1) {
    const answer = await app.request('http://api.example/')
    assert.deepEqual([answer.status, await answer.text(), answer.headers.get('x-frame-options')], [500, 'mine', 'DENY'])
  }
})

test('the middleware says what it misses, and a wrong option throws when it is made', () => {
  assert.throws(() => keepstone(), { code: 'ERR_MISSING_OPTION', path: 'guard' })
  assert.throws(() => keepstone(guard, { bodi: {} }), { code: 'ERR_UNKNOWN_OPTION' })
})

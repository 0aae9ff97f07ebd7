// What is Hono's own: middleware in middleware, the request behind the check, and other runtimes.

import test from 'node:test'
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
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
  for (const layers of [() => {}, [], createGuard().headers(), [guard.headers(), createGuard().headers()]]) {
    assert.throws(() => keepstone(guard, layers), { code: 'ERR_INVALID_ARGUMENT', path: 'route' })
  }
})

test('layers of the guard stand behind the stack, and have one view of the request with it', async () => {
  const jwt = { issuer: 'https://id.example.com', audience: 'api', secret: randomBytes(48).toString('base64') }
  const events = []
  const guarded = createGuard({ jwt, rateLimit: { name: 'all', limit: 100, window: '1m' }, log: ({ outcome, code }) => void events.push(code ?? outcome) })
  const app = new Hono()
  app.use(keepstone(guarded, undefined, { address }))
  app.use('/admin/*', keepstone(guarded, guarded.require({ role: 'admin' }), { address }))
  app.post('/admin/users', keepstone(guarded, [guarded.require({ scope: 'write' }), guarded.validate({ body: schema })], { address }), async (c) =>
    c.json({ sub: c.get('user').sub, body: c.get('body'), again: await c.req.json() }))
  const ask = async (claims, body = '{"n":1}') => {
    const { accessToken } = await guarded.tokens.issue({ sub: 'ada', ...claims })
    const answer = await app.request('http://api.example/admin/users', post(body, { authorization: `Bearer ${accessToken}` }))
    return [answer.status, await answer.json(), answer.headers.get('ratelimit')]
  }
  const [status, said, limit] = await ask({ role: 'admin', scope: 'write' })
  assert.deepEqual([status, said], [200, { sub: 'ada', body: { n: 1 }, again: { n: 1 } }])
  assert.match(limit, /r=99/)
  assert.deepEqual((await ask({ scope: 'write' })).slice(0, 1), [403])
  assert.deepEqual((await ask({ role: 'admin' })).slice(0, 1), [403])
  assert.deepEqual((await ask({ role: 'admin', scope: 'write' }, '{"n":"x"}')).slice(0, 1), [422])
  assert.equal((await app.request('http://api.example/admin/users', post('{"n":1}'))).status, 401)
  await guarded.close()
})

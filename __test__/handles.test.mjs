// A number names one guard, handler or ticket for ever, and what it names is given back once.

import test from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import net from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { GuardError, createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { loadShim, packageFolder } from './helpers/copies.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const native = createRequire(import.meta.url)('../native.js')
setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')

// As many as 12 bits count: after that the numbers of a slot once began again.
const GENERATIONS = 4096
const BARE = { rateLimit: false, headers: false }
const KEY = '192.0.2.1'
const closed = (error) => error instanceof GuardError && error.code === 'ERR_CLOSED'
const plain = (handler) => (req, res) => handler(req, res, () => res.end('passed'))

/**
 * Opens and closes guards until a slot of the first ones has had `GENERATIONS` of them; the last
 * ones stay open.
 */
function reuseSlots(count, config) {
  for (let round = 1; round < GENERATIONS; round += 1) {
    const guards = Array.from({ length: count }, () => createGuard(BARE))
    for (const guard of guards) guard.securityStack()
    for (const guard of guards.toReversed()) void guard.close()
  }
  const last = Array.from({ length: count }, () => createGuard(config))
  return last.map((guard) => ({ guard, handler: guard.securityStack() }))
}

test('the handler of a closed guard refuses, however many guards were built since', async () => {
  const guard = createGuard({ ...BARE, jwt: { ...jwt, issuer: 'https://tenant-a.example' } })
  const [handler] = guard.securityStack()
  await guard.close()
  const [other] = reuseSlots(1, BARE)
  await serve(plain(handler), async (send) => {
    const answer = await send()
    assert.deepEqual([answer.status, answer.json?.code], [503, 'guard_closed'], answer.text)
  })
  await serve(plain(other.handler), async (send) => assert.equal((await send()).text, 'passed'))
  await other.guard.close()
})

test('a closed guard verifies no token, however many guards were built since', async () => {
  const guard = createGuard({ ...BARE, jwt })
  await guard.close()
  const [other] = reuseSlots(1, { ...BARE, jwt })
  const { accessToken } = await other.guard.tokens.issue({ sub: 'ada' })
  assert.equal((await other.guard.tokens.verify(accessToken)).sub, 'ada')
  await assert.rejects(guard.tokens.verify(accessToken), closed)
  await other.guard.close()
})

test('guards that are closed again take nothing from the guards that were built since', async () => {
  const old = Array.from({ length: 8 }, () => createGuard(BARE))
  for (const guard of old) guard.securityStack()
  for (const guard of old.toReversed()) await guard.close()
  const live = reuseSlots(8, BARE)
  for (const guard of old) await guard.close()
  // The collector is the other one that asks for it.
  old.length = 0
  for (let i = 0; i < 5; i += 1) {
    gc()
    await new Promise(setImmediate)
  }
  for (const { handler } of live) {
    await serve(plain(handler), async (send) => assert.equal((await send()).status, 200))
  }
  for (const { guard } of live) await guard.close()
})

test('every call of a closed guard says that it is closed', async () => {
  const guard = createGuard({ jwt: { ...jwt, refresh: true }, policy: { policies: { 'a.rego': 'package a\ndefault allow = false\n' }, query: 'data.a.allow' } })
  const { accessToken, refreshToken } = await guard.tokens.issue({ sub: 'ada' })
  await guard.close()
  await guard.close()
  const calls = {
    'limits.consume': () => guard.limits.consume('default', KEY),
    'limits.get': () => guard.limits.get('default', KEY),
    'limits.penalize': () => guard.limits.penalize('default', KEY),
    'limits.reward': () => guard.limits.reward('default', KEY),
    'limits.block': () => guard.limits.block('default', KEY, '1m'),
    'limits.block of a client': () => guard.limits.block(KEY, '1m'),
    'limits.allow': () => guard.limits.allow(KEY, '1m'),
    'limits.unblock': () => guard.limits.unblock(KEY),
    'limits.set': () => guard.limits.set({ name: 'default', limit: 1 }),
    'limits.signal': () => guard.limits.signal(KEY, { factor: 0.5, ttl: '1m' }),
    'limits.reset': () => guard.limits.reset('default', KEY),
    'tokens.issue': () => guard.tokens.issue({ sub: 'ada' }),
    'tokens.verify': () => guard.tokens.verify(accessToken),
    'tokens.refresh': () => guard.tokens.refresh(refreshToken),
    'tokens.jwks': async () => guard.tokens.jwks(),
    'revoke.token': () => guard.revoke.token(accessToken),
    'revoke.subject': () => guard.revoke.subject('ada'),
    'revoke.session': () => guard.revoke.session('s'),
    'revoke.key': () => guard.revoke.key('k'),
    'policy.evaluate': () => guard.policy.evaluate({}),
    health: async () => guard.health(),
    ready: () => guard.ready(),
    securityStack: async () => guard.securityStack(),
    headers: async () => guard.headers(),
    rateLimit: async () => guard.rateLimit(),
    authenticate: async () => guard.authenticate(),
    authorize: async () => guard.authorize(),
    require: async () => guard.require(),
    validate: async () => guard.validate({ body: { type: 'object' } }),
    fromOpenApi: async () => guard.fromOpenApi({ openapi: '3.1.0', info: { title: 'a', version: '1' }, paths: {} })
  }
  for (const [name, call] of Object.entries(calls)) await assert.rejects(call(), closed, name)
})

for (const [name, express] of expresses) {
  test(`${name}: a request whose body is on its way when the guard closes is answered, and the next one is refused`, async () => {
    const guard = createGuard({ rateLimit: { name: 'uploads', concurrent: 2 } })
    const app = express()
    app.use(guard.securityStack(), (req, res) => res.json(req.body))
    await serve(app, async (send, { port }) => {
      const socket = net.connect(port, '127.0.0.1')
      socket.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{"a"')
      await waitUntil('it has its place', async () => (await guard.limits.get('uploads', '127.0.0.1')).remaining < 2)
      await guard.close()
      socket.write(':1}')
      let text = ''
      for await (const chunk of socket) text += chunk
      assert.match(text, /^HTTP\/1\.1 200 /)
      assert.match(text, /\{"a":1\}$/)
      assert.equal((await send(json({}))).json.code, 'guard_closed')
    })
  })
}

test('a call and a request that wait for Redis when the guard closes are answered', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const config = { store: { redis: redis.url }, rateLimit: { name: 'api', limit: 10, window: '300d', algorithm: 'fixed-window', exact: true } }
  const [guard, other] = [createGuard(config), createGuard(config)]
  await Promise.all([guard.ready(), other.ready()])
  const [handler] = guard.securityStack()
  let entered
  const waits = new Promise((resolve) => (entered = resolve))
  const listener = (req, res) => {
    handler(req, res, () => res.end('passed'))
    entered()
  }
  await serve(listener, async (send) => {
    const request = send()
    await waits
    const call = guard.limits.consume('api', KEY)
    await guard.close()
    assert.equal((await request).text, 'passed')
    assert.equal((await call).remaining, 9)
    await assert.rejects(guard.limits.consume('api', KEY), closed)
    assert.equal((await other.limits.consume('api', KEY)).remaining, 8, 'the other guard over this Redis goes on')
  })
  await other.close()
  // Nobody listens any more; the next guard does again.
  const next = createGuard(config)
  await next.ready()
  assert.equal((await next.limits.consume('api', KEY)).remaining, 7)
  await next.close()
})

test('closing one of two guards that share a memory store leaves the other one its counts', async () => {
  const config = { store: { memory: { shared: 'handles' } }, rateLimit: { name: 'api', limit: 10, window: '300d', algorithm: 'fixed-window' } }
  const [one, two] = [createGuard(config), createGuard(config)]
  await one.limits.consume('api', KEY, 3)
  await one.close()
  assert.equal((await two.limits.get('api', KEY)).remaining, 7)
  await two.close()
})

test('the document of a closed guard refuses every path, however many were read since', async () => {
  const doc = { openapi: '3.1.0', info: { title: 'a', version: '1' }, paths: { '/open': { get: { responses: {} } } } }
  const guard = createGuard(BARE)
  const { handler } = guard.fromOpenApi(doc)
  await serve(plain(handler), async (send) => assert.equal((await send({ path: '/other' })).text, 'passed'))
  await guard.close()
  const next = createGuard(BARE)
  next.fromOpenApi(doc)
  await serve(plain(handler), async (send) => {
    for (const path of ['/open', '/other']) {
      const answer = await send({ path })
      assert.deepEqual([answer.status, answer.json?.code], [503, 'guard_closed'], path)
    }
  })
  await next.close()
})

/** Runs `make`, which holds on to nothing, and gives what `native[name]` answered in it. */
function answersOf(name, make) {
  const answers = []
  const real = native[name]
  native[name] = (...args) => {
    const answer = real(...args)
    answers.push(JSON.parse(answer).ok)
    return answer
  }
  try {
    make()
  } finally {
    native[name] = real
  }
  return answers
}

const isOpen = (guard) => JSON.parse(native.health(guard)).error?.code !== 'ERR_CLOSED'
const collectedSoon = (what, gone) => waitUntil(what, () => (gc(), gone()))

test('handlers that are built for each request go with it', async () => {
  const guard = createGuard({ ...BARE, jwt })
  const built = answersOf('stack', () => {
    for (let i = 0; i < 100; i += 1) guard.require({ scope: `s${i}` })
  })
  assert.equal(built.length, 100)
  const head = '7\nGET\n/\n192.0.2.1\n\n0\n'
  const isKnown = ({ stack }) => !native.decide(stack, head).includes('guard_closed')
  assert.ok(built.some(isKnown))
  await collectedSoon('the handlers to be collected', () => !built.some(isKnown))
  assert.equal(guard.health().ready, true)
  await guard.close()
})

test('a copy of the shim that is dropped gives its guards back', async () => {
  const guards = answersOf('createGuard', () => {
    const { createGuard } = loadShim()
    for (let i = 0; i < 10; i += 1) createGuard(BARE).securityStack()
  })
  assert.equal(guards.length, 10)
  await collectedSoon('the guards to be collected', () => !guards.some(({ guard }) => isOpen(guard)))
})

test('a worker thread that ends gives its guards back', async () => {
  const program = `
const { parentPort } = require('node:worker_threads')
const required = require('node:module').createRequire(${JSON.stringify(`${packageFolder}/x.js`)})
required('./index.js').createGuard().securityStack()
parentPort.postMessage(JSON.parse(required('./native.js').createGuard('{}')).ok.guard)
setInterval(() => {}, 1000)`
  const worker = new Worker(program, { eval: true })
  const [guard] = await once(worker, 'message')
  assert.equal(isOpen(guard), true)
  await worker.terminate()
  await waitUntil('the guard is released', () => !isOpen(guard))
})

test('what is no number of a guard or a ticket names nothing', () => {
  const guard = createGuard(BARE)
  for (const number of [-1, 0.5, 2 ** 32, 2 ** 53, 1e300, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.equal(isOpen(number), false, String(number))
    native.release(number)
  }
  for (const number of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => native.resumeWithStore(number), { code: 'ERR_INTERNAL' })
  assert.match(native.resumeWithStore(2 ** 32), /^2\n500\n/)
  assert.equal(guard.health().ready, true)
})

test('requests over Redis are answered with tickets beyond 32 bits', async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const guard = createGuard({ store: { redis: redis.url }, rateLimit: { name: 'api', limit: 1_000_000, window: '1h', exact: true }, jwt: { ...jwt, optional: true } })
  await guard.ready()
  const [handler] = guard.securityStack()
  const tickets = []
  const settle = native.resumeWithStore
  native.resumeWithStore = (ticket) => (tickets.push(ticket), settle(ticket))
  t.after(() => (native.resumeWithStore = settle))
  // Each takes a ticket of the slot that was free last.
  for (let i = 0; i < 5000; i += 1) await guard.limits.get('api', KEY)
  await serve(plain(handler), async (send) => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => send({ headers: bearer('x') })))
    assert.ok(answers.every(({ status }) => status === 401))
    const passed = await Promise.all(Array.from({ length: 20 }, () => send()))
    assert.deepEqual(passed.map(({ status }) => status), Array.from({ length: 20 }, () => 200))
  })
  assert.equal(new Set(tickets).size, tickets.length, 'no ticket came twice')
  assert.ok(tickets.some((ticket) => ticket > 2 ** 32), 'some are beyond 32 bits')
  await guard.close()
})

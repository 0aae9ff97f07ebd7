// What is asked before a wait is asked again behind it: a request that waits has a token that ends,
// or a client that is blocked, in the meantime.

import test, { after } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const redis = await startRedis()
after(() => redis.stop())

/**
 * Hosts: each mounts handlers in turn, with one behind them that answers, and notes that it has
 * run.
 */
const hosts = [
  ...expresses.map(([name, express]) => [
    name,
    (handlers, ran) => {
      const app = express()
      app.use(...handlers, (req, res) => {
        ran.push(req.method)
        res.json({ sub: req.user?.sub })
      })
      return app
    }
  ]),
  [
    'node:http',
    (handlers, ran) => (req, res) => {
      const step = (i) => {
        if (i < handlers.length) return handlers[i](req, res, () => step(i + 1))
        ran.push(req.method)
        return res.end('{}')
      }
      step(0)
    }
  ]
]

/** What can happen to a token or a client, and the answer to whom it happens. */
const EVENTS = {
  revoked: { code: 'token_revoked', status: 401, happen: (guard, token) => guard.revoke.token(token) },
  'logged out': { code: 'token_revoked', status: 401, happen: (guard) => guard.revoke.subject('ada') },
  blocked: { code: 'client_blocked', status: 403, happen: (guard) => guard.limits.block('127.0.0.1', '1h') },
  'a blocked user': { code: 'client_blocked', status: 403, happen: (guard) => guard.limits.block({ user: 'ada' }, '1h') },
  expired: {
    code: 'token_expired',
    status: 401,
    expiresIn: '1s',
    happen: (guard, token) => {
      const { exp } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))
      return waitUntil('it has expired', () => Date.now() > exp * 1000 + 20)
    }
  }
}

const open = (more = {}) => createGuard({ rateLimit: false, ...more, jwt: { ...jwt, clockTolerance: '0s', ...more.jwt } })
const issue = async (guard, expiresIn = '5m') => (await guard.tokens.issue({ sub: 'ada', scope: 'write' }, { expiresIn })).accessToken

/** A handler in front of the others, and what resolves when a request has come to it. */
function gate() {
  let arrived
  const reached = new Promise((resolve) => (arrived = resolve))
  return { reached, handler: (req, res, next) => (next(), setImmediate(arrived)) }
}

/** Sends half of a JSON body, and the rest when `happen` is done; the answer. */
async function trickle(port, token, reached, happen) {
  const headers = { 'content-type': 'application/json', 'content-length': 8, ...bearer(token) }
  const request = http.request({ host: '127.0.0.1', port, method: 'POST', headers, agent: false })
  const answered = once(request, 'response')
  request.write('{"a"')
  await reached
  await happen()
  // A wait that deserves the name.
  await sleep(30)
  request.end(': 1}')
  const [response] = await answered
  const chunks = await response.toArray()
  return { status: response.statusCode, json: JSON.parse(Buffer.concat(chunks).toString()) }
}

for (const [name, host] of hosts) {
  for (const [event, { code, status, expiresIn, happen }] of Object.entries(EVENTS)) {
    test(`${name}: ${event} while the body is read`, async () => {
      const guard = open()
      const { reached, handler } = gate()
      const ran = []
      await serve(host([handler, ...guard.securityStack()], ran), async (send, { port }) => {
        const token = await issue(guard, expiresIn)
        const answer = await trickle(port, token, reached, () => happen(guard, token))
        assert.deepEqual([answer.status, answer.json.code, ran], [status, code, []])
      })
    })

    test(`${name}: ${event} while a limit holds the request back`, async () => {
      const limit = { name: 'slow', limit: 1, window: '2s', onExceed: 'delay', maxDelay: '10s' }
      const guard = open({ rateLimit: limit })
      let count = 0
      const { reached, handler } = gate()
      const ran = []
      const counting = (req, res, next) => (++count === 2 ? handler(req, res, next) : next())
      await serve(host([counting, ...guard.securityStack()], ran), async (send) => {
        const token = await issue(guard, expiresIn)
        assert.equal((await send({ headers: bearer(token) })).status, 200)
        const waiting = send({ headers: bearer(token) })
        await reached
        await happen(guard, token)
        const answer = await waiting
        assert.deepEqual([answer.status, answer.json.code, ran], [status, code, ['GET']])
      })
    })
  }

  test(`${name}: a layer that reads the body asks the layer again that knows the token`, async () => {
    for (const [event, layers] of [
      ['revoked', (guard) => [guard.require({ scope: 'write' })]],
      ['expired', (guard) => [guard.authenticate()]],
      ['blocked', (guard) => [guard.rateLimit({ name: 'many', limit: 100, window: '1m' })]]
    ]) {
      const { code, status, expiresIn, happen } = EVENTS[event]
      const guard = open()
      const { reached, handler } = gate()
      const ran = []
      const validate = guard.validate({ body: { type: 'object' } })
      await serve(host([...layers(guard), handler, validate], ran), async (send, { port }) => {
        const token = await issue(guard, expiresIn)
        const answer = await trickle(port, token, reached, () => happen(guard, token))
        assert.deepEqual([answer.status, answer.json.code, ran], [status, code, []], event)
      })
    }
  })

  test(`${name}: whoever waits and stays welcome passes`, async () => {
    const guard = open({ rateLimit: { name: 'slow', limit: 1, window: '200ms', onExceed: 'delay', maxDelay: '10s' } })
    const { reached, handler } = gate()
    const ran = []
    const validate = guard.validate({ body: { type: 'object' } })
    const layers = [handler, ...guard.securityStack({ payload: false }), (req, res, next) => (req.method === 'GET' ? next() : validate(req, res, next))]
    await serve(host(layers, ran), async (send, { port }) => {
      const token = await issue(guard)
      const answers = await Promise.all([1, 2, 3].map(() => send({ headers: bearer(token) })))
      assert.deepEqual(answers.map((answer) => answer.status), [200, 200, 200])
      assert.equal((await trickle(port, token, reached, () => {})).status, 200)
      assert.deepEqual(ran, ['GET', 'GET', 'GET', 'POST'])
    })
  })

  test(`${name}: revoked while the shared store counts the request`, async (t) => {
    const prefix = `counts-${name.replaceAll(/\W/g, '')}:`
    const guard = open({
      rateLimit: { name: 'exact', limit: 100, window: '1m', exact: true },
      store: { redis: { url: redis.url, prefix, timeout: '5s' } }
    })
    t.after(() => guard.close())
    await guard.ready()
    const { reached, handler } = gate()
    const ran = []
    await serve(host([handler, ...guard.securityStack()], ran), async (send) => {
      const token = await issue(guard)
      await redis.command('CLIENT', 'PAUSE', '500')
      const waiting = send({ headers: bearer(token) })
      await reached
      // It holds here at once; the others are told when the server answers again.
      const revoked = guard.revoke.token(token)
      const answer = await waiting
      await revoked
      assert.deepEqual([answer.status, answer.json.code, ran], [401, 'token_revoked', []])
    })
  })

  test(`${name}: a route that wants the store's own word asks the store again behind a slow body`, async (t) => {
    const prefix = `fresh-${name.replaceAll(/\W/g, '')}:`
    const config = { store: { redis: { url: redis.url, prefix, timeout: '5s' } } }
    const guard = open({ ...config, revocation: { mode: 'strict' } })
    t.after(() => guard.close())
    await guard.ready()
    const { reached, handler } = gate()
    const ran = []
    await serve(host([handler, ...guard.securityStack()], ran), async (send, { port }) => {
      const token = await issue(guard)
      const passed = await trickle(port, token, reached, () => sleep(1100))
      assert.deepEqual([passed.status, ran], [200, ['POST']])
      // Nobody answers for as long as the store is asked: that is no pass.
      const again = await trickle(port, token, sleep(50), async () => {
        await sleep(1100)
        await redis.command('CLIENT', 'PAUSE', '6000', 'ALL')
      })
      await redis.command('CLIENT', 'UNPAUSE')
      assert.deepEqual([again.status, again.json.code, ran], [503, 'revocation_stale', ['POST']])
    })
  })

  test(`${name}: revoked while a function of the application says what to count by`, async () => {
    let happen
    const key = () => {
      happen()
      // Nothing else runs meanwhile: the wait is in the function itself.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30)
      return 'all'
    }
    const guard = open({ rateLimit: { name: 'by', limit: 100, window: '1m', key } })
    const ran = []
    await serve(host([...guard.securityStack()], ran), async (send) => {
      const token = await issue(guard)
      happen = () => void guard.revoke.token(token)
      const answer = await send({ headers: bearer(token) })
      assert.deepEqual([answer.status, answer.json.code, ran], [401, 'token_revoked', []])
    })
  })

  test(`${name}: revoked while another layer asks which origins may`, async () => {
    const guard = open()
    let asked
    const reached = new Promise((resolve) => (asked = resolve))
    let answer
    const origins = () => (asked(), new Promise((resolve) => (answer = resolve)))
    const ran = []
    await serve(host([guard.authenticate(), guard.cors({ origins })], ran), async (send) => {
      const token = await issue(guard)
      const waiting = send({ headers: { ...bearer(token), origin: 'https://app.example.com' } })
      await reached
      await guard.revoke.token(token)
      answer(true)
      const { status, json } = await waiting
      assert.deepEqual([status, json.code, ran], [401, 'token_revoked', []])
    })
  })
}

test('OpenAPI: revoked while a security function of the application is asked', async () => {
  const [, express] = expresses[0]
  const guard = open()
  const document = {
    openapi: '3.1.0',
    info: { title: 'Orders', version: '1' },
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        key: { type: 'apiKey', in: 'header', name: 'x-api-key' }
      }
    },
    paths: { '/orders': { get: { security: [{ token: [], key: [] }], responses: { 200: { description: 'them' } } } } }
  }
  let happen = () => {}
  const key = async () => {
    await happen()
    await sleep(30)
    return true
  }
  const api = guard.fromOpenApi(document, { security: { token: 'token', key } })
  const app = express()
  const ran = []
  app.use(api.handler, (req, res) => {
    ran.push(req.path)
    res.json({})
  })
  await serve(app, async (send) => {
    const token = await issue(guard)
    const get = () => send({ path: '/orders', headers: { ...bearer(token), 'x-api-key': 'k' } })
    assert.equal((await get()).status, 200)
    happen = () => guard.revoke.token(token)
    const answer = await get()
    assert.deepEqual([answer.status, answer.json.code, ran], [401, 'token_revoked', ['/orders']])
  })
})

test('a guard without a store asks the store of another guard again, whose word a route wants', async () => {
  const config = { rateLimit: false, jwt: { issuer: 'https://id.example', audience: 'api', secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV' } }
  const here = createGuard({ rateLimit: false })
  const there = createGuard({ ...config, store: { redis: { url: redis.url, prefix: 'twoguards:' } } })
  await there.ready()
  const { accessToken } = await there.tokens.issue({ sub: 'ada' })
  const app = expresses[0][1]().post('/', there.require({ fresh: true }), here.validate({ body: { type: 'object' } }), (req, res) => res.json(req.body))
  await serve(app, async (send, { port }) => {
    const status = await new Promise((resolve, reject) => {
      const headers = { 'content-type': 'application/json', 'content-length': 2, authorization: `Bearer ${accessToken}` }
      const request = http.request({ port, host: '127.0.0.1', method: 'POST', headers, agent: false }, (response) => resolve(response.resume().statusCode))
      request.on('error', reject)
      request.write('{')
      setTimeout(() => request.end('}'), 1300)
    })
    assert.equal(status, 200)
  })
  await Promise.all([here.close(), there.close()])
})

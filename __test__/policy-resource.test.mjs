// The object of a request for the policy: `input` of a route, on every host.

import test, { after, describe } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, send } from './helpers/http.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'

const modules = {
  'orders.rego': `package orders
    default edit := false
    edit if {
      input.resource.owner == input.user.sub
      input.method == "PUT"
    }
    default create := false
    create if input.resource == null
    default whole := false
    whole if input.resource == {"owner": "ada"}
    default shout := false
    shout if {
      input.body.loud
      input.resource.owner == input.user.sub
    }`
}
const open = (more = {}) => createGuard({ rateLimit: false, jwt, policy: { policies: { 'orders.rego': modules['orders.rego'].replace(/\s+default shout[^]*/, '') }, query: 'data.orders.edit' }, ...more })
const tokenOf = async (guard, sub = 'ada') => bearer((await guard.tokens.issue({ sub })).accessToken)

/** Serves a listener until the tests are over. */
async function serve(listener) {
  const server = http.createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  after(() => (server.closeAllConnections(), server.close()))
  return server.address().port
}

/** Serves a stack whose function for the resource settles `looking` and then waits for `goOn`. */
async function serveWaiting(guard) {
  const app = { ran: false }
  let looks
  app.looking = new Promise((resolve) => (looks = resolve))
  const input = () => (looks(), new Promise((resolve) => (app.goOn = resolve)))
  const stack = guard.securityStack({ policy: { input } })
  app.port = await serve((req, res) => stack(req, res, () => ((app.ran = true), res.end())))
  return app
}

/** The address of a request, whatever the host gives to the application's function. */
const idOf = (request) => new URL(request.url ?? request.req.url, 'http://host').pathname.split('/').at(-1)

const rows = new Map([['7', { owner: 'ada' }], ['8', { owner: 'eve' }]])
const asked = []
const ROUTES = [
  ['put', '/orders/:id', { policy: { input: async (req) => (asked.push(idOf(req)), await sleep(1), { resource: rows.get(idOf(req)) }) } }, () => [200, {}]],
  ['put', '/sync/:id', { policy: { input: (req) => ({ resource: rows.get(idOf(req)) ?? null }) } }, () => [200, {}]],
  ['put', '/unasked/:id', { policy: { query: 'data.orders.create' } }, () => [200, {}]],
  ['put', '/nothing/:id', { policy: { query: 'data.orders.create', input: () => null } }, () => [200, {}]],
  ['put', '/void/:id', { policy: { query: 'data.orders.create', input: async () => {} } }, () => [200, {}]],
  ['put', '/throws/:id', { policy: { input: () => { throw new Error('no such table') } } }, () => [200, {}]],
  ['put', '/rejects/:id', { policy: { input: async () => { throw new Error('no such table') } } }, () => [200, {}]],
  ['put', '/late/:id', { policy: { input: () => new Promise(() => {}), timeout: '50ms' } }, () => [200, {}]],
  ['put', '/strange/:id', { policy: { query: 'data.orders.create', input: async () => ({ resource: null, user: { sub: 'ada' } }) } }, () => [200, {}]],
  ['put', '/instance/:id', { policy: { input: async () => ({ resource: new (class Row { owner = 'ada' })() }) } }, () => [200, {}]],
  ['put', '/list/:id', { policy: { input: async () => [{ owner: 'ada' }] } }, () => [200, {}]]
]

for (const [name, start] of hosts) {
  describe(`the object of a request on ${name}`, () => {
    const events = []
    const guard = open({ log: (event) => events.push(event) })
    const ask = serveRoutes(start, guard, ROUTES)
    const put = async (path, headers) => await ask(path, { method: 'PUT', headers: headers ?? await tokenOf(guard) })
    const status = async (path) => (await put(path)).status

    test('its owner may edit it, and nobody else', async () => {
      for (let i = 0; i < 3; i += 1) {
        assert.equal(await status('/orders/7'), 200)
        assert.equal(await status('/orders/8'), 403)
        assert.equal((await put('/orders/7', await tokenOf(guard, 'eve'))).status, 403)
        assert.equal(await status('/orders/9'), 403)
        assert.equal(await status('/sync/7'), 200)
        assert.equal(await status('/sync/9'), 403)
      }
    })

    test('nobody is asked for a request that an earlier layer refuses', async () => {
      asked.length = 0
      assert.equal((await put('/orders/7', {})).status, 401)
      assert.deepEqual(asked, [])
    })

    test('the object is null where there is none, and undefined where nobody is asked', async () => {
      assert.equal(await status('/nothing/1'), 200)
      assert.equal(await status('/void/1'), 200)
      assert.equal(await status('/unasked/1'), 403)
    })

    test('a function without an answer is a fault', async () => {
      for (const [path, reason] of [['throws', 'resource_failed'], ['rejects', 'resource_failed'], ['late', 'resource_timeout']]) {
        events.length = 0
        const { status, json, headers } = await put(`/${path}/7`)
        assert.deepEqual([status, json.code, headers['retry-after']], [503, 'policy_fault', '1'])
        assert.equal(JSON.stringify(json).includes('table'), false)
        const { layer, reason: known, reasons } = events.at(-1)
        assert.deepEqual([layer, known, reasons], ['policy', reason, [`policy fault: ${reason}`]])
      }
    })

    test('an answer that is not understood is refused, and sets nothing of the input', async () => {
      for (const path of ['strange', 'instance', 'list']) {
        const { status, json } = await put(`/${path}/7`)
        assert.deepEqual([status, json.code], [500, 'internal_error'])
      }
    })
  })
}

for (const [name, express] of expresses) {
  test(`${name}: the layer alone asks, with the user and the parameters of the route`, async () => {
    const guard = open()
    const app = express()
    const seen = []
    const input = async (req) => {
      seen.push([req.user.sub, req.params.id, guard.clientKey(req)])
      return { resource: rows.get(req.params.id) }
    }
    app.put('/orders/:id', guard.authorize({ query: 'data.orders.edit', input, timeout: '2s' }), (req, res) => res.end())
    const port = await serve(app)
      const headers = await tokenOf(guard)
    assert.equal((await send(port, { method: 'PUT', path: '/orders/7', headers })).status, 200)
    assert.equal((await send(port, { method: 'PUT', path: '/orders/8', headers })).status, 403)
    assert.deepEqual(seen, [['ada', '7', '127.0.0.1'], ['ada', '8', '127.0.0.1']])
    await guard.close()
  })
}

test('what revokes the token while the function looks ends the request', async () => {
  const guard = open()
  const app = await serveWaiting(guard)
  const answer = send(app.port, { method: 'PUT', path: '/7', headers: await tokenOf(guard) })
  await app.looking
  await guard.revoke.subject('ada')
  await sleep(20)
  app.goOn({ resource: { owner: 'ada' } })
  assert.deepEqual([(await answer).json.code, app.ran], ['token_revoked', false])
  await guard.close()
})

test('a client that goes while the function looks reaches no handler, and its late answer nothing', async () => {
  const guard = open()
  const app = await serveWaiting(guard)
  const request = http.request({ port: app.port, host: '127.0.0.1', method: 'PUT', path: '/7', headers: await tokenOf(guard) })
  request.on('error', () => {})
  request.end()
  await app.looking
  request.destroy()
  await sleep(50)
  app.goOn({ resource: { owner: 'ada' } })
  await sleep(20)
  assert.equal(app.ran, false)
  await guard.close()
})

test('a policy that reads the body judges it with the object that was asked for before', async () => {
  const guard = open({ policy: { policies: modules, query: 'data.orders.shout' } })
  const stack = guard.securityStack({ policy: { input: async () => ({ resource: { owner: 'ada' } }) } })
  const port = await serve((req, res) => stack(req, res, () => res.end('done')))
  const post = async (sub, body) => {
    const headers = { ...await tokenOf(guard, sub), 'content-type': 'application/json' }
    return (await send(port, { method: 'POST', path: '/', headers, body: JSON.stringify(body) })).status
  }
  assert.equal(await post('ada', { loud: true }), 200)
  assert.equal(await post('ada', { loud: false }), 403)
  assert.equal(await post('eve', { loud: true }), 403)
  await guard.close()
})

test('an object that is too large or too deep is refused', async () => {
  const guard = open()
  const results = [{ owner: 'x'.repeat(70_000) }, { owner: 'ada', text: 'x'.repeat(2_000_000) }, JSON.parse('{"a":'.repeat(150) + '1' + '}'.repeat(150))]
  const path = (i) => `/${i}`
  const stack = guard.securityStack({ policy: { query: 'data.orders.whole', input: (req) => ({ resource: results[Number(req.url.slice(1))] }) } })
  const port = await serve((req, res) => stack(req, res, () => res.end()))
  for (let i = 0; i < results.length; i += 1) {
    const { status, json } = await send(port, { path: path(i), headers: await tokenOf(guard) })
    assert.deepEqual([status, json.code], [403, 'policy_denied'])
  }
  await guard.close()
})

test('a handshake is judged with its object', async () => {
  const guard = open({ policy: { policies: { 'a.rego': 'package a\ndefault allow := false\nallow if input.resource.owner == input.user.sub' }, query: 'data.a.allow' }, jwt: { ...jwt, from: ['header'] } })
  const stack = guard.securityStack({ policy: { input: async (req) => ({ resource: rows.get(idOf(req)) }) } })
  const server = http.createServer()
  server.on('upgrade', async (req, socket, head) => {
    if (await guard.upgrade(req, socket, head, stack)) socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  after(() => server.close())
  const shake = async (id) => {
    const headers = { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', ...await tokenOf(guard) }
    const request = http.request({ port: server.address().port, host: '127.0.0.1', path: `/${id}`, headers, agent: false })
    request.end()
    return await new Promise((resolve, reject) => {
      request.on('response', (response) => (response.resume(), resolve(response.statusCode)))
      request.on('upgrade', (response, socket) => (socket.destroy(), resolve(response.statusCode)))
      request.on('error', reject)
    })
  }
  assert.deepEqual([await shake('7'), await shake('8'), await shake('9')], [101, 403, 403])
  await guard.close()
})

test('options that would do nothing are refused when the stack is built', () => {
  const guard = open()
  const input = () => null
  const build = (policy, code, path) => {
    assert.throws(() => guard.securityStack({ policy }), { code, path })
    assert.throws(() => guard.authorize(policy), { code, path })
  }
  build({ input: 'resource' }, 'ERR_INVALID_OPTION', 'policy.input')
  build({ timeout: '1s' }, 'ERR_CONFLICTING_OPTIONS', 'policy.timeout')
  build({ input, timeout: '1ms' }, 'ERR_INVALID_OPTION', 'policy.timeout')
  build({ input, query: 'data.orders.none' }, 'ERR_INVALID_OPTION', 'policy.query')
  const blind = createGuard({ policy: { policies: { 'a.rego': 'package a\ndefault allow := false' }, query: 'data.a.allow' } })
  assert.throws(() => blind.authorize({ input }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'policy.input' })
})

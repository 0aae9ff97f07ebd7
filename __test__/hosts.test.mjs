// The same requests get the same answers on every host: Express, node:http, Fastify, Hono, and any
// other by `guard.check`.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import net from 'node:net'
import { once } from 'node:events'
import { gzipSync } from 'node:zlib'
import { createGuard } from 'keepstone'
import { bearer, json } from './helpers/http.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { request, sendBytes } from './helpers/raw.mjs'

const secret = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV'
const anyone = { jwt: { optional: true } }
const order = { type: 'object', properties: { sku: { type: 'string' }, n: { type: 'integer', minimum: 1 } }, required: ['sku', 'n'] }
const answer = { type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] }
const limited = (name, more) => ({ ...anyone, rateLimit: { name, limit: 2, window: '1h', ...more } })

/** The guard of one host, its routes, and what the handlers hold back. */
function api() {
  const guard = createGuard({
    jwt: { issuer: 'https://i.example', audience: 'api', secret },
    cors: { origins: ['https://app.example'], credentials: true },
    rateLimit: false,
    payload: { maxBytes: '2kb', inflate: true }
  })
  const held = []
  const routes = [
    ['get', '/public', anyone, ({ guard }) => [200, { client: guard.client }]],
    ['get', '/reports', { require: { scope: 'reports:read', role: ['auditor', 'admin'] } }, ({ user }) => [200, { sub: user.sub }]],
    ['get', '/me', {}, ({ user, guard }) => [200, { sub: user.sub, alg: guard.token.alg }]],
    ['post', '/orders', { ...anyone, body: order }, ({ body }) => [201, body]],
    ['get', '/items/:id', { ...anyone, params: { type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] } }, () => [200, {}]],
    ['get', '/search', { ...anyone, query: { type: 'object', properties: { page: { type: 'integer' } } } }, () => [200, {}]],
    ['get', '/limited', limited('limited'), () => [200, {}]],
    ['get', '/failing', limited('failing', { count: 'failed' }), () => [400, {}]],
    ['get', '/stripped', { ...anyone, response: { 200: answer } }, () => [200, { id: 1, secret: 'x' }]],
    ['get', '/mismatch', { ...anyone, response: { 200: answer }, onResponse: 'fail' }, () => [200, { id: 'x' }]],
    ['get', '/slow', { ...anyone, rateLimit: { name: 'slow', concurrent: 1 } }, () => new Promise((resolve) => held.push(() => resolve([200, {}])))]
  ]
  return { guard, routes, held }
}

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const { guard, routes, held } = api()
    const ask = serveRoutes(start, guard, routes)
    const tokenText = async () => (await guard.tokens.issue({ sub: 'ada' })).accessToken
    const isRefusal = (answered, status, code) => {
      assert.equal(answered.status, status, answered.text)
      assert.equal(answered.json?.code, code)
      assert.equal(answered.headers['content-type'], 'application/problem+json')
      assert.equal(answered.headers['x-content-type-options'], 'nosniff')
    }

    test('a request passes, with the security headers on its answer', async () => {
      const { status, headers, json } = await ask('/public')
      assert.deepEqual([status, json], [200, { client: '127.0.0.1' }])
      for (const header of ['content-security-policy', 'referrer-policy', 'x-frame-options']) assert.ok(headers[header], header)
      assert.equal(headers['x-powered-by'], undefined)
    })
    test('nobody chooses his address by a header', async () => {
      assert.equal((await ask('/public', { headers: { 'x-forwarded-for': '203.0.113.9' } })).json.client, '127.0.0.1')
    })
    test('HEAD is answered as GET is, without a body', async () => {
      const { status, text, headers } = await ask('/public', { method: 'HEAD' })
      assert.deepEqual([status, text, headers['x-content-type-options']], [200, '', 'nosniff'])
    })
    test('an unknown path has the headers of the guard, and needs a token as the others', async () => {
      isRefusal(await ask('/nothing'), 401, 'token_missing')
      assert.equal((await ask('/nothing', { headers: bearer(await tokenText()) })).status, 404)
    })

    test('a route that asks for a token refuses without one, and names the scheme', async () => {
      const answered = await ask('/me')
      isRefusal(answered, 401, 'token_missing')
      assert.match(answered.headers['www-authenticate'], /^Bearer /)
    })
    test('a good token gives the handler its claims', async () => {
      assert.deepEqual((await ask('/me', { headers: bearer(await tokenText()) })).json, { sub: 'ada', alg: 'HS256' })
    })
    test('a route that demands a scope and a role passes who has both, and says which scope is missing', async () => {
      isRefusal(await ask('/reports'), 401, 'token_missing')
      const as = async (claims) => ask('/reports', { headers: bearer((await guard.tokens.issue({ sub: 'ada', ...claims })).accessToken) })
      const poor = await as({ scope: 'reports:write', role: 'admin' })
      isRefusal(poor, 403, 'insufficient_scope')
      assert.match(poor.headers['www-authenticate'], /error="insufficient_scope".*scope="reports:read"/)
      isRefusal(await as({ scope: 'reports:read', role: 'user' }), 403, 'insufficient_role')
      assert.deepEqual((await as({ scope: 'reports:read', role: 'auditor' })).json, { sub: 'ada' })
    })
    for (const [why, code, text] of [
      ['no token at all', 'token_malformed', 'x.y.z'],
      ['signed by nobody', 'token_algorithm', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.'],
    ]) test(`what is ${why} is refused`, async () => {
      assert.equal((await ask('/me', { headers: bearer(text) })).status, 401, code)
    })
    test('a token with another signature is refused', async () => {
      const [head, claims] = (await tokenText()).split('.')
      isRefusal(await ask('/me', { headers: bearer(`${head}.${claims}.${'A'.repeat(43)}`) }), 401, 'token_signature')
    })
    test('a revoked token is refused', async () => {
      const text = await tokenText()
      await guard.revoke.token(text)
      isRefusal(await ask('/me', { headers: bearer(text) }), 401, 'token_revoked')
    })
    test('a bad token is refused also where none is needed', async () => {
      assert.equal((await ask('/public', { headers: bearer('x.y.z') })).status, 401)
    })
    test('two `Authorization` headers are refused', async () => {
      const text = await tokenText()
      const { status } = await sendBytes(ask.port(), request('GET', '/me', [`Authorization: Bearer ${text}`, `Authorization: Bearer ${text}`]))
      assert.ok(status === 400 || status === 401, String(status))
    })

    test('a good body reaches the handler', async () => {
      const answered = await ask('/orders', json({ sku: 'a', n: 2 }))
      assert.deepEqual([answered.status, answered.json], [201, { sku: 'a', n: 2 }])
    })
    test('a body in chunks reaches the handler', async () => {
      const body = '{"sku":"a","n":3}'
      const { status, text } = await sendBytes(ask.port(), request('POST', '/orders', ['Content-Type: application/json', 'Transfer-Encoding: chunked'], `5\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\n\r\n`))
      assert.equal(status, 201)
      assert.match(text, /"n":3/)
    })
    test('a compressed body reaches the handler', async () => {
      const answered = await ask('/orders', json(gzipSync('{"sku":"a","n":4}'), { headers: { 'content-encoding': 'gzip' } }))
      assert.deepEqual([answered.status, answered.json], [201, { sku: 'a', n: 4 }])
    })
    for (const [why, body, status, code, more] of [
      ['has a member too many', { sku: 'a', n: 1, admin: true }, 422, 'validation_failed'],
      ['has a member of another type', { sku: 'a', n: '1' }, 422, 'validation_failed'],
      ['lacks a member', { sku: 'a' }, 422, 'validation_failed'],
      ['is no JSON', '{"sku":', 400, 'payload_syntax'],
      ['has a key twice', '{"sku":"a","n":1,"n":2}', 400, 'duplicate_key'],
      ['would change the prototype', '{"sku":"a","n":1,"__proto__":{"x":1}}', 400, 'forbidden_key'],
      ['is no UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 400, 'payload_syntax'],
      ['is larger than it may be', { sku: 'a'.repeat(3000), n: 1 }, 413, 'payload_too_large'],
      ['is of another type', '<a/>', 415, 'unsupported_media_type', { headers: { 'content-type': 'text/xml' } }],
      ['swells', gzipSync('[' + ' '.repeat(1e6) + ']'), 413, 'payload_too_large', { headers: { 'content-encoding': 'gzip' } }],
      ['is no gzip', 'x'.repeat(40), 400, 'payload_encoding', { headers: { 'content-encoding': 'gzip' } }]
    ]) test(`a body that ${why} is refused`, async () => {
      const answered = await ask('/orders', json(body, more))
      assert.equal(answered.status, status, answered.text)
      assert.equal(answered.json.status, status)
      assert.equal(typeof code, 'string')
    })
    test('the refusal says which member is wrong, and not what was sent', async () => {
      const answered = await ask('/orders', json({ sku: 'hunter2', n: 'hunter2' }))
      assert.deepEqual(answered.json.errors.map(({ pointer }) => pointer), ['#/n'])
      assert.doesNotMatch(answered.text, /hunter2/)
    })

    test('a path parameter is checked', async () => {
      assert.equal((await ask('/items/7')).status, 200)
      isRefusal(await ask('/items/seven'), 422, 'validation_failed')
    })
    test('a query is checked', async () => {
      assert.equal((await ask('/search?page=2')).status, 200)
      isRefusal(await ask('/search?page=two'), 422, 'validation_failed')
    })
    test('an encoded slash in the path is refused', async () => {
      assert.equal((await ask('/items/1%2f2')).status, 400)
    })

    test('a preflight of an origin that may ask is answered', async () => {
      const headers = { origin: 'https://app.example', 'access-control-request-method': 'GET' }
      const answered = await ask('/public', { method: 'OPTIONS', headers })
      assert.deepEqual([answered.status, answered.headers['access-control-allow-origin']], [204, 'https://app.example'])
    })
    test('a preflight of another origin is not', async () => {
      const headers = { origin: 'https://evil.example', 'access-control-request-method': 'GET' }
      const answered = await ask('/public', { method: 'OPTIONS', headers })
      assert.deepEqual([answered.status, answered.headers['access-control-allow-origin']], [403, undefined])
    })
    test('an answer names the origin that may read it, and varies by it', async () => {
      const { headers } = await ask('/public', { headers: { origin: 'https://app.example' } })
      assert.equal(headers['access-control-allow-origin'], 'https://app.example')
      assert.match(headers.vary, /\bOrigin\b/)
    })
    test('a refusal may be read by that origin, too', async () => {
      const { headers } = await ask('/me', { headers: { origin: 'https://app.example' } })
      assert.equal(headers['access-control-allow-origin'], 'https://app.example')
    })

    test('a limit is counted once a request, and refuses with the time to wait', async () => {
      for (const left of [1, 0]) {
        const { status, headers } = await ask('/limited')
        assert.equal(status, 200)
        assert.match(headers.ratelimit, new RegExp(`"limited";r=${left}`))
      }
      const answered = await ask('/limited')
      isRefusal(answered, 429, 'rate_limited')
      assert.ok(Number(answered.headers['retry-after']) > 0)
    })
    test('a limit of failures counts by the status of the answer', async () => {
      for (let i = 0; i < 2; i += 1) assert.equal((await ask('/failing')).status, 400)
      isRefusal(await ask('/failing'), 429, 'rate_limited')
    })
    test('a slot is taken while a request is in flight, and free after its answer', async () => {
      const first = ask('/slow')
      while (held.length === 0) await new Promise(setImmediate)
      assert.equal((await ask('/slow')).status, 429)
      held.shift()()
      assert.equal((await first).status, 200)
      const again = ask('/slow')
      while (held.length === 0) await new Promise(setImmediate)
      held.shift()()
      assert.equal((await again).status, 200)
    })
    test('a slot is free once its client has gone away', async () => {
      const socket = net.connect(ask.port(), '127.0.0.1')
      socket.on('error', () => {})
      socket.write(request('GET', '/slow'))
      while (held.length === 0) await new Promise(setImmediate)
      socket.destroy()
      await once(socket, 'close')
      let status = 429
      for (let i = 0; i < 100 && status === 429; i += 1) {
        await new Promise((resolve) => setTimeout(resolve, 20))
        const again = ask('/slow')
        await Promise.race([again, new Promise((resolve) => setTimeout(resolve, 200))])
        if (held.length > 1) held.pop()()
        status = (await again).status
      }
      assert.equal(status, 200)
      held.splice(0).forEach((release) => release())
    })

    test('members that no schema names are taken off an answer', async () => {
      assert.deepEqual((await ask('/stripped')).json, { id: 1 })
    })
    test('an answer that is not as its schema says is not sent', async () => {
      const answered = await ask('/mismatch')
      assert.deepEqual([answered.status, answered.json.code], [500, 'response_mismatch'])
    })
    test('a request with more headers than the server keeps is refused', async () => {
      const fields = Array.from({ length: 1100 }, (_, i) => `x-${i}: 1`)
      assert.equal((await sendBytes(ask.port(), request('GET', '/public', fields))).status, 431)
    })
    test('a client that goes away in its body is forgotten', async () => {
      const socket = net.connect(ask.port(), '127.0.0.1')
      socket.on('error', () => {})
      socket.write(request('POST', '/orders', ['Content-Type: application/json', 'Content-Length: 100'], '{"sku"'))
      await new Promise((resolve) => setTimeout(resolve, 50))
      socket.destroy()
      assert.equal((await ask('/orders', json({ sku: 'a', n: 2 }))).status, 201)
    })
  })
}

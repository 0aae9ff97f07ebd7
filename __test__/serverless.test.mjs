// The stack behind serverless-http, with events of API Gateway (REST and HTTP APIs) and of a load
// balancer.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createHmac } from 'node:crypto'
import test, { after, describe } from 'node:test'
import express from 'express'
import serverless from 'serverless-http'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer } from './helpers/http.mjs'
import { startRedis } from './helpers/servers.mjs'

const CLIENT = '203.0.113.9'
const common = { host: 'api.example.com', 'x-forwarded-proto': 'https' }
const encoded = (body) => ({ body: body === undefined ? null : Buffer.from(body).toString('base64'), isBase64Encoded: true })
const plain = (body) => ({ body: body ?? null, isBase64Encoded: false })

/** An event of each kind for a request; `cookie` is a list. */
const events = {
  'a REST API (v1)': ({ method, path, headers, cookie, ...body }) => {
    const all = { ...common, 'x-forwarded-for': `${CLIENT}, 130.176.1.1`, ...headers, ...(cookie === undefined ? {} : { cookie: cookie.join('; ') }) }
    return { httpMethod: method, path, headers: all, multiValueHeaders: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, [value]])), requestContext: { identity: { sourceIp: CLIENT } }, ...body }
  },
  'an HTTP API (v2)': ({ method, path, headers, cookie, ...body }) => ({
    version: '2.0', rawPath: path, rawQueryString: '', headers: { ...common, 'x-forwarded-for': CLIENT, ...headers }, cookies: cookie, requestContext: { http: { method, path, sourceIp: CLIENT } }, ...body
  }),
  'a load balancer': ({ method, path, headers, cookie, ...body }) => {
    // A client may write the first entry itself; the balancer adds the last one.
    const all = { ...common, 'x-forwarded-for': `10.0.0.1, ${CLIENT}`, ...headers, ...(cookie === undefined ? {} : { cookie: cookie.join('; ') }) }
    return { httpMethod: method, path, multiValueHeaders: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, [value]])), requestContext: { elb: { targetGroupArn: 'arn:aws:x' } }, ...body }
  }
}

const setCookies = ({ cookies, multiValueHeaders }) => cookies ?? multiValueHeaders['set-cookie']
const Order = { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } }

for (const [kind, eventOf] of Object.entries(events)) {
  describe(kind, () => {
    const isBalancer = kind === 'a load balancer'
    const warnings = []
    const listener = ({ code }) => warnings.push(code)
    process.on('warning', listener)
    const guard = createGuard({
      ...(isBalancer ? { trustedProxies: ['unix'] } : {}),
      rateLimit: { name: 'logins', limit: 3, window: '1h', paths: ['/login'] },
      payload: { rawBody: true },
      jwt: { ...jwt, from: ['header', { cookie: '__Host-token' }], refresh: true },
      sessions: {}
    })
    after(async () => {
      process.off('warning', listener)
      await guard.close()
    })
    const app = express()
    if (!isBalancer) app.use((req, res, next) => (delete req.headers['x-forwarded-for'], next()))
    app.post('/login', ...guard.securityStack({ jwt: false }), (req, res, next) => {
      guard.sessions.start(res, { sub: 'ada' }).then(() => res.sendStatus(204), next)
    })
    app.post('/orders', ...guard.securityStack({ body: Order }), (req, res) => {
      res.json({ n: req.body.n, digest: createHmac('sha256', 'x').update(req.guard.rawBody).digest('hex') })
    })
    app.use(guard.securityStack())
    app.get('/me', (req, res) => res.json({ sub: req.user.sub, client: req.guard.client }))
    const handler = serverless(app)
    const call = async ({ method = 'GET', path, headers = {}, cookie, body = plain() }) => {
      const answer = await handler(eventOf({ method, path, headers, cookie, ...body }), {})
      return { status: answer.statusCode, json: answer.body === '' ? undefined : JSON.parse(answer.body), cookies: setCookies(answer), headers: answer.headers ?? answer.multiValueHeaders }
    }

    test('the token and the address of the client are those of the event', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
      assert.deepEqual((await call({ path: '/me', headers: bearer(accessToken) })).json, { sub: 'ada', client: CLIENT })
      const refused = await call({ path: '/me' })
      assert.deepEqual([refused.status, refused.json.code, String(refused.headers['x-content-type-options'])], [401, 'token_missing', 'nosniff'])
      assert.equal((await call({ path: '/me', headers: bearer(`${accessToken}x`) })).json.code, 'token_signature')
      assert.deepEqual(warnings, [])
    })

    test('bodies are judged on their bytes, in base64 or not', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
      const digest = createHmac('sha256', 'x').update('{"n":1}').digest('hex')
      for (const as of [plain, encoded]) {
        const post = (body) => call({ method: 'POST', path: '/orders', headers: { ...bearer(accessToken), 'content-type': 'application/json' }, body: as(body) })
        assert.deepEqual((await post('{"n":1}')).json, { n: 1, digest })
        assert.equal((await post('{"n":1,"n":2}')).json.code, 'duplicate_key')
        assert.equal((await post('{"n":"1"}')).status, 422)
      }
    })

    test('a login sets all cookies, they come back, and pages of other sites get 403', async () => {
      const page = { 'sec-fetch-site': 'same-origin' }
      const login = await call({ method: 'POST', path: '/login', headers: page })
      assert.equal(login.status, 204)
      const cookie = login.cookies.map((line) => line.split(';', 1)[0])
      assert.equal(cookie.length, 3)
      assert.deepEqual((await call({ path: '/me', cookie })).json, { sub: 'ada', client: CLIENT })
      const cross = await call({ method: 'POST', path: '/orders', headers: { 'sec-fetch-site': 'cross-site', 'content-type': 'application/json' }, cookie, body: plain('{"n":1}') })
      assert.deepEqual([cross.status, cross.json.code], [403, 'csrf_failed'])
    })

    test('limits count by the client', async () => {
      const statuses = []
      for (let i = 0; i < 4; i += 1) statuses.push((await call({ method: 'POST', path: '/login', headers: { 'sec-fetch-site': 'same-origin' } })).status)
      assert.equal(statuses.at(-1), 429)
    })
  })
}

test('nothing of a guard keeps the process alive once its requests are answered, with Redis either', async () => {
  const redis = await startRedis()
  const program = `
    import express from 'express'
    import serverless from 'serverless-http'
    import { createGuard } from 'keepstone'
    for (const store of [{}, { store: { redis: ${JSON.stringify(redis.url)} } }]) {
      const guard = createGuard({ ...store, rateLimit: { name: 'a', limit: 5, window: '1m' } })
      await guard.ready()
      const app = express().use(guard.securityStack()).get('/', (req, res) => res.json({}))
      const handler = serverless(app)
      const { statusCode } = await handler({ version: '2.0', rawPath: '/', rawQueryString: '', headers: { host: 'a.example' }, requestContext: { http: { method: 'GET', sourceIp: '203.0.113.9' } } }, {})
      console.log(statusCode)
    }`
  try {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: new URL('..', import.meta.url), stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 })
    let out = ''
    child.stdout.on('data', (chunk) => (out += chunk))
    const [code, signal] = await once(child, 'close')
    assert.deepEqual([out, code, signal], ['200\n200\n', 0, null])
  } finally {
    await redis.stop()
  }
})

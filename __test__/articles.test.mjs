// The cases that the product was started from, word for word in meaning, on both Express majors.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import https from 'node:https'
import { createGuard } from 'keepstone'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { AUDIENCE, CreateUserSchema, ISSUER, SECRET, goodUser, jwt, policy } from './helpers/articles.mjs'
import { selfSigned } from './helpers/tls.mjs'

const HSTS = 'max-age=63072000; includeSubDomains'

/** A token as another service with the same secret would sign it. */
function sign(claims, header = { alg: 'HS256', typ: 'JWT' }, secret = SECRET) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${part(header)}.${part(claims)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

function claims(more = {}) {
  const now = Math.floor(Date.now() / 1000)
  return { iss: ISSUER, aud: AUDIENCE, sub: 'ada', jti: 'j-1', iat: now, exp: now + 900, role: 'admin', ...more }
}

for (const [name, express] of expresses) {
  test(`${name}: a token passes only with the issuer and audience of this API`, async () => {
    const app = express()
    app.use(createGuard({ jwt }).securityStack())
    app.get('/me', (req, res) => res.json(req.user))
    await serve(app, async (send) => {
      const good = await send({ path: '/me', headers: bearer(sign(claims())) })
      assert.equal(good.status, 200)
      assert.equal(good.json.sub, 'ada')
      for (const bad of [{ iss: 'https://evil.example' }, { aud: 'another-app' }, { aud: 5 }, { aud: undefined }, { iss: undefined }, { exp: 1 }, { exp: undefined }]) {
        const answer = await send({ path: '/me', headers: bearer(sign(claims(bad))) })
        assert.equal(answer.status, 401, JSON.stringify(bad))
        assert.match(answer.headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
      }
      const unsigned = `${sign(claims(), { alg: 'none' }).split('.', 2).join('.')}.`
      assert.equal((await send({ path: '/me', headers: bearer(unsigned) })).status, 401)
      const absent = await send({ path: '/me' })
      assert.equal(absent.status, 401)
      assert.doesNotMatch(absent.headers['www-authenticate'], /error=/)
    })
  })

  test(`${name}: the 101st request within 60 s from one address gets 429, and another address does not`, async () => {
    const app = express()
    app.use(createGuard({ rateLimit: { name: 'api', limit: 100, window: '60s', algorithm: 'sliding-window' } }).securityStack())
    app.get('/', (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      for (let i = 0; i < 100; i++) assert.equal((await send()).status, 200)
      const refused = await send()
      assert.equal(refused.status, 429)
      assert.equal(refused.json.code, 'rate_limited')
      assert.ok(Number(refused.headers['retry-after']) >= 1)
      assert.match(refused.headers.ratelimit, /^"api";r=0;t=\d+$/)
      assert.equal(refused.headers['ratelimit-policy'], '"api";q=100;w=60')
      assert.equal((await send({ from: '127.0.0.2' })).status, 200)
    })
  })

  test(`${name}: the default limit is 100 in 60 s for each client address`, async () => {
    const app = express()
    app.use(createGuard().securityStack())
    app.get('/', (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      let refused = 0
      for (let i = 0; i < 110; i++) refused += (await send()).status === 429 ? 1 : 0
      // GCRA gives quota back all the time: a slow machine may see a few more pass.
      assert.ok(refused >= 5 && refused <= 10, `${refused} refused`)
    })
  })

  test(`${name}: CreateUserSchema takes a good body and names the extra key of a bad one`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    app.post('/v1/auth', guard.validate({ body: CreateUserSchema }), (req, res) => res.status(201).json(req.body))
    await serve(app, async (send) => {
      const good = await send(json(goodUser, { path: '/v1/auth' }))
      assert.equal(good.status, 201)
      assert.deepEqual(good.json, goodUser)
      const extra = await send(json({ ...goodUser, isAdmin: true }, { path: '/v1/auth' }))
      assert.equal(extra.status, 422)
      assert.equal(extra.headers['content-type'], 'application/problem+json')
      assert.deepEqual(extra.json.errors.map((error) => [error.in, error.pointer, error.code]), [['body', '#/isAdmin', 'additionalProperties']])
      const bad = await send(json({ username: 'x!', email: 'nobody', password: 'short-hunter2' .slice(0, 11) }, { path: '/v1/auth' }))
      assert.equal(bad.status, 422)
      assert.deepEqual(new Set(bad.json.errors.map((error) => error.pointer)), new Set(['#/username', '#/email', '#/password']))
      assert.ok(!bad.text.includes('nobody') && !bad.text.includes('short-hunt'), 'no submitted value is echoed')
      const none = await send({ path: '/v1/auth', method: 'POST' })
      assert.equal(none.status, 422)
    })
  })

  test(`${name}: the v0 policy allows the admin's GET and nothing else`, async () => {
    const guard = createGuard({ jwt, policy, rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    app.use((req, res) => res.json({ reached: true }))
    const token = async (role) => bearer((await guard.tokens.issue({ sub: 'ada', ...(role === undefined ? {} : { role }) })).accessToken)
    await serve(app, async (send) => {
      assert.equal((await send({ path: '/api/v1/users', headers: await token('admin') })).status, 200)
      const others = [
        ['GET', '/api/v1/users', 'user'],
        ['GET', '/api/v1/users', undefined],
        ['GET', '/api/v1/users', ['admin']],
        ['GET', '/api/v1/users/1', 'admin'],
        ['GET', '/api/v1', 'admin'],
        ['GET', '/', 'admin'],
        ['POST', '/api/v1/users', 'admin'],
        ['DELETE', '/api/v1/users', 'admin'],
        ['PUT', '/api/v1/users', 'admin'],
        ['OPTIONS', '/api/v1/users', 'admin']
      ]
      for (const [method, path, role] of others) {
        const answer = await send({ method, path, headers: await token(role) })
        assert.equal(answer.status, 403, `${method} ${path} as ${role}`)
        assert.equal(answer.json.code, 'policy_denied')
      }
      assert.equal((await send({ path: '/api/v1/users' })).status, 401)
    })
  })

  test(`${name}: after logging out the very next request with that token is 401`, async () => {
    const guard = createGuard({ jwt, rateLimit: false })
    const app = express()
    app.use(guard.securityStack())
    app.get('/me', (req, res) => res.json({ sub: req.user.sub }))
    app.post('/logout', async (req, res) => {
      await guard.revoke.token(req.guard.token.jti, req.guard.token.exp)
      res.status(204).end()
    })
    const headers = bearer((await guard.tokens.issue({ sub: 'ada' })).accessToken)
    const other = bearer((await guard.tokens.issue({ sub: 'ada' })).accessToken)
    await serve(app, async (send) => {
      assert.equal((await send({ path: '/me', headers })).status, 200)
      assert.equal((await send({ method: 'POST', path: '/logout', headers })).status, 204)
      const refused = await send({ path: '/me', headers })
      assert.equal(refused.status, 401)
      assert.equal(refused.json.code, 'token_revoked')
      assert.equal((await send({ path: '/me', headers: other })).status, 200)
    })
  })

  test(`${name}: default-src 'none' stands on every response, and HSTS on every one to a secure request`, async () => {
    const guard = createGuard({
      cors: { origins: ['https://app.example.com'] },
      jwt,
      policy,
      hosts: ['127.0.0.1', 'localhost'],
      rateLimit: { name: 'tight', limit: 12, window: '1h' }
    })
    const app = express()
    app.use(guard.securityStack())
    app.get('/api/v1/users', (req, res) => {
      if (req.query.fail !== undefined) throw new Error('the handler failed')
      if (req.query.missing === undefined) res.json([])
      else res.status(404).end()
    })
    app.use((error, req, res, _next) => res.status(500).end())
    const admin = bearer((await guard.tokens.issue({ sub: 'ada', role: 'admin' })).accessToken)
    const user = bearer((await guard.tokens.issue({ sub: 'bob', role: 'user' })).accessToken)
    const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'GET' }
    const path = '/api/v1/users'
    const cases = [
      [200, { path, headers: admin }],
      [404, { path: `${path}?missing`, headers: admin }],
      [500, { path: `${path}?fail`, headers: admin }],
      [204, { path, method: 'OPTIONS', headers: preflight }],
      [403, { path, method: 'OPTIONS', headers: { ...preflight, origin: 'https://evil.example' } }],
      [400, { path: '/api//v1', headers: admin }],
      [401, { path }],
      [401, { path, headers: bearer('nonsense') }],
      [403, { path, headers: user }],
      [403, { path, headers: { ...admin, host: 'evil.example' } }],
      ...Array.from({ length: 12 }, () => [null, { path, headers: admin }]),
      [429, { path, headers: admin }]
    ]
    const run = (secure, more) => async (send) => {
      for (const [status, request] of cases) {
        const { headers, status: got } = await send({ ...request, ...more })
        if (status !== null) assert.equal(got, status, JSON.stringify(request))
        assert.ok(headers['content-security-policy'].split('; ').includes("default-src 'none'"), `${got}`)
        assert.equal(headers['x-content-type-options'], 'nosniff')
        assert.equal(headers['x-frame-options'], 'DENY')
        assert.equal(headers['x-powered-by'], undefined)
        assert.equal(headers['strict-transport-security'], secure ? HSTS : undefined, `${got}`)
      }
    }
    await serve(app, run(false, {}))
    await guard.limits.reset('tight', '127.0.0.1')
    const { key, cert } = selfSigned()
    await serve(app, run(true, { client: https, ca: cert, checkServerIdentity: () => undefined }), https.createServer({ key, cert }, app))
  })
}

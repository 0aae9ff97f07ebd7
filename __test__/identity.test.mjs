// `identify`: the user of a request is known by a session of the application. Limits, requirements,
// policies and `req.user` work as with a token, and no result of the function that is odd passes.

import test, { after, describe } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const [[, express]] = expresses
const page = { 'sec-fetch-site': 'same-origin' }
const cookie = (session) => ({ cookie: `sid=${session}`, ...page })
const seconds = () => Math.floor(Date.now() / 1000)

/** A header of the request, as each host gives it to a function of the application. */
const fieldOf = (subject, name) => subject.req?.header?.(name) ?? subject.headers?.[name]
const sessionOf = (subject) => /(?:^|; )sid=([^;]*)/.exec(fieldOf(subject, 'cookie') ?? '')?.[1]

/** A guard whose sessions are `sessions`, by their id; `asked` has the id of each call. */
function open(sessions, more = {}) {
  const asked = []
  const events = []
  const identify = (req) => {
    const id = sessionOf(req)
    asked.push(id)
    return sessions[id] ?? null
  }
  const guard = createGuard({ rateLimit: false, identify, log: (event) => events.push(event), ...more })
  return { guard, asked, events }
}

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const sessions = { a: { sub: 'ada', role: 'admin' }, b: Promise.resolve({ sub: 'bob' }), n: Promise.resolve(undefined), odd: { name: 'eve' }, gone: { sub: 'eve', exp: 1_700_000_000 } }
    const { guard, asked, events } = open(sessions, { rateLimit: [{ name: 'by-user', key: 'user', limit: 3, window: '1h', paths: ['/limited'] }] })
    const anyone = { authenticate: { optional: true } }
    const routes = [
      ['get', '/me', {}, ({ user, guard: state }) => [200, { ...user, issuer: state.identity.issuer, token: state.token }]],
      ['get', '/any', anyone, ({ user }) => [200, { sub: user?.sub ?? null }]],
      ['get', '/off', { authenticate: false }, ({ user }) => [200, { sub: user?.sub ?? null }]],
      ['get', '/limited', anyone, () => [200, {}]],
      ['post', '/notes', { body: { type: 'object' } }, ({ user }) => [201, { sub: user.sub }]]
    ]
    const ask = serveRoutes(start, guard, routes)
    const refused = ({ status, json }, wanted, code) => assert.deepEqual([status, json?.code], [wanted, code])

    test('the claims that the function returns are those of the user', async () => {
      assert.deepEqual((await ask('/me', { headers: cookie('a') })).json, { sub: 'ada', role: 'admin', issuer: 'identify', token: null })
      assert.equal((await ask('/me', { headers: cookie('b') })).json.sub, 'bob')
      const event = events.at(-1)
      assert.deepEqual([event.outcome, event.user, event.issuer], ['allow', 'bob', 'identify'])
    })
    test('without a user a route refuses, unless it takes anyone', async () => {
      for (const headers of [{}, cookie('n'), cookie('unknown')]) {
        const answer = await ask('/me', { headers })
        refused(answer, 401, 'identity_missing')
        assert.equal(answer.headers['www-authenticate'], 'Session realm="api"')
        assert.deepEqual((await ask('/any', { headers })).json, { sub: null })
      }
    })
    test('a route that needs no identity does not call the function', async () => {
      const before = asked.length
      assert.deepEqual((await ask('/off', { headers: cookie('a') })).json, { sub: null })
      assert.equal(asked.length, before)
    })
    test('a result that is no identity is a fault, also where anyone passes', async () => {
      for (const path of ['/me', '/any']) refused(await ask(path, { headers: cookie('odd') }), 500, 'internal_error')
      assert.equal(events.at(-1).reason, 'identify_result:claim_missing:sub')
    })
    test('claims that have ended are refused, also where anyone passes', async () => {
      for (const path of ['/me', '/any']) refused(await ask(path, { headers: cookie('gone') }), 401, 'identity_invalid')
      assert.equal(events.at(-1).reason, 'identity_expired')
    })
    test('limits count by the user', async () => {
      const ask3 = async (session) => (await ask('/limited', { headers: cookie(session) })).status
      assert.deepEqual([await ask3('a'), await ask3('a'), await ask3('a'), await ask3('a'), await ask3('b')], [200, 200, 200, 429, 200])
    })
    test('a page of another site cannot act for the user', async () => {
      const post = (headers) => ask('/notes', json({}, { headers: { cookie: 'sid=a', ...headers } }))
      refused(await post({ 'sec-fetch-site': 'cross-site' }), 403, 'csrf_failed')
      refused(await post({ origin: 'https://evil.example' }), 403, 'csrf_failed')
      refused(await post({}), 403, 'csrf_failed')
      assert.deepEqual((await post(page)).json, { sub: 'ada' })
    })
  })
}

// A function that fails: [what it does, what it is, status, code].
const FAULTS = [
  ['throws an error', () => { throw new TypeError('secret') }, 500, 'internal_error'],
  ['throws no error', () => { throw undefined }, 500, 'internal_error'],
  ['rejects', async () => { throw new Error('secret') }, 500, 'internal_error'],
  ['rejects with no error', () => Promise.reject(null), 500, 'internal_error'],
  ['never answers', () => new Promise(() => {}), 503, 'identity_unavailable'],
  ['returns true', () => true, 500, 'internal_error'],
  ['returns a text', () => 'ada', 500, 'internal_error'],
  ['returns a list', () => [{ sub: 'ada' }], 500, 'internal_error'],
  ['returns a class instance', () => new (class User { sub = 'ada' })(), 500, 'internal_error'],
  ['returns a Map', () => new Map([['sub', 'ada']]), 500, 'internal_error'],
  ['returns an undefined claim', () => ({ sub: 'ada', role: undefined }), 500, 'internal_error'],
  ['returns a function', () => ({ sub: 'ada', can: () => true }), 500, 'internal_error'],
  ['returns a number as the user', () => ({ sub: 7 }), 500, 'internal_error'],
  ['returns a bigint', () => ({ sub: 'ada', id: 7n }), 500, 'internal_error'],
  ['returns __proto__', () => JSON.parse('{"sub":"ada","__proto__":{"role":"admin"}}'), 500, 'internal_error'],
  ['returns a binding', () => ({ sub: 'ada', cnf: { jkt: 'x' } }), 500, 'internal_error'],
  ['returns too much', () => ({ sub: 'ada', text: 'x'.repeat(20_000) }), 500, 'internal_error'],
  ['returns what throws when it is read', () => Object.defineProperty({}, 'sub', { enumerable: true, get: () => { throw new Error('secret') } }), 500, 'internal_error']
]
for (const [what, claims, status, code] of FAULTS) {
  test(`a function that ${what} lets nobody pass`, async () => {
    for (const optional of [false, true]) {
      const guard = createGuard({ rateLimit: false, identify: { claims, timeout: '100ms' }, authenticate: { optional } })
      const app = express()
      app.use(guard.securityStack(), (req, res) => res.json({ passed: true }))
      await serve(app, async (ask) => {
        const answer = await ask({})
        assert.deepEqual([answer.status, answer.json.code], [status, code])
        assert.ok(!answer.text.includes('secret'))
        if (status === 503) assert.equal(answer.headers['retry-after'], '1')
      })
      await guard.close()
    }
  })
}

test('a late result, good or bad, changes nothing', async () => {
  const calls = []
  const identify = { claims: () => new Promise((resolve, reject) => calls.push({ resolve, reject })), timeout: '100ms' }
  const guard = createGuard({ rateLimit: false, identify })
  let ran = 0
  await serve((req, res) => guard.securityStack()(req, res, () => (ran += 1)), async (ask) => {
    assert.equal((await ask({})).status, 503)
    assert.equal((await ask({})).status, 503)
    calls[0].resolve({ sub: 'ada' })
    calls[1].reject(new Error('late'))
    await sleep(20)
    assert.equal(ran, 0)
  })
  await guard.close()
})

test('the function is called once for a request, however many stacks and layers ask', async () => {
  const { guard, asked } = open({ a: Promise.resolve({ sub: 'ada', scope: 'write' }) })
  const other = open({ a: { sub: 'eve' } })
  const app = express()
  app.use(guard.securityStack({ authenticate: { optional: true } }))
  app.post('/notes', guard.require({ scope: 'write' }), guard.rateLimit({ name: 'n', limit: 5, window: '1h', key: 'user' }), guard.validate({ body: { type: 'object' } }), (req, res) => res.json({ sub: req.user.sub }))
  app.get('/admin', guard.require({ scope: 'admin' }), (req, res) => res.end())
  app.get('/two', other.guard.authenticate(), (req, res) => res.json({ sub: req.user.sub }))
  await serve(app, async (ask) => {
    assert.deepEqual((await ask({ path: '/notes', ...json({}, { headers: cookie('a') }) })).json, { sub: 'ada' })
    assert.equal(asked.length, 1)
    const refused = await ask({ path: '/admin', headers: cookie('a') })
    assert.deepEqual([refused.status, refused.json.code, asked.length], [403, 'insufficient_scope', 2])
    // Another guard has a function of its own.
    assert.deepEqual((await ask({ path: '/two', headers: cookie('a') })).json, { sub: 'eve' })
    assert.deepEqual([asked.length, other.asked.length], [3, 1])
  })
  await Promise.all([guard.close(), other.guard.close()])
})

test('a token comes before the function, and a bad one is not replaced', async () => {
  const { guard, asked } = open({ a: { sub: 'ada' } }, { jwt })
  await serve((req, res) => guard.securityStack()(req, res, () => res.end(JSON.stringify({ sub: req.user.sub, issuer: req.guard.identity.issuer }))), async (ask) => {
    const { accessToken } = await guard.tokens.issue({ sub: 'bob' })
    assert.deepEqual((await ask({ headers: { ...cookie('a'), ...bearer(accessToken) } })).json, { sub: 'bob', issuer: jwt.issuer })
    const forged = `${accessToken.slice(0, -4)}AAAA`
    const refused = await ask({ headers: { ...cookie('a'), ...bearer(forged) } })
    assert.deepEqual([refused.status, refused.json.code, asked.length], [401, 'token_signature', 0])
    // Credentials that nothing here reads are left to the function.
    assert.equal((await ask({ headers: { ...cookie('a'), authorization: 'Basic eDp5' } })).json.sub, 'ada')
    const none = await ask({})
    assert.deepEqual([none.status, none.json.code, none.headers['www-authenticate']], [401, 'identity_missing', 'Bearer realm="api"'])
  })
  await guard.close()
})

test('a policy sees the claims and the source', async () => {
  const rego = 'package p\nimport rego.v1\ndefault allow := false\nallow if { input.user.role == "admin"; input.token.issuer == "identify"; not input.token.alg }'
  const { guard } = open({ a: { sub: 'ada', role: 'admin' }, b: { sub: 'bob' } }, { jwt, policy: { policies: { 'p.rego': rego }, query: 'data.p.allow' } })
  await serve((req, res) => guard.securityStack()(req, res, () => res.end('{}')), async (ask) => {
    assert.equal((await ask({ headers: cookie('a') })).status, 200)
    assert.equal((await ask({ headers: cookie('b') })).json.code, 'policy_denied')
    const { accessToken } = await guard.tokens.issue({ sub: 'eve', role: 'admin' })
    assert.equal((await ask({ headers: bearer(accessToken) })).json.code, 'policy_denied')
  })
  await guard.close()
})

test('functions of limits get the identity', async () => {
  const seen = []
  const key = (req) => (seen.push([req.user?.sub, req.guard.identity?.issuer]), 'k')
  const { guard } = open({ a: Promise.resolve({ sub: 'ada' }) }, { rateLimit: { name: 'f', limit: 5, window: '1h', key } })
  await serve((req, res) => guard.securityStack()(req, res, () => res.end('{}')), async (ask) => {
    assert.equal((await ask({ headers: cookie('a') })).status, 200)
    assert.deepEqual(seen, [['ada', 'identify']])
  })
  await guard.close()
})

const redis = await startRedis()
after(() => redis.stop())

// What ends an identity while its request waits, and the answer.
const EVENTS = {
  'its session is revoked': ['identity_invalid', (guard) => guard.revoke.session('s1')],
  'its user is logged out': ['identity_invalid', (guard) => guard.revoke.subject('ada')],
  'its login is revoked': ['identity_invalid', (guard) => guard.revoke.token('login-1')],
  'its claims end': ['identity_invalid', async (guard, end) => waitUntil('the end', () => Date.now() > end * 1000 + 20)],
  'its user is blocked': ['client_blocked', (guard) => guard.limits.block({ user: 'ada' }, '1h')]
}
for (const [event, [code, happen]] of Object.entries(EVENTS)) {
  for (const [where, config, mount] of [
    ['in one stack', {}, (guard) => guard.securityStack()],
    ['in a stack before', {}, (guard) => [...guard.securityStack({ payload: false }), guard.validate({ body: { type: 'object' } })]],
    ['over Redis', { store: { redis: { url: redis.url, prefix: `identity-${event.length}:`, timeout: '5s' } } }, (guard) => guard.securityStack()]
  ]) {
    test(`a request is refused when ${event} while its body is read, ${where}`, async () => {
      const end = seconds() + (event === 'its claims end' ? 1 : 3600)
      const sessions = { a: { sub: 'ada', sid: 's1', jti: 'login-1', iat: seconds() - 10, exp: end } }
      const { guard, asked } = open(sessions, config)
      await guard.ready()
      let ran = 0
      const app = express()
      app.use(...mount(guard), (req, res) => res.json({ ran: (ran += 1) }))
      await serve(app, async (ask, { port }) => {
        const request = http.request({ host: '127.0.0.1', port, method: 'POST', headers: { ...cookie('a'), 'content-type': 'application/json', 'content-length': 2 }, agent: false })
        const answered = once(request, 'response')
        request.write('{')
        await waitUntil('the function is called', () => asked.length === 1)
        await sleep(20)
        await happen(guard, end)
        await sleep(30)
        request.end('}')
        const [response] = await answered
        const answer = JSON.parse(Buffer.concat(await response.toArray()).toString())
        assert.deepEqual([answer.code, ran, asked.length], [code, 0, 1])
      })
      await guard.close()
    })
  }
}

test('a revocation refuses later requests at once, and a new login passes', async () => {
  const sessions = { a: { sub: 'ada', sid: 's1', iat: seconds() - 100 }, b: { sub: 'ada', sid: 's2', iat: seconds() + 2 } }
  const { guard, events } = open(sessions)
  await serve((req, res) => guard.securityStack()(req, res, () => res.end('{}')), async (ask) => {
    assert.equal((await ask({ headers: cookie('a') })).status, 200)
    await guard.revoke.subject('ada')
    const refused = await ask({ headers: cookie('a') })
    assert.deepEqual([refused.status, refused.json.code, events.at(-1).reason], [401, 'identity_invalid', 'identity_revoked'])
    assert.equal((await ask({ headers: cookie('b') })).status, 200)
  })
  await guard.close()
})

test('beside tokens, a revocation names its source', async () => {
  const { guard } = open({ a: { sub: 'ada' } }, { jwt })
  await assert.rejects(guard.revoke.subject('ada'), { code: 'ERR_INVALID_ARGUMENT', message: /'identify'/ })
  await guard.revoke.subject('ada', undefined, { issuer: 'identify' })
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  await serve((req, res) => guard.securityStack()(req, res, () => res.end('{}')), async (ask) => {
    assert.equal((await ask({ headers: cookie('a') })).json.code, 'identity_invalid')
    assert.equal((await ask({ headers: bearer(accessToken) })).status, 200)
  })
  await guard.close()
})

test('a client that goes away while the function runs is not decided', async () => {
  const calls = []
  const guard = createGuard({ rateLimit: false, identify: () => new Promise((resolve) => calls.push(resolve)) })
  let ran = 0
  let closed = 0
  await serve((req, res) => {
    res.once('close', () => (closed += 1))
    guard.securityStack()(req, res, () => (ran += 1))
  }, async (ask, { port }) => {
    const request = http.get({ host: '127.0.0.1', port, agent: false })
    request.on('error', () => {})
    await waitUntil('the function is called', () => calls.length === 1)
    request.destroy()
    await waitUntil('the server notices', () => closed === 1)
    calls[0]({ sub: 'ada' })
    await sleep(20)
    assert.equal(ran, 0)
  })
  await guard.close()
})

test('a handshake of another site cannot use the session', async () => {
  const { guard } = open({ a: { sub: 'ada' } })
  const server = http.createServer()
  const passed = []
  server.on('upgrade', async (req, socket, head) => {
    const allowed = await guard.upgrade(req, socket, head)
    passed.push([allowed, req.user?.sub])
    if (allowed) socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  })
  await serve(null, async (ask, { port }) => {
    for (const origin of ['https://evil.example', `http://127.0.0.1:${port}`]) {
      const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13', cookie: 'sid=a', origin }
      const request = http.get({ host: '127.0.0.1', port, headers, agent: false })
      const [answer] = await Promise.race([once(request, 'response'), once(request, 'upgrade')])
      answer.socket.destroy()
    }
    await waitUntil('both are decided', () => passed.length === 2)
    assert.deepEqual(passed, [[false, undefined], [true, 'ada']])
  }, server)
  await guard.close()
})

test('CORS that is open to all admits no handshake with a password of the browser', async () => {
  const identify = (req) => (req.headers.authorization === undefined ? null : { sub: 'ada' })
  const guard = createGuard({ rateLimit: false, identify, cors: { origins: ['https://app.example.com'] } })
  const facts = (origin, authorization) => ({ method: 'GET', target: '/', headers: Object.entries({ host: 'api.example.com', origin, authorization }), address: '192.0.2.1', tls: true, upgrade: true, source: { headers: { authorization } } })
  for (const authorization of ['Basic eDp5', 'basic eDp5', 'Negotiate YQ==']) {
    assert.equal((await guard.check(facts('https://app.example.com', authorization))).code, 'csrf_failed')
    assert.equal((await guard.check(facts('https://api.example.com', authorization))).allowed, true)
  }
  assert.equal((await guard.check(facts('https://app.example.com', 'Opaque x'))).allowed, true)
  await guard.close()
})

test('a whole number is a user only by an option', async () => {
  const guard = createGuard({ rateLimit: false, identify: { claims: () => ({ sub: 7 }), subject: 'lenient' } })
  const result = await guard.check({ method: 'GET', target: '/', headers: [], address: '192.0.2.1' })
  assert.deepEqual([result.allowed, result.user], [true, { sub: 7 }])
  await guard.revoke.subject('7')
  assert.equal((await guard.check({ method: 'GET', target: '/', headers: [], address: '192.0.2.1' })).code, 'identity_invalid')
  await guard.close()
})

test('options that contradict the function are refused', () => {
  const identify = () => null
  for (const [config, path] of [
    [{ identify, csrf: false }, 'csrf'],
    [{ identify: 'x' }, 'identify'],
    [{ authenticate: { optional: true } }, 'authenticate'],
    [{ identify, jwt: { ...jwt, optional: true }, authenticate: { optional: true } }, 'authenticate'],
    [{ jwt: { ...jwt, issuer: 'identify' } }, 'jwt.issuer'],
    [{ jwt: { ...jwt, issuer: 'api-key' } }, 'jwt.issuer']
  ]) assert.throws(() => createGuard(config), { path })
  const guard = createGuard({ identify })
  assert.throws(() => guard.securityStack({ jwt: { optional: true } }), { path: 'jwt', message: /authenticate/ })
  assert.throws(() => guard.securityStack({ csrf: false }), { path: 'csrf' })
  guard.securityStack({ csrf: false, authenticate: false })
  assert.throws(() => createGuard({}).securityStack({ authenticate: false }), { path: 'authenticate' })
  const both = createGuard({ identify, jwt })
  assert.throws(() => both.securityStack({ jwt: false, authenticate: false }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'authenticate' })
})

for (const [name, express] of expresses) {
  test(`${name}: a user of another middleware whom identify does not take is no user`, async () => {
    const guard = createGuard({ rateLimit: false, identify: ({ user }) => (user.suspended ? null : { sub: user.id }), authenticate: { optional: true } })
    const app = express()
    app.use((req, res, next) => {
      req.user = { id: 'ada', role: 'admin', suspended: req.headers['x-suspended'] === '1' }
      next()
    })
    app.get('/public', guard.securityStack({ authenticate: false, csrf: false }), (req, res) => res.json({ role: req.user.role }))
    app.use(guard.securityStack())
    app.get('/', (req, res) => res.json({ sub: req.user?.sub ?? null, role: req.user?.role ?? null }))
    await serve(app, async (send) => {
      assert.deepEqual((await send({ path: '/' })).json, { sub: 'ada', role: null })
      assert.deepEqual((await send({ path: '/', headers: { 'x-suspended': '1' } })).json, { sub: null, role: null })
      assert.equal((await send({ path: '/public' })).json.role, 'admin', 'a route that asks for no identity leaves it alone')
    })
    await guard.close()
  })
}

test('tokens can neither be issued nor verified without jwt', async () => {
  const guard = createGuard({ identify: () => null })
  await assert.rejects(guard.tokens.issue({ sub: 'ada' }), { code: 'ERR_MISSING_OPTION' })
  await assert.rejects(guard.tokens.verify('x.y.z'), { code: 'ERR_MISSING_OPTION' })
  assert.throws(() => guard.jwks(), { code: 'ERR_MISSING_OPTION' })
  assert.deepEqual(guard.health().issuers, [])
  await guard.close()
})

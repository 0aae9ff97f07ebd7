// What an application makes of a refusal, and its own refusals: never a pass.

import test, { after } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createGuard, GuardError } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'

const guards = []
const warnings = []
const unhandled = []
process.on('warning', (warning) => warnings.push(warning))
process.on('unhandledRejection', (error) => unhandled.push(error))
after(() => {
  for (const guard of guards) guard.close()
  assert.deepEqual(unhandled, [])
})

function guardWith(onRefuse, more = {}) {
  const guard = createGuard({ jwt, rateLimit: false, ...(onRefuse === undefined ? {} : { onRefuse }), ...more })
  guards.push(guard)
  return guard
}

/** An app whose every handler behind the guard is counted. */
function appOf(express, guard, { route = {} } = {}) {
  const app = express()
  const seen = { passed: 0, errors: [] }
  app.use(guard.securityStack(route))
  app.use((req, res) => {
    seen.passed += 1
    res.send('passed')
  })
  app.use((error, req, res, _next) => {
    seen.errors.push(error)
    res.status(418).send('the error handler')
  })
  return { app, seen }
}

for (const [name, express] of expresses) {
  test(`${name}: the application answers a refusal with a body of its own shape, and the guard's headers stay`, async () => {
    const guard = guardWith((refusal, req, res) => res.json({ error: refusal.code, path: req.path }))
    const { app, seen } = appOf(express, guard)
    app.set('etag', false)
    await serve(app, async (send) => {
      const answer = await send({ path: '/a' })
      assert.deepEqual([answer.status, answer.json], [401, { error: 'token_missing', path: '/a' }])
      assert.match(answer.headers['www-authenticate'], /^Bearer/)
      assert.equal(answer.headers['x-frame-options'], 'DENY')
      assert.match(answer.headers['content-type'], /^application\/json/)
    })
    assert.deepEqual(seen, { passed: 0, errors: [] })
  })

  test(`${name}: a browser is sent to the login page, and other clients get the guard's answer`, async () => {
    const guard = guardWith((refusal, req, res, next) => (req.accepts('json', 'html') === 'html' ? res.redirect(303, '/login') : next()))
    const { app, seen } = appOf(express, guard)
    await serve(app, async (send) => {
      const page = await send({ headers: { accept: 'text/html' } })
      assert.deepEqual([page.status, page.headers.location], [303, '/login'])
      const api = await send({ headers: { accept: 'application/json' } })
      assert.deepEqual([api.status, api.json.code, api.headers['content-type']], [401, 'token_missing', 'application/problem+json'])
    })
    assert.deepEqual(seen, { passed: 0, errors: [] })
  })

  test(`${name}: a refusal goes to the error handlers, as an Error with its status and code`, async () => {
    const mine = new RangeError('mine')
    const guard = guardWith((refusal, req, res, next) => next(req.path === '/mine' ? mine : refusal))
    const { app, seen } = appOf(express, guard)
    await serve(app, async (send) => {
      for (const path of ['/mine', '/']) assert.deepEqual([(await send({ path })).status, (await send({ path })).text], [418, 'the error handler'])
    })
    const [first, , third] = seen.errors
    assert.equal(first, mine)
    assert.ok(third instanceof GuardError)
    assert.deepEqual([third.status, third.code, third.cause.code], [401, 'token_missing', 'token_missing'])
    assert.equal(seen.passed, 0)
  })

  test(`${name}: whatever it does, no refused request reaches a handler`, async () => {
    const deeds = {
      next: (refusal, req, res, next) => next(),
      'next with nothing': (refusal, req, res, next) => next(undefined),
      'next with null': (refusal, req, res, next) => next(null),
      route: (refusal, req, res, next) => next('route'),
      router: (refusal, req, res, next) => next('router'),
      false: (refusal, req, res, next) => next(false),
      zero: (refusal, req, res, next) => next(0),
      'an empty text': (refusal, req, res, next) => next(''),
      true: (refusal, req, res, next) => next(true),
      twice: (refusal, req, res, next) => [next(), next(), next('route')],
      'an error and a pass': (refusal, req, res, next) => [next(new Error('x')), next(), next('route')],
      throws: () => { throw new Error('broken') },
      'throws nothing': () => { throw undefined },
      rejects: async () => { throw new Error('broken') },
      'next, and throws': (refusal, req, res, next) => { next(); throw new Error('late') },
      'next, and rejects': async (refusal, req, res, next) => { next(); throw new Error('late') },
      'answers, and throws': (refusal, req, res) => { res.status(403).send('shaped'); throw new Error('late') },
      'answers, and calls next': (refusal, req, res, next) => [res.status(403).send('shaped'), next(), next('route'), next(new Error('x'))],
      later: (refusal, req, res, next) => void setTimeout(next, 5),
      'later the next route': (refusal, req, res, next) => void setTimeout(next, 5, 'route'),
      'a status of success': (refusal, req, res) => res.status(200).send('shaped'),
      'next, and rejects later': (refusal, req, res, next) => new Promise((_, reject) => setTimeout(() => [reject(new Error('x')), next()], 1)),
      'changes the refusal': (refusal, req, res, next) => { try { refusal.status = 200 } catch { next() } },
      'an answer that broke off': (refusal, req, res) => { res.write('some'); throw new Error('broken') }
    }
    for (const [deed, onRefuse] of Object.entries(deeds)) {
      const { app, seen } = appOf(express, guardWith(onRefuse))
      await serve(app, async (send) => {
        const answer = await send().catch((error) => ({ status: 'broken off', text: error.code }))
        assert.notEqual(answer.text, 'passed', deed)
        assert.ok(answer.status === 'broken off' || answer.status >= 400 || answer.text === 'shaped', `${deed}: ${answer.status}`)
      })
      assert.equal(seen.passed, 0, deed)
    }
    assert.ok(warnings.some(({ code, message }) => code === 'GUARD_FAULT' && message.includes('`onRefuse` failed')))
  })

  test(`${name}: it learns which limit refused, why a token was, and which members of a body are wrong`, async () => {
    const refusals = []
    const guard = guardWith((refusal, req, res, next) => next(void refusals.push(refusal)), { rateLimit: { name: 'few', limit: 2, window: '1h' } })
    const { app, seen } = appOf(express, guard, { route: { body: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] } } })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    await serve(app, async (send) => {
      assert.equal((await send({ headers: bearer('x') })).status, 401)
      assert.equal((await send(json({ name: 1 }, { method: 'POST', headers: bearer(accessToken) }))).status, 422)
      await send(json({ name: 'a' }, { method: 'POST', headers: bearer(accessToken) }))
      const over = await send(json({ name: 'a' }, { method: 'POST', headers: bearer(accessToken) }))
      assert.deepEqual([over.status, over.headers['retry-after'] !== undefined], [429, true])
    })
    const [token, body, limit] = refusals
    assert.deepEqual([token.code, token.reason], ['token_malformed', 'token_not_compact'])
    assert.deepEqual([body.code, body.errors.map(({ pointer }) => pointer)], ['validation_failed', ['#/name']])
    assert.deepEqual([limit.code, limit.limit, limit.status], ['rate_limited', 'few', 429])
    assert.equal(seen.passed, 1)
  })

  test(`${name}: refusals of an OpenAPI document and of sessions are shaped as well`, async () => {
    const guard = guardWith((refusal, req, res) => res.json({ mine: refusal.code }), { jwt: { ...jwt, refresh: {}, from: ['header', { cookie: '__Host-token' }] } })
    const api = guard.fromOpenApi({ openapi: '3.0.3', info: { title: 't', version: '1' }, paths: { '/a': { get: { responses: { 200: { description: 'ok' } } } } } }, { unknown: 'refuse' })
    const app = express()
    app.post('/session/refresh', guard.sessions.refresh())
    app.use(api.handler)
    await serve(app, async (send) => {
      const other = await send({ path: '/a', method: 'DELETE' })
      assert.deepEqual([other.status, other.json], [405, { mine: 'method_not_allowed' }], other.text)
      const refresh = await send({ method: 'POST', path: '/session/refresh', headers: { 'sec-fetch-site': 'same-origin' } })
      assert.deepEqual([refresh.status, refresh.json], [401, { mine: 'token_missing' }])
    })
  })

  test(`${name}: guard.errors() answers errors of the guard, and passes others on`, async () => {
    const events = []
    const guard = guardWith(undefined, { log: (event) => events.push(event) })
    const app = express()
    app.get('/verify', async (req, res, next) => {
      let fault
      try {
        await guard.tokens.verify('x.y.z')
      } catch (error) {
        fault = error
      }
      next(fault)
    })
    app.get('/mine', (req, res, next) => next(Object.assign(new Error('mine'), { status: 403 })))
    app.get('/config', (req, res, next) => next(new GuardError('an option', { code: 'ERR_INVALID_OPTION' })))
    app.get('/store', (req, res, next) => next(new GuardError('redis at 10.0.0.7 is away', { code: 'ERR_STORE_UNAVAILABLE', status: 503 })))
    app.use(guard.errors())
    app.use((error, req, res, _next) => res.status(418).send(error.message))
    await serve(app, async (send) => {
      const verify = await send({ path: '/verify' })
      assert.deepEqual([verify.status, verify.json.code, verify.headers['content-type']], [401, 'token_malformed', 'application/problem+json'])
      assert.match(verify.headers['www-authenticate'], /^Bearer/)
      assert.equal((await send({ path: '/mine' })).text, 'mine')
      assert.equal((await send({ path: '/config' })).text, 'an option')
      const store = await send({ path: '/store' })
      assert.deepEqual([store.status, store.json.code, store.json.detail, store.headers['retry-after']], [503, 'ERR_STORE_UNAVAILABLE', undefined, '1'])
    })
    assert.deepEqual(events.map(({ outcome, code }) => [outcome, code]), [['refuse', 'token_malformed'], ['refuse', 'ERR_STORE_UNAVAILABLE']])
  })

  test(`${name}: onRefuse and guard.errors() together answer once, and log once`, async () => {
    const events = []
    const guard = guardWith((refusal, req, res, next) => next(new GuardError('not for you', { code: refusal.code, status: 404 })), { log: (event) => events.push(event) })
    const app = express()
    app.use(guard.securityStack(), () => assert.fail('it was refused'), guard.errors())
    await serve(app, async (send) => {
      const answer = await send()
      assert.deepEqual([answer.status, answer.json.code, answer.json.detail], [404, 'token_missing', 'not for you'])
    })
    assert.equal(events.length, 1)
  })

  test(`${name}: guard.refuse answers as the guard does, and says what is wrong with its arguments`, async () => {
    const events = []
    const guard = guardWith(undefined, { log: (event) => events.push(event) })
    const app = express()
    app.get('/closed', (req, res) => {
      res.setHeader('ETag', '"1"')
      res.setHeader('Content-Encoding', 'br')
      guard.refuse(res, 409, 'order_closed', 'the order was delivered')
    })
    app.get('/bare', (req, res) => guard.refuse(res, 403, 'not_yours'))
    app.get('/sent', (req, res) => {
      res.write('x')
      try {
        guard.refuse(res, 403, 'not_yours')
      } catch (error) {
        res.end(error.path)
      }
    })
    await serve(app, async (send) => {
      const answer = await send({ path: '/closed' })
      const { status, code, detail } = answer.json
      assert.deepEqual([answer.status, status, code, detail], [409, 409, 'order_closed', 'the order was delivered'])
      assert.deepEqual([answer.headers.etag, answer.headers['content-encoding'], answer.headers['content-type']], [undefined, undefined, 'application/problem+json'])
      assert.equal((await send({ path: '/bare' })).json.detail, undefined)
      assert.equal((await send({ path: '/sent' })).text, 'xres')
    })
    assert.deepEqual(events.map(({ outcome, status, code }) => [outcome, status, code]), [['refuse', 409, 'order_closed'], ['refuse', 403, 'not_yours']])
    const res = { setHeader() {}, req: { headers: {} } }
    for (const [given, path] of [
      [[undefined, 403, 'x'], 'res'], [[{}, 403, 'x'], 'res'], [[res, 200, 'x'], 'status'], [[res, 600, 'x'], 'status'], [[res, '403', 'x'], 'status'], [[res, 403.5, 'x'], 'status'],
      [[res, 403, 'Not yours'], 'code'], [[res, 403, ''], 'code'], [[res, 403, 'a\r\nb'], 'code'], [[res, 403], 'code'], [[res, 403, 'x', ''], 'detail'], [[res, 403, 'x', 'd'.repeat(501)], 'detail'],
      [[res, 403, 'x', undefined], 'detail'], [[res, 403, 'x', 'y', 'z'], 'detail']
    ]) assert.throws(() => guard.refuse(...given), (error) => error instanceof GuardError && error.path === path, path)
  })
}

test('a refusal after the body has begun, and one whose client has gone, end without the hook doing harm', async () => {
  let called = 0
  const guard = guardWith((refusal, req, res, next) => next(void (called += 1)))
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => {
    res.write('begun')
    protect(req, res, () => res.end('passed'))
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const error = await new Promise((resolve) => {
    http.get({ port: server.address().port, host: '127.0.0.1' }, (answer) => answer.on('error', resolve).on('end', () => resolve(null)).resume()).on('error', resolve)
  })
  assert.notEqual(error, null, 'an answer that has begun is broken off')
  assert.equal(called, 0)
  server.close()
})

test('an option that is no function is refused', () => {
  for (const onRefuse of [true, 'x', {}, null, 5]) assert.throws(() => createGuard({ onRefuse }), { code: 'ERR_INVALID_OPTION', path: 'onRefuse' })
})

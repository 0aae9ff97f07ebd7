// What an attacker sends, and what a careless application does around the guard: none of it passes
// what should be refused, ends the process, or leaves anything behind.

/* oxlint-disable unicorn/no-thenable -- an application may return one */

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { SECRET, jwt } from './helpers/articles.mjs'

const native = createRequire(import.meta.url)('../native.js')
const unlimited = (more) => createGuard({ rateLimit: false, ...more })
const origin = { origin: 'https://a.example' }
const slowly = (value, ms = 60) => async () => (await sleep(ms), value)

/**
 * Sends exactly these bytes and gives everything that comes back: `answers` answers, or what came
 * until the server closes the connection. Each further part follows a little later. `leaveAfter`:
 * the client goes after so many milliseconds.
 */
function raw(port, parts, { answers = 1, leaveAfter = 10_000 } = {}) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1').setNoDelay(true)
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
      // The body of the last one may follow.
      if (statuses(answer).length >= answers) setTimeout(() => socket.destroy(), 50)
    })
    socket.on('error', () => {})
    const leaving = setTimeout(() => socket.destroy(), leaveAfter)
    socket.on('close', () => {
      clearTimeout(leaving)
      resolve(answer)
    })
    const [first, ...rest] = [parts].flat()
    socket.write(first, 'latin1')
    rest.forEach((part, i) => setTimeout(() => socket.write(part, 'latin1'), 30 * (i + 1)))
  })
}
const statuses = (answer) => [...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status))
const post = (body, length = body.length, more = '') => `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${more}\r\n${body}`

/** Runs `work` and gives the native calls that were made meanwhile. */
async function calls(work) {
  const made = []
  const real = {}
  for (const name of ['decide', 'decideBody', 'resume', 'abandon']) {
    real[name] = native[name]
    native[name] = (...args) => (made.push(name), real[name](...args))
  }
  try {
    await work()
  } finally {
    Object.assign(native, real)
  }
  return made
}

/**
 * Runs `work` and gives the errors that nobody caught meanwhile: each of them would end a process.
 */
async function uncaught(work) {
  const errors = []
  const listen = (error) => errors.push(error)
  const kept = ['uncaughtException', 'unhandledRejection'].map((name) => [name, process.listeners(name)])
  for (const [name] of kept) process.removeAllListeners(name).on(name, listen)
  try {
    await work()
    await sleep(20)
  } finally {
    for (const [name, listeners] of kept) {
      process.removeAllListeners(name)
      for (const listener of listeners) process.on(name, listener)
    }
  }
  return errors.map((error) => String(error?.message ?? error))
}

/**
 * Puts members on Object.prototype while `work` runs, as a prototype pollution in the application
 * does.
 */
async function polluted(members, work) {
  Object.assign(Object.prototype, members)
  try {
    return await work()
  } finally {
    for (const name of Object.keys(members)) delete Object.prototype[name]
  }
}

for (const [name, express] of expresses) {
  test(`${name}: a tight limit counts also behind a wide one of the same name`, async () => {
    const guard = createGuard({ rateLimit: { name: 'api', limit: 100, window: '1h' } })
    const app = express()
    app.use(guard.securityStack())
    app.get('/login', guard.rateLimit({ name: 'api', limit: 1, window: '1h' }), (req, res) => res.send('ok'))
    const key = (req) => req.headers['x-tenant']
    const other = createGuard({ rateLimit: { name: 'api', limit: 1, window: '1h', key } })
    app.get('/other', other.securityStack(), other.securityStack(), (req, res) => res.send('ok'))
    await serve(app, async (send) => {
      assert.deepEqual([(await send({ path: '/login' })).status, (await send({ path: '/login' })).status], [200, 429])
      const headers = { 'x-tenant': 'a' }
      assert.deepEqual([(await send({ path: '/other', headers })).status, (await send({ path: '/other', headers })).status], [200, 429], 'of another guard, and once per request')
    })
  })

  test(`${name}: what a schema has dropped does not come back with a second stack`, async () => {
    const guard = unlimited()
    const app = express()
    const strip = guard.validate({ body: z.object({ name: z.string().trim() }) })
    app.post('/', strip, ...guard.securityStack(), (req, res) => res.json({ body: req.body, valid: strip.valid(req).body }))
    await serve(app, async (send) => {
      const { body, valid } = (await send(json({ name: ' ada ', isAdmin: true }))).json
      assert.deepEqual([body, valid], [{ name: 'ada' }, { name: 'ada' }])
    })
  })

  test(`${name}: what a handler between two stacks changes is judged by the second on the bytes that came`, async () => {
    const guard = unlimited()
    const app = express()
    app.use(guard.securityStack())
    app.use((req, res, next) => ((req.body = { role: 'user' }), next()))
    app.post('/', guard.validate({ body: { type: 'object', properties: { role: { enum: ['user'] } } } }), (req, res) => res.json(req.body))
    await serve(app, async (send) => assert.equal((await send(json({ role: 'admin' }))).status, 422))
  })

  test(`${name}: a req.body that was set before the body is read replaces neither the check nor the body`, async () => {
    const guard = unlimited()
    const app = express()
    app.use((req, res, next) => ((req.body = { preset: true }), next()))
    app.post('/', guard.validate({ body: { type: 'object', required: ['a'], properties: { a: { type: 'integer' } } } }), (req, res) => res.json(req.body))
    const query = guard.validate({ query: { type: 'object', properties: {} } })
    app.get('/', query, (req, res) => res.json(query.valid(req)))
    await serve(app, async (send) => {
      assert.deepEqual((await send(json({ a: 1 }))).json, { a: 1 })
      assert.equal((await send(json({ b: 1 }))).status, 422)
      assert.equal((await send({ method: 'POST' })).status, 422)
      assert.deepEqual((await send()).json, { query: {} }, 'what had no schema is not called valid')
    })
  })

  test(`${name}: an empty chunked body passes, also with another parser behind the guard`, async () => {
    const app = express()
    app.use(unlimited().securityStack(), express.json())
    app.post('/', (req, res) => res.send('ok'))
    await serve(app, async (send) => assert.equal((await send(json('', { headers: { 'transfer-encoding': 'chunked' } }))).status, 200))
  })

  test(`${name}: a mounted router or application is judged by the whole path`, async () => {
    const guard = unlimited({ policy: { policies: { 'a.rego': 'package a\ndefault allow = false\nallow { input.path = ["v1", "open"] }\n' }, query: 'data.a.allow' } })
    const inner = express()
    inner.use(guard.securityStack())
    inner.use((req, res) => res.send(req.url))
    const app = express()
    app.use('/v1', inner)
    app.use(inner)
    await serve(app, async (send) => {
      assert.deepEqual([(await send({ path: '/v1/open' })).status, (await send({ path: '/v1/closed' })).status, (await send({ path: '/open' })).status], [200, 403, 403])
    })
  })

  test(`${name}: odd targets, methods and versions are refused or judged like any other`, async () => {
    const app = express()
    app.use(unlimited({ hosts: ['x'] }).securityStack())
    app.use((req, res) => res.send('ok'))
    const cases = [
      ['GET http://x/admin HTTP/1.1\r\nHost: x\r\n\r\n', 400],
      ['GET * HTTP/1.1\r\nHost: x\r\n\r\n', 400],
      ['GET //x/admin HTTP/1.1\r\nHost: x\r\n\r\n', 400],
      ['GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n', 400],
      ['GET /a\xff HTTP/1.1\r\nHost: x\r\n\r\n', 400],
      ['GET /a HTTP/1.1\r\nHost: y\r\n\r\n', 403],
      ['GET /a HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n', 400],
      ['GET /a HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n', 400],
      ['GET /a HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n', 400],
      ['POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
      ['GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}', 415],
      ['PROPFIND /a HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 2\r\n\r\n<>', 200],
      ['GET //a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', 400],
      ['OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n', 200],
      ['TRACE /a HTTP/1.1\r\nHost: x\r\n\r\n', 200],
      ['POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n', 200],
      ['GET /a HTTP/1.1\r\nHost: x\r\nX: caf\xe9 \xff\r\n\r\n', 200]
    ]
    await serve(app, async (send, { port }) => {
      for (const [request, status] of cases) assert.equal(statuses(await raw(port, request))[0], status, JSON.stringify(request))
      assert.equal(statuses(await raw(port, 'GET /a HTTP/1.0\r\n\r\n'))[0], 403, 'no host at all')
      assert.deepEqual(statuses(await raw(port, 'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n')), [])
      assert.equal((await send({ method: 'HEAD', path: '//a', headers: { host: 'x' } })).status, 400)
    })
  })

  test(`${name}: requests in one pipeline are judged each for itself`, async () => {
    const app = express()
    app.use(unlimited().securityStack())
    app.use((req, res) => res.json(req.body ?? null))
    await serve(app, async (_, { port }) => {
      const get = (path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`
      const answer = await raw(port, post('{"a":1}') + get('//x') + post('{"__proto__":1}') + get('/x') + post('{"b":2}'), { answers: 5 })
      assert.deepEqual(statuses(answer), [200, 400, 400, 200, 200])
      assert.match(answer, /\{"a":1\}[^]*null[^]*\{"b":2\}/)
    })
  })

  test(`${name}: an Object.prototype that the application polluted gives nobody an identity and no limit a miss`, async () => {
    const guard = createGuard({ rateLimit: { name: 'x', limit: 2, window: '1h' }, jwt: { ...jwt, optional: true } })
    const app = express()
    app.use(guard.headers(), guard.securityStack())
    app.use((req, res) => res.json([req.user ?? null, req.guard.token, req.body ?? null]))
    const evil = { u: { sub: 'evil', role: 'admin' }, k: { jti: 'evil' }, n: ['x'], r: ['evil'], v: { body: 1 }, p: 1 }
    await serve(app, async (send) => {
      const seen = await polluted(evil, async () => [await send(), await send(), await send()])
      assert.deepEqual(seen.map((answer) => answer.status), [200, 200, 429])
      assert.deepEqual(seen[0].json, [null, null, null])
    })
  })

  test(`${name}: a req.guard that another handler made up is replaced`, async () => {
    const guard = unlimited({ jwt: { ...jwt, optional: true } })
    const app = express()
    app.use((req, res, next) => ((req.guard = { token: { jti: 'x' }, client: '6.6.6.6' }), next()))
    app.use(guard.securityStack(), (req, res) => res.json([req.guard.token, req.guard.client]))
    await serve(app, async (send) => assert.deepEqual((await send()).json, [null, '127.0.0.1']))
  })
}

test('a client that went away before the guard is asked leaves nothing behind', async () => {
  const [protect] = unlimited().securityStack()
  let passed = 0
  const made = await calls(() =>
    serve((req, res) => setTimeout(protect, 60, req, res, () => passed++), async (_, { port }) => {
      await raw(port, post('{"a"', 7), { leaveAfter: 20 })
      await sleep(100)
    })
  )
  // Nobody can be named for it, so it is refused, and keeps no ticket.
  assert.deepEqual(made, ['decide'])
  assert.equal(passed, 0)
})

test('a client that goes away while an origin is asked about leaves nothing behind and reaches no handler', async () => {
  const [protect] = unlimited({ cors: { origins: slowly(true) } }).securityStack()
  let passed = 0
  const made = await calls(() =>
    serve((req, res) => protect(req, res, () => passed++), async (_, { port }) => {
      await raw(port, post('{"a"', 7, 'Origin: https://a.example\r\n'), { leaveAfter: 20 })
      await raw(port, 'GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\r\n', { leaveAfter: 20 })
      await sleep(120)
    })
  )
  assert.deepEqual(made, [], 'the core is not asked about it any more')
  assert.equal(passed, 0)
})

test('a request that another handler answered meanwhile reaches no handler and leaves nothing behind', async () => {
  const guard = createGuard({ rateLimit: { name: 'x', limit: 5, window: '1h', key: () => 'k' }, cors: { origins: slowly(true) } })
  const [protect] = guard.securityStack()
  let passed = 0
  const made = await calls(() =>
    serve(
      (req, res) => {
        setTimeout(() => ((res.statusCode = 503), res.end()), 20)
        protect(req, res, () => passed++)
      },
      async (send) => {
        assert.equal((await send(json({ a: 1 }, { headers: origin }))).status, 503)
        await sleep(100)
      }
    )
  )
  assert.deepEqual(made, [], 'the core is not asked about it any more')
  assert.equal(passed, 0)
})

test('an answer that another handler has begun is cut off by a refusal', async () => {
  const [protect] = unlimited().securityStack()
  await serve(
    (req, res) => {
      res.write('begun')
      protect(req, res, () => res.end('passed'))
    },
    async (send) => {
      assert.equal((await send()).text, 'begunpassed')
      await assert.rejects(send({ path: '//x' }))
    }
  )
})

test('a body that arrives while an origin is asked about is read whole, also when it was paused', async () => {
  const [protect] = unlimited({ cors: { origins: slowly(true) } }).securityStack()
  await serve(
    (req, res) => {
      req.pause()
      protect(req, res, () => res.end(JSON.stringify(req.body)))
    },
    async (send) => assert.deepEqual((await send(json({ a: 1 }, { headers: origin }))).json, { a: 1 })
  )
})

test('a body that was asked for as text is read all the same', async () => {
  const [protect] = unlimited().securityStack()
  const listener = (req, res) => {
    req.setEncoding('utf8')
    protect(req, res, () => res.end(JSON.stringify(req.body)))
  }
  const errors = await uncaught(() =>
    serve(listener, async (_, { port }) => assert.match(await raw(port, [post('{"a"', 7), ':1}']), /\{"a":1\}$/))
  )
  assert.deepEqual(errors, [])
})

test('a body that another handler has taken, in whole or in part, and left nowhere is refused', async () => {
  const [protect] = unlimited().securityStack()
  const whole = (req, res) => {
    req.on('data', () => {})
    req.on('end', () => protect(req, res, () => res.end('passed')))
  }
  await serve(whole, async (send) => {
    assert.equal((await send(json('{"__proto__":1}'))).status, 500)
    assert.equal((await send(json('', { headers: { 'transfer-encoding': 'chunked' } }))).status, 200, 'there was none')
  })
  const half = (req, res) => {
    req.on('data', () => {})
    setTimeout(protect, 15, req, res, () => res.end('passed'))
  }
  await serve(half, async (_, { port }) => assert.deepEqual(statuses(await raw(port, [post('{"__proto__":1} ', 18), '{}'])), [500]))
})

test('a key function that throws leaves nothing behind', async () => {
  const guard = createGuard({ rateLimit: { name: 'x', limit: 5, window: '1h', key: () => { throw new Error('no key') } } })
  const [protect] = guard.securityStack()
  const made = await calls(() => serve((req, res) => protect(req, res, () => res.end()), async (send) => assert.equal((await send(json({}))).status, 500)))
  assert.deepEqual(made, ['decide', 'abandon'])
})

test('key functions of odd results are a 500, never a pass, and a huge key is counted as one', async () => {
  for (const result of [undefined, '', 5, {}, Promise.resolve(5), ['a']]) {
    const [protect] = createGuard({ rateLimit: { name: 'x', limit: 5, window: '1h', key: () => result } }).securityStack()
    await serve((req, res) => protect(req, res, () => res.end()), async (send) => assert.equal((await send()).status, 500))
  }
  const [protect] = createGuard({ rateLimit: { name: 'x', limit: 1, window: '1h', key: () => 'x'.repeat(1e6) } }).securityStack()
  await serve((req, res) => protect(req, res, () => res.end()), async (send) => assert.deepEqual([(await send()).status, (await send()).status], [200, 429]))
})

test('an origin function of odd results allows nothing, and calls no handler twice', async () => {
  const twice = { then: (resolve) => (resolve(true), resolve(true)) }
  const fail = () => { throw new Error('x') }
  const cases = [
    [() => 1, 200, undefined],
    [slowly('yes', 1), 200, undefined],
    [() => undefined, 200, undefined],
    [fail, 500, undefined],
    [async () => fail(), 500, undefined],
    [() => ({ then: fail }), 500, undefined],
    [() => { throw undefined }, 500, undefined],
    [() => { throw { message: Symbol('x') } }, 500, undefined],
    [() => twice, 200, 'https://a.example']
  ]
  for (const [origins, status, allowed] of cases) {
    const [protect] = unlimited({ cors: { origins } }).securityStack()
    let passed = 0
    const errors = await uncaught(() =>
      serve((req, res) => protect(req, res, () => (passed++, res.end())), async (send) => {
        const answer = await send({ headers: origin })
        assert.deepEqual([answer.status, answer.headers['access-control-allow-origin']], [status, allowed], `${origins}`)
      })
    )
    assert.deepEqual([errors, passed], [[], status === 200 ? 1 : 0], `${origins}`)
  }
})

test('what a plain handler throws is its own: no layer is blamed, and no half answer is left hanging', async () => {
  const [protect] = unlimited().securityStack()
  const listener = (req, res) => {
    try {
      protect(req, res, () => { throw new Error('of the application') })
    } catch (error) {
      res.end(error.message)
    }
  }
  await serve(listener, async (send) => assert.equal((await send()).text, 'of the application'))
})

test('a log function that rejects ends no process', async () => {
  const [protect] = unlimited({ log: async () => { throw new Error('database') } }).securityStack()
  const errors = await uncaught(() => serve((req, res) => protect(req, res, () => res.end('ok')), async (send) => assert.equal((await send()).text, 'ok')))
  assert.deepEqual(errors, [])
})

test('a log event holds no query, fragment, password, token or body', async () => {
  const events = []
  const [protect] = unlimited({ jwt, log: (event) => events.push(event) }).securityStack()
  await serve((req, res) => protect(req, res, () => res.end()), async (send, { port }) => {
    for (const target of ['/a?token=s3cret', '/a#s3cret', 'http://user:s3cret@x/a', '*s3cret']) {
      await raw(port, `POST ${target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret\r\nContent-Type: s3cret\r\nContent-Length: 6\r\n\r\ns3cret`)
    }
    assert.ok(events.length >= 3)
    assert.ok(!JSON.stringify(events).includes('s3cret'), JSON.stringify(events))
  })
})

test('HTTP/2: a body without a length is read and checked, and :authority is the host', async () => {
  const [protect] = unlimited({ hosts: ['api.example'] }).securityStack()
  const server = http2.createServer((req, res) => protect(req, res, () => res.end(JSON.stringify(req.body ?? null))))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  const send = async (body, authority = 'api.example', more = {}) => {
    const stream = client.request({ ':method': body === undefined ? 'GET' : 'POST', ':path': '/', ':authority': authority, ...more })
    const answered = once(stream, 'response')
    stream.end(body)
    const [headers] = await answered
    let text = ''
    for await (const chunk of stream) text += chunk
    return [headers[':status'], text]
  }
  try {
    const type = { 'content-type': 'application/json' }
    assert.deepEqual(await send(), [200, 'null'])
    assert.deepEqual(await send('{"a":1}', 'api.example', type), [200, '{"a":1}'])
    assert.equal((await send('{"__proto__":1}', 'api.example', type))[0], 400)
    assert.equal((await send('{"a":1}', 'api.example'))[0], 415)
    assert.equal((await send(JSON.stringify('a'.repeat(200_000)), 'api.example', type))[0], 413)
    assert.equal((await send(undefined, 'evil.example'))[0], 403)
  } finally {
    client.destroy()
    server.close()
  }
})

test('a zod check that throws or rejects is a 500 and ends no process', async () => {
  const guard = unlimited()
  const bad = () => { throw new Error('s3cret') }
  for (const schema of [z.object({ a: z.string().refine(bad) }), z.object({ a: z.string().refine(async () => bad()) }), z.object({ a: z.string().transform(bad) })]) {
    const [protect] = guard.securityStack({ body: schema })
    const errors = await uncaught(() =>
      serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
        const answer = await send(json({ a: 'x' }))
        assert.equal(answer.status, 500)
        assert.ok(!answer.text.includes('s3cret'))
      })
    )
    assert.deepEqual(errors, [])
  }
})

test('an error of a second stage points to its key, whatever the key is', async () => {
  const [protect] = unlimited().securityStack({ body: z.record(z.string(), z.string().refine((text) => text === 'ok')) })
  await serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
    for (const key of ['a/b~c', `${'a'.repeat(63)}😀x`, '😀'.repeat(70), '%', 'é']) {
      const answer = await send(json({ [key]: 'no' }))
      assert.equal(answer.status, 422, answer.text)
      const [error] = answer.json.errors
      assert.ok(decodeURI(error.pointer).startsWith(`#/${key.replaceAll('~', '~0').replaceAll('/', '~1').slice(0, 60)}`), error.pointer)
    }
  })
})

test('a library whose messages repeat what was sent does not get them into a refusal', async () => {
  const schema = {
    '~standard': {
      version: 1,
      vendor: 'valibot',
      validate: (value) => ({ issues: [{ message: `Invalid length: Received "${value.password}"`, path: ['password'] }] }),
      jsonSchema: { input: () => ({ type: 'object', properties: { password: { type: 'string' } } }) }
    }
  }
  const [protect] = unlimited().securityStack({ body: schema })
  await serve((req, res) => protect(req, res, () => res.end('passed')), async (send) => {
    const answer = await send(json({ password: 'hunter2' }))
    assert.deepEqual([answer.status, answer.json.errors[0].pointer], [422, '#/password'])
    assert.ok(!answer.text.includes('hunter2'))
  })
})

test('zod schemas for query, params and headers read text as their types', async () => {
  const [, express] = expresses[0]
  const check = unlimited().validate({ query: z.object({ page: z.coerce.number().int().default(1), on: z.stringbool().optional() }), params: z.object({ id: z.coerce.number().int() }), headers: z.object({ 'x-tenant': z.string().min(2) }) })
  const app = express()
  app.get('/u/:id', check, (req, res) => res.json(check.valid(req)))
  await serve(app, async (send) => {
    const headers = { 'x-tenant': 'acme', ['__proto__']: 'x' }
    assert.deepEqual((await send({ path: '/u/5?page=2&on=yes', headers })).json, { query: { page: 2, on: true }, params: { id: 5 }, headers: { 'x-tenant': 'acme' } })
    assert.deepEqual((await send({ path: '/u/5', headers })).json.query, { page: 1 })
    for (const path of ['/u/x', '/u/5?page=x', '/u/5?on=perhaps', '/u/5?page=1&page=2', '/u/5?__proto__=1']) assert.ok([400, 422].includes((await send({ path, headers })).status), path)
  })
})

test('a Vary that is a list is kept, and removed headers go in every form that writeHead takes', async () => {
  const [protect] = unlimited({ cors: { origins: ['https://a.example'] }, headers: { remove: ['Server'] } }).securityStack()
  const frozen = Object.freeze({ Server: 'x', 'X-A': '1' })
  const listener = (req, res) => {
    res.setHeader('Vary', ['Accept', 'Cookie'])
    protect(req, res, () => {
      if (req.url === '/list') res.writeHead(200, ['Server', 'x', 'X-A', '1'])
      else res.writeHead(200, 'OK', frozen)
      res.end()
    })
  }
  await serve(listener, async (send) => {
    for (const path of ['/list', '/object']) {
      const { headers } = await send({ path, headers: origin })
      assert.deepEqual([headers.server, headers['x-a']], [undefined, '1'], path)
    }
    assert.deepEqual((await send({ path: '/object', headers: origin })).headers.vary.split(/, ?/), ['Accept', 'Cookie', 'Origin'])
  })
})

test('clients of a Unix socket are counted', { skip: process.platform === 'win32' }, async () => {
  const [protect] = createGuard({ rateLimit: { name: 'x', limit: 1, window: '1h' } }).securityStack()
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
  const server = http.createServer((req, res) => protect(req, res, () => res.end()))
  server.listen(join(folder, 'socket'))
  await once(server, 'listening')
  const get = async () => {
    const [response] = await once(http.get({ socketPath: join(folder, 'socket'), agent: false }), 'response')
    response.resume()
    return response.statusCode
  }
  try {
    assert.deepEqual([await get(), await get()], [200, 429])
  } finally {
    server.close()
    rmSync(folder, { recursive: true })
  }
})

test('a role or plan of an odd type is nobody\'s tier', async () => {
  const guard = createGuard({ jwt, rateLimit: { name: 'x', limit: 1, window: '1h', key: 'user', tiers: { admin: { limit: 3 }, toString: { limit: 5 } } } })
  const [protect] = guard.securityStack()
  await serve((req, res) => protect(req, res, () => res.end()), async (send) => {
    for (const claims of [{ role: [1, null] }, { roles: { 0: 'admin' } }, { role: { admin: 1 } }, { roles: [['admin']] }, { role: 'ADMIN' }, {}]) {
      const { accessToken } = await guard.tokens.issue({ sub: JSON.stringify(claims), ...claims })
      assert.match((await send({ headers: bearer(accessToken) })).headers['ratelimit-policy'], /q=1;/, JSON.stringify(claims))
    }
  })
})

test('a layer that is switched off where it is mounted alone throws, rather than let everything pass', () => {
  const guard = createGuard({ jwt, policy: { policies: { 'a.rego': 'package a\ndefault allow = false\n' }, query: 'data.a.allow' } })
  for (const layer of ['headers', 'cors', 'rateLimit', 'authenticate', 'authorize']) {
    assert.throws(() => guard[layer](false), (error) => error.code === 'ERR_INVALID_OPTION', layer)
  }
})

test('claims and policy input that JSON has no word for are refused instead of becoming strings', async () => {
  const guard = createGuard({ jwt, policy: { policies: { 'a.rego': 'package a\ndefault allow = false\n' }, query: 'data.a.allow' } })
  for (const odd of [() => {}, Symbol('x'), 5n, NaN, Infinity, Buffer.from('x'), new Map(), /x/, [undefined]]) {
    await assert.rejects(guard.tokens.issue({ sub: 'a', odd }), (error) => error.code === 'ERR_INVALID_ARGUMENT' && error.path.startsWith('claims.odd'))
    await assert.rejects(guard.policy.evaluate({ odd }), (error) => error.code === 'ERR_INVALID_ARGUMENT')
  }
  const { accessToken } = await guard.tokens.issue({ sub: 'a', name: '\0function', list: [1, null, { x: true }] })
  const { name, list } = await guard.tokens.verify(accessToken)
  assert.deepEqual([name, list], ['\0function', [1, null, { x: true }]])
})

test('a secret as bytes of another realm, as in a test runner, is read as bytes', async () => {
  const bytes = runInNewContext('Uint8Array.from(bytes)', { bytes: [...Buffer.from(SECRET)] })
  const { accessToken } = await createGuard({ jwt: { ...jwt, secret: bytes } }).tokens.issue({ sub: 'ada' })
  assert.equal((await createGuard({ jwt }).tokens.verify(accessToken)).sub, 'ada')
})

test('options of odd kinds are refused with a GuardError or the error of their own getter', () => {
  const boom = new Error('of the getter')
  assert.throws(() => createGuard({ get jwt() { throw boom } }), boom)
  assert.throws(() => createGuard(new Proxy({}, { ownKeys: () => ['jwt'], getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }), get: () => 5 })), { code: 'ERR_INVALID_OPTION' })
  assert.throws(() => createGuard(JSON.parse('{"__proto__":{"rateLimit":false}}')), { code: 'ERR_UNKNOWN_OPTION' })
  assert.throws(() => createGuard(new Map([['jwt', {}]])), { code: 'ERR_INVALID_OPTION' })
  assert.throws(() => createGuard([]), { code: 'ERR_INVALID_OPTION' })
  assert.throws(() => createGuard(null), { code: 'ERR_INVALID_OPTION' })
})

test('policy data that JSON has no word for is refused instead of becoming a string', () => {
  for (const odd of [() => {}, Symbol('x'), NaN, new Map()]) {
    assert.throws(() => createGuard({ policy: { policies: { 'a.rego': 'package a\ndefault allow = false\n' }, query: 'data.a.allow', data: { roles: odd } } }), (error) => error.code === 'ERR_INVALID_OPTION' && error.path.startsWith('policy.data'))
  }
})

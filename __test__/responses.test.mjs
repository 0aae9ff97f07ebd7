// Answers of handlers against their schemas: what is not declared never leaves.

import test from 'node:test'
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { once } from 'node:events'
import { pipeline, Readable } from 'node:stream'
import { runInNewContext } from 'node:vm'
import { z } from 'zod'
import Type from 'typebox'
import { type } from 'arktype'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { expresses, serve } from './helpers/http.mjs'

const [, express] = expresses[0]
const user = { type: 'object', properties: { id: { type: 'integer' }, name: { type: 'string' } }, required: ['id'] }
const row = { id: 1, name: 'ada', password: 'hunter2', nested: { secret: 1 } }

for (const [name, express] of expresses) {
  test(`${name}: res.json and res.send lose what the schema does not declare`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.get('/user', guard.validate({ response: { 200: user } }), (req, res) => res.json(row))
    app.get('/list', guard.validate({ response: { '2xx': { type: 'array', items: user } } }), (req, res) => res.status(206).send([row, { id: 2 }]))
    app.get('/text', guard.validate({ response: { default: user } }), (req, res) => res.type('json').send(JSON.stringify(row)))
    app.get('/bytes', guard.validate({ response: { default: user } }), (req, res) => res.type('json').send(Buffer.from(JSON.stringify(row))))
    app.get('/end', guard.validate({ response: { default: user } }), (req, res) => res.type('json').end(JSON.stringify(row)))
    app.get('/zod', guard.validate({ response: { 200: z.object({ id: z.int(), name: z.string() }) } }), (req, res) => res.json(row))
    app.get('/stack', ...guard.securityStack({ response: { 200: user } }), (req, res) => res.json(row))
    app.get('/other', guard.validate({ response: { 200: user } }), (req, res) => res.status(404).json(row))
    app.get('/html', guard.validate({ response: { default: user } }), (req, res) => res.send('<p>password</p>'))
    app.get('/exact', guard.validate({ response: { 200: user } }), (req, res) => res.json({ id: 1 }))
    await serve(app, async (send) => {
      for (const path of ['/user', '/text', '/bytes', '/end', '/zod', '/stack']) {
        const answer = await send({ path })
        assert.deepEqual(answer.json, { id: 1, name: 'ada' }, `${path}: ${answer.text}`)
        assert.equal(answer.headers['content-length'], String(Buffer.byteLength(answer.text)), path)
        assert.match(answer.headers['content-type'], /^application\/json/)
      }
      const etag = (await send({ path: '/user' })).headers.etag
      assert.equal((await send({ path: '/user', headers: { 'if-none-match': etag } })).status, 304)
      assert.deepEqual((await send({ path: '/list' })).json, [{ id: 1, name: 'ada' }, { id: 2 }])
      // No schema is about these.
      assert.equal((await send({ path: '/other' })).json.password, 'hunter2')
      assert.equal((await send({ path: '/html' })).text, '<p>password</p>')
      assert.deepEqual((await send({ path: '/exact' })).json, { id: 1 })
      const head = await send({ path: '/user', method: 'HEAD' })
      assert.deepEqual([head.status, head.text], [200, ''])
    })
  })

  test(`${name}: an answer of another form is a 500 that says nothing of it`, async () => {
    const events = []
    const guard = createGuard({ rateLimit: false, log: (event) => events.push(event) })
    const app = express()
    const wrong = { ...row, id: 'hunter2' }
    app.get('/strip', guard.validate({ response: { 200: user } }), (req, res) => res.set('Cache-Control', 'max-age=60').json(wrong))
    app.get('/fail', guard.validate({ response: { 200: user }, onResponse: 'fail' }), (req, res) => res.json(row))
    app.get('/end', guard.validate({ response: { 200: user }, onResponse: 'fail' }), (req, res) => res.type('json').end(JSON.stringify(row)))
    app.get('/warn', guard.validate({ response: { 200: user }, onResponse: 'warn' }), (req, res) => res.json(wrong))
    app.get('/broken', guard.validate({ response: { 200: user }, onResponse: 'fail' }), (req, res) => res.type('json').send('{"id":1,"id":2}'))
    await serve(app, async (send) => {
      for (const path of ['/strip', '/fail', '/end', '/broken']) {
        const answer = await send({ path })
        assert.equal(answer.status, 500, path)
        assert.equal(answer.json.code, 'response_mismatch')
        assert.match(answer.headers['content-type'], /^application\/problem\+json/)
        assert.equal(answer.headers['content-length'], String(answer.text.length))
        assert.equal(answer.headers['cache-control'], undefined)
        assert.ok(!answer.text.includes('hunter2'))
      }
      assert.deepEqual((await send({ path: '/warn' })).json, wrong)
      const told = events.filter((event) => event.outcome === 'response')
      assert.deepEqual(told.map((event) => `${event.path} ${event.code}`), ['/strip', '/fail', '/end', '/broken', '/warn'].map((path) => `${path} response_mismatch`))
    })
  })
}

test('node:http: res.end is judged, whichever way its head was written, and streams are left alone', async () => {
  const guard = createGuard({ rateLimit: false })
  const check = guard.validate({ response: { 200: user } })
  const text = JSON.stringify(row)
  const ways = {
    '/plain': (res) => res.setHeader('Content-Type', 'application/json').end(text),
    '/head': (res) => res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }).end(text),
    '/message': (res) => res.writeHead(200, 'Fine', ['Content-Type', 'application/json', 'X-A', '1', 'X-A', '2']).end(Buffer.from(text)),
    '/callback': (res) => res.setHeader('Content-Type', 'application/vnd.api+json').end(text, 'utf8', () => {}),
    '/late': (res) => setImmediate(() => res.writeHead(200, { 'Content-Type': 'application/json' }).end(text)),
    '/stream': (res) => {
      res.writeHead(200, { 'Content-Type': 'application/json' })
      res.write(text.slice(0, 5))
      res.end(text.slice(5))
    },
    '/empty': (res) => res.writeHead(204).end()
  }
  await serve((req, res) => check(req, res, () => ways[req.url](res)), async (send) => {
    for (const path of ['/plain', '/head', '/message', '/callback', '/late']) {
      const answer = await send({ path })
      assert.deepEqual(answer.json, { id: 1, name: 'ada' }, `${path}: ${answer.text}`)
      assert.equal(answer.headers['content-length'], String(Buffer.byteLength(answer.text)), path)
    }
    assert.equal((await send({ path: '/message' })).headers['x-a'], '1, 2')
    assert.deepEqual((await send({ path: '/stream' })).json, row)
    assert.equal((await send({ path: '/empty' })).status, 204)
  })
})

test('a member declared as false is dropped, and the refusal of a layer behind is sent as it is', async () => {
  const guard = createGuard({ rateLimit: false, jwt })
  const open = { type: 'object', properties: { password: false }, additionalProperties: true }
  const app = express()
  app.get('/false', guard.validate({ response: { 200: open } }), (req, res) => res.json(row))
  app.get('/fail', guard.validate({ response: { 200: open }, onResponse: 'fail' }), (req, res) => res.json(row))
  app.get('/refused', guard.validate({ response: { default: user } }), guard.require({ scope: 'admin' }), (req, res) => res.json(row))
  await serve(app, async (send) => {
    const { password, ...rest } = row
    assert.deepEqual((await send({ path: '/false' })).json, rest)
    assert.equal((await send({ path: '/fail' })).status, 500, password)
    const refused = await send({ path: '/refused' })
    assert.deepEqual([refused.status, refused.json.code, refused.json.status], [401, 'token_missing', 401])
  })
})

test('what a recursive schema of TypeBox does not declare stays here, and tuples are read as TypeBox writes them', async () => {
  const guard = createGuard({ rateLimit: false })
  const node = Type.Cyclic({ Node: Type.Object({ name: Type.String(), friends: Type.Array(Type.Ref('Node')) }) }, 'Node')
  const pair = Type.Object({ pair: Type.Tuple([Type.Integer(), user]) })
  const ada = (friends) => ({ name: 'ada', passwordHash: 'hunter2', friends })
  const app = express()
  app.get('/node', guard.validate({ response: { 200: node } }), (req, res) => res.json(ada([ada([])])))
  app.get('/pair', guard.validate({ response: { 200: pair } }), (req, res) => res.json({ pair: [1, row] }))
  app.get('/long', guard.validate({ response: { 200: pair } }), (req, res) => res.json({ pair: [1, row, 3] }))
  await serve(app, async (send) => {
    assert.deepEqual((await send({ path: '/node' })).json, { name: 'ada', friends: [{ name: 'ada', friends: [] }] })
    assert.deepEqual((await send({ path: '/pair' })).json, { pair: [1, { id: 1, name: 'ada' }] })
    assert.equal((await send({ path: '/long' })).status, 500)
  })
})

test('node:http: an answer is judged however Node lets its status, message and type be written', async () => {
  const guard = createGuard({ rateLimit: false })
  const validate = guard.validate({ response: { '2xx': user } })
  const answers = {
    '/undefined': (res) => res.writeHead(200, undefined, { 'Content-Type': 'application/json', 'X-A': '1' }),
    '/null': (res) => res.writeHead(200, null, { 'Content-Type': 'application/json', 'X-A': '1' }),
    '/message': (res) => res.writeHead(200, 'Fine', { 'Content-Type': 'application/json', 'X-A': '1' }),
    '/text': (res) => {
      res.statusCode = '200'
      res.setHeader('X-A', '1')
      res.setHeader('Content-Type', 'application/json')
    },
    '/blank': (res) => res.setHeader('Content-Type', ' application/json').setHeader('X-A', '1'),
    '/list': (res) => res.setHeader('Content-Type', ['text/plain', 'application/json']).setHeader('X-A', '1')
  }
  await serve((req, res) => validate(req, res, () => {
    answers[req.url](res)
    res.end(JSON.stringify(row))
  }), async (send) => {
    for (const path of Object.keys(answers)) {
      const answer = await send({ path })
      assert.deepEqual([answer.status, answer.text, answer.headers['x-a']], [200, '{"id":1,"name":"ada"}', '1'], path)
    }
  })
})

test('what is stripped goes out with the length and the names of what is sent', async () => {
  const guard = createGuard({ rateLimit: false })
  const answers = {
    '/chunked': [200, { 'Transfer-Encoding': 'chunked' }],
    '/trailer': [200, { Trailer: 'X-Sum' }],
    '/both': [200, { Trailer: 'X-Sum', 'Transfer-Encoding': 'chunked' }],
    '/names': [200, { ETag: '"1"', 'Content-Digest': 'sha-256=:YQ==:', 'Repr-Digest': 'sha-256=:YQ==:', 'Content-MD5': 'YQ==', Digest: 'sha-256=YQ==' }],
    '/bytes': [206, { 'Content-Range': 'bytes 0-99/100' }],
    '/items': [206, { 'Content-Range': 'items 0-9/100' }]
  }
  for (const onResponse of ['strip', 'fail']) {
    const check = guard.validate({ response: { '2xx': user }, onResponse })
    await serve((req, res) => check(req, res, () => {
      const [status, headers] = answers[req.url]
      res.writeHead(status, { 'Content-Type': 'application/json', ...headers })
      if (headers.Trailer !== undefined) res.addTrailers({ 'X-Sum': '1' })
      res.end(JSON.stringify(row))
    }), async (send) => {
      for (const path of Object.keys(answers)) {
        const { status, headers, json, text } = await send({ path })
        assert.deepEqual([status, json.id, json.code], onResponse === 'strip' ? [answers[path][0], 1, undefined] : [500, undefined, 'response_mismatch'], path)
        const lengths = [headers['content-length'], headers['transfer-encoding']]
        assert.deepEqual(lengths.filter((length) => length !== undefined), [onResponse === 'strip' && ['/chunked', '/trailer', '/both'].includes(path) ? 'chunked' : String(text.length)], path)
        const about = ['etag', 'content-digest', 'repr-digest', 'content-md5', 'digest', 'content-range'].filter((name) => headers[name] !== undefined)
        assert.deepEqual(about, onResponse === 'strip' && path === '/items' ? ['content-range'] : [], path)
      }
    })
  }
})

test('node:http: a status and a second head are what Node says of them', async () => {
  const guard = createGuard({ rateLimit: false })
  const check = guard.validate({ response: { '2xx': user } })
  const found = []
  const ways = {
    '/twice': (res) => {
      res.writeHead(200, { 'Content-Type': 'application/json' })
      try {
        res.writeHead(201)
      } catch (error) {
        found.push(error.code)
      }
      res.end(JSON.stringify(row))
    },
    '/bad': (res) => {
      res.setHeader('Content-Type', 'application/json')
      res.statusCode = 99
      try {
        res.end(JSON.stringify(row))
      } catch (error) {
        found.push(error.code)
        res.statusCode = 500
        res.removeHeader('Content-Type')
        res.end('an error handler says more than that')
      }
    },
    '/head': (res) => {
      try {
        res.writeHead(99)
      } catch (error) {
        found.push(error.code)
        res.writeHead(500).end()
      }
    },
    '/text': (res) => {
      res.statusCode = '204'
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify(row))
    }
  }
  await serve((req, res) => check(req, res, () => ways[req.url](res)), async (send) => {
    assert.deepEqual((await send({ path: '/twice' })).json, { id: 1, name: 'ada' })
    assert.equal((await send({ path: '/bad' })).text, 'an error handler says more than that')
    assert.equal((await send({ path: '/head' })).status, 500)
    assert.equal((await send({ path: '/text' })).headers['content-length'], undefined)
  })
  assert.deepEqual(found, ['ERR_HTTP_HEADERS_SENT', 'ERR_HTTP_INVALID_STATUS_CODE', 'ERR_HTTP_INVALID_STATUS_CODE'])
})

test('bytes of another realm and nested checks are judged, and the 500 of an inner check stays as it is', async () => {
  const guard = createGuard({ rateLimit: false })
  const bytes = runInNewContext('(bytes) => Uint8Array.from(bytes)')(Buffer.from(JSON.stringify(row)))
  const id = { type: 'object', properties: { id: { type: 'integer' } } }
  const text = { type: 'object', properties: { id: { type: 'string' } } }
  const app = express()
  app.get('/bytes', guard.validate({ response: { 200: user } }), (req, res) => res.type('json').end(bytes))
  app.get('/nested', guard.validate({ response: { default: id } }), guard.validate({ response: { 200: user } }), (req, res) => res.json(row))
  for (const [path, send] of [['/send', (res) => res.json(row)], ['/end', (res) => res.type('json').end(JSON.stringify(row))]]) {
    app.get(path, guard.validate({ response: { default: id } }), guard.validate({ response: { 200: text }, onResponse: 'fail' }), (req, res) => send(res))
  }
  await serve(app, async (send) => {
    assert.deepEqual((await send({ path: '/bytes' })).json, { id: 1, name: 'ada' })
    assert.deepEqual((await send({ path: '/nested' })).json, { id: 1 })
    for (const path of ['/send', '/end']) assert.equal((await send({ path })).json.code, 'response_mismatch')
  })
})

for (const [name, express] of expresses) {
  test(`${name}: what res.jsonp sends is judged, whether the client asks for a script or not`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    app.get('/strip', guard.validate({ response: { 200: user } }), (req, res) => res.jsonp({ ...row, name: 'a\u2028b' }))
    app.get('/exact', guard.validate({ response: { 200: user } }), (req, res) => res.jsonp({ id: 1 }))
    app.get('/fail', guard.validate({ response: { 200: user }, onResponse: 'fail' }), (req, res) => res.jsonp(row))
    await serve(app, async (send) => {
      assert.deepEqual((await send({ path: '/strip' })).json, { id: 1, name: 'a\u2028b' })
      const script = await send({ path: '/strip?callback=f' })
      assert.equal(script.text, '/**/ typeof f === \'function\' && f({"id":1,"name":"a\\u2028b"});')
      assert.match(script.headers['content-type'], /^text\/javascript/)
      assert.equal((await send({ path: '/exact?callback=f' })).text, '/**/ typeof f === \'function\' && f({"id":1});')
      for (const path of ['/fail', '/fail?callback=f']) {
        const { status, headers, json } = await send({ path })
        assert.deepEqual([status, json.code], [500, 'response_mismatch'])
        assert.match(headers['content-type'], /^application\/problem\+json/)
      }
    })
  })
}

test('HTTP/2: what goes on over res.stream has the head that was written before', async () => {
  const guard = createGuard({ rateLimit: false })
  const check = guard.validate({ response: { '2xx': user } })
  const head = { 'content-type': 'application/json', 'set-cookie': 'a=1' }
  const ways = {
    '/end': (res) => res.writeHead(403, head) && res.stream.end('denied'),
    '/pipe': (res) => res.writeHead(403, head) && pipeline(Readable.from(['denied']), res.stream, () => {}),
    '/judged': (res) => res.writeHead(200, head).end(JSON.stringify(row))
  }
  const server = http2.createServer((req, res) => check(req, res, () => ways[req.url](res)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  const ask = async (path) => {
    const stream = client.request({ ':path': path })
    const [headers] = await once(stream, 'response')
    return [headers[':status'], headers['set-cookie'], Buffer.concat(await stream.toArray()).toString()]
  }
  try {
    for (const path of ['/end', '/pipe']) assert.deepEqual(await ask(path), [403, ['a=1'], 'denied'])
    assert.deepEqual(await ask('/judged'), [200, ['a=1'], '{"id":1,"name":"ada"}'])
  } finally {
    client.close()
    server.close()
  }
})

test('an answer under way when its guard is closed is still judged', async () => {
  for (const onResponse of ['strip', 'fail', 'warn']) {
    const guard = createGuard({ rateLimit: false })
    const check = guard.validate({ response: { 200: user }, onResponse })
    await serve((req, res) => check(req, res, async () => {
      await guard.close()
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify(req.url === '/exact' ? { id: 1 } : row))
    }), async (send) => {
      assert.deepEqual((await send({ path: '/exact' })).json, { id: 1 }, onResponse)
    })
  }
  const guard = createGuard({ rateLimit: false })
  const check = guard.validate({ response: { 200: user } })
  await serve((req, res) => check(req, res, async () => {
    await guard.close()
    res.setHeader('Content-Type', 'application/json').end(JSON.stringify(row))
  }), async (send) => {
    assert.deepEqual((await send({})).json, { id: 1, name: 'ada' })
    assert.equal((await send({})).json.code, 'guard_closed', 'and the next request is refused')
  })
})

test('a pattern of a library, whose flags JSON Schema does not have, refuses no answer', async () => {
  const guard = createGuard({ rateLimit: false })
  const schemas = [z.strictObject({ s: z.string().regex(/^a$/i) }), type({ s: /^a$/i }), z.strictObject({ s: z.string().regex(/^.{2}$/) }), z.strictObject({ s: z.string().regex(/^é\b/) })]
  const app = express()
  schemas.forEach((schema, i) => app.get(`/${i}`, guard.validate({ response: { 200: schema } }), (req, res) => res.json({ s: ['A', 'A', '😀', 'éx'][i] })))
  await serve(app, async (send) => {
    for (const i of schemas.keys()) assert.equal((await send({ path: `/${i}` })).status, 200, String(i))
  })
})

// Multipart bodies where a route asks for them: files in memory, in a folder and as streams, on
// every host, and what is left of them when a request is refused.

import { describe, test } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import multer from 'multer'
import { z } from 'zod'
import { createGuard } from 'keepstone'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { send as sendTo, serve } from './helpers/http.mjs'

const PNG = Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')
const Fields = { type: 'object', required: ['title'], properties: { title: { type: 'string' }, stars: { type: 'integer' }, tags: { type: 'array', items: { type: 'string' } } } }
const unlimited = (more = {}) => createGuard({ rateLimit: false, ...more })
const code = ({ status, json }) => [status, json?.code]

/** A form as `fetch` writes it: bytes and headers. */
async function form(entries) {
  const data = new FormData()
  for (const [name, value, file] of entries) {
    if (file === undefined) data.append(name, value)
    else data.append(name, new Blob([value], { type: 'application/octet-stream' }), file)
  }
  const request = new Request('http://x', { method: 'POST', body: data })
  return { method: 'POST', headers: { 'content-type': request.headers.get('content-type') }, body: Buffer.from(await request.arrayBuffer()) }
}

/** A body as it is, with the boundary `b`. */
const bytes = (body, headers = {}) => ({ method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=b', ...headers }, body })
const part = (head, content) => `--b\r\nContent-Disposition: form-data; ${head}\r\n\r\n${content}\r\n`

/** A folder of its own, for one test. */
function folder(t) {
  const path = mkdtempSync(join(tmpdir(), 'uploads-'))
  t.after(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Waits until `isTrue()`. */
async function until(isTrue) {
  for (let i = 0; i < 500 && !isTrue(); i += 1) await sleep(10)
  assert.ok(isTrue())
}

/** Serves one route while `use(send)` runs. */
function route(options, handler, use) {
  const app = express()
  const guard = unlimited()
  app.post('/', guard.validate(options), handler)
  return serve(app, use)
}
const describeBody = ({ body }) => ({ ...body, avatar: body.avatar && { ...body.avatar, bytes: body.avatar.bytes?.toString('hex') } })
const echo = (req, res) => res.json(describeBody(req))
const avatar = { types: ['image/png', 'image/gif'], maxBytes: '1kb' }
const multipart = (files, more = {}) => ({ payload: { types: ['multipart'], files, ...more } })

for (const [name, start] of hosts) {
  describe(name, () => {
    const ask = serveRoutes(start, unlimited(), [
      ['post', '/files', { body: Fields, ...multipart({ avatar, scans: { types: ['text/csv'], maxCount: 2, optional: true } }) }, ({ body }) => [200, { ...describeBody({ body }), scans: body.scans.map(({ name: own, bytes: content }) => [own, content.toString()]) }]]
    ])
    const good = [['avatar', PNG, 'me.png'], ['stars', '5'], ['title', 'a\r\nb'], ['tags', 'x'], ['tags', 'y']]

    test('fields have the types of the schema, and a file its content and the kind that this tells', async () => {
      const { status, json } = await ask('/files', await form(good))
      assert.equal(status, 200)
      assert.deepEqual(json, { title: 'a\r\nb', stars: 5, tags: ['x', 'y'], scans: [], avatar: { field: 'avatar', name: 'me.png', type: 'image/png', size: 16, bytes: PNG.toString('hex') } })
    })

    test('what is not as it is declared is refused with the code of its kind', async () => {
      const cases = [
        [[...good, ['extra', '1']], 422, 'validation_failed', '#/extra'],
        [[...good, ['extra', PNG, 'x.png']], 422, 'validation_failed', '#/extra'],
        [good.slice(1), 422, 'validation_failed', '#/avatar'],
        [good.filter(([own]) => own !== 'title'), 422, 'validation_failed', '#/title'],
        [[...good, ['title', 'again']], 400, 'duplicate_key', '#/title'],
        [[...good, ['avatar', PNG, 'b.png']], 400, 'duplicate_key', '#/avatar'],
        [[...good, ['__proto__', '1']], 400, 'forbidden_key', '#/__proto__'],
        [[...good, ['$where', '1']], 400, 'operator_key', '#/$where'],
        [[['avatar', Buffer.from('MZ\x90\0'), 'me.png'], ...good.slice(1)], 415, 'unsupported_media_type', '#/avatar'],
        [[['avatar', Buffer.concat([PNG, Buffer.alloc(1024)]), 'me.png'], ...good.slice(1)], 413, 'body_too_large', '#/avatar'],
        [[['avatar', PNG, '../me.png'], ...good.slice(1)], 400, 'forbidden_file_name', '#/avatar']
      ]
      for (const [entries, status, wanted, pointer] of cases) {
        const answer = await ask('/files', await form(entries))
        assert.deepEqual([...code(answer), answer.json?.errors?.[0]?.pointer], [status, wanted, pointer])
      }
    })

    test('a client that sends on while its file is refused gets the answer', async () => {
      for (let i = 0; i < 5; i += 1) {
        const answer = await ask('/files', await form([['other', Buffer.alloc(1_900_000, 'x'), 'a'], ...good]))
        assert.deepEqual(code(answer), [422, 'validation_failed'])
      }
    })

    test('a frame that is not that of RFC 7578 is refused with one code', async () => {
      const file = part('name="avatar"; filename="a.png"', PNG.toString('latin1'))
      const title = part('name="title"', '1')
      for (const body of [`x${title}--b--`, `${title}`, `${title}--b--x`, `--b \r\n${title}--b--`, `${file}${title}--b`, '--b\r\n\r\n1\r\n--b--']) {
        assert.deepEqual(code(await ask('/files', bytes(Buffer.from(body, 'latin1')))), [400, 'malformed_multipart'])
      }
      assert.deepEqual(code(await ask('/files', { ...bytes('x'), headers: { 'content-type': 'multipart/form-data' } })), [400, 'malformed_multipart'])
      assert.deepEqual(code(await ask('/files', bytes('x', { 'content-encoding': 'gzip' }))), [415, 'unsupported_encoding'])
      assert.deepEqual(code(await ask('/files', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"title":"a","avatar":{"bytes":""}}' })), [415, 'unsupported_media_type'])
      assert.deepEqual(code(await ask('/files', { method: 'POST' })), [422, 'validation_failed'])
    })
  })
}

test('a file goes to a folder for as long as the request lasts, unless the handler moves it', async (t) => {
  const directory = folder(t)
  const kept = folder(t)
  let seen
  await route(multipart({ scan: { types: ['*/*'], maxBytes: '20mb', maxCount: 3, to: { directory } } }), (req, res) => {
    seen = req.body.scan.map(({ path, size, name }) => ({ content: readFileSync(path).length, size, name }))
    renameSync(req.body.scan[0].path, join(kept, 'a'))
    res.json(readdirSync(directory).length)
  }, async (send) => {
    const big = Buffer.alloc(5_000_000, 'x')
    const answer = await send(await form([['scan', big, 'a'], ['scan', 'b', 'b'], ['scan', '', 'c']]))
    assert.deepEqual([answer.status, answer.json], [200, 2])
    assert.deepEqual(seen, [{ content: 5_000_000, size: 5_000_000, name: 'a' }, { content: 1, size: 1, name: 'b' }, { content: 0, size: 0, name: 'c' }])
    await until(() => readdirSync(directory).length === 0)
    assert.ok(readFileSync(join(kept, 'a')).equals(big))
  })
})

test('nothing is left in the folder of a request that is refused, breaks off or is too slow', async (t) => {
  const directory = folder(t)
  const files = { scan: { types: ['*/*'], maxBytes: '1mb', maxCount: 3, to: { directory } } }
  const app = express()
  const guard = unlimited()
  let handled = 0
  const handler = (_req, res) => res.json((handled += 1))
  app.post('/', guard.validate({ body: Fields, ...multipart(files, { timeout: '300ms' }) }), handler)
  app.post('/zod', guard.validate({ body: z.object({ title: z.string().refine((text) => text === 'no') }), ...multipart(files) }), handler)
  app.post('/later', guard.validate({ body: Fields, ...multipart(files) }), guard.validate({ headers: { type: 'object', required: ['x-must'], properties: { 'x-must': { type: 'string' } } } }), handler)
  await serve(app, async (send, { port }) => {
    const scan = ['scan', Buffer.alloc(100_000, 'x'), 'a']
    for (const [path, entries, wanted] of [
      ['/', [scan, scan], 422],
      ['/', [scan, ['title', 'a'], ['scan', 'x', '..']], 400],
      ['/', [scan, ['title', 'a'], ['scan', Buffer.alloc(2_000_000), 'b']], 413],
      ['/', [scan, scan, scan, scan, ['title', 'a']], 422],
      ['/zod', [scan, ['title', 'a']], 422],
      ['/later', [scan, ['title', 'a']], 422]
    ]) {
      assert.equal((await send({ path, ...(await form(entries)) })).status, wanted)
      await until(() => readdirSync(directory).length === 0)
    }
    const head = `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 500000\r\n\r\n${part('name="scan"; filename="a"', 'x'.repeat(100_000)).slice(0, -2)}`
    const broken = net.connect(port, '127.0.0.1')
    broken.write(head)
    await until(() => readdirSync(directory).length === 1)
    broken.destroy()
    await until(() => readdirSync(directory).length === 0)
    const slow = net.connect(port, '127.0.0.1')
    let answer = ''
    slow.on('data', (data) => (answer += data))
    slow.write(head)
    await once(slow, 'close')
    assert.match(answer, /^HTTP\/1.1 408 /)
    await until(() => readdirSync(directory).length === 0)
  })
  assert.equal(handled, 0)
})

test('each value of a function is given to the handler or to `discard`, and its stream fails', async () => {
  const taken = []
  const discarded = []
  const broken = []
  let last
  const files = {
    scan: {
      types: ['*/*'], maxCount: 2, maxBytes: '1mb',
      async to({ field, name, type, stream }) {
        taken.push(`${field} ${name} ${type}`)
        const chunks = []
        try {
          for await (const chunk of stream) chunks.push(chunk)
        } catch (error) {
          broken.push(error.code)
          throw error
        }
        return Buffer.concat(chunks).length
      },
      discard: (value) => void discarded.push(value)
    }
  }
  await route({ body: Fields, ...multipart(files) }, (req, res) => res.json((last = req.body)), async (send) => {
    const scan = ['scan', Buffer.alloc(300_000, 'x'), 'a']
    assert.equal((await send(await form([scan, ['title', 't'], scan]))).status, 200)
    assert.deepEqual(last, { title: 't', scan: [300_000, 300_000] })
    assert.deepEqual([taken, discarded], [['scan a application/octet-stream', 'scan a application/octet-stream'], []])
    assert.equal((await send(await form([scan, ['role', 'admin']]))).status, 422)
    await until(() => discarded.length === 1)
    assert.equal((await send(await form([scan, ['scan', Buffer.alloc(1_500_000, 'x'), 'b']]))).status, 413)
    await until(() => broken.length === 1)
    assert.deepEqual([discarded, broken], [[300_000, 300_000], ['ERR_ABORTED']])
  })
})

test('a function that does not read its stream, fails or never returns does not hold the request', async () => {
  const warnings = []
  const onWarning = (warning) => warnings.push(warning.message)
  process.on('warning', onWarning)
  const to = { ignore: async () => 'ignored', fail: async () => Promise.reject(new Error('no disk')), never: () => new Promise(() => {}) }
  for (const [name, wanted] of [['ignore', 200], ['fail', 500], ['never', 500]]) {
    await route(multipart({ scan: { types: ['*/*'], maxBytes: '1mb', to: to[name] } }, { timeout: '300ms' }), (req, res) => res.json(req.body), async (send) => {
      // Small enough to be received while nobody reads the stream.
      const answer = await send(await form([['scan', Buffer.alloc(name === 'never' ? 100 : 500_000, 'x'), 'a']]))
      assert.equal(answer.status, wanted, name)
      if (name === 'ignore') assert.deepEqual(answer.json, { scan: 'ignored' })
    })
  }
  process.off('warning', onWarning)
  assert.ok(warnings.some((text) => /`to` of `payload.files` has not returned/.test(text)))
  assert.ok(!warnings.join().includes('no disk'))
})

test('a slow function slows its client down, and the memory holds a few pieces', async () => {
  let most = 0
  let received = 0
  const files = { scan: { types: ['*/*'], maxBytes: '40mb', async to({ stream }) {
    for await (const chunk of stream) {
      received += chunk.length
      most = Math.max(most, stream.readableLength)
      if (received < 2_000_000) await sleep(1)
    }
  } } }
  await route(multipart(files), (_req, res) => res.json(1), async (send) => {
    assert.equal((await send(await form([['scan', Buffer.alloc(30_000_000, 'x'), 'a']]))).status, 200)
  })
  assert.equal(received, 30_000_000)
  assert.ok(most < 1_000_000, `${most} bytes waited`)
})

test('the answer to a file too many comes while the client still sends, and the connection ends', async () => {
  await route(multipart({ avatar }), echo, async (_send, { port }) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.on('error', () => {})
    let answer = ''
    socket.on('data', (data) => (answer += data))
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n')
    await until(() => answer.startsWith('HTTP/1.1 100 Continue'))
    const head = part('name="other"; filename="a"', '').slice(0, -2)
    socket.write(`${head.length.toString(16)}\r\n${head}\r\n`)
    await once(socket, 'close')
    assert.match(answer, /HTTP\/1.1 422 [^]*Connection: close[^]*"#\/other"/i)
  })
  // More than all files may have is refused as announced.
  await route(multipart({ avatar }), echo, async (_send, { port }) => {
    const answer = await sendTo(port, { ...bytes(''), headers: { 'content-type': 'multipart/form-data; boundary=b', 'content-length': 200_000 } }).catch((error) => error)
    assert.equal(answer.status, 413)
  })
})

test('uploads over HTTP/2 pass and are refused in the middle', async () => {
  const app = (req, res) => void guard.validate(multipart({ avatar }))(req, res, () => res.end(JSON.stringify(describeBody(req))))
  const guard = unlimited()
  const server = http2.createServer((req, res) => app(req, res))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  const ask = async ({ headers, body }, end = true) => {
    const stream = client.request({ ':method': 'POST', ':path': '/', ...headers })
    stream.on('error', () => {})
    if (end) stream.end(body)
    else stream.write(body)
    const [head] = await once(stream, 'response')
    let text = ''
    for await (const chunk of stream) text += chunk
    return { status: head[':status'], json: JSON.parse(text) }
  }
  try {
    assert.equal((await ask(await form([['avatar', PNG, 'a.png']]))).json.avatar.type, 'image/png')
    const early = part('name="other"; filename="a"', 'x')
    assert.deepEqual(code(await ask(bytes(early), false)), [422, 'validation_failed'])
  } finally {
    client.close()
    server.close()
  }
})

test('a stack for the whole application leaves the body to the route, and a second reader finds it read', async () => {
  const app = express()
  const guard = unlimited()
  app.use(guard.securityStack())
  app.use(express.urlencoded({ extended: true }))
  const options = multipart({ avatar })
  const one = guard.validate(options)
  app.post('/one', one, guard.securityStack(), (req, res) => res.json([describeBody(req), one.valid(req).body === req.body]))
  app.post('/two', guard.validate(options), guard.validate(options), echo)
  app.post('/multer', multer().any(), guard.validate(options), echo)
  await serve(app, async (send) => {
    const upload = await form([['avatar', PNG, 'a.png']])
    const { json } = await send({ path: '/one', ...upload })
    assert.deepEqual([json[0].avatar.type, json[1]], ['image/png', true])
    // Two readers of one body are a mistake of the application.
    assert.equal((await send({ path: '/two', ...upload })).status, 500)
    assert.equal((await send({ path: '/multer', ...upload })).status, 500)
  })
})

test('a multipart form without files is read as a form, beside JSON', async () => {
  await route({ body: Fields, payload: { types: ['json', 'multipart'] } }, echo, async (send) => {
    assert.deepEqual((await send(await form([['title', 'ä'], ['stars', '3']]))).json, { title: 'ä', stars: 3 })
    assert.deepEqual(code(await send(await form([['title', 'a'], ['f', 'x', 'x']]))), [422, 'validation_failed'])
    assert.equal((await send({ method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"title":"a"}' })).status, 200)
    assert.deepEqual(code(await send(await form([['title', 'x'.repeat(110_000)]]))), [413, 'body_too_large'])
  })
})

test('the schema of a library judges the fields, and files come beside what it returns', async () => {
  const body = z.object({ title: z.string().transform((text) => text.toUpperCase()) }).readonly()
  await route({ body, ...multipart({ avatar: { ...avatar, optional: true } }) }, echo, async (send) => {
    assert.deepEqual((await send(await form([['title', 'a']]))).json, { title: 'A' })
    assert.equal((await send(await form([['avatar', PNG, 'a.png'], ['title', 'a']]))).json.avatar.size, 16)
  })
})

test('the event of a refusal says why', async () => {
  const events = []
  const guard = unlimited({ log: (event) => events.push(event) })
  const app = express()
  app.post('/', guard.validate(multipart({ avatar })), echo)
  await serve(app, async (send) => {
    await send(bytes('--b\r\nContent-Disposition: form-data; name=avatar; filename=a; filename=b\r\n\r\n'))
  })
  assert.deepEqual([events[0].code, events[0].reason, events[0].layer], ['malformed_multipart', 'part_disposition', 'payload'])
})

test('options that can not be meant throw when the handler is built', (t) => {
  const guard = unlimited()
  const files = { a: { types: ['image/png'] } }
  for (const [options, message] of [
    [{ payload: { files } }, /`payload.files` come in multipart bodies alone/],
    [{ payload: { types: ['json', 'multipart'], files } }, /`payload.files` come in multipart bodies alone/],
    [multipart({ a: { types: ['png'] } }), /`payload.files.a.types\[0\]` is no type/],
    [multipart({ a: { types: ['image/png'], to: { directory: join(folder(t), 'none') } } }), /does not exist/],
    [multipart({ a: { types: ['image/png'], discard() {} } }), /`payload.files.a.discard` takes back/],
    [multipart(files, { rawBody: true }), /`payload.rawBody` keeps the bytes/],
    [{ body: { type: 'object', properties: { a: { type: 'string' } } }, ...multipart(files) }, /`payload.files.a` is declared by the schema/]
  ]) assert.throws(() => guard.validate(options), message)
  assert.throws(() => createGuard({ payload: { types: ['multipart'] } }), /`payload.types` asks for multipart bodies/)
  assert.ok(existsSync(tmpdir()))
})

test('what curl and browsers send is read, and the same names are refused in every spelling', async () => {
  const names = { 'a.png': 200, 'ü.png': 200, 'a%22b.png': 200, 'a\\b.png': 400, 'C:\\a.png': 400, 'a\u202egnp.exe': 400, 'nul.png': 400, 'a%0d%0ab.png': 400 }
  await route(multipart({ avatar }), echo, async (send, { port }) => {
    for (const [name, status] of Object.entries(names)) {
      const answer = await send(bytes(Buffer.concat([Buffer.from(part(`name="avatar"; filename="${name}"`, '').slice(0, -2)), PNG, Buffer.from('\r\n--b--\r\n')])))
      assert.equal(answer.status, status, name)
    }
    // A client that sends the body byte by byte.
    const { headers, body } = await form([['avatar', PNG, 'a.png']])
    const request = http.request({ port, host: '127.0.0.1', method: 'POST', headers })
    for (const byte of body) request.write(Buffer.of(byte))
    request.end()
    const [response] = await once(request, 'response')
    response.resume()
    assert.equal(response.statusCode, 200)
  })
})

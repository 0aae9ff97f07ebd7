// HTTP/2: a stream that is refused is answered and closed, also while its client is still sending,
// and holds nothing.

import test from 'node:test'
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from 'keepstone'
import { waitUntil } from './helpers/processes.mjs'
import { selfSigned } from './helpers/tls.mjs'

const JSON_TYPE = { 'content-type': 'application/json' }
const APP = 'https://app.example.com'
const TWO = { name: 'two', concurrent: 2 }
const large = 'a'.repeat(200_000)

/**
 * Serves a guard's stack over HTTP/2 while `use` runs. `streams` are those that the server has
 * open, and `taken()` says how many requests the guard takes for being under way.
 */
async function api(config, use, { wrap = (protect) => (req, res) => protect(req, res, () => res.end('ok')), secure = false, settings } = {}) {
  const guard = createGuard({ rateLimit: TWO, ...config })
  const [protect] = guard.securityStack()
  const listener = wrap(protect, guard)
  const server = secure ? http2.createSecureServer(selfSigned(), listener) : http2.createServer(listener)
  const streams = new Set()
  server.on('stream', (stream) => streams.add(stream).size && stream.once('close', () => streams.delete(stream)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`${secure ? 'https' : 'http'}://127.0.0.1:${server.address().port}`, { settings, rejectUnauthorized: false })
  client.on('error', () => {})
  const warnings = []
  const warned = (warning) => warnings.push(warning.name)
  process.on('warning', warned)
  const taken = async () => (await guard.limits.get('two', '127.0.0.1')).taken
  const free = async (what) => {
    await waitUntil(`${what}: its stream to close`, () => streams.size === 0)
    assert.equal(await taken(), 0, what)
  }
  try {
    await use({ ask: (headers, method) => asked(client, headers, method), client, streams, taken, free })
    assert.deepEqual(warnings.filter((name) => name !== 'GuardWarning'), [])
  } finally {
    process.off('warning', warned)
    client.destroy()
    server.close()
    await guard.close()
  }
}

/**
 * A request whose body is open: `[stream, answer]`, where `answer` is `{ status, headers, text,
 * complete, code }` in the end.
 */
function asked(client, headers, method = 'POST') {
  const stream = client.request({ ':path': '/', ':method': method, ...headers }, { endStream: false })
  let text = ''
  let head
  stream.setEncoding('utf8')
  stream.on('response', (got) => (head = got))
  stream.on('data', (chunk) => (text += chunk))
  const answer = new Promise((resolve) => {
    const told = (failed) => resolve({ status: head?.[':status'], headers: head, text, failed })
    stream.on('error', (error) => told(error.code))
    stream.on('end', () => stream.rstCode > 0 || told(undefined))
  })
  return [stream, answer]
}

for (const secure of [false, true]) {
  const over = secure ? 'TLS' : 'plain text'

  test(`HTTP/2 over ${over}: whatever a stream is refused for while it is being sent, it is closed and gives its place back`, async () => {
    const paused = (protect) => (req, res) => (req.pause(), protect(req, res, () => {}))
    const resumed = (protect) => (req, res) => (req.resume(), protect(req, res, () => {}))
    const denied = { policy: { policies: { p: 'package p\nimport rego.v1\ndefault allow := false' }, query: 'data.p.allow' } }
    for (const [what, config, headers, body, status, more] of [
      ['a body that grows too large', {}, JSON_TYPE, large, 413],
      ['a body that is announced too large', {}, { ...JSON_TYPE, 'content-length': '20000000' }, 'a'.repeat(1000), 413],
      ['a body that does not come', { payload: { timeout: '50ms' } }, JSON_TYPE, '{"a"', 408],
      ['no first byte', { payload: { timeout: '50ms' } }, JSON_TYPE, '', 408],
      ['a media type', {}, {}, 'a', 415],
      ['a host', { hosts: ['a.example'] }, JSON_TYPE, large, 403],
      ['a policy', denied, JSON_TYPE, large, 403],
      ['a body that an earlier handler has paused', denied, JSON_TYPE, large, 403, { wrap: paused }],
      ['a body that an earlier handler reads', denied, JSON_TYPE, large, 403, { wrap: resumed }]
    ]) {
      await api(config, async ({ ask, free }) => {
        for (let i = 0; i < 4; i += 1) {
          const [stream, answer] = ask(headers)
          if (body !== '') stream.write(body)
          const { status: got, text, failed } = await answer
          assert.deepEqual([got, failed], [status, undefined], what)
          assert.equal(JSON.parse(text).status, status, what)
          await free(what)
        }
      }, { secure, ...more })
    }
  })
}

test('HTTP/2: HEAD that is refused and a preflight are closed, though their clients keep them open', async () => {
  await api({ hosts: ['a.example'] }, async ({ ask, free }) => {
    const [, answer] = ask({}, 'HEAD')
    const { status, headers, text } = await answer
    assert.deepEqual([status, text], [403, ''])
    assert.equal(headers['content-type'], 'application/problem+json')
    await free('HEAD')
  })
  await api({ cors: { origins: [APP] } }, async ({ ask, free }) => {
    const [, answer] = ask({ origin: APP, 'access-control-request-method': 'PUT' }, 'OPTIONS')
    assert.equal((await answer).status, 204)
    await free('a preflight')
  })
})

test('HTTP/2: one connection that has many streams refused is served afterwards', async () => {
  await api({}, async ({ ask, client, free }) => {
    for (let i = 0; i < 30; i += 1) {
      const [stream, answer] = ask(JSON_TYPE)
      stream.write(large)
      assert.equal((await answer).status, 413)
    }
    await free('all')
    const [stream, answer] = ask(JSON_TYPE)
    stream.end('{"a":1}')
    assert.equal((await answer).status, 200)
    assert.equal(client.destroyed, false)
  })
})

test('HTTP/2: a client that never takes its refusal keeps no place, and its stream is given up', async () => {
  await api({}, async ({ ask, streams, taken }) => {
    const [stream] = ask(JSON_TYPE)
    stream.write(large)
    const [headers] = await once(stream, 'response')
    assert.equal(headers[':status'], 413)
    assert.equal(await taken(), 0)
    await waitUntil('the stream to be given up', () => streams.size === 0, 20_000)
  }, { settings: { initialWindowSize: 0 } })
})

test('HTTP/2: an answer that another handler has begun does not look complete when the request is refused', async () => {
  const begun = (protect) => (req, res) => (res.writeHead(200), res.write('half'), protect(req, res, () => res.end()))
  await api({}, async ({ ask, free }) => {
    const [stream, answer] = ask(JSON_TYPE)
    stream.write(large)
    const { status, failed } = await answer
    assert.deepEqual([status, failed], [200, 'ERR_HTTP2_STREAM_ERROR'])
    await free('what was begun')
  }, { wrap: begun })
})

test('HTTP/2: a stream that its client takes back while it is judged reaches no handler', async () => {
  let reached = 0
  let judging = 0
  const origins = async () => {
    judging += 1
    await sleep(50)
    return true
  }
  await api({ cors: { origins } }, async ({ client, streams, free }) => {
    const stream = client.request({ ':path': '/', origin: APP })
    await waitUntil('it to be judged', () => judging === 1)
    stream.close(http2.constants.NGHTTP2_CANCEL)
    await waitUntil('it to be taken back', () => streams.size === 0)
    const other = client.request({ ':path': '/' })
    const [headers] = await once(other, 'response')
    assert.equal(headers[':status'], 200)
    other.resume()
    await sleep(100)
    assert.equal(reached, 1)
    await free('both')
  }, { wrap: (protect) => (req, res) => protect(req, res, () => ((reached += 1), res.end('ok'))) })
})

test('HTTP/2: a body with trailers is read to its end and its stream closes', async () => {
  await api({}, async ({ client, free }) => {
    const stream = client.request({ ':path': '/', ':method': 'POST', ...JSON_TYPE }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '1' }))
    stream.end('{"a":1}')
    const [headers] = await once(stream, 'response')
    stream.resume()
    assert.equal(headers[':status'], 200)
    await free('trailers')
  })
})

test('HTTP/2: a HEAD whose client goes away gives its place back, wherever it waits', async () => {
  const never = (protect) => (req, res) => protect(req, res, () => {})
  for (const [config, options] of [[{}, {}], [{}, { wrap: never }], [{ rateLimit: [TWO, { name: 'slow', limit: 1, window: '1m', onExceed: 'delay', maxDelay: '1m' }] }, {}]]) {
    await api(config, async ({ ask, free }) => {
      for (let i = 0; i < 3; i += 1) {
        const [stream] = ask(JSON_TYPE, 'HEAD')
        stream.write('{')
        await sleep(30)
        stream.close(8)
        await free(`HEAD ${i}`)
      }
    }, options)
  }
})

// `guard.check`: facts in, a result out. What every host has in common is in hosts.test.mjs.

import test from 'node:test'
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { createGuard } from 'keepstone'

const facts = (more = {}) => ({ method: 'GET', target: '/x', headers: [['Host', 'api.example']], address: '192.0.2.1', ...more })
const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }
const posted = (body, more = {}) => facts({ method: 'POST', headers: [['Host', 'api.example'], ['Content-Type', 'application/json']], body, ...more })
const open = createGuard({ rateLimit: false })

test('facts of another shape are refused by their name', async () => {
  for (const [request, path, code = 'ERR_INVALID_ARGUMENT'] of [
    [undefined, 'request'],
    ['GET /x', 'request'],
    [facts({ method: 5 }), 'request.method'],
    [facts({ method: '' }), 'request.method'],
    [facts({ target: new URL('http://x/') }), 'request.target'],
    [facts({ target: '' }), 'request.target'],
    [facts({ headers: { host: 'x' } }), 'request.headers'],
    [facts({ headers: undefined }), 'request.headers'],
    [facts({ headers: [['a', ['b', 'c']]] }), 'request.headers'],
    [facts({ headers: [['a']] }), 'request.headers'],
    [facts({ headers: 'host: x' }), 'request.headers'],
    [facts({ address: 5 }), 'request.address'],
    [facts({ tls: 'yes' }), 'request.tls'],
    [facts({ tls: null }), 'request.tls'],
    [facts({ body: 'text' }), 'request.body'],
    [facts({ body: {} }), 'request.body'],
    [facts({ httpVersion: 'HTTP/1.1' }), 'request.httpVersion'],
    [facts({ truncated: 1 }), 'request.truncated'],
    [facts({ route: /x/ }), 'request.route'],
    [facts({ params: { id: 5 } }), 'request.params'],
    [facts({ upgrade: 'websocket' }), 'request.upgrade'],
    [facts({ signal: {} }), 'request.signal'],
    [facts({ source: 'x' }), 'request.source'],
    [facts({ adress: '192.0.2.1' }), 'request.adress', 'ERR_UNKNOWN_OPTION']
  ]) await assert.rejects(() => open.check(request), { code, path }, path)
})

test('no fact can add a line to what the core reads', async () => {
  for (const text of ['a\nb', 'a\rb', 'a\0b']) {
    for (const request of [
      facts({ method: text }), facts({ target: `/${text}` }), facts({ address: text }), facts({ route: text }),
      facts({ headers: [[text, 'x']] }), facts({ headers: [['x', text]] })
    ]) await assert.rejects(() => open.check(request), { code: 'ERR_INVALID_ARGUMENT' })
  }
})

test('a stack of another guard is refused', async () => {
  const other = createGuard({ rateLimit: false })
  for (const stack of [other.securityStack(), () => {}, [], [undefined], undefined]) {
    await assert.rejects(() => open.check(facts(), stack), ({ code }) => code === 'ERR_INVALID_ARGUMENT' || code === 'ERR_MISSING_OPTION')
  }
})

test('layers alone run one after the other, and one that refuses is the last', async () => {
  const guard = createGuard({ rateLimit: { name: 'one', limit: 1, window: '1h' } })
  const stack = [guard.headers(), guard.rateLimit()]
  assert.equal((await guard.check(facts(), stack)).allowed, true)
  const refused = await guard.check(facts(), stack)
  assert.deepEqual([refused.allowed, refused.status, refused.code], [false, 429, 'rate_limited'])
  assert.ok(refused.headers.some(([name]) => name === 'X-Content-Type-Options'))
})

test('all checks of one source are about one request, which is counted once', async () => {
  const guard = createGuard({ rateLimit: { name: 'all', limit: 2, window: '1h' } })
  const route = guard.securityStack({ body: schema })
  for (let i = 0; i < 2; i += 1) {
    const source = {}
    const request = posted(Buffer.from('{"n":1}'), { source })
    assert.equal((await guard.check(request)).allowed, true)
    const result = await guard.check(request, route)
    assert.equal(result.allowed, true)
    assert.deepEqual(result.body, { n: 1 })
  }
  assert.equal((await guard.check(facts({ source: {} }))).status, 429)
})

test('the functions of the options get the source, and without one what is known of the request', async () => {
  const seen = []
  const guard = createGuard({ rateLimit: { name: 'mine', limit: 9, window: '1h', key: (req) => (seen.push(req), 'k') } })
  const source = { mine: true }
  await guard.check(facts({ source }))
  await guard.check(facts())
  assert.equal(seen[0], source)
  assert.equal(seen[1].guard.client, '192.0.2.1')
})

test('bodies are read from bytes, web streams and streams of Node', async () => {
  const stack = open.securityStack({ body: schema })
  const text = '{"n":1}'
  for (const body of [Buffer.from(text), new Uint8Array(Buffer.from(text)), new Blob([text]).stream(), Readable.from([Buffer.from('{"n"'), Buffer.from(':1}')])]) {
    const result = await open.check(posted(body), stack)
    assert.deepEqual([result.allowed, result.body], [true, { n: 1 }])
    assert.equal(Buffer.from(result.raw).toString(), text)
  }
})

test('no more of a stream is read than a body may have', async () => {
  const guard = createGuard({ rateLimit: false, payload: { maxBytes: '1kb' } })
  let pulled = 0
  const endless = () => new ReadableStream({ pull: (controller) => void (pulled += 1, controller.enqueue(new Uint8Array(512))) })
  const refused = await guard.check(posted(endless()), guard.securityStack({ body: schema }))
  assert.deepEqual([refused.status, refused.code], [413, 'body_too_large'])
  assert.ok(pulled < 10, `${pulled} chunks`)
})

test('a stream that fails, is locked or gives text rejects, and one that never ends is refused in time', async () => {
  const guard = createGuard({ rateLimit: false, payload: { timeout: '50ms' } })
  const stack = guard.securityStack({ body: schema })
  const failing = new ReadableStream({ pull: (controller) => controller.error(new Error('gone')) })
  const locked = new ReadableStream()
  locked.getReader()
  const text = new ReadableStream({ pull: (controller) => controller.enqueue('{}') })
  for (const body of [failing, locked, text]) await assert.rejects(() => guard.check(posted(body), stack), { code: 'ERR_ABORTED' })
  const late = await guard.check(posted(new ReadableStream()), stack)
  assert.equal(late.status, 408)
})

test('a client that goes away rejects with the reason of its signal', async () => {
  const stack = open.securityStack({ body: schema })
  const gone = new AbortController()
  const checking = open.check(posted(new ReadableStream(), { signal: gone.signal }), stack)
  gone.abort(new Error('gone'))
  await assert.rejects(checking, { message: 'gone' })
  await assert.rejects(() => open.check(facts({ signal: AbortSignal.abort(new Error('before')) })), { message: 'before' })
})

test('a slot is free once `end` was called, whatever the status', async () => {
  const guard = createGuard({ rateLimit: { name: 'slow', concurrent: 1 } })
  const first = await guard.check(facts())
  assert.equal((await guard.check(facts())).status, 429)
  first.end(200)
  first.end(200)
  const second = await guard.check(facts())
  assert.equal(second.allowed, true)
  second.end()
  assert.equal((await guard.check(facts())).allowed, true)
})

test('a handshake of a foreign page is refused, and one of our own is not', async () => {
  const handshake = (site) => facts({ upgrade: true, headers: [['Host', 'api.example'], ['Origin', site], ['Sec-Fetch-Site', site.includes('api') ? 'same-origin' : 'cross-site'], ['Cookie', 'a=b']] })
  assert.equal((await open.check(handshake('https://evil.example'))).status, 403)
  assert.equal((await open.check(handshake('https://api.example'))).allowed, true)
})

test('headers that may have been dropped refuse the request', async () => {
  assert.equal((await open.check(facts({ truncated: true }))).status, 431)
})

test('a guard that is closed refuses, also before its first check', async () => {
  const guard = createGuard({ rateLimit: false })
  await guard.close()
  const { allowed, status, code, headers } = await guard.check(facts())
  assert.deepEqual([allowed, status, code], [false, 503, 'guard_closed'])
  assert.ok(headers.some(([name]) => name === 'Retry-After'))
})

test('the log gets the decision of a check as that of any request', async () => {
  const events = []
  const guard = createGuard({ rateLimit: false, log: (event) => void events.push(event) })
  await guard.check(facts({ target: '/a?secret=1' }))
  const [{ method, path, outcome, client }] = events
  assert.deepEqual([method, path, outcome, client], ['GET', '/a', 'allow', '192.0.2.1'])
})

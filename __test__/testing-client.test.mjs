// keepstone/testing: the client, which sends what a page in a browser would.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import https from 'node:https'
import { once } from 'node:events'
import Fastify from 'fastify'
import { GuardError, createGuard } from 'keepstone'
import { createTestClient, createTestClock } from 'keepstone/testing'
import { expresses } from './helpers/http.mjs'

const secret = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV'
const refused = (code, path) => (error) => error instanceof GuardError && error.code === code && (path === undefined || error.path === path)

/** A client of a server that answers with the request; `/set?<cookie>` sets a cookie besides. */
function echo(t, options) {
  const client = createTestClient(async (req, res) => {
    const chunks = []
    for await (const chunk of req) chunks.push(chunk)
    const [, line] = req.url.split('?set=')
    if (line !== undefined) res.setHeader('set-cookie', line.split('&').map(decodeURIComponent))
    res.setHeader('content-type', 'application/json')
    res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, body: Buffer.concat(chunks).toString() }))
  }, ...(options === undefined ? [] : [options]))
  t.after(() => client.close())
  const sent = async (...args) => (await client.fetch(...args)).json()
  const set = (path, ...lines) => client.get(`${path}?set=${lines.map(encodeURIComponent).join('&')}`)
  const cookieAt = async (path, from = client, init = {}) => (await (await from.fetch(path, init)).json()).headers.cookie
  return { client, sent, set, cookieAt }
}

describe('a page', () => {
  const marks = ({ headers }) => [headers.origin, headers['sec-fetch-site'], headers['sec-fetch-mode'], headers['sec-fetch-dest']]

  test('of the own origin sends Fetch Metadata, and Origin where it changes something', async (t) => {
    const { sent } = echo(t)
    const read = await sent('/a?b=1')
    assert.deepEqual(marks(read), [undefined, 'same-origin', 'cors', 'empty'])
    assert.deepEqual([read.headers.host, read.url, read.method], ['app.test', '/a?b=1', 'GET'])
    assert.deepEqual(marks(await sent('/', { method: 'post' })), ['https://app.test', 'same-origin', 'cors', 'empty'])
    assert.deepEqual(marks(await sent('/', { method: 'POST', mode: 'navigate' })), ['https://app.test', 'same-origin', 'navigate', 'document'])
    assert.deepEqual(marks(await sent('/', { mode: 'navigate' })), [undefined, 'same-origin', 'navigate', 'document'])
  })

  test('of another origin says whose it is', async (t) => {
    const { client } = echo(t, { origin: 'https://shop.example.com:8443' })
    const from = async (page, init) => marks(await (await client.from(page).fetch('/', init)).json())
    assert.deepEqual(await from('https://evil.test'), ['https://evil.test', 'cross-site', 'cors', 'empty'])
    assert.deepEqual(await from('https://blog.example.com'), ['https://blog.example.com', 'same-site', 'cors', 'empty'])
    assert.deepEqual(await from('https://shop.example.com'), ['https://shop.example.com', 'same-site', 'cors', 'empty'])
    assert.deepEqual(await from('http://shop.example.com:8443'), ['http://shop.example.com:8443', 'cross-site', 'cors', 'empty'])
    assert.deepEqual(await from('null', { method: 'POST', mode: 'navigate' }), ['null', 'cross-site', 'navigate', 'document'])
    assert.deepEqual(await from('https://evil.test', { mode: 'navigate' }), [undefined, 'cross-site', 'navigate', 'document'])
  })

  test('of an origin without TLS sends no Fetch Metadata, but on this machine', async (t) => {
    assert.deepEqual(marks(await echo(t, { origin: 'http://app.test' }).sent('/', { method: 'POST' })), ['http://app.test', undefined, undefined, undefined])
    assert.deepEqual(marks(await echo(t, { origin: 'http://localhost:3000' }).sent('/')), [undefined, 'same-origin', 'cors', 'empty'])
  })

  test('that is none: a program sends neither, and may set what it likes', async (t) => {
    const { sent } = echo(t, { browser: false, headers: { 'X-Forwarded-Proto': 'https' } })
    const { headers } = await sent('/', { method: 'POST', headers: { Host: 'other.test', 'sec-fetch-site': 'none', accept: undefined } })
    assert.deepEqual(Object.keys(headers).toSorted(), ['connection', 'content-length', 'host', 'sec-fetch-site', 'x-forwarded-proto'])
    assert.deepEqual([headers.host, headers['sec-fetch-site']], ['other.test', 'none'])
  })
})

describe('a request', () => {
  test('carries what it is given, with its type', async (t) => {
    const { client } = echo(t)
    const sent = async (body, init = {}) => {
      const { headers, body: text } = await (await client.post('/', body, init)).json()
      return [headers['content-type'], text]
    }
    assert.deepEqual(await sent({ a: [1] }), ['application/json', '{"a":[1]}'])
    assert.deepEqual(await sent([1]), ['application/json', '[1]'])
    assert.deepEqual(await sent(null), ['application/json', 'null'])
    assert.deepEqual(await sent(false), ['application/json', 'false'])
    assert.deepEqual(await sent('{"a":1,"a":2}', { headers: { 'Content-Type': 'application/json' } }), ['application/json', '{"a":1,"a":2}'])
    assert.deepEqual(await sent('text'), ['text/plain;charset=UTF-8', 'text'])
    assert.deepEqual(await sent(new URLSearchParams({ a: '1 2' })), ['application/x-www-form-urlencoded;charset=UTF-8', 'a=1+2'])
    assert.deepEqual(await sent(Buffer.from('bytes')), [undefined, 'bytes'])
    const form = new FormData()
    form.set('file', new Blob(['x']), 'a.txt')
    assert.match((await sent(form)).join('\n'), /^multipart\/form-data; boundary=[^]*filename="a.txt"/)
    assert.deepEqual(await sent(undefined), [undefined, ''])
    assert.equal((await (await client.delete('/', { a: 1 })).json()).body, '{"a":1}')
    const chunked = await (await client.post('/', 'parts', { headers: { 'Transfer-Encoding': 'chunked' } })).json()
    assert.deepEqual([chunked.headers['content-length'], chunked.body], [undefined, 'parts'])
  })

  test('gives a Response, whatever the status', async (t) => {
    const client = createTestClient((req, res) => {
      res.writeHead(Number(req.url.slice(1)), { location: '/200', 'x-a': ['1', '2'] })
      res.end()
    })
    t.after(() => client.close())
    for (const status of [200, 204, 205, 302, 304, 404, 503]) {
      const response = await client.get(`/${status}`)
      assert.ok(response instanceof Response)
      assert.deepEqual([response.status, response.headers.get('x-a'), await response.text()], [status, '1, 2', ''])
    }
    assert.equal((await client.head('/200')).status, 200)
    assert.equal((await client.options('/200')).status, 200)
  })

  test('names what is wrong with it', async (t) => {
    const { client } = echo(t)
    await assert.rejects(client.get('https://other.test/'), refused('ERR_INVALID_ARGUMENT', 'path'))
    await assert.rejects(client.get('/', { mode: 'no-cors' }), refused('ERR_INVALID_ARGUMENT', 'request.mode'))
    await assert.rejects(client.get('/', { header: {} }), refused('ERR_UNKNOWN_OPTION', 'request.header'))
    assert.throws(() => client.as(''), refused('ERR_INVALID_ARGUMENT', 'token'))
    assert.throws(() => client.from('evil.test'), refused('ERR_INVALID_ARGUMENT', 'page'))
    assert.throws(() => createTestClient(() => {}, { origin: 'https://app.test/path' }), refused('ERR_INVALID_OPTION', 'options.origin'))
    assert.throws(() => createTestClient(() => {}, { agent: 1 }), refused('ERR_UNKNOWN_OPTION', 'options.agent'))
    assert.throws(() => createTestClient(() => {}, { browser: 1 }), refused('ERR_INVALID_OPTION', 'options.browser'))
    for (const target of [undefined, null, {}, 3000, 'localhost:3000', 'https://127.0.0.1', https.createServer()]) assert.throws(() => createTestClient(target), refused('ERR_INVALID_ARGUMENT', 'target'))
    await assert.rejects(client.get('/', { signal: AbortSignal.abort() }), { name: 'AbortError' })
  })

  test('as a user carries the token and no cookie of others', async (t) => {
    const { client, set } = echo(t)
    await set('/', 'a=1')
    const { headers } = await (await client.as('a.b.c').get('/')).json()
    assert.deepEqual([headers.authorization, headers.cookie], ['Bearer a.b.c', undefined])
    assert.equal((await (await client.as({ accessToken: 'd.e.f' }).get('/')).json()).headers.authorization, 'Bearer d.e.f')
    assert.equal((await (await client.get('/')).json()).headers.authorization, undefined)
  })
})

describe('cookies', () => {
  test('with Secure and __Host- are kept over http, with all that the server has said', async (t) => {
    const { client, set, cookieAt } = echo(t)
    await set('/login', '__Host-token=a.b=c; Path=/; Secure; HttpOnly; SameSite=Strict', 'theme=dark; Path=/')
    assert.equal(await cookieAt('/me'), '__Host-token=a.b=c; theme=dark')
    assert.deepEqual(client.cookies.get('__Host-token'), { name: '__Host-token', value: 'a.b=c', path: '/', secure: true, httpOnly: true, sameSite: 'strict' })
    assert.deepEqual(client.cookies.all().map(({ name }) => name), ['__Host-token', 'theme'])
    client.cookies.clear()
    assert.equal(await cookieAt('/me'), undefined)
    client.cookies.set('__Host-token=x; Path=/; Secure')
    assert.equal(await cookieAt('/me'), '__Host-token=x')
  })

  test('that a browser would drop are dropped, and the test can see why', async (t) => {
    const { client, set, cookieAt } = echo(t)
    const lines = ['__Host-a=1; Path=/', '__Host-a=1; Secure; Path=/x', '__Host-a=1; Secure', '__host-a=1; Secure; Path=/; Domain=app.test', '__Secure-a=1', 'a=1; Domain=other.test', 'a=1; Domain=test', 'a=1; SameSite=None', '=__Host-a=1', `a=${'x'.repeat(4096)}`, '=', 'a=\u0001']
    // No server of node:http sends such a character.
    for (const line of lines.slice(0, -1)) await set('/', line)
    assert.throws(() => client.cookies.set(lines.at(-1)), refused('ERR_INVALID_ARGUMENT', 'line'))
    assert.equal(await cookieAt('/'), undefined)
    assert.deepEqual(client.cookies.rejected.map(({ name, why }) => `${name}: ${why}`), [
      '__Host-a: a name with __Host- or __Secure- needs Secure',
      '__Host-a: a name with __Host- needs Path=/ and no Domain',
      '__Host-a: a name with __Host- needs Path=/ and no Domain',
      '__host-a: a name with __Host- needs Path=/ and no Domain',
      '__Secure-a: a name with __Host- or __Secure- needs Secure',
      'a: Domain is not app.test or a parent of it',
      'a: Domain is not app.test or a parent of it',
      'a: SameSite=None needs Secure',
      ': it has no name, and a value with the prefix of a name',
      'a: it is longer than 4096 bytes',
      ': it has neither a name nor a value'
    ])
    const plain = echo(t, { origin: 'http://app.test' })
    await plain.set('/', '__Host-a=1; Secure; Path=/')
    assert.equal(plain.client.cookies.rejected[0].why, 'Secure needs an origin with https')
  })

  test('are sent by path, the longest first', async (t) => {
    const { set, cookieAt } = echo(t)
    await set('/auth/login', 'a=1; Path=/', 'b=2; Path=/auth/refresh', 'c=3', 'd=4; Path=x')
    assert.equal(await cookieAt('/'), 'a=1')
    assert.equal(await cookieAt('/auth/refresh?x=/other'), 'b=2; c=3; d=4; a=1')
    assert.equal(await cookieAt('/auth/refreshed'), 'c=3; d=4; a=1')
    assert.equal(await cookieAt('/authority'), 'a=1')
  })

  test('end by Max-Age and Expires, by the clock of the test, and when the server clears them', async (t) => {
    const clock = createTestClock()
    t.after(() => clock.release())
    const { client, set, cookieAt } = echo(t)
    const at = (seconds) => new Date(clock.now().getTime() + seconds * 1000).toUTCString()
    await set('/', 'a=1; Max-Age=60', `b=2; Expires=${at(120)}`, `c=3; Max-Age=300; Expires=${at(60)}`, 'd=4', 'e=5; Expires=never')
    assert.equal(await cookieAt('/'), 'a=1; b=2; c=3; d=4; e=5')
    assert.ok(Math.abs(client.cookies.get('a').expires - clock.now() - 60_000) < 10_000)
    clock.advance('61s')
    assert.equal(await cookieAt('/'), 'b=2; c=3; d=4; e=5')
    assert.equal(client.cookies.get('a'), undefined)
    clock.advance('1h')
    assert.equal(await cookieAt('/'), 'd=4; e=5')
    await set('/', 'd=; Max-Age=0', 'e=; Expires=Thu, 01 Jan 1970 00:00:00 GMT')
    assert.equal(await cookieAt('/'), undefined)
    await set('/', 'f=6; Max-Age=99999999999')
    clock.advance('401d')
    assert.equal(await cookieAt('/'), undefined)
  })

  test('go along with the requests of other sites as SameSite says', async (t) => {
    const { client, set, cookieAt } = echo(t)
    await set('/', 'strict=1; SameSite=Strict; Secure', 'lax=1; SameSite=Lax', 'none=1; SameSite=None; Secure', 'unsaid=1')
    const evil = client.from('https://evil.test')
    assert.equal(await cookieAt('/', evil), 'none=1; unsaid=1')
    assert.equal(await cookieAt('/', evil, { mode: 'navigate' }), 'lax=1; none=1; unsaid=1')
    assert.equal(await cookieAt('/', evil, { mode: 'navigate', method: 'POST' }), 'none=1; unsaid=1')
    assert.equal(await cookieAt('/', client.from('https://www.app.test')), 'strict=1; lax=1; none=1; unsaid=1')
    await evil.get(`/?set=${encodeURIComponent('lax=2; SameSite=Lax')}`)
    assert.deepEqual([client.cookies.get('lax').value, client.cookies.rejected[0].why], ['1', 'SameSite=lax was set for the page of another site'])
  })
})

describe('a target', () => {
  const answering = (text) => http.createServer((req, res) => res.end(text))
  const read = async (client) => (await client.get('/')).text()

  test('is started and stopped with the client, or left as it is', async () => {
    const own = answering('own')
    const client = createTestClient(own)
    assert.equal(own.listening, false)
    assert.deepEqual(await Promise.all([read(client), read(client.as('a.b.c'))]), ['own', 'own'])
    assert.equal(own.address().address, '127.0.0.1')
    await client.close()
    await client.close()
    assert.equal(own.listening, false)

    const running = answering('running').listen(0, '127.0.0.1')
    await once(running, 'listening')
    const url = `http://127.0.0.1:${running.address().port}`
    for (const target of [running, url, new URL(url)]) {
      const other = createTestClient(target)
      assert.equal(await read(other), 'running')
      await other.close()
      assert.equal(running.listening, true)
    }
    running.close()
    running.closeAllConnections()
    const starting = answering('starting').listen(0)
    const early = createTestClient(starting)
    assert.equal(await read(early), 'starting')
    await early.close()
    starting.close()
    starting.closeAllConnections()
    await assert.rejects(createTestClient(url).get('/'), { code: 'ECONNREFUSED' })
  })

  test('may be an app of Fastify', async () => {
    const app = Fastify()
    app.get('/', async () => 'fastify')
    const client = createTestClient(app)
    assert.equal(await read(client), 'fastify')
    await client.close()
    await app.close()
  })
})

for (const [name, express] of expresses) {
  test(`${name}: a login by cookies, its refresh, a page of another site, and the logout`, async (t) => {
    const clock = createTestClock()
    const guard = createGuard({ jwt: { issuer: 'https://own.test', audience: 'api', secret, from: [{ cookie: '__Host-token' }], refresh: { idle: '7d' } } })
    const app = express()
    const open = guard.securityStack({ jwt: { optional: true } })
    const give = (res, { accessToken, refreshToken, expiresIn }) => {
      res.cookie('__Host-token', accessToken, { secure: true, httpOnly: true, sameSite: 'lax', path: '/', maxAge: expiresIn * 1000 })
      res.cookie('__Secure-refresh', refreshToken, { secure: true, httpOnly: true, sameSite: 'strict', path: '/session', maxAge: 7 * 86_400_000 })
      res.sendStatus(204)
    }
    const session = express.Router()
    session.use(open)
    session.post('/', async (req, res) => give(res, await guard.tokens.issue({ sub: req.body.name }, { expiresIn: '15m' })))
    session.put('/', (req, res) => {
      const [, token] = /__Secure-refresh=([^;]+)/.exec(req.headers.cookie) ?? []
      guard.tokens.refresh(token ?? '-').then((pair) => give(res, pair), ({ code }) => res.status(401).json({ code }))
    })
    session.delete('/', (req, res) => {
      for (const [cookie, path] of [['__Host-token', '/'], ['__Secure-refresh', '/session']]) res.clearCookie(cookie, { path, secure: true })
      guard.revoke.session(req.user.sid).then(() => res.sendStatus(204))
    })
    app.use('/session', session)
    app.get('/me', ...guard.securityStack(), (req, res) => res.json({ sub: req.user.sub }))
    const client = createTestClient(app)
    t.after(async () => {
      clock.release()
      await Promise.all([client.close(), guard.close()])
    })
    const me = async () => {
      const response = await client.get('/me')
      return [response.status, (await response.json()).sub]
    }

    assert.equal((await client.get('/me')).status, 401)
    assert.equal((await client.post('/session', { name: 'ada' })).status, 204)
    assert.deepEqual(client.cookies.rejected, [])
    assert.deepEqual(await me(), [200, 'ada'])
    assert.equal((await (await client.from('https://evil.test').post('/session', { name: 'eve' })).json()).code, 'csrf_failed')

    clock.advance('20m')
    assert.deepEqual([client.cookies.get('__Host-token'), (await client.get('/me')).status], [undefined, 401])
    assert.equal((await client.put('/session')).status, 204)
    assert.deepEqual(await me(), [200, 'ada'])
    const token = client.cookies.get('__Host-token').value
    assert.equal((await client.delete('/session')).status, 204)
    assert.equal((await client.get('/me')).status, 401)
    client.cookies.set(`__Host-token=${token}; Path=/; Secure`)
    assert.equal((await (await client.get('/me')).json()).code, 'token_revoked')

    client.cookies.clear()
    await client.post('/session', { name: 'ada' })
    clock.advance('8d')
    assert.deepEqual([(await client.put('/session')).status, client.cookies.all()], [401, []])
  })
}

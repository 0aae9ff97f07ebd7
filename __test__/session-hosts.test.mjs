// Sessions of browsers on Fastify and Hono, by calls in place of handlers, and over HTTP/2.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http2 from 'node:http2'
import { after, test } from 'node:test'
import { serve as serveHono } from '@hono/node-server'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as fastifyKeepstone } from 'keepstone/fastify'
import { keepstone as honoKeepstone } from 'keepstone/hono'
import { Browser } from './helpers/browser.mjs'
import { ACCESS, PROOF, REFRESH, attributesOf, clears, config } from './helpers/session-apps.mjs'
import { send } from './helpers/http.mjs'

const guard = createGuard(config())
after(() => guard.close())

async function withFastify(use) {
  const app = Fastify()
  const open = { config: { keepstone: { jwt: false } } }
  await app.register(fastifyKeepstone, { guard })
  app.post('/session/login', open, async (request, reply) => {
    reply.header('set-cookie', 'theme=dark')
    await guard.sessions.start(reply, { sub: 'ada' })
    return reply.code(204).send()
  })
  app.post('/session/refresh', open, async (request, reply) => {
    await guard.sessions.renew(request, reply)
    return reply.code(204).send()
  })
  app.post('/session/logout', open, async (request, reply) => {
    await guard.sessions.end(request, reply)
    return reply.code(204).send()
  })
  app.get('/me', async (request) => ({ sub: request.user.sub }))
  await app.listen({ port: 0, host: '127.0.0.1' })
  try {
    await use(app.server.address().port)
  } finally {
    app.server.closeAllConnections()
    await app.close()
  }
}

async function withHono(use) {
  const app = new Hono()
  const open = honoKeepstone(guard, { jwt: false })
  app.onError((error, c) => {
    c.status(error.status ?? 500)
    return c.json({ code: error.code })
  })
  app.post('/session/login', open, async (c) => {
    c.header('Set-Cookie', 'theme=dark')
    await guard.sessions.start(c.res.headers, { sub: 'ada' })
    return c.body(null, 204)
  })
  app.post('/session/refresh', open, async (c) => {
    await guard.sessions.renew(c.req.raw, c.res.headers)
    return c.body(null, 204)
  })
  app.post('/session/logout', open, async (c) => {
    await guard.sessions.end(c.req.raw, c.res.headers)
    return c.body(null, 204)
  })
  app.get('/me', honoKeepstone(guard), (c) => c.json({ sub: c.get('user').sub }))
  const server = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await once(server, 'listening')
  try {
    await use(server.address().port)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

for (const [host, on] of [['Fastify', withFastify], ['Hono', withHono]]) {
  test(`${host}: a browser logs in, refreshes its session and logs out, by the same cookies`, async () => {
    await on(async (port) => {
      const browser = new Browser(port)
      const login = await browser.fetch('POST', '/session/login')
      assert.equal(login.status, 204)
      assert.equal(attributesOf(login)[REFRESH], 'Path=/session; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict')
      assert.deepEqual([browser.get('theme'), login.headers['cache-control']], ['dark', 'no-store'], 'cookies of the application stay')
      assert.equal((await browser.fetch('GET', '/me')).json.sub, 'ada')
      const stolen = browser.copy()
      const access = browser.get(ACCESS)
      assert.equal((await browser.fetch('POST', '/session/refresh')).status, 204)
      assert.notEqual(browser.get(ACCESS), access)
      assert.equal((await browser.fetch('POST', '/session/logout')).status, 204)
      assert.deepEqual([browser.get(ACCESS), browser.get(REFRESH)], [undefined, undefined])
      assert.equal((await stolen.fetch('GET', '/me')).status, 401)
      const over = await stolen.fetch('POST', '/session/refresh')
      assert.deepEqual([over.status, over.json.code], [401, 'ERR_REFRESH_INVALID'])
    })
  })

  test(`${host}: the page of another site can neither refresh a session nor log a user out`, async () => {
    await on(async (port) => {
      const browser = new Browser(port)
      await browser.fetch('POST', '/session/login')
      for (const path of ['/session/login', '/session/refresh', '/session/logout']) {
        const headers = { cookie: browser.header(path), host: 'api.example.com', 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }
        const answer = await send(port, { method: 'POST', path, headers })
        assert.deepEqual([answer.status, answer.json.code, answer.headers['set-cookie']], [403, 'csrf_failed', undefined], path)
      }
      const ask = (more) => send(port, { method: 'POST', path: '/session/refresh', headers: { host: 'api.example.com', 'sec-fetch-site': 'same-origin', cookie: `${browser.header('/session/refresh')}; ${more}` } })
      const twice = await ask(`${PROOF}=x`)
      assert.deepEqual([twice.status, twice.json.code], [400, 'token_ambiguous'])
      assert.equal((await ask(`${REFRESH}=x`)).status, 204)
    })
  })
}

for (const [host, on] of [['Fastify', withFastify], ['Hono', withHono]]) {
  test(`${host}: an answer that ends a session clears its cookies`, async () => {
    await on(async (port) => {
      const browser = new Browser(port)
      await browser.fetch('POST', '/session/login')
      await guard.revoke.subject('ada')
      const answer = await browser.fetch('POST', '/session/refresh')
      assert.deepEqual([answer.status, clears(answer)], [401, true])
    })
  })
}

test('HTTP/2: a browser that sends each cookie as a field of its own refreshes its session and logs out', async () => {
  const [refresh, logout] = [guard.sessions.refresh(), guard.sessions.logout()]
  const server = http2.createServer((req, res) => (req.url === '/session/refresh' ? refresh : logout)(req, res)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  const post = async (path, cookie) => {
    const stream = client.request({ ':method': 'POST', ':path': path, ':authority': 'api.example.com', 'sec-fetch-site': 'same-origin', cookie })
    const [headers] = await once(stream.end(), 'response')
    stream.resume()
    await once(stream, 'close')
    return headers
  }
  const crumbs = (lines) => lines.map((line) => line.split(';', 1)[0])
  try {
    const first = new Headers()
    await guard.sessions.start(first, { sub: 'grace' })
    const refreshed = await post('/session/refresh', crumbs(first.getSetCookie()))
    assert.deepEqual([refreshed[':status'], refreshed['set-cookie'].length], [204, 3])
    const twice = await post('/session/refresh', [...crumbs(refreshed['set-cookie']), `${PROOF}=x`])
    assert.deepEqual([twice[':status'], twice['set-cookie']], [400, undefined])
    const gone = await post('/session/logout', crumbs(refreshed['set-cookie']))
    assert.equal(gone[':status'], 204)
    assert.equal((await post('/session/refresh', crumbs(refreshed['set-cookie'])))[':status'], 401)
  } finally {
    client.close()
    server.close()
  }
})

// Tokens in a header of a proxy: the browser's user did not write it, so it is ambient, as a cookie
// is.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { createGuard } from 'keepstone'
import { SECRET } from './helpers/articles.mjs'
import { expresses, serve } from './helpers/http.mjs'

const jwt = { issuer: 'https://id.example.com', audience: 'api', secret: SECRET, from: [{ header: 'x-token' }] }

/** The status of a handshake with these header lines. */
async function handshake(guard, lines) {
  const server = http.createServer()
  server.on('upgrade', async (req, socket, head) => {
    if (await guard.upgrade(req, socket, head)) socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = net.connect(server.address().port, '127.0.0.1')
  socket.write(['GET / HTTP/1.1', 'Host: api.example.com', 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', ...lines, '', ''].join('\r\n'))
  let text = ''
  for await (const chunk of socket) text += chunk
  server.close()
  server.closeAllConnections()
  return Number(text.split(' ', 2)[1])
}

for (const [name, cors] of [['every origin', { origins: ['*'] }], ['the origin', { origins: ['https://page.example'] }]]) {
  test(`a page of another site opens no socket with a token that a proxy adds, though CORS lets ${name} read`, async () => {
    const guard = createGuard({ rateLimit: false, jwt, cors })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    const token = `X-Token: ${accessToken}`
    assert.equal(await handshake(guard, [token, 'Origin: https://page.example', 'Sec-Fetch-Site: cross-site']), 403)
    assert.equal(await handshake(guard, [token, 'Origin: https://page.example']), 403)
    assert.equal(await handshake(guard, [token, 'Origin: http://api.example.com', 'Sec-Fetch-Site: same-origin']), 101)
    await guard.close()
  })
}

for (const [name, express] of expresses) {
  test(`${name}: a request with a token that a proxy adds needs to be of our own page`, async () => {
    const guard = createGuard({ rateLimit: false, jwt })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    const app = express()
    app.use(guard.securityStack())
    app.all('/', (req, res) => res.json({ sub: req.user.sub }))
    await serve(app, async (send) => {
      const ask = async (headers, method = 'POST') => (await send({ method, headers: { 'x-token': accessToken, ...headers } })).status
      assert.equal(await ask({}, 'GET'), 200)
      assert.equal(await ask({}), 403, 'neither Origin nor Sec-Fetch-Site')
      assert.equal(await ask({ 'sec-fetch-site': 'cross-site' }), 403)
      assert.equal(await ask({ origin: 'https://page.example' }), 403)
      assert.equal(await ask({ 'sec-fetch-site': 'same-origin' }), 200)
      assert.equal((await send({ headers: [['X-Token', accessToken], ['X-Token', accessToken]] })).status, 400)
    })
    await guard.close()
  })
}

test('a policy does not see the header that the token is in', async () => {
  const policies = { 'a.rego': 'package a\nimport rego.v1\ndefault allow := false\nallow if not input.headers["x-token"]' }
  const guard = createGuard({ rateLimit: false, jwt, policy: { policies, query: 'data.a.allow' } })
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  const app = expresses[0][1]()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.end())
  await serve(app, async (send) => assert.equal((await send({ headers: { 'x-token': accessToken } })).status, 200))
  await guard.close()
})

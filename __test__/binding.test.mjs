// Tokens that only their owner can use: DPoP proofs and client certificates, on real servers.

import test from 'node:test'
import assert from 'node:assert/strict'
import { X509Certificate, createHash } from 'node:crypto'
import http2 from 'node:http2'
import https from 'node:https'
import { once } from 'node:events'
import tls from 'node:tls'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { selfSigned, testCertificates } from './helpers/tls.mjs'

const HOST = 'api.example.com'
const URL_ = `http://${HOST}/`
const host = { host: HOST }
const anyone = { rateLimit: false }

async function issued(guard, cnf) {
  return (await guard.tokens.issue({ sub: 'ada', ...(cnf === undefined ? {} : { cnf }) })).accessToken
}

function appOf(express, guard, ...handlers) {
  const app = express()
  app.use(...(handlers.length > 0 ? handlers : guard.securityStack()))
  app.use((req, res) => res.json({ sub: req.user?.sub, bound: req.guard.token?.bound }))
  return app
}

for (const [name, express] of expresses) {
  test(`${name}: a bound token passes once with each proof, and never without one`, async () => {
    const guard = createGuard({ jwt, ...anyone })
    const client = dpopClient()
    const token = await issued(guard, { jkt: client.jkt })
    await serve(appOf(express, guard), async (send) => {
      const proof = client.proof({ url: URL_, token })
      const first = await send({ headers: { ...host, ...dpop(token, proof) } })
      assert.deepEqual([first.status, first.json], [200, { sub: 'ada', bound: 'dpop' }])
      const again = await send({ headers: { ...host, ...dpop(token, proof) } })
      assert.deepEqual([again.status, again.json.code], [401, 'dpop_replayed'])
      assert.match(again.headers['www-authenticate'], /^DPoP realm="api", algs="ES256 [^"]+", error="invalid_dpop_proof"/)
      const asBearer = await send({ headers: { ...host, ...bearer(token), dpop: client.proof({ url: URL_, token }) } })
      assert.deepEqual([asBearer.status, asBearer.json.code], [401, 'token_bound'])
      assert.match(asBearer.headers['www-authenticate'], /^DPoP .*error="invalid_token"/)
      const bare = await send({ headers: { ...host, authorization: `DPoP ${token}` } })
      assert.deepEqual([bare.status, bare.json.code], [401, 'dpop_proof'])
      const more = await send({ headers: { ...host, ...dpop(token, client.proof({ url: URL_, token })) } })
      assert.equal(more.status, 200)
    })
  })
}

const [, express] = expresses[0]

test('a proof for another request, by another key or of another time is refused', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  const other = await issued(guard, { jkt: client.jkt })
  const now = Math.floor(Date.now() / 1000)
  const from = (claims, header) => client.proof({ url: URL_, token, ...claims }, header)
  const cases = {
    'another method': from({ htm: 'POST' }),
    'another path': from({ url: `${URL_}admin` }),
    'another host': from({ url: 'http://evil.example/' }),
    'another scheme': from({ url: `https://${HOST}/` }),
    'another token': client.proof({ url: URL_, token: other }),
    'another key': dpopClient().proof({ url: URL_, token }),
    'the key of another in the header': from({}, { jwk: dpopClient().jwk }),
    'an old one': from({ iat: now - 120 }),
    'one for later': from({ iat: now + 120 }),
    'no id': from({ jti: undefined }),
    'another type': from({}, { typ: 'JWT' }),
    'no algorithm': from({}, { alg: 'none' }),
    'two in one header': `${from({})}, ${from({})}`,
    'no proof at all': 'x'
  }
  await serve(appOf(express, guard), async (send) => {
    for (const [name, proof] of Object.entries(cases)) {
      const answer = await send({ headers: { ...host, ...dpop(token, proof) } })
      assert.deepEqual([answer.status, answer.json.code], [401, 'dpop_proof'], name)
      assert.ok(!answer.text.includes(token), name)
    }
    const twice = ['Host', HOST, 'Authorization', `DPoP ${token}`, 'DPoP', from({}), 'DPoP', from({})]
    const answer = await send({ headers: twice })
    assert.deepEqual([answer.status, answer.json.code], [400, 'duplicate_header'])
    // None of all that has used anything up, and the query is no part of it.
    assert.equal((await send({ path: '/?a=b', headers: { ...host, ...dpop(token, from({})) } })).status, 200)
  })
})

test('whoever makes up the host of a request can not use a proof for it where the hosts are known', async () => {
  const guard = createGuard({ jwt, ...anyone, hosts: [HOST] })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  // A single layer does not look at the host for other requests.
  await serve(appOf(express, guard, guard.authenticate()), async (send) => {
    const stolen = client.proof({ url: 'http://evil.example/', token })
    const answer = await send({ headers: { host: 'evil.example', ...dpop(token, stolen) } })
    assert.deepEqual([answer.status, answer.json.code], [403, 'host_not_allowed'])
    assert.equal((await send({ headers: { ...host, ...dpop(token, client.proof({ url: URL_, token })) } })).status, 200)
  })
})

test('a trusted proxy says by which scheme a request came, and nobody else', async () => {
  const guard = createGuard({ jwt, ...anyone, trustedProxies: ['127.0.0.1'] })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  const https = () => dpop(token, client.proof({ url: `https://${HOST}/`, token }))
  await serve(appOf(express, guard), async (send) => {
    assert.equal((await send({ headers: { ...host, 'x-forwarded-proto': 'https', ...https() } })).status, 200)
    assert.equal((await send({ from: '127.0.0.2', headers: { ...host, 'x-forwarded-proto': 'https', ...https() } })).status, 401)
  })
})

test('an unbound token takes no proof, and passes without one unless one is required', async () => {
  const client = dpopClient()
  for (const [mode, plain, missing] of [['if-bound', 200, /^Bearer /], ['required', 401, /^DPoP /]]) {
    const guard = createGuard({ jwt: { ...jwt, dpop: mode }, ...anyone })
    const token = await issued(guard)
    const bound = await issued(guard, { jkt: client.jkt })
    await serve(appOf(express, guard), async (send) => {
      assert.equal((await send({ headers: { ...host, ...bearer(token) } })).status, plain, mode)
      const scheme = await send({ headers: { ...host, ...dpop(token, client.proof({ url: URL_, token })) } })
      assert.deepEqual([scheme.status, scheme.json.code], [401, 'token_unbound'], mode)
      const none = await send({ headers: host })
      assert.equal(none.status, 401)
      assert.match(none.headers['www-authenticate'], missing, mode)
      assert.equal((await send({ headers: { ...host, ...dpop(bound, client.proof({ url: URL_, token: bound })) } })).status, 200, mode)
    })
  }
  const off = createGuard({ jwt: { ...jwt, dpop: 'off' }, ...anyone })
  const bound = await issued(off, { jkt: client.jkt })
  await serve(appOf(express, off), async (send) => {
    assert.equal((await send({ headers: { ...host, ...bearer(bound) } })).json.code, 'token_bound')
    assert.equal((await send({ headers: { ...host, ...dpop(bound, client.proof({ url: URL_, token: bound })) } })).json.code, 'token_missing')
  })
  await assert.rejects(off.tokens.verify(bound), { code: 'token_bound', status: 401 })
})

test('a second layer on the same request takes the proof that the first one took, and no other request does', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const other = createGuard({ jwt, ...anyone })
  const client = dpopClient()
  const token = (await guard.tokens.issue({ sub: 'ada', scope: 'read', cnf: { jkt: client.jkt } })).accessToken
  const app = appOf(express, guard, ...guard.securityStack(), guard.require({ scope: 'read' }), other.authenticate())
  await serve(app, async (send) => {
    const headers = { ...host, ...dpop(token, client.proof({ url: URL_, token })) }
    assert.equal((await send({ headers })).status, 200)
    assert.equal((await send({ headers })).json.code, 'dpop_replayed')
  })
  // The list is that of the process, whichever guard asks.
  await serve(appOf(express, other), async (send) => {
    const headers = { ...host, ...dpop(token, client.proof({ url: URL_, token })) }
    assert.equal((await send({ headers })).status, 200)
    await serve(appOf(express, guard), async (sendElsewhere) => {
      assert.equal((await sendElsewhere({ headers })).json.code, 'dpop_replayed')
    })
  })
})

test('a nonce is asked for, given and taken, and a newer one comes in time', async () => {
  const guard = createGuard({ jwt: { ...jwt, dpop: 'required', dpopNonce: true }, ...anyone })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  await serve(appOf(express, guard), async (send) => {
    const ask = (nonce) => send({ headers: { ...host, ...dpop(token, client.proof({ url: URL_, token, nonce })) } })
    const first = await ask(undefined)
    assert.deepEqual([first.status, first.json.code], [401, 'dpop_nonce'])
    assert.match(first.headers['www-authenticate'], /^DPoP .*error="use_dpop_nonce"/)
    const nonce = first.headers['dpop-nonce']
    assert.equal((await ask(nonce)).status, 200)
    assert.equal((await ask(nonce)).status, 200, 'it is good more than once')
    const forged = await ask(`${nonce.slice(0, -1)}${nonce.endsWith('A') ? 'B' : 'A'}`)
    assert.deepEqual([forged.json.code, typeof forged.headers['dpop-nonce']], ['dpop_nonce', 'string'])
  })
  const shared = { jwt: { ...jwt, dpopNonce: true }, store: { redis: 'redis://127.0.0.1:1' } }
  assert.throws(() => createGuard(shared), { code: 'ERR_MISSING_OPTION', path: 'jwt.dpopNonce.secret' })
})

test('a store that does not answer lets no proof pass', async () => {
  const guard = createGuard({ jwt, ...anyone, revocation: false, store: { redis: 'redis://127.0.0.1:1' } })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  await serve(appOf(express, guard), async (send) => {
    const answer = await send({ headers: { ...host, ...dpop(token, client.proof({ url: URL_, token })) } })
    assert.deepEqual([answer.status, answer.json.code, answer.headers['retry-after']], [503, 'store_unavailable', '1'])
    assert.equal((await send({ headers: { ...host, ...bearer(await issued(guard)) } })).status, 200)
  })
})

// Client certificates.

const thumbprint = (pem) => createHash('sha256').update(new X509Certificate(pem).raw).digest('base64url')

/**
 * A server that asks for a certificate and takes any or none: that TLS has proved its key is
 * enough.
 */
function tlsServer(listener, more = {}) {
  const { server } = testCertificates()
  return https.createServer({ key: server.key, cert: server.cert, requestCert: true, rejectUnauthorized: false, ...more }, listener)
}

const over = (certificate) => ({ client: https, rejectUnauthorized: false, ...certificate })

test('a token that is bound to a certificate passes on a connection with exactly that one', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const { client } = testCertificates()
  const [mine, foreign] = [{ key: client.key, cert: client.cert }, selfSigned()]
  const app = appOf(express, guard)
  for (const [bound, other] of [[mine, foreign], [foreign, mine]]) {
    const token = await issued(guard, { 'x5t#S256': thumbprint(bound.cert) })
    await serve(app, async (send) => {
      const good = await send({ headers: bearer(token), ...over(bound) })
      assert.deepEqual([good.status, good.json], [200, { sub: 'ada', bound: 'mtls' }])
      for (const certificate of [other, {}]) {
        const answer = await send({ headers: bearer(token), ...over(certificate) })
        assert.deepEqual([answer.status, answer.json.code], [401, 'token_bound'])
        assert.match(answer.headers['www-authenticate'], /^Bearer .*error="invalid_token"/)
      }
      // What a header says of a certificate is the client's own word.
      const forged = { 'client-cert': `:${new X509Certificate(bound.cert).raw.toString('base64')}:`, 'x-ssl-client-cert': encodeURIComponent(bound.cert) }
      assert.equal((await send({ headers: { ...bearer(token), ...forged }, ...over({}) })).status, 401)
      assert.equal((await send({ headers: bearer(await issued(guard)), ...over({}) })).status, 200, 'an unbound token needs none')
    }, tlsServer(app))
    await serve(app, async (send) => assert.equal((await send({ headers: bearer(token) })).status, 401, 'without TLS'))
  }
})

test('with both bindings, both must hold', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const { client } = testCertificates()
  const mine = { key: client.key, cert: client.cert }
  const owner = dpopClient()
  const token = await issued(guard, { jkt: owner.jkt, 'x5t#S256': thumbprint(mine.cert) })
  const app = appOf(express, guard)
  const headers = () => ({ ...host, ...dpop(token, owner.proof({ url: `https://${HOST}/`, token })) })
  await serve(app, async (send) => {
    assert.equal((await send({ headers: headers(), ...over({}) })).json.code, 'token_bound')
    assert.equal((await send({ headers: { ...host, ...bearer(token) }, ...over(mine) })).json.code, 'token_bound')
    assert.equal((await send({ headers: { ...headers(), dpop: dpopClient().proof({ url: `https://${HOST}/`, token }) }, ...over(mine) })).json.code, 'dpop_proof')
    const good = await send({ headers: headers(), ...over(mine) })
    assert.deepEqual([good.status, good.json.bound], [200, 'dpop+mtls'])
  }, tlsServer(app))
})

test('a bound token with other members, or none, in its confirmation is never taken', async () => {
  const guard = createGuard({ jwt, ...anyone })
  for (const cnf of [{}, { kid: 'a' }, { jwk: {} }, { jkt: 'x' }, { jkt: dpopClient().jkt, kid: 'a' }]) {
    await assert.rejects(issued(guard, cnf), { code: 'ERR_INVALID_ARGUMENT' }, JSON.stringify(cnf))
  }
})

test('a resumed session has the certificate of its first handshake, and none where there was none', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const { client } = testCertificates()
  const mine = { key: client.key, cert: client.cert }
  const token = await issued(guard, { 'x5t#S256': thumbprint(mine.cert) })
  const app = appOf(express, guard)
  const ticketKeys = Buffer.alloc(48, 7)
  await serve(app, async (send, { port }) => {
    for (const [certificate, wanted] of [[mine, 200], [{}, 401]]) {
      const session = await sessionOf(port, certificate)
      const { status, resumed } = await overSession(port, session, token)
      assert.deepEqual([resumed, status], [true, wanted])
    }
  }, tlsServer(app, { ticketKeys, maxVersion: 'TLSv1.3' }))
})

/** The session that a server hands out after one request. */
async function sessionOf(port, certificate) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...certificate })
  const session = once(socket, 'session')
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  const [bytes] = await session
  socket.destroy()
  return bytes
}

async function overSession(port, session, token) {
  const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false, session })
  await once(socket, 'secureConnect')
  const resumed = socket.isSessionReused()
  socket.write(`GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\nConnection: close\r\n\r\n`)
  let text = ''
  for await (const chunk of socket) text += chunk
  return { status: Number(text.split(' ', 2)[1]), resumed }
}

test('HTTP/2 has certificates and proofs as well', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const { server, client } = testCertificates()
  const owner = dpopClient()
  const token = await issued(guard, { jkt: owner.jkt, 'x5t#S256': thumbprint(client.cert) })
  const [protect] = guard.securityStack()
  const h2 = http2.createSecureServer(
    { key: server.key, cert: server.cert, requestCert: true, rejectUnauthorized: false },
    (req, res) => protect(req, res, () => res.end(req.user.sub))
  )
  h2.listen(0, '127.0.0.1')
  await once(h2, 'listening')
  const url = `https://127.0.0.1:${h2.address().port}`
  try {
    for (const [certificate, wanted] of [[{ key: client.key, cert: client.cert }, 200], [{}, 401]]) {
      const session = http2.connect(url, { rejectUnauthorized: false, ...certificate })
      const request = session.request({ ':path': '/', ...dpop(token, owner.proof({ url: `${url}/`, token })) })
      const [headers] = await once(request, 'response')
      request.resume()
      await once(request, 'close')
      session.close()
      assert.equal(headers[':status'], wanted)
    }
  } finally {
    h2.close()
  }
})

test('the URL of a request is the one that the client has asked for, wherever the layer is mounted', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  const app = express()
  app.use('/v1', guard.securityStack(), express.Router().use('/caf%C3%A9', guard.require(), (req, res) => res.end(req.user.sub)))
  await serve(app, async (send) => {
    const status = async (path, url) => (await send({ path, headers: { ...host, ...dpop(token, client.proof({ url, token })) } })).status
    assert.equal(await status('/v1/caf%c3%a9?x=1', `http://${HOST}:80/v1/caf%C3%A9`), 200)
    assert.equal(await status('/v1/caf%C3%A9/1', `http://${HOST}/v1/caf%C3%A9/%31`), 200)
    assert.equal(await status('/v1/caf%C3%A9', `http://${HOST}/caf%C3%A9`), 401)
    assert.equal(await status('/v1/caf%C3%A9', `http://${HOST}/`), 401)
    assert.equal(await status('/v1/caf%C3%A9', `http://${HOST}./v1/caf%C3%A9`), 401)
    assert.equal(await status('/v1/caf%C3%A9', `http://${HOST}/v1/CAF%C3%A9`), 401)
  })
})

test('a bound token is revoked like any other, and refused before its proof is used up', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  await guard.revoke.token(token)
  await serve(appOf(express, guard), async (send) => {
    const headers = { ...host, ...dpop(token, client.proof({ url: URL_, token })) }
    for (let i = 0; i < 2; i += 1) assert.equal((await send({ headers })).json.code, 'token_revoked')
  })
})

test('a request with a body passes behind its proof', async () => {
  const guard = createGuard({ jwt, ...anyone })
  const client = dpopClient()
  const token = await issued(guard, { jkt: client.jkt })
  const app = express()
  app.use(guard.securityStack())
  app.post('/', (req, res) => res.json(req.body))
  await serve(app, async (send) => {
    const proof = client.proof({ method: 'POST', url: URL_, token })
    const answer = await send(json({ a: 1 }, { headers: { ...host, ...dpop(token, proof) } }))
    assert.deepEqual([answer.status, answer.json], [200, { a: 1 }])
  })
})

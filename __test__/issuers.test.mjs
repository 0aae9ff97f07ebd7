// Several issuers, and keys that are fetched from a real server.

import test from 'node:test'
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { Worker } from 'node:worker_threads'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { makeKey, startIssuer } from './helpers/issuer.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'
import { testCertificates } from './helpers/tls.mjs'

const AUDIENCE = 'my-api'
const run = promisify(execFile)
const entry = fileURLToPath(new URL('../index.js', import.meta.url))

const warnings = []
process.on('warning', (warning) => warnings.push(warning))
const told = (issuer) => warnings.filter(({ message }) => message.includes(`'${issuer}'`)).map(({ code }) => code)

/** Runs `use` with an issuer, which is stopped afterwards. */
async function withIssuer(use, options) {
  const issuer = await startIssuer(options)
  try {
    return await use(issuer)
  } finally {
    await issuer.stop()
  }
}

/** An app behind a guard, which is closed afterwards. */
async function guarded(jwt, use, express = expresses[0][1]) {
  const guard = createGuard({ rateLimit: false, jwt })
  const app = express()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.json({ iss: req.user.iss, sub: req.user.sub }))
  try {
    return await serve(app, async (send) => use((token) => send({ headers: bearer(token) }), guard))
  } finally {
    await guard.close()
  }
}

const only = (guard) => guard.health().issuers[0]
const refusedAs = (code) => (error) => error.code === code

test('tokens of two issuers are taken, each by its own keys under the same kid', async () => {
  const [a, b] = [makeKey('k1'), makeKey('k1')]
  const issuers = [
    { issuer: 'https://a.example', audience: AUDIENCE, jwks: { keys: [a.jwk] } },
    { issuer: 'https://b.example', audience: 'other', jwks: { keys: [b.jwk] } }
  ]
  await guarded({ issuers }, async (get) => {
    assert.deepEqual((await get(a.token({ iss: 'https://a.example', aud: AUDIENCE }))).json, { iss: 'https://a.example', sub: 'ada' })
    assert.deepEqual((await get(b.token({ iss: 'https://b.example', aud: 'other' }))).json, { iss: 'https://b.example', sub: 'ada' })
    for (const [token, code] of [
      [b.token({ iss: 'https://a.example', aud: AUDIENCE }), 'token_signature'],
      [a.token({ iss: 'https://b.example', aud: 'other' }), 'token_signature'],
      [b.token({ iss: 'https://b.example', aud: AUDIENCE }), 'token_audience'],
      [a.token({ iss: 'https://c.example', aud: AUDIENCE }), 'token_issuer'],
      [a.token({ aud: AUDIENCE }), 'token_claims']
    ]) {
      const { status, json } = await get(token)
      assert.deepEqual([status, json.code], [401, code])
    }
  })
})

test('what is revoked of one issuer is not revoked of the other', async () => {
  const [a, b] = [makeKey('k1'), makeKey('k1')]
  const guard = createGuard({
    jwt: {
      issuers: [
        { issuer: 'https://a.example', audience: AUDIENCE, jwks: { keys: [a.jwk] } },
        { issuer: 'https://b.example', audience: AUDIENCE, jwks: { keys: [b.jwk] } }
      ]
    }
  })
  const same = { aud: AUDIENCE, jti: 'j1', sid: 's1' }
  const of = { a: a.token({ iss: 'https://a.example', ...same }), b: b.token({ iss: 'https://b.example', ...same }) }
  const good = (token) => guard.tokens.verify(token)
  const revoked = (token) => assert.rejects(good(token), refusedAs('token_revoked'))

  await guard.revoke.token(of.a)
  await revoked(of.a)
  await good(of.b)
  for (const [call, args] of [
    ['token', ['j1', undefined]],
    ['subject', ['ada', undefined]],
    ['session', ['s1']],
    ['key', ['k1']]
  ]) {
    await assert.rejects(guard.revoke[call](...args), (error) => error.code === 'ERR_INVALID_ARGUMENT' && /several issuers/.test(error.message), call)
    await assert.rejects(guard.revoke[call](...args, { issuer: 'https://c.example' }), refusedAs('ERR_INVALID_ARGUMENT'), call)
    await assert.rejects(guard.revoke[call](...args, { isuer: 'https://a.example' }), refusedAs('ERR_UNKNOWN_OPTION'), call)
    await guard.revoke[call](...args, { issuer: 'https://a.example' })
    await good(of.b)
  }
  // By its whole token it is certain whose it is; to name another is a mistake.
  await assert.rejects(guard.revoke.token(of.b, undefined, { issuer: 'https://a.example' }), refusedAs('ERR_INVALID_ARGUMENT'))
  await guard.revoke.subject('ada', undefined, { issuer: 'https://b.example' })
  await revoked(of.b)
  assert.deepEqual(guard.health().revoked, { tokens: 1, subjects: 2, sessions: 1, keys: 1 })
})

test('what is revoked of one issuer is not revoked of the other in a shared store, in any process', async () => {
  const redis = await startRedis()
  const [a, b] = [makeKey('k1'), makeKey('k1')]
  const [nameA, nameB] = ['https://a.example', 'https://b.example']
  const issuers = [
    { issuer: nameA, audience: AUDIENCE, jwks: { keys: [a.jwk] } },
    { issuer: nameB, audience: AUDIENCE, jwks: { keys: [b.jwk] } }
  ]
  const config = { rateLimit: false, store: { redis: redis.url }, jwt: { issuers } }
  const peers = await Promise.all([startPeer(config), startPeer(config)])
  try {
    for (const peer of peers) await peer.call('ready')
    const tokens = (more) => [a.token({ iss: nameA, aud: AUDIENCE, ...more }), b.token({ iss: nameB, aud: AUDIENCE, ...more })]
    const statuses = async (peer, more) => Promise.all(tokens(more).map(async (token) => (await peer.get('/', bearer(token))).status))
    const soon = Math.floor(Date.now() / 1000) + 600
    await peers[0].call('revoke.token', 'j1', soon, { issuer: nameA })
    await peers[0].call('revoke.session', 's1', { issuer: nameB })
    for (const peer of peers) {
      await waitUntil('the revocation of the token', async () => (await statuses(peer, { jti: 'j1' }))[0] === 401)
      await waitUntil('the revocation of the session', async () => (await statuses(peer, { sid: 's1' }))[1] === 401)
      assert.deepEqual(await statuses(peer, { jti: 'j1' }), [401, 200])
      assert.deepEqual(await statuses(peer, { sid: 's1' }), [200, 401])
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
    await redis.stop()
  }
})

for (const [name, express] of expresses) {
  test(`${name}: the first request by a new key is let in, and one by a withdrawn key is not any more`, async () => {
    await withIssuer(async (issuer) => {
      const [old, next] = [makeKey('old'), makeKey('new')]
      const claims = { iss: 'https://id.example', aud: AUDIENCE }
      issuer.publish('/jwks', { keys: [old.jwk] })
      await guarded({ issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
        const known = old.token(claims)
        assert.equal((await get(known)).status, 200, 'also the very first request, which waits for the first fetch')
        assert.equal((await get(known)).status, 200)
        issuer.publish('/jwks', { keys: [next.jwk] })
        assert.equal((await get(next.token(claims))).status, 200)
        const { status, json } = await get(known)
        assert.deepEqual([status, json.code], [401, 'token_key'])
        assert.equal(only(guard).keys, 1)
        assert.equal(issuer.seen.length, 2)
        assert.equal(issuer.seen[1].headers['cache-control'], 'no-cache', 'no cache on the way may answer with the old ones')
      }, express)
    })
  })
}

test('a flood of made-up kids causes one fetch, and no good request waits for it', async () => {
  await withIssuer(async (issuer) => {
    const [good, forged] = [makeKey('good'), makeKey('forged')]
    const claims = { iss: 'https://id.example', aud: AUDIENCE }
    issuer.publish('/jwks', { keys: [good.jwk] })
    await guarded({ issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
      await guard.ready()
      // The issuer takes its time: whoever waits for it does so until we let it answer.
      let letAnswer
      const held = new Promise((resolve) => {
        issuer.publish('/jwks', (req, res) => {
          resolve()
          letAnswer = () => res.end(JSON.stringify({ keys: [good.jwk] }))
        })
      })
      const flood = Array.from({ length: 600 }, (_, i) => guard.tokens.verify(forged.token(claims, { kid: `made up ${i}` })))
      const refused = flood.map((call) => assert.rejects(call, refusedAs('token_key')))
      await held
      for (let i = 0; i < 20; i += 1) assert.equal((await get(good.token({ ...claims, sub: `user ${i}` }))).status, 200)
      letAnswer()
      await Promise.all(refused)
      for (let i = 0; i < 200; i += 1) {
        await assert.rejects(guard.tokens.verify(forged.token(claims, { kid: `later ${i}` })), refusedAs('token_key'))
      }
      assert.equal(issuer.seen.length, 2, 'the first fetch, and one for all made-up names')
      assert.equal((await get(good.token(claims))).status, 200)
    })
  })
})

test('before the issuer has answered a request gets 503 and not 401, and ready() waits', async () => {
  await withIssuer(async (issuer) => {
    const key = makeKey('k1')
    let letAnswer
    issuer.publish('/jwks', (req, res) => (letAnswer = () => res.end(JSON.stringify({ keys: [key.jwk] }))))
    await guarded({ issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
      const token = key.token({ iss: 'https://id.example', aud: AUDIENCE })
      const { status, json, headers } = await get(token)
      assert.deepEqual([status, json.code, headers['retry-after']], [503, 'issuer_unavailable', '1'])
      assert.equal(headers['www-authenticate'], undefined, 'the token is not at fault')
      assert.equal(guard.health().ready, false)
      let isReady = false
      const ready = guard.ready().then(() => (isReady = true))
      await assert.rejects(guard.tokens.verify(token), (error) => error.code === 'issuer_unavailable' && error.status === 503)
      assert.equal(isReady, false)
      issuer.publish('/jwks', { keys: [key.jwk] })
      letAnswer()
      await ready
      assert.equal((await get(token)).status, 200)
      assert.deepEqual([guard.health().ready, only(guard).state, only(guard).keys], [true, 'ready', 1])
    })
  })
})

test('what has not changed is answered with 304 and goes on being used', async () => {
  await withIssuer(async (issuer) => {
    const key = makeKey('k1')
    const claims = { iss: 'https://id.example', aud: AUDIENCE }
    issuer.publish('/jwks', { keys: [key.jwk] })
    await guarded({ issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
      await guard.ready()
      await assert.rejects(guard.tokens.verify(makeKey('unknown').token(claims)), refusedAs('token_key'))
      assert.match(issuer.seen[1].headers['if-none-match'], /^"/)
      assert.deepEqual([only(guard).state, only(guard).error], ['ready', null])
      assert.equal((await get(key.token(claims))).status, 200)
    })
  })
})

const big = JSON.stringify({ keys: [], padding: 'x'.repeat(300 * 1024) })
const endless = (req, res) => {
  const write = () => {
    while (res.write('x'.repeat(65536)));
  }
  res.on('drain', write)
  res.write('{"keys":[')
  write()
}
function again(res, pause, write) {
  const timer = setInterval(write, pause)
  res.on('close', () => clearInterval(timer))
}
for (const [what, answer, error] of [
  ['a redirect', (req, res) => res.writeHead(302, { location: '/elsewhere' }).end(), 'redirect'],
  ['an error', (req, res) => res.writeHead(500).end('{"keys":[]}'), 'status'],
  ['too much, with its length', (req, res) => res.end(big), 'too-large'],
  ['too much, without an end', endless, 'too-large'],
  ['a page', (req, res) => res.end('<html>'), 'malformed'],
  ['a member twice', (req, res) => res.end('{"keys":[],"keys":[]}'), 'malformed'],
  ['no keys', { keys: [] }, 'set'],
  ['a secret', { keys: [{ kty: 'oct', k: 'AAAA', kid: 'x' }] }, 'set'],
  ['half an answer', (req, res) => res.writeHead(200, { 'content-length': 100 }).write('{', () => res.destroy()), 'network'],
  ['too much, once it is unpacked', (req, res) => res.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(64 << 20, ' '))), 'too-large'],
  ['a header without an end', (req, res) => again(res, 1, () => res.socket.write('x-more: x\r\n'.repeat(1000))), 'network'],
  ['a byte now and then', (req, res) => again(res, 100, () => res.write(' ')), 'timeout'],
  ['nothing for five seconds', () => {}, 'timeout']
]) {
  test(`an issuer that answers with ${what} is told of, and no token of it is taken`, async () => {
    await withIssuer(async (issuer) => {
      const key = makeKey('k1')
      const name = `https://${what.replaceAll(/\W/g, '-')}.example`
      issuer.publish('/jwks', answer)
      issuer.publish('/elsewhere', { keys: [key.jwk] })
      await guarded({ issuer: name, audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
        await waitUntil('the fetch to fail', () => only(guard).error === error, 20_000)
        await waitUntil('a warning', () => told(name).length > 0)
        assert.deepEqual([only(guard).state, guard.health().ready], ['not-ready', false])
        assert.equal((await get(key.token({ iss: name, aud: AUDIENCE }))).status, 503)
        assert.ok(issuer.seen.every(({ url }) => url === '/jwks'))
        // It heals by itself, and that is told too.
        issuer.publish('/jwks', { keys: [key.jwk] })
        await guard.ready()
        assert.equal((await get(key.token({ iss: name, aud: AUDIENCE }))).status, 200)
        await waitUntil('a warning', () => told(name).length > 1)
        assert.deepEqual(told(name), ['GUARD_ISSUER_FAILING', 'GUARD_ISSUER_RECOVERED'], 'each change once')
      })
    })
  })
}

test('a bad set does not take the place of a good one', async () => {
  await withIssuer(async (issuer) => {
    const [key, twin] = [makeKey('k1'), makeKey('k1')]
    const claims = { iss: 'https://bad-set.example', aud: AUDIENCE }
    issuer.publish('/jwks', { keys: [key.jwk] })
    await guarded({ issuer: claims.iss, audience: AUDIENCE, jwks: `${issuer.url}/jwks` }, async (get, guard) => {
      await guard.ready()
      issuer.publish('/jwks', { keys: [key.jwk, twin.jwk] })
      assert.equal((await get(makeKey('k2').token(claims))).status, 401)
      assert.deepEqual([only(guard).state, only(guard).error, only(guard).keys], ['failing', 'set', 1])
      assert.equal((await get(key.token(claims))).status, 200)
      await waitUntil('a warning', () => told(claims.iss).length > 0)
      const { message } = warnings.find((warning) => warning.message.includes(claims.iss))
      assert.match(message, /`keys\[1\]` has the same kid and alg as `keys\[0\]`/)
    })
  })
})

test('discovery finds the keys, and metadata of another issuer is not believed', async () => {
  await withIssuer(async (issuer) => {
    const key = makeKey('k1')
    const metadata = (name) => ({ issuer: name, jwks_uri: `${issuer.url}/keys`, id_token_signing_alg_values_supported: ['ES256'] })
    issuer.publish('/keys', { keys: [key.jwk] })
    issuer.publish('/.well-known/openid-configuration', metadata(issuer.url))
    issuer.publish('/.well-known/oauth-authorization-server/tenant', metadata(`${issuer.url}/tenant`))
    for (const [name, discovery] of [
      [issuer.url, true],
      [`${issuer.url}/tenant`, 'oauth']
    ]) {
      await guarded({ issuer: name, audience: AUDIENCE, discovery }, async (get) => {
        assert.equal((await get(key.token({ iss: name, aud: AUDIENCE }))).status, 200, 'without ready(): it waits for both fetches')
      })
    }
    issuer.publish('/.well-known/openid-configuration', metadata('https://evil.example'))
    await guarded({ issuer: issuer.url, audience: AUDIENCE, discovery: true }, async (get, guard) => {
      await waitUntil('the fetch to fail', () => only(guard).error === 'issuer')
      assert.equal((await get(key.token({ iss: issuer.url, aud: AUDIENCE }))).status, 503)
    })
  })
})

test("the preset 'vault' takes Vault's identity tokens by its address", async () => {
  await withIssuer(async (vault) => {
    const key = makeKey('b3e2f5a0-5b1c-8f0e-1c7a-5d2f3a4b5c6d')
    const name = `${vault.url}/v1/identity/oidc`
    vault.publish('/v1/identity/oidc/.well-known/openid-configuration', { issuer: name, jwks_uri: `${name}/.well-known/keys` })
    vault.publish('/v1/identity/oidc/.well-known/keys', { keys: [key.jwk] })
    await guarded({ preset: 'vault', issuer: vault.url, audience: 'client-id' }, async (get) => {
      const { status, json } = await get(key.token({ iss: name, aud: 'client-id', sub: 'entity-1', namespace: 'root' }))
      assert.deepEqual([status, json], [200, { iss: name, sub: 'entity-1' }])
    })
  })
})

test("the preset 'spiffe' takes JWT-SVIDs of its trust domain and of no other, and no other issuer gives such names", async () => {
  await withIssuer(async (spire) => {
    const [svid, idp] = [makeKey('svid-1', { use: 'jwt-svid', alg: undefined }), makeKey('svid-1')]
    const x509 = makeKey('x', { use: 'x509-svid', kid: undefined, x5c: ['MIIB'] })
    spire.publish('/bundle', { spiffe_sequence: 1, spiffe_refresh_hint: 300, keys: [x509.jwk, svid.jwk] })
    const issuers = [
      { preset: 'spiffe', issuer: 'spiffe://example.org', audience: AUDIENCE, jwks: `${spire.url}/bundle` },
      { issuer: 'https://id.example', audience: AUDIENCE, jwks: { keys: [idp.jwk] } }
    ]
    await guarded({ issuers }, async (get) => {
      const billing = { aud: AUDIENCE, sub: 'spiffe://example.org/ns/prod/sa/billing' }
      assert.equal((await get(svid.token(billing, { typ: 'JOSE' }))).json.sub, billing.sub)
      const { status, json } = await get(idp.token({ ...billing, iss: 'https://id.example' }))
      assert.deepEqual([status, json.code], [401, 'token_signature'])
      assert.equal((await get(svid.token({ aud: AUDIENCE, sub: 'spiffe://evil.example/x' }))).status, 401)
      assert.equal((await get(idp.token({ aud: AUDIENCE, iss: 'https://id.example' }))).status, 200)
    })
  })
})

test('a certificate must be of an authority that Node knows, which NODE_EXTRA_CA_CERTS can add', async () => {
  const { server: tls } = testCertificates()
  await withIssuer(
    async (issuer) => {
      const key = makeKey('k1')
      issuer.publish('/jwks', { keys: [key.jwk] })
      const token = key.token({ iss: 'https://id.example', aud: AUDIENCE })
      const program = `
        const guard = require(${JSON.stringify(entry)}).createGuard({ jwt: { issuer: 'https://id.example', audience: '${AUDIENCE}', jwks: '${issuer.url}/jwks' } })
        guard.tokens.verify('${token}').then((claims) => claims.sub, (error) => error.code + ' ' + guard.health().issuers[0].error).then((said) => {
          console.log(said)
          guard.close()
        })`
      const env = { ...process.env, NODE_NO_WARNINGS: '1' }
      delete env.NODE_EXTRA_CA_CERTS
      const said = async (more) => (await run(process.execPath, ['-e', program], { env: { ...env, ...more } })).stdout.trim()
      assert.equal(await said({ NODE_EXTRA_CA_CERTS: tls.caFile }), 'ada')
      assert.equal(await said({}), 'issuer_unavailable tls')
    },
    { tls }
  )
})

test('a guard that follows an issuer does not keep the process open, in a worker neither', async () => {
  await withIssuer(async (issuer) => {
    issuer.publish('/jwks', { keys: [makeKey('k1').jwk] })
    const options = { issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }
    const program = `
      const guard = require(${JSON.stringify(entry)}).createGuard({ jwt: ${JSON.stringify(options)} })
      guard.ready().then(() => console.log('ready'))`
    // A process that is held open is killed, which rejects.
    const { stdout } = await run(process.execPath, ['-e', program], { timeout: 60_000 })
    assert.equal(stdout.trim(), 'ready')
    const worker = new Worker(program, { eval: true, stdout: true })
    assert.deepEqual(await once(worker, 'exit'), [0])
  })
})

test('a guard that nobody holds any more is collected, though its issuer was followed', async () => {
  await withIssuer(async (issuer) => {
    issuer.publish('/jwks', { keys: [makeKey('k1').jwk] })
    const options = { issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` }
    const program = `
      const { createGuard } = require(${JSON.stringify(entry)})
      const forgotten = async () => {
        const guard = createGuard({ jwt: ${JSON.stringify(options)} })
        await guard.ready()
        return new WeakRef(guard)
      }
      forgotten().then(async (guard) => {
        for (let i = 0; i < 1000 && guard.deref() !== undefined; i += 1) {
          await new Promise((resolve) => setTimeout(resolve, 10))
          gc()
        }
        console.log(guard.deref() === undefined ? 'collected' : 'held')
      })`
    const { stdout } = await run(process.execPath, ['--expose-gc', '-e', program], { timeout: 60_000 })
    assert.equal(stdout.trim(), 'collected')
  })
})

test('a guard that is closed while its issuer is asked asks no more, and nobody waits for it', async () => {
  await withIssuer(async (issuer) => {
    const asked = new Promise((resolve) => issuer.publish('/jwks', (req) => req.socket.once('close', resolve)))
    const guard = createGuard({ jwt: { issuer: 'https://id.example', audience: AUDIENCE, jwks: `${issuer.url}/jwks` } })
    const waiting = guard.tokens.verify(makeKey('k1').token({ iss: 'https://id.example', aud: AUDIENCE }))
    const refused = assert.rejects(waiting, refusedAs('issuer_unavailable'))
    await waitUntil('the fetch', () => issuer.seen.length === 1)
    await guard.close()
    await refused
    await asked
    await assert.rejects(guard.ready(), refusedAs('ERR_CLOSED'))
  })
})

test('options that can not be meant are refused when the guard is built', () => {
  const one = { issuer: 'https://id.example', audience: AUDIENCE }
  for (const [jwt, code, path] of [
    [{ ...one, jwks: 'http://id.example/jwks' }, 'ERR_INVALID_OPTION', 'jwt.jwks'],
    [{ ...one, jwks: new URL('https://id.example/jwks') }, 'ERR_INVALID_OPTION', 'jwt.jwks'],
    [{ ...one, discovery: true, keys: [] }, 'ERR_CONFLICTING_OPTIONS', 'jwt.keys'],
    [{ ...one, issuers: [] }, 'ERR_CONFLICTING_OPTIONS', 'jwt.issuer'],
    [{ issuers: [{ ...one, discovry: true }] }, 'ERR_UNKNOWN_OPTION', 'jwt.issuers[0].discovry'],
    [{ issuers: [{ ...one, discovery: true }, { ...one, discovery: true }] }, 'ERR_CONFLICTING_OPTIONS', 'jwt.issuers[1].issuer']
  ]) {
    assert.throws(() => createGuard({ jwt }), (error) => error.code === code && error.path === path, path)
  }
})

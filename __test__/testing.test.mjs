// keepstone/testing: the issuer, the clock, and a guard that forgets.

import test, { afterEach, describe } from 'node:test'
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { GuardError, createGuard } from 'keepstone'
import * as named from 'keepstone/testing'
import { createTestClient, createTestClock, createTestIssuer, resetGuard, startTestIssuer } from 'keepstone/testing'
import { loadShim } from './helpers/copies.mjs'
import { dpopClient } from './helpers/dpop.mjs'
import { expresses } from './helpers/http.mjs'
import { makeFolder } from './helpers/processes.mjs'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))
const secret = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV'
const own = { issuer: 'https://own.test', audience: 'api', secret }
const refused = (code, path) => (error) => error instanceof GuardError && error.code === code && (path === undefined || error.path === path)
const codeOf = (promise) => promise.then(() => 'ok', ({ code }) => code)

afterEach(() => createTestClock().release())

test('the entry point gives the same functions to require and to import', () => {
  const required = require('keepstone/testing')
  assert.deepEqual(Object.keys(required).sort(), ['createTestClient', 'createTestClock', 'createTestIssuer', 'resetGuard', 'startTestIssuer'])
  for (const name of Object.keys(required)) assert.equal(required[name], named[name])
})

describe('an issuer', () => {
  for (const algorithm of ['ES256', 'ES384', 'ES512', 'RS256', 'RS512', 'PS256', 'PS384', 'EdDSA']) {
    test(`${algorithm}: its tokens are taken, and every forgery is refused`, async () => {
      const issuer = createTestIssuer({ algorithm })
      const guard = createGuard({ jwt: issuer.jwt })
      const { sub, role } = await guard.tokens.verify(issuer.token({ role: 'admin' }))
      assert.deepEqual([sub, role], ['test-user', 'admin'])
      const codes = {}
      for (const [name, token] of Object.entries(issuer.forgeries({ role: 'admin' }))) codes[name] = await codeOf(guard.tokens.verify(token))
      assert.deepEqual(codes, {
        'other-key': 'token_signature',
        'unknown-key': 'token_key',
        'embedded-key': 'token_signature',
        'no-signature': 'token_malformed',
        'public-key-as-secret': 'token_algorithm',
        'changed-claims': 'token_signature',
        'broken-signature': 'token_signature',
        expired: 'token_expired',
        'not-yet-valid': 'token_not_yet_valid',
        'without-expiry': 'token_claims',
        'other-issuer': 'token_issuer',
        'other-audience': 'token_audience',
        'without-audience': 'token_claims'
      })
      await guard.close()
    })
  }

  test('makes tokens of any shape', async () => {
    const issuer = createTestIssuer({ issuer: 'https://id.test', audience: ['one', 'two'] })
    const decode = (token) => token.split('.').slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')))
    const [header, claims] = decode(issuer.token())
    assert.deepEqual(header, { alg: 'ES256', kid: 'test-1', typ: 'at+jwt' })
    assert.deepEqual({ ...claims, iat: 0, exp: claims.exp - claims.iat, jti: '' }, { iss: 'https://id.test', aud: ['one', 'two'], sub: 'test-user', iat: 0, exp: 900, jti: '' })
    assert.notEqual(decode(issuer.token())[1].jti, claims.jti)
    const [other, less] = decode(issuer.token({ sub: undefined, iat: 'soon', deep: { a: [1] } }, { header: { typ: undefined, kid: 'x', crit: ['b'] }, expiresIn: '1h' }))
    assert.deepEqual(other, { alg: 'ES256', kid: 'x', crit: ['b'] })
    assert.ok(!('sub' in less) && less.iat === 'soon' && less.deep.a[0] === 1)
    const old = decode(issuer.token({}, { age: '1h', expiresIn: '30m' }))[1]
    assert.equal(old.exp - old.iat, 1800)
    assert.ok(Math.abs(old.iat + 3600 - Date.now() / 1000) < 60)
  })

  test('names what is wrong with its arguments', () => {
    assert.throws(() => createTestIssuer({ audiense: 'a' }), refused('ERR_UNKNOWN_OPTION', 'options.audiense'))
    assert.throws(() => createTestIssuer({ algorithm: 'HS256' }), refused('ERR_INVALID_OPTION', 'options.algorithm'))
    assert.throws(() => createTestIssuer({ audience: [] }), refused('ERR_INVALID_OPTION', 'options.audience'))
    assert.throws(() => createTestIssuer({ issuer: '' }), refused('ERR_INVALID_OPTION', 'options.issuer'))
    const issuer = createTestIssuer()
    assert.throws(() => issuer.token('ada'), refused('ERR_INVALID_ARGUMENT', 'claims'))
    assert.throws(() => issuer.token({}, { age: 5 }), refused('ERR_INVALID_OPTION', 'options.age'))
    assert.throws(() => issuer.token({}, { expiresIn: '-1m' }), refused('ERR_INVALID_OPTION', 'options.expiresIn'))
    assert.throws(() => issuer.token({}, { forgery: 'toString' }), refused('ERR_INVALID_OPTION', 'options.forgery'))
    assert.throws(() => issuer.token({}, { expires: '1m' }), refused('ERR_UNKNOWN_OPTION', 'options.expires'))
    assert.throws(() => issuer.token({}, undefined), refused('ERR_MISSING_OPTION', 'options'))
  })

  test('two issuers of one guard keep their keys apart, although their names of keys are the same', async () => {
    const [one, two] = [createTestIssuer({ issuer: 'https://one.test' }), createTestIssuer({ issuer: 'https://two.test' })]
    const guard = createGuard({ jwt: { issuers: [one.jwt, two.jwt] } })
    assert.equal((await guard.tokens.verify(two.token({ sub: 'ada' }))).sub, 'ada')
    assert.equal(await codeOf(guard.tokens.verify(two.token({ iss: 'https://one.test' }))), 'token_signature')
    await guard.close()
  })

  test('with a URL: a guard finds its keys, follows a rotation, and refuses after a long outage', async () => {
    const clock = createTestClock()
    const issuer = await startTestIssuer()
    const guard = createGuard({ jwt: { ...issuer.jwt, staleFor: '1h' } })
    await guard.ready()
    assert.equal((await guard.tokens.verify(issuer.token({ sub: 'ada' }))).sub, 'ada')
    issuer.rotate()
    clock.advance('1m')
    assert.equal((await guard.tokens.verify(issuer.token({ sub: 'new' }))).sub, 'new')
    await issuer.close()
    await issuer.close()
    clock.advance('30m')
    assert.equal(await codeOf(guard.tokens.verify(issuer.token())), 'ok')
    clock.advance('2h')
    assert.equal(await codeOf(guard.tokens.verify(issuer.token())), 'issuer_unavailable')
    await guard.close()
  })

  test('with a URL and a name of its own: the guard reads the set', async () => {
    const issuer = await startTestIssuer({ issuer: 'https://id.test', audience: 'shop' })
    assert.deepEqual(issuer.jwt, { issuer: 'https://id.test', audience: 'shop', jwks: `${issuer.url}/jwks` })
    const guard = createGuard({ jwt: issuer.jwt })
    await guard.ready()
    assert.equal((await guard.tokens.verify(issuer.token())).iss, 'https://id.test')
    const metadata = await (await fetch(`${issuer.url}/.well-known/openid-configuration`)).json()
    assert.deepEqual(metadata, { issuer: 'https://id.test', jwks_uri: `${issuer.url}/jwks` })
    assert.equal((await fetch(`${issuer.url}/toString`)).status, 404)
    await Promise.all([guard.close(), issuer.close()])
  })
})

describe('a clock', () => {
  test('tokens expire, and are not good before their time', async () => {
    const clock = createTestClock()
    const issuer = createTestIssuer()
    const guard = createGuard({ jwt: issuer.jwt })
    const token = issuer.token({}, { expiresIn: '15m' })
    const later = issuer.token({ nbf: Math.floor(clock.now() / 1000) + 3600 }, { expiresIn: '2h' })
    assert.deepEqual([await codeOf(guard.tokens.verify(token)), await codeOf(guard.tokens.verify(later))], ['ok', 'token_not_yet_valid'])
    clock.advance('14m')
    assert.equal(await codeOf(guard.tokens.verify(token)), 'ok')
    clock.advance('90s')
    assert.deepEqual([await codeOf(guard.tokens.verify(token)), await codeOf(guard.tokens.verify(later))], ['token_expired', 'token_not_yet_valid'])
    clock.advance('1h')
    assert.deepEqual([await codeOf(guard.tokens.verify(later)), await codeOf(guard.tokens.verify(issuer.token()))], ['ok', 'ok'])
    await guard.close()
  })

  test('windows, blocks, lists and signals of limits end', async () => {
    const clock = createTestClock()
    for (const algorithm of ['gcra', 'fixed-window', 'sliding-window']) {
      const guard = createGuard({ rateLimit: { name: 'api', limit: 2, window: '1h', algorithm } })
      const take = async () => (await guard.limits.consume('api', '203.0.113.7')).allowed
      assert.deepEqual([await take(), await take(), await take()], [true, true, false], algorithm)
      clock.advance('2h')
      assert.equal(await take(), true, algorithm)
      await guard.limits.block('api', '203.0.113.7', '10m')
      assert.equal((await guard.limits.get('api', '203.0.113.7')).allowed, false)
      clock.advance('3h')
      assert.equal(await take(), true, algorithm)
      await guard.close()
    }
    const guard = createGuard({ rateLimit: { name: 'api', limit: 10, window: '1m' } })
    const client = createTestClient((req, res) => guard.securityStack()(req, res, () => res.end()))
    await guard.limits.block('127.0.0.1', '1h')
    assert.equal((await client.get('/')).status, 403)
    clock.advance('61m')
    assert.equal((await client.get('/')).status, 200)
    await guard.limits.signal('127.0.0.1', { factor: 0.1, ttl: '10m' })
    assert.equal((await client.get('/')).status, 429, 'a tenth of ten is one, which was used')
    clock.advance('20m')
    assert.equal((await client.get('/')).status, 200)
    await Promise.all([client.close(), guard.close()])
  })

  test('what is revoked is forgotten when no token needs it any more', async () => {
    const clock = createTestClock()
    const guard = createGuard({ jwt: { ...own, maxLifetime: '1h' } })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' }, { expiresIn: '1h' })
    await guard.revoke.token(accessToken)
    assert.equal(await codeOf(guard.tokens.verify(accessToken)), 'token_revoked')
    assert.equal(guard.health().revoked.tokens, 1)
    clock.advance('1d')
    assert.equal(await codeOf(guard.tokens.verify(accessToken)), 'token_expired')
    await guard.revoke.subject('grace')
    assert.deepEqual([guard.health().revoked.tokens, guard.health().revoked.subjects], [0, 1])
    await guard.close()
  })

  test('sessions end: by idleness, by their lifetime, and by a token that is used again after its window', async () => {
    const clock = createTestClock()
    const guard = createGuard({ jwt: { ...own, refresh: { lifetime: '30d', idle: '7d', reuseWindow: '10s' } } })
    const begin = async () => (await guard.tokens.issue({ sub: 'ada', sid: `s${Math.random()}` })).refreshToken
    const [idle, kept, stolen] = [await begin(), await begin(), await begin()]
    await guard.tokens.refresh(stolen)
    clock.advance('1m')
    assert.equal(await codeOf(guard.tokens.refresh(stolen)), 'ERR_REFRESH_REUSED')
    let token = kept
    for (let day = 0; day < 30; day += 6) {
      token = (await guard.tokens.refresh(token)).refreshToken
      clock.advance('6d')
    }
    assert.equal(await codeOf(guard.tokens.refresh(idle)), 'ERR_REFRESH_INVALID')
    assert.equal(await codeOf(guard.tokens.refresh(token)), 'ERR_REFRESH_INVALID')
    await guard.close()
  })

  test('signing keys change, and policies see the time', async () => {
    const clock = createTestClock()
    const folder = makeFolder()
    const year = 'package a\ndefault allow := false\nallow if { time.now_ns() > 1000000000 * input.after }\n'
    const guard = createGuard({
      jwt: { issuer: 'https://own.test', audience: 'api', rotation: { every: '10d', storage: `${folder}/keys.json` } },
      policy: { policies: { 'a.rego': year }, query: 'data.a.allow' }
    })
    await guard.ready()
    const kid = async () => JSON.parse(Buffer.from((await guard.tokens.issue({ sub: 'ada' })).accessToken.split('.')[0], 'base64url')).kid
    const first = await kid()
    const after = clock.now() / 1000 + 3600
    assert.equal((await guard.policy.evaluate({ after })).allow, false)
    clock.advance('11d')
    await guard.tokens.rotate()
    assert.notEqual(await kid(), first)
    assert.equal((await guard.policy.evaluate({ after })).allow, true)
    await guard.close()
  })

  test('a proof of DPoP is too old soon, is taken once, and is no burden when the clock is released', async () => {
    const clock = createTestClock()
    const client = dpopClient()
    const issuer = createTestIssuer()
    const guard = createGuard({ jwt: issuer.jwt, rateLimit: false })
    const token = issuer.token({ cnf: { jkt: client.jkt } }, { expiresIn: '2h' })
    const api = createTestClient((req, res) => guard.securityStack()(req, res, () => res.end()), { browser: false, origin: 'http://app.test' })
    const send = async (proof) => (await api.get('/a', { headers: { authorization: `DPoP ${token}`, dpop: proof } })).status
    const proof = (at) => client.proof({ url: 'http://app.test/a', token, iat: at / 1000 })
    const old = proof(clock.now())
    clock.advance('1h')
    const used = proof(clock.now())
    assert.deepEqual([await send(old), await send(used), await send(used)], [401, 200, 401])
    clock.release()
    assert.equal(await send(proof(Date.now())), 200)
    await Promise.all([api.close(), guard.close()])
  })

  test('goes on by itself and never back, and can be released', async () => {
    const clock = createTestClock()
    const near = (time, expected) => assert.ok(Math.abs(time - expected) < 60_000, `${time} ${expected}`)
    near(clock.now(), Date.now())
    clock.advance('1h')
    near(clock.now(), Date.now() + 3_600_000)
    near(createTestClock().now(), Date.now() + 3_600_000)
    clock.set('2060-01-01T00:00:00Z')
    near(clock.now(), Date.UTC(2060, 0))
    clock.set(new Date(Date.UTC(2061, 0)))
    assert.throws(() => clock.set(new Date(Date.UTC(2060, 0))), refused('ERR_INVALID_ARGUMENT', 'time'))
    assert.throws(() => clock.set('tomorrow'), refused('ERR_INVALID_ARGUMENT', 'time'))
    assert.throws(() => clock.set(1_900_000_000), refused('ERR_INVALID_ARGUMENT', 'time'))
    assert.throws(() => clock.advance(1000), refused('ERR_INVALID_ARGUMENT', 'span'))
    assert.throws(() => clock.advance(60), /'60s' for seconds or '60ms' for milliseconds/)
    assert.throws(() => clock.advance('1 hour'), refused('ERR_INVALID_ARGUMENT', 'span'))
    assert.throws(() => clock.advance('999999d'), refused('ERR_TESTING'))
    near(clock.now(), Date.UTC(2061, 0))
    clock.release()
    near(clock.now(), Date.now())
  })

  test('moves no other thread', async () => {
    const clock = createTestClock()
    clock.advance('100d')
    const code = `const { createTestClock } = require('keepstone/testing')
      require('node:worker_threads').parentPort.postMessage(createTestClock().now().getTime())`
    const worker = new Worker(code, { eval: true })
    const [time] = await new Promise((resolve, reject) => worker.once('message', (...args) => resolve(args)).once('error', reject))
    assert.ok(time < Date.now() + 60_000)
    assert.ok(clock.now() > Date.now() + 60_000)
    await worker.terminate()
  })

  test('does not move where a store keeps its own time', async () => {
    const store = { redis: { url: 'redis://127.0.0.1:1' } }
    const shared = createGuard({ store })
    assert.throws(createTestClock, refused('ERR_TESTING'))
    await shared.close()
    createTestClock().advance('1s')
    assert.throws(() => createGuard({ store }), refused('ERR_TESTING'))
    createTestClock().release()
    await createGuard({ store }).close()
  })
})

describe('in production', () => {
  // Without what tells a program that a test runner runs it.
  const marks = new Set(['NODE_ENV', 'NODE_TEST_CONTEXT', 'VITEST', 'JEST_WORKER_ID'])
  const plain = Object.fromEntries(Object.entries(process.env).filter(([name]) => !marks.has(name)))
  const run = (code, env) => spawnSync(process.execPath, ['-e', code], { cwd: root, env: { ...plain, ...env }, encoding: 'utf8' })

  test('the clock does not move and no guard forgets', () => {
    const code = `const { createTestClock, resetGuard } = require('keepstone/testing')
      const guard = require('keepstone').createGuard()
      for (const call of [createTestClock, () => resetGuard(guard)]) try { call(); console.log('done') } catch (error) { console.log(error.code) }`
    assert.equal(run(code, { NODE_ENV: 'production' }).stdout, 'ERR_TESTING\nERR_TESTING\n')
  })

  test('outside of a test runner the clock warns once, and inside it is quiet', () => {
    const code = "const { createTestClock } = require('keepstone/testing'); createTestClock(); createTestClock()"
    assert.equal(run(code, {}).stderr.match(/\[GUARD_TEST_CLOCK\]/g)?.length, 1)
    for (const env of [{ NODE_ENV: 'test' }, { NODE_TEST_CONTEXT: 'child' }, { VITEST: 'true' }, { JEST_WORKER_ID: '1' }]) assert.equal(run(code, env).stderr, '')
  })
})

describe('resetGuard', () => {
  test('forgets counts, blocks, lists, changed limits, revocations and sessions', async () => {
    const guard = createGuard({ jwt: { ...own, refresh: true }, rateLimit: { name: 'api', limit: 1, window: '1h' }, revocation: {} })
    const { accessToken, refreshToken } = await guard.tokens.issue({ sub: 'ada', sid: 's1' })
    const take = async () => (await guard.limits.consume('api', '127.0.0.1')).allowed
    const client = createTestClient((req, res) => guard.securityStack({ rateLimit: false })(req, res, () => res.end()))
    await guard.limits.set({ name: 'api', limit: 2 })
    assert.deepEqual([await take(), await take(), await take()], [true, true, false])
    await guard.revoke.token(accessToken)
    await guard.revoke.subject('ada')
    await guard.revoke.session('s1')
    await guard.limits.block('127.0.0.1', '1h')
    assert.equal((await client.as(accessToken).get('/')).status, 403)

    resetGuard(guard)

    assert.equal((await client.as(accessToken).get('/')).status, 200)
    assert.deepEqual([await take(), await take()], [true, false], 'with the figures of the configuration')
    assert.equal(await codeOf(guard.tokens.refresh(refreshToken)), 'ERR_REFRESH_INVALID')
    assert.deepEqual(guard.health().revoked, { tokens: 0, subjects: 0, sessions: 0, keys: 0 })
    assert.equal(await codeOf(guard.tokens.issue({ sub: 'ada' })), 'ok')
    await Promise.all([client.close(), guard.close()])
  })

  test('takes back revoked keys, and frees the places of requests that are still on their way', async () => {
    const guard = createGuard({ jwt: { issuer: 'https://own.test', audience: 'api', keys: [{ kid: 'k', alg: 'HS256', key: secret }] }, rateLimit: { name: 'slots', concurrent: 1 } })
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    await guard.revoke.key('k')
    assert.equal(await codeOf(guard.tokens.verify(accessToken)), 'token_revoked')
    const waiting = []
    const client = createTestClient((req, res) => guard.securityStack({ jwt: false })(req, res, () => (req.url === '/wait' ? waiting.push(res) : res.end())))
    const first = client.get('/wait')
    while (waiting.length === 0) await new Promise(setImmediate)
    assert.equal((await client.get('/')).status, 429)
    resetGuard(guard)
    const second = client.get('/wait')
    while (waiting.length === 1) await new Promise(setImmediate)
    waiting[0].end()
    assert.equal((await first).status, 200)
    assert.equal((await client.get('/')).status, 429, 'the place of the second one is taken')
    waiting[1].end()
    await second
    assert.equal(await codeOf(guard.tokens.verify(accessToken)), 'ok')
    await Promise.all([client.close(), guard.close()])
  })

  test('leaves other guards alone, unless they share the memory by name', async () => {
    const limit = { rateLimit: { name: 'api', limit: 1, window: '1h' } }
    const [apart, one, two] = [createGuard(limit), createGuard({ ...limit, store: { memory: { shared: 'reset' } } }), createGuard({ ...limit, store: { memory: { shared: 'reset' } } })]
    for (const guard of [apart, one]) await guard.limits.consume('api', '203.0.113.7')
    assert.equal((await two.limits.get('api', '203.0.113.7')).remaining, 0)
    resetGuard(one)
    assert.deepEqual([(await apart.limits.get('api', '203.0.113.7')).remaining, (await two.limits.get('api', '203.0.113.7')).remaining], [0, 1])
    await Promise.all([apart, one, two].map((guard) => guard.close()))
  })

  test('takes a guard of another copy of the package, as test runners load several', async () => {
    const other = loadShim().createGuard({ rateLimit: { name: 'api', limit: 1, window: '1h' } })
    await other.limits.consume('api', '203.0.113.7')
    resetGuard(other)
    assert.equal((await other.limits.get('api', '203.0.113.7')).remaining, 1)
    await other.close()
  })

  test('names what it does not take', async () => {
    for (const value of [undefined, null, {}, 'guard']) assert.throws(() => resetGuard(value), refused('ERR_INVALID_ARGUMENT', 'guard'))
    const shared = createGuard({ store: { redis: { url: 'redis://127.0.0.1:1' } } })
    assert.throws(() => resetGuard(shared), refused('ERR_TESTING'))
    await shared.close()
    assert.throws(() => resetGuard(shared), refused('ERR_CLOSED'))
  })
})

for (const [name, express] of expresses) {
  test(`${name}: a newcomer's first tests`, async () => {
    const clock = createTestClock()
    const issuer = createTestIssuer()
    const guard = createGuard({ jwt: issuer.jwt, rateLimit: { name: 'api', limit: 2, window: '1m' } })
    const app = express()
    app.use(guard.securityStack())
    app.get('/me', (req, res) => res.json({ sub: req.user.sub }))
    const client = createTestClient(app)

    const response = await client.as(issuer.token({ sub: 'ada' })).get('/me')
    assert.deepEqual([response.status, await response.json()], [200, { sub: 'ada' }])
    assert.equal((await client.get('/me')).status, 401)
    clock.advance('1m')
    const token = issuer.token()
    assert.deepEqual([(await client.as(token).get('/me')).status, (await client.as(token).get('/me')).status, (await client.as(token).get('/me')).status], [200, 200, 429])
    clock.advance('1m')
    assert.equal((await client.as(token).get('/me')).status, 200)
    clock.advance('20m')
    assert.equal((await (await client.as(token).get('/me')).json()).code, 'token_expired')
    await Promise.all([client.close(), guard.close()])
  })
}

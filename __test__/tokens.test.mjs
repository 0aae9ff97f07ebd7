// Tokens of every algorithm, signed by Node's own crypto and read by the guard, and the other way
// round.

import test from 'node:test'
import assert from 'node:assert/strict'
import { constants, createHmac, createPublicKey, sign as signBytes, verify as verifyBytes } from 'node:crypto'
import { createGuard } from 'keepstone'
import { AUDIENCE, ISSUER, SECRET, jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { keyPair } from './helpers/key-pair.mjs'

const [, express] = expresses[0]
const rsa = keyPair('rsa', { modulusLength: 2048 })
const curve = (namedCurve) => keyPair('ec', { namedCurve })
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
const ieee = { dsaEncoding: 'ieee-p1363' }
const ALGORITHMS = [
  ['RS256', rsa, 'sha256', {}],
  ['RS384', rsa, 'sha384', {}],
  ['RS512', rsa, 'sha512', {}],
  ['PS256', rsa, 'sha256', pss],
  ['PS384', rsa, 'sha384', pss],
  ['PS512', rsa, 'sha512', pss],
  ['ES256', curve('P-256'), 'sha256', ieee],
  ['ES384', curve('P-384'), 'sha384', ieee],
  ['ES512', curve('P-521'), 'sha512', ieee],
  ['EdDSA', keyPair('ed25519'), null, {}]
]
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

function claims(more = {}) {
  const now = Math.floor(Date.now() / 1000)
  return { iss: ISSUER, aud: AUDIENCE, sub: 'ada', iat: now, exp: now + 60, jti: 'x', ...more }
}

for (const [alg, { privateKey, publicKey }, hash, options] of ALGORITHMS) {
  for (const [form, key] of [
    ['PEM', publicKey.export({ type: 'spki', format: 'pem' })],
    ['JWK', { ...publicKey.export({ format: 'jwk' }), alg, use: 'sig' }]
  ]) {
    test(`${alg}: a token that Node signed is verified with a ${form} key, and one bit off is not`, async () => {
      const guard = createGuard({ jwt: { issuer: ISSUER, audience: AUDIENCE, keys: [{ kid: 'k1', alg, key }] } })
      const input = `${part({ alg, kid: 'k1', typ: 'at+jwt' })}.${part(claims())}`
      const signature = signBytes(hash, Buffer.from(input), { key: privateKey, ...options })
      assert.equal((await guard.tokens.verify(`${input}.${signature.toString('base64url')}`)).sub, 'ada')
      signature[5] ^= 1
      await assert.rejects(guard.tokens.verify(`${input}.${signature.toString('base64url')}`), (error) => error.code === 'token_signature' && error.status === 401)
    })
  }

  test(`${alg}: a token that the guard issued is verified by Node with the published key`, async () => {
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' })
    const guard = createGuard({ jwt: { issuer: ISSUER, audience: AUDIENCE, keys: [{ kid: 'k1', alg, key: pem }] } })
    const { accessToken, expiresIn, tokenType } = await guard.tokens.issue({ sub: 'ada', role: 'admin' })
    assert.deepEqual([expiresIn, tokenType], [900, 'Bearer'])
    assert.equal((await guard.tokens.issue({ sub: 'ada', cnf: { jkt: 'A'.repeat(43) } })).tokenType, 'DPoP')
    const [header, payload, signature] = accessToken.split('.')
    const { keys } = guard.tokens.jwks()
    const jwk = keys.find((key) => key.kid === JSON.parse(Buffer.from(header, 'base64url')).kid)
    assert.equal(jwk.d, undefined, 'no private part is published')
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    assert.ok(verifyBytes(hash, Buffer.from(`${header}.${payload}`), { key, ...options }, Buffer.from(signature, 'base64url')))
    assert.equal((await guard.tokens.verify(accessToken)).role, 'admin')
  })
}

test('the JWK set endpoint publishes public keys only, and nothing of a secret', async () => {
  const { privateKey } = ALGORITHMS[6][1]
  const asymmetric = createGuard({ jwt: { issuer: ISSUER, audience: AUDIENCE, keys: [{ kid: 'k1', alg: 'ES256', key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }] } })
  const app = express()
  app.get('/.well-known/jwks.json', asymmetric.jwks())
  await serve(app, async (send) => {
    const answer = await send({ path: '/.well-known/jwks.json' })
    assert.equal(answer.headers['content-type'], 'application/jwk-set+json')
    assert.deepEqual(answer.json.keys.map(({ kid, alg, kty, d }) => [kid, alg, kty, d]), [['k1', 'ES256', 'EC', undefined]])
  })
  assert.deepEqual(createGuard({ jwt }).tokens.jwks(), { keys: [] })
})

test('revocation by token, jti, session, subject and key', async () => {
  const guard = createGuard({ jwt })
  const issue = async (more) => (await guard.tokens.issue({ sub: 'ada', ...more })).accessToken
  const refused = (token) => assert.rejects(guard.tokens.verify(token), (error) => error.code === 'token_revoked')

  const [whole, byJti, session, other] = [await issue(), await issue(), await issue({ sid: 's1' }), await issue({ sid: 's2', sub: 'bob' })]
  await guard.revoke.token(whole)
  await refused(whole)
  const { jti, exp } = await guard.tokens.verify(byJti)
  await guard.revoke.token(jti, exp)
  await refused(byJti)
  await guard.revoke.session('s1')
  await refused(session)
  assert.equal((await guard.tokens.verify(other)).sub, 'bob')
  await guard.revoke.subject('bob')
  await refused(other)
  const now = await issue({ sub: 'zoe' })
  await guard.revoke.subject('zoe', new Date())
  await refused(now)
  // However its header is written, a whole token is one.
  const input = `${Buffer.from(' {"alg":"HS256"}').toString('base64url')}.${part(claims({ sub: 'spaced', jti: 'spaced' }))}`
  const spaced = `${input}.${createHmac('sha256', SECRET).update(input).digest('base64url')}`
  assert.equal((await guard.tokens.verify(spaced)).sub, 'spaced')
  await guard.revoke.token(spaced)
  await refused(spaced)
  // And what has two dots is none by that alone.
  await guard.revoke.token('eu.prod.17')
  // Without the expiry of a jti it is kept as long as any token may live.
  const last = await issue()
  await guard.revoke.token((await guard.tokens.verify(last)).jti)
  await refused(last)
  // Who has no valid token to show can't fill the list with forged ones.
  await assert.rejects(guard.revoke.token(`${last.slice(0, -4)}AAAA`), (error) => error.code === 'token_signature')
})

test('what holds a token and is none revokes nothing, and says so without showing it', async () => {
  const guard = createGuard({ jwt: { ...jwt, refresh: true } })
  const { accessToken: token, refreshToken } = await guard.tokens.issue({ sub: 'ada' })
  const isRefused = (promise, name, secret) =>
    assert.rejects(promise, ({ code, message }) => {
      assert.equal(code, 'ERR_INVALID_ARGUMENT')
      assert.ok(message.startsWith(`\`${name}\` must be `) && !message.includes(secret.slice(0, 20)), message)
      return true
    })
  const around = ['Bearer ', 'bearer ', 'DPoP ', 'dpop  ', ' ', '\t', '\u00a0', '"', "'", 'token=', 'a, ', 'x:'].map((before) => before + token)
  const behind = ['\n', ' ', '"', ';', ', a', '.x', '.'].map((after) => token + after)
  const unsigned = token.slice(0, token.lastIndexOf('.'))
  for (const text of [...around, ...behind, `"${token}"`, unsigned, 'Bearer a1', ' a1', "'a1'"]) {
    await isRefused(guard.revoke.token(text), 'token', token)
  }
  for (const text of [refreshToken, ` ${refreshToken}`, `refresh=${refreshToken}`]) {
    await isRefused(guard.revoke.token(text), 'token', refreshToken)
  }
  for (const [call, name] of [['session', 'sid'], ['subject', 'sub'], ['key', 'kid']]) {
    await isRefused(guard.revoke[call](token), name, token)
    await isRefused(guard.revoke[call](`Bearer ${token}`), name, token)
    await isRefused(guard.revoke[call](refreshToken), name, refreshToken)
  }
  assert.equal((await guard.tokens.verify(token)).sub, 'ada')
  // Names that only look a little like it are names.
  for (const jti of ['a b', 'urn:id:1.2.3', 'eyJ', 'ksr_1', 'bearer', 'eu.prod.17.x']) await guard.revoke.token(jti)
  await guard.revoke.subject('Bearer of news')
  await guard.revoke.token(token)
  await assert.rejects(guard.tokens.verify(token), { code: 'token_revoked' })
})

test('what a token may not be, it is refused for by name', async () => {
  const guard = createGuard({ jwt })
  const cases = [
    ['', /^(ERR_INVALID_ARGUMENT|token_malformed)$/],
    ['a.b', /^token_malformed$/],
    [`${part({ alg: 'none' })}.${part(claims())}.`, /^token_(malformed|algorithm)$/],
    [`${part({ alg: 'RS256' })}.${part(claims())}.AAAA`, /^token_algorithm$/],
    [`${part({ alg: 'HS256', crit: ['exp'] })}.${part(claims())}.AAAA`, /^token_/],
    [`${part({ alg: 'HS256' })}.${part(claims())}.AAAA`, /^token_signature$/]
  ]
  for (const [token, code] of cases) {
    await assert.rejects(guard.tokens.verify(token), (error) => code.test(error.code), token)
  }
})

test('no token, and nothing of it, stands in a refusal', async () => {
  const app = express()
  app.use(createGuard({ jwt }).securityStack())
  const token = `${part({ alg: 'HS256' })}.${part(claims({ secretnote: 'hunter2hunter2' }))}.c2lnbmF0dXJlc2lnbmF0dXJl`
  await serve(app, async (send) => {
    const { status, text, headers } = await send({ headers: bearer(token) })
    assert.equal(status, 401)
    const all = text + JSON.stringify(headers)
    for (const piece of token.split('.')) assert.ok(!all.includes(piece))
    assert.ok(!all.includes('hunter2'))
  })
})

// Records in a shared store are input: whoever can write there gets nothing signed.

import assert from 'node:assert/strict'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import express from 'express'
import { createGuard, GuardError } from 'keepstone'
import { AUDIENCE, ISSUER, jwt, SECRET } from './helpers/articles.mjs'
import { serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const OTHER_SECRET = 'pV9xTq3LmZ7sKd2WfRb8YhNc5JgUe4Xa'
const folder = mkdtempSync(join(tmpdir(), 'keepstone-records-'))
const guards = []
const warnings = []
let redis

process.on('warning', (warning) => warnings.push(warning))
before(async () => {
  redis = await startRedis()
})
after(async () => {
  await Promise.all(guards.map((guard) => guard.close()))
  await redis.stop()
  rmSync(folder, { recursive: true })
})

async function guardWith(more = {}, prefix = 'records:') {
  const keys = 'secret' in more || 'keys' in more || 'rotation' in more ? { issuer: ISSUER, audience: AUDIENCE } : jwt
  const guard = createGuard({
    rateLimit: false,
    jwt: { ...keys, refresh: true, ...more },
    store: { redis: { url: redis.url, prefix, timeout: '5s' } }
  })
  guards.push(guard)
  await guard.ready()
  return guard
}

const refused = (promise) =>
  assert.rejects(promise, (error) => error instanceof GuardError && error.code === 'ERR_REFRESH_INVALID' && error.status === 401)

/** The key of a session's record: the place is what its token begins with. */
function keyOf({ refreshToken }, prefix = 'records:') {
  const place = Buffer.from(refreshToken.slice(4), 'base64url').subarray(0, 16)
  return `${prefix}r:${place.toString('base64url')}`
}

/** Puts `to` in the place of `from` in a record, as whoever writes into the store can. */
async function edit(key, from, to) {
  const script = `local record = redis.call('GET', KEYS[1])
    local at, last = string.find(record, ARGV[1], 1, true)
    redis.call('SET', KEYS[1], string.sub(record, 1, at - 1) .. ARGV[2] .. string.sub(record, last + 1), 'KEEPTTL')
    return 1`
  assert.equal(await redis.command('EVAL', script, '1', key, from, to), 1)
}

const warned = (code) => waitUntil('the warning', () => warnings.some((warning) => warning.code === code))

test('who edits the claims in the record of a session gets no token, and the operator is told', async () => {
  const guard = await guardWith()
  const login = await guard.tokens.issue({ sub: 'mallory', role: 'user' })
  await edit(keyOf(login), '"user"', '"root"')
  await refused(guard.tokens.refresh(login.refreshToken))
  await refused(guard.tokens.refresh(login.refreshToken, { claims: (claims) => claims }))
  await warned('GUARD_SESSION_RECORD')
  assert.ok(warnings.every(({ message }) => !message.includes('root') && !message.includes(login.refreshToken)))
  // Nothing was used up: as it was, it is good.
  await edit(keyOf(login), '"root"', '"user"')
  const next = await guard.tokens.refresh(login.refreshToken)
  assert.equal((await guard.tokens.verify(next.accessToken)).role, 'user')
})

test('something else in the place of a session is no session', async () => {
  const guard = await guardWith()
  const login = await guard.tokens.issue({ sub: 'ada' })
  await redis.command('DEL', keyOf(login))
  await redis.command('LPUSH', keyOf(login), 'x')
  await refused(guard.tokens.refresh(login.refreshToken))
})

test('the record of another session, and of another prefix, is good nowhere else', async () => {
  const guard = await guardWith()
  const [mine, roots] = [await guard.tokens.issue({ sub: 'mallory' }), await guard.tokens.issue({ sub: 'root' })]
  assert.equal(await redis.command('COPY', keyOf(roots), keyOf(mine), 'REPLACE'), 1)
  await refused(guard.tokens.refresh(mine.refreshToken))
  const elsewhere = await guardWith({}, 'elsewhere:')
  assert.equal(await redis.command('COPY', keyOf(roots), keyOf(roots, 'elsewhere:')), 1)
  await refused(elsewhere.tokens.refresh(roots.refreshToken))
  await guard.tokens.refresh(roots.refreshToken)
})

test('a session that another service with another key has stored at the same place is none', async () => {
  const [guard, other] = [await guardWith(), await guardWith({ secret: OTHER_SECRET })]
  const login = await other.tokens.issue({ sub: 'root' })
  await refused(guard.tokens.refresh(login.refreshToken))
  await other.tokens.refresh(login.refreshToken)
})

test('a session goes on where the signing key changes and the old one is kept, and ends where it is dropped', async () => {
  const before = await guardWith()
  const [kept, dropped] = [await before.tokens.issue({ sub: 'ada' }), await before.tokens.issue({ sub: 'ada' })]
  const old = { kid: 'old', alg: 'HS256', key: SECRET }
  const both = await guardWith({ secret: OTHER_SECRET, keys: [old] })
  const next = await both.tokens.refresh(kept.refreshToken)
  const after = await guardWith({ secret: OTHER_SECRET })
  await after.tokens.refresh(next.refreshToken)
  await refused(after.tokens.refresh(dropped.refreshToken))
})

test('one key in two forms is one key', async () => {
  for (const [type, form, alg] of [
    ['rsa', { modulusLength: 2048 }, 'PS256'],
    ['ec', { namedCurve: 'P-256' }, 'ES256'],
    ['ec', { namedCurve: 'P-521' }, 'ES512'],
    ['ed25519', {}, 'EdDSA']
  ]) {
    const { privateKey } = generateKeyPairSync(type, form)
    const pem = await guardWith({ keys: [{ kid: 'a', alg, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) }] })
    const jwk = await guardWith({ keys: [{ kid: 'b', alg, key: { ...privateKey.export({ format: 'jwk' }), kid: 'b' } }] })
    const { refreshToken } = await pem.tokens.issue({ sub: 'ada' })
    const next = await jwk.tokens.refresh(refreshToken)
    await pem.tokens.refresh(next.refreshToken)
  }
})

test('with secrets of their own, sessions outlive the signing key; the first secret seals, all are taken', async () => {
  const [first, second] = [randomBytes(32).toString('base64'), randomBytes(32)]
  const before = await guardWith({ secret: SECRET, refresh: { secret: first } })
  const { refreshToken } = await before.tokens.issue({ sub: 'ada' })
  const both = await guardWith({ secret: OTHER_SECRET, refresh: { secret: [second, first] } })
  const next = await both.tokens.refresh(refreshToken)
  await refused(before.tokens.refresh(next.refreshToken))
  const after = await guardWith({ secret: OTHER_SECRET, refresh: { secret: second } })
  const last = await after.tokens.refresh(next.refreshToken)
  // Derived from the signing key it would be another one.
  await refused((await guardWith({ secret: OTHER_SECRET })).tokens.refresh(last.refreshToken))
})

test('where signing keys change by themselves, sessions go on behind every change, in every process', async () => {
  const storage = join(folder, 'keys.json')
  const guard = await guardWith({ rotation: { storage } })
  const { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
  await guard.tokens.rotate()
  const text = JSON.parse(readFileSync(storage, 'utf8'))
  // The key that signed at the login is gone for good.
  text.keys.shift()
  const changed = join(folder, 'changed.json')
  writeFileSync(changed, JSON.stringify(text), { mode: 0o600 })
  chmodSync(changed, 0o600)
  const other = await guardWith({ rotation: { storage: changed } })
  const next = await other.tokens.refresh(refreshToken)
  await guard.tokens.refresh(next.refreshToken)
  // Without its secret they are over.
  delete text.recordSecret
  const without = join(folder, 'without.json')
  writeFileSync(without, JSON.stringify(text), { mode: 0o600 })
  await refused((await guardWith({ rotation: { storage: without } })).tokens.refresh(next.refreshToken))
})

test('secrets for records are judged as those that sign', () => {
  const of = (secret) => () => createGuard({ jwt: { ...jwt, refresh: { secret } } })
  assert.throws(of('short'), { code: 'ERR_WEAK_SECRET', path: 'jwt.refresh.secret' })
  assert.throws(of([OTHER_SECRET, 'a'.repeat(32)]), { code: 'ERR_WEAK_SECRET', path: 'jwt.refresh.secret[1]' })
  assert.throws(of([]), { code: 'ERR_INVALID_OPTION', path: 'jwt.refresh.secret' })
  assert.throws(of(5), { code: 'ERR_INVALID_OPTION', path: 'jwt.refresh.secret' })
})

test('a version that is none in the list of notices does not hide those that come after it', async () => {
  const guard = await guardWith({}, 'notices:')
  const versions = 'notices:{notices}:versions'
  await redis.command('ZADD', versions, 'inf', 'n:203.0.113.9/32')
  await guard.limits.block('203.0.113.7', '1h', 'too much')
  const version = Number(await redis.command('ZSCORE', versions, 'n:203.0.113.7/32'))
  assert.ok(version > 0 && version < 2 ** 53, String(version))
})

test('an end that is none in the list of notices lets others be said', async () => {
  const guard = await guardWith({}, 'ends:')
  for (const score of ['inf', '1e300']) {
    await redis.command('ZADD', 'ends:{notices}:ends', score, 'n:203.0.113.9/32')
    await guard.limits.block('203.0.113.7', '1h', 'too much')
    const ttl = await redis.ttl('ends:{notices}')
    assert.ok(ttl > 0, String(ttl))
  }
})

test('a version that lies ahead in the list of notices silences nobody', async () => {
  const versions = 'ahead:{notices}:versions'
  const guard = await guardWith({}, 'ahead:')
  // Another name of the same server is another store of this process: as good as another process.
  const url = redis.url.replace('127.0.0.1', 'localhost')
  const other = createGuard({ rateLimit: false, trustedProxies: ['127.0.0.1/32'], store: { redis: { url, prefix: 'ahead:', timeout: '5s' } } })
  guards.push(other)
  await other.ready()
  const app = express()
  app.use(other.securityStack(), (req, res) => res.end())
  await serve(app, async (send) => {
    const blocks = async (ip) => {
      await guard.limits.block(ip, '1h', 'too much')
      await waitUntil('the other one knows', async () => (await send({ headers: { 'x-forwarded-for': ip } })).status === 403)
    }
    for (const [i, score] of ['9007199254740989', '9007199254740990', '9007199254740991', '9007199254740992'].entries()) {
      await redis.command('ZADD', versions, score, `n:203.0.113.${i}/32`)
      // By the second one, the other store has read what the first one stands beside.
      await blocks(`198.51.100.${2 * i}`)
      await blocks(`198.51.100.${2 * i + 1}`)
    }
  })
})

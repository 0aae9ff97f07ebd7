// Signing keys that change by themselves: kept in a file that processes share, and by an
// application's own functions.

import assert from 'node:assert/strict'
import { createPublicKey, verify as verifyBytes } from 'node:crypto'
import { chmodSync, chownSync, existsSync, linkSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createGuard, GuardError } from 'keepstone'
import { AUDIENCE, ISSUER } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { waitUntil } from './helpers/servers.mjs'

const [, express] = expresses[0]
const folder = mkdtempSync(join(tmpdir(), 'keepstone-keys-'))
const guards = []
let files = 0

after(async () => {
  await Promise.all(guards.map((guard) => guard.close()))
  rmSync(folder, { recursive: true })
})

const newPath = () => join(folder, `${(files += 1)}.json`)
const options = (rotation) => ({ rateLimit: false, jwt: { issuer: ISSUER, audience: AUDIENCE, rotation } })

function guardWith(rotation) {
  const guard = createGuard(options(rotation))
  guards.push(guard)
  return guard
}

const part = (token, i) => JSON.parse(Buffer.from(token.split('.')[i], 'base64url'))
const kidOf = ({ accessToken }) => part(accessToken, 0).kid
const kids = (guard) => guard.tokens.jwks().keys.map(({ kid }) => kid)

test('the first start makes two keys in a file of its owner alone: one signs, both are published', async () => {
  const storage = newPath()
  const guard = guardWith({ storage })
  const issued = await guard.tokens.issue({ sub: 'ada' })
  const { keys } = guard.tokens.jwks()
  assert.equal(keys.length, 2)
  assert.equal(kidOf(issued), keys[0].kid)
  assert.equal((await guard.tokens.verify(issued.accessToken)).sub, 'ada')
  // Another verifier, by the published key alone.
  const [header, payload, signature] = issued.accessToken.split('.')
  const key = createPublicKey({ key: keys[0], format: 'jwk' })
  assert.ok(verifyBytes('sha256', Buffer.from(`${header}.${payload}`), { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')))
  if (process.platform !== 'win32') assert.equal(statSync(storage).mode & 0o777, 0o600)
})

test('rotate() lets the next key sign at once; what the old one signed is good, and the one after that is published', async () => {
  const guard = guardWith({ storage: newPath(), alg: 'EdDSA' })
  const before = await guard.tokens.issue({ sub: 'ada' })
  const [, next] = kids(guard)
  const { kid, from } = await guard.tokens.rotate()
  assert.equal(kid, next)
  assert.ok(from <= Date.now() / 1000)
  const since = await guard.tokens.issue({ sub: 'ada' })
  assert.equal(kidOf(since), next)
  for (const { accessToken } of [before, since]) assert.equal((await guard.tokens.verify(accessToken)).sub, 'ada')
  assert.equal(kids(guard).length, 3)
  // The newest was made this very moment: other processes have to read it first.
  const again = await guard.tokens.rotate()
  assert.ok(again.from > Date.now() / 1000 + 60)
  assert.equal(kidOf(await guard.tokens.issue({})), next)
})

test('a leaked key: revoked, and not signed with any more', async () => {
  const guard = guardWith({ storage: newPath() })
  const stolen = await guard.tokens.issue({ sub: 'ada' })
  await guard.tokens.rotate()
  await guard.revoke.key(kidOf(stolen))
  await assert.rejects(guard.tokens.verify(stolen.accessToken), { code: 'token_revoked' })
  assert.equal((await guard.tokens.verify((await guard.tokens.issue({ sub: 'eve' })).accessToken)).sub, 'eve')
})

test('a restart goes on with the keys that are there, and so do processes that share the file', async () => {
  const storage = newPath()
  const first = createGuard(options({ storage }))
  const issued = await first.tokens.issue({ sub: 'ada' })
  await first.close()
  const peers = await Promise.all([0, 1, 2].map(() => startPeer(options({ storage }))))
  try {
    const status = async (peer, token) => (await peer.get('/', bearer(token))).status
    for (const peer of peers) {
      assert.equal(await status(peer, issued.accessToken), 200)
      assert.equal(kidOf(await peer.call('tokens.issue', {})), kidOf(issued))
    }
    // One rotates: the others take its tokens at once, since they knew the key before.
    await peers[0].call('tokens.rotate')
    const since = await peers[0].call('tokens.issue', { sub: 'ada' })
    assert.notEqual(kidOf(since), kidOf(issued))
    for (const peer of peers) assert.equal(await status(peer, since.accessToken), 200)
    // The timer holds nothing open.
    for (const peer of peers) assert.equal(await peer.stop(), 0)
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
  }
})

test('processes that start at once with no file have one set of keys', async () => {
  const storage = newPath()
  const peers = await Promise.all(Array.from({ length: 6 }, () => startPeer(options({ storage }))))
  try {
    const issued = await Promise.all(peers.map((peer) => peer.call('tokens.issue', {})))
    assert.equal(new Set(issued.map(kidOf)).size, 1)
    assert.deepEqual(readdirSync(folder).filter((name) => name.startsWith(`${files}.`)), [`${files}.json`])
  } finally {
    await Promise.all(peers.map((peer) => peer.stop()))
  }
})

test('a file that others may read, or that is no set of keys, is refused by name, and nothing of it is shown', { skip: process.platform === 'win32' }, async () => {
  const storage = newPath()
  const guard = guardWith({ storage })
  for (const mode of [0o644, 0o640, 0o606]) {
    chmodSync(storage, mode)
    assert.throws(() => createGuard(options({ storage })), (error) => error instanceof GuardError && error.code === 'ERR_INVALID_KEY' && error.path === 'jwt.rotation.storage' && /chmod 600/.test(error.message))
    await assert.rejects(guard.tokens.rotate(), { code: 'ERR_KEY_STORAGE', status: 503 })
  }
  chmodSync(storage, 0o600)
  const good = readFileSync(storage, 'utf8')
  const secret = JSON.parse(good).keys[0].pem.split('\n')[1]
  writeFileSync(storage, good.replace('"version": 1', '"version": 7'))
  const refused = (() => {
    try {
      return createGuard(options({ storage }))
    } catch (error) {
      return error
    }
  })()
  assert.equal(refused.code, 'ERR_INVALID_KEY')
  assert.ok(!JSON.stringify([refused.message, { ...refused }]).includes(secret.slice(0, 20)))
  // The keys in use go on.
  assert.equal((await guard.tokens.verify((await guard.tokens.issue({ sub: 'ada' })).accessToken)).sub, 'ada')
  writeFileSync(storage, good)
  await guard.tokens.rotate()
})

test('options of rotation are judged when the guard is built', async () => {
  const cases = [
    [{}, 'ERR_MISSING_OPTION', 'jwt.rotation.storage'],
    [{ storage: newPath(), alg: 'HS256' }, 'ERR_INVALID_OPTION', 'jwt.rotation.alg'],
    [{ storage: newPath(), every: '10m' }, 'ERR_INVALID_OPTION', 'jwt.rotation.every'],
    [{ storage: { load: () => null } }, 'ERR_MISSING_OPTION', 'jwt.rotation.storage.save'],
    [{ storage: { load: () => null, save: 1 } }, 'ERR_INVALID_OPTION', 'jwt.rotation.storage.save'],
    [{ storage: join(folder, 'no', 'keys.json') }, 'ERR_INVALID_OPTION', 'jwt.rotation.storage']
  ]
  for (const [rotation, code, path] of cases) assert.throws(() => createGuard(options(rotation)), { code, path })
  await assert.rejects(createGuard({ jwt: { issuer: ISSUER, audience: AUDIENCE, secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV' } }).tokens.rotate(), { code: 'ERR_MISSING_OPTION' })
})

/**
 * A store with versions, as Vault's key-value store has them: who saves must have seen what is
 * there.
 */
function vault() {
  const kept = { text: null, saves: 0, fails: false }
  const answer = async (value) => {
    await new Promise((resolve) => setImmediate(resolve))
    if (kept.fails) throw new Error('the vault is sealed')
    return value()
  }
  return {
    kept,
    storage: {
      load: () => answer(() => kept.text),
      save: (text, previous) =>
        answer(() => {
          if (kept.text !== previous) return false
          kept.text = text
          kept.saves += 1
          return true
        })
    }
  }
}

test('keys that the application keeps itself: loaded before ready, saved before they sign, one set for all', async () => {
  const { kept, storage } = vault()
  const all = Array.from({ length: 5 }, () => guardWith({ storage }))
  // Before they are there nobody can say whether a token is good: 503, not 401.
  await assert.rejects(all[0].tokens.issue({}), { code: 'ERR_KEY_STORAGE', status: 503 })
  assert.equal(all[0].health().ready, false)
  await Promise.all(all.map((guard) => guard.ready()))
  const issued = await all[0].tokens.issue({ sub: 'ada' })
  for (const guard of all) {
    assert.equal((await guard.tokens.verify(issued.accessToken)).sub, 'ada')
    assert.equal(kidOf(await guard.tokens.issue({})), kidOf(issued))
  }
  assert.equal(kept.saves, 1, 'who has lost the race takes what is there')
  const { kid } = await all[1].tokens.rotate()
  assert.equal(kidOf(await all[1].tokens.issue({})), kid)
  assert.equal((await all[2].tokens.verify((await all[1].tokens.issue({ sub: 'eve' })).accessToken)).sub, 'eve')
  // Without the store nothing changes, and what is there goes on.
  kept.fails = true
  await assert.rejects(all[1].tokens.rotate(), { message: 'the vault is sealed' })
  assert.equal(kidOf(await all[1].tokens.issue({})), kid)
})

test('a request with a token before the keys are loaded is a 503, and good afterwards', async () => {
  const { kept, storage } = vault()
  const one = guardWith({ storage })
  await one.ready()
  const { accessToken } = await one.tokens.issue({ sub: 'ada' })
  kept.fails = true
  const late = guardWith({ storage })
  const [protect] = late.securityStack()
  await serve((req, res) => protect(req, res, () => res.end('ok')), async (send) => {
    const answer = await send({ headers: bearer(accessToken) })
    assert.deepEqual([answer.status, answer.json.code], [503, 'issuer_unavailable'])
    assert.ok(Number(answer.headers['retry-after']) >= 1)
    kept.fails = false
    await waitUntil('the keys are there', async () => (await send({ headers: bearer(accessToken) })).status === 200)
  })
})

test('a refresh token is not used up while no key can sign', async () => {
  const { kept, storage } = vault()
  const open = () => {
    const jwt = { issuer: ISSUER, audience: AUDIENCE, rotation: { storage }, refresh: { reuseWindow: '0s' } }
    const guard = createGuard({ rateLimit: false, store: { memory: { shared: 'not-used-up' } }, jwt })
    guards.push(guard)
    return guard
  }
  const one = open()
  await one.ready()
  const { refreshToken } = await one.tokens.issue({ sub: 'ada' })
  kept.fails = true
  const late = open()
  await assert.rejects(late.tokens.refresh(refreshToken), { code: 'ERR_KEY_STORAGE', status: 503 })
  kept.fails = false
  await late.ready()
  assert.equal((await late.tokens.verify((await late.tokens.refresh(refreshToken)).accessToken)).sub, 'ada')
})

test('beside keys of the options, too, a token is no bad one before the keys are loaded, and health says what is missing', async () => {
  const { kept, storage } = vault()
  const jwt = { issuer: ISSUER, audience: AUDIENCE, rotation: { storage }, keys: [{ kid: 'old', alg: 'HS256', key: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV' }] }
  const open = () => {
    const guard = createGuard({ rateLimit: false, jwt })
    guards.push(guard)
    return guard
  }
  const one = open()
  await one.ready()
  const { accessToken } = await one.tokens.issue({ sub: 'ada' })
  kept.fails = true
  const late = open()
  await assert.rejects(late.tokens.verify(accessToken), { code: 'issuer_unavailable', status: 503 })
  const { ready, issuers } = late.health()
  assert.deepEqual([ready, issuers[0].state], [false, 'not-ready'])
  kept.fails = false
  await late.ready()
  assert.equal((await late.tokens.verify(accessToken)).sub, 'ada')
})

test('functions of the application that reject with nothing do not end the process, and are asked again', async () => {
  const { storage } = vault()
  let times = 0
  const load = () => (times++ < 2 ? Promise.reject(undefined) : storage.load())
  const guard = guardWith({ storage: { load, save: storage.save } })
  await guard.ready()
  assert.equal((await guard.tokens.verify((await guard.tokens.issue({ sub: 'ada' })).accessToken)).sub, 'ada')
  assert.ok(times >= 3)
})

test('options that are refused leave no file of keys behind', () => {
  const storage = newPath()
  const jwt = { issuer: ISSUER, audience: AUDIENCE, rotation: { storage }, refresh: true }
  assert.throws(() => createGuard({ jwt, revocation: false }), (error) => error instanceof GuardError)
  assert.ok(!existsSync(storage))
})

test('the JWK set endpoint: public keys alone, cached for less than a key is published ahead, 304 for who has it', async () => {
  const guard = guardWith({ storage: newPath() })
  const app = express()
  app.get('/.well-known/jwks.json', guard.jwks())
  app.head('/.well-known/jwks.json', guard.jwks())
  const path = '/.well-known/jwks.json'
  await serve(app, async (send) => {
    const first = await send({ path })
    assert.equal(first.status, 200)
    assert.equal(first.headers['content-type'], 'application/jwk-set+json')
    assert.equal(first.headers['cache-control'], 'public, max-age=300')
    assert.deepEqual(first.json.keys.map((key) => Object.keys(key).sort()), Array.from({ length: 2 }, () => ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y']))
    const { etag } = first.headers
    for (const known of [etag, `W/${etag}`, `"x", ${etag}`, '*']) {
      const again = await send({ path, headers: { 'if-none-match': known } })
      assert.deepEqual([again.status, again.text, again.headers.etag], [304, '', etag])
    }
    const head = await send({ path, method: 'HEAD' })
    assert.deepEqual([head.status, head.text, head.headers['content-length']], [200, '', String(Buffer.byteLength(first.text))])
    await guard.tokens.rotate()
    const changed = await send({ path, headers: { 'if-none-match': etag } })
    assert.equal(changed.status, 200)
    assert.equal(changed.json.keys.length, 3)
    assert.notEqual(changed.headers.etag, etag)
  })
})

test('refresh tokens and rotation together: a session goes on with the new key', async () => {
  const guard = createGuard({ rateLimit: false, jwt: { issuer: ISSUER, audience: AUDIENCE, refresh: true, rotation: { storage: newPath() } } })
  guards.push(guard)
  const login = await guard.tokens.issue({ sub: 'ada' })
  const { kid } = await guard.tokens.rotate()
  const next = await guard.tokens.refresh(login.refreshToken)
  assert.equal(kidOf(next), kid)
})

test('a key file of another user, or under a second name, is refused with what to do, also by root', { skip: process.platform === 'win32' }, () => {
  const storage = newPath()
  guardWith({ storage })
  const refuses = (path, message) =>
    assert.throws(
      () => createGuard(options({ storage: path })),
      (error) => error instanceof GuardError && error.code === 'ERR_INVALID_KEY' && error.path === 'jwt.rotation.storage' && message.test(error.message)
    )
  const link = newPath()
  symlinkSync(storage, link)
  refuses(link, /symbolic link; give the path of the file itself/)
  const second = newPath()
  linkSync(storage, second)
  refuses(storage, /hard link/)
  rmSync(second)
  if (process.geteuid() === 0) {
    chownSync(storage, 65534, 65534)
    assert.equal(statSync(storage).mode & 0o777, 0o600)
    refuses(storage, /belongs to another user/)
    chownSync(storage, 0, 0)
  }
  guardWith({ storage })
})

// API keys: their form is judged before the application is asked, a record counts only for its own
// key, and a key that is deleted or revoked does not pass.

import test, { after, describe } from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { bearer, json, serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const seconds = () => Math.floor(Date.now() / 1000)

/** A guard with a table of keys. */
function open({ apiKeys, ...more } = {}) {
  const table = new Map()
  const looked = []
  const events = []
  const lookup = async (digest) => (looked.push(digest), table.get(digest) ?? null)
  const guard = createGuard({ rateLimit: false, apiKeys: { prefix: 'acme_live', lookup, ...apiKeys }, log: (event) => events.push(event), ...more })
  const issue = (record = { sub: 'robot' }) => {
    const made = guard.apiKeys.create()
    table.set(made.digest, { digest: made.digest, ...record })
    return made
  }
  return { guard, table, looked, events, issue }
}

const withKey = (key) => ({ 'x-api-key': key })
const handlerOf = (guard, options) => {
  const [stack] = options === undefined ? guard.securityStack() : guard.securityStack(options)
  return (req, res) => stack(req, res, () => res.end(JSON.stringify({ user: req.user, identity: req.guard.identity, token: req.guard.token })))
}

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const { guard, issue, looked, events } = open({ rateLimit: { name: 'by-key', key: 'token', limit: 2, window: '1h', paths: ['/limited'] } })
    const routes = [
      ['get', '/me', {}, ({ user, guard: state }) => [200, { ...user, ...state.identity, token: state.token }]],
      ['get', '/any', { authenticate: { optional: true } }, ({ user }) => [200, { sub: user?.sub ?? null }]],
      ['get', '/limited', {}, () => [200, {}]],
      ['post', '/notes', { body: { type: 'object' } }, ({ user }) => [201, { sub: user.sub }]]
    ]
    const ask = serveRoutes(start, guard, routes)

    test('a key gives its request the claims of its record', async () => {
      const { key, id } = issue({ sub: 'robot', claims: { scope: 'read', plan: 'pro' }, exp: seconds() + 60 })
      const { json: got } = await ask('/me', { headers: withKey(key) })
      assert.deepEqual([got.sub, got.scope, got.plan, got.issuer, got.id, got.token], ['robot', 'read', 'pro', 'api-key', id, null])
      const event = events.at(-1)
      assert.deepEqual([event.user, event.issuer], ['robot', 'api-key'])
      assert.ok(!JSON.stringify(event).includes(key))
    })
    test('a key that is not valid is refused, also where anyone passes', async () => {
      const before = looked.length
      for (const path of ['/me', '/any']) {
        const answer = await ask(path, { headers: withKey('acme_live_x') })
        assert.deepEqual([answer.status, answer.json.code], [401, 'api_key_invalid'])
        assert.equal(answer.headers['www-authenticate'], 'ApiKey realm="api"')
      }
      assert.equal(looked.length, before)
      const { key } = guard.apiKeys.create()
      assert.equal((await ask('/any', { headers: withKey(key) })).json.code, 'api_key_invalid')
      assert.equal(events.at(-1).reason, 'api_key_unknown')
    })
    test('limits count by the key', async () => {
      const [one, two] = [issue(), issue()]
      const status = async ({ key }) => (await ask('/limited', { headers: withKey(key) })).status
      assert.deepEqual([await status(one), await status(one), await status(one), await status(two)], [200, 200, 429, 200])
    })
    test('a key in a header needs no proof that it is not another site', async () => {
      const { key } = issue()
      const answer = await ask('/notes', json({}, { headers: { ...withKey(key), cookie: 'sid=a' } }))
      assert.deepEqual([answer.status, answer.json], [201, { sub: 'robot' }])
    })
    test('a revoked key is refused at once', async () => {
      const { key, digest, id } = issue()
      assert.equal((await ask('/me', { headers: withKey(key) })).status, 200)
      await guard.apiKeys.revoke([key, digest, id][Math.floor(Math.random() * 3)])
      assert.equal((await ask('/me', { headers: withKey(key) })).json.code, 'api_key_invalid')
      assert.equal(events.at(-1).reason, 'api_key_revoked')
    })
  })
}

test('a key has the form, checksum and digest that the documentation says', () => {
  const { guard } = open({ apiKeys: { prefix: ['acme_live', 'acme_test'] } })
  for (const options of [undefined, { prefix: 'acme_test' }]) {
    const { key, digest, id } = options === undefined ? guard.apiKeys.create() : guard.apiKeys.create(options)
    assert.match(key, options === undefined ? /^acme_live_[0-9A-Za-z]{49}$/ : /^acme_test_[0-9A-Za-z]{49}$/)
    assert.equal(digest, createHash('sha256').update(key).digest('hex'))
    assert.equal(id, digest.slice(0, 24))
    assert.equal(guard.apiKeys.digest(key), digest)
    const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    let rest = crc32(key.slice(0, -6))
    let checksum = ''
    for (let i = 0; i < 6; i += 1, rest = Math.floor(rest / 62)) checksum = base62[rest % 62] + checksum
    assert.equal(key.slice(-6), checksum)
  }
  assert.throws(() => guard.apiKeys.create({ prefix: 'other' }), { code: 'ERR_INVALID_ARGUMENT' })
  assert.throws(() => guard.apiKeys.digest('acme_live_secret'), (error) => error.code === 'ERR_INVALID_ARGUMENT' && !error.message.includes('secret'))
})

test('a record of another key, or of another form, lets nobody pass', async () => {
  const records = {}
  const { guard, events } = open({ apiKeys: { lookup: () => (typeof records.now === 'function' ? records.now() : records.now), timeout: '100ms' } })
  const { key, digest } = guard.apiKeys.create()
  const other = guard.apiKeys.create()
  await serve(handlerOf(guard, { authenticate: { optional: true } }), async (ask) => {
    for (const [record, status, reason] of [
      [null, 401, 'api_key_unknown'],
      [undefined, 401, 'api_key_unknown'],
      [{ digest: other.digest, sub: 'root' }, 401, 'api_key_mismatch'],
      [{ digest: digest.toUpperCase(), sub: 'root' }, 401, 'api_key_mismatch'],
      [{ digest: '', sub: 'root' }, 401, 'api_key_mismatch'],
      [{ digest, sub: 'a', exp: seconds() - 1 }, 401, 'api_key_expired'],
      [{ digest, sub: 'a', iat: seconds() + 3600 }, 401, 'api_key_not_yet_valid'],
      [{ sub: 'root' }, 500, 'api_key_record:claim_missing:digest'],
      [{ digest, sub: '' }, 500, 'api_key_record:claim_kind:sub'],
      [{ digest, sub: 'a', exp: new Date().toISOString() }, 500, 'api_key_record:claim_kind:exp'],
      [{ digest, sub: 'a', exp: Date.now() }, 500, 'api_key_record:claim_milliseconds:exp'],
      [{ digest, sub: 'a', expires: 1 }, 500, 'api_key_record:unknown_member'],
      [{ digest, sub: 'a', claims: { sub: 'root' } }, 500, 'api_key_record:reserved_claim:sub'],
      [true, 500, 'api_key_record:form'],
      [[{ digest, sub: 'a' }], 500, 'api_key_record:form'],
      [{ digest, sub: undefined }, 500, undefined],
      [new Map(), 500, undefined],
      [() => Promise.reject(new Error('secret')), 500, undefined],
      [new Promise(() => {}), 503, 'api_key_timeout']
    ]) {
      records.now = record
      const answer = await ask({ headers: withKey(key) })
      assert.deepEqual([answer.status, events.at(-1).reason], [status, reason])
      assert.ok(!answer.text.includes('secret') && !answer.text.includes(key))
    }
  })
  await guard.close()
})

test('made-up texts are refused without a look-up', async () => {
  const { guard, looked, events, issue } = open()
  const { key } = issue()
  const flipped = key.slice(0, 20) + (key[20] === 'a' ? 'b' : 'a') + key.slice(21)
  await serve(handlerOf(guard), async (ask) => {
    for (const [text, reason] of [
      [flipped, 'api_key_checksum'], [key.slice(0, -1), 'api_key_form'], [`${key}a`, 'api_key_form'], [key.toLowerCase(), undefined], [key.replace('live', 'test'), 'api_key_form'],
      ['', 'api_key_form'], ['acme_live_', 'api_key_form'], [`${key},${key}`, 'api_key_form'], [`Bearer ${key}`, 'api_key_form'], ['x'.repeat(7000), 'api_key_form'], ["' OR 1=1 --", 'api_key_form']
    ]) {
      const answer = await ask({ headers: withKey(text) })
      assert.deepEqual([answer.status, answer.json.code], [401, 'api_key_invalid'])
      if (reason !== undefined) assert.equal(events.at(-1).reason, reason, text)
    }
    const twice = await ask({ headers: { 'x-api-key': [key, key] } })
    assert.deepEqual([twice.status, twice.json.code], [400, 'identity_ambiguous'])
    assert.equal(looked.length, 0)
  })
  await guard.close()
})

test('a token and a key on one request are refused, and neither is replaced by the other', async () => {
  const { guard, issue, looked } = open({ jwt: { ...jwt, from: ['header', { cookie: '__Host-t' }] }, identify: () => ({ sub: 'session' }) })
  const { key } = issue()
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  await serve(handlerOf(guard), async (ask) => {
    const page = { 'sec-fetch-site': 'same-origin' }
    for (const token of [bearer(accessToken), { cookie: `__Host-t=${accessToken}` }, bearer('x.y.z')]) {
      const both = await ask({ headers: { ...token, ...withKey(key), ...page } })
      assert.deepEqual([both.status, both.json.code], [400, 'identity_ambiguous'])
    }
    assert.equal(looked.length, 0)
    assert.equal((await ask({ headers: bearer(accessToken) })).json.user.sub, 'ada')
    assert.equal((await ask({ headers: withKey(key) })).json.user.sub, 'robot')
    assert.equal((await ask({ headers: withKey('bad') })).json.code, 'api_key_invalid')
    assert.equal((await ask({})).json.user.sub, 'session')
  })
  await guard.close()
})

for (const [scheme, more] of [['Bearer', {}], ['Bearer', { jwt }], ['Bearer', { identify: () => null }], ['ApiKey', { jwt }]]) {
  test(`a key comes in Authorization as ${scheme}${Object.keys(more).length === 0 ? '' : `, beside ${Object.keys(more)}`}`, async () => {
    const { guard, issue, looked } = open({ apiKeys: { scheme }, ...more })
    const { key } = issue()
    await serve(handlerOf(guard), async (ask) => {
      const { json: got } = await ask({ headers: { authorization: `${scheme} ${key}` } })
      assert.equal(got.user.sub, 'robot')
      const before = looked.length
      const bad = await ask({ headers: { authorization: `${scheme.toLowerCase()} acme_live_x` } })
      assert.deepEqual([bad.status, bad.json.code, looked.length], [401, 'api_key_invalid', before])
      assert.equal((await ask({ headers: withKey(key) })).json.code, 'identity_missing')
      if (more.jwt !== undefined) {
        const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
        assert.equal((await ask({ headers: bearer(accessToken) })).json.user.sub, 'ada')
        assert.equal((await ask({ headers: bearer('x.y.z') })).json.code, 'token_malformed')
      } else {
        const other = await ask({ headers: bearer('opaque') })
        assert.equal(other.json.code, more.identify === undefined ? 'api_key_invalid' : 'identity_missing')
      }
    })
    await guard.close()
  })
}

test('scopes of a record meet the requirements of a route', async () => {
  const { guard, issue } = open()
  const [auth, reads, writes] = [guard.authenticate(), guard.require({ scope: 'read' }), guard.require({ scope: 'write' })]
  const { key } = issue({ sub: 'robot', claims: { scope: 'read' } })
  await serve((req, res) => auth(req, res, () => (req.url === '/read' ? reads : writes)(req, res, () => res.end('{}'))), async (ask) => {
    assert.equal((await ask({ path: '/read', headers: withKey(key) })).status, 200)
    const refused = await ask({ path: '/write', headers: withKey(key) })
    assert.deepEqual([refused.status, refused.json.code], [403, 'insufficient_scope'])
    assert.match(refused.headers['www-authenticate'], /^ApiKey .*scope="write"/)
  })
  await guard.close()
})

test('a record is used again for as long as the option says, and a revocation works at once', async () => {
  const { guard, issue, table, looked } = open({ apiKeys: { cacheFor: '1s' } })
  const { key, digest } = issue()
  await serve(handlerOf(guard), async (ask) => {
    const status = async () => (await ask({ headers: withKey(key) })).status
    assert.deepEqual([await status(), await status(), looked.length], [200, 200, 1])
    table.delete(digest)
    assert.equal(await status(), 200)
    await waitUntil('the record is asked for again', async () => (await status()) === 401, 5000)
    assert.equal(looked.length >= 2, true)
    const other = issue()
    assert.equal((await ask({ headers: withKey(other.key) })).status, 200)
    await guard.apiKeys.revoke(other.key)
    assert.equal((await ask({ headers: withKey(other.key) })).status, 401)
  })
  await guard.close()
})

test('a record that was refused is asked for again, whatever the option says', async () => {
  const { guard, table, looked } = open({ apiKeys: { cacheFor: '1h' } })
  const { key, digest } = guard.apiKeys.create()
  await serve(handlerOf(guard), async (ask) => {
    for (const [record, status] of [
      [{ digest, sub: '' }, 500],
      [{ digest: guard.apiKeys.create().digest, sub: 'robot' }, 401],
      [{ digest, sub: 'robot', exp: seconds() - 1 }, 401],
      [{ digest, sub: 'robot' }, 200]
    ]) {
      table.set(digest, record)
      assert.equal((await ask({ headers: withKey(key) })).status, status)
    }
    assert.equal((await ask({ headers: withKey(key) })).status, 200)
    assert.equal(looked.length, 4)
  })
  await guard.close()
})

test('a key in the place of a token is refused before an issuer is asked about it', async (t) => {
  let asked = 0
  const server = http.createServer((req, res) => {
    asked += 1
    res.setHeader('content-type', 'application/json')
    res.end('{"active":false}')
  }).listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}/introspect`
  const introspection = { url, clientId: 'api', clientSecret: 'Vb7xQe2LmW9rTz4KpYh6', allowHttp: true }
  for (const place of [{}, { header: 'x-key' }, { scheme: 'ApiKey' }]) {
    const { guard, issue, events } = open({ apiKeys: place, jwt: { issuer: 'https://id.example.com', audience: 'api', introspection } })
    const { key } = issue()
    await serve(handlerOf(guard), async (ask) => {
      const answer = await ask({ headers: bearer(key) })
      assert.deepEqual([answer.status, answer.json.code, events.at(-1).reason, asked], [401, 'api_key_invalid', 'api_key_place', 0])
      assert.equal((await ask({ headers: bearer(`${key}x`) })).status, 401)
      assert.equal(asked, 1, 'what is no key is asked about')
    })
    asked = 0
    await guard.close()
  }
})

test('a policy does not see a key', async () => {
  const rego = 'package p\nimport rego.v1\ndefault allow := false\nallow if { input.user.sub == "robot"; input.token.issuer == "api-key"; not input.headers["x-api-key"]; input.headers["x-other"] == "1" }'
  const { guard, issue } = open({ policy: { policies: { 'p.rego': rego }, query: 'data.p.allow' } })
  const { key } = issue()
  await serve(handlerOf(guard), async (ask) => {
    assert.equal((await ask({ headers: { ...withKey(key), 'x-other': '1' } })).status, 200)
  })
  await guard.close()
})

const redis = await startRedis()
after(() => redis.stop())

test('a revocation reaches the other processes of a store, and a request that waits for its body', async () => {
  const store = () => ({ store: { redis: { url: redis.url, prefix: 'keys:', timeout: '5s' } } })
  const [one, two] = [open(store()), open(store())]
  await Promise.all([one.guard.ready(), two.guard.ready()])
  const made = one.issue()
  two.table.set(made.digest, { digest: made.digest, sub: 'robot' })
  await serve(handlerOf(two.guard), async (ask, { port }) => {
    assert.equal((await ask({ headers: withKey(made.key) })).status, 200)
    const request = http.request({ host: '127.0.0.1', port, method: 'POST', headers: { ...withKey(made.key), 'content-type': 'application/json', 'content-length': 2 }, agent: false })
    const answered = once(request, 'response')
    request.write('{')
    await waitUntil('its record is looked up', () => two.looked.length === 2)
    await sleep(30)
    await one.guard.apiKeys.revoke(made.id)
    await waitUntil('the other process refuses', async () => (await ask({ headers: withKey(made.key) })).status === 401, 5000)
    request.end('}')
    const [response] = await answered
    const answer = JSON.parse(Buffer.concat(await response.toArray()).toString())
    assert.equal(answer.code, 'api_key_invalid')
  })
  await Promise.all([one.guard.close(), two.guard.close()])
})

test('a key is no token, and calls that would do nothing say so', async () => {
  const { guard, issue } = open({ jwt })
  const { key } = issue()
  await assert.rejects(guard.revoke.token(key), (error) => /apiKeys\.revoke/.test(error.message) && !error.message.includes(key))
  for (const text of ['acme_live_x', 'x', 'A'.repeat(24), 'a'.repeat(23)]) await assert.rejects(guard.apiKeys.revoke(text), { code: 'ERR_INVALID_ARGUMENT' })
  await assert.rejects(guard.apiKeys.revoke(undefined), { code: 'ERR_INVALID_ARGUMENT' })
  await guard.close()
  const none = createGuard({})
  assert.throws(() => none.apiKeys.create(), { code: 'ERR_MISSING_OPTION' })
  await assert.rejects(none.apiKeys.revoke('a'.repeat(24)), { code: 'ERR_MISSING_OPTION' })
  await none.close()
})

test('the header of keys cannot be that of tokens', () => {
  const apiKeys = { prefix: 'acme', lookup: () => null, header: 'X-Token' }
  assert.throws(() => createGuard({ jwt: { ...jwt, from: [{ header: 'x-token' }] }, apiKeys }), { path: 'apiKeys.header' })
})

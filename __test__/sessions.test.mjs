// Sessions of a browser: tokens in cookies, over both kinds of store and on every host.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createGuard, GuardError } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { startFaultProxy } from './helpers/fault-proxy.mjs'
import { ACCESS, HOSTS, PROOF, REFRESH, attributesOf, browse, clears, config } from './helpers/session-apps.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

let redis
const guards = []
const unhandled = []
const stores = { memory: () => ({}), redis: () => ({ store: { redis: { url: redis.url, prefix: 'sessions:', timeout: '5s' } } }) }

before(async () => {
  process.on('unhandledRejection', (error) => unhandled.push(error))
  redis = await startRedis()
})
after(async () => {
  await Promise.all(guards.map((guard) => guard.close()))
  await redis.stop()
  assert.deepEqual(unhandled, [])
})

async function guardWith(kind = 'memory', more = {}) {
  const guard = createGuard(config({ ...stores[kind](), ...more }))
  guards.push(guard)
  await guard.ready()
  return guard
}

const [, express5] = HOSTS[0]

for (const kind of ['memory', 'redis']) {
  for (const [host, appOf] of HOSTS) {
    test(`${kind}, ${host}: a browser logs in, uses its session, refreshes it and logs out`, async () => {
      const guard = await guardWith(kind)
      await browse(appOf(guard), async (browser) => {
        assert.equal((await browser.fetch('GET', '/me')).status, 401)
        const login = await browser.fetch('POST', '/session/login')
        assert.deepEqual([login.status, login.headers['cache-control']], [204, 'no-store'])
        const first = (await browser.fetch('GET', '/me')).json
        assert.deepEqual([first.sub, first.role], ['ada', 'reader'])
        for (let i = 0; i < 3; i += 1) {
          const before = browser.copy()
          const answer = await browser.fetch('POST', '/session/refresh')
          assert.deepEqual([answer.status, answer.text, answer.headers['cache-control']], [204, '', 'no-store'])
          for (const name of [ACCESS, REFRESH, PROOF]) assert.notEqual(browser.get(name), before.get(name), name)
          assert.deepEqual((await browser.fetch('GET', '/me')).json, first)
        }
        const stolen = browser.copy()
        const logout = await browser.fetch('POST', '/session/logout')
        assert.deepEqual([logout.status, browser.cookies], [204, []])
        assert.equal((await stolen.fetch('GET', '/me')).json.code, 'token_revoked')
        assert.equal((await stolen.fetch('POST', '/session/refresh')).status, 401)
        assert.equal((await browser.fetch('POST', '/session/logout')).status, 204, 'a second time, and without cookies')
      })
    })

    test(`${kind}, ${host}: two tabs that refresh at once both go on`, async () => {
      const guard = await guardWith(kind)
      await browse(appOf(guard), async (browser) => {
        await browser.fetch('POST', '/session/login')
        const tabs = Array.from({ length: 10 }, () => browser.copy())
        const answers = await Promise.all(tabs.map((tab) => tab.fetch('POST', '/session/refresh')))
        assert.deepEqual(answers.map(({ status }) => status), tabs.map(() => 204))
        assert.equal(new Set(tabs.map((tab) => tab.get(REFRESH))).size, 1)
        for (const tab of tabs) {
          assert.equal((await tab.fetch('GET', '/me')).status, 200)
          assert.equal((await tab.fetch('POST', '/session/refresh')).status, 204)
        }
      })
    })

    test(`${kind}, ${host}: a refresh token that was used before ends the session and clears the cookies`, async () => {
      const guard = await guardWith(kind)
      await browse(appOf(guard), async (browser) => {
        await browser.fetch('POST', '/session/login')
        const thief = browser.copy()
        await browser.fetch('POST', '/session/refresh')
        await browser.fetch('POST', '/session/refresh')
        const answer = await thief.fetch('POST', '/session/refresh')
        assert.deepEqual([answer.status, answer.json.code, answer.headers['content-type']], [401, 'ERR_REFRESH_REUSED', 'application/problem+json'])
        assert.ok(answer.headers['www-authenticate'].startsWith('Bearer'))
        assert.ok(clears(answer))
        assert.equal((await browser.fetch('GET', '/me')).json.code, 'token_revoked')
        assert.equal((await browser.fetch('POST', '/session/refresh')).status, 401)
        assert.deepEqual(browser.cookies, [])
      })
    })
  }
}

test('the cookies have exactly these attributes', async () => {
  const expected = (sameSite, age, path = '/session') => ({
    [ACCESS]: `Path=/${age(900)}; Secure; HttpOnly; SameSite=${sameSite}`,
    [REFRESH]: `Path=${path}${age(2_592_000)}; Secure; HttpOnly; SameSite=Strict`,
    [PROOF]: `Path=/${age(2_592_000)}; Secure; HttpOnly; SameSite=Strict`
  })
  const persistent = (seconds) => `; Max-Age=${seconds}`
  for (const [sessions, attributes] of [
    [{}, expected('Strict', persistent)],
    [{ sameSite: 'lax' }, expected('Lax', persistent)],
    [{ persistent: false }, expected('Strict', () => '')]
  ]) {
    const guard = await guardWith('memory', { sessions })
    await browse(express5(guard), async (browser) => {
      assert.deepEqual(attributesOf(await browser.fetch('POST', '/session/login')), attributes)
      assert.deepEqual(attributesOf(await browser.fetch('POST', '/session/refresh')), attributes, 'and so after a refresh')
      const cleared = attributesOf(await browser.fetch('POST', '/session/logout'))
      assert.deepEqual(cleared, expected(sessions.sameSite === 'lax' ? 'Lax' : 'Strict', () => '; Max-Age=0'))
    })
  }
})

test('the cookies of a refresh token stay as long as it is good without being used', async () => {
  const guard = await guardWith('memory', { jwt: { refresh: { lifetime: '10d', idle: '1d' } }, sessions: { path: '/api/session', refreshCookie: '__Secure-app' } })
  const headers = new Headers()
  const { expiresIn } = await guard.sessions.start(headers, { sub: 'ada' }, { expiresIn: '5m' })
  assert.equal(expiresIn, 300)
  const lines = headers.getSetCookie()
  assert.match(lines[0], /^__Host-token=[\w.-]+; Path=\/; Max-Age=300; /)
  assert.match(lines[1], /^__Secure-app=ksr_[\w-]{86}; Path=\/api\/session; Max-Age=86400; /)
  assert.match(lines[2], /^__Host-app=p\.[\w-]{43}; Path=\/; Max-Age=86400; /)
})

test('a login may choose whether its cookies outlive the browser, and a refresh keeps to it', async () => {
  const guard = await guardWith()
  const headers = new Headers()
  await guard.sessions.start(headers, { sub: 'ada' }, { persistent: false })
  for (let i = 0; i < 2; i += 1) {
    const cookie = headers.getSetCookie().map((line) => line.split(';', 1)[0]).join('; ')
    for (const line of headers.getSetCookie()) assert.doesNotMatch(line, /Max-Age/)
    await guard.sessions.renew({ headers: new Headers({ cookie }) }, headers)
    assert.equal(headers.getSetCookie().length, 3, 'cookies of the same names are replaced')
  }
})

test('a logout ends a session whose access token has expired, by its refresh token', async () => {
  const guard = await guardWith()
  await browse(express5(guard), async (browser) => {
    await browser.fetch('POST', '/session/login')
    const { sid } = (await browser.fetch('GET', '/me')).json
    const other = browser.copy()
    browser.cookies = browser.cookies.filter(({ name }) => name !== ACCESS)
    assert.equal((await browser.fetch('POST', '/session/logout')).status, 204)
    assert.equal((await other.fetch('GET', '/me')).json.code, 'token_revoked', sid)
    assert.deepEqual(browser.cookies, [])
  })
})

test('a handler behind the stack may end the session of the user that the stack has verified', async () => {
  const guard = await guardWith('memory', { jwt: { from: ['header', { cookie: ACCESS }] } })
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  const [protect] = guard.securityStack()
  await browse((req, res) => protect(req, res, () => guard.sessions.end(req, res).then(() => res.end(), () => res.destroy())), async (browser, send) => {
    const authorization = `Bearer ${accessToken}`
    assert.equal((await send({ method: 'POST', headers: { authorization } })).status, 200)
    assert.equal((await send({ method: 'POST', headers: { authorization } })).json.code, 'token_revoked')
  })
})

test('one of several issuers signs the tokens of sessions, and its sessions are ended', async () => {
  const { issuer, audience, secret } = jwt
  const guard = createGuard({
    rateLimit: false, sessions: {},
    jwt: { refresh: true, from: [{ cookie: ACCESS }], issuers: [{ issuer, audience, secret }, { issuer: 'https://b.example', audience, secret: secret.toLowerCase() }] }
  })
  guards.push(guard)
  await browse(express5(guard), async (browser) => {
    await browser.fetch('POST', '/session/login')
    await browser.fetch('POST', '/session/refresh')
    const other = browser.copy()
    assert.equal((await browser.fetch('POST', '/session/logout')).status, 204)
    assert.equal((await other.fetch('GET', '/me')).json.code, 'token_revoked')
  })
})

test('claims may change with each refresh, and what the application throws is its own', async () => {
  let role = 'admin'
  const guard = await guardWith()
  const claims = async (before) => {
    // A refusal of the guard that the application has asked for something else is its own error.
    if (role === null) await guard.tokens.verify('closed')
    return { ...before, role }
  }
  for (const [host, appOf] of HOSTS) {
    role = 'admin'
    await browse(appOf(guard, { claims }), async (browser) => {
      await browser.fetch('POST', '/session/login')
      await browser.fetch('POST', '/session/refresh')
      assert.equal((await browser.fetch('GET', '/me')).json.role, 'admin', host)
      role = null
      const access = browser.get(ACCESS)
      const answer = await browser.fetch('POST', '/session/refresh')
      assert.deepEqual([answer.status, answer.json], [401, { app: 'the token is malformed' }], host)
      assert.equal(browser.get(ACCESS), access)
      role = 'reader'
      assert.equal((await browser.fetch('POST', '/session/refresh')).status, 204, 'the session goes on')
      assert.equal((await browser.fetch('GET', '/me')).json.role, 'reader')
    })
  }
})

test('an application whose claims fail for longer than `reuseWindow` ends no session and gives no token', async () => {
  const guard = await guardWith('memory', { jwt: { refresh: { reuseWindow: '1s' } } })
  const fails = () => Promise.reject(new Error('the database is away'))
  for (const [host, appOf] of HOSTS) {
    for (const wrong of [fails, (before) => ({ ...before, groups: 'g'.repeat(4000) }), () => 5]) {
      let claims = wrong
      await browse(appOf(guard, { claims: (before) => claims(before) }), async (browser) => {
        await browser.fetch('POST', '/session/login')
        browser.cookies = browser.cookies.filter(({ name }) => name !== ACCESS)
        const first = browser.get(REFRESH)
        // A token that is not the one before the current one is a replay at any time.
        for (let i = 0; i < 3; i += 1) {
          const answer = await browser.fetch('POST', '/session/refresh')
          assert.equal(answer.status, 500, host)
          assert.equal(answer.headers['cache-control'], 'no-store')
          assert.deepEqual(Object.keys(attributesOf(answer)), [REFRESH, PROOF])
        }
        assert.notEqual(browser.get(REFRESH), first)
        claims = (before) => before
        assert.equal((await browser.fetch('POST', '/session/refresh')).status, 204)
        assert.equal((await browser.fetch('GET', '/me')).json.sub, 'ada')
      })
    }
  }
})

test('without `next`, an error of the application is a problem document with nothing of it', async () => {
  const guard = await guardWith()
  const refresh = guard.sessions.refresh({ claims: () => { throw new Error('the secret of ada') } })
  const headers = new Headers()
  await guard.sessions.start(headers, { sub: 'ada' })
  const cookie = headers.getSetCookie().map((line) => line.split(';', 1)[0]).join('; ')
  await browse((req, res) => refresh(req, res), async (browser, send) => {
    const answer = await send({ method: 'POST', headers: { cookie, 'sec-fetch-site': 'same-origin' } })
    assert.deepEqual([answer.status, answer.json.code], [500, 'internal_error'])
    assert.doesNotMatch(answer.text, /secret/)
  })
})

for (const [host, appOf] of HOSTS) {
  test(`${host}: without the store a refresh and a logout are 503, the cookies stay, and are good afterwards`, async () => {
    const proxy = await startFaultProxy(redis.port)
    const guard = createGuard(config({ store: { redis: { url: `redis://127.0.0.1:${proxy.port}`, prefix: 'sessions-away:', timeout: '200ms' } } }))
    // Another process, as it were, whose way to the store is good.
    const other = createGuard(config({ store: { redis: { url: redis.url, prefix: 'sessions-away:', timeout: '5s' } } }))
    try {
      await Promise.all([guard.ready(), other.ready()])
      await browse(appOf(guard), async (browser) => {
        await browser.fetch('POST', '/session/login')
        const token = browser.get(ACCESS)
        await other.tokens.verify(token)
        const kept = browser.cookies
        proxy.blackhole(true)
        for (const path of ['/session/refresh', '/session/logout']) {
          const answer = await browser.fetch('POST', path)
          assert.deepEqual([answer.status, answer.headers['set-cookie'], answer.headers['retry-after']], [503, undefined, '1'], path)
          assert.equal(answer.headers['content-type'], 'application/problem+json')
        }
        assert.deepEqual(browser.cookies, kept)
        assert.equal((await browser.fetch('POST', '/session/login')).status, 503)
        proxy.blackhole(false)
        // The logout holds in this process already, and is not acknowledged: it can be sent again.
        await waitUntil('the store answers again', async () => (await browser.fetch('POST', '/session/logout')).status === 204)
        assert.deepEqual(browser.cookies, [])
        await waitUntil('the other one refuses the session', () => other.tokens.verify(token).then(() => false, (error) => error.code === 'token_revoked'))
      })
    } finally {
      await Promise.all([guard.close(), other.close()])
      await proxy.stop()
    }
  })
}

test('a refresh that the store did not answer goes on with the same cookies', async () => {
  const proxy = await startFaultProxy(redis.port)
  const guard = createGuard(config({ store: { redis: { url: `redis://127.0.0.1:${proxy.port}`, prefix: 'sessions-late:', timeout: '200ms' } } }))
  try {
    await guard.ready()
    await browse(express5(guard), async (browser) => {
      await browser.fetch('POST', '/session/login')
      proxy.blackhole(true)
      assert.equal((await browser.fetch('POST', '/session/refresh')).status, 503)
      proxy.blackhole(false)
      await waitUntil('the store answers again', async () => (await browser.fetch('POST', '/session/refresh')).status === 204)
      assert.equal((await browser.fetch('GET', '/me')).status, 200)
    })
  } finally {
    await guard.close()
    await proxy.stop()
  }
})

test('a logout by refresh token that the store has half done can be sent again', async () => {
  const password = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV'
  const limited = await startRedis({ acl: [{ user: 'app', password, rules: '~* &* +@all' }] })
  // By another name it is another process, as it were: guards that name one server share a list.
  const [guard, other] = ['127.0.0.1', 'localhost'].map((host) => createGuard(config({ store: { redis: { url: `redis://app:${password}@${host}:${limited.port}`, prefix: 'half:', timeout: '5s' } } })))
  try {
    await Promise.all([guard.ready(), other.ready()])
    await browse(express5(guard), async (browser) => {
      await browser.fetch('POST', '/session/login')
      const token = browser.get(ACCESS)
      browser.cookies = browser.cookies.filter(({ name }) => name !== ACCESS)
      // Refresh tokens can be used, and nothing can be revoked.
      await limited.command('ACL', 'SETUSER', 'app', '-xadd')
      const answer = await browser.fetch('POST', '/session/logout')
      assert.deepEqual([answer.status, answer.json.code], [503, 'ERR_STORE_UNAVAILABLE'])
      assert.equal((await other.tokens.verify(token)).sub, 'ada')
      await limited.command('ACL', 'SETUSER', 'app', '+xadd')
      await waitUntil('the store takes it', async () => (await browser.fetch('POST', '/session/logout')).status === 204)
      await waitUntil('the other one refuses the session', () => other.tokens.verify(token).then(() => false, (error) => error.code === 'token_revoked'))
    })
  } finally {
    await Promise.all([guard.close(), other.close()])
    await limited.stop()
  }
})

test('a guard that can have no sessions says what to write, and one with `sessions` when it is built', async () => {
  const cookies = { from: [{ cookie: ACCESS }] }
  for (const [options, code, path, says] of [
    [{}, 'ERR_MISSING_OPTION', 'jwt.from', "`jwt.from` must name a cookie for sessions; write from: [{ cookie: '__Host-token' }]"],
    [{ jwt: { ...jwt, refresh: true } }, 'ERR_MISSING_OPTION', 'jwt.from', 'must name a cookie'],
    [{ jwt: { ...jwt, refresh: true, from: ['header'] } }, 'ERR_MISSING_OPTION', 'jwt.from', 'must name a cookie'],
    [{ jwt: { ...jwt, ...cookies } }, 'ERR_MISSING_OPTION', 'jwt.refresh', '`jwt.refresh` must be set for sessions; write refresh: true'],
    [{ jwt: { ...jwt, refresh: true, from: [{ cookie: '__Host-a' }, { cookie: '__Host-b' }] } }, 'ERR_MISSING_OPTION', 'sessions.accessCookie', "write accessCookie: '__Host-a'"],
    [{ jwt: { ...jwt, refresh: true, from: [{ cookie: PROOF }] } }, 'ERR_CONFLICTING_OPTIONS', 'sessions.refreshCookie', 'choose another name']
  ]) {
    const thrown = (error) => error instanceof GuardError && error.code === code && error.path === path && error.message.includes(says)
    assert.throws(() => createGuard({ ...options, sessions: {} }), thrown, says)
    const guard = createGuard(options)
    guards.push(guard)
    assert.throws(() => guard.sessions.refresh(), thrown)
    assert.throws(() => guard.sessions.logout(), thrown)
    await assert.rejects(guard.sessions.start(new Headers(), { sub: 'ada' }), thrown)
    await assert.rejects(guard.sessions.renew({ headers: {} }, new Headers()), thrown)
    await assert.rejects(guard.sessions.end({ headers: {} }, new Headers()), thrown)
  }
  for (const [sessions, path] of [
    ...['/', '', 'session', '/session/', '//session', '/a/../b', '/a;b', '/a b', '/ä', '/a?b', '/a#b', '/a\r\nb', `/${'a'.repeat(300)}`].map((path) => [{ path }, 'sessions.path']),
    [{ sameSite: 'none' }, 'sessions.sameSite'],
    [{ sameSite: 'Strict' }, 'sessions.sameSite'],
    [{ persistent: 'yes' }, 'sessions.persistent'],
    [{ accessCookie: '__Host-other' }, 'sessions.accessCookie'],
    ...['refresh', '__Host-refresh', '__Secure-', '__Secure-a b', '__Secure-a;b', '__secure-a'].map((refreshCookie) => [{ refreshCookie }, 'sessions.refreshCookie']),
    [{ refreshPath: '/session' }, 'sessions.refreshPath']
  ]) {
    assert.throws(() => createGuard(config({ sessions })), (error) => error instanceof GuardError && error.path === path, JSON.stringify(sessions))
  }
})

test('arguments that can not be meant are refused by name', async () => {
  const guard = await guardWith()
  const { sessions } = guard
  const refused = (promise, path) => assert.rejects(promise, (error) => error instanceof GuardError && error.path === path)
  for (const res of [undefined, null, {}, 'res', { setHeader() {} }, { headersSent: true, setHeader() {}, getHeader() {} }]) {
    await refused(sessions.start(res, { sub: 'ada' }), 'res')
    await refused(sessions.end({ headers: {} }, res), 'res')
    await refused(sessions.renew({ headers: {} }, res), 'res')
  }
  for (const req of [undefined, null, {}, 'req']) await refused(sessions.end(req, new Headers()), 'req')
  await refused(sessions.start(new Headers(), { sub: 'ada' }, { remember: true }), 'options.remember')
  await refused(sessions.start(new Headers(), { sub: 'ada' }, { persistent: 'yes' }), 'options.persistent')
  await refused(sessions.start(new Headers(), { sub: 'ada' }, undefined), 'options')
  const fat = new Headers()
  await refused(sessions.start(fat, { sub: 'ada', groups: 'g'.repeat(3000) }), 'claims')
  assert.deepEqual(fat.getSetCookie(), [])
  assert.throws(() => sessions.refresh({ claims: 'role' }), { path: 'options.claims' })
  // Mounted without being called: Express would call them with a request.
  assert.throws(() => sessions.refresh({}, {}, () => {}), { code: 'ERR_INVALID_ARGUMENT' })
  assert.throws(() => sessions.logout({}, {}, () => {}), { code: 'ERR_INVALID_ARGUMENT' })
})

test('claims that make too large a cookie begin no session', async () => {
  const { sessions } = await guardWith('redis')
  await sessions.start(new Headers(), { sub: 'ada' })
  const before = await redis.keys()
  await assert.rejects(sessions.start(new Headers(), { sub: 'ada', groups: 'g'.repeat(4000) }), (error) => error instanceof GuardError && error.path === 'claims' && /4096 bytes/.test(error.message))
  assert.deepEqual(await redis.keys(), before)
  await sessions.start(new Headers(), { sub: 'ada', groups: 'g'.repeat(1000) })
  assert.equal((await redis.keys()).length, before.length + 1)
})

test('a closed guard answers 503 and keeps the cookies', async () => {
  const guard = createGuard(config())
  await browse(express5(guard), async (browser) => {
    await browser.fetch('POST', '/session/login')
    const kept = browser.cookies
    await guard.close()
    for (const path of ['/session/refresh', '/session/bare', '/session/logout']) {
      const answer = await browser.fetch('POST', path)
      assert.deepEqual([answer.status, answer.json.code], [503, 'guard_closed'])
    }
    assert.deepEqual(browser.cookies, kept)
  })
})

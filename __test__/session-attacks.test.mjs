// Attacks on the sessions of browsers: pages of other sites, other hosts of the domain, forged
// cookies, and what could end the process.

import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import { after, before, test } from 'node:test'
import { runInNewContext } from 'node:vm'
import { createGuard, GuardError } from 'keepstone'
import { json } from './helpers/http.mjs'
import { request, sendBytes } from './helpers/raw.mjs'
import { waitUntil } from './helpers/servers.mjs'
import { ACCESS, HOSTS, PROOF, REFRESH, browse, clears, config } from './helpers/session-apps.mjs'

const require = createRequire(import.meta.url)
const events = []
const warnings = []
const unhandled = []
const guard = createGuard(config({ log: (event) => events.push(event) }))
const [, express5] = HOSTS[0]

before(() => {
  process.on('unhandledRejection', (error) => unhandled.push(error))
  process.on('warning', (warning) => warnings.push(warning))
})
after(async () => {
  await guard.close()
  assert.deepEqual(unhandled, [])
})

/** The `Cookie` header of a new session. */
async function sessionOf(sub = 'ada', owner = guard) {
  const headers = new Headers()
  await owner.sessions.start(headers, { sub })
  const [access, refresh, proof] = headers.getSetCookie().map((line) => line.split(';', 1)[0])
  return { access, refresh, proof, token: refresh.slice(refresh.indexOf('=') + 1) }
}

const own = { host: 'api.example.com', 'sec-fetch-site': 'same-origin', origin: 'http://api.example.com' }
const post = (path, cookie, more) => ({ method: 'POST', path, headers: { ...own, ...(cookie === undefined ? {} : { cookie }) }, ...more })

const FOREIGN = [
  { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
  { 'sec-fetch-site': 'same-site', origin: 'https://other.example.com' },
  { 'sec-fetch-site': 'cross-site', origin: 'null' },
  { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example', authorization: 'Bearer x' },
  { origin: 'https://evil.example' },
  {}
]

for (const [host, appOf] of HOSTS) {
  test(`${host}: the page of another site can neither refresh a session nor log a user out`, async () => {
    await browse(appOf(guard), async (browser, send) => {
      await browser.fetch('POST', '/session/login')
      const kept = browser.cookies
      for (const path of ['/session/refresh', '/session/bare', '/session/logout']) {
        for (const headers of FOREIGN) {
          const answer = await send({ method: 'POST', path, headers: { host: own.host, cookie: browser.header(path), ...headers } })
          assert.deepEqual([answer.status, answer.json.code, answer.headers['set-cookie']], [403, 'csrf_failed', undefined], `${path} ${JSON.stringify(headers)}`)
        }
      }
      assert.deepEqual(browser.cookies, kept)
      assert.equal((await browser.fetch('GET', '/me')).status, 200)
      // The token was not used, so a refresh gives the first successor to two tabs.
      const before = browser.copy()
      await browser.fetch('POST', '/session/refresh')
      await before.fetch('POST', '/session/refresh')
      assert.equal(before.get(REFRESH), browser.get(REFRESH))
    })
  })

  test(`${host}: a reading method refreshes nothing`, async () => {
    const { access, refresh, proof } = await sessionOf()
    const cookie = [access, refresh, proof].join('; ')
    await browse(appOf(guard), async (browser, send) => {
      for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
        const answer = await send({ method, path: '/session/bare', headers: { ...own, cookie, 'sec-fetch-site': 'cross-site' } })
        assert.deepEqual([answer.status, answer.headers.allow, answer.headers['set-cookie']], [405, 'POST', undefined], method)
      }
    })
  })

  test(`${host}: whatever comes in place of a refresh token is 401, clears the cookies, and the process lives`, async () => {
    const { refresh, proof, token } = await sessionOf()
    const other = await sessionOf('eve')
    const flipped = `${token.slice(0, -1)}${token.endsWith('A') ? 'Q' : 'A'}`
    const values = [
      '', 'x', 'ksr_', token.slice(0, -1), `${token}A`, `"${token}"`, ` ${token}`, token.toLowerCase(), flipped, encodeURIComponent(`${token}\u0000`), 'ksr_'.padEnd(90, '_'),
      'k'.repeat(6000), '__proto__', '\u00e4\u00f6', other.token, (await guard.tokens.issue({ sub: 'ada' })).accessToken
    ]
    await browse(appOf(guard), async (browser, send) => {
      for (const path of ['/session/refresh', '/session/bare']) {
        for (const value of values) {
          const answer = await send(post(path, `${REFRESH}=${value}; ${proof}`))
          assert.deepEqual([answer.status, answer.json.code], [401, 'ERR_REFRESH_INVALID'], value)
          assert.ok(clears(answer))
          assert.equal(answer.headers['content-type'], 'application/problem+json')
        }
        for (const cookie of [undefined, 'theme=dark', ';;;=', proof]) {
          const answer = await send(post(path, cookie))
          assert.deepEqual([answer.status, answer.json.code], [401, 'token_missing'])
        }
      }
      // A body is none of its business: a token in it counts for nothing.
      for (const body of ['{}', '{', '[]', 'null', '', JSON.stringify({ refreshToken: token })]) {
        const sent = json(body, { path: '/session/bare', headers: own })
        assert.equal((await send(sent)).json.code, 'token_missing', body)
      }
      const answer = await send(post('/session/refresh', `${refresh}; ${proof}`))
      assert.equal(answer.status, 204, 'the good one was not used up')
    })
  })

  test(`${host}: of two refresh tokens the one with the proof counts, and two proofs are refused`, async () => {
    const other = await sessionOf('eve')
    await browse(appOf(guard), async (browser, send, port) => {
      const { refresh, proof } = await sessionOf()
      for (const cookies of [[refresh, proof, other.proof], [refresh, proof, `${PROOF}=`], [refresh, proof, proof]]) {
        const answer = await send(post('/session/refresh', cookies.join('; ')))
        assert.deepEqual([answer.status, answer.json.code, answer.headers['set-cookie']], [400, 'token_ambiguous', undefined])
      }
      for (const cookies of [[refresh, other.refresh, proof], [other.refresh, refresh, proof], [refresh, refresh, proof], [refresh, `${REFRESH}=`, proof]]) {
        const answer = await send(post('/session/refresh', cookies.join('; ')))
        assert.equal(answer.status, 204)
        const access = answer.headers['set-cookie'][0].split(';', 1)[0]
        assert.equal((await guard.tokens.verify(access.slice(access.indexOf('=') + 1))).sub, 'ada')
      }
      const lines = ['Sec-Fetch-Site: same-origin', `Cookie: ${other.refresh}; ${proof}`, `Cookie: ${refresh}`]
      assert.equal((await sendBytes(port, request('POST', '/session/bare', lines))).status, 204)
      for (const cookies of [[other.refresh, `${REFRESH}=x`, proof], [refresh, other.refresh]]) {
        const answer = await send(post('/session/refresh', cookies.join('; ')))
        assert.deepEqual([answer.status, answer.json.code], [401, 'ERR_REFRESH_INVALID'])
      }
    })
  })

  test(`${host}: a cookie that another host of the domain sets beside ours keeps nobody logged in`, async () => {
    const eve = await sessionOf('eve')
    await browse(appOf(guard), async (browser, send) => {
      for (const set of [(ours) => [ours.refresh, eve.refresh, ours.proof], (ours) => [`${REFRESH}=ksr_${'A'.repeat(86)}`, ours.refresh, ours.proof]]) {
        const ada = await sessionOf()
        const answer = await send(post('/session/logout', set(ada).join('; ')))
        assert.deepEqual([answer.status, clears(answer)], [204, true])
        await assert.rejects(guard.tokens.verify(ada.access.slice(ada.access.indexOf('=') + 1)), { code: 'token_revoked' })
        assert.equal((await guard.tokens.verify(eve.access.slice(eve.access.indexOf('=') + 1))).sub, 'eve')
      }
      // What can't be told apart is no logout.
      const { access, refresh, proof } = await sessionOf()
      for (const cookies of [[refresh, proof, eve.proof], [`${ACCESS}=x`, access]]) {
        const answer = await send(post('/session/logout', cookies.join('; ')))
        assert.deepEqual([answer.status, answer.json.code, answer.headers['set-cookie']], [400, 'token_ambiguous', undefined])
      }
    })
  })
}

for (const [host, express] of [['Express 5', 'express'], ['Express 4', 'express-4']]) {
  test(`${host}: claims that reject with something other than an Error run no handler behind the refresh`, async () => {
    let thrown
    const app = require(express)()
    app.post('/', guard.sessions.refresh({ claims: () => Promise.reject(thrown) }), (req, res) => res.end('the next handler'))
    app.post('/', (req, res) => res.end('another route'))
    app.use((req, res) => res.end('behind the router'))
    const seen = []
    app.use((error, req, res, next) => (seen.push(error), res.headersSent ? next(error) : res.status(500).end('the error handler')))
    await browse(app, async (browser, send) => {
      for (thrown of [undefined, null, 0, '', false, 'route', 'router', 'text', { status: 404 }, new RangeError('mine'), runInNewContext("new Error('of another realm')")]) {
        const { refresh, proof } = await sessionOf()
        const answer = await send(post('/', `${refresh}; ${proof}`))
        assert.deepEqual([answer.status, answer.text], [500, 'the error handler'], String(thrown))
        const error = seen.pop()
        if (Object.prototype.toString.call(thrown) === '[object Error]') assert.equal(error, thrown)
        else assert.deepEqual([error instanceof Error, error.cause], [true, thrown])
      }
    })
  })
}

test('`renew` rejects with an Error, whatever the claims reject with', async () => {
  for (const thrown of [undefined, null, 'route', { status: 404 }]) {
    const { refresh, proof } = await sessionOf()
    const req = new Request('http://api.example.com/', { headers: { cookie: `${refresh}; ${proof}` } })
    const failing = guard.sessions.renew(req, new Headers(), { claims: () => Promise.reject(thrown) })
    await assert.rejects(failing, (error) => error instanceof Error && error.cause === thrown)
  }
})

test('a method that was written over the one that came gets nobody past the check', async () => {
  const { access, refresh, proof } = await sessionOf()
  const [open] = guard.securityStack({ jwt: false })
  const handler = guard.sessions.refresh()
  const rewritten = (req, res) => {
    req.method = 'POST'
    handler(req, res)
  }
  for (const [listener, status] of [[rewritten, 403], [(req, res) => open(req, res, () => rewritten(req, res)), 405]]) {
    await browse(listener, async (browser, send) => {
      const answer = await send({ headers: { host: own.host, cookie: [access, refresh, proof].join('; '), 'sec-fetch-site': 'cross-site' } })
      assert.deepEqual([answer.status, answer.headers['set-cookie']], [status, undefined])
    })
  }
})

test('another host of the domain can not log a user in to its own account', async () => {
  await browse(express5(guard), async (browser) => {
    const eve = await sessionOf('eve')
    const line = (name, pair, path) => `${name}=${pair.slice(pair.indexOf('=') + 1)}; Path=${path}; Domain=example.com; Secure`
    assert.equal(browser.take(line(REFRESH, eve.refresh, '/session'), false), true)
    for (const [name, pair] of [[ACCESS, eve.access], [PROOF, eve.proof]]) assert.equal(browser.take(line(name, pair, '/'), false), false, 'a browser keeps such cookies from it')
    const answer = await browser.fetch('POST', '/session/refresh')
    assert.deepEqual([answer.status, answer.json.code], [401, 'ERR_REFRESH_INVALID'])
    assert.equal(browser.get(ACCESS), undefined)
    assert.equal((await browser.fetch('GET', '/me')).status, 401)

    // A session of the user's own is neither changed for the other one nor lost.
    browser.cookies = []
    await browser.fetch('POST', '/session/login')
    const tossed = browser.copy()
    tossed.take(line(REFRESH, eve.refresh, '/session/refresh'), false)
    assert.equal((await tossed.fetch('POST', '/session/refresh')).status, 204)
    assert.equal((await tossed.fetch('GET', '/me')).json.sub, 'ada')
    assert.equal((await browser.fetch('POST', '/session/refresh')).status, 204)
    assert.equal((await browser.fetch('GET', '/me')).json.sub, 'ada')
  })
})

test('a cookie whose name only looks like one of ours is another one', async () => {
  const { refresh, proof, token } = await sessionOf()
  const names = ['__secure-refresh', '__Secure-Refresh', '  __Secure-refresh', '\t__Secure-refresh', '\u00a0__Secure-refresh', '\u0085__Secure-refresh', '__Secure%2Drefresh', '__Secure-refresh ', '$__Secure-refresh', 'x,__Secure-refresh', '"__Secure-refresh"', 'a=__Secure-refresh']
  await browse(express5(guard), async (browser, send) => {
    for (const name of names) {
      const answer = await send(post('/session/bare', `a=b; ${name}=${token}; ${proof}`))
      assert.deepEqual([answer.status, answer.json.code], [401, 'token_missing'], JSON.stringify(name))
      // Nor does it stand in the way of the real one.
    }
    const answer = await send(post('/session/bare', `${names.map((name) => `${name}=x`).join('; ')}; ${refresh}; ${proof}`))
    assert.equal(answer.status, 204)
  })
})

test('no request outside of its path carries the refresh token', async () => {
  await browse(express5(guard), async (browser) => {
    await browser.fetch('POST', '/session/login')
    for (const path of ['/', '/me', '/sessions', '/session-other', '/SESSION/refresh', '/api/session/refresh', '/sessio']) {
      assert.equal(browser.header(path).includes('ksr_'), false, path)
    }
    for (const path of ['/session', '/session/refresh', '/session/logout']) assert.ok(browser.header(path).includes('ksr_'), path)
  })
})

test('a refresh token on its own, as a log or a backup may have it, is not taken', async () => {
  const { refresh, proof, token } = await sessionOf()
  await browse(express5(guard), async (browser, send) => {
    for (const proofs of ['', `; ${PROOF}=p.`, `; ${PROOF}=p.${token}`, `; ${PROOF}=${proof.slice(proof.indexOf('.') + 1)}`]) {
      assert.equal((await send(post('/session/refresh', `${refresh}${proofs}`))).json.code, 'ERR_REFRESH_INVALID')
    }
    assert.equal((await send(post('/session/refresh', `${refresh}; ${proof}`))).status, 204)
  })
})

test('a made-up or foreign access token ends nobody\'s session', async () => {
  const ada = await sessionOf()
  const token = ada.access.slice(ada.access.indexOf('=') + 1)
  const [head, payload, signature] = token.split('.')
  const foreign = createGuard(config({ jwt: { secret: 'Zp4nX8rT2kWq6vBy9mLc3hJs7dFg5aEu' } }))
  const { sid } = await guard.tokens.verify(token)
  const { accessToken } = await foreign.tokens.issue({ sub: 'ada', sid })
  await browse(express5(guard), async (browser, send) => {
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    for (const forged of [accessToken, `${none}.${payload}.`, `${head}.${payload}.${signature.slice(1)}A`, `${head}.${payload}`, payload, '']) {
      const answer = await send(post('/session/logout', `${ACCESS}=${forged}`))
      assert.deepEqual([answer.status, clears(answer)], [204, true])
    }
    assert.equal((await guard.tokens.verify(token)).sid, sid)
    await send(post('/session/logout', ada.access))
    await assert.rejects(guard.tokens.verify(token), { code: 'token_revoked' })
  })
  await foreign.close()
})

test('a head that is too large is refused by the server, and the next request is served', async () => {
  const { refresh, proof } = await sessionOf()
  await browse(express5(guard), async (browser, send) => {
    const answer = await send(post('/session/refresh', `${refresh}; ${proof}; a=${'x'.repeat(20_000)}`))
    assert.equal(answer.status, 431)
    const many = Array.from({ length: 1000 }, (_, i) => `c${i}=1`).join('; ')
    assert.equal((await send(post('/session/refresh', `${many}; ${refresh}; ${proof}`))).status, 204)
  })
})

test('a client that goes away, and a handler that answers meanwhile, end no process', async () => {
  let goOn
  const waits = () => new Promise((resolve) => (goOn = () => resolve(undefined)))
  for (const [host, appOf] of HOSTS) {
    await browse(appOf(guard, { claims: waits }), async (browser, send, port) => {
      const { refresh, proof } = await sessionOf()
      goOn = undefined
      const leaving = http.request({ host: '127.0.0.1', port, ...post('/session/bare', `${refresh}; ${proof}`) })
      const closed = new Promise((resolve) => leaving.on('error', () => {}).on('close', resolve))
      leaving.end()
      await waitUntil('the handler waits', () => goOn !== undefined)
      leaving.destroy()
      await closed
      goOn()
      await new Promise((resolve) => setTimeout(resolve, 20))
      assert.equal((await send({ path: '/me' })).status, 401, host)
    })
  }
  for (const [answer, text] of [[(res) => res.end('late'), 'late'], [(res) => res.write('begun'), undefined]]) {
    const handler = guard.sessions.refresh({ claims: waits })
    const { refresh, proof } = await sessionOf()
    await browse(
      (req, res) => {
        handler(req, res)
        const timer = setInterval(() => {
          if (goOn === undefined) return
          clearInterval(timer)
          answer(res)
          goOn()
        }, 1)
      },
      async (browser, send) => {
        goOn = undefined
        const outcome = await send(post('/', `${refresh}; ${proof}`)).catch((error) => error)
        assert.deepEqual([outcome.headers?.['set-cookie'], outcome.text], [undefined, text])
      }
    )
  }
})

test('a session that is started or ended on a response that was sent rejects, and sets nothing', async () => {
  await browse((req, res) => {
    const done = guard.sessions.start(res, { sub: 'ada' }).catch((error) => error)
    res.end('sent')
    return done.then((error) => assert.ok(error instanceof GuardError && error.path === 'res'))
  }, async (browser, send) => assert.equal((await send({})).headers['set-cookie'], undefined))
})

test('neither events nor answers hold a token', async () => {
  events.length = 0
  await browse(express5(guard), async (browser) => {
    await browser.fetch('POST', '/session/login')
    const all = [browser.get(ACCESS), browser.get(REFRESH)]
    const stolen = browser.copy()
    await browser.fetch('POST', '/session/refresh')
    await browser.fetch('POST', '/session/refresh')
    const answer = await stolen.fetch('POST', '/session/refresh')
    const found = events.findLast((event) => event.outcome === 'refuse')
    assert.deepEqual([found.status, found.code, found.path, found.method], [401, 'ERR_REFRESH_REUSED', '/session/refresh', 'POST'])
    for (const token of all) assert.ok(!JSON.stringify(events).includes(token) && !answer.text.includes(token))
  })
})

test('the operator learns that the refresh handler is not where browsers send the cookie', async () => {
  const elsewhere = createGuard(config({ sessions: { path: '/other' } }))
  await browse(express5(elsewhere), async (browser) => {
    await browser.fetch('POST', '/session/login')
    assert.equal((await browser.fetch('POST', '/session/refresh')).json.code, 'token_missing')
  })
  await new Promise(setImmediate)
  assert.equal(warnings.filter(({ code }) => code === 'GUARD_SESSION_PATH').length, 1)
  await elsewhere.close()
})

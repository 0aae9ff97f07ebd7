// Introspection endpoints that lie, stall or die, and clients that make up tokens.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { gzipSync } from 'node:zlib'
import express from 'express'
import { createGuard } from 'keepstone'
import { loadShim } from './helpers/copies.mjs'
import { bearer, serve } from './helpers/http.mjs'
import { CLIENT, startEndpoint } from './helpers/introspection-server.mjs'

const ISSUER = 'https://id.example'
const now = () => Math.floor(Date.now() / 1000)
const active = (more = {}) => ({ active: true, iss: ISSUER, aud: 'api', sub: 'ada', iat: now() - 5, exp: now() + 600, token_type: 'Bearer', ...more })
const guardFor = (url, { introspection, ...jwt } = {}, more = {}) =>
  createGuard({ rateLimit: false, ...more, jwt: { issuer: ISSUER, audience: 'api', ...jwt, introspection: { url, ...CLIENT, ...introspection } } })
const appOf = (guard) => express().use(guard.securityStack()).use((req, res) => res.json({ sub: req.user?.sub ?? null }))

/** Runs with an endpoint, a guard that asks it and an app behind that guard. */
async function run(answer, use, jwt, more) {
  const endpoint = await startEndpoint(answer)
  const guard = guardFor(endpoint.url, jwt, more)
  try {
    return await serve(appOf(guard), (ask) => use({ endpoint, guard, ask: (token, options = {}) => ask({ headers: bearer(token), ...options }) }))
  } finally {
    await guard.close()
    await endpoint.stop()
  }
}

const facts = (token) => ({ method: 'GET', target: '/', headers: [['host', 'a'], ['authorization', `Bearer ${token}`]], address: '192.0.2.1' })
const raw = (status, headers, body) => () => (res) => res.writeHead(status, headers).end(body)
const json = (body) => raw(200, { 'content-type': 'application/json' }, body)
const good = JSON.stringify(active())

describe('an answer that is not a clear yes', () => {
  for (const [what, answer, error] of [
    ['active as text', () => active({ active: 'true' }), 'malformed'],
    ['active as a number', () => active({ active: 1 }), 'malformed'],
    ['active null', () => active({ active: null }), 'malformed'],
    ['no active', () => active({ active: undefined }), 'malformed'],
    ['active twice', json(good.replace('{', '{"active":false,')), 'malformed'],
    ['active twice, once escaped', json(good.replace('{', '{"\\u0061ctive":false,')), 'malformed'],
    ['a subject twice', json(good.replace('{', '{"sub":"eve",')), 'malformed'],
    ['a list', json(`[${good}]`), 'malformed'],
    ['a member __proto__', json(good.replace('{', '{"__proto__":{},')), 'malformed'],
    ['nothing', json(''), 'malformed'],
    ['a cut-off answer', json(good.slice(0, -1)), 'malformed'],
    ['HTML', raw(200, { 'content-type': 'text/html' }, good), 'content-type'],
    ['no content type', raw(200, {}, good), 'content-type'],
    ['a signed answer', raw(200, { 'content-type': 'application/token-introspection+jwt' }, good), 'content-type'],
    ['a body that is not UTF-8', json(Buffer.from(good.replace('ada', '\xff'), 'latin1')), 'malformed'],
    ['64 KiB and more', json(good.replace('{', `{"x":"${'x'.repeat(64 * 1024)}",`)), 'too-large'],
    ['64 KiB and more in gzip', raw(200, { 'content-type': 'application/json', 'content-encoding': 'gzip' }, gzipSync(good.replace('{', `{"x":"${'x'.repeat(1024 * 1024)}",`))), 'too-large'],
    ['201', raw(201, { 'content-type': 'application/json' }, good), 'status'],
    ['203', raw(203, { 'content-type': 'application/json' }, good), 'status'],
    ['401', raw(401, { 'content-type': 'application/json' }, good), 'status'],
    ['500', raw(500, { 'content-type': 'application/json' }, good), 'status'],
    ['a dropped connection', () => (res) => res.destroy(), 'network'],
    ['a connection that drops in the body', () => (res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': good.length + 1 })
      res.write(good, () => res.destroy())
    }, 'network']
  ]) {
    test(`${what} is 503 and never a pass`, async () => {
      await run(answer, async ({ ask, guard }) => {
        const { status, json: body, headers } = await ask('opaque')
        assert.deepEqual([status, body.code, headers['retry-after']], [503, 'introspection_unavailable', '1'])
        const [{ introspection, state, keys }] = guard.health().issuers
        assert.equal(introspection.error, error)
        assert.deepEqual([keys, ['ready', 'failing'].includes(state)], [0, true])
        await assert.rejects(guard.tokens.verify('opaque'), { status: 503 })
      })
    })
  }

  test('a redirect is not followed: the token goes nowhere else', async () => {
    const elsewhere = await startEndpoint(() => active())
    for (const status of [301, 302, 303, 307, 308]) {
      await run(raw(status, { location: elsewhere.url }), async ({ ask, guard }) => {
        assert.equal((await ask('opaque')).status, 503)
        assert.equal(guard.health().issuers[0].introspection.error, 'redirect')
      })
    }
    assert.equal(elsewhere.asked.length, 0)
    await elsewhere.stop()
  })
})

test('the question has the token once, the credentials encoded, and no cookie', async () => {
  await run(() => active(), async ({ ask, endpoint }) => {
    assert.equal((await ask('a+b/c_~-.==')).status, 200)
    const [{ method, url, headers, form }] = endpoint.seen
    assert.deepEqual([method, url], ['POST', '/introspect'])
    assert.deepEqual([...form], [['token', 'a+b/c_~-.=='], ['token_type_hint', 'access_token']])
    assert.equal(headers.accept, 'application/json')
    assert.match(headers['content-type'], /^application\/x-www-form-urlencoded/)
    const basic = Buffer.from(headers.authorization.replace('Basic ', ''), 'base64').toString()
    assert.equal(basic, 'orders+api:a%3Asecret+with+%25+and+%2B+of+32+characters')
    assert.equal(headers.cookie, undefined)
  })
})

test('headers may come from a function, and a function that fails asks nobody', async () => {
  let headers = async () => ({ authorization: 'Bearer of-the-api' })
  const endpoint = await startEndpoint(() => active())
  const guard = createGuard({ rateLimit: false, jwt: { issuer: ISSUER, audience: 'api', introspection: { url: endpoint.url, headers: () => headers(), timeout: '200ms' } } })
  assert.equal((await guard.tokens.verify('a')).sub, 'ada')
  assert.equal(endpoint.seen[0].headers.authorization, 'Bearer of-the-api')
  for (const wrong of [() => new Promise(() => {}), () => { throw new Error('s3cret') }, async () => undefined, () => ({ authorization: 5 })]) {
    headers = wrong
    await assert.rejects(guard.tokens.verify(`b${Math.random()}`), (error) => error.status === 503 && !String(error.stack).includes('s3cret'))
  }
  assert.ok(endpoint.asked.every((token) => token === 'a'), 'nobody was asked without credentials')
  await guard.close()
  await endpoint.stop()
})

describe('many requests', () => {
  test('1,000 requests with one token are one question', async () => {
    let release
    const gate = new Promise((resolve) => void (release = resolve))
    await run(async () => (await gate, active()), async ({ endpoint, guard }) => {
      const asking = Array.from({ length: 1000 }, () => guard.check(facts('one')))
      while (endpoint.asked.length === 0 || guard.health().issuers[0].introspection.waiting < 1000) await new Promise((resolve) => setTimeout(resolve, 5))
      release()
      const answers = await Promise.all(asking)
      assert.ok(answers.every(({ allowed, user }) => allowed && user.sub === 'ada'))
      assert.equal(endpoint.count('one'), 1)
      for (const answer of answers) answer.end?.(200)
    }, { introspection: { timeout: '10s' } })
  })

  test('10,000 made-up tokens stay within the bounds, and honest tokens are served meanwhile', async () => {
    let inFlight = 0
    let most = 0
    const slow = async (token) => {
      inFlight += 1
      most = Math.max(most, inFlight)
      if (!token.startsWith('honest')) await new Promise((resolve) => setTimeout(resolve, 20))
      inFlight -= 1
      return token.startsWith('honest') ? active() : { active: false }
    }
    await run(slow, async ({ ask, guard, endpoint }) => {
      assert.equal((await ask('honest')).status, 200)
      const check = (token) => guard.check(facts(token))
      const flood = Array.from({ length: 10_000 }, (_, i) => check(`made-up-${i}`))
      // Cached first; then its answer is too old, and it is asked about before the flood.
      const until = Date.now() + 1500
      let served = 0
      while (Date.now() < until) {
        const { status } = await ask('honest')
        assert.equal(status, 200)
        served += 1
      }
      assert.ok(served > 10 && endpoint.count('honest') > 1)
      const answers = await Promise.all(flood)
      const codes = new Map()
      for (const { allowed, status } of answers) {
        assert.equal(allowed, false)
        codes.set(status, (codes.get(status) ?? 0) + 1)
      }
      assert.ok(codes.get(503) > 5000, 'beyond the bound the answer is 503')
      assert.equal((codes.get(401) ?? 0) + codes.get(503), 10_000)
      assert.ok(most <= 64, `${most} in flight`)
      const { waiting, inFlight: open } = guard.health().issuers[0].introspection
      assert.deepEqual([waiting, open], [0, 0])
    }, { introspection: { cacheFor: '1s' } })
  })

  test('an answer that refuses a token is kept for a moment', async () => {
    await run(() => ({ active: false }), async ({ ask, endpoint }) => {
      for (let i = 0; i < 50; i += 1) assert.equal((await ask('made-up')).json.code, 'token_inactive')
      assert.equal(endpoint.count('made-up'), 1)
    })
  })
})

describe('an endpoint that fails', () => {
  test('known tokens are served until their end, others get 503, and it is not hammered', async () => {
    const warnings = []
    const hear = ({ code, message }) => void warnings.push([code, message])
    process.on('warning', hear)
    let works = true
    const dead = () => (res) => res.writeHead(500).end()
    await run((token) => (works ? (token.startsWith('ok') ? active() : { active: false }) : dead()), async ({ ask, guard, endpoint }) => {
      assert.equal((await ask('ok-known')).status, 200)
      works = false
      for (let i = 0; i < 300; i += 1) {
        const { status, json: body } = await ask(`ok-${i}`)
        assert.deepEqual([status, body.code], [503, 'introspection_unavailable'])
      }
      assert.equal((await ask('ok-known')).status, 200)
      assert.ok(endpoint.asked.length < 50, `${endpoint.asked.length} questions`)
      const [{ state, introspection }] = guard.health().issuers
      assert.deepEqual([state, introspection.state, introspection.error], ['failing', 'failing', 'status'])
      works = true
      const until = Date.now() + 20_000
      while ((await ask('ok-later')).status !== 200) {
        assert.ok(Date.now() < until, 'it never recovers')
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
      assert.equal(guard.health().issuers[0].state, 'ready')
    })
    process.off('warning', hear)
    assert.deepEqual(warnings.map(([code]) => code), ['GUARD_ISSUER_FAILING', 'GUARD_ISSUER_RECOVERED'])
    assert.match(warnings[0][1], /^the issuer 'https:\/\/id\.example' .* status 500/)
    assert.ok(warnings.every(([, message]) => !message.includes('ok-') && !message.includes('secret with')))
  })

  test('tokens that make it fail do not shut the others out', async () => {
    const answer = (token) => (token.startsWith('crafted') ? (res) => res.writeHead(500).end() : token.startsWith('ok') ? active() : { active: false })
    await run(answer, async ({ ask, guard }) => {
      for (let i = 0; i < 100; i += 1) {
        const [crafted, honest] = await Promise.all([ask(`crafted-${i}`), ask(`ok-${i}`)])
        assert.deepEqual([crafted.status, honest.status], [503, 200])
      }
      assert.equal(guard.health().issuers[0].state, 'ready')
    })
  })

  test('a slow endpoint is waited for no longer than `timeout`', async () => {
    const stalled = await startEndpoint(() => () => {})
    const guard = guardFor(stalled.url, { introspection: { timeout: '200ms' } })
    await assert.rejects(guard.tokens.verify('opaque'), { status: 503 })
    assert.equal(guard.health().issuers[0].introspection.error, 'timeout')
    await guard.close()
    await stalled.stop()
  })

  test('an endpoint that sends its answer a byte at a time is not waited for either', async () => {
    const drip = () => (res) => {
      res.writeHead(200, { 'content-type': 'application/json' })
      const timer = setInterval(() => res.write(' '), 20)
      res.on('close', () => clearInterval(timer))
    }
    const endpoint = await startEndpoint(drip)
    const guard = guardFor(endpoint.url, { introspection: { timeout: '200ms' } })
    await assert.rejects(guard.tokens.verify('opaque'), { status: 503 })
    await guard.close()
    await endpoint.stop()
  })

  test('nobody listens: 503 at once', async () => {
    const gone = await startEndpoint()
    await gone.stop()
    const guard = guardFor(gone.url)
    await assert.rejects(guard.tokens.verify('opaque'), { status: 503 })
    assert.equal(guard.health().issuers[0].introspection.error, 'network')
    await guard.close()
  })

  test('a connection that the endpoint closed while it was idle costs no request', async () => {
    let sockets = 0
    const server = http.createServer((req, res) => {
      req.resume()
      res.setHeader('content-type', 'application/json')
      res.end(JSON.stringify(active()), () => setImmediate(() => req.socket.destroy()))
    })
    server.on('connection', () => void (sockets += 1))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const guard = guardFor(`http://127.0.0.1:${server.address().port}/`)
    for (let i = 0; i < 50; i += 1) assert.equal((await guard.tokens.verify(`t${i}`)).sub, 'ada')
    assert.ok(sockets > 1)
    await guard.close()
    server.close()
  })

  test('one that says yes to a made-up token is believed no more', async () => {
    let first = true
    const answer = () => {
      if (!first) return active()
      first = false
      return (res) => res.writeHead(500).end()
    }
    await run(answer, async ({ ask, guard, endpoint }) => {
      assert.equal((await ask('opaque')).status, 503)
      const until = Date.now() + 5000
      while (endpoint.asked.length < 2) assert.ok(Date.now() < until && (await new Promise((resolve) => setTimeout(resolve, 10)), true))
      await new Promise((resolve) => setTimeout(resolve, 50))
      assert.equal((await ask('another')).status, 503)
      assert.equal(guard.health().issuers[0].introspection.error, 'credulous')
    })
  })
})

describe('waiting requests', () => {
  test('an answer that changes is followed', async () => {
    const answers = [active(), { active: false }, active({ sub: 'eve' })]
    let at = 0
    await run(() => answers[at], async ({ ask }) => {
      for (const [i, wanted] of [200, 401, 200].entries()) {
        at = i
        await new Promise((resolve) => setTimeout(resolve, i === 0 ? 0 : 1100))
        assert.equal((await ask('opaque')).status, wanted)
      }
      assert.equal((await ask('opaque')).json.sub, 'eve')
    }, { introspection: { cacheFor: '1s' } })
  })

  for (const [who, validatorOf] of [
    ['the same guard', (guard) => guard],
    ['another guard', () => createGuard({ rateLimit: false })],
    ['a guard of another copy of the package', () => loadShim().createGuard({ rateLimit: false })]
  ]) {
    test(`a token that ends while its body trickles into ${who} is asked about again, and refused`, async () => {
      let ended = false
      const endpoint = await startEndpoint(() => (ended ? { active: false } : active()))
      const guard = guardFor(endpoint.url, { introspection: { cacheFor: '1s' } })
      const validator = validatorOf(guard)
      let ran = 0
      const app = express().use(guard.securityStack({ payload: false })).post('/', validator.validate({ body: { type: 'object' } }), (req, res) => {
        ran += 1
        res.json({ body: req.body })
      })
      await serve(app, async (_, { port }) => {
        const slow = (between) => new Promise((resolve, reject) => {
          const headers = { ...bearer('opaque'), 'content-type': 'application/json', 'content-length': 2 }
          const request = http.request({ port, host: '127.0.0.1', method: 'POST', headers }, (res) => {
            res.resume()
            res.on('end', () => resolve(res.statusCode))
          })
          request.on('error', reject)
          request.write('{')
          setTimeout(() => {
            between()
            request.end('}')
          }, 1300)
        })
        assert.deepEqual([await slow(() => {}), ran], [200, 1])
        assert.deepEqual([await slow(() => void (ended = true)), ran], [401, 1])
      })
      assert.ok(endpoint.count('opaque') >= 3)
      for (const open of new Set([guard, validator])) await open.close()
      await endpoint.stop()
    })
  }

  test('close() ends questions in flight, and the requests that wait for them', async () => {
    const closed = []
    const stalled = await startEndpoint((_, req) => {
      req.socket.on('close', () => closed.push(true))
      return () => {}
    })
    const guard = guardFor(stalled.url, { introspection: { timeout: '10s' } })
    const verified = guard.tokens.verify('opaque').then(() => 'passed', ({ status, code }) => status ?? code)
    while (stalled.asked.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
    await guard.close()
    assert.notEqual(await verified, 'passed')
    const until = Date.now() + 5000
    while (closed.length === 0) assert.ok(Date.now() < until && (await new Promise((resolve) => setTimeout(resolve, 10)), true))
    await stalled.stop()
  })

  test('a lenient cookie whose token is inactive counts as none; a silent endpoint is still 503', async () => {
    const jwt = { from: ['header', { cookie: '__Host-token' }], optional: 'lenient' }
    let answer = { active: false }
    await run(() => answer, async ({ ask }) => {
      const cookie = (token) => ({ headers: { cookie: `__Host-token=${token}` } })
      const dead = await ask('', cookie('dead'))
      assert.deepEqual([dead.status, dead.json.sub], [200, null])
      assert.match(dead.headers['set-cookie'][0], /Max-Age=0/)
      answer = (res) => res.writeHead(500).end()
      assert.equal((await ask('', cookie('other'))).status, 503)
      assert.equal((await ask('', cookie('not a token!'))).status, 200, 'it is none')
    }, jwt)
  })
})

test('neither token nor secret is in an error, an event, a warning or health()', async () => {
  const events = []
  const warnings = []
  const hear = (warning) => void warnings.push(String(warning.stack))
  process.on('warning', hear)
  const answer = (token) => (token === 'the-token-2' ? (res) => res.writeHead(500).end('the-answer') : { active: false, note: 'the-answer' })
  const seen = await run(answer, async ({ ask, guard }) => {
    const texts = []
    for (const token of ['the-token-1', 'the-token-2']) {
      texts.push((await ask(token)).text)
      texts.push(await guard.tokens.verify(token).catch((error) => JSON.stringify(error) + error.stack))
    }
    return [...texts, JSON.stringify(guard.health())]
  }, {}, { log: (event) => events.push(JSON.stringify(event)) })
  process.off('warning', hear)
  for (const text of [...seen, ...events, ...warnings]) assert.doesNotMatch(text, /the-token|the-answer|secret with|a%3Asecret/)
  assert.ok(events.some((event) => event.includes('introspection_failing')))
})

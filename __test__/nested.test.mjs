// Several stacks and layers of one guard on one request: the innermost decision about the response
// wins.

import test from 'node:test'
import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { once } from 'node:events'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'

const APP = 'https://app.example.com'
const PARTNER = 'https://partner.example.com'
const ADMIN = 'https://admin.example.com'
const WIDE = { origins: [APP, PARTNER, ADMIN], credentials: true, exposeHeaders: ['x-total'] }
const NARROW = { origins: [ADMIN], credentials: true }
// A proxy says whether the client came over TLS.
const SECURE = { 'x-forwarded-proto': 'https' }

const unlimited = (more) => createGuard({ rateLimit: false, ...more })
const from = (origin, more) => ({ headers: { origin, ...more } })
const preflight = (origin, path = '/') => ({ method: 'OPTIONS', path, headers: { origin, 'access-control-request-method': 'PUT' } })

/** The CORS headers of an answer, without `Access-Control-`. */
const corsOf = ({ headers }) =>
  Object.fromEntries(Object.entries(headers).flatMap(([name, value]) => (name.startsWith('access-control-') ? [[name.slice(15), value]] : [])))
const READABLE = { 'expose-headers': 'RateLimit,Retry-After' }
const YES = (origin) => ({ 'allow-origin': origin, 'allow-credentials': 'true', ...READABLE })

function chain(handlers) {
  return (req, res) => {
    const next = (i) => (error) => (error ? res.writeHead(500).end() : handlers[i]?.(req, res, next(i + 1)))
    next(0)()
  }
}

/** How the same handlers are served, in their order: `[name, listenerOf(handlers)]`. */
const hosts = [
  ...expresses.map(([name, express]) => [name, (handlers) => express().use(...handlers)]),
  ['node:http', chain]
]

const ok = (req, res) => res.end('ok')

for (const [host, listen] of hosts) {
  const served = (handlers, use) => serve(listen([...handlers.flat(), ok]), use)

  test(`${host}: a narrower CORS policy takes away what a wider one allowed`, async () => {
    const guard = unlimited({ cors: WIDE })
    for (const inner of [guard.cors(NARROW), guard.securityStack({ cors: NARROW })]) {
      await served([guard.securityStack(), inner], async (send) => {
        for (const origin of [PARTNER, APP, 'https://evil.example', 'null']) {
          const answer = await send(from(origin))
          assert.equal(answer.status, 200)
          assert.deepEqual(corsOf(answer), {}, origin)
          assert.match(answer.headers.vary, /\bOrigin\b/)
        }
        assert.deepEqual(corsOf(await send(from(ADMIN))), YES(ADMIN), 'and nothing that only the wider one exposes')
        assert.match((await send()).headers.vary, /\bOrigin\b/)
      })
    }
  })

  test(`${host}: a stack without \`cors\` behind a narrower policy does not widen it again`, async () => {
    const guard = unlimited({ cors: WIDE })
    const wide = [guard.securityStack(), guard.securityStack({ query: { type: 'object' } }), guard.cors(), guard.rateLimit({ name: 'few', limit: 100, window: '60s' }), guard.validate({ query: { type: 'object' } })]
    for (const outer of [guard.cors(NARROW), guard.securityStack({ cors: NARROW })]) {
      for (const inner of [...wide.map((one) => [one]), wide]) {
        await served([outer, ...inner], async (send) => {
          assert.deepEqual(corsOf(await send(from(PARTNER))), {})
          assert.deepEqual(corsOf(await send(from(ADMIN))), YES(ADMIN))
          // The stack that runs first answers.
          assert.equal((await send(preflight(PARTNER))).status, 403)
        })
      }
    }
  })

  test(`${host}: the later one of two policies counts, whichever is wider`, async () => {
    const guard = unlimited()
    await served([guard.securityStack({ cors: NARROW }), guard.cors(WIDE)], async (send) => {
      assert.deepEqual(corsOf(await send(from(PARTNER))), { ...YES(PARTNER), 'expose-headers': 'x-total' })
    })
    await served([guard.cors(WIDE), guard.cors(NARROW), guard.cors({ origins: [APP] })], async (send) => {
      assert.deepEqual(corsOf(await send(from(APP))), { 'allow-origin': APP, ...READABLE })
      assert.deepEqual(corsOf(await send(from(ADMIN))), {})
    })
  })

  test(`${host}: every page behind a stack with credentials gets no credentials, and the other way round`, async () => {
    const guard = unlimited({ cors: WIDE })
    await served([guard.securityStack(), guard.cors({ origins: ['*'] })], async (send) => {
      assert.deepEqual(corsOf(await send(from(PARTNER))), { 'allow-origin': '*', ...READABLE })
      assert.deepEqual(corsOf(await send()), { 'allow-origin': '*', ...READABLE })
    })
    await served([guard.cors({ origins: ['*'] }), guard.cors(NARROW)], async (send) => {
      assert.deepEqual(corsOf(await send(from(PARTNER))), {})
      assert.deepEqual(corsOf(await send(from(ADMIN))), YES(ADMIN))
      assert.deepEqual(corsOf(await send()), {})
    })
  })

  test(`${host}: \`cors: false\` takes the headers away, and a stack behind it leaves it at that`, async () => {
    const guard = unlimited({ cors: WIDE })
    await served([guard.securityStack(), guard.securityStack({ cors: false })], async (send) => {
      assert.deepEqual(corsOf(await send(from(APP))), {})
    })
    await served([guard.securityStack({ cors: false }), guard.securityStack(), guard.securityStack({ query: { type: 'object' } })], async (send) => {
      assert.deepEqual(corsOf(await send(from(APP))), {})
      const answer = await send(preflight(APP))
      assert.deepEqual([answer.status, corsOf(answer)], [200, {}], 'no preflight: the handler has it')
    })
    await served([guard.securityStack({ cors: false }), guard.cors(NARROW)], async (send) => {
      assert.deepEqual(corsOf(await send(from(ADMIN))), YES(ADMIN))
      assert.equal((await send(preflight(ADMIN))).status, 204)
    })
  })

  test(`${host}: a function decides about origins once, and a failure leaves nothing of an outer yes`, async () => {
    const asked = []
    const guard = unlimited({ cors: { origins: (origin) => (asked.push(origin), true), credentials: true } })
    await served([guard.securityStack(), guard.securityStack({ query: { type: 'object' } })], async (send) => {
      assert.deepEqual(corsOf(await send(from(APP))), YES(APP))
      assert.deepEqual(asked, [APP])
    })
    const bad = [() => { throw new Error('on purpose') }, async () => { throw new Error('on purpose') }]
    for (const origins of bad) {
      await served([guard.securityStack(), guard.cors({ origins })], async (send) => {
        const answer = await send(from(APP))
        assert.deepEqual([answer.status, corsOf(answer)], [500, {}])
      })
    }
    await served([guard.securityStack(), guard.cors({ origins: async () => false })], async (send) => {
      assert.deepEqual(corsOf(await send(from(APP))), {})
    })
  })

  test(`${host}: a refusal has the headers of the innermost decision`, async () => {
    const guard = unlimited({ cors: WIDE })
    const schema = { type: 'object', required: ['q'], properties: { q: { type: 'string' } } }
    await served([guard.securityStack(), guard.headers({ csp: false }), guard.securityStack({ cors: NARROW, query: schema })], async (send) => {
      const answer = await send(from(PARTNER))
      assert.deepEqual([answer.status, corsOf(answer), answer.headers['content-security-policy']], [422, {}, undefined])
      assert.deepEqual(corsOf(await send(from(ADMIN))), YES(ADMIN))
    })
  })

  test(`${host}: what the application sets, and what another guard sets, stays`, async () => {
    const guard = unlimited({ cors: WIDE })
    const other = unlimited({ cors: { origins: [PARTNER], exposeHeaders: [] }, headers: { coep: 'require-corp', cacheControl: 'private' } })
    const own = (req, res, next) => (res.setHeader('Access-Control-Allow-Private-Network', 'true'), res.setHeader('X-Own', '1'), next())
    await served([guard.securityStack(), own, guard.cors(NARROW)], async (send) => {
      const answer = await send(from(PARTNER))
      assert.deepEqual(corsOf(answer), { 'allow-private-network': 'true' })
      assert.equal(answer.headers['x-own'], '1')
    })
    await served([other.securityStack(), guard.securityStack(), guard.headers({ csp: false }), guard.securityStack({ cors: NARROW })], async (send) => {
      const { headers } = await send(from(PARTNER))
      assert.equal(headers['cross-origin-embedder-policy'], 'require-corp')
      assert.equal(headers['cache-control'], 'no-store')
      // One name has one value, and both guards had set it to the same.
      assert.equal(headers['access-control-allow-origin'], undefined)
    })
    await served([guard.securityStack(), other.securityStack()], async (send) => {
      const answer = await send(from(PARTNER))
      assert.equal(answer.headers['cache-control'], 'private')
      assert.deepEqual(corsOf(answer), { ...YES(PARTNER), 'expose-headers': 'x-total' })
    })
  })

  test(`${host}: response headers that an inner layer leaves out leave the answer`, async () => {
    const guard = unlimited({ trustedProxies: ['127.0.0.1'], headers: { coep: 'require-corp', reportingEndpoints: { main: 'https://reports.example.com/' } } })
    const inner = guard.headers({ csp: false, hsts: false, frameOptions: false, referrerPolicy: false, corp: 'cross-origin', permissionsPolicy: false, cacheControl: false })
    await served([guard.securityStack(), inner], async (send) => {
      const { headers } = await send({ headers: SECURE })
      for (const name of ['content-security-policy', 'strict-transport-security', 'x-frame-options', 'referrer-policy', 'permissions-policy', 'cache-control', 'cross-origin-embedder-policy', 'reporting-endpoints']) {
        assert.equal(headers[name], undefined, name)
      }
      assert.equal(headers['cross-origin-resource-policy'], 'cross-origin')
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.equal(headers['x-powered-by'], undefined)
    })
    await served([guard.headers({ hsts: false, cacheControl: 'private' }), guard.headers({ hsts: { maxAge: 60 } })], async (send) => {
      const { headers } = await send({ headers: SECURE })
      assert.equal(headers['strict-transport-security'], 'max-age=60; includeSubDomains')
      assert.equal(headers['cache-control'], 'no-store')
      assert.equal((await send()).headers['strict-transport-security'], undefined)
    })
  })

  test(`${host}: stacks and layers that say nothing of headers change none`, async () => {
    const guard = unlimited({ trustedProxies: ['127.0.0.1'] })
    const quiet = [guard.securityStack(), guard.securityStack({ query: { type: 'object' } }), guard.headers(), guard.rateLimit({ name: 'few', limit: 100, window: '60s' }), guard.validate({ query: { type: 'object' } })]
    const decided = guard.headers({ csp: false, hsts: { maxAge: 60 }, cacheControl: 'max-age=60, private', coep: 'require-corp' })
    for (const handlers of [[decided, ...quiet], [guard.securityStack(), decided, ...quiet.slice(1)]]) {
      await served(handlers, async (send) => {
        const { headers } = await send({ headers: SECURE })
        assert.equal(headers['content-security-policy'], undefined)
        assert.equal(headers['strict-transport-security'], 'max-age=60; includeSubDomains')
        assert.equal(headers['cache-control'], 'max-age=60, private')
        assert.equal(headers['cross-origin-embedder-policy'], 'require-corp')
        assert.equal(headers['x-powered-by'], undefined)
      })
    }
    // What the application has changed in between stays as well.
    const own = (req, res, next) => (res.setHeader('Cache-Control', 'public'), res.removeHeader('Referrer-Policy'), next())
    await served([guard.securityStack(), own, ...quiet.slice(1)], async (send) => {
      const { headers } = await send()
      assert.equal(headers['cache-control'], 'public')
      assert.equal(headers['referrer-policy'], undefined)
    })
  })

  test(`${host}: a policy that reports takes the place of one that blocks, and the other way round`, async () => {
    const guard = unlimited()
    const names = ['content-security-policy', 'content-security-policy-report-only']
    const check = async (handlers, wanted) =>
      served(handlers, async (send) => {
        const { headers } = await send()
        assert.deepEqual(names.map((name) => headers[name] !== undefined), wanted)
      })
    const reporting = guard.headers({ csp: { reportOnly: true, directives: { 'report-to': ['main'] } }, reportingEndpoints: { main: 'https://reports.example.com/' } })
    await check([guard.securityStack(), reporting], [false, true])
    await check([reporting, guard.headers({ csp: {} })], [true, false])
    await check([reporting, guard.securityStack()], [false, true])
  })

  test(`${host}: one nonce holds for a response, and req.guard has that of the header that leaves`, async () => {
    const guard = unlimited({ profile: 'web', headers: { csp: { nonce: true } } })
    const seen = []
    const note = (req, res, next) => (seen.push(req.guard.nonce), next())
    const noncesOf = ({ headers }) => [...(headers['content-security-policy'] ?? '').matchAll(/'nonce-([^']+)'/g)].map(([, nonce]) => nonce)
    const both = { csp: { nonce: true, directives: { 'img-src': ['https://images.example.com'] } } }
    await served([guard.securityStack(), note, guard.securityStack({ query: { type: 'object' } }), note, guard.headers(both), note], async (send) => {
      const first = await send()
      assert.match(first.headers['content-security-policy'], /img-src https:\/\/images\.example\.com/)
      const [one, ...others] = seen.splice(0)
      assert.deepEqual(others, [one, one])
      assert.deepEqual(noncesOf(first), [one, one])
      assert.notEqual(noncesOf(await send())[0], one)
    })
    seen.length = 0
    for (const csp of [false, {}]) {
      await served([guard.securityStack(), guard.headers({ csp }), note], async (send) => {
        assert.deepEqual(noncesOf(await send()), [])
        assert.deepEqual(seen.splice(0), [undefined])
      })
    }
  })

  test(`${host}: the headers that are taken off late are those of the innermost decision`, async () => {
    const guard = unlimited({ headers: { remove: ['Server', 'Via'] } })
    const end = (req, res) => res.writeHead(200, { Server: 'x', Via: 'y', ETag: 'z' }).end('ok')
    for (const [handlers, wanted] of [
      [[guard.securityStack()], ['etag']],
      [[guard.securityStack(), guard.headers({ remove: ['ETag'] })], ['server', 'via']],
      [[guard.securityStack(), guard.headers({})], ['etag', 'server', 'via']],
      [[guard.headers({}), guard.securityStack()], ['etag', 'server', 'via']],
      [[guard.headers({}), guard.headers({ remove: ['Via'] }), guard.securityStack()], ['etag', 'server']]
    ]) {
      await served([...handlers, end], async (send) => {
        const { headers } = await send()
        assert.deepEqual(['etag', 'server', 'via'].filter((name) => headers[name] !== undefined), wanted)
      })
    }
    // A header that was taken off outside and is sent inside.
    await served([unlimited({ headers: { remove: ['Reporting-Endpoints'] } })].flatMap((one) => [one.securityStack(), one.headers({ reportingEndpoints: { main: 'https://reports.example.com/' } })]), async (send) => {
      assert.match((await send()).headers['reporting-endpoints'], /main/)
    })
  })
}

test('HTTP/2: the innermost decision wins there, too', async () => {
  const guard = unlimited({ cors: WIDE, headers: { remove: ['Server'] } })
  const late = (req, res) => (res.setHeader('Server', 'x'), res.end('ok'))
  const server = http2.createServer(chain([guard.securityStack(), guard.headers({ csp: false }), guard.cors(NARROW), guard.securityStack({ query: { type: 'object' } }), late].flat()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = http2.connect(`http://127.0.0.1:${server.address().port}`)
  try {
    for (const [origin, allowed] of [[PARTNER, undefined], [ADMIN, ADMIN]]) {
      const stream = client.request({ ':path': '/', origin })
      const [headers] = await once(stream, 'response')
      stream.resume()
      assert.equal(headers['access-control-allow-origin'], allowed)
      assert.equal(headers['access-control-allow-credentials'], allowed && 'true')
      assert.equal(headers['content-security-policy'], undefined)
      assert.equal(headers.server, 'x')
    }
  } finally {
    client.destroy()
    server.close()
  }
})

test('a response whose methods somebody has replaced is told of what is taken away', async () => {
  const guard = unlimited({ cors: WIDE })
  const protect = [guard.securityStack(), guard.cors(NARROW)].flat()
  const removed = []
  const listener = chain([
    (req, res, next) => {
      const { setHeader, removeHeader } = res
      res.setHeader = function (...args) {
        return setHeader.apply(this, args)
      }
      res.removeHeader = function (name) {
        removed.push(name.toLowerCase())
        return removeHeader.call(this, name)
      }
      next()
    },
    ...protect,
    ok
  ])
  await serve(listener, async (send) => {
    assert.deepEqual(corsOf(await send(from(PARTNER))), {})
    assert.ok(removed.includes('access-control-allow-origin') && removed.includes('access-control-allow-credentials'))
  })
})

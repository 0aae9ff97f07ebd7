// Several copies of the package in one thread: an emptied `require.cache`, a bundler that inlines
// the shim, a package manager that installs it once for each set of peers, an addon at two paths.

import test from 'node:test'
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { copyFileSync, linkSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import * as first from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { loadCopy, loadShim, loadWithAddon, packageFolder } from './helpers/copies.mjs'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { makeKey, startIssuer } from './helpers/issuer.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const KEY = '192.0.2.1'

const copies = {
  'the shim twice over one addon': () => loadShim(),
  'an emptied require.cache': () => loadCopy(),
  'a hard link to the addon': (t) => loadWithAddon(t, linkSync),
  'a copy of the addon': (t) => loadWithAddon(t, copyFileSync)
}

const limit = (name, more) => ({ name, limit: 1000, window: '300d', algorithm: 'fixed-window', exact: true, ...more })

for (const [name, load] of Object.entries(copies)) {
  test(`${name}: requests and calls over Redis are answered in both`, { timeout: 60_000 }, async (t) => {
    const redis = await startRedis()
    t.after(() => redis.stop())
    const second = load(t)
    assert.notEqual(second.createGuard, first.createGuard)
    const store = { redis: { url: redis.url, timeout: '5s' } }
    const guards = [first, second, first].map(({ createGuard }, i) => createGuard({ store, rateLimit: limit(`l${i}`), jwt: { ...jwt, optional: true } }))
    t.after(() => Promise.all(guards.map((guard) => guard.close())))
    await Promise.all(guards.map((guard) => guard.ready()))
    const handlers = guards.map((guard) => guard.securityStack())
    await serve((req, res) => handlers[Number(req.url.slice(1))](req, res, () => res.end('passed')), async (send) => {
      const sent = Array.from({ length: 60 }, (_, i) => send({ path: `/${i % 3}` }))
      const calls = guards.flatMap((guard, i) => Array.from({ length: 10 }, () => guard.limits.consume(`l${i}`, KEY)))
      const revoked = guards.map((guard) => guard.revoke.subject('nobody'))
      assert.deepEqual((await Promise.all(sent)).map(({ text }) => text), Array.from({ length: 60 }, () => 'passed'))
      assert.deepEqual((await Promise.all(calls)).map(({ allowed }) => allowed), Array.from({ length: 30 }, () => true))
      await Promise.all(revoked)
      for (const [i, guard] of guards.entries()) {
        assert.equal((await guard.limits.get(`l${i}`, '127.0.0.1')).remaining, 980)
        assert.equal((await guard.limits.get(`l${i}`, KEY)).remaining, 990)
      }
    })
  })

  test(`${name}: each asks its own issuer for a key that it does not know`, { timeout: 60_000 }, async (t) => {
    const second = load(t)
    const issuers = await Promise.all([startIssuer(), startIssuer()])
    t.after(() => Promise.all(issuers.map((issuer) => issuer.stop())))
    for (const issuer of issuers) issuer.publish('/keys', { keys: [makeKey('old').jwk] })
    const guards = [first, second].map(({ createGuard }, i) =>
      createGuard({ rateLimit: false, jwt: { issuer: issuers[i].url, audience: 'api', algorithms: ['ES256'], jwks: `${issuers[i].url}/keys` } })
    )
    t.after(() => Promise.all(guards.map((guard) => guard.close())))
    await Promise.all(guards.map((guard) => guard.ready()))
    const key = makeKey('new')
    for (const issuer of issuers) issuer.publish('/keys', { keys: [key.jwk] })
    // Both ask in one tick.
    const verified = await Promise.all(guards.map((guard, i) => guard.tokens.verify(key.token({ iss: issuers[i].url, aud: 'api' }))))
    assert.deepEqual(verified.map(({ sub }) => sub), ['ada', 'ada'])
  })

  for (const [express, app] of expresses) {
    test(`${name}, ${express}: guards of both on one request share its body, its proofs and \`req.guard\``, async (t) => {
      const second = load(t)
      const store = { memory: { shared: `copies ${name} ${express}` } }
      const one = first.createGuard({ store, jwt, profile: 'web', headers: { csp: { nonce: true } }, rateLimit: { name: 'one', limit: 100, window: '1h' } })
      const two = second.createGuard({ store, jwt, headers: false, rateLimit: { name: 'two', limit: 100, window: '1h' } })
      const api = app()
      let between
      api.use(one.securityStack(), (req, res, next) => {
        between = req.guard
        next()
      })
      api.use(two.securityStack(), two.validate({ body: { type: 'object', required: ['n'] } }))
      api.post('/', (req, res) => {
        assert.equal(req.guard, between)
        res.json({ body: req.body, limits: req.guard.limits.map((state) => state.name), nonce: typeof req.guard.nonce, bound: req.guard.token.bound })
      })
      const client = dpopClient()
      const { accessToken: token } = await one.tokens.issue({ sub: 'ada', cnf: { jkt: client.jkt } })
      const url = 'http://api.example.com/'
      const headers = { host: 'api.example.com', ...dpop(token, client.proof({ method: 'POST', url, token })) }
      const warned = []
      const listen = (warning) => warned.push(warning.code)
      process.on('warning', listen)
      t.after(() => process.off('warning', listen))
      await serve(api, async (send) => {
        const answer = await send(json({ n: 1 }, { headers }))
        assert.equal(answer.status, 200, answer.text)
        assert.deepEqual(answer.json, { body: { n: 1 }, limits: ['one', 'two'], nonce: 'string', bound: 'dpop' })
        assert.equal((await send(json({ n: 1 }, { headers }))).json.code, 'dpop_replayed')
        const wrong = { host: 'api.example.com', ...dpop(token, client.proof({ method: 'POST', url, token })) }
        assert.equal((await send(json({}, { headers: wrong }))).json.code, 'validation_failed')
      })
      assert.ok(!warned.includes('GUARD_BODY_PARSED'), 'the bytes were there')
    })

    test(`${name}, ${express}: what one refuses is not judged by the other's schema of answers`, async (t) => {
      const second = load(t)
      const one = first.createGuard({ rateLimit: false })
      const two = second.createGuard({ rateLimit: false, jwt })
      const api = app()
      api.get('/', one.validate({ response: { 200: { type: 'object' }, default: { type: 'object', required: ['fine'] } }, onResponse: 'fail' }), two.securityStack(), (req, res) => res.json({}))
      await serve(api, async (send) => {
        const answer = await send({ headers: bearer('x') })
        assert.deepEqual([answer.status, answer.json.code], [401, 'token_malformed'])
      })
    })

    test(`${name}, ${express}: each gives its own places back`, async (t) => {
      const second = load(t)
      const guards = [first, second].map(({ createGuard }, i) => createGuard({ rateLimit: { name: `g${i}`, concurrent: 1 } }))
      const api = app()
      api.use(guards.map((guard) => guard.securityStack()), (req, res) => res.end('passed'))
      await serve(api, async (send) => {
        for (let i = 0; i < 3; i += 1) {
          assert.equal((await send()).text, 'passed')
          for (const [g, guard] of guards.entries()) {
            await waitUntil('its place is free', async () => (await guard.limits.get(`g${g}`, '127.0.0.1')).remaining === 1)
          }
        }
      })
    })
  }
}

test('a version that keeps other things on a request is told apart, and warned of once', async (t) => {
  const warned = []
  const listen = (warning) => warned.push(warning.code)
  process.on('warning', listen)
  t.after(() => process.off('warning', listen))
  const [protect] = first.createGuard({ rateLimit: false }).securityStack()
  const earlier = Object.create({ [Symbol.for('keepstone.format')]: 0 })
  const listener = (req, res) => {
    req.guard = earlier
    protect(req, res, () => res.end(String(req.guard !== earlier && typeof req.guard.id)))
  }
  await serve(listener, async (send) => {
    for (let i = 0; i < 2; i += 1) assert.equal((await send()).text, 'string')
  })
  await waitUntil('it is warned', () => warned.length > 0)
  assert.deepEqual(warned, ['GUARD_TWO_VERSIONS'])
})

test('a worker that has two copies and is terminated while both wait takes nothing with it', { timeout: 60_000 }, async (t) => {
  const redis = await startRedis()
  t.after(() => redis.stop())
  const program = `
const { parentPort } = require('node:worker_threads')
const required = require('node:module').createRequire(${JSON.stringify(`${packageFolder}/x.js`)})
const one = required('./index.js')
for (const id of Object.keys(required.cache)) delete required.cache[id]
const two = required('./index.js')
const config = { store: { redis: ${JSON.stringify(redis.url)} }, rateLimit: { name: 'api', limit: 1e6, window: '1h', exact: true } }
const guards = [one, two].map(({ createGuard }) => createGuard(config))
let answered = 0
const ask = (guard) => guard.limits.consume('api', '${KEY}').then(() => { if ((answered += 1) === 200) parentPort.postMessage('up') }, () => {})
setInterval(() => { for (const guard of guards) for (let i = 0; i < 20; i += 1) ask(guard) }, 1)`
  for (let i = 0; i < 5; i += 1) {
    const worker = new Worker(program, { eval: true })
    await once(worker, 'message')
    await worker.terminate()
  }
  const clients = async () => Number((await redis.info('clients')).connected_clients)
  // Its guards went with it, and with them their connections; one is the helper's own.
  await waitUntil('their connections are closed', async () => (await clients()) <= 1)
  const guard = first.createGuard({ store: { redis: redis.url }, rateLimit: limit('api') })
  await guard.ready()
  assert.equal((await guard.limits.consume('api', KEY)).allowed, true)
  await guard.close()
})

// The event of a decision says which layer decided, and how long the guard took, on every host.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { bearer, json } from './helpers/http.mjs'

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const events = []
    const anyone = { authenticate: { optional: true }, policy: false }
    const guard = createGuard({
      jwt,
      rateLimit: { name: 'few', limit: 1, window: '1h', paths: ['/limited'] },
      policy: { policies: { 'a.rego': 'package a\nimport rego.v1\ndefault allow := false\n' }, query: 'data.a.allow' },
      csrf: {},
      clients: {},
      log: (event) => events.push(event)
    })
    const routes = [
      ['get', '/open', anyone, () => [200, { durationMs: events.at(-1).durationMs }]],
      ['get', '/limited', anyone, () => [200, {}]],
      ['get', '/admin', { require: { role: 'admin' }, policy: false }, () => [200, {}]],
      ['get', '/denied', { authenticate: { optional: true } }, () => [200, {}]],
      ['get', '/none', { policy: false }, () => [200, {}]],
      ['post', '/orders', { ...anyone, body: { type: 'object', required: ['a'] } }, () => [201, {}]],
      ['get', '/broken', { ...anyone, rateLimit: { name: 'broken', limit: 5, window: '1h', key: () => '' } }, () => [200, {}]]
    ]
    const ask = serveRoutes(start, guard, routes)
    const event = async (path, options = {}) => {
      const before = events.length
      const { status } = await ask(path, options)
      assert.equal(events.length, before + 1)
      const { outcome, layer, durationMs } = events.at(-1)
      assert.ok(Number.isFinite(durationMs) && durationMs >= 0, String(durationMs))
      return [status, outcome, layer]
    }

    test('each layer that refuses says its name', async () => {
      const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
      const refusals = [
        [400, 'request', '/a//b'],
        [403, 'csrf', '/orders', { method: 'POST', ...json({ a: 1 }, { headers: { cookie: 'a=b', origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } }) }],
        [401, 'authenticate', '/none'],
        [401, 'authenticate', '/none', { headers: bearer('x') }],
        [403, 'require', '/admin', { headers: bearer(accessToken) }],
        [403, 'policy', '/denied'],
        [422, 'payload', '/orders', { method: 'POST', ...json({}) }],
        [400, 'payload', '/orders', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{' }],
        [415, 'payload', '/orders', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'a' }],
        [500, undefined, '/broken']
      ]
      for (const [status, layer, path, options] of refusals) {
        assert.deepEqual(await event(path, options), [status, 'refuse', layer], path)
      }
      await event('/limited')
      assert.deepEqual(await event('/limited'), [429, 'refuse', 'rateLimit'])
      await guard.limits.block('127.0.0.1', '1h')
      assert.deepEqual(await event('/open'), [403, 'refuse', 'clients'])
      await guard.limits.unblock('127.0.0.1')
    })
    test('a request that passes has no layer, and its time is told before its handler runs', async () => {
      assert.deepEqual(await event('/open'), [200, 'allow', undefined])
      assert.equal((await ask('/open')).json.durationMs, events.at(-1).durationMs)
    })
  })
}

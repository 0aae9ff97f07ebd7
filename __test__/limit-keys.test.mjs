// Keys of limits: functions, lists with functions, promises, and `guard.clientKey`.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import express from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone as middleware } from 'keepstone/hono'
import { send as sendTo, serve } from './helpers/http.mjs'
import { waitUntil } from './helpers/servers.mjs'

const limit = (key, more) => ({ name: 'api', limit: 2, window: '1h', key, ...more })

function api(guard) {
  const app = express()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.json(guard.clientKey(req)))
  return app
}

/** How many of these requests pass, by their status. */
async function statuses(send, headers) {
  const found = []
  for (const one of headers) found.push((await send({ headers: one })).status)
  return found
}

const from = (address, more) => ({ 'x-forwarded-for': address, ...more })

test('a function that falls back to the client counts one IPv6 network once', async () => {
  const guard = createGuard({ trustedProxies: ['loopback'], rateLimit: limit((req) => req.headers['x-api-key'] ?? guard.clientKey(req)) })
  await serve(api(guard), async (send) => {
    const ask = async (address) => (await send({ headers: from(address) })).json
    assert.equal(await ask('2001:db8::1'), '2001:db8::/56')
    assert.equal(await ask('2001:db8:0:7::2'), '2001:db8::/56')
    assert.deepEqual(await statuses(send, [from('2001:db8::3'), from('2001:db8:0:ff::4'), from('2001:db8:0:100::1')]), [429, 429, 200])
    assert.equal(await ask('::ffff:203.0.113.7'), '203.0.113.7')
    assert.deepEqual(await statuses(send, [from('203.0.113.7'), from('::ffff:cb00:7107'), from('[::ffff:203.0.113.7]:80')]), [200, 429, 429])
    assert.deepEqual(await statuses(send, [from('203.0.113.7', { 'x-api-key': 'a' })]), [200])
  })
  for (const odd of [undefined, null, 'x', {}, { guard: { client: '192.0.2.1' } }]) {
    assert.throws(() => guard.clientKey(odd), { code: 'ERR_INVALID_ARGUMENT', path: 'req' })
  }
})

test('ipv6Prefix is the width of an IPv6 client wherever it goes by its address', async () => {
  const cases = [
    [48, '2001:db8::1', '2001:db8:0:ffff::2', '2001:db8:1::1'],
    [64, '2001:db8::1', '2001:db8::ffff:2', '2001:db8:0:1::1'],
    [128, '2001:db8::1', '2001:db8:0::0:1', '2001:db8::2'],
    [32, '2001:db8::1', '2001:db8:ffff::', '2001:db9::']
  ]
  for (const [ipv6Prefix, first, same, other] of cases) {
    const blocked = '2001:db8:aaaa::1'
    const guard = createGuard({ trustedProxies: ['loopback'], ipv6Prefix, rateLimit: limit('ip'), ...(ipv6Prefix > 32 && { clients: { block: [blocked] } }) })
    await serve(api(guard), async (send) => {
      const client = (await send({ headers: from(first) })).json
      assert.match(client, new RegExp(`/${ipv6Prefix}$`))
      assert.equal((await send({ headers: from(same) })).json, client)
      assert.deepEqual(await statuses(send, [from(same), from(other), from('203.0.113.7'), from('::ffff:203.0.113.7'), from('203.0.113.7')]), [429, 200, 200, 200, 429])
      assert.equal((await guard.limits.get('api', same)).remaining, 0)
      assert.equal((await guard.limits.get('api', other)).remaining, 1)
      await guard.limits.reset('api', same)
      assert.deepEqual(await statuses(send, [from(first)]), [200])
      if (ipv6Prefix === 32) return
      assert.deepEqual(await statuses(send, [from(blocked)]), [403])
      await guard.limits.block(other, '1h', 'on purpose')
      assert.deepEqual(await statuses(send, [from(other), from(first)]), [403, 200])
      await guard.limits.unblock(other)
      await guard.limits.signal(other, { factor: 0.5, ttl: '1h' })
      assert.deepEqual(await statuses(send, [from(other), from(other)]), [429, 429])
    })
  }
})

test('an ipv6Prefix that is none is refused', () => {
  for (const odd of [0, 31, 129, 56.5, -1, '56', '/56', true, null, [56]]) {
    assert.throws(() => createGuard({ ipv6Prefix: odd }), (error) => error.path === 'ipv6Prefix' && /32 to 128/.test(error.message), String(odd))
  }
  assert.throws(() => createGuard({ rateLimit: { ...limit('ip'), ipv6Subnet: 64 } }), /`ipv6Prefix: 56`/)
})

test('the parts of a key do not run into each other', async () => {
  const part = (name) => (req) => req.headers[name]
  const guard = createGuard({ rateLimit: limit(['ip', part('a'), part('b')]) })
  await serve(api(guard), async (send) => {
    for (const [a, b] of [['x', 'y:z'], ['x:y', 'z'], ['x|', 'y'], ['x', '|y'], ['x,y', 'z'], ['y', 'x'], ['xy', 'z'], ['x', 'yz']]) {
      assert.deepEqual(await statuses(send, [{ a, b }, { a, b }, { a, b }]), [200, 200, 429], `${a} ${b}`)
    }
    assert.equal((await send({ headers: { a: 'x', b: 'yz' }, from: '127.0.0.9' })).status, 200)
    assert.equal((await send({ headers: { a: 'x' } })).status, 500, 'a part without a value')
    assert.equal((await guard.limits.get('api', ['127.0.0.1', 'x', 'yz'])).remaining, 0)
    assert.equal((await guard.limits.get('api', ['127.0.0.1', 'x', 'other'])).remaining, 2)
  })
})

test('limits with functions of their own do not share a subject', async () => {
  const by = (name) => ['ip', (req) => req.headers[name]]
  const guard = createGuard({ rateLimit: [limit(by('a')), limit(by('b'), { name: 'second', cost: async () => 2 })] })
  await serve(api(guard), async (send) => {
    assert.deepEqual(await statuses(send, [{ a: '1', b: '1' }, { a: '1', b: '2' }, { a: '2', b: '2' }, { a: '1', b: '3' }]), [200, 200, 429, 429])
  })
})

test('a promise is awaited, and refuses where it rejects or gives nothing', async () => {
  const answers = {
    slow: () => sleep(20, 'k'),
    rejects: async () => { throw new Error('no') },
    empty: async () => '',
    number: async () => 5
  }
  for (const key of [(req) => answers[req.headers.how](), ['ip', (req) => answers[req.headers.how]()]]) {
    const guard = createGuard({ rateLimit: limit(key) })
    await serve(api(guard), async (send) => {
      const how = (name) => ({ how: name })
      assert.deepEqual(await statuses(send, [how('slow'), how('slow'), how('slow')]), [200, 200, 429])
      assert.deepEqual(await statuses(send, ['rejects', 'empty', 'number'].map(how)), [500, 500, 500])
    })
  }
})

test('a promise that never settles holds no request for ever, and one whose client has gone runs no handler', async () => {
  const settle = new Map()
  let handled = 0
  const app = express()
  const guard = createGuard({ rateLimit: limit((req) => new Promise((resolve) => settle.set(req.headers.who, resolve))) })
  app.use(guard.securityStack(), (req, res) => {
    handled += 1
    res.end()
  })
  await serve(app, async (send, { port }) => {
    const waiting = send({ headers: { who: 'stays' } })
    const leaving = http.get({ host: '127.0.0.1', port, agent: false, headers: { who: 'leaves' } })
    const gone = once(leaving, 'error')
    await waitUntil('both wait', () => settle.size === 2)
    leaving.destroy(new Error('leaves'))
    await gone
    await sleep(100)
    settle.get('leaves')('k')
    assert.equal((await waiting).status, 500)
    assert.equal(handled, 0)
  })
})

test('one function that throws does not leave the rejection of another', async () => {
  const guard = createGuard({ rateLimit: limit([async () => { throw new Error('first') }, () => { throw new Error('second') }]) })
  await serve(api(guard), async (send) => assert.equal((await send()).status, 500))
})

test('Fastify and Hono pass requests that have a client key, too', async () => {
  const seen = []
  const guard = createGuard({ trustedProxies: ['loopback'], rateLimit: limit(['ip', (req) => (seen.push(guard.clientKey(req)), 'k')]) })
  const app = Fastify()
  await app.register(plugin, { guard })
  app.get('/', async () => 'ok')
  await app.listen({ port: 0, host: '127.0.0.1' })
  try {
    await sendTo(app.server.address().port, { headers: from('2001:db8::1') })
  } finally {
    app.server.closeAllConnections()
    await app.close()
  }
  const hono = new Hono()
  hono.use(middleware(guard, undefined, { address: () => '192.0.2.1' }))
  hono.get('/', (c) => c.text('ok'))
  assert.equal((await hono.request('http://api.example/')).status, 200)
  assert.deepEqual(seen, ['2001:db8::/56', '192.0.2.1'])
})

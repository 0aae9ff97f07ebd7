// What becomes of a request that exceeds a limit, and of its cost once its response is known: over
// every store.

import assert from 'node:assert/strict'
import http from 'node:http'
import net from 'node:net'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { serve } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const redis = await startRedis()
after(() => redis.stop())

const K = '127.0.0.1'
const LOGIN = { name: 'login', limit: 3, window: '1h' }
let prefixes = 0

// A wait for the store that is longer than in production: these tests are not about slow machines.
const STORES = {
  memory: () => ({}),
  redis: () => ({ store: { redis: { url: redis.url, prefix: `outcome${prefixes++}:`, timeout: '5s' } } })
}

/** Serves a guard's stack before `listener`. */
function api(config, listener, use) {
  const guard = createGuard(config)
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => protect(req, res, () => listener(req, res)))
  return serve(null, (send, more) => use(send, guard, more), server).finally(() => guard.close())
}

const answerWith = (req, res) => {
  res.statusCode = Number(req.headers['x-status'] ?? 200)
  res.end()
}
const status = (code) => ({ headers: { 'x-status': String(code) } })
const remaining = async (guard, name = 'login') => (await guard.limits.get(name, K)).remaining
const settled = (guard, left, name) => waitUntil(`${left} left`, async () => (await remaining(guard, name)) === left)

for (const [store, option] of Object.entries(STORES)) {
  for (const algorithm of ['gcra', 'fixed-window', 'sliding-window']) {
    test(`${store}, ${algorithm}: with count 'failed' only answers of 400 and above count`, () =>
      api({ ...option(), rateLimit: { ...LOGIN, algorithm, count: 'failed' } }, answerWith, async (send, guard) => {
        for (const code of [200, 201, 204, 302, 304, 399]) {
          assert.equal((await send(status(code))).status, code)
          await settled(guard, 3)
        }
        for (const [code, left] of [[401, 2], [422, 1], [500, 0]]) {
          assert.equal((await send(status(code))).status, code)
          assert.equal(await remaining(guard), left)
        }
        const refused = await send(status(200))
        assert.deepEqual([refused.status, refused.json.code], [429, 'rate_limited'])
      }))
  }

  test(`${store}: with count 'succeeded' only the others count, and a refusal of a later layer has failed`, () =>
    api({ ...option(), rateLimit: { ...LOGIN, count: 'succeeded' } }, answerWith, async (send, guard) => {
      for (let i = 0; i < 5; i++) {
        await send(status(404))
        await settled(guard, 3)
      }
      // The payload layer refuses it, behind the limits.
      assert.equal((await send({ method: 'POST', headers: { 'content-type': 'text/json' }, body: 'x' })).status, 415)
      await settled(guard, 3)
      for (let left = 2; left >= 0; left--) {
        await send(status(200))
        assert.equal(await remaining(guard), left)
      }
      assert.equal((await send(status(200))).status, 429)
    }))

  test(`${store}: many logins at once never exceed the limit, whatever becomes of them`, async () => {
    const inside = []
    let failures = 0
    await api({ ...option(), rateLimit: { ...LOGIN, count: 'failed' } }, (req, res) => inside.push(res), async (send, guard) => {
      const crowd = Array.from({ length: 30 }, () => send())
      await waitUntil('three are inside', () => inside.length === 3)
      const answers = Promise.all(crowd)
      await waitUntil('the others are refused', async () => (await remaining(guard)) === 0)
      await sleep(100)
      assert.equal(inside.length, 3)
      for (const res of inside.splice(0)) {
        res.statusCode = 401
        res.end()
        failures++
      }
      const statuses = (await answers).map(({ status }) => status)
      assert.deepEqual([statuses.filter((code) => code === 429).length, failures], [27, 3])
      assert.equal((await send()).status, 429)
    })
  })

  test(`${store}: a client that goes away before an answer has failed`, () =>
    api({ ...option(), rateLimit: [{ ...LOGIN, count: 'failed' }, { ...LOGIN, name: 'good', count: 'succeeded' }] }, () => {}, async (send, guard, { port }) => {
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      await waitUntil('it is charged', async () => (await remaining(guard, 'good')) === 2)
      socket.destroy()
      await settled(guard, 3, 'good')
      assert.equal(await remaining(guard), 2)
    }))

  test(`${store}: several limits count by what each says, and one stack does not give back what another has charged`, async () => {
    const guard = createGuard({ ...option(), rateLimit: [{ ...LOGIN, count: 'failed' }, { ...LOGIN, name: 'all', limit: 9 }] })
    const stacks = [guard.securityStack(), guard.rateLimit({ ...LOGIN, name: 'more', count: 'failed' }), guard.rateLimit()]
    const server = http.createServer((req, res) => {
      const next = (i) => (i === stacks.length ? answerWith(req, res) : stacks[i](req, res, () => next(i + 1)))
      next(0)
    })
    await serve(null, async (send) => {
      await send(status(200))
      await settled(guard, 3)
      await settled(guard, 3, 'more')
      assert.equal(await remaining(guard, 'all'), 8)
      await send(status(401))
      assert.deepEqual([await remaining(guard), await remaining(guard, 'more'), await remaining(guard, 'all')], [2, 2, 7])
    }, server)
    await guard.close()
  })

  test(`${store}: what exceeds a limit waits for its turn, at most so long, and then it is refused`, () =>
    api({ ...option(), rateLimit: { name: 'slow', limit: 5, window: '1s', burst: 1, onExceed: 'delay', maxDelay: '600ms' } }, answerWith, async (send) => {
      const start = performance.now()
      const answers = await Promise.all(Array.from({ length: 8 }, async () => {
        const { status, headers } = await send()
        return { status, ms: performance.now() - start, retry: headers['retry-after'] }
      }))
      const passed = answers.filter(({ status }) => status === 200).map(({ ms }) => ms).toSorted((a, b) => a - b)
      // The first one at once, the last one in the fourth slot; a slow machine sends some of them
      // when another slot has come.
      assert.ok(passed.length >= 4 && passed.length <= 5 + passed.at(-1) / 200 - 3, JSON.stringify(answers))
      assert.ok(passed.at(-1) >= 590, JSON.stringify(passed))
      for (const [i, ms] of passed.entries()) assert.ok(ms >= i * 200 - 15, JSON.stringify(passed))
      assert.ok(answers.filter(({ status }) => status === 429).every(({ retry }) => Number(retry) >= 1))
    }))

  test(`${store}: no more requests wait than \`maxDelayed\`, and one whose client leaves makes room`, () =>
    api({ ...option(), rateLimit: { name: 'slow', limit: 1, window: '10s', onExceed: 'delay', maxDelay: '60s', maxDelayed: 2 } }, answerWith, async (send, guard, { port }) => {
      assert.equal((await send()).status, 200)
      const sockets = []
      for (let i = 0; i < 2; i++) {
        const socket = net.connect(port, '127.0.0.1')
        sockets.push(socket)
        await once(socket, 'connect')
        socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      }
      await waitUntil('both wait', async () => (await send()).status === 429)
      await sleep(100)
      assert.equal((await send()).status, 429)
      for (const socket of sockets) socket.destroy()
      await sleep(100)
      const late = net.connect(port, '127.0.0.1')
      late.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      const answered = once(late, 'data').then(() => 'answered')
      assert.equal(await Promise.race([answered, sleep(500, 'waits')]), 'waits')
      late.destroy()
    }))

  test(`${store}: a request that has to wait, and whose answer can't be told so, leaves its place to the next one`, async () => {
    const rateLimit = { name: 'slow', limit: 1, window: '1s', onExceed: 'delay', maxDelay: '60s', maxDelayed: 1 }
    const guard = createGuard({ ...option(), rateLimit })
    const [protect] = guard.securityStack()
    const server = http.createServer((req, res) => {
      const { setHeader } = res
      if (req.headers['x-broken'] !== undefined) {
        res.setHeader = (name, value) => {
          if (name === 'RateLimit') throw new Error('this response takes no header')
          return setHeader.call(res, name, value)
        }
      }
      protect(req, res, () => answerWith(req, res))
    })
    await serve(null, async (send) => {
      assert.equal((await send()).status, 200)
      assert.equal((await send({ headers: { 'x-broken': '1' } })).status, 500)
      assert.equal((await send()).status, 200)
    }, server)
    await guard.close()
  })

  test(`${store}: a limit in shadow refuses nobody, tells no client, and says in the log what it would have done`, async () => {
    const events = []
    const seen = []
    const config = {
      ...option(),
      log: (event) => events.push(event.shadow),
      rateLimit: [{ name: 'real', limit: 9, window: '1h', exact: true }, { name: 'new', limit: 2, window: '1h', onExceed: 'shadow' }]
    }
    await api(config, (req, res) => {
      seen.push(req.guard.limits.map(({ name, remaining, wouldRefuse }) => [name, remaining, wouldRefuse]))
      res.end()
    }, async (send, guard) => {
      for (let i = 0; i < 4; i++) {
        const { status, headers } = await send()
        assert.equal(status, 200)
        assert.equal(headers['retry-after'], undefined)
        assert.match(headers.ratelimit, /^"real";r=\d;t=\d+$/)
        assert.equal(headers['ratelimit-policy'], '"real";q=9;w=3600')
      }
      assert.deepEqual(events, [[], [], ['new'], ['new']])
      assert.deepEqual(seen.map((limits) => limits[1]), [['new', 1, false], ['new', 0, false], ['new', 0, true], ['new', 0, true]])
      assert.deepEqual(seen[0][0][2], undefined)
      assert.equal(await remaining(guard, 'new'), 0)
      assert.equal(await remaining(guard, 'real'), 5)
    })
  })
}

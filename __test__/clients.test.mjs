// Lists of clients: who is refused, and who is not limited, in one process and in several.

import assert from 'node:assert/strict'
import { Worker } from 'node:worker_threads'
import test, { after } from 'node:test'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { jwt } from './helpers/articles.mjs'
import { startFaultProxy, waitUntil } from './helpers/servers.mjs'
import { memoryAndRedis } from './helpers/stores.mjs'

const [, express] = expresses[0]
const { redis, stores } = await memoryAndRedis('lists')
after(() => redis.stop())

async function api(config, use) {
  const guard = createGuard(config)
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, (send) => use(send, guard))
  await guard.close()
}

const rateLimit = { name: 'api', limit: 2, window: '1h', exact: true }
const statuses = async (send, request, count = 3) => {
  const seen = []
  for (let i = 0; i < count; i++) seen.push((await send(request)).status)
  return seen.join(' ')
}

for (const [store, option] of Object.entries(stores)) {
  test(`${store}: configured networks are refused or not limited, and the longest one decides`, () =>
    api({ ...option(), rateLimit, clients: { allow: ['127.0.0.2', '127.0.4.0/24'], block: ['127.0.3.0/24', '127.0.4.4'] } }, async (send) => {
      assert.equal(await statuses(send, { from: '127.0.0.1' }), '200 200 429')
      assert.equal(await statuses(send, { from: '127.0.0.2' }), '200 200 200')
      assert.equal(await statuses(send, { from: '127.0.4.1' }), '200 200 200')
      assert.equal(await statuses(send, { from: '127.0.4.4' }, 1), '403')
      const refused = await send({ from: '127.0.3.9' })
      assert.deepEqual([refused.status, refused.json.code, refused.headers.ratelimit], [403, 'client_blocked', undefined])
      assert.ok(refused.headers['x-content-type-options'])
    }))

  test(`${store}: an address is blocked for a time, before its token, with a reason for the log alone`, async () => {
    const events = []
    await api({ ...option(), rateLimit, jwt, log: (event) => events.push(event) }, async (send, { limits }) => {
      assert.equal(await statuses(send, {}, 1), '401')
      await limits.block('127.0.0.1', '1h', 'asks too much')
      const refused = await send({})
      assert.deepEqual([refused.status, refused.json.code], [403, 'client_blocked'])
      assert.doesNotMatch(refused.text, /asks/)
      assert.deepEqual(events.at(-1).reasons, ['client blocked: asks too much'])
      assert.equal(await statuses(send, { from: '127.0.0.9' }, 1), '401')
      await limits.block('127.0.0.1', '50ms')
      await waitUntil('the block has ended', async () => (await statuses(send, {}, 1)) === '401')
      await limits.block('127.0.0.0/24', '1h')
      assert.equal(await statuses(send, { from: '127.0.0.9' }, 1), '403')
      await limits.allow('127.0.0.9', '1h')
      assert.equal(await statuses(send, { from: '127.0.0.9' }, 1), '401')
      await limits.unblock('127.0.0.9')
      await limits.unblock('127.0.0.0/24')
      assert.equal(await statuses(send, {}, 1), '401')
    })
  })

  test(`${store}: a user is blocked or not limited, whatever the address`, () =>
    api({ ...option(), rateLimit: { ...rateLimit, key: 'user' }, jwt, revocation: false }, async (send, { limits, tokens }) => {
      const as = async (sub) => ({ headers: bearer((await tokens.issue({ sub })).accessToken) })
      await limits.block({ user: 'eve' }, '1h', 'chargeback')
      await limits.allow({ user: 'ada' }, '1h')
      assert.equal(await statuses(send, await as('eve'), 1), '403')
      assert.equal(await statuses(send, { ...(await as('eve')), from: '127.0.0.7' }, 1), '403')
      assert.equal(await statuses(send, await as('ada')), '200 200 200')
      assert.equal(await statuses(send, await as('bob')), '200 200 429')
      await limits.unblock({ user: 'eve' })
      assert.equal(await statuses(send, await as('eve'), 1), '200')
    }))

  test(`${store}: a block of one limit is still a block of that limit, and what can't be meant rejects`, () =>
    api({ ...option(), rateLimit: [rateLimit, { ...rateLimit, name: '127.0.0.1', limit: 9 }] }, async (send, { limits }) => {
      await limits.block('api', '127.0.0.1', '1h')
      assert.equal((await send({})).status, 429)
      await limits.reset('api', '127.0.0.1')
      await limits.block('127.0.0.1', '127.0.0.1', '1h')
      assert.equal((await limits.get('127.0.0.1', '127.0.0.1')).blockedFor, 3600)
      for (const [args, code] of [
        [['nope', '127.0.0.1', '1h'], 'ERR_UNKNOWN_LIMIT'],
        [['api', '127.0.0.1', 'soon'], 'ERR_INVALID_OPTION'],
        [['api', '1h'], 'ERR_INVALID_OPTION'],
        [['10.0.0.1'], 'ERR_MISSING_OPTION'],
        [['10.0.0.1', '0ms'], 'ERR_INVALID_OPTION'],
        [['10.0.0.1', '1h', ''], 'ERR_INVALID_ARGUMENT'],
        [['10.0.0.1', '1h', 'x'.repeat(201)], 'ERR_INVALID_OPTION'],
        [['10.0.0.1', '1h', 'a\nb'], 'ERR_INVALID_OPTION'],
        [['0.0.0.0/0', '1h'], 'ERR_INVALID_OPTION'],
        [['10.0.0.0/40', '1h'], 'ERR_INVALID_OPTION'],
        [[{ user: '' }, '1h'], 'ERR_INVALID_OPTION'],
        [[{ usr: 'eve' }, '1h'], 'ERR_UNKNOWN_OPTION'],
        [[null, '1h'], 'ERR_INVALID_OPTION']
      ]) {
        await assert.rejects(limits.block(...args), (error) => error.code === code, `${JSON.stringify(args)} ${code}`)
      }
    }))
}

test('redis: every process learns of a block, also one that starts later, and nothing stays for ever', async () => {
  const store = { redis: { url: redis.url, prefix: 'shared:', timeout: '5s' } }
  const script = `
    const { createGuard } = require('keepstone')
    const { parentPort, workerData } = require('node:worker_threads')
    const guard = createGuard({ store: workerData, rateLimit: false })
    const [protect] = guard.securityStack()
    const { ServerResponse, IncomingMessage } = require('node:http')
    parentPort.on('message', (from) => {
      const req = new IncomingMessage({ remoteAddress: from })
      Object.assign(req, { method: 'GET', url: '/', rawHeaders: ['host', 'a'], headers: { host: 'a' } })
      const res = new ServerResponse(req)
      res.end = () => parentPort.postMessage(res.statusCode)
      protect(req, res, () => parentPort.postMessage(200))
    })`
  // Another name of the same server is another store of this process: as good as another process.
  const other = () => {
    const url = redis.url.replace('127.0.0.1', 'localhost')
    const worker = new Worker(script, { eval: true, workerData: { redis: { ...store.redis, url } } })
    const ask = (from) => new Promise((resolve) => { worker.once('message', resolve); worker.postMessage(from) })
    return { worker, ask }
  }
  const one = createGuard({ store, rateLimit: false })
  const two = other()
  try {
    assert.equal(await two.ask('198.51.100.7'), 200)
    for (let i = 0; i < 1200; i++) await one.limits.block(`10.0.${i >> 8}.${i & 255}`, '1h', 'many')
    await one.limits.block('198.51.100.7', '1h', 'bad')
    await waitUntil('the other one knows', async () => (await two.ask('198.51.100.7')) === 403)
    assert.equal(await two.ask('10.0.4.1'), 403)
    await one.limits.unblock('198.51.100.7')
    await waitUntil('the other one knows', async () => (await two.ask('198.51.100.7')) === 200)
    const keys = await redis.keys('shared:{notices}*')
    assert.equal(keys.length, 3)
    for (const key of keys) assert.ok((await redis.ttl(key)) > 0, key)
  } finally {
    await two.worker.terminate()
    await one.close()
  }
})

test('redis: without its store a block holds here, says that the others were not told, and no request waits for it', async () => {
  const proxy = await startFaultProxy(redis.port)
  const guard = createGuard({ rateLimit: false, store: { redis: { url: `redis://127.0.0.1:${proxy.port}`, prefix: 'away:' } } })
  const app = express()
  app.use(guard.securityStack())
  app.use((req, res) => res.send('ok'))
  await serve(app, async (send) => {
    await guard.ready()
    proxy.refuse(true)
    proxy.cut()
    await assert.rejects(guard.limits.block('127.0.0.1', '1h'), (error) => error.code === 'ERR_STORE_UNAVAILABLE' && error.status === 503)
    assert.equal((await send({})).status, 403)
    proxy.refuse(false)
    await waitUntil('it can be told again', async () => {
      await guard.limits.unblock('127.0.0.1')
      return true
    })
    assert.equal((await send({})).status, 200)
  })
  await guard.close()
  await proxy.stop()
})

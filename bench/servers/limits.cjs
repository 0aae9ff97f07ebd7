'use strict'

// One process that asks a limiter over Redis as often as it is told, without HTTP around it: what is measured is the
// decision. `bench/shared.mjs` starts it and tells it what to do.

const settings = JSON.parse(process.env.BENCH_SETTINGS)
const limiters = { keepstone, flexible }

/** keepstone's own middleware, on requests that have what it reads of them. */
function keepstone() {
  const { createGuard } = require(process.env.KEEPSTONE_ROOT)
  // Eight busy processes on few processors are slower than the default timeout allows for, and that is not measured here.
  const store = { redis: { url: settings.redis, timeout: '2s' } }
  const guard = createGuard({ headers: false, store, rateLimit: settings.policies.map(({ seconds, ...policy }) => ({ ...policy, window: `${seconds}s` })) })
  const handler = guard.rateLimit()
  const decide = (address) =>
    new Promise((resolve) => {
      const res = {
        headersSent: false,
        writableEnded: false,
        destroyed: false,
        setHeader() {},
        getHeader() {},
        removeHeader() {},
        end() {
          resolve(this.statusCode)
        },
      }
      const socket = { remoteAddress: address, encrypted: false }
      handler({ method: 'GET', url: '/', headers: {}, rawHeaders: [], httpVersionMajor: 1, socket }, res, () => resolve(200))
    })
  return { decide, ready: () => guard.ready() }
}

/** rate-limiter-flexible over ioredis, one limiter for each policy, one after the other as its documentation has it. */
function flexible() {
  const Redis = require('ioredis')
  const { RateLimiterRedis } = require('rate-limiter-flexible')
  const storeClient = new Redis(settings.redis)
  const limiters = settings.policies.map(
    ({ name, limit, seconds }) => new RateLimiterRedis({ storeClient, keyPrefix: name, points: limit, duration: seconds }),
  )
  const decide = async (address) => {
    try {
      for (const limiter of limiters) await limiter.consume(address)
      return 200
    } catch {
      return 429
    }
  }
  return { decide, ready: () => storeClient.ping() }
}

const { decide, ready } = limiters[settings.limiter]()
const address = (key) => `10.${key >> 16}.${(key >> 8) & 255}.${key & 255}`
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

/** Keeps `inFlight` decisions on their way until `count` are made. */
async function hammer({ count, keys, inFlight }) {
  let left = count
  const lane = async (tally) => {
    while (left > 0) {
      left -= 1
      const key = Math.floor(Math.random() * keys)
      note(tally, key, await decide(address(key)))
    }
  }
  const tally = { admitted: Array.from({ length: keys }, () => 0), statuses: {} }
  await Promise.all(Array.from({ length: inFlight }, () => lane(tally)))
  return tally
}

/** Requests that come at random, `rate` per second for each key, for `seconds`. */
async function arrive({ keys, rate, seconds }) {
  const tally = { admitted: Array.from({ length: keys }, () => 0), statuses: {} }
  const waiting = []
  const end = performance.now() + seconds * 1000
  let next = performance.now()
  while (next < end) {
    const now = performance.now()
    if (next > now) await sleep(1)
    for (; next <= performance.now() && next < end; next += (-Math.log(1 - Math.random()) * 1000) / (rate * keys)) {
      const key = Math.floor(Math.random() * keys)
      waiting.push(decide(address(key)).then((status) => note(tally, key, status)))
    }
  }
  await Promise.all(waiting)
  return tally
}

function note(tally, key, status) {
  tally.statuses[status] = (tally.statuses[status] ?? 0) + 1
  if (status === 200) tally.admitted[key] += 1
}

process.on('message', async ({ id, ask, ...what }) => {
  try {
    const before = process.cpuUsage()
    const began = Date.now()
    const tally = await { hammer, arrive }[ask](what)
    const { user, system } = process.cpuUsage(before)
    process.send({ id, ...tally, cpu: user + system, began, ended: Date.now() })
  } catch (error) {
    process.send({ id, error: String(error?.stack) })
  }
})
process.on('disconnect', () => process.exit(0))
ready().then(() => process.send({ port: 0 }))

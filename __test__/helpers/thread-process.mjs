// A process whose worker threads are terminated at each point of a decision. It reports, as JSON,
// what is left when they are gone.

import { readdirSync } from 'node:fs'
import http from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { createGuard } from '../../index.js'
import { AUDIENCE, ISSUER, jwt } from './articles.mjs'
import { bearer, send } from './http.mjs'
import { makeKey } from './issuer.mjs'
import { waitUntil } from './processes.mjs'

const KEY = '127.0.0.1'
const UNKNOWN = makeKey('unknown').token({ iss: ISSUER, aud: AUDIENCE })
const Body = { type: 'object', required: ['a'], properties: { a: { type: 'string' } } }

/** The guard of the process and of its threads: one store. */
const options = (store, more) => ({
  store,
  jwt: more?.jwt ?? { ...jwt, optional: true, refresh: true },
  rateLimit: [
    { name: 'counted', limit: 1_000_000, window: '300d', algorithm: 'fixed-window', exact: true, paths: ['/counted'] },
    { name: 'inside', concurrent: 1_000 },
    { name: 'slow', limit: 1, window: '10s', onExceed: 'delay', maxDelay: '60s', paths: ['/slow'] },
    { name: 'priced', limit: 1_000_000, window: '300d', paths: ['/priced'], ...more?.priced }
  ]
})

/** Brings a thread to a point, again and again, and tells when it is there. */
const POINTS = {
  'createGuard': async ({ build, there }) => {
    for (let i = 0; ; i += 1) {
      if (i === 1) there()
      await build().close()
    }
  },
  'close': async ({ build, there }) => {
    there()
    for (;;) await Promise.all([build(), build()].map((guard) => guard.close()))
  },
  'a store is asked': async ({ guard, there, counts }) => {
    const ask = async () => {
      Atomics.add(counts, 0, 1)
      await guard.limits.consume('counted', KEY)
      Atomics.add(counts, 1, 1)
      // The others are asked meanwhile.
      there()
      setImmediate(ask)
    }
    for (let i = 0; i < 20; i += 1) ask()
  },
  'requests are inside': async ({ requests, there }) => {
    const request = requests((req, res) => (there(), setTimeout(() => res.end(), 3)))
    for (;;) await Promise.all(Array.from({ length: 10 }, () => request()))
  },
  'a request holds its place': async ({ requests, there }) => {
    const request = requests(there)
    for (let i = 0; i < 5; i += 1) void request()
  },
  'a request waits for its turn': async ({ requests, there }) => {
    const request = requests(() => {})
    for (let i = 0; i < 5; i += 1) void request({ url: '/slow' })
    setTimeout(there, 30)
  },
  'a body is read': async ({ requests, there }) => {
    const headers = { 'content-type': 'application/json', 'content-length': '100000' }
    const body = (req) => {
      req.push('{"a":"')
      setInterval(() => (req.push('x'), there()), 1)
    }
    for (let i = 0; i < 5; i += 1) void requests(() => {}, { body: Body })({ method: 'POST', headers, body })
  },
  'a function of the application runs': async ({ build, there }) => {
    const request = requestsTo(build({ priced: { cost: () => (there(), busy(2), 1) } }))
    for (;;) await request({ url: '/priced' })
  },
  'keys are loaded': async ({ store, there }) => {
    const storage = { load: () => (there(), sleep(5).then(() => null)), save: () => sleep(5) }
    for (;;) {
      const guard = createGuard({ store, rateLimit: false, jwt: { issuer: ISSUER, audience: AUDIENCE, rotation: { storage } } })
      guard.ready().catch(() => {})
      await sleep(10)
    }
  },
  'the key file is looked at': async ({ build, there, folder }) => {
    const guard = build({ jwt: { issuer: ISSUER, audience: AUDIENCE, rotation: { storage: join(folder, 'keys.json') } } })
    for (let i = 0; ; i += 1) {
      const answer = guard.tokens.rotate()
      if (i === 1) there()
      await answer
    }
  },
  'an issuer is asked': async ({ build, there, issuer }) => {
    const url = `http://127.0.0.1:${issuer}/keys`
    for (;;) {
      const guard = build({ jwt: { issuer: ISSUER, audience: AUDIENCE, jwks: url } })
      void requestsTo(guard)({ headers: bearer(UNKNOWN) })
      await sleep(5)
      there()
      await guard.close()
    }
  },
  'a session is refreshed': async ({ guard, there }) => {
    let { refreshToken } = await guard.tokens.issue({ sub: 'ada' })
    for (;;) {
      const answer = guard.tokens.refresh(refreshToken)
      there()
      refreshToken = (await answer).refreshToken
    }
  },
  'a token is revoked': async ({ guard, there }) => {
    for (let i = 0; ; i += 1) {
      const answer = guard.revoke.session(`session ${i}`)
      there()
      await answer
    }
  }
}

function busy(ms) {
  const end = performance.now() + ms
  while (performance.now() < end);
}

const through = (stack, req, res, inside) => {
  const step = (i) => (i < stack.length ? stack[i](req, res, () => step(i + 1)) : inside(req, res))
  step(0)
}

/**
 * Sends requests to the stack of a guard past a socket: what is tested is the guard. Node's parser
 * of HTTP may end the process where its thread is terminated (seen once, with Node 20).
 */
function requestsTo(guard, inside = (req, res) => res.end(), ...schemas) {
  const stack = [...guard.securityStack(...schemas)]
  return ({ method = 'GET', url = '/', headers = {}, body = (req) => req.push(null) } = {}) => {
    const socket = new Duplex({ read() {}, write: (chunk, encoding, done) => done() })
    const req = new http.IncomingMessage(Object.assign(socket, { remoteAddress: KEY }))
    const sent = { host: 'a', ...headers }
    Object.assign(req, { method, url, headers: sent, rawHeaders: Object.entries(sent).flat(), httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 })
    const res = new http.ServerResponse(req)
    res.assignSocket(socket)
    const ended = once(res, 'close')
    res.on('finish', () => res.detachSocket(socket) ?? res.emit('close'))
    body(req)
    through(stack, req, res, inside)
    return ended
  }
}

async function serve(guard) {
  const stack = [...guard.securityStack()]
  const server = http.createServer((req, res) => through(stack, req, res, () => res.end()))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function beWorker() {
  const { point, counts, ...given } = workerData
  const { store } = given
  const build = (more) => createGuard(options(store, more))
  // A server would hold the thread open: no guard does.
  setInterval(() => {}, 1_000)
  let told = false
  const there = () => {
    if (!told) parentPort.postMessage('there')
    told = true
  }
  const own = ['createGuard', 'close', 'keys are loaded', 'the key file is looked at', 'an issuer is asked'].includes(point)
  const guard = own ? undefined : build()
  if (!own) await guard.ready()
  const requests = (inside, ...schemas) => requestsTo(guard, inside, ...schemas)
  await POINTS[point]({ ...given, build, guard, there, requests, counts: new Int32Array(counts) })
}

async function terminate(point, given, counts) {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { ...given, point, counts }, stderr: false })
  const failed = once(worker, 'error').then(([error]) => Promise.reject(error))
  failed.catch(() => {})
  const left = once(worker, 'exit').then(() => Promise.reject(new Error(`the thread has ended by itself: ${point}`)))
  left.catch(() => {})
  await Promise.race([once(worker, 'message'), failed, left])
  await sleep(Math.random() * 12)
  await worker.terminate()
}

async function beMain({ store, folder, rounds }) {
  const counts = new SharedArrayBuffer(8)
  const guard = createGuard(options(store))
  await guard.ready()
  // An issuer that takes its time.
  const keys = http.createServer((req, res) => void setTimeout(() => res.end('{"keys":[]}'), 20)).listen(0, '127.0.0.1')
  await once(keys, 'listening')
  const issuer = keys.address().port
  const measure = () => ({
    threads: readdirSync('/proc/self/task').length,
    files: readdirSync('/proc/self/fd').length,
    rss: Math.round(process.memoryUsage().rss / 1e6)
  })
  const points = Object.fromEntries(Object.keys(POINTS).map((point) => [point, { reached: 0 }]))
  let before
  for (let round = 0; round < rounds; round += 1) {
    const waiting = Object.keys(POINTS)
    const next = async () => {
      for (let point = waiting.pop(); point !== undefined; point = waiting.pop()) {
        await terminate(point, { store, folder, issuer }, counts)
        points[point].reached += 1
      }
    }
    await Promise.all([next(), next(), next()])
    // What is made once is there by then.
    if (round === 1) before = await settled(measure)
  }
  const taken = async () => (await guard.limits.get('inside', KEY)).taken
  await waitUntil('the places are free', async () => (await taken()) === 0, 60_000)
  const after = await settled(measure, before)
  const [asked, acknowledged] = new Int32Array(counts)
  const { limit, remaining } = await guard.limits.get('counted', KEY)
  const server = await serve(guard)
  const { port } = server.address()
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  const answers = [await send(port), await send(port, { headers: bearer(accessToken) }), await send(port, { headers: bearer('x') })]
  process.stdout.write(JSON.stringify({
    points,
    terminated: rounds * Object.keys(POINTS).length,
    asked,
    acknowledged,
    counted: limit - remaining,
    taken: await taken(),
    statuses: answers.map(({ status }) => status),
    ...Object.fromEntries(Object.keys(after).map((what) => [what, { before: before[what], after: after[what] }]))
  }))
  server.close()
  keys.close()
  keys.closeAllConnections()
  await guard.close()
  // It ends by itself.
  setTimeout(() => process.exit(3), 20_000).unref()
}

/** What is measured when it is no more than `before`, or after some seconds. */
async function settled(measure, before) {
  for (let i = 0; i < 20; i += 1) {
    await sleep(100)
    const now = measure()
    if (before !== undefined && now.threads <= before.threads && now.files <= before.files) return now
  }
  return measure()
}

if (isMainThread) await beMain(JSON.parse(process.argv[2]))
else await beWorker()

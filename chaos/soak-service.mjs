// A process of the service that is soaked.
// Usage: node --expose-gc chaos/soak-service.mjs <port> <store as JSON>

import { readdirSync } from 'node:fs'
import http from 'node:http'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createGuard } from '../index.js'

const [port, store] = [Number(process.argv[2]), JSON.parse(process.argv[3])]
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

const key = (req) => req.headers['x-client'] ?? 'nobody'
const guard = createGuard({
  store,
  // Everything that is kept comes to its end while the soak runs.
  jwt: {
    issuer: 'https://id.example',
    audience: 'api',
    secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV',
    maxLifetime: '2m',
    refresh: { lifetime: '2m', idle: '1m', reuseWindow: '1s' }
  },
  payload: { maxBytes: '16kb' },
  rateLimit: [
    { name: 'client', limit: 1_000_000, window: '10s', key },
    { name: 'places', concurrent: 1_000, key }
  ]
})
const order = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 40 }, count: { type: 'integer', minimum: 1 } },
  required: ['name', 'count'],
  additionalProperties: false
}

const app = express()
const call = (act) => async (req, res) => {
  try {
    res.json((await act(req.body)) ?? {})
  } catch (error) {
    res.status(error.status ?? 500).json({ code: error.code ?? String(error) })
  }
}
// Not behind the guard: what is measured.
app.get('/sample', async (req, res) => res.json(await sample()))
app.get('/ready', async (req, res) => {
  await guard.ready()
  res.json({})
})
const anonymous = guard.securityStack({ jwt: { optional: true } })
app.post('/login', anonymous, call((claims) => guard.tokens.issue(claims, { expiresIn: '60s' })))
app.post('/refresh', anonymous, call(({ token }) => guard.tokens.refresh(token)))
app.post('/logout', anonymous, call(({ token }) => guard.revoke.token(token)))
app.post('/orders', guard.securityStack({ body: order }), (req, res) => res.json(req.body))
app.get('/few', guard.securityStack({ rateLimit: { name: 'few', limit: 5, window: '10s', key } }), (req, res) => res.json({}))
app.get('/slow', guard.securityStack(), async (req, res) => {
  await sleep(50)
  res.json({})
})
app.get('/me', guard.securityStack(), (req, res) => res.json({ sub: req.user.sub }))
// Refusals and bodies that break off are answered by the guard and by Express.
app.use((error, req, res, _next) => void (res.headersSent || res.status(error.status ?? 500).json({ code: error.code ?? String(error) })))

async function sample() {
  for (let i = 0; i < 4; i++) {
    globalThis.gc()
    await turn()
  }
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage()
  const handles = {}
  for (const name of process.getActiveResourcesInfo()) handles[name] = (handles[name] ?? 0) + 1
  const p99 = delay.percentile(99) / 1e6
  delay.reset()
  const { store, revoked } = guard.health()
  // The folder itself is open while it is read.
  const files = readdirSync('/proc/self/fd').length - 1
  return { rss, heapUsed, external, arrayBuffers, handles, files, p99, keys: store.keys, bytes: store.bytes, waiting: store.waiting ?? 0, revoked }
}

http.createServer(app).listen(port, '127.0.0.1')

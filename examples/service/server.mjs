// A service as it runs in production: node examples/service/server.mjs
//
// It needs no Redis to try it out. Several processes (a cluster, pm2, containers) need REDIS_URL
// and one JWT_SECRET.

import cluster from 'node:cluster'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createGuard } from 'keepstone'

const { REDIS_URL, JWT_SECRET, PORT = '3000', HOST = '0.0.0.0', DRAIN_MS = '5000', LIMIT = '600' } = process.env

const guard = createGuard({
  ...(REDIS_URL === undefined ? {} : { store: { redis: REDIS_URL } }),
  trustedProxies: ['uniquelocal', 'loopback'],
  rateLimit: { name: 'api', limit: Number(LIMIT), window: '1m' },
  // A secret of its own for each start is right for a demonstration only.
  jwt: { issuer: 'https://id.example.com', audience: 'service', secret: JWT_SECRET ?? randomBytes(48).toString('base64') }
})

const app = express()
const stopping = new AbortController()

app.use((req, res, next) => {
  // The client opens another connection for its next request, to another process.
  if (stopping.signal.aborted) res.set('Connection', 'close')
  next()
})

// Health checks stand before the guard: no token, no limit. 503 takes the process out of rotation.
app.get('/health', (req, res) => {
  const { ready } = guard.health()
  res.status(ready && !stopping.signal.aborted ? 200 : 503).json({ ready, pid: process.pid })
})

app.use(guard.securityStack())

app.get('/orders', async (req, res) => {
  await sleep(20)
  res.json({ orders: [], by: req.user.sub })
})

// In flight for a while: it is answered, although the process is told to end.
app.get('/report', async (req, res) => {
  await sleep(1000)
  res.json({ orders: 0 })
})

app.post('/logout', async (req, res) => {
  await guard.revoke.subject(req.user.sub)
  res.status(204).end()
})

// An open stream would hold the process until the client leaves.
app.get('/events', (req, res) => {
  res.set('Content-Type', 'text/event-stream').flushHeaders()
  const end = AbortSignal.any([req.guard.signal, stopping.signal])
  end.addEventListener('abort', () => res.end())
})

await guard.ready().catch(({ message }) => console.error(message))
const server = app.listen(Number(PORT), HOST, async () => {
  process.send?.('ready') // pm2 waits for it
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  console.log(`curl -H 'Authorization: Bearer ${accessToken}' http://127.0.0.1:${server.address().port}/orders`)
})

async function stop() {
  if (stopping.signal.aborted) return
  stopping.abort()
  // The load balancer sees /health fail, and sends no new requests.
  await sleep(Number(DRAIN_MS))
  // Whoever still hangs after 20 s is cut off.
  setTimeout(() => server.closeAllConnections(), 20_000).unref()
  server.close(async () => {
    await guard.close()
    cluster.worker?.disconnect()
  })
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)

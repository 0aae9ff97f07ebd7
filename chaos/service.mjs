// One process of the service that is under load.
// Usage: node chaos/service.mjs <port> <config as JSON>

import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGuard } from '../index.js'
import { EXACT, LEASED, PACED, PLACES, POLITE, PROBE } from './limits.mjs'
import { now, watchStalls } from './time.mjs'

const [port, config] = [Number(process.argv[2]), JSON.parse(process.argv[3])]
const stalls = watchStalls()

const key = (req) => req.headers['x-client'] ?? 'nobody'
const guard = createGuard({ store: config.store, jwt: config.jwt ?? false, rateLimit: false })
const noTokens = config.jwt ? { jwt: false } : {}
const behind = (options) => guard.securityStack({ payload: false, ...options })
const limited = (limit) => behind({ ...noTokens, rateLimit: { ...limit, key } })
const plain = behind({ ...noTokens })

const send = (res, status, value) => {
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(JSON.stringify(value))
}
const ok = (req, res) => send(res, 200, {})

// Says when it was inside, by the clock of the machine.
async function hold(req, res) {
  res.writeHead(200, { 'content-type': 'application/json' })
  res.write(`[${now()}`)
  await sleep(Number(new URL(req.url, 'http://service').searchParams.get('ms')))
  res.end(`,${now()}]`)
}

const calls = {
  login: (claims) => guard.tokens.issue(claims),
  refresh: ({ token }) => guard.tokens.refresh(token),
  'revoke/token': ({ token }) => guard.revoke.token(token),
  'revoke/session': ({ sid }) => guard.revoke.session(sid),
  'revoke/subject': ({ sub }) => guard.revoke.subject(sub),
  block: ({ ip }) => guard.limits.block(ip, '6h'),
  unblock: ({ ip }) => guard.limits.unblock(ip)
}

async function call(name, req, res) {
  const chunks = []
  for await (const chunk of req) chunks.push(chunk)
  try {
    send(res, 200, (await calls[name](JSON.parse(Buffer.concat(chunks)))) ?? {})
  } catch (error) {
    send(res, error.status ?? 500, { code: error.code ?? String(error) })
  }
}

const routes = {
  '/exact': [limited(EXACT), ok],
  '/paced': [limited(PACED), ok],
  '/leased': [limited(LEASED), ok],
  '/polite': [limited(POLITE), ok],
  '/probe': [limited(PROBE), ok],
  '/listed': [plain, ok],
  ...(config.jwt ? { '/me': [behind({}), ok], '/places': [limited(PLACES), hold] } : {}),
  ...Object.fromEntries(Object.keys(calls).map((name) => [`/${name}`, [plain, (req, res) => call(name, req, res)]])),
  // Not behind the guard: what the run looks at.
  '/stalls': [(req, res, next) => next(), (req, res) => send(res, 200, stalls)],
  '/health': [(req, res, next) => next(), (req, res) => send(res, 200, guard.health())]
}

http
  .createServer((req, res) => {
    const [protect, handle] = routes[req.url.split('?')[0]]
    protect(req, res, () => handle(req, res))
  })
  .listen(port, '127.0.0.1')

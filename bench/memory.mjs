// Whether memory stays flat: 10^5 handlers of `guard.validate()` built and let go, and 10^7 checks
// through one of them. Usage: node --expose-gc bench/memory.mjs [constructions] [checks]
//
// A check is what a request with a body costs: the head is decided, the body judged, the ticket
// given back. Half of the bodies are refused. The resident size is printed at ten points of each;
// it may rise while caches fill, and must then stay.

import { createRequire } from 'node:module'
import { setImmediate as turn } from 'node:timers/promises'

const require = createRequire(import.meta.url)
const { createGuard } = require('../index.js')
const native = require('../native.js')

const [constructions = 1e5, checks = 1e7] = process.argv.slice(2).map(Number)
if (typeof globalThis.gc !== 'function') throw new Error('start it with --expose-gc')

const signup = () => ({
  type: 'object',
  properties: {
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' },
    email: { type: 'string', format: 'email', 'x-normalize-email': true },
    password: { type: 'string', minLength: 12 },
  },
  required: ['username', 'email', 'password'],
})
const mb = () => Math.round((process.memoryUsage().rss / 1048576) * 10) / 10

async function settle() {
  for (let i = 0; i < 3; i += 1) {
    globalThis.gc()
    await turn()
  }
}

/** Runs `step` `count` times in ten parts, and returns the resident size after each, in MB. */
async function watched(count, step) {
  const sizes = []
  for (let part = 0; part < 10; part += 1) {
    for (let i = 0; i < count / 10; i += 1) {
      step(i)
      // Handlers are given back between turns of the event loop, as they are where each request
      // builds one.
      if (i % 200 === 199) await turn()
    }
    await settle()
    sizes.push(mb())
  }
  return sizes
}

const guard = createGuard({ rateLimit: false })
await settle()
console.log(`start: ${mb()} MB`)
const built = await watched(constructions, () => void guard.validate({ body: signup() }))
console.log(`${constructions} constructions: ${built.join(', ')} MB; from the second tenth to the last ${(built[9] - built[1]).toFixed(1)} MB`)

const { ok } = JSON.parse(native.createGuard(JSON.stringify({ rateLimit: false })))
const { stack } = JSON.parse(native.stack(ok.guard, JSON.stringify({ body: signup() }), 'payload')).ok
const body = Buffer.from('{"username":"ada99","email":"ada@example.com","password":"correct horse battery"}')
const bad = Buffer.from('{"username":"a!","email":"Ada@EXAMPLE.com","password":"short"}')
const { headOf } = require('../shim/hosts/node-http/head.js')
const head = headOf({ method: 'POST', url: '/', originalUrl: '/', headers: { 'content-type': 'application/json', 'content-length': '85' }, rawHeaders: ['Content-Type', 'application/json', 'Content-Length', '85'], socket: { remoteAddress: '127.0.0.1' } }, { view: null }, { trustsProxies: false })
const checked = await watched(checks, (i) => {
  const ticket = Number(native.decide(stack, head).split('\n')[15])
  native.decideBody(ticket, i % 2 === 0 ? body : bad)
})
console.log(`${checks} checks: ${checked.join(', ')} MB; from the second tenth to the last ${(checked[9] - checked[1]).toFixed(1)} MB`)

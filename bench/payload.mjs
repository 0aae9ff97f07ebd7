// What a check of a body costs, side by side with ajv, zod and express-validator. See README.md.
// Usage: node bench/payload.mjs [calls|http] [--rounds N]
//
// `calls`: in one process, what it takes from the bytes of a body to a JavaScript object that was
// checked. Bodies take turns, since some validators remember the last one. The call into the core
// is in keepstone's figure; the heads of the requests, which are decided once whatever the body,
// are decided before the clock starts. `http`: a POST through Express, with nothing but the body's
// parser and one validator. CPU per request of the server.

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { chooseTool, load } from './lib/load.mjs'
import { cpuOf, startServer, stop } from './lib/processes.mjs'
import { median, paired, table, withRange } from './lib/stats.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
process.env.KEEPSTONE_ROOT = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..'))
const require = createRequire(import.meta.url)
const rounds = Number(process.argv[process.argv.indexOf('--rounds') + 1]) || 9
const only = ['calls', 'http'].find((name) => process.argv.includes(name))

if (only !== 'http') calls()
if (only !== 'calls') await http()
process.exit(0)

function signups(count) {
  return Array.from({ length: count }, (_, i) => ({ username: `user${i}abc`, email: `user${i}@example.com`, password: `correct horse ${i} battery` }))
}

function orders(count, lines) {
  return Array.from({ length: count }, (_, i) => ({
    id: 1000 + i,
    customer: { name: `Customer ${i}`, email: `customer${i}@example.com`, address: { street: `${i} High Street`, city: 'Springfield', zip: '12345' } },
    lines: Array.from({ length: lines }, (_, n) => ({ sku: `SKU-${i}-${n}`, quantity: n + 1, price: 9.99 + n, note: 'leave at the door, please', gift: n % 2 === 0 })),
    paid: true,
  }))
}

function schemas() {
  const text = (maxLength) => ({ type: 'string', minLength: 1, maxLength })
  const object = (properties) => ({ type: 'object', properties, required: Object.keys(properties), additionalProperties: false })
  const SignupSchema = object({
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' },
    email: { type: 'string', format: 'email' },
    password: { type: 'string', minLength: 12 },
  })
  const OrderSchema = object({
    id: { type: 'integer', minimum: 1 },
    customer: object({ name: text(100), email: { type: 'string', format: 'email' }, address: object({ street: text(100), city: text(100), zip: { type: 'string', pattern: '^[0-9]{5}$' } }) }),
    lines: { type: 'array', minItems: 1, maxItems: 1000, items: object({ sku: text(40), quantity: { type: 'integer', minimum: 1 }, price: { type: 'number', minimum: 0 }, note: text(200), gift: { type: 'boolean' } }) },
    paid: { type: 'boolean' },
  })
  return { SignupSchema, OrderSchema }
}

function calls() {
  const native = require(path.join(process.env.KEEPSTONE_ROOT, 'native.js'))
  const Ajv = require('ajv').default
  const ajv = new Ajv({ allErrors: true })
  require('ajv-formats').default(ajv)
  const { SignupSchema, OrderSchema } = schemas()
  const { guard } = JSON.parse(native.createGuard(JSON.stringify({ rateLimit: false }))).ok
  const head = (length) => `12\nPOST\n/\n127.0.0.1\n\nb\n\n\nContent-Type\napplication/json\nContent-Length\n${length}`
  const rows = []
  for (const [name, schema, values] of [
    ['signup', SignupSchema, signups(64)],
    ['order, 7 lines', OrderSchema, orders(64, 7)],
    ['order, 60 lines', OrderSchema, orders(64, 60)],
  ]) {
    const bodies = values.map((value) => Buffer.from(JSON.stringify(value)))
    const validate = ajv.compile(schema)
    const { stack } = JSON.parse(native.stack(guard, JSON.stringify({ body: schema }), 'payload')).ok
    const line = head(bodies[0].length)
    const ticket = () => Number(native.decide(stack, line).split('\n')[15])
    const count = bodies[0].length < 200 ? 200_000 : bodies[0].length < 2000 ? 40_000 : 5000
    if (!validate(values[0]) || native.decideBody(ticket(), bodies[0]) !== undefined) throw new Error(`${name}: not valid`)
    const ways = {
      parse: (body) => JSON.parse(body.toString()),
      ajv(body) {
        const value = JSON.parse(body.toString())
        if (!validate(value)) throw new Error('not valid')
        return value
      },
      check(body, ticket) {
        if (native.decideBody(ticket, body) !== undefined) throw new Error('not valid')
      },
      whole(body, ticket) {
        if (native.decideBody(ticket, body) !== undefined) throw new Error('not valid')
        return JSON.parse(body.toString())
      },
    }
    const times = Object.fromEntries(Object.keys(ways).map((way) => [way, []]))
    for (let round = -1; round < rounds; round += 1) {
      for (const way of Object.keys(ways).toSorted(() => Math.random() - 0.5)) {
        const run = ways[way]
        let ms = 0
        for (let batch = 0; batch < count / bodies.length; batch += 1) {
          const tickets = way === 'check' || way === 'whole' ? bodies.map(ticket) : []
          const start = performance.now()
          for (let i = 0; i < bodies.length; i += 1) run(bodies[i], tickets[i])
          ms += performance.now() - start
        }
        if (round >= 0) times[way].push((ms * 1e6) / count)
      }
    }
    const columns = ['check', 'parse', 'whole', 'ajv'].map((way) => String(Math.round(median(times[way]))))
    rows.push([name, String(bodies[0].length), ...columns, withRange(paired(times.whole, times.ajv, (mine, other) => mine / other), 2)])
  }
  console.log('From bytes to a checked object, in one process (ns; medians of rounds, ratio within each round):\n')
  console.log(table(['body', 'bytes', 'check', 'JSON.parse', 'check + JSON.parse', 'JSON.parse + ajv', 'ratio of these two'], rows))
}

async function http() {
  const tool = chooseTool()
  const requests = signups(64).map((body) => ({ token: 'none', body: JSON.stringify(body) }))
  const run = load(tool, requests, 32)
  const ways = ['express.json', 'ajv', 'zod', 'express-validator', 'keepstone']
  const file = path.join(here, 'servers', 'payload.cjs')
  const servers = new Map()
  for (const way of ways) servers.set(way, await startServer(file, { way, layers: [] }))
  const cpu = Object.fromEntries(ways.map((way) => [way, []]))
  for (let round = -1; round < rounds; round += 1) {
    for (const way of ways.toSorted(() => Math.random() - 0.5)) {
      const { child, url } = servers.get(way)
      const before = cpuOf(child)
      const result = await run(`${url}/v1/users`, round < 0 ? 5 : 3)
      if (result.refused > 0 || result.failed > 0) throw new Error(`${way}: ${result.refused} refused, ${result.failed} failed`)
      if (round >= 0) cpu[way].push((cpuOf(child) - before) / result.requests)
    }
  }
  for (const { child } of servers.values()) await stop(child)
  const base = cpu['express.json']
  const added = (way) => paired(cpu[way], base, (mine, bare) => mine - bare)
  const rows = ways.map((way) => [
    way === 'express.json' || way === 'keepstone' ? way : `express.json + ${way}`,
    withRange({ median: median(cpu[way]), min: Math.min(...cpu[way]), max: Math.max(...cpu[way]) }, 1),
    withRange(paired(cpu[way], base, (mine, bare) => mine / bare), 2),
    withRange(added(way), 1),
  ])
  console.log(`\nAn Express POST with a signup body (${tool}, 32 connections; CPU of the server per request, µs; ${rounds} rounds):\n`)
  console.log(table(['stack', 'µs', 'over express.json', 'added µs'], rows))
}

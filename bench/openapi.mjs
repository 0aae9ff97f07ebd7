// Documents of growing size: how long it takes to read and judge one, and to find the operation of
// a request. A figure per operation that stays the same as the document grows is what to look for.
// Usage: node bench/openapi.mjs [rounds]

import path from 'node:path'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { median } from './lib/stats.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))
const require = createRequire(import.meta.url)
const { createGuard } = require(path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(here, '..')))

const SIZES = [250, 1000, 4000]
const REQUESTS = 20_000
const rounds = Number(process.argv[2] ?? 5)

/**
 * A document with that many operations, two per path, of which every other one has a body that
 * refers to others.
 */
function documentOf(operations) {
  const paths = {}
  const schemas = {}
  for (let i = 0; i < operations / 2; i += 1) {
    schemas[`S${i}`] = {
      type: 'object',
      required: ['name'],
      properties: {
        name: { type: 'string', maxLength: 20 },
        count: { type: 'integer', format: 'int32' },
        next: { $ref: `#/components/schemas/S${i - (i % 8) + ((i + 1) % 8)}` }
      }
    }
    const id = { name: 'id', in: 'path', required: true, schema: { type: 'integer' } }
    paths[`/api/v1/group${i % 40}/thing${i}/{id}/parts`] = {
      get: { parameters: [id], responses: {} },
      post: { parameters: [id], requestBody: { content: { 'application/json': { schema: { $ref: `#/components/schemas/S${i}` } } } }, responses: {} }
    }
  }
  // The last group of eight may be cut off.
  for (let i = operations / 2; i < operations / 2 + 8; i += 1) schemas[`S${i}`] ??= { type: 'object' }
  return { openapi: '3.0.3', paths, components: { schemas } }
}

/** Nanoseconds that the handler takes to find a path, whose other methods it then lets pass. */
function match(api, size) {
  const target = (i) => `/api/v1/group${i % 40}/thing${i}/7/parts`
  let passed = 0
  const next = () => (passed += 1)
  const targets = Array.from({ length: 1000 }, (_, i) => target(i % (size / 2)))
  const start = performance.now()
  for (let i = 0; i < REQUESTS; i += 1) api.handler({ method: 'PUT', url: targets[i % 1000] }, {}, next)
  const spent = performance.now() - start
  if (passed !== REQUESTS) throw new Error('a request was not passed on')
  return (spent / REQUESTS) * 1e6
}

const rows = SIZES.map((size) => ({ size, doc: documentOf(size), build: [], find: [] }))
for (let round = 0; round < rounds; round += 1) {
  for (const row of rows) {
    const guard = createGuard({ rateLimit: false })
    const start = performance.now()
    const api = guard.fromOpenApi(row.doc)
    row.build.push(performance.now() - start)
    row.find.push(match(api, row.size))
    await guard.close()
  }
}
const [first] = rows
for (const { size, build, find } of rows) {
  const each = median(build) / size
  console.log(
    `${String(size).padStart(5)} operations: read in ${median(build).toFixed(0)} ms, ${(each * 1000).toFixed(0)} µs each ` +
      `(${(each / (median(first.build) / first.size)).toFixed(2)}x of ${first.size}); ` +
      `a request looked up in ${median(find).toFixed(0)} ns (${(median(find) / median(first.find)).toFixed(2)}x)`
  )
}

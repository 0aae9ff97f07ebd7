// The table of attacks on bodies, forms and queries (__test__/helpers/payload-attacks.mjs), run
// against keepstone and against what else is put before a handler. Usage: node
// bench/payload-attacks.mjs [--all]      --all lists what each attack came to
//
// Every stack has the same rules in its own words: as strict as it offers them, with its parsers as
// they come. An attack counts as `passed` where the handler is reached, as `large` where a refusal
// is more than 8 kB, and as `failed` where the answer is a 500 or there is none.

import http from 'node:http'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { table } from './lib/stats.mjs'
import { SCHEMA, TEXT_SCHEMA, attacks, controls } from '../__test__/helpers/payload-attacks.mjs'

const require = createRequire(import.meta.url)
const root = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '..'))
const { createGuard } = require(root)
const { z } = require('zod')
const { body, query, checkExact, matchedData, validationResult } = require('express-validator')
const express5 = require('express')
const express4 = createRequire(path.join(root, 'package.json'))('express-4')

const handler = (req, res) => res.json({})
// A fault of a parser or of the application is a status here, not a page.
const onError = (error, req, res, _next) => res.status(error.status ?? 500).json({ error: 'refused' })

function keepstone(express) {
  const guard = createGuard({ rateLimit: false })
  const app = express()
  app.post('/body', ...guard.securityStack({ body: SCHEMA }), handler)
  app.post('/form', ...guard.securityStack({ body: TEXT_SCHEMA, payload: { types: ['form'] } }), handler)
  app.get('/query', guard.validate({ query: TEXT_SCHEMA }), handler)
  return app
}

/** express.json() and express.urlencoded(), with zod behind them. */
function zod(express) {
  const username = z.string().min(3).max(20).regex(/^[a-z0-9]+$/)
  const note = z.string().max(200_000)
  const tags = z.array(z.string()).optional()
  const items = z.array(z.strictObject({ a: z.int(), b: z.int() })).optional()
  const json = z.strictObject({ username, note, age: z.int().min(0).optional(), tags, items, meta: z.json().optional() })
  const text = z.strictObject({ username, note, age: z.coerce.number().int().min(0).optional(), tags: z.union([z.string().transform((one) => [one]), z.array(z.string())]).optional() })
  const check = (part, schema) => (req, res, next) => {
    const result = schema.safeParse(req[part])
    if (result.success) next()
    else res.status(422).json({ issues: result.error.issues })
  }
  const app = express()
  app.use(express.json(), express.urlencoded({ extended: true }))
  app.post('/body', check('body', json), handler)
  app.post('/form', check('body', text), handler)
  app.get('/query', check('query', text), handler)
  app.use(onError)
  return app
}

/** express.json() and express.urlencoded(), with express-validator behind them. */
function validator(express) {
  const rules = (at) => [
    at('username').isLength({ min: 3, max: 20 }).matches(/^[a-z0-9]+$/),
    at('note').exists().isLength({ max: 200_000 }),
    at('age').optional().isInt({ min: 0 }),
    at('tags').optional().toArray(),
    at('tags.*').isString()
  ]
  const json = [...rules(body), body('items').optional().isArray(), body('items.*.a').isInt(), body('items.*.b').isInt(), body('meta').optional()]
  const answer = (req, res, next) => {
    const errors = validationResult(req)
    if (!errors.isEmpty()) return res.status(422).json({ errors: errors.array() })
    matchedData(req)
    next()
  }
  const app = express()
  app.use(express.json(), express.urlencoded({ extended: true }))
  app.post('/body', checkExact(json, { locations: ['body'] }), answer, handler)
  app.post('/form', checkExact(rules(body), { locations: ['body'] }), answer, handler)
  app.get('/query', checkExact(rules(query), { locations: ['query'] }), answer, handler)
  app.use(onError)
  return app
}

const stacks = [
  ['keepstone', keepstone],
  ['express.json, zod', zod],
  ['express.json, express-validator', validator]
].flatMap(([name, make]) => [[`${name}, Express 5`, make(express5)], [`${name}, Express 4`, make(express4)]])

const agent = new http.Agent({ keepAlive: false })
function send(port, { method, path: target, headers = {}, body: bytes }) {
  return new Promise((resolve) => {
    const request = http.request({ host: '127.0.0.1', port, method, path: target, headers, agent }, (response) => {
      let size = 0
      response.on('data', (chunk) => (size += chunk.length))
      response.on('end', () => resolve({ status: response.statusCode, size }))
    })
    request.on('error', () => resolve({ status: 0, size: 0 }))
    request.end(bytes)
  })
}

function outcome({ status, size }) {
  if (status >= 200 && status < 300) return 'passed'
  if (status === 0 || status >= 500) return 'failed'
  return size > 8192 ? 'large' : 'refused'
}

const verdicts = new Map()
const missed = []
for (const [name, app] of stacks) {
  const server = http.createServer({ maxHeaderSize: 1 << 16 }, app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  for (const { name: what, request } of controls) {
    const answer = await send(port, request)
    if (answer.status !== 200) missed.push(`${name} refuses ${what} with ${answer.status}`)
  }
  const found = []
  for (const { request } of attacks) found.push(outcome(await send(port, request)))
  verdicts.set(name, found)
  server.close()
  server.closeAllConnections()
}

const names = stacks.map(([name]) => name)
const groups = [...new Set(attacks.map(({ where, kind }) => `${where}: ${kind}`))]
const cell = (found, at) => {
  const of = (verdict) => at.filter((i) => found[i] === verdict).length
  const odd = ['failed', 'large'].map((verdict) => [of(verdict), verdict]).filter(([count]) => count > 0)
  return [`${of('passed')}`, ...odd.map(([count, verdict]) => `${count} ${verdict}`)].join(', ')
}
const rowOf = (name, at) => [name, String(at.length), ...names.map((stack) => cell(verdicts.get(stack), at))]
const every = attacks.map((_, i) => i)
// Two lines of heads keep the columns narrow.
console.log(`Attacks that reach the handler, of ${attacks.length}; "failed" are answered with 500, "large" with a refusal of more than 8 kB\n`)
console.log(names.map((name, i) => `${i + 1}  ${name}`).join('\n'), '\n')
console.log(table(['', 'cases', ...names.map((_, i) => `${i + 1}`)], [
  ...groups.map((group) => rowOf(group, every.filter((i) => `${attacks[i].where}: ${attacks[i].kind}` === group))),
  rowOf('all', every)
]))
if (process.argv.includes('--all')) {
  console.log(`\n${table(['', ...names.map((_, i) => `${i + 1}`)], attacks.map(({ where, kind, name }, i) => [`${where}: ${kind}: ${name}`, ...names.map((stack) => verdicts.get(stack)[i])]))}`)
}
for (const line of missed) console.error(`a good request is refused: ${line}`)
if (missed.length > 0 || names.some((name) => name.startsWith('keepstone') && verdicts.get(name).some((verdict) => verdict !== 'refused'))) process.exitCode = 1

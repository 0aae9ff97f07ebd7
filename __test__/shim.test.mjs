// What the shim does to requests and responses for speed, and that nobody can tell.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'

const require = createRequire(import.meta.url)
const { prepareHeaders } = require('../shim/headers.js')
const { putHeaders } = require('../shim/hosts/node-http/headers.js')
const { read } = require('../shim/answer.js')

const response = () => new http.ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, headers: {} })
const some = ['X-Frame-Options', 'DENY', 'Vary', 'Origin', 'x-lower', 'a; b="c"']

/** What is sent, and what a handler can see and do before. */
function seen(res) {
  const before = [res.getHeaders(), res.getHeaderNames(), res.getHeader('VARY'), res.hasHeader('x-frame-options')]
  res.setHeader('x-frame-options', 'SAMEORIGIN')
  res.appendHeader('Vary', 'Cookie')
  res.removeHeader('X-Lower')
  const after = res.getHeaders()
  res.sendDate = false
  res.writeHead(204)
  return [...before, after, res._header]
}

test('headers that are put are the same to everybody as headers that are set', () => {
  const [put, set, again] = [response(), response(), response()]
  for (const res of [put, set]) res.setHeader('vary', 'Accept')
  const fields = prepareHeaders(some)
  putHeaders(put, fields)
  for (let i = 0; i < some.length; i += 2) set.setHeader(some[i], some[i + 1])
  assert.deepEqual(seen(put), seen(set))
  putHeaders(again, fields)
  assert.deepEqual(again.getHeader('vary'), 'Origin', 'one response does not see what another appends')
})

test('headers are set where somebody watches `setHeader`, and on what is no response of Node', () => {
  const told = []
  const watched = Object.assign(response(), { setHeader: (...header) => void told.push(header) })
  const foreign = { setHeader: (...header) => void told.push(header) }
  const fields = prepareHeaders(['Vary', 'Origin'])
  putHeaders(watched, fields)
  putHeaders(foreign, fields)
  assert.deepEqual(told, [['Vary', 'Origin'], ['Vary', 'Origin']])
})

test('this Node keeps headers where we look for them, so that they are checked once only', () => {
  let reads = 0
  const res = response()
  const value = { toString: () => String((reads += 1)) }
  // `setHeader` reads a value to check it; what was prepared is not read again.
  putHeaders(res, ['x-a', 'X-A', value])
  assert.equal(reads, 0)
  assert.equal(res.getHeader('x-a'), value)
})

test('a header that Node would refuse is refused when it is prepared', () => {
  assert.throws(() => prepareHeaders(['X-A', 'b\r\nSet-Cookie: c']))
  assert.throws(() => prepareHeaders(['X A', 'b']))
})

for (const [name, express] of expresses) {
  test(`${name}: request and response keep what they have`, async () => {
    let before
    const app = express()
    app.use((req, res, next) => {
      before = [Object.keys(req), Object.keys(res)]
      next()
    })
    app.use(createGuard({ rateLimit: false }).securityStack())
    app.get('/', (req, res) => {
      const lost = [req, res].flatMap((object, i) => before[i].filter((key) => !Object.keys(object).includes(key)))
      res.json([lost.length, req.res === res, res.req === req, Object.getOwnPropertyDescriptor(req, 'res').writable])
    })
    await serve(app, async (send) => {
      const answer = await send()
      assert.deepEqual(answer.json, [0, true, true, true])
    })
  })
}

test('requests of Express share one hidden class behind the guard, and so do responses', () => {
  const script = `
    const { createGuard } = require('./index.js')
    const http = require('node:http')
    const app = require('express')()
    app.use(createGuard({ rateLimit: false }).securityStack())
    let first
    app.get('/', (req, res) => {
      if (first === undefined) return (first = [req, res])
      console.log(%HaveSameMap(first[0], req), %HaveSameMap(first[1], res))
      process.exit()
    })
    const server = app.listen(0, '127.0.0.1', () => {
      for (let i = 0; i < 2; i += 1) http.get({ port: server.address().port, host: '127.0.0.1' }).on('error', () => {})
    })`
  // V8 finds the shared class in a cache of 64 entries, by a hash that is random in each process.
  // In about one process of 125, request and response take turns in one entry, and share nothing.
  const runs = []
  while (runs.length < 3 && runs.at(-1) !== 'true true') {
    const { stdout, stderr } = spawnSync(process.execPath, ['--allow-natives-syntax', '-e', script], { encoding: 'utf8', timeout: 20_000 })
    runs.push(stdout.trim() || stderr)
  }
  assert.equal(runs.at(-1), 'true true', runs.join('\n'))
})

test('an answer of the core is cut at each of its lines, however it begins', () => {
  const pass = ['0', '', '', '', '', '', '', 'RateLimit-Policy\u001f"p";q=1;w=1', '"p";r=0;t=1', '', '', '192.0.2.7', '[["p",1,0,1,0]]', '', '', '']
  const secure = pass.map((line, i) => (i === 6 ? '1' : line))
  const refused = pass.map((line, i) => ['2', '429', 'rate_limited', '{}'][i] ?? line)
  for (const lines of [pass, secure, refused, [...pass, '7'], pass.map((line, i) => (i > 0 ? '' : line))]) {
    assert.deepEqual(read(lines.join('\n')), lines)
  }
})

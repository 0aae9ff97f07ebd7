// The worst bodies of up to 100 kB that a client can send: what each costs until its answer is
// finished, and how large the answer is. Beside it JSON.parse with zod, on the same bytes and with
// the same rules where zod has them. Usage: node bench/bodies.mjs [part of a name]
//
// Without HTTP: the middleware is called with a request that has what it reads of one, its body in
// pieces of 16 kB. What is measured is the processor time of the whole process, per request.

import { createRequire } from 'node:module'
import path from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { median, number, table } from './lib/stats.mjs'

const require = createRequire(import.meta.url)
const root = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '..'))
const { createGuard } = require(root)
const { z } = require('zod')

const KB = 1024
const MOST = 100 * KB
const chosen = process.argv[2] ?? ''
const ROUNDS = 15
const BATCH = 8

const many = (count, make) => Array.from({ length: count }, (_, i) => make(i))
/** `piece` as often as it fits between `start` and `end`. */
const full = (start, piece, end) => start + piece.repeat(Math.floor((MOST - start.length - end.length) / piece.length)) + end
const list = (count, make) => `[${many(count, make).join(',')}]`
const text = (more) => ({ type: 'string', ...more })
const items = (schema, more) => ({ type: 'array', items: schema, ...more })
const wrong = { type: 'object', required: ['a', 'b'], properties: { a: { type: 'integer' }, b: { type: 'integer' } } }
const zWrong = z.array(z.strictObject({ a: z.int(), b: z.int() }))
const shape = (i) => ({ type: 'object', required: ['kind', `m${i}`], properties: { kind: { const: `k${i}` }, [`m${i}`]: { type: 'integer' } } })
const FORM = { types: ['form'] }

// [name, body, JSON Schema, zod, payload]
const cases = [
  ['depth: lists', '['.repeat(MOST), {}, z.json()],
  ['depth: objects', full('', '{"a":', ''), {}, z.json()],
  ['depth: 32 levels, closed', list(500, () => `${'['.repeat(30)}${']'.repeat(30)}`), {}, z.json()],
  ['keys: 7,000', `{${many(7000, (i) => `"key${i}":0`).join(',')}}`, { type: 'object', properties: {} }, z.strictObject({})],
  ['keys: 1,000 unknown', `{${many(1000, (i) => `"${'k'.repeat(80)}${i}":0`).join(',')}}`, { type: 'object', properties: {} }, z.strictObject({})],
  ['keys: 1,000 alike but for their ends', `{${many(1000, (i) => `"${'k'.repeat(85)}${String(i).padStart(4, '0')}":0`).join(',')}}`, { type: 'object' }, z.record(z.string(), z.number())],
  ['keys: objects of 16 long ones', list(15, (j) => `{${many(16, (i) => `"${'k'.repeat(390)}${String(i + j).padStart(2, '0')}":0`).join(',')}}`), {}, z.json()],
  ['values: 50,000', full('[0', ',0', ']'), items({ type: 'integer' }), z.array(z.int())],
  ['values: 9,999 good ones', list(9998, (i) => i), items({ type: 'integer' }), z.array(z.int())],
  ['errors: 36,000', full('[{}', ',{}', ']'), items(wrong), zWrong],
  ['errors: 4,900 objects within the limits', list(4900, () => '{"a":""}'), items(wrong), zWrong],
  ['errors: 9,900 strings within the limits', list(9900, () => '""'), items({ type: 'integer' }), z.array(z.int())],
  ['errors: 500 values, as many as are explained', list(250, () => '{"a":""}'), items(wrong), zWrong],
  ['errors: names of 64 characters that grow when shown', `{${many(100, (i) => `"${'\u{1f600}'.repeat(62)}${i}":0`).join(',')}}`, { type: 'object', properties: {} }, z.strictObject({})],
  ['escapes: \\u0061', full('"', '\\u0061', '"'), text(), z.string()],
  ['escapes: \\n', full('"', '\\n', '"'), text(), z.string()],
  ['escapes: surrogate pairs', full('"', '\\ud83d\\ude00', '"'), text({ maxLength: 10 }), z.string().max(10)],
  ['text: 100 kB of it', full('"', 'é', '"').slice(0, MOST / 2) + '"', text({ maxLength: 10 }), z.string().max(10)],
  ['pattern: ^(a+)+$', full('"', 'a', '!"'), text({ pattern: '^(a+)+$' }), null],
  ['pattern: ^([a-z0-9]+-?)*$', full('"', 'a', '!"'), text({ pattern: '^([a-z0-9]+-?)*$' }), null],
  ['pattern: ^\\s*(.*?)\\s*$', full('"x', ' ', 'x"'), text({ pattern: '^\\s*(.*?)\\s*x$' }), null],
  ['pattern: [a-z]{1,100}@ many times', full('"', 'a', '"'), text({ pattern: '[a-z]{1,100}@' }), null],
  ['format: email', full('"', 'a.', '@"'), text({ format: 'email' }), z.email()],
  ['format: uri', full('"http://', 'a@', '"'), text({ format: 'uri' }), z.url()],
  ['format: date-time', full('"2026-01-01T00:00:00.', '0', '"'), text({ format: 'date-time' }), z.iso.datetime()],
  ['format: hostname', full('"', 'a.', '"'), text({ format: 'hostname' }), null],
  ['format: ipv6', full('"', ':0', '"'), text({ format: 'ipv6' }), z.ipv6()],
  ['format: duration', full('"P', '1', 'D"'), text({ format: 'duration' }), null],
  ['format: uri-template', full('"', '{a}', '"'), text({ format: 'uri-template' }), null],
  ['format: regex', full('"', '(a', '"'), text({ format: 'regex' }), null],
  ['number: 100,000 digits', full('0.', '1', '1'), { type: 'number' }, z.number()],
  ['number: of 17 digits', list(5000, (i) => `0.1234567890123${String(i).padStart(4, '0')}`), items({ type: 'number' }), z.array(z.number())],
  ['number: multipleOf', list(9000, () => '0.7'), items({ type: 'number', multipleOf: 0.01 }), z.array(z.number().multipleOf(0.01))],
  ['uniqueItems: numbers', list(9990, (i) => i), items({}, { uniqueItems: true }), null],
  ['uniqueItems: strings', list(9000, (i) => `"s${i}"`), items({}, { uniqueItems: true }), null],
  ['uniqueItems: objects', list(4900, (i) => `{"a":${i}}`), items({}, { uniqueItems: true }), null],
  ['uniqueItems: lists that are alike at first', list(190, (i) => list(50, (k) => (k === 49 ? i : 0))), items({}, { uniqueItems: true }), null],
  ['choice: 20 forms, none fits', list(3000, (i) => `{"kind":"k${i % 20}"}`), items({ anyOf: many(20, shape) }), z.array(z.union(many(20, (i) => z.strictObject({ kind: z.literal(`k${i}`), [`m${i}`]: z.int() }))))],
  ['choice: within a recursion', `${'[1,'.repeat(31)}0${']'.repeat(31)}`, { $ref: '#/$defs/n', $defs: { n: { oneOf: [{ type: 'string' }, { type: 'array', items: { $ref: '#/$defs/n' } }, { type: 'array', items: { $ref: '#/$defs/n' }, minItems: 9 }] } } }, null],
  ['form: 50,000 names', full('a=', '&b', ''), text(), null, FORM],
  ['form: 9,000 lists', many(9000, (i) => `k${i}[]=`).join('&'), null, null, FORM],
  ['form: one list, broken at its end', `${full('t=', '&t=1', '').slice(0, 40_000)}&t=%00`, { type: 'object', properties: { t: items({ type: 'string' }) } }, null, FORM],
  ['form: 9,900 values of a list that are wrong', many(9900, () => 't=x').join('&'), { type: 'object', properties: { t: items({ type: 'integer' }) } }, null, FORM],
  ['form: encodings', full('a=', '%41', ''), { type: 'object', properties: { a: text({ maxLength: 5 }) } }, null, FORM],
  ['form: control characters', full('a=', '%01', ''), { type: 'object', properties: { a: text({ maxLength: 5 }) } }, null, FORM]
].filter(([name]) => name.includes(chosen))

/** Sends bytes through the middleware; gives what its response was. */
function ask(protect, bytes, type) {
  return new Promise((resolve) => {
    let at = 0
    const req = new Readable({
      read() {
        this.push(at < bytes.length ? bytes.subarray(at, (at += 16 * KB)) : null)
      }
    })
    const headers = { host: 'x', 'content-type': type, 'content-length': String(bytes.length) }
    const rawHeaders = Object.entries(headers).flat()
    Object.assign(req, { method: 'POST', url: '/', headers, rawHeaders, httpVersionMajor: 1, complete: true, socket: { remoteAddress: '127.0.0.1', encrypted: false } })
    const res = {
      req,
      headersSent: false, writableEnded: false, destroyed: false,
      setHeader() {}, getHeader() {}, removeHeader() {},
      end(problem) {
        resolve({ status: this.statusCode, size: Buffer.byteLength(problem ?? '') })
      }
    }
    protect(req, res, () => resolve({ status: 200, size: 0 }))
  })
}

/** What zod would do: parse, judge, and write what is wrong. */
function judge(schema, bytes) {
  try {
    const result = schema.safeParse(JSON.parse(bytes.toString()))
    return result.success ? { status: 200, size: 0 } : { status: 422, size: Buffer.byteLength(JSON.stringify({ issues: result.error.issues })) }
  } catch (error) {
    return { status: error instanceof SyntaxError ? 400 : 500, size: 0 }
  }
}

/** Milliseconds of processor time of each call, by rounds of several. */
async function measure(call) {
  const rounds = []
  let answer
  const began = performance.now()
  for (let round = -2; round < ROUNDS && performance.now() - began < 4000; round += 1) {
    const before = process.cpuUsage()
    for (let i = 0; i < BATCH; i += 1) answer = await call()
    const { user, system } = process.cpuUsage(before)
    if (round >= 0 || rounds.length === 0) rounds.push((user + system) / 1000 / BATCH)
  }
  return { ...answer, ms: median(rounds) }
}

const rows = []
let worst = { ms: 0, size: 0 }
for (const [name, body, schema, zod, payload] of cases) {
  const bytes = Buffer.from(body)
  if (bytes.length > MOST + 2) throw new Error(`${name} has ${bytes.length} bytes`)
  const guard = createGuard({ headers: false, rateLimit: false, ...(payload === undefined ? {} : { payload }) })
  const protect = schema === null ? guard.securityStack() : guard.validate({ body: schema })
  const type = payload === undefined ? 'application/json' : 'application/x-www-form-urlencoded'
  const ours = await measure(() => ask(protect, bytes, type))
  const theirs = zod === null || zod === undefined ? null : await measure(() => judge(zod, bytes))
  worst = { ms: Math.max(worst.ms, ours.ms), size: Math.max(worst.size, ours.size) }
  rows.push([name, String(bytes.length), `${ours.status}`, number(ours.ms), `${ours.size}`, ...(theirs === null ? ['', '', ''] : [`${theirs.status}`, number(theirs.ms), `${theirs.size}`])])
  await guard.close()
}
console.log(table(['body', 'bytes', 'status', 'CPU ms', 'answer', 'zod status', 'CPU ms', 'answer'], rows))
console.log(`\nthe most: ${number(worst.ms)} ms, ${worst.size} bytes`)

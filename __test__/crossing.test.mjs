// What goes over the edge between JavaScript and the core: it comes over whole, or not at all.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'

const native = createRequire(import.meta.url)('../native.js')

const { guard } = JSON.parse(native.createGuard(JSON.stringify({ rateLimit: false }))).ok
const stackOf = (options) => JSON.parse(native.stack(guard, JSON.stringify(options), 'payload')).ok.stack
const lines = (answer) => answer.split('\n')
const CHECKED = 14
const TICKET = 15

test('a call of the core with something else than it takes is an error, and the next one is answered', () => {
  const body = Buffer.from('{}')
  const wrong = {
    decide: [[], ['1', 'head'], [0, 7], [0, {}], [0, 'head', 7], [Symbol('s'), 'head']],
    resumeWithCallbacks: [[0], [0, null], [{}, '[]']],
    resumeWithCertificate: [[], [0, 1]],
    decideBody: [[], [0], [0, 'text'], [0, null], [0, {}], [undefined, body]],
    refuseBody: [[0], [0, body]],
    resumeAfterDelay: [[], ['1']],
    resumeWithStore: [[], [null]],
    abandon: [[], [{}]],
    finished: [[0], [0, 1], ['0', true]],
    judgeResponse: [[0, 200], [0, '200', body], [0, 200, 'text']]
  }
  for (const [name, calls] of Object.entries(wrong)) {
    for (const given of calls) assert.throws(() => native[name](...given), { code: 'ERR_INTERNAL' }, `${name} with ${given.length}`)
  }
  assert.match(native.decideBody(0, body), /^2\n500\ninternal_error\n/)
})

test('a head comes over whole, however long it is and whatever stands where its buffer ends', () => {
  const stack = stackOf({ headers: { type: 'object', properties: { 'x-long': { type: 'string' } } } })
  const start = '10\nGET\n/\n127.0.0.1\n\n\n\n\nx-long\n'
  // One, two, three and four bytes; half of a pair is no character.
  for (const [mark, bytes, read = mark] of [['x', 1], ['\u00e9', 2], ['\u20ac', 3], ['\u{1f511}', 4], ['\ud800', 3, '\ufffd']]) {
    for (let size = 8192 - start.length - 12; size < 8192 - start.length + 12; size += 1) {
      const value = `${'.'.repeat(size % bytes)}${mark.repeat(Math.floor(size / bytes))}`
      const whole = `${'.'.repeat(size % bytes)}${read.repeat(Math.floor(size / bytes))}`
      const answer = lines(native.decide(stack, start + value))
      assert.equal(JSON.parse(answer[CHECKED]).headers['x-long'], whole, `${bytes} bytes, ${size}`)
    }
  }
  const long = '\u00e9'.repeat(1_000_000)
  assert.equal(JSON.parse(lines(native.decide(stack, start + long))[CHECKED]).headers['x-long'], long)
})

test('a body is read from any view of bytes, also from one in the middle of another or of nothing', () => {
  const stack = stackOf({ body: { type: 'object', properties: { name: { type: 'string' } } } })
  const text = '{"name":"Ada"}'
  const bytes = Buffer.from(`..${text}..`)
  const ticket = () => Number(lines(native.decide(stack, `12\nPOST\n/\n127.0.0.1\n\nb\n\n\nContent-Type\napplication/json\nContent-Length\n${text.length}`))[TICKET])
  for (const view of [bytes.subarray(2, -2), new Uint8Array(bytes).subarray(2, text.length + 2), new DataView(new Uint8Array(bytes).buffer, 2, text.length)]) {
    assert.equal(native.decideBody(ticket(), view), undefined)
  }
  assert.match(native.decideBody(ticket(), bytes), /^2\n400\n/)
  for (const nothing of [Buffer.alloc(0), new Uint8Array(0), structuredClone(new Uint8Array(4), { transfer: [] }).subarray(4)]) {
    assert.match(native.decideBody(ticket(), nothing), /^[02]\n/)
  }
  // Its memory is gone to another thread.
  const gone = new Uint8Array(Buffer.from(text))
  structuredClone(gone.buffer, { transfer: [gone.buffer] })
  assert.match(native.decideBody(ticket(), gone), /^[02]\n/)
})

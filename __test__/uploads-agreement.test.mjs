// Multipart bodies beside other readers: what is accepted here, busboy and the runtime's own
// FormData read the same; what has a second reading is refused here.
// `node __test__/uploads-agreement.test.mjs --all` lists what reaches a handler behind multer.

import { test } from 'node:test'
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import busboy from 'busboy'
import express from 'express'
import multer from 'multer'
import { createGuard } from 'keepstone'
import { serve } from './helpers/http.mjs'

const BODIES = Number(process.env.KEEPSTONE_UPLOADS ?? 3000)
const TYPE = 'multipart/form-data; boundary=b'
const guard = createGuard({ rateLimit: false })
const any = { types: ['*/*'], maxCount: 9, optional: true }
const stack = guard.securityStack({ body: { type: 'object', additionalProperties: { type: 'array', items: { type: 'string' } }, properties: { t: { type: 'array', items: { type: 'string' } } } }, payload: { types: ['multipart'], files: { f: any } } })

/** What the guard makes of a body; null if it refuses it. */
async function ours(body, type = TYPE) {
  const result = await guard.check({ method: 'POST', target: '/', headers: [['content-type', type], ['content-length', String(body.length)]], address: '192.0.2.1', body }, stack)
  if (!result.allowed) return null
  return { fields: result.body.t ?? [], files: result.body.f.map(({ name, bytes }) => [name, bytes.toString('latin1')]) }
}

/** What busboy makes of it. */
function busboys(body) {
  return new Promise((resolve, reject) => {
    const found = { fields: [], files: [] }
    const parser = busboy({ headers: { 'content-type': TYPE }, defParamCharset: 'utf8' })
    parser.on('field', (_name, value) => found.fields.push(value))
    parser.on('file', (_name, stream, { filename }) => {
      const file = [filename, '']
      // busboy takes an input without a file for a file without a name.
      if (filename !== undefined && filename !== '') found.files.push(file)
      stream.on('data', (data) => (file[1] += data.toString('latin1')))
    })
    parser.on('close', () => resolve(found))
    parser.on('error', reject)
    Readable.from([body]).pipe(parser)
  })
}

/** What the runtime makes of it; null if it refuses it. */
async function runtimes(body) {
  const data = await new Response(body, { headers: { 'content-type': TYPE } }).formData().catch(() => null)
  if (data === null) return null
  const found = { fields: data.getAll('t').map(String), files: [] }
  for (const file of data.getAll('f')) if (file.name !== '') found.files.push([file.name, Buffer.from(await file.arrayBuffer()).toString('latin1')])
  return found
}

const PIECES = [
  '--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n', '--b\r\nContent-Disposition: form-data; name="t"\r\n\r\n',
  '--b\r\ncontent-type: text/plain\r\nContent-Disposition: form-data; name=t\r\n\r\n', '\r\n', '\r\n', '--b--\r\n', '--b--', '--b', '-', '\r', '\n', 'x', 'ä', '--', '\r\n--', ' '
]
const random = (most) => Math.floor(Math.random() * most)
const wellFormed = () => `${Array.from({ length: random(4) }, () => `${PIECES[random(3)]}${Array.from({ length: random(6) }, () => PIECES[random(PIECES.length - 9) + 9]).join('')}\r\n`).join('')}--b--\r\n`
const anyhow = () => Array.from({ length: random(12) }, () => PIECES[random(PIECES.length)]).join('')

test('what is accepted has one reading: busboy and FormData read the same', async () => {
  let accepted = 0
  let compared = 0
  for (let i = 0; i < BODIES; i += 1) {
    const body = Buffer.from(i % 3 === 0 ? anyhow() : wellFormed())
    const own = await ours(body)
    if (own === null) continue
    accepted += 1
    assert.deepEqual(await busboys(body).catch(({ message }) => message), own, JSON.stringify(body.toString()))
    const runtime = await runtimes(body)
    if (runtime === null) continue
    compared += 1
    assert.deepEqual(runtime, own, JSON.stringify(body.toString()))
  }
  assert.ok(Math.min(accepted, compared) > BODIES / 10, `${accepted} were accepted, and the runtime has read ${compared}`)
})

const part = (head, content = '1') => `--b\r\n${head}\r\n\r\n${content}\r\n`
const field = 'Content-Disposition: form-data; name="t"'
const file = (params) => part(`Content-Disposition: form-data; name="f"; ${params}`)
const good = part(field)
const HOSTILE = {
  'a preamble': `x\r\n${good}--b--`, 'a part in the preamble': `Content-Disposition: form-data; name="t"\r\n\r\n1\r\n${good}--b--`, 'an epilogue': `${good}--b--\r\nx`,
  'a second body behind the end': `${good}--b--\r\n${good}--b--`, 'no end': good, 'half an end': `${good}--b-`, 'a part without its end': `${good}--b\r\n${field}\r\n\r\n1`,
  'text behind a boundary': `--bc\r\n${field}\r\n\r\n1\r\n--b--`, 'a header on the line of a boundary': `--b${field}\r\n\r\n1\r\n--b--`, 'blanks behind a boundary': `--b  \r\n${field}\r\n\r\n1\r\n--b--`,
  'a boundary directly behind the headers': `--b\r\n${field}\r\n\r\n--b\r\n${field}\r\n\r\n1\r\n--b--`, 'bare line feeds': `--b\n${field}\n\n1\n--b--\n`, 'a bare carriage return': `--b\r${field}\r\r1\r--b--`, 'another boundary': `--c\r\n${field}\r\n\r\n1\r\n--c--`,
  'a folded header': `${part('Content-Disposition: form-data;\r\n name="t"')}--b--`, 'a line without a colon': `${part(`${field}\r\nx`)}--b--`, 'a blank in front of the colon': `${part('Content-Disposition : form-data; name="t"')}--b--`,
  'two dispositions': `${part(`${field}\r\nContent-Disposition: form-data; name="role"`)}--b--`, 'a disposition of another kind': `${part('Content-Disposition: attachment; name="t"')}--b--`, 'no disposition': `${part('X: 1')}${good}--b--`,
  'no headers': `--b\r\n\r\n1\r\n${good}--b--`, 'no name': `${part('Content-Disposition: form-data')}${good}--b--`, 'an empty name': `${part('Content-Disposition: form-data; name=""')}--b--`,
  'two names': `${part('Content-Disposition: form-data; name="t"; name="role"')}--b--`, 'two names of a file': `${file('filename="a.png"; filename="a.php"')}--b--`, 'two names that differ': `${file('filename="a.png"; filename*=utf-8\'\'a.php')}--b--`,
  'an extended name in another charset': `${file('filename*=iso-8859-1\'\'a%e4')}--b--`, 'an escaped quote': `${file('filename="a\\"; name=\\"role"')}--b--`, 'a quote that does not end': `${file('filename="a')}--b--`,
  'an unknown parameter': `${file('filename="a"; size=1')}--b--`, 'a path': `${file('filename="../../a"')}--b--`, 'a path of Windows': `${file('filename="C:\\a"')}--b--`, 'an encoded path': `${file('filename="..%2fa"')}--b--`,
  'a zero byte in a name': `${file('filename="a\0.png"')}--b--`, 'an override of direction': `${file('filename="a\u202egnp.exe"')}--b--`, 'a device': `${file('filename="con.txt"')}--b--`, 'a dot at the end': `${file('filename="a.php."')}--b--`,
  'a stream of NTFS': `${file('filename="a.txt::$DATA"')}--b--`, 'base64': `${part(`${field}\r\nContent-Transfer-Encoding: base64`, 'MQ==')}--b--`, 'quoted-printable': `${part(`${field}\r\nContent-Transfer-Encoding: quoted-printable`)}--b--`,
  'utf-7': `${part(`${field}\r\nContent-Type: text/plain; charset=utf-7`, '+ADw-')}--b--`, '_charset_': `${part('Content-Disposition: form-data; name="_charset_"', 'utf-7')}${good}--b--`, 'no UTF-8': Buffer.concat([Buffer.from(`--b\r\n${field}\r\n\r\n`), Buffer.of(0xff), Buffer.from('\r\n--b--')]),
  'multipart inside': `${part(`${field}\r\nContent-Type: multipart/mixed; boundary=c`, '--c--')}--b--`, 'a wrong length': `${part(`${field}\r\nContent-Length: 0`)}--b--`, 'a page as a field': `${part(`${field}\r\nContent-Type: text/html`)}--b--`,
  'a file where none is taken': `${part('Content-Disposition: form-data; name="t"; filename="a"')}--b--`, 'a field where a file is taken': `${part('Content-Disposition: form-data; name="f"')}--b--`, '__proto__': `${part('Content-Disposition: form-data; name="__proto__"')}--b--`,
  '__proto__ in brackets': `${part('Content-Disposition: form-data; name="t[__proto__]"')}--b--`, 'an operator': `${part('Content-Disposition: form-data; name="$where"')}--b--`, 'a header named __proto__': `${part(`__proto__: 1\r\n__proto__: 2\r\n${field}`)}--b--`,
  'a zero byte in a value': `${part(field, 'a\0')}--b--`, 'many headers': `${part(`${Array.from({ length: 100 }, (_, i) => `X-${i}: 1`).join('\r\n')}\r\n${field}`)}--b--`, 'a long header': `${part(`X: ${'x'.repeat(10_000)}\r\n${field}`)}--b--`, 'many empty parts': `${part(field, '').repeat(3000)}--b--`
}

test('each hostile body is refused, and the connection of the next request is not touched', async () => {
  const cases = Object.entries(HOSTILE)
  assert.ok(cases.length >= 50)
  for (const [name, body] of cases) assert.equal(await ours(Buffer.from(body)), null, name)
  for (const type of ['multipart/form-data', 'multipart/form-data; boundary=b; boundary=c', 'multipart/form-data; boundary="b', `multipart/form-data; boundary=${'b'.repeat(71)}`, 'multipart/form-data; boundary="b "', 'multipart/form-data; boundary=b; charset=utf-7', 'multipart/mixed; boundary=b']) {
    assert.equal(await ours(Buffer.from(`${good}--b--`), type), null, type)
  }
  assert.deepEqual(await ours(Buffer.from(`${good}--b--`)), { fields: ['1'], files: [] })
})

if (process.argv.includes('--all')) {
  test('what reaches a handler behind multer', async () => {
    const app = express()
    app.post('/', multer({ limits: { fields: 1000, headerPairs: 50 } }).any(), (_req, res) => res.json(1))
    app.use((_error, _req, res, _next) => void res.status(400).end())
    await serve(app, async (send) => {
      const reached = []
      for (const [name, body] of Object.entries(HOSTILE)) if ((await send({ method: 'POST', headers: { 'content-type': TYPE }, body: Buffer.from(body) })).status === 200) reached.push(name)
      console.log(`${reached.length} of ${Object.keys(HOSTILE).length} reach a handler behind multer:`, reached)
    })
  })
}

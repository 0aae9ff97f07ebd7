// Standard error and warnings give the operator a place, and never a text that a client sent.

import test from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const debugAddon = fileURLToPath(new URL('../target/debug-addon/keepstone.node', import.meta.url))
const { describeError, GuardError } = createRequire(import.meta.url)('../shim/errors.js')

/** Runs a script in the package's folder; answers its exit code and what it printed. */
async function run(script, env = {}) {
  const child = spawn(process.execPath, ['-e', script], { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (err += chunk))
  const [code] = await once(child, 'close')
  return { code, out, err }
}

/** Serves with the guard of `config` and posts `bodies`; prints each status. */
const serve = (config, bodies) => `
const http = require('node:http')
const { createGuard } = require('keepstone')
const [protect] = createGuard(${config}).securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('passed')))
const bodies = ${JSON.stringify(bodies)}
server.listen(0, '127.0.0.1', async () => {
  for (const body of bodies) {
    const res = await fetch('http://127.0.0.1:' + server.address().port + '/', { method: 'POST', body, headers: { 'content-type': 'application/json', connection: 'close' } })
    console.log('status', res.status)
  }
  server.close()
})
`

test('a caught panic prints its place and a count, and not its message', async () => {
  assert.ok(existsSync(debugAddon), 'the debug build of the addon is missing: npm run build:debug')
  const script = `
const native = require('./native.js')
for (let i = 0; i < 20; i++) try { native.debugPanicSaying('hunter2\\n'.repeat(100)) } catch {}
`
  const { code, err } = await run(script, { NAPI_RS_NATIVE_LIBRARY_PATH: debugAddon, RUST_BACKTRACE: 'full' })
  assert.equal(code, 0, err)
  assert.doesNotMatch(err, /hunter2/)
  const lines = err.trim().split('\n')
  assert.equal(lines.length, 2, err)
  assert.match(lines[0], /^keepstone: a panic at src\/node\/panics\.rs:\d+:\d+ was caught \(1 so far\); see docs\/reference\/errors\.md#panics$/)
  assert.match(lines[1], /\(10 so far\)/)
})

test('an operation that panicked rejects without the message of the panic', async () => {
  assert.ok(existsSync(debugAddon), 'the debug build of the addon is missing: npm run build:debug')
  const script = `
const native = require('./native.js')
const guard = require('keepstone').createGuard({ policy: { policies: { 'a.rego': 'package a\\ndefault allow = false' }, query: 'data.a.allow' } })
native.policyEvaluate = () => native.debugPanicSaying('hunter2')
guard.policy.evaluate({}).catch((error) => console.log(error.code, require('node:util').inspect(error)))
`
  const { code, out, err } = await run(script, { NAPI_RS_NATIVE_LIBRARY_PATH: debugAddon })
  assert.equal(code, 0, err)
  assert.match(out, /^ERR_INTERNAL/)
  assert.doesNotMatch(out + err, /hunter2/)
})

test('a hostile body brings a policy to no panic, and its text to no output', async () => {
  const rego = `package a
import rego.v1
default allow := false
allow if object.subset(input.body.list, input.body.part)
allow if regex.template_match(input.body.template, input.body.text, "{", "}")
`
  const config = `{ policy: { policies: { 'a.rego': ${JSON.stringify(rego)} }, query: 'data.a.allow' } }`
  const bodies = [
    { list: ['hunter2'], part: [] },
    { template: 'hunter2-hunter2:{.*}', text: 'hunter2' },
    { template: 'é{.*}', text: 'hhunter2' }
  ].map((body) => JSON.stringify(body))
  const { code, out, err } = await run(serve(config, bodies))
  assert.equal(code, 0, err)
  assert.equal(err, '')
  assert.equal(out, 'status 200\nstatus 403\nstatus 403\n')
})

test('a function of the application that fails on what a client sent is named by its place', async () => {
  const config = `{
    log: (event) => JSON.parse('{"event": hunter2}'),
    rateLimit: { name: 'a', limit: 5, window: '1m', key: (req) => JSON.parse('hunter2') }
  }`
  const { code, out, err } = await run(serve(config, ['{}']))
  assert.equal(code, 0, err)
  assert.equal(out, 'status 500\n')
  assert.doesNotMatch(err, /hunter2/)
  assert.match(err, /\[GUARD_FAULT\] GuardWarning: a request was refused with 500, since a layer failed: SyntaxError/)
  assert.match(err, /\[GUARD_LOG_FAILED\] GuardWarning: the log function threw: SyntaxError/)
})

test('an error is described by its name, code and place', () => {
  const error = Object.assign(new TypeError('hunter2'), { code: 'ERR_IT' })
  assert.match(describeError(error), /^TypeError ERR_IT at (?:file:\/\/)?\/.*operator-texts\.test\.mjs:\d+:\d+$/)
  assert.equal(describeError(new GuardError('the store is gone', { code: 'X' })), 'the store is gone')
  // A message that looks like a frame, a name and a code that are none, and what is no error.
  assert.match(describeError(new Error('x\n    at hunter2 (/etc/hunter2:1:1)')), /^Error at .*operator-texts/)
  assert.doesNotMatch(describeError(Object.assign(new Error('x'), { name: 'hunter2 is not a name', code: 'hunter2 = 1' })), /hunter2/)
  const renamed = new Error('a\n    at hunter2 (/etc/hunter2:1:1)')
  renamed.message = 'b'
  assert.doesNotMatch(describeError(renamed), /hunter2/)
  renamed.message = ''
  assert.doesNotMatch(describeError(renamed), /hunter2/)
  for (const thrown of ['hunter2', { message: 'hunter2' }, null, undefined, 7n, Symbol('hunter2')]) assert.doesNotMatch(describeError(thrown), /hunter2/)
  const cruel = new Error('x')
  Object.defineProperty(cruel, 'message', { get() { throw new Error('hunter2') } })
  assert.equal(describeError(cruel), 'an error that cannot be read')
})

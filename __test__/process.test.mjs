// What the addon does to the process that loads it: nothing that is not asked for.

import test from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

const root = fileURLToPath(new URL('..', import.meta.url))
const debugAddon = fileURLToPath(new URL('../target/debug-addon/keepstone.node', import.meta.url))

/** Runs a program in the package's folder; answers its exit code and output. */
async function run(command, args, env = {}) {
  const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  child.stdout.on('data', (chunk) => (out += chunk))
  child.stderr.on('data', (chunk) => (out += chunk))
  // Long enough for npx to fetch another version of Node first.
  const timer = setTimeout(() => child.kill('SIGKILL'), 300_000)
  const [code, signal] = await once(child, 'close')
  clearTimeout(timer)
  return { code, signal, out }
}

const REQUIRE = `
const guard = require('keepstone')
const { createGuard, GuardError } = require('keepstone')
if (guard.createGuard !== createGuard || guard.default !== guard) throw new Error('two instances')
try { createGuard({ nope: 1 }) } catch (error) { if (!(error instanceof GuardError)) throw error; console.log('ok', error.code) }
`
const IMPORT = `
import guard, { createGuard, GuardError } from 'keepstone'
import { createRequire } from 'node:module'
const required = createRequire(process.cwd() + '/x.js')('keepstone')
if (guard !== required || guard.createGuard !== createGuard || required.GuardError !== GuardError) throw new Error('two instances')
try { createGuard({ nope: 1 }) } catch (error) { if (!(error instanceof GuardError)) throw error; console.log('ok', error.code) }
`
const SERVE = `
import http from 'node:http'
import { createGuard } from 'keepstone'
const [protect] = createGuard({ jwt: { issuer: 'https://i.example', audience: 'a', secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV' } }).securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('no')))
server.listen(0, '127.0.0.1', () => {
  http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => {
    console.log('status', res.statusCode)
    res.resume().on('end', () => server.close())
  })
})
`

const VERSIONS = [[`this Node (${process.version})`, process.execPath, []], ...[20, 22, 24, 26].map((major) => [`Node ${major}`, 'npx', ['-y', `node@${major}`]])]

for (const [name, command, before] of VERSIONS) {
  test(`${name}: require and import give one instance, and the process ends by itself after server.close()`, async () => {
    const required = await run(command, [...before, '--input-type=commonjs', '-e', REQUIRE])
    assert.equal(required.code, 0, required.out)
    assert.match(required.out, /ok ERR_UNKNOWN_OPTION/)
    const imported = await run(command, [...before, '--input-type=module', '-e', IMPORT])
    assert.equal(imported.code, 0, imported.out)
    assert.match(imported.out, /ok ERR_UNKNOWN_OPTION/)
    const served = await run(command, [...before, '--input-type=module', '-e', SERVE])
    assert.equal(served.signal, null, served.out)
    assert.equal(served.code, 0, served.out)
    assert.match(served.out, /status 401/)
  })
}

const WORKER = `
const { parentPort } = require('node:worker_threads')
const http = require('node:http')
const { createGuard } = require('keepstone')
const guard = createGuard({ store: { memory: { shared: 'workers' } }, rateLimit: { name: 'w', limit: 1000, window: '1h' } })
const [protect] = guard.securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('ok')))
server.listen(0, '127.0.0.1', () => {
  http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => {
    parentPort.postMessage([res.statusCode, res.headers.ratelimit])
    res.resume().on('end', () => server.close())
  })
})
`

test('20 worker threads that load, decide and end leave exit code 0, and share what they are told to share', async () => {
  const script = `
const { Worker } = require('node:worker_threads')
const { once } = require('node:events')
;(async () => {
  const seen = []
  await Promise.all(Array.from({ length: 20 }, async () => {
    const worker = new Worker(${JSON.stringify(WORKER)}, { eval: true })
    worker.on('message', (message) => seen.push(message))
    const [code] = await once(worker, 'exit')
    if (code !== 0) throw new Error('worker ended with ' + code)
  }))
  const remaining = new Set(seen.map(([status, limit]) => status + ' ' + /r=(\\d+)/.exec(limit)[1]))
  console.log('workers', seen.length, 'distinct', remaining.size)
})()
`
  const { code, signal, out } = await run(process.execPath, ['-e', script])
  assert.equal(signal, null, out)
  assert.equal(code, 0, out)
  // GCRA gives quota back once in 3.6 s here, so each request sees one less than the one before,
  // but for a few.
  const [, workers, distinct] = /workers (\d+) distinct (\d+)/.exec(out) ?? []
  assert.equal(workers, '20', out)
  assert.ok(Number(distinct) >= 15, out)
})

test('a worker that is terminated in the middle of it all takes nothing with it', async () => {
  const loop = `const guard = require('keepstone').createGuard(); require('node:worker_threads').parentPort.postMessage('up'); setInterval(() => guard.limits.consume('default', '127.0.0.1'), 1)`
  for (let i = 0; i < 5; i++) {
    const worker = new Worker(loop, { eval: true })
    await once(worker, 'message')
    await worker.terminate()
  }
})

test('a panic in the core comes back as a JavaScript error, and in the pipeline as 500', async () => {
  assert.ok(existsSync(debugAddon), 'the debug build of the addon is missing: npm run build:debug')
  const script = `
const http = require('node:http')
const native = require('./native.js')
const { createGuard } = require('keepstone')
try { native.debugPanic(); console.log('no error') } catch (error) { console.log('caught', error instanceof Error) }
const [protect] = createGuard({ log: (event) => console.log('event', event.outcome, event.status) }).securityStack()
const server = http.createServer((req, res) => protect(req, res, () => res.end('passed')))
server.listen(0, '127.0.0.1', () => {
  native.debugPanicNext()
  const get = (done) => http.get({ port: server.address().port, host: '127.0.0.1', agent: false }, (res) => { console.log('status', res.statusCode, res.headers['content-security-policy'] !== undefined); res.resume().on('end', done) })
  get(() => get(() => server.close()))
})
`
  const { code, signal, out } = await run(process.execPath, ['-e', script], { NAPI_RS_NATIVE_LIBRARY_PATH: debugAddon })
  assert.equal(signal, null, out)
  assert.equal(code, 0, out)
  assert.match(out, /caught true/)
  assert.match(out, /status 500 true\n(.*\n)*.*status 200 true/)
  assert.match(out, /event refuse 500/)
})

test('the shipped addon has no debug exports', async () => {
  const { code, out } = await run(process.execPath, ['-e', "const n = require('./native.js'); console.log(typeof n.debugPanic, typeof n.decide)"], { NAPI_RS_NATIVE_LIBRARY_PATH: '' })
  assert.equal(code, 0, out)
  assert.match(out, /undefined function/)
})

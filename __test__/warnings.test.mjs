// Warnings: each distinct fault once.

import test from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'

const [, express] = expresses[0]
const warnings = []
process.on('warning', (warning) => warnings.push(warning))

const told = async (code) => {
  await new Promise((resolve) => setImmediate(resolve))
  return warnings.filter((warning) => warning.code === code).map(({ message }) => message)
}

test('two functions that fail at two places warn twice, and each of them once', async () => {
  const app = express()
  const first = () => { throw new TypeError('first') }
  const second = () => { throw new RangeError('second') }
  app.use('/first', createGuard({ rateLimit: { name: 'a', limit: 5, window: '1h', key: first } }).securityStack())
  app.use('/second', createGuard({ rateLimit: { name: 'b', limit: 5, window: '1h', key: second } }).securityStack())
  await serve(app, async (send) => {
    for (const path of ['/first', '/first', '/second', '/second', '/first']) assert.equal((await send({ path })).status, 500)
  })
  const faults = await told('GUARD_FAULT')
  assert.equal(faults.length, 2)
  assert.match(faults[0], /TypeError at /)
  assert.match(faults[1], /RangeError at /)
})

test('two policies with misspelt inputs warn twice', async () => {
  const policy = (name) => ({ policies: { 'a.rego': `package a\nimport rego.v1\ndefault allow := false\nallow if input.${name} == 1\n` }, query: 'data.a.allow' })
  for (const name of ['usr', 'usr', 'methd']) createGuard({ policy: policy(name) }).close()
  const misspelt = await told('GUARD_POLICY_INPUT')
  assert.deepEqual(misspelt.map((message) => /input\.\w+/.exec(message)[0]), ['input.usr', 'input.methd'])
})

test('a fault whose text differs each time stops warning at last', async () => {
  const app = express()
  let number = 0
  const log = () => { throw Object.assign(new Error('away'), { code: `E${number}` }) }
  app.use(createGuard({ rateLimit: false, log }).securityStack(), (req, res) => res.end())
  await serve(app, async (send) => {
    for (; number < 40; number += 1) assert.equal((await send()).status, 200)
  })
  assert.equal((await told('GUARD_LOG_FAILED')).length, 20)
})

test('a memory store in one of several processes warns once, and no other store or process does', async () => {
  const program = fileURLToPath(new URL('./helpers/cluster-warning.mjs', import.meta.url))
  const codes = async (options, env) => {
    const { NODE_APP_INSTANCE: _, ...inherited } = process.env
    const child = spawn(process.execPath, [program], { env: { ...inherited, ...env, OPTIONS: JSON.stringify(options) }, stdio: ['ignore', 'pipe', 'inherit'] })
    const [text] = await Promise.all([new Response(child.stdout).text(), once(child, 'exit')])
    return text.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line)[0]).filter((code) => code === 'GUARD_STORE_PER_PROCESS')
  }
  const warns = ['GUARD_STORE_PER_PROCESS']
  assert.deepEqual(await codes({}, { CLUSTER: '1' }), warns)
  assert.deepEqual(await codes({}, { NODE_APP_INSTANCE: '1' }), warns)
  assert.deepEqual(await codes({ store: { memory: { maxBytes: '2mb' } } }, { NODE_APP_INSTANCE: '1' }), warns)
  assert.deepEqual(await codes({}, { NODE_APP_INSTANCE: '0' }), [], 'the only instance of pm2')
  assert.deepEqual(await codes({}, {}), [])
  assert.deepEqual(await codes({ rateLimit: false }, { CLUSTER: '1' }), [], 'nothing is kept')
  assert.deepEqual(await codes({ store: { redis: 'redis://127.0.0.1:1' } }, { CLUSTER: '1' }), [])
})

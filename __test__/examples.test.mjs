// Each example starts, and the request that it prints is answered.

import test from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { bearer, json, send } from './helpers/http.mjs'

/** Runs `use({ port, token })` on an example, which prints its address and a token. */
async function onExample(name, use) {
  const file = fileURLToPath(new URL(`../examples/${name}/server.mjs`, import.meta.url))
  const child = spawn(process.execPath, [file], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  let out = ''
  let err = ''
  child.stderr.on('data', (chunk) => (err += chunk))
  try {
    await new Promise((resolve, reject) => {
      child.stdout.on('data', (chunk) => {
        out += chunk
        if (/eyJ[\w-]+\.[\w-]+\.[\w-]+[^]*\n/.test(out)) resolve()
      })
      closed.then(() => reject(new Error(`${name} ended: ${out}${err}`)))
    })
    const [, port] = /https?:\/\/[\w.]+:(\d+)/.exec(out)
    const [token] = /eyJ[\w-]+\.[\w-]+\.[\w-]+/.exec(out)
    await use({ port: Number(port), token })
    assert.equal(err, '')
  } finally {
    child.kill('SIGKILL')
    await closed
  }
}

test('the example of Express 5 answers its user and refuses others', async () => {
  await onExample('express-5', async ({ port, token }) => {
    assert.equal((await send(port, { path: '/api/v1/users', headers: bearer(token) })).status, 200)
    assert.equal((await send(port, { path: '/api/v1/users' })).status, 401)
  })
})

for (const name of ['fastify', 'hono']) {
  test(`the example of ${name} answers its user and refuses others`, async () => {
    await onExample(name, async ({ port, token }) => {
      const order = { sku: 'ABC-1', count: 2 }
      const good = await send(port, { path: '/orders', ...json(order, { headers: bearer(token) }) })
      assert.deepEqual([good.status, good.json], [201, { ...order, by: 'ada' }])
      assert.equal((await send(port, { path: '/orders', ...json(order) })).status, 401)
      assert.equal((await send(port, { path: '/orders', ...json({ ...order, count: 0 }, { headers: bearer(token) }) })).status, 422)
      assert.deepEqual((await send(port, { path: '/health' })).json, { up: true })
      assert.equal((await send(port, { path: '/nothing' })).status, 401)
    })
  })
}

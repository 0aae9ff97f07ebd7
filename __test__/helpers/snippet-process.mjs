// Runs one program of scripts/snippets.mjs. Every server listens on a free port of the loopback,
// and ends with the process. A warning of the guard is a fault of the block.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import net from 'node:net'
import { pathToFileURL } from 'node:url'

const servers = []
const { listen } = net.Server.prototype
net.Server.prototype.listen = function listenOnFreePort(...args) {
  servers.push(this)
  const done = args.find((arg) => typeof arg === 'function')
  return listen.call(this, { port: 0, host: '127.0.0.1' }, done)
}

globalThis.require = createRequire(import.meta.url)
globalThis.equal = assert.deepEqual
globalThis.send = async (path, { method, headers = {}, body, app } = {}) => {
  const server = app === undefined ? servers.at(-1) : (app.server ?? app.listen(0))
  if (!server.listening) await once(server, 'listening')
  const text = body === undefined || typeof body === 'string' || body instanceof FormData ? body : JSON.stringify(body)
  const type = text === undefined || text instanceof FormData ? {} : { 'content-type': 'application/json' }
  const init = { method: method ?? (text === undefined ? 'GET' : 'POST'), headers: { ...type, ...headers }, body: text, redirect: 'manual' }
  const response = await fetch(`http://127.0.0.1:${server.address().port}${path}`, init)
  const answer = await response.text()
  return { status: response.status, headers: response.headers, json: /json/.test(response.headers.get('content-type')) ? JSON.parse(answer) : answer }
}

process.on('warning', ({ code, message }) => {
  if (!code?.startsWith('GUARD_')) return
  console.error(`${code}: ${message}`)
  process.exitCode = 1
})

const { default: block } = await import(pathToFileURL(process.argv[2]))
await block?.()
// What a block has begun and not waited for may fail yet.
await new Promise((resolve) => setTimeout(resolve, 50))
process.exit()

// A server on a free port of 127.0.0.1, and a client that sends just what it is told to.

import http from 'node:http'
import { once } from 'node:events'
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export const expresses = [
  ['Express 5', require('express')],
  ['Express 4', require('express-4')]
]

/**
 * Serves `listener` (an Express app or a plain handler) while `use(send)` runs.
 * `send(options)` answers `{ status, headers, text, json }`.
 */
export async function serve(listener, use, server = http.createServer(listener)) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  try {
    return await use((options) => send(port, options), { port, server })
  } finally {
    server.close()
    server.closeAllConnections()
    await once(server, 'close')
  }
}

/**
 * One request. `from` is the client's own loopback address, `raw` a list of header names and values
 * as they are.
 */
export function send(port, { method = 'GET', path = '/', headers = {}, body, from, client = http, ...more } = {}) {
  return new Promise((resolve, reject) => {
    const request = client.request(
      { host: '127.0.0.1', port, method, path, headers, localAddress: from, agent: false, ...more },
      (response) => {
        const chunks = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          resolve({ status: response.statusCode, headers: response.headers, raw: response.rawHeaders, text, json: parse(text) })
        })
      }
    )
    request.on('error', reject)
    request.end(body)
  })
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A request with a JSON body. */
export const json = (body, more = {}) => ({
  method: 'POST',
  ...more,
  headers: { 'content-type': 'application/json', ...more.headers },
  body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body)
})

export const bearer = (token) => ({ authorization: `Bearer ${token}` })

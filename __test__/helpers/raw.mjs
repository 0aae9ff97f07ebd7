// Requests as bytes, for what no client would send.

import net from 'node:net'

/**
 * Sends bytes and gives all that comes back until the server closes the connection: `{ status,
 * head, text }`.
 */
export function sendBytes(port, bytes, { host = '127.0.0.1', path, ms = 5000 } = {}) {
  return new Promise((resolve, reject) => {
    const socket = path === undefined ? net.connect(port, host) : net.connect(path)
    const chunks = []
    const timer = setTimeout(() => socket.destroy(), ms)
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('close', () => {
      clearTimeout(timer)
      const text = Buffer.concat(chunks).toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? 0), head: text.slice(0, Math.max(end, 0)), text: text.slice(end + 4) })
    })
    socket.write(bytes)
  })
}

/**
 * A request of HTTP/1.1 as text, closed after its answer. `fields` are lines such as `X-Name:
 * value`.
 */
export function request(method, target, fields = [], body = '') {
  return [`${method} ${target} HTTP/1.1`, 'Host: api.example', 'Connection: close', ...fields, '', body].join('\r\n')
}

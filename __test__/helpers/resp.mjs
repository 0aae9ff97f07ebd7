// A client for the helpers to look into Redis with: RESP2, a promise per command, no dependency.

import net from 'node:net'
import tls from 'node:tls'

/**
 * Connects at the first command, and again after the connection was lost. `tls` has the options of
 * `tls.connect`. An error of Redis rejects, with its first word as `code`. Only a command that
 * waits keeps the process open.
 */
export function respClient({ host = '127.0.0.1', port, tls: tlsOptions, user = 'default', password }) {
  let link
  const open = () => {
    const socket = tlsOptions ? tls.connect({ host, port, ...tlsOptions }) : net.connect({ host, port })
    const send = speak(socket)
    const ready = password === undefined ? Promise.resolve() : send(['AUTH', user, password])
    return { socket, send, ready }
  }
  return {
    async command(...args) {
      if (link === undefined || link.socket.destroyed) link = open()
      const { send, ready } = link
      await ready
      return send(args)
    },
    close: () => link?.socket.destroy()
  }
}

function speak(socket) {
  const waiting = []
  let unread = Buffer.alloc(0)
  let failure = new Error('the connection was closed')
  // Else a second command waits for the first one's acknowledgement.
  socket.setNoDelay(true)
  socket.on('error', (error) => (failure = error))
  socket.on('close', () => {
    for (const { reject } of waiting.splice(0)) reject(failure)
  })
  socket.on('data', (chunk) => {
    unread = Buffer.concat([unread, chunk])
    for (let reply = read(unread, 0); reply !== null; reply = read(unread, 0)) {
      unread = unread.subarray(reply.end)
      const { resolve, reject } = waiting.shift()
      if (reply.value instanceof Error) reject(reply.value)
      else resolve(reply.value)
    }
    if (waiting.length === 0) socket.unref()
  })
  return (args) =>
    new Promise((resolve, reject) => {
      if (socket.destroyed) return reject(failure)
      waiting.push({ resolve, reject })
      socket.ref()
      socket.write(encode(args))
    })
}

function encode(args) {
  const parts = args.map((arg) => (Buffer.isBuffer(arg) ? arg : Buffer.from(String(arg))))
  const bulks = parts.flatMap((part) => [`$${part.length}\r\n`, part, '\r\n'])
  return Buffer.concat([`*${parts.length}\r\n`, ...bulks].map((piece) => Buffer.from(piece)))
}

// The reply that starts at `at`, as `{ value, end }`, or `null` where not all of it has come.
function read(bytes, at) {
  const lineEnd = bytes.indexOf('\r\n', at)
  if (lineEnd === -1) return null
  const line = bytes.toString('utf8', at + 1, lineEnd)
  const end = lineEnd + 2
  switch (String.fromCharCode(bytes[at])) {
    case '+':
      return { value: line, end }
    case '-':
      return { value: Object.assign(new Error(line), { code: line.split(' ')[0] }), end }
    case ':':
      return { value: Number(line), end }
    case '$':
      return readBulk(bytes, end, Number(line))
    case '*':
      return readArray(bytes, end, Number(line))
    default:
      throw new Error(`not RESP2: ${line}`)
  }
}

function readBulk(bytes, at, length) {
  if (length === -1) return { value: null, end: at }
  const end = at + length + 2
  return bytes.length < end ? null : { value: bytes.toString('utf8', at, end - 2), end }
}

function readArray(bytes, at, length) {
  if (length === -1) return { value: null, end: at }
  const value = []
  let end = at
  for (let i = 0; i < length; i++) {
    const element = read(bytes, end)
    if (element === null) return null
    value.push(element.value)
    end = element.end
  }
  return { value, end }
}

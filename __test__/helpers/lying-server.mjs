// A server that stands in front of a store, and lies when it is told to.

import { once } from 'node:events'
import net from 'node:net'

/**
 * Passes connections on to `target`. With `lie(tell)`, what a client sends next is answered with
 * `tell(socket)` instead, on open connections and on new ones; `lie(null)` ends that, and closes
 * the connections that were lied to. `stats.most` is the most that one connection has taken of a
 * lie, in bytes.
 */
export async function startLyingServer(target) {
  const sockets = new Set()
  const stats = { lies: 0, most: 0 }
  let tell = null
  const server = net.createServer({ noDelay: true }, (client) => {
    const store = net.connect(target, '127.0.0.1')
    const state = { client, isLied: false }
    sockets.add(state)
    for (const [one, other] of [[client, store], [store, client]]) {
      one.on('error', () => {})
      one.on('close', () => other.destroy())
    }
    client.on('close', () => sockets.delete(state))
    store.on('data', (bytes) => state.isLied || client.write(bytes))
    client.on('data', (bytes) => {
      if (state.isLied) return
      if (tell === null) return store.write(bytes)
      state.isLied = true
      stats.lies += 1
      tell(client)
    })
  })
  server.listen(0, '127.0.0.1').unref()
  await once(server, 'listening')
  const count = (sent) => (stats.most = Math.max(stats.most, sent))
  return {
    port: server.address().port,
    stats,
    lie(next) {
      tell = next && ((socket) => next(socket, count))
      Object.assign(stats, { lies: 0, most: 0 })
      if (next === null) for (const { client, isLied } of sockets) if (isLied) client.destroy()
    },
    async stop() {
      for (const { client } of sockets) client.destroy()
      server.close()
    }
  }
}

/** Sends `head`, and then `again` until the client has enough or has taken `bytes`. */
export const endless = (head, again, bytes = 192 << 20) => (socket, count) => {
  const chunk = Buffer.from(again.repeat(Math.ceil((64 << 10) / again.length)))
  let sent = 0
  const more = () => {
    while (!socket.destroyed && sent < bytes) {
      sent += chunk.length
      const total = sent
      if (!socket.write(chunk, (error) => error ?? count(total))) break
    }
  }
  socket.on('drain', more)
  socket.write(head)
  more()
}

/** Sends `text`, and nothing after it. */
export const said = (text) => (socket) => socket.write(text)

/** Sends `text` a byte at a time. */
export const trickled = (text) => (socket) => {
  let at = 0
  const timer = setInterval(() => (at < text.length ? socket.write(text[at++]) : clearInterval(timer)), 20)
  socket.on('close', () => clearInterval(timer))
}

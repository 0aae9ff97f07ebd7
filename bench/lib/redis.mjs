// Just enough of a Redis client to look into the server.

import net from 'node:net'
import { once } from 'node:events'

/** A connection; `command(...args)` resolves to the reply as text. One command at a time. */
export async function createClient(port) {
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const command = async (...args) => {
    socket.write(`*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(String(arg))}\r\n${arg}\r\n`).join('')}`)
    let text = ''
    for (;;) {
      const [chunk] = await once(socket, 'data')
      text += chunk.toString()
      const bulk = /^\$(\d+)\r\n/.exec(text)
      if (bulk === null ? text.endsWith('\r\n') : text.length >= bulk[0].length + Number(bulk[1]) + 2) break
    }
    if (text.startsWith('-')) throw new Error(text.trim())
    return text
  }
  const commandStats = async () => {
    const stats = { evalsha: { calls: 0, usec: 0 } }
    for (const [, name, calls, usec] of (await command('INFO', 'commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+),usec=(\d+)/g)) {
      stats[name] = { calls: Number(calls), usec: Number(usec) }
    }
    return stats
  }
  return { command, commandStats }
}

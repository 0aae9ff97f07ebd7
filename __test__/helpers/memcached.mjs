// A real Memcached server for one test.

import { once } from 'node:events'
import net from 'node:net'
import { findProgram } from '../../scripts/servers.mjs'
import { startServer } from './processes.mjs'

/** Starts a Memcached; `args` are more arguments of the program. */
export async function startMemcached({ port, args = [] } = {}) {
  // As root it starts only with the name of another user.
  const asUser = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  const server = await startServer({
    program: findProgram('memcached'),
    port,
    args: (port) => ['-l', '127.0.0.1', '-p', String(port), '-U', '0', ...asUser, ...args],
    isReady: (port) => ask(port, 'version')
  })
  const command = (text) => ask(server.port, text)
  return Object.assign(server, {
    /**
     * The answer to a command of the text protocol, e.g. `set key 0 60 5\r\nvalue`, without the
     * last line end.
     */
    command,
    stats: async () => parseStats(await command('stats'))
  })
}

// A connection of its own, which the server closes after the answer: so its end is known for every
// command.
async function ask(port, text) {
  const socket = net.connect({ host: '127.0.0.1', port })
  const chunks = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.write(`${text}\r\nquit\r\n`)
  await once(socket, 'close')
  return Buffer.concat(chunks).toString().replace(/\r\n$/, '')
}

function parseStats(text) {
  const lines = text.split('\r\n').filter((line) => line.startsWith('STAT '))
  return Object.fromEntries(
    lines.map((line) => {
      const [, name, value] = line.split(' ')
      return [name, Number.isNaN(Number(value)) ? value : Number(value)]
    })
  )
}

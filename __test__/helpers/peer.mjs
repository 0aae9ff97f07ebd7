// Another process of the same service: an app behind a guard, which answers to us.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { send } from './http.mjs'

const program = fileURLToPath(new URL('./peer-process.mjs', import.meta.url))

/**
 * Starts a process with a guard of `config`, as JSON can say it. `get(path, headers)` sends it a
 * request, `call(path, ...args)` calls a function of its guard (`'revoke.token'`) and rejects with
 * the error's `code`. `clock` is a `settableClock()` that it reads.
 */
export async function startPeer(config, { clock } = {}) {
  const env = { ...process.env, ...clock?.env }
  const child = fork(program, [JSON.stringify(config)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env })
  const waiting = new Map()
  let last = 0
  child.on('message', ({ id, value, code }) => {
    const { resolve, reject } = waiting.get(id)
    waiting.delete(id)
    if (code === undefined) resolve(value)
    else reject(Object.assign(new Error(code), { code }))
  })
  const ask = (what) =>
    new Promise((resolve, reject) => {
      last += 1
      waiting.set(last, { resolve, reject })
      child.send({ id: last, ...what })
    })
  const port = await ask({ listen: true })
  return {
    pid: child.pid,
    port,
    get: (path = '/', headers = {}) => send(port, { path, headers }),
    call: (path, ...args) => ask({ path, args }),
    /** Ends it as a crash does. */
    async kill() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
      const ended = once(child, 'exit')
      child.send({ id: 0, stop: true })
      const [code] = await ended
      return code
    }
  }
}

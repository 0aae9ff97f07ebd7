// Server programs as children of the test process, on ports of 127.0.0.1 that nobody else has.
//
// Nothing here keeps the test process open, and no server outlives it: one that is told to end
// kills its servers, and for one that is killed a watcher does.

import { spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const TAIL = 4000

const children = new Set()
const folders = new Set()
const given = new Set()

process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) removeFolder(folder)
})

/** A new folder for a server's files, gone when the process ends at the latest. */
export function makeFolder() {
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
  folders.add(folder)
  return folder
}

export function removeFolder(folder) {
  rmSync(folder, { recursive: true, force: true })
  folders.delete(folder)
}

/**
 * A free port, of which `port + 10000` is free too: the nodes of a Redis Cluster talk there.
 * Both lie below the ports that systems give to outgoing connections. A client that tries again and
 * again would else once be given the port of the stopped server, connect to itself, and keep the
 * server from coming back.
 */
export async function freePort() {
  for (;;) {
    const port = randomInt(12_000, 22_000)
    if (given.has(port)) continue
    if ((await isFree(port)) && (await isFree(port + 10_000))) {
      given.add(port)
      return port
    }
  }
}

async function isFree(port) {
  const server = net.createServer().listen(port, '127.0.0.1')
  try {
    await once(server, 'listening')
    return true
  } catch {
    return false
  } finally {
    server.close()
  }
}

/**
 * Waits until `condition()` answers something true, and returns that; what it throws means not yet.
 */
export async function waitUntil(what, condition, timeout = 10_000) {
  const deadline = Date.now() + timeout
  let cause
  while (Date.now() < deadline) {
    try {
      const late = sleep(deadline - Date.now(), undefined, { ref: false })
      const answer = await Promise.race([condition(), late])
      if (answer) return answer
    } catch (error) {
      if (error.final) throw error
      cause = error
    }
    await sleep(20)
  }
  throw new Error(`waited ${timeout} ms in vain: ${what}`, { cause })
}

/**
 * What the servers answer to `ask(server)`, as `[server, answer]`, without those that are gone,
 * fail or hang.
 */
export async function answersOf(servers, ask) {
  const late = sleep(500, undefined, { ref: false })
  const asked = servers.map(async (server) => [server, await Promise.race([ask(server), late])])
  const settled = await Promise.allSettled(asked)
  return settled.filter(({ value }) => value?.[1] !== undefined).map(({ value }) => value)
}

/**
 * Runs a server program on `port`, or else on a free one, and answers once `isReady(port)` does.
 * `args(port)` are its arguments, `env` are more variables of its environment, `folder` is taken
 * away by `stop()`.
 */
export async function startServer({ program, args, env, isReady, port, folder }) {
  const start = async (port) => {
    const running = spawnServer(program, args(port), env, folder)
    try {
      await waitUntil(`${program} on port ${port}`, () => {
        running.assertAlive()
        return isReady(port)
      })
    } catch (error) {
      await running.end('SIGKILL')
      throw new Error(`${program} did not start: ${error.message}\n${running.tail()}`, { cause: error })
    }
    return running
  }
  const [chosen, first] = port === undefined ? await startOnFreePort(start) : [port, await start(port)]
  let running = first
  return {
    host: '127.0.0.1',
    port: chosen,
    get pid() {
      return running.pid
    },
    /** The last that the program printed. */
    tail: () => running.tail(),
    /** Why it has ended; `null` while it runs. */
    whyEnded: () => running.whyEnded(),
    /** Ends it as a crash does, or with another signal, and answers when it is gone. */
    kill: (signal = 'SIGKILL') => running.end(signal),
    /** It keeps its connections and answers nothing. */
    pause: () => running.signal('SIGSTOP'),
    resume: () => running.signal('SIGCONT'),
    /** Starts it again where it was, after a crash if it still runs. */
    async restart() {
      await running.end('SIGKILL')
      running = await start(chosen)
    },
    async stop() {
      await running.end('SIGKILL')
      if (folder !== undefined) removeFolder(folder)
    }
  }
}

// Somebody may take the port between the look at it and the start.
async function startOnFreePort(start) {
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    try {
      return [port, await start(port)]
    } catch (error) {
      if (tries === 3 || !/in use|failed to listen/i.test(error.message)) throw error
    }
  }
}

function spawnServer(program, args, env, folder) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  let tail = ''
  let failure = null
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => (tail = (tail + chunk).slice(-TAIL)))
    stream.unref()
  }
  children.add(child)
  const unwatch = child.pid === undefined ? () => {} : watch(child.pid, folder)
  const gone = new Promise((resolve) => {
    const end = (why) => {
      failure = Object.assign(new Error(why), { final: true })
      children.delete(child)
      unwatch()
      resolve()
    }
    child.once('error', (error) => end(error.message))
    child.once('exit', (code, signal) => end(`it ended with ${signal ?? `code ${code}`}`))
  })
  child.unref()
  return {
    pid: child.pid,
    tail: () => tail,
    whyEnded: () => failure?.message ?? null,
    assertAlive() {
      if (failure !== null) throw failure
    },
    signal: (signal) => child.kill(signal),
    async end(signal) {
      if (failure !== null) return
      child.kill(signal)
      child.ref()
      await gone
    }
  }
}

// A shell that waits for a line, and clears up where the end of this process closes the pipe before
// it comes.
function watch(pid, folder = '') {
  const script = 'read -r line || { kill -9 "$1"; rm -rf "$2"; }'
  const watcher = spawn('sh', ['-c', script, 'sh', String(pid), folder], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  watcher.unref()
  watcher.stdin.unref()
  watcher.stdin.on('error', () => {})
  return () => watcher.stdin.end('gone\n')
}

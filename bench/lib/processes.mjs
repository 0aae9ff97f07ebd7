// Starting and ending processes: Redis, the servers, the load. Everything listens on 127.0.0.1 and
// on a free port, and nothing outlives this process.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'

const children = new Set()
const folders = new Set()

/** A temporary folder that is removed on exit. */
export function temporaryFolder() {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'keepstone-bench-'))
  folders.add(folder)
  return folder
}

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})
process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))

export const has = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

/** The processors this process may use, from the kernel; null where that cannot be known. */
function processors() {
  try {
    const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))[1]
    return list.split(',').flatMap((range) => {
      const [from, to = from] = range.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, index) => from + index)
    })
  } catch {
    return null
  }
}

/**
 * Which processor does what: the server has one for itself. Null where processes cannot be pinned.
 */
export const pins = (() => {
  const list = processors()
  if (list === null || list.length < 2 || !has('taskset')) return null
  return { server: list[0], load: list[1], redis: list[2] ?? list[1] }
})()

/**
 * Spawns a process pinned to the processor of its role, or to none without one; it dies with us.
 */
export function start(role, command, args, options) {
  const pinned = pins === null || role === null ? [command, args] : ['taskset', ['-c', String(pins[role]), command, ...args]]
  const child = spawn(...pinned, options)
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

async function freePort() {
  const probe = net.createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}

function answersPing(port) {
  return new Promise((done) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.setTimeout(500, () => socket.destroy())
    socket.once('data', (data) => {
      done(data.toString().startsWith('+PONG'))
      socket.destroy()
    })
    socket.once('error', () => done(false))
    socket.once('close', () => done(false))
  })
}

/** What to do where there is no Redis. */
export const REDIS_MISSING = 'redis-server is not installed (Debian: apt-get install redis-server; macOS: brew install redis)'

/**
 * A Redis of our own, without persistence. Returns its process and base URL; every stack takes a
 * database of its own.
 */
export async function startRedis() {
  if (!has('redis-server')) throw new Error(REDIS_MISSING)
  const port = await freePort()
  const folder = temporaryFolder()
  const child = start(
    'redis',
    'redis-server',
    ['--port', port, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', folder].map(String),
    { stdio: 'ignore' },
  )
  for (let attempt = 0; attempt < 100; attempt += 1) {
    if (await answersPing(port)) return { child, url: `redis://127.0.0.1:${port}` }
    if (child.exitCode !== null) break
    await sleep(50)
  }
  throw new Error('redis-server did not come up')
}

/**
 * Processor time a process has used so far, in microseconds; null where the kernel does not show
 * it.
 */
export function cpuOf(child) {
  try {
    const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ')
    return (Number(fields[11]) + Number(fields[12])) * 10_000 // USER_HZ is 100 on every Linux Node runs on
  } catch {
    return null
  }
}

/**
 * A server of one stack: its port, and `ask(question)` for what only it knows. Throws with its
 * output if it fails.
 */
export async function startServer(file, settings, { pinned = true } = {}) {
  const child = start(pinned ? 'server' : null, process.execPath, [file], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...process.env, NODE_ENV: 'production', BENCH_SETTINGS: JSON.stringify(settings) },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (output = (output + text).slice(-4000)))
  }

  const waiting = new Map()
  let ready
  const up = new Promise((resolve, reject) => {
    ready = resolve
    child.once('error', reject)
    child.once('exit', () => {
      const error = new Error(`${path.basename(file)} ended:\n${output.trim()}`)
      reject(error)
      for (const [, refuse] of waiting.values()) refuse(error)
      waiting.clear()
    })
    setTimeout(() => reject(new Error(`${path.basename(file)} did not come up:\n${output.trim()}`)), 15_000).unref()
  })
  child.on('message', (message) => {
    if (message.port !== undefined) return ready(message.port)
    const [resolve, reject] = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.error === undefined) resolve(message)
    else reject(new Error(message.error))
  })

  let last = 0
  const ask = (question, more) =>
    new Promise((resolve, reject) => {
      last += 1
      waiting.set(last, [resolve, reject])
      child.send({ id: last, ask: question, ...more })
    })
  const port = await up
  return { child, port, url: `http://127.0.0.1:${port}`, ask, output: () => output.trim() }
}

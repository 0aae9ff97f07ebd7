// The processes of the service: started, killed, paused and asked over HTTP.

import http from 'node:http'
import { fileURLToPath } from 'node:url'
import { settableClock } from '../__test__/helpers/clock.mjs'
import { startServer } from '../__test__/helpers/processes.mjs'
import { now } from './time.mjs'

const program = fileURLToPath(new URL('./service.mjs', import.meta.url))

/**
 * Starts a process of the service. `clock` is its own. `generation` counts its lives: what it knew
 * is gone with each.
 */
export async function startService(index, config, answers) {
  const clock = settableClock()
  const server = await startServer({
    program: process.execPath,
    env: clock.env,
    args: (port) => [program, String(port), JSON.stringify(config)],
    isReady: async (port) => (await ask(port, { path: '/stalls' })).status === 200
  })
  const service = Object.assign(server, {
    index,
    clock,
    generation: 0,
    /** Whether it is meant to run now. */
    up: true,
    /** How far its clock is off, in milliseconds. */
    shift: 0,
    clockWrongUntil: 0,
    hasWrongClock: () => service.shift !== 0 || service.clockWrongUntil > now(),
    async ask(options) {
      const { generation } = service
      const hadWrongClock = service.hasWrongClock()
      const answer = await ask(server.port, options)
      answers.count(options, answer)
      return Object.assign(answer, { process: index, generation, hasWrongClock: hadWrongClock || service.hasWrongClock() })
    }
  })
  return service
}

/**
 * Asks over a connection of its own, and never rejects. `status` is 0 where there was no answer;
 * `began` and `ended` are by the clock of the machine. `onHead(request)` is called when the answer
 * begins.
 */
export function ask(port, { method = 'GET', path, headers = {}, body, from, timeout = 15_000, onHead }) {
  const began = now()
  return new Promise((resolve) => {
    const end = (status, text = '', headers = {}) => {
      clearTimeout(timer)
      const json = parse(text)
      resolve({ status, code: json?.code, json, text, headers, began, ended: now() })
    }
    const content = body === undefined ? {} : { 'content-type': 'application/json' }
    const request = http.request(
      { host: '127.0.0.1', port, method: body === undefined ? method : 'POST', path, headers: { ...content, ...headers }, localAddress: from, agent: false },
      (response) => {
        let text = ''
        onHead?.(request)
        response.on('data', (chunk) => (text += chunk))
        response.on('error', () => end(0, text))
        response.on('end', () => end(response.statusCode, text, response.headers))
      }
    )
    const timer = setTimeout(() => request.destroy(), timeout)
    request.on('error', () => end(0))
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

function parse(text) {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** How many answers there were, by route and by code. */
export function countAnswers() {
  const counts = {}
  return {
    counts,
    count({ path }, { status, code }) {
      const route = path.split('?')[0]
      const what = status === 0 ? 'none' : status === 200 ? '200' : `${status} ${code ?? ''}`.trim()
      counts[route] ??= {}
      counts[route][what] = (counts[route][what] ?? 0) + 1
    }
  }
}

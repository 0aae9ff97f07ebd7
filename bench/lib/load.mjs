// The load: wrk where it is installed, autocannon from npm where it is not.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { has, start, temporaryFolder } from './processes.mjs'

const here = path.dirname(fileURLToPath(import.meta.url))

/**
 * Writes the requests once and returns `run(url, seconds)`, which resolves to requests, seconds,
 * refused, failed, p50, p99 (ms).
 */
export function load(tool, requests, connections) {
  const file = path.join(temporaryFolder(), 'requests')
  writeFileSync(file, requests.map(({ token, body }) => `${token} ${body}\n`).join(''))
  const command = (url, seconds) =>
    tool === 'wrk'
      ? ['wrk', ['-t1', `-c${connections}`, `-d${Math.round(seconds)}s`, '--timeout', '5s', '-s', path.join(here, '..', 'load.lua'), url, '--', file]]
      : [process.execPath, [path.join(here, 'autocannon.cjs'), url, String(seconds), String(connections), file]]

  return async function run(url, seconds) {
    const child = start('load', ...command(url, seconds), { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    const watchdog = setTimeout(() => child.kill('SIGKILL'), (seconds + 15) * 1000)
    await once(child, 'close')
    clearTimeout(watchdog)
    const result = /^RESULT (.*)$/m.exec(output)
    if (result === null) throw new Error(`${tool} gave no result:\n${output}`)
    return JSON.parse(result[1])
  }
}

export const chooseTool = (wanted) => wanted ?? (has('wrk') ? 'wrk' : 'autocannon')

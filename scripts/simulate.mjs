// Plays simulated histories, on every core: docs/internals/guarantees.md says what they are.
// Usage: npm run simulate -- [how many, 10000] [the first seed, 1]

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { fail, isMain, root, run, say } from './lib.mjs'

/** Plays `count` histories from the seed `first` on. */
export async function simulate(count, first) {
  const build = ['test', '--locked', '--profile', 'simulation', '--lib', '--no-run']
  say('building the simulation; the first time takes some minutes')
  run('cargo', build)
  const workers = Math.min(availableParallelism(), count)
  const share = Math.ceil(count / workers)
  const play = async (worker) => {
    const from = first + worker * share
    const histories = Math.min(share, first + count - from)
    const env = { ...process.env, KEEPSTONE_SEED: String(from), KEEPSTONE_HISTORIES: String(histories) }
    const test = ['test', '--locked', '--profile', 'simulation', '--lib', '--', '--nocapture', 'the_promises_hold_in_any_history']
    const child = spawn('cargo', test, { cwd: root, env, stdio: ['ignore', 'inherit', 'inherit'] })
    const [code] = await once(child, 'close')
    return code === 0
  }
  const all = await Promise.all(Array.from({ length: workers }, (_, worker) => play(worker)))
  if (!all.every(Boolean)) fail('a promise did not hold; the seeds are above')
  say(`${count} histories, and every promise held`)
}

if (isMain(import.meta.url)) {
  const [count = '10000', first = '1'] = process.argv.slice(2)
  await simulate(Number(count), Number(first))
}

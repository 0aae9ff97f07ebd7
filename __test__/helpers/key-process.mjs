// A process that keeps signing keys in a file: it takes the steps of its arguments, one after the
// other, and writes what came of each as a line of JSON.
//
// `issue` and `rotate` call the guard, `mode:500` changes the folder of the file, and
// `write:<path>` puts an older text in the place of the file and has it written again until the
// process is killed.

import { chmodSync, copyFileSync, renameSync } from 'node:fs'
import { dirname } from 'node:path'
import { createGuard } from '../../index.js'

const [config, ...steps] = process.argv.slice(2)
const options = JSON.parse(config)
const { storage } = options.jwt.rotation
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`)

async function outcome(call) {
  try {
    return { kid: (await call()).kid ?? null }
  } catch ({ code, message }) {
    return { code, message }
  }
}

let guard
say(await outcome(() => (guard = createGuard(options))))
for (const step of guard === undefined ? [] : steps) {
  const [name, value] = step.split(':')
  if (name === 'mode') chmodSync(dirname(storage), Number.parseInt(value, 8))
  if (name === 'issue') say(await outcome(() => guard.tokens.issue({ sub: 'ada' })))
  if (name === 'rotate') say(await outcome(() => guard.tokens.rotate()))
  if (name === 'write') await writeForever(value)
}
await guard?.close()

async function writeForever(old) {
  for (;;) {
    const copy = `${storage}.${process.pid}.copy`
    copyFileSync(old, copy)
    renameSync(copy, storage)
    const { code } = await outcome(() => guard.tokens.rotate())
    if (code !== undefined && code !== 'ERR_KEY_STORAGE') say({ code })
  }
}

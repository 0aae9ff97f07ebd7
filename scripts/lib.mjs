// What the scripts share. Only what Node itself has: `npm start` runs before anything is installed.

import { spawnSync } from 'node:child_process'
import { readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The root of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url))

/** Reads a JSON file of the repository; `null` where it is missing or broken. */
export function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(root, path), 'utf8'))
  } catch {
    return null
  }
}

/** Says what the script is about to do. */
export function say(text) {
  console.log(`keepstone: ${text}`)
}

/** Ends the script with a text that says what to do. */
export function fail(text) {
  console.error(`keepstone: ${text}`)
  process.exit(1)
}

/**
 * Runs a command in the root, shows it and its output, and ends the script where it fails.
 * `env` is added to the environment.
 */
export function run(command, args, env = {}) {
  console.log(`$ ${[command === process.execPath ? 'node' : command, ...args].join(' ')}`)
  const { status, signal, error } = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], env })
  if (error) fail(`can't run ${command}: ${error.message}`)
  if (status !== 0) process.exit(status ?? (signal === 'SIGINT' ? 130 : 1))
}

/**
 * Runs a command in the root and returns its output; `null` where it fails. What it says on stderr
 * goes to `stderr`.
 */
export function output(command, args, stderr = 'ignore') {
  const stdio = ['ignore', 'pipe', stderr]
  const { status, stdout } = spawn(command, args, { stdio, encoding: 'utf8', maxBuffer: 64 << 20 })
  return status === 0 ? stdout.trim() : null
}

function spawn(command, args, { env, ...options }) {
  // npm and npx are .cmd files on Windows, which only a shell runs. No argument here comes from
  // outside.
  const shell = process.platform === 'win32' && /^(npm|npx)$/.test(command)
  return spawnSync(command, args, { cwd: root, shell, env: { ...process.env, ...env }, ...options })
}

/** Whether the module with this URL is the script that was started. */
export function isMain(url) {
  return process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))
}

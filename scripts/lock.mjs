// Completes package-lock.json with the optional packages of other platforms, which npm leaves out
// where it can't get them (npm/cli#4828); `npm ci` then fails everywhere. Run it after every change
// of the dependencies. Usage: node scripts/lock.mjs [folder]
//
// What it adds has the exact version that its parent asks for, and no integrity: npm fills that in
// on a machine that installs it. An optional dependency that is no platform package, or has no
// exact version, ends the script.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail, isMain, root, say } from './lib.mjs'

const PLATFORM = /-(android|darwin|freebsd|linux|openharmony|win32)-(arm64|arm|ia32|loong64|ppc64|riscv64|s390x|x64)(?:-(gnu|musl)?[a-z]*)?$/
const WASM = /-wasm32-wasi$/

/**
 * Adds to the lockfile what is missing of optional dependencies; returns the names of what was
 * added.
 */
export function complete(lock) {
  const added = []
  for (const [path, parent] of Object.entries(lock.packages)) {
    for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
      if (find(lock, path, name)) continue
      const where = platform(name)
      if (where === null) throw new Error(`${name} is missing and is no platform package`)
      if (!/^\d+\.\d+\.\d+[\w.+-]*$/.test(version)) throw new Error(`${name} has no exact version`)
      lock.packages[`node_modules/${name}`] = { version, ...where, ...(parent.dev ? { dev: true } : {}), optional: true }
      added.push(name)
    }
  }
  const sorted = Object.entries(lock.packages).toSorted(([a], [b]) => (a < b ? -1 : 1))
  lock.packages = Object.fromEntries(sorted)
  return added
}

// As Node looks for it: beside the parent, then further up.
function find(lock, path, name) {
  for (let folder = path; ; folder = folder.slice(0, Math.max(folder.lastIndexOf('/node_modules/'), 0))) {
    if (lock.packages[`${folder === '' ? '' : `${folder}/`}node_modules/${name}`] !== undefined) return true
    if (folder === '') return false
  }
}

function platform(name) {
  if (WASM.test(name)) return { cpu: ['wasm32'] }
  const [, os, cpu, libc] = PLATFORM.exec(name) ?? []
  if (os === undefined) return null
  const known = { gnu: 'glibc', musl: 'musl' }[libc]
  return { cpu: [cpu], ...(known ? { libc: [known] } : {}), os: [os] }
}

if (isMain(import.meta.url)) {
  const file = join(root, process.argv[2] ?? '.', 'package-lock.json')
  const lock = JSON.parse(readFileSync(file, 'utf8'))
  try {
    const added = complete(lock)
    writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
    say(`added ${added.length} packages of other platforms`)
  } catch (error) {
    fail(error.message)
  }
}

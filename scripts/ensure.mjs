// Makes sure that the machine has what the other scripts need, and that node_modules is what
// package-lock.json says. Usage: node scripts/ensure.mjs

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail, isMain, output, readJson, root, run, say } from './lib.mjs'

const RUST = 'install Rust from https://rustup.rs, or with your system\'s packages, and run the command again'

/**
 * Checks Node and Rust, and installs the npm packages where they are not those of
 * package-lock.json.
 */
export function ensure() {
  const { engines } = readJson('package.json')
  const node = engines.node.replace('>=', '')
  if (isOlder(process.versions.node, node)) {
    fail(`Node.js ${node} or later is needed, this is ${process.versions.node}: install a newer one from https://nodejs.org`)
  }
  const [, rust] = /^rust-version = "([\d.]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))
  const cargo = output('cargo', ['--version'])
  if (cargo === null) fail(`cargo is needed to build the addon and was not found: ${RUST}`)
  const [, version] = /^cargo (\d+\.\d+\.\d+)/.exec(cargo) ?? [null, '0']
  if (isOlder(version, rust)) fail(`Rust ${rust} or later is needed, this is ${version}: run \`rustup update\`, or ${RUST}`)

  const difference = firstDifference(readJson('package-lock.json'), readJson('node_modules/.package-lock.json'))
  if (difference !== null) {
    say(`installing packages (${difference})`)
    run('npm', ['ci', '--no-audit', '--no-fund'])
  }
}

/**
 * Says how what is installed differs from the lockfile; `null` where it does not.
 * `installed` is what npm wrote into node_modules at its last run.
 */
export function firstDifference(lock, installed) {
  if (installed === null) return 'nothing is installed'
  for (const [path, wanted] of Object.entries(lock.packages)) {
    // npm leaves out what is optional and meant for other platforms.
    if (path === '') continue
    const found = installed.packages[path]
    if (found === undefined && wanted.optional) continue
    if (found?.version !== wanted.version || found?.integrity !== wanted.integrity) return `${path} is not as locked`
  }
  for (const path of Object.keys(installed.packages)) {
    if (lock.packages[path] === undefined) return `${path} is not in package-lock.json`
  }
  return null
}

/** Whether version `a` is older than `b`; only numbers and dots count. */
export function isOlder(a, b) {
  const [left, right] = [a, b].map((version) => version.split('.').map(Number))
  for (let i = 0; i < right.length; i++) {
    const difference = (left[i] ?? 0) - right[i]
    if (difference !== 0) return difference < 0
  }
  return false
}

if (isMain(import.meta.url)) ensure()

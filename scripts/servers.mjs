// Makes sure that the programs are there which the tests start: Redis, Memcached and openssl; and
// libfaketime, which sets their clocks. Usage: node scripts/servers.mjs
//
// As root on Debian and Ubuntu what is missing is installed; anywhere else the script says what to
// install and fails.

import { accessSync, constants, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import * as lib from './lib.mjs'

// `names` are programs of which one is enough; the rest are the packages that bring it. Sentinel is
// redis-server too.
const PROGRAMS = {
  redis: { names: ['redis-server', 'valkey-server'], apt: 'redis-server', dnf: 'valkey', brew: 'redis' },
  memcached: { names: ['memcached'], apt: 'memcached', dnf: 'memcached', brew: 'memcached' },
  openssl: { names: ['openssl'], apt: 'openssl', dnf: 'openssl', brew: 'openssl' },
  faketime: { names: ['libfaketimeMT.so.1', 'libfaketime.1.dylib'], apt: 'libfaketime', dnf: 'libfaketime', brew: 'libfaketime' }
}

/** Where packages put libfaketime: Fedora, Homebrew, and by the processor Debian. */
const LIBRARIES = ['/usr/lib64', '/usr/lib', '/opt/homebrew/lib', '/usr/local/lib', ...['x86_64', 'aarch64'].map((cpu) => `/usr/lib/${cpu}-linux-gnu`)]

const POLICY = '/usr/sbin/policy-rc.d'

/**
 * The path of a program in PATH or of a library (`lib...`) where packages put it, or `null` where
 * it is missing.
 */
export function which(name) {
  const isLibrary = name.startsWith('lib')
  const folders = isLibrary ? LIBRARIES.map((folder) => join(folder, 'faketime')) : (process.env.PATH ?? '').split(delimiter)
  for (const folder of folders) {
    const path = join(folder, name)
    try {
      accessSync(path, isLibrary ? constants.R_OK : constants.X_OK)
      return path
    } catch {
      // The next folder may have it.
    }
  }
  return null
}

/**
 * The path of `'redis'`, `'memcached'`, `'openssl'` or `'faketime'`; throws a text that says what
 * to install where it is missing. `KEEPSTONE_REDIS` is the path of another `redis-server` or
 * `valkey-server` than the one in PATH.
 */
export function findProgram(program, find = which) {
  if (program === 'redis' && process.env.KEEPSTONE_REDIS) return process.env.KEEPSTONE_REDIS
  const path = PROGRAMS[program].names.map((name) => find(name)).find((found) => found !== null)
  if (path === undefined) throw new Error(howToInstall([program]))
  return path
}

/** Which of the programs are missing. */
export function missingPrograms(find = which) {
  return Object.keys(PROGRAMS).filter((program) => PROGRAMS[program].names.every((name) => find(name) === null))
}

/** Says what to install, with the names of the packages. */
export function howToInstall(missing) {
  const names = missing.map((program) => PROGRAMS[program].names.join(' or '))
  const packages = (manager) => missing.map((program) => PROGRAMS[program][manager]).join(' ')
  return `the tests need ${names.join(', ')}, which are not installed. Install with one of

  Debian, Ubuntu:  apt-get install ${packages('apt')}
  Fedora:          dnf install ${packages('dnf')}
  macOS:           brew install ${packages('brew')}
`
}

/** Installs the programs that are missing, or ends the script with a text that says how. */
export function ensureServers({ find = which, uid = process.getuid?.(), run = lib.run, fail = lib.fail, hold = holdServices } = {}) {
  const missing = missingPrograms(find)
  if (missing.length === 0) return
  if (uid !== 0 || find('apt-get') === null) return fail(howToInstall(missing))
  lib.say(`installing what the tests start: ${missing.join(', ')}`)
  const release = hold()
  const env = { DEBIAN_FRONTEND: 'noninteractive' }
  run('apt-get', ['update'], env)
  run('apt-get', ['install', '-y', '--no-install-recommends', ...missing.map((program) => PROGRAMS[program].apt)], env)
  release()
  const still = missingPrograms(find)
  if (still.length > 0) fail(howToInstall(still))
}

/**
 * Keeps Debian from starting the services it installs: the tests start their own, on ports of their
 * own. A policy that is there already is the machine's, and stays. Returns what takes the policy
 * away again, as the end of the process does.
 */
export function holdServices(policy = POLICY) {
  try {
    writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' })
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    return () => {}
  }
  const remove = () => rmSync(policy, { force: true })
  // Ctrl-C ends apt-get, and then the script by its failure, which has an end to run this at.
  const stay = () => {}
  process.once('exit', remove)
  process.on('SIGINT', stay)
  return () => {
    remove()
    process.off('exit', remove)
    process.off('SIGINT', stay)
  }
}

if (lib.isMain(import.meta.url)) ensureServers()

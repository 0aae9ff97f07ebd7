// A wall clock that a test sets while a program runs. The monotonic clock of the program is left
// alone.

import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../scripts/servers.mjs'
import { makeFolder } from './processes.mjs'

/**
 * A clock for one program or several: start each with `env`, then `shift(ms)` puts their wall
 * clocks so many milliseconds ahead of the real time (behind it with a negative number), all at
 * once and for the next reading.
 */
export function settableClock() {
  const file = join(makeFolder(), 'clock')
  const shift = (ms) => {
    // Renamed, so that no program reads half of it.
    writeFileSync(`${file}.new`, `${ms < 0 ? '' : '+'}${ms / 1000}\n`)
    renameSync(`${file}.new`, file)
  }
  shift(0)
  const library = findProgram('faketime')
  // Redis brings jemalloc, which reads the clock before libfaketime has begun, and both wait for
  // ever: so the allocator of libc comes first.
  const preload = process.platform === 'darwin' ? { DYLD_INSERT_LIBRARIES: library, DYLD_FORCE_FLAT_NAMESPACE: '1' } : { LD_PRELOAD: `${library} libc.so.6` }
  const env = { ...preload, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' }
  return { env, shift }
}

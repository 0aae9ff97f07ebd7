// All tests: Rust, the addon through JavaScript, and the types.
// Usage: node scripts/test.mjs [test files]; with files, only these run, on the debug addon.

import { existsSync, readdirSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { build } from './build.mjs'
import { ensure } from './ensure.mjs'
import { root, run, say } from './lib.mjs'
import { ensureServers } from './servers.mjs'

const chosen = process.argv.slice(2)

ensure()
ensureServers()
// JSONTestSuite, the JSON-Schema-Test-Suite and Wycheproof, as others publish them: they are not
// part of the repository.
const vectors = process.env.KEEPSTONE_VECTORS ?? join(root, '../shared/vectors')
const missing = ['json-parsing', 'json-schema', 'wycheproof'].filter((name) => !existsSync(join(vectors, name)))
const outside = missing.length === 0 ? { KEEPSTONE_VECTORS: vectors } : {}
if (chosen.length === 0) {
  if (missing.length > 0) say(`the outside vectors were not run: set KEEPSTONE_VECTORS to a folder that has ${missing.join('/, ')}/ too`)
  run('cargo', ['test', '--locked'], outside)
  build('release')
}
// Without files the addon that ships is tested; the tests of panics load the debug one by
// themselves.
const addon = build('debug')
const env = { ...outside, ...(chosen.length > 0 ? { NAPI_RS_NATIVE_LIBRARY_PATH: addon } : {}) }
// Most files wait for servers and clocks, so two run at once even on two processors.
const atOnce = `--test-concurrency=${Math.max(2, availableParallelism() - 1)}`
// This reporter says at the end what failed, also where nobody sits at a terminal.
run(process.execPath, ['--test', atOnce, '--test-reporter=spec', '--test-timeout=600000', ...(chosen.length > 0 ? chosen : testFiles())], env)
if (chosen.length === 0) run(process.execPath, ['scripts/types.mjs'])

// Node 22 and 24 take no folder here and Node 20 no pattern, so the files are listed.
function testFiles() {
  const names = readdirSync(join(root, '__test__')).filter((name) => name.endsWith('.test.mjs'))
  return names.toSorted().map((name) => `__test__/${name}`)
}

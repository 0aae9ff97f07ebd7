// Builds the addon, unless the one that is there was built from the same sources.
// Usage: node scripts/build.mjs [--debug] [--force]
//
// The release build goes into the root, where native.js finds it. The debug build (`--debug`) has
// overflow checks, debug assertions and the exports that only tests use; it goes into
// target/debug-addon/, where it can't be taken for the other. Tests load it through
// NAPI_RS_NATIVE_LIBRARY_PATH.

import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ensure } from './ensure.mjs'
import { fail, isMain, output, readJson, root, run, say } from './lib.mjs'

const SOURCES = ['src', 'Cargo.toml', 'Cargo.lock', 'build.rs']
const BUILDERS = { release: buildRelease, debug: buildDebug }

/**
 * Builds the addon if it is stale; `kind` is `'release'` or `'debug'`. Returns the path of the
 * .node file.
 */
export function build(kind, { force = false } = {}) {
  const tools = `${output('rustc', ['--version', '--verbose'])}${JSON.stringify(readJson('package.json').napi)}`
  const hash = hashSources(root, SOURCES, tools)
  const stampPath = `target/${kind}-addon.stamp.json`
  const fresh = force ? null : freshAddon(readJson(stampPath), hash)
  if (fresh !== null) {
    say(`the ${kind} addon is up to date`)
    return join(root, fresh)
  }
  say(`building the ${kind} addon; the first time takes some minutes`)
  const addon = BUILDERS[kind]()
  writeFileSync(join(root, stampPath), JSON.stringify({ hash, addon }))
  return join(root, addon)
}

function buildRelease() {
  const addons = () => readdirSync(root).filter((name) => /^keepstone\..+\.node$/.test(name))
  for (const name of addons()) rmSync(join(root, name))
  // Without --js and --dts, napi would overwrite index.js and index.d.ts, which are written by
  // hand.
  const names = ['--js', 'native.js', '--dts', 'native.d.ts']
  run(process.execPath, ['node_modules/@napi-rs/cli/dist/cli.js', 'build', '--platform', '--release', ...names])
  const [addon, ...more] = addons()
  if (addon === undefined || more.length > 0) fail('expected one keepstone.*.node after the build')
  return addon
}

// By cargo itself: napi builds for an explicit target, and so would build every dependency once
// more than cargo test.
function buildDebug() {
  const messages = output('cargo', ['build', '--locked', '--lib', '--message-format=json-render-diagnostics'], 'inherit')
  if (messages === null) fail('cargo build failed')
  const artifacts = messages.split('\n').map((line) => JSON.parse(line))
  const library = artifacts
    .filter((artifact) => artifact.reason === 'compiler-artifact' && artifact.target.name === 'keepstone')
    .flatMap((artifact) => artifact.filenames)
    .find((name) => /\.(so|dylib|dll)$/.test(name))
  if (library === undefined) fail('cargo build made no library')
  const addon = 'target/debug-addon/keepstone.node'
  mkdirSync(join(root, 'target/debug-addon'), { recursive: true })
  // A new file: a process that has the old one mapped must not see it change.
  rmSync(join(root, addon), { force: true })
  copyFileSync(library, join(root, addon))
  return addon
}

/**
 * The addon of the last build if it is there and was built from sources with this hash, else
 * `null`.
 */
export function freshAddon(stamp, hash, base = root) {
  if (stamp?.hash !== hash || typeof stamp.addon !== 'string') return null
  return existsSync(join(base, stamp.addon)) ? stamp.addon : null
}

/**
 * A hash over the names and contents of the files and folders `sources` below `base`, and over
 * `tools`, what they are built with. Contents, since a checkout sets times anew.
 */
export function hashSources(base, sources, tools) {
  const hash = createHash('sha256').update(tools)
  const add = (path) => {
    const bytes = readFileSync(join(base, path))
    hash.update(`\0${path}\0${bytes.length}\0`).update(bytes)
  }
  for (const source of sources) {
    let entries
    try {
      entries = readdirSync(join(base, source), { recursive: true, withFileTypes: true })
    } catch {
      add(source)
      continue
    }
    const files = entries.filter((entry) => entry.isFile())
    const paths = files.map((entry) => relative(base, join(entry.parentPath ?? entry.path, entry.name)))
    for (const path of paths.toSorted()) add(path)
  }
  return hash.digest('hex')
}

if (isMain(import.meta.url)) {
  ensure()
  build(process.argv.includes('--debug') ? 'debug' : 'release', { force: process.argv.includes('--force') })
}

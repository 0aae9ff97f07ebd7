// The scripts that decide what has to be installed or built again.

import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { freshAddon, hashSources } from '../scripts/build.mjs'
import { firstDifference, isOlder } from '../scripts/ensure.mjs'
import { complete } from '../scripts/lock.mjs'

function inFolder(run) {
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
  try {
    mkdirSync(join(folder, 'src/deep'), { recursive: true })
    writeFileSync(join(folder, 'src/deep/a.rs'), 'a')
    writeFileSync(join(folder, 'Cargo.toml'), 'x')
    return run(folder, () => hashSources(folder, ['src', 'Cargo.toml'], 'rustc 1'))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

test('the addon is stale when a source changed, came, went or moved, or the compiler is another', () => {
  inFolder((folder, hash) => {
    const seen = new Set([hash()])
    const isNew = (what) => {
      const now = hash()
      assert.ok(!seen.has(now), what)
      seen.add(now)
    }
    writeFileSync(join(folder, 'src/deep/a.rs'), 'b')
    isNew('changed')
    writeFileSync(join(folder, 'src/new.rs'), '')
    isNew('came')
    rmSync(join(folder, 'src/deep/a.rs'))
    isNew('went')
    writeFileSync(join(folder, 'Cargo.toml'), 'y')
    isNew('a single file')
    assert.notEqual(hashSources(folder, ['src', 'Cargo.toml'], 'rustc 2'), hash())
  })
})

test('times of files do not make it stale, since a checkout sets them anew', () => {
  inFolder((folder, hash) => {
    const before = hash()
    utimesSync(join(folder, 'Cargo.toml'), new Date(0), new Date(0))
    assert.equal(hash(), before)
  })
})

test('the addon is stale when it is not there, was built from other sources, or was never built', () => {
  inFolder((folder) => {
    writeFileSync(join(folder, 'a.node'), '')
    assert.equal(freshAddon({ hash: 'h', addon: 'a.node' }, 'h', folder), 'a.node')
    assert.equal(freshAddon({ hash: 'h', addon: 'gone.node' }, 'h', folder), null)
    assert.equal(freshAddon({ hash: 'other', addon: 'a.node' }, 'h', folder), null)
    assert.equal(freshAddon({ hash: 'h' }, 'h', folder), null)
    assert.equal(freshAddon(null, 'h', folder), null)
  })
})

test('packages are installed again when they are not those of the lockfile', () => {
  const lock = {
    packages: {
      '': { name: 'keepstone' },
      'node_modules/a': { version: '1.0.0', integrity: 'x' },
      'node_modules/other-platform': { version: '1.0.0', integrity: 'y', optional: true }
    }
  }
  const a = { version: '1.0.0', integrity: 'x' }
  const installed = (packages) => ({ packages })
  assert.equal(firstDifference(lock, installed({ 'node_modules/a': a })), null)
  assert.match(firstDifference(lock, null), /nothing/)
  assert.match(firstDifference(lock, installed({})), /node_modules\/a /)
  assert.match(firstDifference(lock, installed({ 'node_modules/a': { ...a, version: '1.0.1' } })), /not as locked/)
  assert.match(firstDifference(lock, installed({ 'node_modules/a': { ...a, integrity: 'z' } })), /not as locked/)
  assert.match(firstDifference(lock, installed({ 'node_modules/a': a, 'node_modules/b': a })), /node_modules\/b /)
})

test('versions are compared as numbers', () => {
  assert.ok(isOlder('1.9.0', '1.88'))
  assert.ok(isOlder('20.9.0', '20.17'))
  assert.ok(!isOlder('1.95.0', '1.88'))
  assert.ok(!isOlder('22.0.0', '20.17'))
  assert.ok(!isOlder('20.17.0', '20.17'))
})

test('the lockfile installs on every platform, and names no host to install from', () => {
  const text = readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8')
  assert.deepEqual(complete(JSON.parse(text)), [], 'run node scripts/lock.mjs')
  assert.doesNotMatch(text, /"resolved"/)
})

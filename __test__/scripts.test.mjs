// The scripts that decide what has to be installed or built again.

import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { freshAddon, hashSources } from '../scripts/build.mjs'
import { firstDifference, isOlder } from '../scripts/ensure.mjs'
import { complete } from '../scripts/lock.mjs'
import { ensureServers, findProgram, holdServices, howToInstall, missingPrograms, which } from '../scripts/servers.mjs'

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

/**
 * A machine with these programs; `calls` are the commands that were run on it, `failures` what the
 * script ended with.
 */
function machine(programs, { uid = 1000, brings = [] } = {}) {
  const installed = new Set(programs)
  const [calls, failures] = [[], []]
  const held = { services: false }
  return {
    calls,
    failures,
    held,
    find: (name) => (installed.has(name) ? `/bin/${name}` : null),
    uid,
    run(command, args, env) {
      calls.push([command, ...args].join(' '))
      assert.deepEqual([env.DEBIAN_FRONTEND, held.services], ['noninteractive', true])
      if (args[0] === 'install') for (const name of brings) installed.add(name)
    },
    fail: (text) => failures.push(text),
    hold() {
      held.services = true
      return () => (held.services = false)
    }
  }
}

const ALL = ['redis-server', 'memcached', 'openssl', 'libfaketimeMT.so.1']

test('where all server programs are there, nothing is run; valkey is as good as redis', () => {
  for (const programs of [ALL, ['valkey-server', ...ALL.slice(1)]]) {
    const there = machine([...programs, 'apt-get'], { uid: 0 })
    ensureServers(there)
    assert.deepEqual([there.calls, there.failures], [[], []])
  }
  assert.equal(findProgram('redis', machine(['valkey-server']).find), '/bin/valkey-server')
  assert.equal(findProgram('redis', machine(['valkey-server', 'redis-server']).find), '/bin/redis-server')
})

test('as root on Debian only the missing programs are installed, and no service is started', () => {
  const debian = machine(['apt-get', ...ALL.slice(1)], { uid: 0, brings: ['redis-server'] })
  ensureServers(debian)
  assert.deepEqual(debian.calls, ['apt-get update', 'apt-get install -y --no-install-recommends redis-server'])
  assert.deepEqual(debian.failures, [])
  assert.equal(debian.held.services, false)
})

test('elsewhere, and where the packages bring no program, the script ends with what to install', () => {
  const missing = { 'not root': machine(['apt-get']), 'no apt': machine([], { uid: 0 }) }
  for (const [why, there] of Object.entries(missing)) {
    ensureServers(there)
    assert.deepEqual(there.calls, [], why)
    assert.equal(there.failures.length, 1, why)
    assert.match(there.failures[0], /apt-get install redis-server memcached openssl libfaketime\n/)
  }
  const empty = machine(['apt-get', ...ALL.slice(1)], { uid: 0 })
  ensureServers(empty)
  assert.equal(empty.failures.length, 1)
})

test('the text names the missing programs and the packages of each system', () => {
  const missing = missingPrograms(machine(['openssl', 'libfaketimeMT.so.1']).find)
  assert.deepEqual(missing, ['redis', 'memcached'])
  const text = howToInstall(missing)
  assert.match(text, /redis-server or valkey-server, memcached/)
  assert.match(text, /apt-get install redis-server memcached\n/)
  assert.match(text, /dnf install valkey memcached\n/)
  assert.match(text, /brew install redis memcached\n/)
  assert.throws(() => findProgram('memcached', () => null), /brew install memcached\n/)
})

test('a program is looked for in the folders of PATH', () => {
  assert.ok(existsSync(which('node') ?? ''))
  assert.equal(which('no-such-program-anywhere'), null)
  assert.equal(which('libno-such-library.so'), null)
})

test('services are held by a policy that goes away again; a policy of the machine stays', () => {
  inFolder((folder) => {
    const policy = join(folder, 'policy-rc.d')
    const release = holdServices(policy)
    assert.match(readFileSync(policy, 'utf8'), /exit 101/)
    assert.equal(statSync(policy).mode & 0o111, 0o111)
    release()
    assert.ok(!existsSync(policy))

    writeFileSync(policy, 'of the machine')
    holdServices(policy)()
    assert.equal(readFileSync(policy, 'utf8'), 'of the machine')
  })
})

test('an import that leads up a floor or across one is found, those of tests are not', async () => {
  const { violations } = await import('../scripts/floors.mjs')
  const found = violations([
    ['json/parser.rs', 'use crate::refusal::Refusal;\nuse crate::schema::Schema;'],
    ['schema/mod.rs', 'use crate::json::Document;\n#[cfg(test)]\nmod tests {\n    use crate::node::call;\n}'],
    ['store/tests.rs', 'use crate::limit::Limiter;'],
    ['keys/ring.rs', '// crate::node is not imported here\nuse crate::{limit::Limiter, clock::Now};'],
    ['attic/mod.rs', 'use crate::clock::Now;']
  ])
  assert.deepEqual(found, ['src/json/parser.rs -> schema', 'src/keys/ring.rs -> limit', 'src/attic/mod.rs has no floor'])
})

test('a comment that is too wide and a file that is too long are found, code and characters beyond ASCII are not', async () => {
  const { faults } = await import('../scripts/layout.mjs')
  const wide = (start) => start + 'x'.repeat(101 - start.length)
  assert.deepEqual(faults('a.rs', [wide('    /// '), wide('let x = '), '// ' + 'µ'.repeat(97), wide(' * '), wide('-- ')].join('\n')).map((line) => line.split(':')[1]), ['1', '4', '5'])
  assert.equal(faults('a.js', 'x\n'.repeat(640)).length, 0)
  assert.equal(faults('a.js', 'x\n'.repeat(641)).length, 1)
})

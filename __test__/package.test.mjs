// What is in the package, and that nothing in it was overwritten by a tool.

import test from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('..', import.meta.url))
const read = (path) => readFileSync(`${root}/${path}`, 'utf8')
const manifest = JSON.parse(read('package.json'))

test('index.js and index.d.ts are written by hand, not by napi build', () => {
  for (const file of ['index.js', 'index.d.ts', 'conformance.js', 'conformance.d.ts', 'testing.js', 'testing.d.ts']) assert.doesNotMatch(read(file).slice(0, 300), /auto-generated/i, file)
})

test('what the shim calls exists in the generated binding, and nothing else is exported', () => {
  const called = new Set()
  for (const file of readdirSync(`${root}/shim`, { recursive: true }).filter((file) => file.endsWith('.js'))) {
    for (const [, name] of read(`shim/${file}`).matchAll(/\bnative\.(\w+)/g)) called.add(name)
  }
  called.delete('js')
  // What the loader adds by itself, and what only a debug build has, which these tests may run on.
  const exported = Object.keys(require('../native.js')).filter((name) => !/^(__|debug)/.test(name))
  assert.deepEqual([...called].sort(), exported.sort())
  for (const name of called) assert.match(read('native.d.ts'), new RegExp(`function ${name}\\(`))
})

test('everything that index.d.ts promises at run time is there', () => {
  const guard = require('keepstone')
  assert.deepEqual(Object.keys(guard).sort(), ['GuardError', 'createGuard', 'default', 'providers', 'securityStack'])
  const one = guard.createGuard({ jwt: { issuer: 'https://i.example', audience: 'a', secret: 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV' } })
  for (const name of ['securityStack', 'headers', 'cors', 'rateLimit', 'authenticate', 'validate', 'authorize', 'require', 'jwks', 'health', 'ready', 'close']) {
    assert.equal(typeof one[name], 'function', name)
  }
  assert.deepEqual(Object.keys(one.limits).sort(), ['allow', 'block', 'consume', 'get', 'penalize', 'reset', 'reward', 'set', 'signal', 'unblock'])
  assert.deepEqual(Object.keys(one.tokens).sort(), ['issue', 'jwks', 'refresh', 'rotate', 'verify'])
  assert.deepEqual(Object.keys(one.sessions).sort(), ['end', 'logout', 'refresh', 'renew', 'start'])
  assert.deepEqual(Object.keys(one.revoke).sort(), ['key', 'session', 'subject', 'token'])
})

test('the packed tarball holds what it needs and nothing of the workshop', () => {
  const [{ files }] = JSON.parse(execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, stdio: ['ignore', 'pipe', 'ignore'] }))
  const names = files.map((file) => file.path)
  const types = readdirSync(`${root}/types`).map((file) => `types/${file}`)
  const shim = readdirSync(`${root}/shim`, { recursive: true }).filter((file) => file.endsWith('.js')).map((file) => `shim/${file}`)
  for (const file of ['index.js', 'index.d.ts', ...types, 'conformance.js', 'conformance.d.ts', 'testing.js', 'testing.d.ts', 'native.js', ...shim, 'docs/reference/errors.md', 'README.md', 'LICENSE', 'package.json']) {
    assert.ok(names.includes(file), file)
  }
  assert.deepEqual(names.filter((name) => /^(src|__test__|bench|target|fuzz|examples|scripts|\.ci)\/|\.node$|^Cargo/.test(name)), [])
})

test('a package for each of the eight targets is described', () => {
  const folders = readdirSync(`${root}/npm`)
  assert.equal(folders.length, 8)
  for (const folder of folders) {
    const target = JSON.parse(read(`npm/${folder}/package.json`))
    assert.equal(target.version, manifest.version, folder)
    assert.ok(target.os?.length === 1 && target.cpu?.length === 1, folder)
    assert.equal(target.libc?.length === 1, folder.startsWith('linux'), folder)
  }
})

test('every code that the guard can give has a heading in docs/reference/errors.md', () => {
  const docs = read('docs/reference/errors.md')
  const headings = new Set([...docs.matchAll(/^#+ `?([A-Za-z_]+)`?/gm)].map(([, code]) => code))
  const sources = execFileSync('git', ['ls-files', 'src', 'shim'], { cwd: root, encoding: 'utf8' }).trim().split('\n')
  const codes = new Set()
  for (const file of sources.filter((name) => /\.(rs|js)$/.test(name) && !/tests?\.rs$|testdata/.test(name))) {
    const text = read(file).split('#[cfg(test)]')[0]
    for (const match of text.matchAll(/"(ERR_[A-Z_]+)"|'(ERR_[A-Z_]+)'|warnOnce\('(GUARD_[A-Z_]+)'|"(GUARD_[A-Z_]+)"/g)) codes.add(match.slice(1).find((code) => code !== undefined))
    for (const [, code] of text.matchAll(/Refusal::new\(\s*\d+,\s*"([a-z_]+)"/g)) codes.add(code)
  }
  assert.ok(codes.size > 15, `${[...codes]}`)
  assert.deepEqual([...codes].filter((code) => !headings.has(code)), [])
})

test('every reason of a refused token is in the table of docs/reference/errors.md', () => {
  const docs = read('docs/reference/errors.md')
  const section = docs.slice(docs.indexOf('### Reasons of refused tokens'), docs.indexOf('## Refusals: OpenAPI'))
  const listed = new Set([...section.matchAll(/`([a-z_]+)(?::<claim>|:exp)?`/g)].map(([, reason]) => reason))
  const found = []
  for (const file of ['src/bearer/denial.rs', 'src/jose/compact.rs', 'src/binding/proof.rs']) {
    for (const [, body] of read(file).matchAll(/fn reason\(&?self\)[^{]*\{([^]*?)\n {4}\}\n/g)) found.push(...[...body.matchAll(/"([a-z_]+)(?::[^"]*)?"/g)].map(([, reason]) => reason))
  }
  assert.ok(found.length > 30, `${found}`)
  assert.deepEqual(found.filter((reason) => !listed.has(reason)), [])
})

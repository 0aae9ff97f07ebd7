// Every code block of README.md and docs/ compiles under `strict`, and runs where it can.
// scripts/snippets.mjs says how a block becomes a program.

import test, { after, before, describe } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { blocksOf, compile, pages } from '../scripts/snippets.mjs'
import { danglingLinks } from '../scripts/links.mjs'
import { startRedis } from './helpers/redis.mjs'

const runner = fileURLToPath(new URL('helpers/snippet-process.mjs', import.meta.url))
const secret = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV0123456789abcdef'
const wrong = { page: 'wrong.md', line: 7, language: 'ts', code: '\nconst n: number = "x"\n', preamble: 'const m = 1\n', trial: '' }
const compiled = compile([...pages().flatMap((page) => blocksOf(page)), wrong])
const programs = compiled.filter(({ page }) => page !== wrong.page)

test('no link of a page and no path in a comment leads nowhere', () => {
  assert.deepEqual(danglingLinks(), [])
})

test('a link that leads nowhere is found, and one that leads somewhere is not', () => {
  const text = '# Here\n[a](no.md) [b](#none) [c](docs/README.md#none) `src/none.rs`\n[d](#here) [e](docs/README.md#start) `src/lib.rs`'
  const found = danglingLinks(['README.md'], (file) => (file === 'README.md' ? text : '# Start'))
  assert.deepEqual(found.map((line) => line.replace('README.md:2: ', '')), ['no file no.md', 'no heading #none', 'no heading docs/README.md#none', 'no src/none.rs'])
})

test('a block that does not compile is found at its line of the page', () => {
  const [error] = compiled.find(({ page }) => page === wrong.page).errors
  assert.match(error, /^wrong\.md:8: error TS2322/)
})

test('every block compiles under strict', () => {
  assert.ok(programs.length > 50)
  assert.deepEqual(programs.flatMap(({ errors }) => errors), [])
})

describe('every block that can run does', { concurrency: 2 }, () => {
  let redis
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-docs-'))
  before(async () => {
    redis = await startRedis()
  })
  after(async () => {
    await redis.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  for (const { name, file, noRun, errors } of programs) {
    const skip = errors.length > 0 ? 'does not compile' : noRun
    test(name, { skip }, async () => {
      const env = { ...process.env, JWT_SECRET: secret, REFRESH_SECRET: secret, DPOP_NONCE_SECRET: secret, REDIS_URL: redis.url, REDIS_PASSWORD: secret, KEEPSTONE_FOLDER: folder }
      const child = spawn(process.execPath, [runner, file], { env, stdio: ['ignore', 'pipe', 'pipe'] })
      let out = ''
      for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (out += chunk))
      const timer = setTimeout(() => child.kill('SIGKILL'), 30_000)
      const [code] = await once(child, 'close')
      clearTimeout(timer)
      assert.equal(code, 0, out)
    })
  }
})

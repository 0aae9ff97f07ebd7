// docs/internals/threat-model.md names a test for each attack. A test that was renamed or taken out
// must not be named any more.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import test from 'node:test'

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')

/** The rows of the tables: the text of their last cell where it names a test. */
const rows = read('docs/internals/threat-model.md').split('\n').filter((line) => line.startsWith('|') && line.includes('`') && /(?:\.mjs|\.rs)`/.test(line))

test('each attack of the threat model has the test that it names', () => {
  assert.ok(rows.length >= 30)
  for (const row of rows) {
    const named = [...row.matchAll(/`([\w/.-]+\.(?:test\.mjs|rs))`(?:: ([^|]+?))?(?= \||;)/g)]
    assert.ok(named.length > 0, row)
    for (const [, file, name] of named) {
      const text = read(file.endsWith('.mjs') ? `__test__/${file}` : file).replaceAll("\\'", "'")
      if (name !== undefined) assert.ok(text.includes(name), `${file} has no test that begins with: ${name}`)
    }
  }
})

// The suites of others, on the addon: KEEPSTONE_VECTORS names the folder that holds them
// (CONTRIBUTING.md).

import test from 'node:test'
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseJson, validateJson, verifyCompact } from 'keepstone/conformance'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = process.env.KEEPSTONE_VECTORS
const at = (...path) => join(folder, ...path)
const read = (...path) => JSON.parse(readFileSync(at(...path), 'utf8'))
const skip = (name) => (folder !== undefined && existsSync(at(name)) ? false : `KEEPSTONE_VECTORS names no folder with ${name}/`)

/** `undefined` where the token is accepted, else the code it is refused with. */
function verdict(token, key) {
  try {
    verifyCompact(token, key)
    return undefined
  } catch (error) {
    assert.equal(error.name, 'GuardError', `${error.stack}`)
    return error.code
  }
}

/** Every JWS case of a file: `[test, the key that it is verified with]`. */
function cases(file) {
  return read('wycheproof', file).testGroups.flatMap((group) =>
    group.tests.filter(({ jws }) => jws !== undefined).map((one) => [one, group.public ?? group.private])
  )
}

/** The table under a heading of docs/guides/tokens.md, as lists of cells. */
function tableOf(heading) {
  const section = readFileSync(join(root, 'docs/guides/tokens.md'), 'utf8').split(`\n### ${heading}\n`)[1].split('\n#')[0]
  const rows = section.split('\n').filter((line) => line.startsWith('|')).slice(2)
  return rows.map((row) => row.split('|').slice(1, -1).map((cell) => cell.trim()))
}

for (const [file, count] of [
  ['json_web_signature_test.json', 401],
  ['json_web_key_test.json', 26],
  ['json_web_crypto_test.json', 49]
]) {
  test(`Wycheproof ${file}: nothing invalid is accepted, and every refusal of a valid one is in docs/guides/tokens.md`, { skip: skip('wycheproof') }, () => {
    // Byte for byte the token of the valid case 357, so whoever takes that one takes these.
    const same = file === 'json_web_signature_test.json' ? [367, 370] : []
    const taken = []
    const refused = []
    let seen = 0
    for (const [{ tcId, jws, result }, key] of cases(file)) {
      const code = verdict(jws, key)
      seen += 1
      if (result === 'invalid' && code === undefined) taken.push(tcId)
      if (result === 'valid' && code !== undefined) refused.push([String(tcId), `\`${code}\``])
    }
    assert.equal(seen, count)
    assert.deepEqual(taken, same)
    const documented = tableOf('Valid cases that are refused').filter(([name]) => name === `\`${file}\``)
    assert.deepEqual(refused, documented.map(([, tcId, code]) => [tcId, code]))
    for (const row of documented) assert.ok(row[3].length > 20, `the reason of ${row[1]}`)
  })
}

test('Wycheproof: the two that are accepted are the valid token itself', { skip: skip('wycheproof') }, () => {
  const all = new Map(cases('json_web_signature_test.json').map(([one, key]) => [one.tcId, [one.jws, JSON.stringify(key)]]))
  assert.deepEqual([all.get(367), all.get(370)], [all.get(357), all.get(357)])
})

test('JSONTestSuite: what must parse does but for four cases, what must not does not, and nothing undecided does', { skip: skip('json-parsing') }, () => {
  const refused = ['y_object_duplicated_key.json', 'y_object_duplicated_key_and_value.json', 'y_object_escaped_null_in_key.json', 'y_string_null_escape.json']
  const wrong = readdirSync(at('json-parsing')).filter((name) => /^[yni]_.*\.json$/.test(name)).filter((name) => {
    const bytes = readFileSync(at('json-parsing', name))
    let parsed = true
    try {
      assert.deepEqual(parseJson(bytes), JSON.parse(bytes.toString()))
    } catch (error) {
      assert.equal(error.name, 'GuardError', `${name}: ${error.stack}`)
      parsed = false
    }
    return parsed !== (name.startsWith('y_') && !refused.includes(name))
  })
  assert.deepEqual(wrong, [])
})

test('JSON Schema Test Suite: every verdict is as the suite has it, but for instances that are refused unread', { skip: skip('json-schema') }, (t) => {
  const files = (path) => readdirSync(at(path)).flatMap((name) => (statSync(at(path, name)).isDirectory() ? files(join(path, name)) : [join(path, name)]))
  const remotes = join('json-schema', 'remotes')
  const unread = new Set(['forbidden_key', 'forbidden_character', 'unsafe_number'])
  for (const [draft, name] of [['4', 'draft4'], ['6', 'draft6'], ['7', 'draft7'], ['2019-09', 'draft2019-09'], ['2020-12', 'draft2020-12']]) {
    // A folder holds what is written in its draft; the rest is for all of them.
    const registry = Object.fromEntries(files(remotes).map((path) => [path.slice(remotes.length + 1).replaceAll('\\', '/'), path])
      .filter(([path]) => path.startsWith(`${name}/`) || !/^(draft|v1\/)/.test(path))
      .map(([path, file]) => [`http://localhost:1234/${path}`, read(file)]))
    const judge = (paths, formats) => {
      const found = { right: 0, before: 0, wrong: [] }
      for (const path of paths.filter((one) => one.endsWith('.json'))) {
        for (const { description, schema, tests } of read(path)) {
          // The registry is long, and few schemas lead to it.
          const options = JSON.stringify(schema).includes('//localhost:1234/') ? { draft, registry, formats } : { draft, formats }
          for (const { description: of, data, valid } of tests) {
            try {
              const verdict = validateJson(schema, Buffer.from(JSON.stringify(data)), options)
              if (unread.has(verdict.errors[0]?.code)) found.before += 1
              else if (verdict.valid === valid) found.right += 1
              else found.wrong.push(`${path}: ${description}: ${of}`)
            } catch (error) {
              found.wrong.push(`${path}: ${description}: ${error.message}`)
            }
          }
        }
      }
      return found
    }
    const told = ({ right, before, wrong }) => `${right} of ${right + before + wrong.length}, ${before} refused unread`
    const folder = join('json-schema', name)
    const required = judge(readdirSync(at(folder)).map((file) => join(folder, file)), false)
    const optional = files(join(folder, 'optional'))
    const isFormat = (path) => path.replaceAll('\\', '/').includes('/optional/format/')
    t.diagnostic(`${name}: required ${told(required)}; optional ${told(judge(optional.filter((path) => !isFormat(path)), false))}; formats ${told(judge(optional.filter(isFormat), true))}`)
    assert.deepEqual(required.wrong, [], name)
    assert.ok(required.right > 600, `${name}: ${required.right}`)
    assert.ok(required.before < 10, `${name}: ${required.before} were refused unread`)
  }
})

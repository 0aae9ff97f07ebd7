// Documents at random: whatever the core accepts, JavaScript reads to the same value, or the check
// would be of another document than the handler's. KEEPSTONE_DOCUMENTS says how many,
// KEEPSTONE_SEED which ones.

import test from 'node:test'
import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import { readBody } from 'keepstone/conformance'
import { documents } from './helpers/documents.mjs'

const COUNT = Number(process.env.KEEPSTONE_DOCUMENTS ?? 20_000)
const SEED = Number(process.env.KEEPSTONE_SEED ?? 5)
const CODES = new Set([
  'malformed_json', 'invalid_unicode', 'forbidden_character', 'duplicate_key', 'forbidden_key', 'operator_key', 'too_deep', 'too_many_nodes',
  'too_many_keys', 'unsafe_number', 'bracketed_key', 'malformed_form'
])

/** Reads `COUNT` documents; gives how many were accepted and how many refused with which code. */
function run(next, type, compare) {
  const seen = { accepted: 0, refused: 0, codes: new Set() }
  for (let i = 0; seen.accepted + seen.refused < COUNT; i += 1) {
    const bytes = next()
    // An empty body is no body: there is nothing to read.
    if (bytes.length === 0) continue
    let ours
    try {
      ours = readBody(bytes, type)
    } catch (error) {
      if (!CODES.has(error.code)) throw error
      seen.refused += 1
      seen.codes.add(error.code)
      continue
    }
    seen.accepted += 1
    compare(bytes, ours, `document ${i} of seed ${SEED}: ${JSON.stringify(bytes.toString('latin1'))}`)
  }
  return seen
}

/** A run that accepts or refuses everything proves nothing. */
function isMixed(t, seen, codes) {
  t.diagnostic(`${seen.accepted} accepted, ${seen.refused} refused`)
  assert.ok(seen.accepted > COUNT / 20 && seen.refused > COUNT / 20, JSON.stringify(seen))
  for (const code of codes) assert.ok(seen.codes.has(code), `${code} is never met`)
}

test('whatever JSON is accepted, JSON.parse reads to the same value', (t) => {
  const { json } = documents(SEED)
  const seen = run(json, 'json', (bytes, ours, what) => {
    let theirs
    try {
      theirs = JSON.parse(bytes.toString())
    } catch (cause) {
      throw new assert.AssertionError({ message: `accepted, but no JSON: ${what}`, cause })
    }
    assert.ok(isDeepStrictEqual(ours, theirs), what)
  })
  isMixed(t, seen, ['malformed_json', 'invalid_unicode', 'forbidden_character', 'duplicate_key', 'forbidden_key', 'operator_key', 'unsafe_number'])
})

test('whatever form is accepted, URLSearchParams reads to the same names and values', (t) => {
  const { form } = documents(SEED)
  const seen = run(form, 'form', (bytes, ours, what) => {
    const theirs = {}
    // A question mark at the very beginning would be dropped.
    for (const [name, value] of new URLSearchParams(`&${bytes}`)) {
      if (name.endsWith('[]')) (theirs[name.slice(0, -2)] ??= []).push(value)
      else theirs[name] = value
    }
    assert.ok(isDeepStrictEqual(ours, theirs), what)
  })
  isMixed(t, seen, ['malformed_form', 'invalid_unicode', 'forbidden_character', 'duplicate_key', 'forbidden_key', 'operator_key', 'bracketed_key'])
})

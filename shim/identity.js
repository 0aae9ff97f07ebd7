'use strict'

// Calls the application's functions for identities that are no tokens: `identify`, and
// `apiKeys.lookup`. The core asks (src/stack/sources.rs), and judges what they return.

const { encodeData } = require('./encode.js')

/** The most characters of the records that a guard keeps for `apiKeys.cacheFor`. */
const MAX_KEPT = 4_000_000

/** The records of API keys that may be used again, by their digest. */
class KeptRecords {
  #records = new Map()
  #size = 0

  /** The record as JSON; undefined if it is not kept, or not any more. */
  get(digest) {
    const kept = this.#records.get(digest)
    if (kept === undefined) return undefined
    if (performance.now() < kept.until) return kept.json
    this.#delete(digest, kept)
    return undefined
  }

  set(digest, json, ms) {
    const known = this.#records.get(digest)
    if (known !== undefined) this.#delete(digest, known)
    const size = digest.length + json.length
    // Only keys of the application's table are kept: made-up ones can't empty it.
    if (this.#size + size > MAX_KEPT) this.clear()
    this.#records.set(digest, { json, until: performance.now() + ms })
    this.#size += size
  }

  clear() {
    this.#records.clear()
    this.#size = 0
  }

  /** Drops the record of a key. */
  drop(digest) {
    const known = this.#records.get(digest)
    if (known !== undefined) this.#delete(digest, known)
  }

  #delete(digest, { json }) {
    this.#records.delete(digest)
    this.#size -= digest.length + json.length
  }
}

/**
 * Builds the functions of a guard, from all functions in its options: `find(line, state, owner,
 * subject)` answers the question in a line of the core. It returns `{ ask, found }`: the question,
 * and its answer `{ json }` or a promise of it; without `json` there is no user. `drop(state)`
 * forgets the record of a request that is refused.
 */
function identityFunctions(functions) {
  const identify = functions.get('identify') ?? functions.get('identify.claims')
  const lookup = functions.get('apiKeys.lookup')
  const kept = new KeptRecords()

  function find(line, state, owner, subject) {
    const [source, timeout, keepFor, digest] = line.split(' ')
    const ask = { source, timeout: Number(timeout) }
    // Each function is called once for a request, however many stacks ask.
    const known = state.identityOf(owner, source)
    if (known !== undefined) return { ask, found: known }
    if (digest !== undefined) state.keyDigest = digest
    const found = digest === undefined ? called('identify()', () => identify(subject())) : record(digest, Number(keepFor))
    state.keepIdentity(owner, source, found)
    return { ask, found }
  }

  function record(digest, keepFor) {
    const json = keepFor === 0 ? undefined : kept.get(digest)
    if (json !== undefined) return { json }
    const found = called('apiKeys.lookup()', () => lookup(digest))
    if (keepFor === 0) return found
    const keep = (result) => {
      if (result.json !== undefined) kept.set(digest, result.json, keepFor)
      return result
    }
    return typeof found.then === 'function' ? found.then(keep) : keep(found)
  }

  /** Drops the record behind a refused request: the application may mend it at any time. */
  function drop(state) {
    if (state.keyDigest !== null) kept.drop(state.keyDigest)
  }

  return { find, drop, forget: () => kept.clear() }
}

/** The result of a function; a promise only if the function returned one. */
function called(name, fn) {
  const value = fn()
  return typeof value?.then === 'function' ? Promise.resolve(value).then((result) => written(name, result)) : written(name, value)
}

const written = (name, value) => ({ json: value === null || value === undefined ? undefined : encodeData(name, value) })

const FAULTS = [
  ['\u001fidentify_result:', '`identify` returned no claims that can be used'],
  ['\u001fapi_key_record:', '`apiKeys.lookup` returned no record that can be used']
]

/** The fault of a function's result, by the cause of a refusal; undefined without one. */
function faultOf(cause) {
  const fault = FAULTS.find(([start]) => cause?.startsWith(start))
  return fault === undefined ? undefined : `${fault[1]}: ${cause.slice(fault[0].length)}`
}

module.exports = { faultOf, identityFunctions }

'use strict'

// An answer of the core is lines of text; src/node/answer.rs defines the lines. A number is the
// ticket of a request that waits for a shared store.

const { prepareHeaders } = require('./headers.js')

/** The lines of an answer; an empty line is an absent value. */
const read = (text) => text.split('\n')

// Claims by their text, which the core has verified for each request: copying an object is several
// times faster than parsing its text. These objects never leave this file.
const MAX_CLAIMS = 1000
const knownClaims = new Map()

/** The claims of an identity, an object of this request's own. */
function readClaims(json) {
  let known = knownClaims.get(json)
  if (known === undefined) {
    known = JSON.parse(json)
    if (json.length > 2048) return known
    if (knownClaims.size >= MAX_CLAIMS) knownClaims.clear()
    knownClaims.set(json, known)
  }
  return copy(known)
}

/** A deep copy. The input is a result of `JSON.parse`, at most 16 levels deep. */
function copy(value) {
  if (Array.isArray(value)) return value.map((item) => (item !== null && typeof item === 'object' ? copy(item) : item))
  const out = { ...value }
  for (const key of Object.keys(out)) {
    const member = out[key]
    if (member !== null && typeof member === 'object') out[key] = copy(member)
  }
  return out
}

// Headers by their line, which is the same for most requests.
const MAX_HEADERS = 1000
const knownHeaders = new Map()

/**
 * The response headers of a line: values of `Vary`, which are added to the existing ones, and the
 * other headers for `putHeaders`.
 */
function readHeaders(line) {
  const known = knownHeaders.get(line)
  if (known !== undefined) return known
  const vary = []
  const cookies = []
  const others = []
  const pairs = line.split('\u001f')
  for (let i = 0; i < pairs.length; i += 2) {
    if (pairs[i] === 'Vary') vary.push(pairs[i + 1])
    else if (pairs[i] === 'Set-Cookie') cookies.push(pairs[i + 1])
    else others.push(pairs[i], pairs[i + 1])
  }
  const headers = { vary, cookies, fields: prepareHeaders(others) }
  if (line.length <= 2048) {
    if (knownHeaders.size >= MAX_HEADERS) knownHeaders.clear()
    knownHeaders.set(line, headers)
  }
  return headers
}

module.exports = {
  read,
  readClaims,
  readHeaders,
  // Kinds.
  PASS: '0',
  READ_BODY: '1',
  REFUSE: '2',
  PREFLIGHT: '3',
  RUN_CALLBACKS: '4',
  DELAY: '6',
  ASK_CERTIFICATE: '7',
  ASK_IDENTITY: '8',
  ASK_RESOURCE: '9',
  // Lines.
  KIND: 0,
  STATUS: 1,
  CODE: 2,
  PROBLEM: 3,
  READING: 4,
  WAIT_MS: 4,
  CAUSE: 4,
  ASK: 4,
  HAS_BODY: 5,
  LAYER: 5,
  SECURE: 6,
  HEADERS: 7,
  RATE_LIMIT: 8,
  CLAIMS: 9,
  TOKEN: 10,
  CLIENT: 11,
  LIMITS: 12,
  REASONS: 13,
  CHECKED: 14,
  TICKET: 15,
  RECEIPT: 16
}

'use strict'

// An answer of the core is lines of text; src/node/answer.rs says which line is what, and why.

/** The lines of an answer; an empty one is what is not there. */
const read = (text) => text.split('\n')

// Claims by their text, where none of them is an object: a copy of those is quicker made than the text is read again.
const MOST_CLAIMS = 1000
const flatClaims = new Map()

/** The claims of an identity, an object of this request's own. */
function readClaims(json) {
  const known = flatClaims.get(json)
  if (known !== undefined) return { ...known }
  const claims = JSON.parse(json)
  if (json.length <= 2048 && Object.values(claims).every((value) => typeof value !== 'object')) {
    if (flatClaims.size >= MOST_CLAIMS) flatClaims.clear()
    flatClaims.set(json, { ...claims })
  }
  return claims
}

/** Header names and values in turn. */
const readHeaders = (line) => line.split('\u001f')

module.exports = {
  read,
  readClaims,
  readHeaders,
  // Kinds.
  PASS: '0',
  READ_BODY: '1',
  REFUSE: '2',
  PREFLIGHT: '3',
  ASK_KEYS: '4',
  ASK_STORE: '5',
  // Lines.
  KIND: 0,
  STATUS: 1,
  CODE: 2,
  PROBLEM: 3,
  MAX_BYTES: 4,
  HAS_BODY: 5,
  SECURE: 6,
  HEADERS: 7,
  CLAIMS: 8,
  TOKEN: 9,
  CLIENT: 10,
  LIMITS: 11,
  REASONS: 12,
  CHECKED: 13,
  TICKET: 14
}

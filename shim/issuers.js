'use strict'

// Fetches the keys that issuers publish. The core decides when and where, and which keys are valid
// (src/remote_keys).

const native = require('../native.js')
const { follow, headersFrom, kindOf, request } = require('./fetching.js')

/** How long an issuer may take for its whole answer. */
const TIMEOUT_MS = 5000
const MAX_BYTES = 256 * 1024

/**
 * Fetches the keys of a guard's issuers while the guard is open. `functions` are those of its
 * options. Returns the function that ends it.
 */
function followIssuers(handle, functions) {
  const carryOut = async ({ issuer, number, url, headers }, signal) => {
    try {
      const fn = functions.get(`jwt.issuers[${issuer}].jwks.headers`) ?? functions.get('jwt.jwks.headers')
      const more = await headersFrom(fn, signal)
      const { response, body } = await request(url, { headers: { ...more, ...headers }, signal }, MAX_BYTES)
      const head = JSON.stringify(headOf(response))
      return () => native.keysFetched(handle, issuer, number, head, body)
    } catch (error) {
      return () => native.keysFailed(handle, issuer, number, kindOf(error))
    }
  }
  return follow(handle, native.keysDue, carryOut, () => TIMEOUT_MS)
}

function headOf(response) {
  const field = (name) => response.headers.get(name) ?? undefined
  return {
    status: response.status,
    etag: field('etag'),
    lastModified: field('last-modified'),
    cacheControl: field('cache-control'),
    age: field('age')
  }
}

module.exports = { followIssuers }

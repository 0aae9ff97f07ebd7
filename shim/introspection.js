'use strict'

// Asks an issuer about tokens (RFC 7662). The core decides when and about which token, and what an
// answer is worth (src/introspection).

const native = require('../native.js')
const { follow, headersFrom, kindOf, request } = require('./fetching.js')

const MAX_BYTES = 64 * 1024
/** Errors of a connection that the endpoint has closed while it was idle. */
const CLOSED = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])

/**
 * Asks the issuer of a guard while the guard is open. `functions` are those of its options. Returns
 * the function that ends it.
 */
function followIntrospection(handle, functions) {
  const carryOut = async ({ issuer, number, url, headers, form }, signal) => {
    try {
      const fn = functions.get(`jwt.issuers[${issuer}].introspection.headers`) ?? functions.get('jwt.introspection.headers')
      const more = await headersFrom(fn, signal)
      const { response, body } = await post(url, { method: 'POST', headers: { ...more, ...headers }, body: form, signal })
      const type = response.headers.get('content-type') ?? undefined
      return () => native.introspectionAnswered(handle, number, response.status, type, body)
    } catch (error) {
      return () => native.introspectionFailed(handle, number, kindOf(error))
    }
  }
  return follow(handle, native.introspectionDue, carryOut, ({ timeout }) => timeout)
}

/**
 * Sends a question, and once more if the endpoint has closed the connection: `fetch` repeats no
 * POST, but a question changes nothing at the issuer.
 */
async function post(url, options) {
  try {
    return await request(url, options, MAX_BYTES)
  } catch (error) {
    if (!CLOSED.has(error?.cause?.code) || options.signal.aborted) throw error
    return await request(url, options, MAX_BYTES)
  }
}

module.exports = { followIntrospection }

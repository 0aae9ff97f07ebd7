'use strict'

// Preflights: the requests by which a browser asks whether a page may send another one (Fetch
// section 4.8).

const { warnOnce } = require('./errors.js')

// Media types of bodies that a page may send without asking (Fetch section 2.2.2).
const SAFELISTED = /^(?:text\/plain|application\/x-www-form-urlencoded|multipart\/form-data)\s*(?:;|$)/i
const SAFE_METHODS = new Set(['GET', 'HEAD', 'POST'])

/** The method of the request that a preflight asks for; undefined if `view` is no preflight. */
function askedMethod(view) {
  if (view.method !== 'OPTIONS' || view.get('origin') === undefined) return undefined
  return view.get('access-control-request-method')
}

const isPreflight = (view) => view.method === 'OPTIONS' && askedMethod(view) !== undefined

/** Whether a browser asks before it sends this request for a page of another origin. */
function needsPreflight(view) {
  if (view.method === 'OPTIONS') return false
  if (!SAFE_METHODS.has(view.method) || view.get('authorization') !== undefined) return true
  const type = view.get('content-type')
  return type !== undefined && !SAFELISTED.test(type)
}

/** `advice` is what to write instead, on the host of the request. */
function warnUnansweredPreflight(advice) {
  warnOnce('GUARD_PREFLIGHT_UNANSWERED', `a route has CORS of its own, but its preflights reach no handler of the guard with these options, so that browsers keep pages from sending their requests; ${advice}`)
}

module.exports = { askedMethod, isPreflight, needsPreflight, warnUnansweredPreflight }

'use strict'

// The option `sessions`, and the parts of `jwt` that sessions need. The core does not read it.

const { GuardError } = require('./errors.js')

const SECURE = '__Secure-'
const OPTIONS = ['path', 'sameSite', 'persistent', 'accessCookie', 'refreshCookie']
// RFC 6265 section 4.1.1: a token of HTTP.
const NAME = /^__Secure-[\w!#$%&'*+.^`|~-]{1,100}$/
const PATH = /^(?:\/[\w.~!$&'()*+,=:@%-]+)+$/
const SAME_SITE = { strict: 'Strict', lax: 'Lax' }

/**
 * Returns a function that returns the checked options of sessions, or throws. `config` is the tree
 * of ./plain.js. With `sessions` the check runs now. The result retains no secret of `config`.
 */
function sessionsPart({ jwt, sessions }) {
  const of = { from: jwt?.from, refresh: Boolean(jwt?.refresh) }
  let known = sessions === undefined ? null : readSessionOptions(of, sessions)
  return () => (known ??= readSessionOptions(of, {}))
}

function readSessionOptions(jwt, sessions) {
  if (Object.prototype.toString.call(sessions) !== '[object Object]') {
    throw invalid('sessions', "must be an object such as { path: '/session' }")
  }
  for (const key of Object.keys(sessions)) {
    if (OPTIONS.includes(key)) continue
    const path = `sessions.${key.slice(0, 80)}`
    throw new GuardError(`\`${path}\` is not an option; the options are ${OPTIONS.map((name) => `\`${name}\``).join(', ')}`, { code: 'ERR_UNKNOWN_OPTION', path })
  }
  const { path = '/session', sameSite = 'strict', persistent = true, accessCookie, refreshCookie = `${SECURE}refresh` } = sessions
  if (typeof path !== 'string' || !PATH.test(path) || path.length > 256 || path.split('/').some((part) => part === '.' || part === '..')) {
    throw invalid('sessions.path', "must be a path below which the refresh handler lies, without a slash at its end; write '/session'")
  }
  if (typeof sameSite !== 'string' || !Object.hasOwn(SAME_SITE, sameSite)) throw invalid('sessions.sameSite', "must be 'strict' or 'lax'")
  if (typeof persistent !== 'boolean') throw invalid('sessions.persistent', 'must be true or false')
  const cookies = cookiesIn(jwt)
  const access = accessOf(cookies, accessCookie)
  if (typeof refreshCookie !== 'string' || !NAME.test(refreshCookie)) {
    throw invalid('sessions.refreshCookie', "must be a name that starts with '__Secure-': a '__Host-' cookie can't have a path of its own; write '__Secure-refresh'")
  }
  const proofCookie = `__Host-${refreshCookie.slice(SECURE.length)}`
  if (cookies.includes(proofCookie)) {
    throw new GuardError(`\`sessions.refreshCookie\` needs the cookie ${proofCookie} beside it, which \`jwt.from\` takes tokens from; choose another name`, {
      code: 'ERR_CONFLICTING_OPTIONS',
      path: 'sessions.refreshCookie'
    })
  }
  if (!jwt.refresh) throw missing('jwt.refresh', 'must be set for sessions', 'write refresh: true')
  return { path, sameSite: SAME_SITE[sameSite], persistent, accessCookie: access, refreshCookie, proofCookie, from: jwt.from }
}

/** The cookies that `jwt.from` takes tokens from. The core judges their names. */
function cookiesIn({ from }) {
  const cookies = Array.isArray(from) ? from.map((source) => source?.cookie).filter((name) => typeof name === 'string') : []
  if (cookies.length > 0) return cookies
  throw missing('jwt.from', 'must name a cookie for sessions', "write from: [{ cookie: '__Host-token' }]")
}

function accessOf(cookies, name) {
  if (name === undefined) {
    if (cookies.length === 1) return cookies[0]
    throw missing('sessions.accessCookie', 'must say which cookie of `jwt.from` the access token goes into', `write accessCookie: '${cookies[0].slice(0, 80)}'`)
  }
  if (cookies.includes(name)) return name
  throw invalid('sessions.accessCookie', 'must be a cookie that `jwt.from` names')
}

const invalid = (path, problem) => new GuardError(`\`${path}\` ${problem}`, { code: 'ERR_INVALID_OPTION', path })

const missing = (path, problem, suggestion) =>
  new GuardError(`\`${path}\` ${problem}; ${suggestion}`, { code: 'ERR_MISSING_OPTION', path, suggestion })

module.exports = { sessionsPart }

'use strict'

// guard.sessions: sessions of a browser, whose tokens are in cookies. What the tokens are good for,
// ./tokens.js and the core say; this file puts them into cookies and takes them out again.

const { createHash } = require('node:crypto')
const { exactly, optional } = require('./arguments.js')
const { GuardError, warnOnce } = require('./errors.js')
const { assertRequest, assertResponse, isSent, putCookies, valuesOf } = require('./hosts/session-cookies.js')
const { readOptions } = require('./plain.js')
const { claimsOption } = require('./tokens.js')

/** What a browser keeps of a cookie, name and value together (RFC 6265bis section 5.6). */
const MAX_COOKIE = 4096

const REFRESH_TOKEN = /^ksr_[\w-]{86}$/

/**
 * `options()` gives what ./session-options.js has read, `refreshFor` is for how many seconds a
 * refresh token is good if it is not used. `handlers(calls)` gives the handlers over these calls.
 */
function sessionCalls(options, { tokens, revoke }, refreshFor, handlers) {
  async function start(res, claims, ...rest) {
    const { persistent, ...issue } = startOptions(rest, options())
    assertResponse(res)
    const pair = await tokens.issue(claims, issue)
    if (isSent(res)) throw sent()
    putCookies(res, cookiesOf(options(), pair, persistent, refreshFor))
    return { expiresIn: pair.expiresIn }
  }

  /**
   * Puts the next pair of tokens into the cookies of `res`. Gives what went wrong, as `{ error,
   * isForeign }`, or null; `isForeign` where the application's function has thrown it.
   */
  async function tryRenew(req, res, claims) {
    let isForeign = false
    const asked = claims === undefined ? [] : [{ claims: async (before) => {
      try {
        return await claims(before)
      } catch (error) {
        isForeign = true
        throw error
      }
    } }]
    try {
      assertRequest(req)
      assertResponse(res)
      const { token, persistent } = presented(req, options())
      const pair = await tokens.refresh(token, ...asked)
      if (isSent(res)) throw sent()
      putCookies(res, cookiesOf(options(), pair, persistent, refreshFor))
      return null
    } catch (error) {
      if (!isForeign && error.code === 'token_missing' && valuesOf(req, options().proofCookie).length > 0) warnOfPath()
      // Where the store gives no answer, the same token is good again: its cookie stays.
      if (!isForeign && endsSession(error) && !isSent(res)) putCookies(res, clearedCookies(options()))
      return { error, isForeign }
    }
  }

  async function end(req, res) {
    assertRequest(req)
    assertResponse(res)
    const session = await sessionOf(req, res)
    if (session !== undefined) {
      // Where there are several issuers, the core wants to be told whose session it is.
      const issuer = options().hasIssuers ? [{ issuer: session.iss }] : []
      await revoke.session(session.sid, ...issuer)
    }
    if (isSent(res)) throw sent()
    putCookies(res, clearedCookies(options()))
  }

  /** The claims of the session that a request belongs to; undefined where it has none. */
  async function sessionOf(req, res) {
    const { accessCookie } = options()
    if (req.guard?.token && hasSid(req.user)) return req.user
    const access = valuesOf(req, accessCookie)
    const claims = access.length === 1 ? await claimsOf(access[0]) : undefined
    if (hasSid(claims)) return claims
    let refresh
    try {
      refresh = presented(req, options())
    } catch {
      return undefined
    }
    try {
      const pair = await tokens.refresh(refresh.token)
      // If the revocation fails, the browser comes back with these.
      if (!isSent(res)) putCookies(res, cookiesOf(options(), pair, refresh.persistent, refreshFor))
      return payloadOf(pair.accessToken)
    } catch (error) {
      if (endsSession(error)) return undefined
      throw error
    }
  }

  /** The claims of an access token that is good, or was good until its session was revoked. */
  async function claimsOf(token) {
    try {
      return await tokens.verify(token)
    } catch (error) {
      // Revocations are looked up last, when all else is in order. A logout that the store has not
      // acknowledged is tried again with such a token.
      if (error.code === 'token_revoked') return payloadOf(token)
      if (error instanceof GuardError && error.status === 401) return undefined
      if (error.code === 'ERR_INVALID_ARGUMENT') return undefined
      throw error
    }
  }

  const renew = async (req, res, ...rest) => {
    const failure = await tryRenew(req, res, claimsOption(rest))
    if (failure !== null) throw failure.error
  }
  const tryEnd = (req, res) => end(req, res).then(() => null, (error) => ({ error, isForeign: false }))
  const { refresh, logout } = handlers({ options, tryRenew, tryEnd })
  return Object.freeze({ start, renew, end: exactly('sessions.end', end), refresh, logout })
}

/** The options of `start`: `persistent`, and those of `tokens.issue` that are left to a caller. */
function startOptions(rest, { persistent }) {
  const given = readOptions('options', optional('options', rest, {}), { prefix: 'options' })
  for (const key of Object.keys(given)) {
    if (key === 'persistent' || key === 'expiresIn') continue
    const path = `options.${key.slice(0, 80)}`
    throw new GuardError(`\`${path}\` is not an option; the options are \`persistent\` and \`expiresIn\``, { code: 'ERR_UNKNOWN_OPTION', path })
  }
  if (given.persistent === undefined || typeof given.persistent === 'boolean') return { persistent, ...given }
  throw new GuardError('`options.persistent` must be true or false', { code: 'ERR_INVALID_OPTION', path: 'options.persistent' })
}

/**
 * The refresh token of a request, and whether its cookies outlive the browser. Other hosts of the
 * domain can set a `__Secure-` cookie, for instance with a token of their own user; they can't set
 * the `__Host-` cookie beside it, which names the one that belongs to it.
 */
function presented(req, { refreshCookie, proofCookie }) {
  const refresh = valuesOf(req, refreshCookie)
  const proofs = valuesOf(req, proofCookie)
  if (refresh.length > 1 || proofs.length > 1) {
    throw new GuardError('the request has two cookies of one name; send one', { code: 'token_ambiguous', status: 400 })
  }
  if (refresh.length === 0) throw new GuardError('the request has no refresh token', { code: 'token_missing', status: 401 })
  const [token] = refresh
  const [proof] = proofs
  if (REFRESH_TOKEN.test(token) && proof !== undefined) {
    for (const persistent of [true, false]) if (proof === proofOf(token, persistent)) return { token, persistent }
  }
  throw new GuardError('the refresh token is not good, or not any more; log in again', { code: 'ERR_REFRESH_INVALID', status: 401 })
}

function warnOfPath() {
  warnOnce('GUARD_SESSION_PATH', 'a browser with a session sent no refresh token: does the refresh handler lie below `sessions.path`, as browsers see it?')
}

/** What the cookie says that proves whose the refresh token is, and how long cookies stay. */
function proofOf(token, persistent) {
  return `${persistent ? 'p' : 's'}.${createHash('sha256').update(token).digest('base64url')}`
}

function cookiesOf({ accessCookie, refreshCookie, proofCookie, path, sameSite }, pair, persistent, refreshFor) {
  const { accessToken, refreshToken, expiresIn } = pair
  if (accessCookie.length + accessToken.length > MAX_COOKIE) {
    throw new GuardError(`\`claims\` make a cookie of more than ${MAX_COOKIE} bytes, which browsers do not keep; give fewer claims`, {
      code: 'ERR_INVALID_ARGUMENT',
      path: 'claims'
    })
  }
  const age = (seconds) => (persistent ? `; Max-Age=${seconds}` : '')
  return [
    cookie(accessCookie, accessToken, '/', age(expiresIn), sameSite),
    cookie(refreshCookie, refreshToken, path, age(refreshFor), 'Strict'),
    cookie(proofCookie, proofOf(refreshToken, persistent), '/', age(refreshFor), 'Strict')
  ]
}

function clearedCookies({ accessCookie, refreshCookie, proofCookie, path, sameSite }) {
  const gone = '; Max-Age=0'
  return [cookie(accessCookie, '', '/', gone, sameSite), cookie(refreshCookie, '', path, gone, 'Strict'), cookie(proofCookie, '', '/', gone, 'Strict')]
}

const cookie = (name, value, path, age, sameSite) => `${name}=${value}; Path=${path}${age}; Secure; HttpOnly; SameSite=${sameSite}`

/** Whether an error says that the session does not go on. */
const endsSession = (error) => error instanceof GuardError && error.status === 401

const hasSid = (claims) => typeof claims?.sid === 'string' && claims.sid !== ''

/** The claims of a token whose signature is known to be good. */
const payloadOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())

const sent = () => new GuardError('`res` was sent before the cookies could be set; wait for the session first', { code: 'ERR_INVALID_ARGUMENT', path: 'res' })

module.exports = { sessionCalls }

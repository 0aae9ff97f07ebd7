'use strict'

// guard.sessions: browser sessions, with tokens in cookies. ./tokens.js and the core judge the
// tokens; this file writes and reads the cookies.

const { createHash } = require('node:crypto')
const { types } = require('node:util')
const { exactly, optional } = require('./arguments.js')
const { GuardError, warnOnce } = require('./errors.js')
const { assertRequest, assertResponse, isSent, putCookies, tokensOf, valuesOf } = require('./hosts/session-cookies.js')
const { readOptions } = require('./plain.js')
const { claimsOption } = require('./tokens.js')

/** Browsers drop a cookie if name and value exceed this size (RFC 6265bis section 5.6). */
const MAX_COOKIE = 4096

const REFRESH_TOKEN = /^ksr_[\w-]{86}$/

/**
 * `guard.sessions`. `options()` returns the options of ./session-options.js, `refreshFor` is the
 * life of an unused refresh token in seconds. `handlers(options, sessions)` creates the handlers
 * `refresh` and `logout`.
 */
function sessionCalls(options, operations, refreshFor, handlers) {
  const sessions = new Sessions(options, operations, refreshFor)
  const { refresh, logout } = handlers(options, sessions)
  return Object.freeze({
    start: async (res, claims, ...rest) => sessions.start(res, claims, rest),
    renew: async (req, res, ...rest) => {
      const failure = await sessions.tryRenew(req, res, claimsOption(rest))
      if (failure !== null) throw failure.error
    },
    end: exactly('sessions.end', (req, res) => sessions.end(req, res)),
    refresh,
    logout
  })
}

class Sessions {
  #options
  #calls
  #refreshFor

  constructor(options, calls, refreshFor) {
    this.#options = options
    this.#calls = calls
    this.#refreshFor = refreshFor
  }

  async start(res, claims, rest) {
    const { persistent, ...issue } = startOptions(rest, this.#options())
    assertResponse(res)
    const pair = await this.#calls.issue(claims, issue, MAX_COOKIE - this.#options().accessCookie.length)
    this.#put(res, pair, persistent)
    return { expiresIn: pair.expiresIn }
  }

  /**
   * Sets the next pair of tokens on `res`. Returns null, or a failure `{ error, isForeign }`;
   * `isForeign` marks an error of the application's `claims`.
   */
  async tryRenew(req, res, claims) {
    const foreign = { error: null }
    let next = null
    try {
      assertRequest(req)
      assertResponse(res)
      const { token, persistent } = presented(req, this.#options())
      const noted = claims === undefined ? undefined : noting(claims, foreign)
      const pair = await this.#calls.refresh(token, noted, (refreshToken) => (next = { refreshToken, persistent }))
      this.#put(res, pair, persistent)
      return null
    } catch (error) {
      const isForeign = foreign.error !== null
      if (!isForeign && error.code === 'token_missing' && valuesOf(req, this.#options().proofCookie).length > 0) warnOfPath()
      // Without an answer of the store the token stays valid, so its cookie is kept.
      if (!isForeign && endsSession(error)) {
        if (!isSent(res)) this.#clear(res)
      } else if (next !== null && !isSent(res)) {
        // The token is used up. With the next one the browser can try again after `reuseWindow`,
        // and `claims` is called again.
        this.#set(res, refreshCookies(this.#options(), next.refreshToken, next.persistent, this.#refreshFor))
      }
      return { error, isForeign }
    }
  }

  async end(req, res) {
    assertRequest(req)
    assertResponse(res)
    const { accessCookie } = this.#options()
    const isOver = (await this.#endPresented(req)) || (await this.#endRefreshed(req, res))
    if (!isOver && valuesOf(req, accessCookie).length > 1) throw ambiguous()
    this.#clear(res)
  }

  /** Like `end`, with failures returned as in `tryRenew`. */
  async tryEnd(req, res) {
    try {
      await this.end(req, res)
      return null
    } catch (error) {
      return { error, isForeign: false }
    }
  }

  /**
   * Ends the session of an access token of the request; false without one that was signed here. The
   * core reads the token: `req.user` may be an identity of another guard or of another issuer.
   */
  async #endPresented(req) {
    const { accessCookie, from } = this.#options()
    const { token } = req.guard ?? {}
    const proven = token?.bound === undefined ? undefined : token.jti
    // The browser's own session first: its cookies are cleared.
    for (const presented of new Set(tokensOf(req, [{ cookie: accessCookie }, ...from]))) {
      if (presented !== '' && (await this.#calls.end(presented, proven))) return true
    }
    return false
  }

  /** Uses the refresh token of a request to end its session; false without a session. */
  async #endRefreshed(req, res) {
    const next = await this.#refreshed(req)
    if (next === null) return false
    try {
      return await this.#calls.end(next.pair.accessToken, payloadOf(next.pair.accessToken).jti)
    } catch (error) {
      // The browser retries with these.
      if (!isSent(res)) this.#put(res, next.pair, next.persistent)
      throw error
    }
  }

  async #refreshed(req) {
    try {
      const { token, persistent } = presented(req, this.#options())
      return { pair: await this.#calls.refresh(token), persistent }
    } catch (error) {
      if (endsSession(error)) return null
      throw error
    }
  }

  #put(res, pair, persistent) {
    this.#set(res, cookiesOf(this.#options(), pair, persistent, this.#refreshFor))
  }

  #clear(res) {
    this.#set(res, clearedCookies(this.#options()))
  }

  #set(res, cookies) {
    // Another handler may have answered during the wait.
    if (!isSent(res)) return putCookies(res, cookies)
    throw new GuardError('`res` was sent before the cookies could be set; wait for the session first', { code: 'ERR_INVALID_ARGUMENT', path: 'res' })
  }
}

/** Wraps the application's `claims` so that its errors are recorded in `foreign.error`. */
function noting(claims, foreign) {
  return async (before) => {
    try {
      return await claims(before)
    } catch (thrown) {
      foreign.error = asError(thrown)
      throw foreign.error
    }
  }
}

/**
 * An Error for what `claims` has thrown. Routers take nothing, 'route' and 'router' for no error,
 * and would run the next handler.
 */
function asError(thrown) {
  if (thrown instanceof Error || types.isNativeError(thrown)) return thrown
  return new Error('`claims` has thrown something that is not an Error; see `cause`', { cause: thrown })
}

/** The options of `start`: `persistent`, and `expiresIn` for `tokens.issue`. */
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
 * The refresh token of a request, and whether its cookies are persistent. Other hosts of the domain
 * can set the `__Secure-` cookie, for example to an attacker's own token, also beside ours. They
 * can't set the `__Host-` cookie with its hash, so the token is the one that matches.
 */
function presented(req, { refreshCookie, proofCookie }) {
  const refresh = valuesOf(req, refreshCookie)
  const proofs = valuesOf(req, proofCookie)
  if (proofs.length > 1) throw ambiguous()
  if (refresh.length === 0) throw new GuardError('the request has no refresh token', { code: 'token_missing', status: 401 })
  const [proof] = proofs
  if (proof !== undefined) {
    for (const token of refresh) {
      if (!REFRESH_TOKEN.test(token)) continue
      for (const persistent of [true, false]) if (proof === proofOf(token, persistent)) return { token, persistent }
    }
  }
  throw new GuardError('the refresh token is not good, or not any more; log in again', { code: 'ERR_REFRESH_INVALID', status: 401 })
}

const ambiguous = () => new GuardError('the request has two cookies of one name; send one', { code: 'token_ambiguous', status: 400 })

function warnOfPath() {
  warnOnce('GUARD_SESSION_PATH', 'a browser with a session sent no refresh token: does the refresh handler lie below `sessions.path`, as browsers see it?')
}

/** The value of the proof cookie: whether the cookies are persistent, and the token's hash. */
function proofOf(token, persistent) {
  return `${persistent ? 'p' : 's'}.${createHash('sha256').update(token).digest('base64url')}`
}

function cookiesOf(options, pair, persistent, refreshFor) {
  const { accessCookie, sameSite } = options
  const { accessToken, refreshToken, expiresIn } = pair
  if (accessCookie.length + accessToken.length > MAX_COOKIE) {
    throw new GuardError(`\`claims\` make a cookie of more than ${MAX_COOKIE} bytes, which browsers do not keep; give fewer claims`, {
      code: 'ERR_INVALID_ARGUMENT',
      path: 'claims'
    })
  }
  return [
    cookie(accessCookie, accessToken, '/', ageOf(persistent, expiresIn), sameSite),
    ...refreshCookies(options, refreshToken, persistent, refreshFor)
  ]
}

function refreshCookies({ refreshCookie, proofCookie, path }, refreshToken, persistent, refreshFor) {
  const age = ageOf(persistent, refreshFor)
  return [
    cookie(refreshCookie, refreshToken, path, age, 'Strict'),
    cookie(proofCookie, proofOf(refreshToken, persistent), '/', age, 'Strict')
  ]
}

const ageOf = (persistent, seconds) => (persistent ? `; Max-Age=${seconds}` : '')

function clearedCookies({ accessCookie, refreshCookie, proofCookie, path, sameSite }) {
  const gone = '; Max-Age=0'
  return [cookie(accessCookie, '', '/', gone, sameSite), cookie(refreshCookie, '', path, gone, 'Strict'), cookie(proofCookie, '', '/', gone, 'Strict')]
}

const cookie = (name, value, path, age, sameSite) => `${name}=${value}; Path=${path}${age}; Secure; HttpOnly; SameSite=${sameSite}`

/** Whether an error means that the session is over. */
const endsSession = (error) => error instanceof GuardError && error.status === 401

/** Decodes the claims of a token with a verified signature. */
const payloadOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())

module.exports = { sessionCalls }

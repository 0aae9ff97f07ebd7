// Sessions of a browser: the tokens of a user, in cookies.

import type { IncomingHttpHeaders } from 'node:http'
import type { Duration, GuardConfig } from './config'
import type { GuardError } from './errors'
import type { IssueClaims, RefreshTokenOptions, Revoke, Tokens } from './operations'
import type { RequestHandler } from './request'
import type { JwtClaimsOptions, RefreshOptions } from './token'

/**
 * The cookies of {@link Sessions}: all are `Secure` and `HttpOnly`, and none has a `Domain`. To be
 * the same in all processes.
 */
export interface SessionsOptions {
  /**
   * The path of the refresh cookie, as browsers see it, without a slash at its end: the refresh
   * handler lies below it, and so should the logout, which can then end a session whose access
   * token has expired. No request elsewhere carries the refresh token.
   * @default '/session'
   */
  readonly path?: string
  /**
   * `SameSite` of the cookie with the access token. `'lax'` also sends it when a user follows a
   * link from another site to a page of yours. The other cookies are always `Strict`.
   * @default 'strict'
   */
  readonly sameSite?: 'strict' | 'lax'
  /**
   * Whether the cookies outlive the browser, with `Max-Age`: as long as the access token, and as
   * long as a refresh token that is not used ({@link RefreshOptions.idle}, else `lifetime`).
   * `false` leaves `Max-Age` out, and the browser forgets them when it is closed.
   * @default true
   */
  readonly persistent?: boolean
  /**
   * The cookie with the access token, where {@link JwtClaimsOptions.from} names several.
   * @default the cookie of `jwt.from`
   */
  readonly accessCookie?: `__Host-${string}`
  /**
   * The cookie with the refresh token. Beside it stands a cookie with `__Host-` for `__Secure-`,
   * which proves that this host has set it: another host of the domain can set the first one, and
   * not the second.
   * @default '__Secure-refresh'
   */
  readonly refreshCookie?: `__Secure-${string}`
}

/** Options of {@link Sessions.start}. */
export interface SessionStartOptions {
  /**
   * Whether the cookies of this session outlive the browser, for a "remember me". It stays so
   * when the session is refreshed.
   * @default {@link SessionsOptions.persistent}
   */
  readonly persistent?: boolean
  /**
   * How long each access token lives, as in {@link Tokens.issue}.
   * @default '15m', or `jwt.maxLifetime` where that is less
   */
  readonly expiresIn?: Duration
}

/** What {@link Sessions.start} gives. */
export interface StartedSession {
  /** In how many seconds the access token expires: refresh a little before. */
  readonly expiresIn: number
}

/** A request of node:http, Express or Fastify, or a `Request` of the Fetch standard. */
export interface SessionRequest {
  readonly headers: IncomingHttpHeaders | Headers
}

/**
 * A response of node:http, Express or Fastify, or the `Headers` of one, such as Hono's
 * `c.res.headers`.
 */
export type SessionResponse = NodeSessionResponse | FastifySessionResponse | Headers

/** What sessions need of a response of node:http or node:http2. */
export interface NodeSessionResponse {
  readonly headersSent: boolean
  getHeader(name: string): number | string | string[] | undefined
  setHeader(name: string, value: string | string[]): unknown
}

/** What sessions need of a reply of Fastify. */
export interface FastifySessionResponse {
  readonly raw: object
  readonly sent: boolean
  getHeader(name: string): number | string | string[] | undefined
  removeHeader(name: string): unknown
  header(name: string, value: unknown): unknown
}

/**
 * Sessions of a browser: access and refresh token in cookies that no script can read. The guard
 * needs {@link JwtClaimsOptions.from} with a cookie and `jwt.refresh`; with {@link
 * GuardConfig.sessions} that is checked when it is built. Otherwise the first call fails with
 * `ERR_MISSING_OPTION`.
 *
 * Each call sets three cookies, and `Cache-Control: no-store`: the access token (`__Host-`), the
 * refresh token (`__Secure-`, below {@link SessionsOptions.path} alone), and a `__Host-` cookie
 * without which that refresh token is not taken. See docs/guides/sessions.md.
 */
export interface Sessions {
  /**
   * Logs a user in: issues both tokens, and sets the cookies on `res`, which must not have been
   * sent. Mount the route behind the stack, which refuses logins by pages of other sites.
   *
   * ```ts
   * app.post('/session/login', ...guard.securityStack({ jwt: false }), async (req, res) => {
   *   await guard.sessions.start(res, { sub: 'ada' })
   *   res.sendStatus(204)
   * })
   * ```
   *
   * @param res gets the cookies; cookies of the same names that it has already are replaced.
   * @param claims those of the access tokens, as {@link Tokens.issue} takes them.
   * @returns a promise: when the cookies are set, the life of the access token.
   * @throws {@link GuardError} (the promise rejects) as {@link Tokens.issue} does;
   *   `ERR_INVALID_ARGUMENT` for a `res` that is none or was sent, and for claims that make a
   *   cookie of more than 4096 bytes, which browsers do not keep; `ERR_STORE_UNAVAILABLE`. No
   *   cookie is set then.
   */
  start(res: SessionResponse, claims: IssueClaims, options?: SessionStartOptions): Promise<StartedSession>
  /**
   * Makes a handler that refreshes the session of a browser: it uses the refresh token, sets the
   * next cookies and answers 204. It reads no body. It asks the CSRF layer of the guard wherever it
   * is mounted, and takes POST alone.
   *
   * | Answer | When | The cookies |
   * |---|---|---|
   * | 204 | the session goes on | the next ones |
   * | 400 `token_ambiguous` | two cookies of one name | stay |
   * | 401 `token_missing` | no refresh token came | are cleared |
   * | 401 `ERR_REFRESH_INVALID`, `ERR_REFRESH_REUSED`, `token_revoked` | it is over | are cleared |
   * | 403 `csrf_failed` | the page of another site has sent it | stay |
   * | 405 `method_not_allowed` | another method | stay |
   * | 503 | the store gives no answer; try again | stay |
   *
   * Mount it where no valid access token is asked for: that one has expired. What else goes wrong,
   * such as an error of `options.claims`, goes to `next`; without one it is a 500.
   *
   * ```ts
   * app.post('/session/refresh', ...guard.securityStack({ jwt: false }), guard.sessions.refresh())
   * ```
   *
   * @param options `claims` gives the claims of the next access token, as in {@link
   *   Tokens.refresh}.
   * @returns a handler of node:http, Express and Connect.
   * @throws {@link GuardError} `ERR_MISSING_OPTION` where the guard lacks what sessions need,
   *   `ERR_INVALID_OPTION` for a `claims` that is no function, `ERR_CLOSED`.
   */
  refresh(options?: RefreshTokenOptions): RequestHandler
  /**
   * Makes a handler that logs out: what {@link Sessions.end} does, then 204. As {@link
   * Sessions.refresh} it takes POST alone and asks the CSRF layer; without the store it answers
   * 503, and the cookies stay, so that the browser can try again.
   *
   * @returns a handler of node:http, Express and Connect.
   * @throws {@link GuardError} `ERR_MISSING_OPTION` where the guard lacks what sessions need,
   *   `ERR_CLOSED`.
   */
  logout(): RequestHandler
  /**
   * Refreshes the session of a request, for frameworks whose handlers {@link Sessions.refresh} does
   * not fit. The route must take POST alone, behind the stack with `jwt: false`: nothing here
   * checks which page has sent the request.
   *
   * @param req has the cookies.
   * @param res gets the next ones; where the session is over, those that clear them.
   * @returns a promise: resolves when the cookies are set.
   * @throws {@link GuardError} (the promise rejects) with the code and `status` that {@link
   *   Sessions.refresh} answers with; what `options.claims` throws.
   */
  renew(req: SessionRequest, res: SessionResponse, options?: RefreshTokenOptions): Promise<void>
  /**
   * Ends the session of a request, as {@link Revoke.session} does, and clears the cookies. The
   * session is that of `req.user`, where a layer of keepstone has verified its token; else that of
   * the access token in its cookie, else that of the refresh token. A request without any ends
   * nothing, and its cookies are cleared: it may be called again.
   *
   * The route must be behind the stack: nothing here checks which page has sent the request.
   *
   * @param req has the cookies.
   * @param res gets those that clear them.
   * @returns a promise: resolves when the revocation is in force.
   * @throws {@link GuardError} (the promise rejects) `ERR_STORE_UNAVAILABLE` where the store has
   *   not acknowledged it: the cookies are not cleared, so that the request can be sent again.
   *   `ERR_INVALID_ARGUMENT` for a `req` or `res` that is none, and for a `res` that was sent.
   */
  end(req: SessionRequest, res: SessionResponse): Promise<void>
}

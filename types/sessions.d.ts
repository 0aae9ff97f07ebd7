// Browser sessions: tokens in cookies.

import type { IncomingHttpHeaders } from 'node:http'
import type { Duration, GuardConfig } from './config'
import type { GuardError } from './errors'
import type { IssueClaims, RefreshTokenOptions, Revoke, Tokens } from './operations'
import type { RequestHandler } from './request'
import type { JwtClaimsOptions, RefreshOptions } from './token'

/**
 * The cookies of {@link Sessions}. All are `Secure` and `HttpOnly`, without a `Domain`. All
 * processes need the same options.
 */
export interface SessionsOptions {
  /**
   * The path of the refresh cookie as browsers see it, without a trailing slash. Mount the refresh
   * handler below it, and the logout: it can then end a session whose access token has expired.
   * Requests to other paths do not carry the refresh token.
   * @default '/session'
   */
  readonly path?: string
  /**
   * `SameSite` of the access token's cookie. `'lax'` also sends it when a user follows a link from
   * another site to one of your pages. The other cookies are always `Strict`.
   * @default 'strict'
   */
  readonly sameSite?: 'strict' | 'lax'
  /**
   * Whether the cookies survive closing the browser. If so they have a `Max-Age`: the life of the
   * access token, and {@link RefreshOptions.idle} (else `lifetime`) for the refresh token.
   * @default true
   */
  readonly persistent?: boolean
  /**
   * The cookie of the access token. Required if {@link JwtClaimsOptions.from} lists several.
   * @default the cookie of `jwt.from`
   */
  readonly accessCookie?: `__Host-${string}`
  /**
   * The cookie of the refresh token. A second cookie, named with `__Host-` instead of `__Secure-`,
   * proves that this host has set it: other hosts of the domain can set the first cookie, but not
   * the second.
   * @default '__Secure-refresh'
   */
  readonly refreshCookie?: `__Secure-${string}`
}

/** Options of {@link Sessions.start}. */
export interface SessionStartOptions {
  /**
   * Whether the cookies of this session survive closing the browser, for a "remember me" checkbox.
   * Refreshes keep the choice.
   * @default {@link SessionsOptions.persistent}
   */
  readonly persistent?: boolean
  /**
   * The life of each access token, as in {@link Tokens.issue}.
   * @default '15m', or `jwt.maxLifetime` if that is shorter
   */
  readonly expiresIn?: Duration
}

/** The result of {@link Sessions.start}. */
export interface StartedSession {
  /** Seconds until the access token expires. */
  readonly expiresIn: number
}

/** A request of node:http, Express or Fastify, or a `Request` of the Fetch standard. */
export interface SessionRequest {
  readonly headers: IncomingHttpHeaders | Headers
}

/**
 * A response of node:http, Express or Fastify, or a `Headers` object such as Hono's
 * `c.res.headers`.
 */
export type SessionResponse = NodeSessionResponse | FastifySessionResponse | Headers

/** The members of a node:http or node:http2 response that sessions use. */
export interface NodeSessionResponse {
  readonly headersSent: boolean
  getHeader(name: string): number | string | string[] | undefined
  setHeader(name: string, value: string | string[]): unknown
}

/** The members of a Fastify reply that sessions use. */
export interface FastifySessionResponse {
  readonly raw: object
  readonly sent: boolean
  getHeader(name: string): number | string | string[] | undefined
  removeHeader(name: string): unknown
  header(name: string, value: unknown): unknown
}

/**
 * Browser sessions: access and refresh tokens in cookies that scripts can't read. They need a
 * cookie in {@link JwtClaimsOptions.from}, and `jwt.refresh`. With {@link GuardConfig.sessions},
 * `createGuard` checks this; otherwise the first call fails with `ERR_MISSING_OPTION`.
 *
 * A session has three cookies: the access token (`__Host-`), the refresh token (`__Secure-`, sent
 * below {@link SessionsOptions.path} only), and a `__Host-` cookie that proves the origin of the
 * refresh token. Responses that set them get `Cache-Control: no-store`. See
 * docs/guides/sessions.md.
 */
export interface Sessions {
  /**
   * Logs a user in: issues both tokens and sets the cookies. Mount the route behind a stack, which
   * refuses logins sent by pages of other sites.
   *
   * ```ts
   * app.post('/session/login', guard.securityStack({ jwt: false }), async (req, res) => {
   *   await guard.sessions.start(res, { sub: 'ada' })
   *   res.sendStatus(204)
   * })
   * ```
   *
   * @param res receives the cookies, in place of cookies with the same names. It must not have been
   *   sent.
   * @param claims the claims of the access tokens, as in {@link Tokens.issue}.
   * @returns a promise for the life of the access token. It resolves once the cookies are set.
   * @throws {@link GuardError} (the promise rejects, and no cookie is set) as {@link Tokens.issue}
   *   does, with `ERR_STORE_UNAVAILABLE` if the store does not answer, and with
   *   `ERR_INVALID_ARGUMENT` for an unusable `res` or for claims that make a cookie of more than
   *   4096 bytes, which browsers drop.
   */
  start(res: SessionResponse, claims: IssueClaims, options?: SessionStartOptions): Promise<StartedSession>
  /**
   * Creates a handler that refreshes the session of a browser: it uses the refresh token, sets the
   * new cookies and answers 204. It accepts POST only, reads no body, and runs the CSRF check of
   * the guard itself.
   *
   * | Answer | Reason | Cookies |
   * |---|---|---|
   * | 204 | the session continues | replaced |
   * | 400 `token_ambiguous` | two `__Host-` cookies with one name | kept |
   * | 401 `token_missing` | no refresh token | cleared |
   * | 401 `ERR_REFRESH_INVALID`, `ERR_REFRESH_REUSED`, `token_revoked` | it is over | cleared |
   * | 403 `csrf_failed` | a page of another site sent it | kept |
   * | 405 `method_not_allowed` | not a POST | kept |
   * | 503 | the store does not answer; retry | kept |
   *
   * Mount it where no access token is required, since the old one may have expired. Other errors,
   * such as those of `options.claims`, go to `next`; without `next` they become a 500. After an
   * error of `options.claims` the response sets the next refresh token but no access token, and the
   * next request calls `claims` again. What it throws that is not an `Error` becomes the `cause`
   * of one.
   *
   * ```ts
   * app.post('/session/refresh', guard.securityStack({ jwt: false }), guard.sessions.refresh())
   * ```
   *
   * @param options `claims` replaces the claims of the next access token, as in {@link
   *   Tokens.refresh}.
   * @returns a handler for node:http, Express and Connect.
   * @throws {@link GuardError} `ERR_MISSING_OPTION` if the guard lacks an option that sessions
   *   need, `ERR_INVALID_OPTION` if `claims` is not a function, `ERR_CLOSED`.
   */
  refresh(options?: RefreshTokenOptions): RequestHandler
  /**
   * Creates a handler that logs out: it runs {@link Sessions.end} and answers 204. Like {@link
   * Sessions.refresh} it accepts POST only and runs the CSRF check. If the store does not answer it
   * sends 503 and keeps the cookies, so that the browser can retry.
   *
   * @returns a handler for node:http, Express and Connect.
   * @throws {@link GuardError} `ERR_MISSING_OPTION` if the guard lacks an option that sessions
   *   need, `ERR_CLOSED`.
   */
  logout(): RequestHandler
  /**
   * Refreshes the session of a request, for frameworks that can't mount {@link Sessions.refresh}.
   * It makes no CSRF check: accept POST only, behind a stack with `jwt: false`.
   *
   * @param req the request with the cookies.
   * @param res receives the new cookies, or clears them if the session is over.
   * @returns a promise that resolves once the cookies are set.
   * @throws {@link GuardError} (the promise rejects) with the codes and `status` of the table of
   *   {@link Sessions.refresh}. Errors of `options.claims` are passed on; `res` then has the next
   *   refresh token, so send it with your error.
   */
  renew(req: SessionRequest, res: SessionResponse, options?: RefreshTokenOptions): Promise<void>
  /**
   * Ends the session of a request, as {@link Revoke.session} does, and clears the cookies. It
   * takes the session from the access token, in its cookie or in another place of {@link
   * JwtClaimsOptions.from}, else from the refresh token. The token must be of the issuer that signs
   * here; a bound one counts only behind a layer that has checked its proof. Without any of them it
   * clears the cookies only, so calling it twice is fine. It makes no CSRF check: mount the route
   * behind a stack.
   *
   * @param req the request with the cookies.
   * @param res receives the cleared cookies.
   * @returns a promise that resolves once the revocation is in force.
   * @throws {@link GuardError} (the promise rejects) `ERR_STORE_UNAVAILABLE` if the store has not
   *   acknowledged the revocation; the cookies are kept for a retry. `token_ambiguous` if two
   *   `__Host-` cookies have one name, so that no session is named. `ERR_INVALID_ARGUMENT` for an
   *   unusable `req` or `res`.
   */
  end(req: SessionRequest, res: SessionResponse): Promise<void>
}

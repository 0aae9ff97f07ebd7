// A guard, and what its routes demand.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { CheckRequest, CheckResult } from './check'
import type { Duration, RouteOptions } from './config'
import type { CorsOptions } from './cors'
import type { CsrfOptions } from './csrf'
import type { GuardError } from './errors'
import type { HeadersOptions } from './headers'
import type { RateLimit } from './limit'
import type { OpenApiDocument, OpenApiGuard, OpenApiOptions } from './openapi'
import type { HealthReport, Limits, Policy, Revoke, Tokens } from './operations'
import type { AuthorizeOptions } from './policy'
import type { RequestHandler, RouteHandler, ValidateHandler } from './request'
import type { ValidateOptions } from './schema'
import type { Sessions } from './sessions'
import type { AuthenticateOptions } from './token'

/** A guard: its layers together, each layer alone, and the operations behind them. */
export interface Guard {
  /**
   * All layers in their fixed order: headers, CORS, path and host, CSRF, token, revocation, rate
   * limits, policy, payload.
   *
   * @param route options for the routes this stack is mounted on, in place of the guard's own;
   *   `body`, `query`, `params`, `headers` and `cookies` take schemas.
   * @returns an array with one handler: both `app.use(stack)` and `app.use('/v1', ...stack)` take
   *   it. Where a handler of your own follows in the same call, spread the array: behind an
   *   unspread one, Express's own types give that handler no parameter types. Build it once, not
   *   per request: it stays until {@link Guard.close}.
   * @throws {@link GuardError} as {@link createGuard} does.
   */
  securityStack<const R extends RouteOptions>(route?: R): RouteHandler<R>[]

  /**
   * Runs the whole stack on a handshake, for the `upgrade` event of a server: WebSocket and its
   * like pass no middleware. A refusal is written to the socket, which is closed then. Where it
   * passes, `req.user` and `req.guard` are set, and the socket is yours; places of `concurrent`
   * limits are held until it closes.
   *
   * ```ts
   * server.on('upgrade', async (req, socket, head) => {
   *   if (!(await guard.upgrade(req, socket, head))) return
   *   sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit('connection', ws, req))
   * })
   * ```
   *
   * CORS does not keep the pages of other origins from opening sockets, so `Sec-Fetch-Site` and
   * `Origin` are asked here as `csrf` asks them, unless `csrf` is false: our own origin passes,
   * those in `csrf.origins`, those that `cors` lets use the API with credentials, and, where the
   * handshake has no cookies, all that `cors` allows.
   *
   * @param req the request of the handshake.
   * @param socket its socket, as the event gives it.
   * @param head the first bytes of the new protocol, as the event gives them; not read.
   *   What the client sends while the guard waits, up to 64 kB, is on the socket behind them.
   * @param stack what {@link Guard.securityStack} of this guard has returned, for options of this
   *   route. Default: the plain stack.
   * @returns whether it may go on; false where it was refused or the client went away, and the
   *   socket is closed.
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` where `stack` is of no or another guard, and
   *   where another argument is not what the event gives; the socket is closed.
   *   A guard that is closed refuses with 503.
   */
  upgrade(req: IncomingMessage, socket: Duplex, head: Uint8Array, stack?: RequestHandler | readonly RequestHandler[]): Promise<boolean>

  /**
   * Runs the whole stack on a request of any framework, whose facts are given as data, and answers
   * with what to do. `keepstone/fastify` and `keepstone/hono` are built on it.
   *
   * ```ts
   * const result = await guard.check({ method, target, headers, address, body })
   * if (!result.allowed) return answer(result.status, result.headers, result.body)
   * ```
   *
   * @param request the facts. What is left out counts as absent: without `address`, no list of
   * clients is about the request.
   * @param stack what {@link Guard.securityStack} or a layer of this guard has returned, one or a
   *   list, for options of this route. Default: the plain stack.
   * @returns a promise: the request passes, with its user, body and the headers to set; or it is
   *   refused, with the answer.
   * @throws {@link GuardError} (the promise rejects) `ERR_INVALID_ARGUMENT` for facts of another
   *   shape and a stack of another guard, `ERR_UNKNOWN_OPTION` for a fact that is none,
   *   `ERR_ABORTED` where the body ends before its end; the `reason` of `signal` where that aborts.
   *   A guard that is closed refuses with 503.
   */
  check(request: CheckRequest, stack?: RequestHandler | readonly RequestHandler[]): Promise<CheckResult>

  /**
   * The response headers layer alone.
   *
   * @param options replace the guard's `headers` on these routes, and remove what an earlier
   *   stack or layer of this guard has set. Left out: the guard's own, where none of it has set
   *   any.
   * @throws {@link GuardError} as {@link createGuard} does, and for `false`, as every layer
   *   alone: leave the handler out instead. `ERR_INVALID_OPTION` where the guard's `headers` is
   *   false and no options are
   * given.
   */
  headers(options?: HeadersOptions): RequestHandler

  /**
   * The CORS layer alone: puts the CORS headers on and answers preflights.
   *
   * @param options replace the guard's `cors` on these routes, and remove what an earlier stack
   *   or layer of this guard has allowed. Left out: the guard's own, where none of it has decided.
   *   A preflight is answered
   * by the first one that
   *   it reaches: mount a narrower policy before the app-wide stack.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` where neither the guard nor the call has
   *   options.
   */
  cors(options?: CorsOptions): RequestHandler

  /**
   * The CSRF layer alone, for the cookies of an application: refuses with 403 `csrf_failed` what a
   * page of another origin may have made a browser send. Where the guard's `jwt` finds a token in
   * the `Authorization` header, nothing is refused: no such page can make a browser add one.
   *
   * @param options replace the guard's `csrf` on these routes; left out: the guard's own, or our
   *   own origin alone.
   */
  csrf(options?: CsrfOptions): RequestHandler

  /**
   * The rate limit layer alone. Where the guard has `jwt`, a token that is there is verified, so
   * that it can count by user; a bad one is refused with 401.
   *
   * @param policies replace the guard's `rateLimit` on these routes; left out: the guard's own.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard's `rateLimit` is false and
   *   none are given.
   */
  rateLimit(policies?: RateLimit | readonly RateLimit[]): RequestHandler

  /**
   * The token layer alone, with revocation: sets `req.user` and `req.guard.token`, or refuses with
   * 401. It verifies the token anew: what an earlier handler left on `req` is not trusted.
   *
   * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `jwt`.
   */
  authenticate(options?: AuthenticateOptions): RequestHandler

  /**
   * Checks body, query, params, headers and cookies against schemas and refuses with 400, 413, 415
   * or 422.
   *
   * The limits on the body are the guard's `payload`, as `payload` here narrows them. The body is
   * checked on its raw bytes before any JavaScript object exists; the handlers that follow find the
   * parsed body in `req.body`, typed. `req.query`, `req.params`, `req.headers` and the cookies stay
   * as they are: read the checked and converted values with `.valid(req)`.
   *
   * ```ts
   * const signup = guard.validate({ body: z.strictObject({ username: z.string().min(3) }) })
   * app.post('/users', signup, (req, res) => res.json({ hello: req.body.username }))
   * ```
   *
   * @param schemas for each part of the request a JSON Schema (draft 2020-12 unless `$schema` or
   *   `payload.draft` says otherwise), or a schema of TypeBox, zod 4, valibot, arktype, joi or any
   * other library with Standard Schema; `response` for the handler's answers.
   * docs/guides/schemas.md has the rules.
   * @throws {@link GuardError} `ERR_INVALID_SCHEMA` when a schema can't be compiled,
   *   `ERR_INVALID_OPTION` for a status that is none, for `onResponse` without `response` and where
   *   nothing is to be checked,
   * `ERR_MISSING_OPTION` for a
   *   schema that is undefined.
   */
  validate<const S extends ValidateOptions>(schemas: S): ValidateHandler<S>

  /**
   * The `verify` hook of `express.json`, `express.urlencoded` and their like: keeps the bytes that
   * such a parser has read, so that a stack or `validate` behind it judges them, duplicate keys and
   * all. They are given back with the request. Not for parsers of other formats.
   *
   * ```ts
   * app.use(express.json({ verify: guard.captureRaw }))
   * ```
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` where `buffer` is none.
   */
  captureRaw(req: IncomingMessage, res: ServerResponse, buffer: Uint8Array): void

  /**
   * Guards a whole API by its own description, an OpenAPI document of version 3.0 or 3.1: who may
   * call an operation, and what may be sent to it. Every schema, parameter, media type and security
   * scheme is judged now.
   *
   * ```ts
   * const api = guard.fromOpenApi(JSON.parse(await readFile('openapi.json', 'utf8')))
   * app.use(guard.securityStack({ jwt: { optional: true }, payload: false }), api.handler)
   * ```
   *
   * @param doc the document as an object; YAML is parsed by you. References may lead anywhere
   *   within it.
   * @param options what the document can't say.
   * @throws {@link GuardError} `ERR_INVALID_OPENAPI` or `ERR_INVALID_SCHEMA` with the place in
   *   the document as its `path` (`paths./users/{id}.post.requestBody`), or as {@link createGuard}
   *   does for an option.
   */
  fromOpenApi(doc: OpenApiDocument | Readonly<Record<string, unknown>>, options?: OpenApiOptions): OpenApiGuard

  /**
   * The policy layer alone: refuses with 403 unless the policy says yes. Where the guard has `jwt`,
   * a token that is there is verified for `input.user`; a bad one is refused with 401. Where the
   * policy reads `input.body`, the body is read and checked first.
   *
   * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `policy`.
   */
  authorize(options?: AuthorizeOptions): RequestHandler

  /**
   * What a route demands of a request beyond what the stack before it has asked for: a verified
   * token in any case, and of it all that `demands` says. It verifies the token itself, so it works
   * without a stack as well.
   *
   * ```ts
   * const clerks = guard.require({ scope: 'orders:write', role: ['clerk', 'admin'] })
   * app.post('/orders', clerks, handler)
   * ```
   *
   * A token that does not meet a demand is refused with 403 `insufficient_scope`,
   * `insufficient_role` or `insufficient_claims` (RFC 6750 section 3.1), or with 401
   * `insufficient_user_authentication` (RFC 9470).
   *
   * @param demands at least one; left out: any verified token will do.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `jwt`, and
   *   for a demand that is empty or no demand; `ERR_MISSING_OPTION` for one that is undefined.
   */
  require(demands?: RouteDemands): RequestHandler

  /**
   * Serves the public keys of this guard as a JWK set (RFC 7517 section 5), to be cached for 300 s,
   * with an `ETag` (304 for who has it). Secrets and private keys are never part of it; keys that
   * will sign are. Once the guard is closed, the endpoint answers 503 without a body.
   *
   * @throws {@link GuardError} `ERR_MISSING_OPTION` where the guard was built without `jwt`.
   */
  jwks(): RequestHandler

  /** The rate limits by name, for use outside of a request. */
  readonly limits: Limits
  /** Issuing and verifying tokens outside of a request. */
  readonly tokens: Tokens
  /** Sessions of a browser: tokens in cookies. */
  readonly sessions: Sessions
  /** Taking tokens back before they expire. */
  readonly revoke: Revoke
  /** Asking the policy outside of a request. */
  readonly policy: Policy

  /**
   * Resolves when the guard can decide requests: with the memory store at once, with a shared store
   * when that has answered and the list of revocations has been read, which takes 2 s and more
   * where the list is new; and when every issuer whose keys are at a URL has given some. It may be
   * left out: limits then do as their `onStoreFailure` says, and requests with a token are refused
   * with 503.
   *
   * @throws {@link GuardError} (the promise rejects) `ERR_STORE_UNAVAILABLE` after 10 s without a
   *   store, `ERR_ISSUER_UNAVAILABLE` without the keys of an issuer; `ERR_CLOSED`.
   */
  ready(): Promise<void>
  /**
   * Gives back what the guard holds. Later calls fail with `ERR_CLOSED`, and its layers refuse
   * every request with 503 `guard_closed`; requests that are being decided go on. Calling it again
   * does nothing. A guard that nobody holds any more closes by itself, and so do the guards of a
   * worker thread that ends.
   */
  close(): Promise<void>
  /**
   * The guard's condition, for a health endpoint. Holds nothing secret.
   *
   * @throws {@link GuardError} `ERR_CLOSED` after {@link Guard.close}.
   */
  health(): HealthReport
}

/** What {@link Guard.require} demands. */
export interface RouteDemands {
  /**
   * Whether the shared store itself must say that the token was not revoked. Where it gives no
   * answer within its `timeout`, the request is refused with 503 `revocation_stale`. The guard's
   * `revocation` must be on.
   * @default false
   */
  readonly fresh?: boolean
  /**
   * Scopes that the token must have, all of them: a list, or one string in which spaces separate.
   * They are looked for in the claim `scope` (RFC 8693 section 4.2), and in `scp` where there is
   * none; each may be a list or a string with spaces.
   */
  readonly scope?: string | readonly string[]
  /**
   * Roles of which the token must have one, in the claim `role` or `roles`, each a string or a
   * list.
   */
  readonly role?: string | readonly string[]
  /**
   * What claims must be: by the name of a claim, or by a JSON Pointer (RFC 6901) such as
   * `'/realm_access/level'`, the value, or a list of which it must be one. A claim that is a list
   * must hold it. Kinds count: `'true'` is not `true`.
   */
  readonly claims?: { readonly [claim: string]: ClaimValue | readonly ClaimValue[] }
  /**
   * How long ago the user may have logged in, by the claim `auth_time` (OpenID Connect Core section
   * 2); 1 s to 366 days. A token without it is refused: `iat` is new with every refresh, and proves
   * no login.
   */
  readonly maxAge?: Duration
}

/** What a claim is compared with. */
export type ClaimValue = string | number | boolean

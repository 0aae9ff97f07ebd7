// A guard, and the requirements of its routes.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { CheckRequest, CheckResult } from './check'
import type { Duration, RouteOptions } from './config'
import type { CorsOptions } from './cors'
import type { CsrfOptions } from './csrf'
import type { GuardError } from './errors'
import type { RouteHeadersOptions } from './headers'
import type { ApiKeys } from './identity'
import type { RateLimit } from './limit'
import type { OpenApiDescription, OpenApiDocument, OpenApiGuard, OpenApiOptions, OpenApiRoute, ToOpenApiOptions } from './openapi'
import type { HealthReport, Limits, Policy, Revoke, Tokens } from './operations'
import type { AuthorizeOptions } from './policy'
import type { ErrorHandler } from './refusal'
import type { RequestHandler, SecurityStack, ValidateHandler } from './request'
import type { ValidateOptions } from './schema'
import type { Sessions } from './sessions'
import type { AuthenticateOptions, ResourceMetadata } from './token'

/** A guard: its layers together, each layer alone, and the operations behind them. */
export interface Guard {
  /**
   * All layers in their fixed order: headers, CORS, path and host, CSRF, token, revocation, rate
   * limits, policy, payload.
   *
   * @param route options for the routes that this stack is mounted on, in place of the guard's own;
   *   `body`, `query`, `params`, `headers` and `cookies` take schemas.
   * @returns one handler, which can also be spread: `app.use(stack)` and
   *   `app.use('/v1', ...stack)` are the same. `.valid(req)` returns the checked and converted
   *   values, as that of {@link Guard.validate} does. Build it once, not per request: it exists
   *   until {@link Guard.close}.
   * @throws {@link GuardError} as {@link createGuard} does.
   */
  securityStack<const R extends RouteOptions>(route?: R): SecurityStack<R>

  /**
   * Runs the whole stack on a handshake, for the `upgrade` event of a server: WebSocket and similar
   * handshakes bypass middleware. A refusal is written to the socket, which is then closed. If the
   * handshake passes, `req.user` and `req.guard` are set, and the socket is yours. Slots of
   * `concurrent` limits are held until it closes.
   *
   * ```ts
   * server.on('upgrade', async (req, socket, head) => {
   *   if (!(await guard.upgrade(req, socket, head))) return
   *   sockets.handleUpgrade(req, socket, head, (ws) => sockets.emit('connection', ws, req))
   * })
   * ```
   *
   * CORS does not keep pages of other origins from opening sockets. So this method checks
   * `Sec-Fetch-Site` and `Origin` as `csrf` does, unless `csrf` is false. These origins pass:
   *
   * 1. our own origin;
   * 2. those in `csrf.origins`;
   * 3. those that `cors` allows to use the API with credentials;
   * 4. if the handshake has no cookies, all that `cors` allows.
   *
   * @param req the request of the handshake.
   * @param socket its socket, as the event provides it.
   * @param head the first bytes of the new protocol, as the event provides them; not read. Bytes
   *   that the client sends while the guard waits, up to 64 kB, follow on the socket.
   * @param stack the result of {@link Guard.securityStack} of this guard, for options of this
   *   route. Default: the plain stack.
   * @returns whether the handshake may proceed; false if it was refused or the client disconnected,
   *   and the socket is closed.
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` if `stack` is not a stack of this guard, or
   *   if another argument is not what the event provides; the socket is closed. A closed guard
   *   refuses with 503.
   */
  upgrade(req: IncomingMessage, socket: Duplex, head: Uint8Array, stack?: RequestHandler | readonly RequestHandler[]): Promise<boolean>

  /**
   * Runs the whole stack on a request of any framework, given as plain data, and returns the action
   * to take. `keepstone/fastify` and `keepstone/hono` are built on it.
   *
   * ```ts
   * const result = await guard.check({ method, target, headers, address, body })
   * if (!result.allowed) return answer(result.status, result.headers, result.body)
   * ```
   *
   * @param request the facts of the request. A fact that is left out counts as absent: without
   *   `address`, no client list applies to the request.
   * @param stack the result of {@link Guard.securityStack} or of a layer of this guard, one or a
   *   list, for options of this route. Default: the plain stack.
   * @returns a promise. The request passes, with its user, its body and the headers to set; or it
   *   is refused, with the answer to send.
   * @throws {@link GuardError} (the promise rejects) `ERR_INVALID_ARGUMENT` for facts of the wrong
   *   shape and for a stack of another guard, `ERR_UNKNOWN_OPTION` for an unknown fact,
   *   `ERR_ABORTED` if the body ends prematurely. If `signal` aborts, the promise rejects with its
   *   `reason`. A closed guard refuses with 503.
   */
  check(request: CheckRequest, stack?: RequestHandler | readonly RequestHandler[]): Promise<CheckResult>

  /**
   * The response headers layer alone.
   *
   * @param options replace the guard's `headers` on these routes, and remove the headers that an
   *   earlier stack or layer of this guard has set. Left out: the guard's own, unless an earlier
   *   stack or layer of it has set some.
   * @throws {@link GuardError} as {@link createGuard} does, and for `false`, as every single layer
   *   does: leave the handler out instead. `ERR_INVALID_OPTION` if the guard's `headers` is false
   *   and no options are given.
   */
  headers(options?: RouteHeadersOptions): RequestHandler

  /**
   * The CORS layer alone: sets the CORS headers and answers preflights.
   *
   * @param options replace the guard's `cors` on these routes, and remove the CORS headers that an
   *   earlier stack or layer of this guard has set. Left out: the guard's own, unless an earlier
   *   stack or layer of it has decided. A preflight is answered by the CORS options of the request
   *   that it asks about: docs/guides/cors-and-headers.md has where.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` if neither the guard nor the call has options.
   */
  cors(options?: CorsOptions): RequestHandler

  /**
   * The CSRF layer alone, for the cookies of an application. It refuses a request with 403
   * `csrf_failed` if a page of another origin may have made the browser send it. If the guard's
   * `jwt` finds a token in the `Authorization` header, the request passes: no such page can make a
   * browser add that header.
   *
   * @param options replace the guard's `csrf` on these routes. Left out: the guard's own, or our
   *   own origin alone.
   */
  csrf(options?: CsrfOptions): RequestHandler

  /**
   * The rate limit layer alone. If the guard has `jwt`, a token in the request is verified, so that
   * the limits can count by user; an invalid one is refused with 401.
   *
   * @param policies replace the guard's `rateLimit` on these routes. Left out: the guard's own.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` if the guard's `rateLimit` is false and no
   *   policies are given.
   */
  rateLimit(policies?: RateLimit | readonly RateLimit[]): RequestHandler

  /**
   * The token layer alone, with revocation: sets `req.user` and `req.guard.token`, or refuses with
   * 401. It verifies the token again: state that an earlier handler left on `req` is not trusted.
   *
   * @throws {@link GuardError} `ERR_INVALID_OPTION` if the guard was built without `jwt`.
   */
  authenticate(options?: AuthenticateOptions): RequestHandler

  /**
   * Checks body, query, params, headers and cookies against schemas and refuses with 400, 413, 415
   * or 422.
   *
   * The limits on the body are the guard's `payload`, narrowed by `payload` here. The body is
   * checked on its raw bytes before any JavaScript object exists; later handlers read the parsed
   * and typed body from `req.body`. `req.query`, `req.params`, `req.headers` and the cookies are
   * not changed: read the checked and converted values with `.valid(req)`.
   *
   * ```ts
   * const signup = guard.validate({ body: z.strictObject({ username: z.string().min(3) }) })
   * app.post('/users', signup, (req, res) => res.json({ hello: req.body.username }))
   * ```
   *
   * @param schemas for each part of the request a JSON Schema (draft 2020-12 unless `$schema` or
   *   `payload.draft` names another), or a schema of TypeBox, zod 4, valibot, arktype, joi or any
   *   other library with Standard Schema; `response` for the handler's answers.
   *   docs/guides/schemas.md has the rules.
   * @throws {@link GuardError} `ERR_INVALID_SCHEMA` for a schema that can't be compiled;
   *   `ERR_INVALID_OPTION` for an invalid status, for `onResponse` without `response`, and if there
   *   is nothing to check; `ERR_MISSING_OPTION` for a schema that is undefined.
   */
  validate<const S extends ValidateOptions>(schemas: S): ValidateHandler<S>

  /**
   * The `verify` hook of `express.json`, `express.urlencoded` and similar parsers. It keeps the
   * bytes that the parser has read, so that a later stack or `validate` checks them, including
   * duplicate keys. They are released with the request. Not for parsers of other formats.
   *
   * ```ts
   * app.use(express.json({ verify: guard.captureRaw }))
   * ```
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` if `buffer` is not a buffer.
   */
  captureRaw(req: IncomingMessage, res: ServerResponse, buffer: Uint8Array): void

  /**
   * Guards a whole API by its OpenAPI document (3.0, 3.1 or 3.2): access to each operation, and its
   * input. Every schema, parameter, media type and security scheme is checked now.
   *
   * ```ts
   * const api = guard.fromOpenApi(JSON.parse(await readFile('openapi.json', 'utf8')))
   * app.use(guard.securityStack({ jwt: { optional: true }, payload: false }), api.handler)
   * ```
   *
   * @param doc the document as an object; parse YAML yourself. References may point anywhere within
   *   it.
   * @param options settings that the document can't express.
   * @throws {@link GuardError} `ERR_INVALID_OPENAPI` or `ERR_INVALID_SCHEMA` with the location in
   *   the document as its `path` (`paths./users/{id}.post.requestBody`), or as {@link createGuard}
   *   does for an option.
   */
  fromOpenApi(doc: OpenApiDocument | Readonly<Record<string, unknown>>, options?: OpenApiOptions): OpenApiGuard

  /**
   * The OpenAPI document of the routes that this guard protects: parameters, bodies and answers by
   * the schemas of their layers, `security` by what they require, and the refusals of the guard.
   * Call it when all routes are there.
   *
   * ```ts
   * const document = guard.toOpenApi(app, { info: { title: 'Orders', version: '1.0.0' } })
   * ```
   *
   * @param app an application or router of Express, an application of Hono, one of Fastify with
   *   the plugin of keepstone, or a list of routes.
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` for anything else, `ERR_MISSING_OPTION`,
   *   `ERR_UNKNOWN_OPTION` and `ERR_INVALID_OPTION` for options, and `ERR_CLOSED` once the guard is
   *   closed.
   */
  toOpenApi(app: object | readonly OpenApiRoute[], options: ToOpenApiOptions): OpenApiDescription

  /**
   * The policy layer alone: refuses with 403 unless the policy allows the request. If the guard has
   * `jwt`, a token in the request is verified for `input.user`; an invalid one is refused with 401.
   * If the policy reads `input.body`, the body is read and checked first.
   *
   * @throws {@link GuardError} `ERR_INVALID_OPTION` if the guard was built without `policy`.
   */
  authorize(options?: AuthorizeOptions): RequestHandler

  /**
   * Requirements of a route, in addition to those of the stack before it: always a verified token,
   * and everything in `demands`. It verifies the token itself, so it works without a stack as well.
   *
   * ```ts
   * const clerks = guard.require({ scope: 'orders:write', role: ['clerk', 'admin'] })
   * app.post('/orders', clerks, handler)
   * ```
   *
   * A token that does not meet a requirement is refused with 403 `insufficient_scope`,
   * `insufficient_role` or `insufficient_claims` (RFC 6750 section 3.1), or with 401
   * `insufficient_user_authentication` (RFC 9470).
   *
   * @param demands at least one. Left out: any verified token passes.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` if the guard was built without `jwt`, and for
   *   an empty or unknown requirement; `ERR_MISSING_OPTION` for one that is undefined.
   */
  require(demands?: RouteDemands): RequestHandler

  /**
   * Serves the public keys of this guard as a JWK set (RFC 7517 section 5), cacheable for 300 s,
   * with an `ETag` (304 if the client's copy matches). It includes keys that will sign later, and
   * never secrets or private keys. Once the guard is closed, the endpoint answers 503 without a
   * body.
   *
   * @throws {@link GuardError} `ERR_MISSING_OPTION` if the guard was built without `jwt`.
   */
  jwks(): RequestHandler

  /**
   * Serves the metadata of this API as an OAuth protected resource (RFC 9728), made of
   * `jwt.resource`, at its well-known path: `/.well-known/oauth-protected-resource`, and the path
   * of the resource behind it. Other paths go to the next handler; without one they get 404. Mount
   * it before `securityStack`: the metadata needs no token. `path` and `document` are for other
   * frameworks.
   *
   * @throws {@link GuardError} `ERR_MISSING_OPTION` without `jwt.resource`.
   */
  protectedResource(): RequestHandler & { readonly path: string; readonly document: ResourceMetadata }

  /**
   * The client of a request as a limit by address counts it: `'203.0.113.7'`, `'2001:db8::/56'` for
   * every address of that IPv6 network (`ipv6Prefix`), or `'unknown'` without an address. A `key`
   * function takes it where it finds nothing else to count by.
   *
   * @param req a request that was passed to a function of the options, or a request that a handler
   *   of the guard has seen.
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` for any other request.
   */
  clientKey(req: object): string
  /** The rate limits by name, for use outside of a request. */
  readonly limits: Limits
  /** Issuing and verifying tokens outside of a request. */
  readonly tokens: Tokens
  /** Browser sessions: tokens in cookies. */
  readonly sessions: Sessions
  /** Making and revoking API keys. */
  readonly apiKeys: ApiKeys
  /** Revoking tokens and other identities before they expire. */
  readonly revoke: Revoke
  /** Evaluating the policy outside of a request. */
  readonly policy: Policy

  /**
   * Resolves when the guard can decide requests:
   *
   * 1. With the memory store, at once.
   * 2. With a shared store, when the store has answered and the list of revocations has been read,
   *    which takes 2 s or more for a new list.
   * 3. In both cases, when every issuer whose keys are at a URL has provided some.
   *
   * You need not wait for it: until then limits follow their `onStoreFailure`, and requests with a
   * token are refused with 503.
   *
   * @throws {@link GuardError} (the promise rejects) `ERR_STORE_UNAVAILABLE` after 10 s without a
   *   store, `ERR_ISSUER_UNAVAILABLE` without the keys of an issuer; `ERR_CLOSED`.
   */
  ready(): Promise<void>
  /**
   * An error handler of Express. It answers a {@link GuardError} that has a `status`, such as one
   * of `tokens.verify`, as the guard answers a refusal, and passes every other error on. Mount it
   * behind the routes. The message of an error with 4xx is the client's `detail`; that of 5xx is
   * not sent.
   *
   * ```ts
   * app.use(guard.errors())
   * ```
   */
  errors(): ErrorHandler

  /**
   * Refuses a request from a handler of your own, in the form of the guard's refusals: a problem
   * document with a code, and an event for `log`. Headers of another answer, such as `ETag`, are
   * removed. `onRefuse` is not called.
   *
   * ```ts
   * app.post('/orders/:id/cancel', guard.securityStack(), (req, res) => {
   *   guard.refuse(res, 409, 'order_closed', 'the order was delivered')
   * })
   * ```
   *
   * @param res the response that the handler received, with nothing sent yet.
   * @param status 400 to 599.
   * @param code lower-case words with underscores between them, at most 64 characters.
   * @param detail a sentence for the client, at most 500 characters. Default: none.
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` for any other argument.
   */
  refuse(res: ServerResponse, status: number, code: string, detail?: string): void

  /**
   * Releases the guard's resources. Later calls fail with `ERR_CLOSED`, and its layers refuse every
   * request with 503 `guard_closed`; requests that are being decided continue. Calling it again has
   * no effect. A guard that is no longer referenced closes by itself, and so do the guards of a
   * worker thread that ends.
   */
  close(): Promise<void>
  /**
   * The guard's condition, for a health endpoint. It contains no secrets.
   *
   * @throws {@link GuardError} `ERR_CLOSED` after {@link Guard.close}.
   */
  health(): HealthReport
}

/** The requirements of {@link Guard.require}. */
export interface RouteDemands {
  /**
   * Whether the shared store itself must confirm that the token is not revoked. If it does not
   * answer within its `timeout`, the request is refused with 503 `revocation_stale`. The guard's
   * `revocation` must be on.
   * @default false
   */
  readonly fresh?: boolean
  /**
   * Scopes that the token must all have: a list, or one string separated by spaces. They are read
   * from the claim `scope` (RFC 8693 section 4.2), or from `scp` without it; each claim may be a
   * list or a string with spaces.
   */
  readonly scope?: string | readonly string[]
  /**
   * Roles; the token must have at least one of them, in the claim `role` or `roles`, each a string
   * or a list.
   */
  readonly role?: string | readonly string[]
  /**
   * Required values of claims, by the name of a claim or by a JSON Pointer (RFC 6901) such as
   * `'/realm_access/level'`. The value is required as such, or one of the values of a list. A claim
   * that is a list must contain it. Types must match: `'true'` is not `true`.
   */
  readonly claims?: { readonly [claim: string]: ClaimValue | readonly ClaimValue[] }
  /**
   * The longest time since the user's login, by the claim `auth_time` (OpenID Connect Core section
   * 2); 1 s to 366 days. A token without the claim is refused: `iat` changes with every refresh,
   * and proves no login.
   */
  readonly maxAge?: Duration
}

/** The value that a claim is compared with. */
export type ClaimValue = string | number | boolean

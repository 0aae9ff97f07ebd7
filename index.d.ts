import type { IncomingMessage, ServerResponse } from 'node:http'

declare global {
  namespace Express {
    /**
     * The verified claims of a request. Add your own claims by declaration merging:
     *
     * ```ts
     * declare global { namespace Express { interface User { sub: string; roles: string[] } } }
     * ```
     */
    interface User {}

    interface Request {
      /**
       * The claims of the verified token; `undefined` when the request carries none. Same declaration as passport's.
       */
      user?: User | undefined
      /** What keepstone knows about this request; set by the first keepstone layer that sees it. */
      guard?: guard.RequestGuard | undefined
    }
  }
}

/**
 * Security layers for a Node.js API, decided by one native core.
 *
 * ```ts
 * import { createGuard } from 'keepstone'
 *
 * const guard = createGuard({ rateLimit: { name: 'api', limit: 100, window: '60s' } })
 * app.use(guard.securityStack())
 * ```
 */
declare namespace guard {
  // ----------------------------------------------------------------------------------------------- entry points

  /**
   * Checks the whole configuration and builds a guard. A request never meets an unchecked option.
   *
   * @param config every layer's options; `{}` gives headers, a rate limit of 100 requests per 60 s and client
   *   address, and body limits, without CORS, tokens or policy.
   * @returns the guard; it holds no handle that keeps the process alive.
   * @throws {@link GuardError} with a {@link ConfigErrorCode}, the option's `path` and a `suggestion`: for an unknown
   *   key, a value of the wrong type or out of range, a missing or contradicting option, a weak secret or key, a
   *   schema that can't be compiled, a policy that can't be loaded.
   */
  export function createGuard(config?: GuardConfig): Guard

  /**
   * Shorthand for `createGuard(config).securityStack()`.
   *
   * @returns the handlers of all layers in their fixed order, for `app.use(securityStack(config))`.
   * @throws {@link GuardError} as {@link createGuard} does.
   */
  export function securityStack(config?: GuardConfig): RequestHandler[]

  /** A guard: its layers together, each layer alone, and the operations behind them. */
  export interface Guard {
    /**
     * All layers in their fixed order: headers, CORS, host, token, revocation, rate limits, policy, payload.
     *
     * @param route options for the routes this stack is mounted on, in place of the guard's own; `body`, `query`,
     *   `params` and `headers` take schemas.
     * @returns an array with one handler: both `app.use(stack)` and `app.use('/v1', ...stack)` take it. Where a
     *   handler of your own follows in the same call, spread the array: behind an unspread one, Express's own types
     *   give that handler no parameter types. Build it once, not per request: it stays until {@link Guard.close}.
     * @throws {@link GuardError} as {@link createGuard} does.
     */
    securityStack<const R extends RouteOptions>(route?: R): RouteHandler<R>[]

    /**
     * The response headers layer alone.
     *
     * @param options replace the guard's `headers` on these routes; left out: the guard's own.
     * @throws {@link GuardError} as {@link createGuard} does, and for `false`, as every layer alone: leave the handler
     *   out instead.
     */
    headers(options?: HeadersOptions): RequestHandler

    /**
     * The CORS layer alone: puts the CORS headers on and answers preflights.
     *
     * @param options replace the guard's `cors` on these routes; left out: the guard's own.
     */
    cors(options?: CorsOptions): RequestHandler

    /**
     * The CSRF layer alone, for the cookies of an application: refuses with 403 `csrf_failed` what a page of another origin
     * may have made a browser send. Where the guard's `jwt` finds a token in the `Authorization` header, nothing is refused:
     * no such page can make a browser add one.
     *
     * @param options replace the guard's `csrf` on these routes; left out: the guard's own, or our own origin alone.
     */
    csrf(options?: CsrfOptions): RequestHandler

    /**
     * The rate limit layer alone. Where the guard has `jwt`, a token that is there is verified, so that it can count by
     * user; a bad one is refused with 401.
     *
     * @param policies replace the guard's `rateLimit` on these routes; left out: the guard's own.
     */
    rateLimit(policies?: RateLimit | readonly RateLimit[]): RequestHandler

    /**
     * The token layer alone, with revocation: sets `req.user` and `req.guard.token`, or refuses with 401. It verifies
     * the token anew: what an earlier handler left on `req` is not trusted.
     *
     * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `jwt`.
     */
    authenticate(options?: AuthenticateOptions): RequestHandler

    /**
     * Checks body, query, params and headers against schemas and refuses with 400, 413, 415 or 422.
     *
     * The limits on the body are the guard's `payload`, as `payload` here narrows them. The body is checked on its raw
     * bytes before any JavaScript object exists; the handlers that follow find the parsed body in `req.body`, typed.
     * `req.query`, `req.params` and `req.headers` stay as they are: read the checked and converted values with
     * `.valid(req)`.
     *
     * ```ts
     * const signup = guard.validate({ body: z.strictObject({ username: z.string().min(3) }) })
     * app.post('/users', signup, (req, res) => res.json({ hello: req.body.username }))
     * ```
     *
     * @param schemas for each part of the request a JSON Schema (draft 2020-12 unless `$schema` or `payload.draft` says
     *   otherwise), or a schema of TypeBox, zod 4, valibot, arktype, joi or any other library with Standard Schema;
     *   `response` for the handler's answers. docs/schemas.md has the rules.
     * @throws {@link GuardError} `ERR_INVALID_SCHEMA` when a schema can't be compiled, `ERR_INVALID_OPTION` for a status
     *   that is none and for `onResponse` without `response`.
     */
    validate<const S extends ValidateOptions>(schemas: S): ValidateHandler<S>

    /**
     * The `verify` hook of `express.json`, `express.urlencoded` and their like: keeps the bytes that such a parser has
     * read, so that a stack or `validate` behind it judges them, duplicate keys and all. They are given back with the
     * request. Not for parsers of other formats.
     *
     * ```ts
     * app.use(express.json({ verify: guard.captureRaw }))
     * ```
     *
     * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` where `buffer` is none.
     */
    captureRaw(req: IncomingMessage, res: ServerResponse, buffer: Uint8Array): void

    /**
     * Guards a whole API by its own description, an OpenAPI document of version 3.0 or 3.1: who may call an operation,
     * and what may be sent to it. Every schema, parameter, media type and security scheme is judged now.
     *
     * ```ts
     * const api = guard.fromOpenApi(JSON.parse(await readFile('openapi.json', 'utf8')))
     * app.use(guard.securityStack({ jwt: { optional: true }, payload: false }), api.handler)
     * ```
     *
     * @param doc the document as an object; YAML is parsed by you. References may lead anywhere within it.
     * @param options what the document can't say.
     * @throws {@link GuardError} `ERR_INVALID_OPENAPI` or `ERR_INVALID_SCHEMA` with the place in the document as its
     *   `path` (`paths./users/{id}.post.requestBody`), or as {@link createGuard} does for an option.
     */
    fromOpenApi(doc: OpenApiDocument | Readonly<Record<string, unknown>>, options?: OpenApiOptions): OpenApiGuard

    /**
     * The policy layer alone: refuses with 403 unless the policy says yes. Where the guard has `jwt`, a token that is
     * there is verified for `input.user`; a bad one is refused with 401. Where the policy reads `input.body`, the body
     * is read and checked first.
     *
     * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `policy`.
     */
    authorize(options?: AuthorizeOptions): RequestHandler

    /**
     * What a route demands of a request beyond what the stack before it has asked for: a verified token in any case, and of
     * it all that `demands` says. It verifies the token itself, so it works without a stack as well.
     *
     * ```ts
     * app.post('/orders', guard.require({ scope: 'orders:write', role: ['clerk', 'admin'] }), handler)
     * ```
     *
     * A token that does not meet a demand is refused with 403 `insufficient_scope`, `insufficient_role` or
     * `insufficient_claims` (RFC 6750 section 3.1), or with 401 `insufficient_user_authentication` (RFC 9470).
     *
     * @throws {@link GuardError} `ERR_INVALID_OPTION` where the guard was built without `jwt`, and for a demand that is
     *   empty or no demand.
     */
    require(demands?: RouteDemands): RequestHandler

    /**
     * Serves the public keys of this guard as a JWK set (RFC 7517 section 5), to be cached for 300 s, with an `ETag` (304 for
     * who has it). Secrets and private keys are never part of it; keys that will sign are. Once the guard is closed, the endpoint answers 503 without a body.
     *
     * @throws {@link GuardError} `ERR_MISSING_OPTION` where the guard was built without `jwt`.
     */
    jwks(): RequestHandler

    /** The rate limits by name, for use outside of a request. */
    readonly limits: Limits
    /** Issuing and verifying tokens outside of a request. */
    readonly tokens: Tokens
    /** Taking tokens back before they expire. */
    readonly revoke: Revoke
    /** Asking the policy outside of a request. */
    readonly policy: Policy

    /**
     * Resolves when the guard can decide requests: with the memory store at once, with a shared store when that has
     * answered and the list of revocations has been read, which takes 2 s and more where the list is new; and when every
     * issuer whose keys are at a URL has given some. It may be left out: limits then do as their `onStoreFailure` says, and
     * requests with a token are refused with 503.
     *
     * @throws {@link GuardError} (the promise rejects) `ERR_STORE_UNAVAILABLE` after 10 s without a store,
     *   `ERR_ISSUER_UNAVAILABLE` without the keys of an issuer; `ERR_CLOSED`.
     */
    ready(): Promise<void>
    /**
     * Gives back what the guard holds. Later calls fail with `ERR_CLOSED`, and its layers refuse every request with 503
     * `guard_closed`. Calling it again does nothing. A guard that nobody holds any more closes by itself.
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
     * Whether the shared store itself must say that the token was not revoked. Where it gives no answer within its
     * `timeout`, the request is refused with 503 `revocation_stale`.
     * @default false
     */
    readonly fresh?: boolean | undefined
    /**
     * Scopes that the token must have, all of them: a list, or one string in which spaces separate. They are looked for in
     * the claim `scope` (RFC 8693 section 4.2), and in `scp` where there is none; each may be a list or a string with spaces.
     */
    readonly scope?: string | readonly string[] | undefined
    /** Roles of which the token must have one, in the claim `role` or `roles`, each a string or a list. */
    readonly role?: string | readonly string[] | undefined
    /**
     * What claims must be: by the name of a claim, or by a JSON Pointer (RFC 6901) such as `'/realm_access/level'`, the value,
     * or a list of which it must be one. A claim that is a list must hold it. Kinds count: `'true'` is not `true`.
     */
    readonly claims?: { readonly [claim: string]: ClaimValue | readonly ClaimValue[] } | undefined
    /**
     * How long ago the user may have logged in, by the claim `auth_time` (OpenID Connect Core section 2); 1 s to 366 days. A
     * token without it is refused: `iat` is new with every refresh, and proves no login.
     */
    readonly maxAge?: Duration | undefined
  }

  /** What a claim is compared with. */
  export type ClaimValue = string | number | boolean

  // ---------------------------------------------------------------------------------------------- configuration

  /**
   * A time span: a whole number with a unit, `ms`, `s`, `m`, `h` or `d` (`'60s'`, `'1h'`), or a whole number of
   * milliseconds.
   */
  export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

  /** A size: a whole number with a unit, `b`, `kb` or `mb` (1 kb = 1024 bytes), or a whole number of bytes. */
  export type Size = number | `${number}${'b' | 'kb' | 'mb'}`

  /** A function of the request. Its parameter may be annotated as `express.Request`. */
  export type FromRequest<T> = { of(req: IncomingMessage): T }['of']

  /** What a guard is built from. Unknown keys are refused. */
  export interface GuardConfig {
    /**
     * The defaults of the headers layer: `'api'` for JSON only, `'web'` for an origin that also serves pages.
     * @default 'api'
     */
    readonly profile?: 'api' | 'web' | undefined
    /**
     * Response headers. `false` sends none.
     * @default {}
     */
    readonly headers?: HeadersOptions | false | undefined
    /**
     * Cross-origin access (Fetch Standard, section 3.2). `false` sends no CORS header, so browsers keep other
     * origins out.
     * @default false
     */
    readonly cors?: CorsOptions | false | undefined
    /**
     * Whether requests that change something must come from our own pages. On by itself where `jwt.from` has a cookie, and
     * then it can't be `false`.
     * @default {} where a token may come in a cookie, else false
     */
    readonly csrf?: CsrfOptions | false | undefined
    /**
     * The hosts this API answers to, in lower case: `'api.example.com'` on any port, `'api.example.com:8443'` on
     * this one. A request for another host is refused with 403 by {@link Guard.securityStack}; single layers do not
     * look at it. At least one.
     * @default any host
     */
    readonly hosts?: readonly string[] | undefined
    /**
     * Addresses and CIDR ranges of the reverse proxies in front of this process, e.g. `'10.0.0.0/8'`. Only what
     * they write into `X-Forwarded-For` and `X-Forwarded-Proto` is believed: the client is the rightmost address that
     * is no such proxy. A range of all addresses is refused. With this list Express's `trust proxy` is not consulted.
     * @default Express's `trust proxy` decides (`req.ip`, `req.secure`); without it, the socket's address is the
     * client's
     */
    readonly trustedProxies?: readonly string[] | undefined
    /**
     * Networks of clients that are not limited, and of such as are refused with 403 before their token and the limits
     * are looked at. {@link Limits.block} and {@link Limits.allow} add to it while the guard runs.
     */
    readonly clients?: ClientsOptions | undefined
    /**
     * Where rate limits are counted, and, where it is shared, revocations are kept.
     * @default { memory: { maxBytes: '64mb' } }, of this guard alone
     */
    readonly store?: StoreOptions | undefined
    /**
     * One policy, or 1 to 16 that must all agree: a request that one refuses is charged by none. `false` limits
     * nothing.
     * @default { name: 'default', limit: 100, window: '60s' }
     */
    readonly rateLimit?: RateLimit | readonly RateLimit[] | false | undefined
    /**
     * Bearer tokens (RFC 6750) that are JWTs (RFC 7519). `false` asks for none.
     * @default false
     */
    readonly jwt?: JwtOptions | false | undefined
    /**
     * Whether tokens can be taken back with {@link Guard.revoke}; `false` switches the layer off. With a `redis` store
     * all processes with its `prefix` and the same `jwt.issuer` have one list. In memory, revocations are this guard's
     * own, or those of all guards with the same `store.memory.shared` and `jwt.issuer`, and there is nothing to choose.
     * Memcached may forget what it is given, so beside it the option must be `{ scope: 'process' }` or `false`.
     * @default {} where `jwt` is set
     */
    readonly revocation?: RevocationOptions | false | undefined
    /**
     * Limits on bodies, before any schema.
     * @default {}
     */
    readonly payload?: PayloadOptions | undefined
    /**
     * Authorization by a Rego policy. `false` asks none.
     * @default false
     */
    readonly policy?: PolicyOptions | false | undefined
    /**
     * Called for every decision of a handler, before its answer is sent. An error thrown here is reported once as a
     * process warning (`GUARD_LOG_FAILED`) and changes no decision, and so is a promise that rejects; it is not waited
     * for. The event holds no token, claim value but `sub`, or body.
     */
    readonly log?: ((event: DecisionEvent) => void) | undefined
  }

  /** One route's own options. A key that is left out keeps the guard's setting. `headers` is a schema here. */
  export interface RouteOptions extends RequestSchemas {
    /** Replaces the guard's CORS options on these routes; `false` sends no CORS header. */
    readonly cors?: CorsOptions | false | undefined
    /**
     * Replaces the guard's `csrf` on these routes. Where tokens may come in cookies, `false` needs `jwt: false` beside it.
     */
    readonly csrf?: CsrfOptions | false | undefined
    /** Replaces the guard's rate limits on these routes; `false` limits nothing. */
    readonly rateLimit?: RateLimit | readonly RateLimit[] | false | undefined
    /**
     * Whether a request without a token passes here; `false` looks at no token, so that `req.user` is not set. The
     * guard must have `jwt`.
     */
    readonly jwt?: AuthenticateOptions | false | undefined
    /**
     * Narrows the guard's `payload` on these routes, where it says something; what it says of schemas is of the guard
     * alone. `false` leaves the body to the application, while query, params and headers are still checked; it contradicts
     * a `body` schema and a policy that reads `input.body`.
     */
    readonly payload?: PayloadOptions | false | undefined
    /** Which rule of the guard's policy decides on these routes; `false` asks none. The guard must have `policy`. */
    readonly policy?: AuthorizeOptions | false | undefined
  }

  /** Where counters live: one of these. */
  export interface StoreOptions {
    /** Counters in the memory of this process. They are gone when it ends. */
    readonly memory?: MemoryStoreOptions | undefined
    /**
     * Counters in Redis 7 or later or in Valkey, which all processes share. A URL, or options where one is not enough.
     * The connection is made in the background: neither `createGuard` nor the first request waits for it.
     */
    readonly redis?: string | RedisStoreOptions | undefined
    /**
     * Counters in Memcached 1.4 or later, which all processes share. A list of servers, or options where that is not
     * enough. The guarantee is weaker than that of Redis, see {@link MemcachedStoreOptions}. The connections are made in
     * the background: neither `createGuard` nor the first request waits for them.
     */
    readonly memcached?: readonly string[] | MemcachedStoreOptions | undefined
  }

  /**
   * A Redis or Valkey store: one of `url`, `cluster` and `sentinel`, and what they need. Guards and worker threads of a
   * process with the same options share its connection, and processes with the same `prefix` share its counts.
   */
  export interface RedisStoreOptions {
    /**
     * One server: `redis://user:password@host:6379/0`, or `rediss://` for TLS, of which the certificate is always
     * checked; also `valkey://` and `valkeys://`.
     */
    readonly url?: string | undefined
    /** Redis Cluster: URLs of 1 to 64 of its nodes, all with TLS or none. They tell of the others. */
    readonly cluster?: readonly string[] | undefined
    /** A primary that sentinels know. */
    readonly sentinel?:
      | {
          /** URLs of 1 to 64 sentinels. A user and a password in the first one are used for all. */
          readonly nodes: readonly string[]
          /** What they call the primary. */
          readonly name: string
        }
      | undefined
    /** The user to log in as (ACL); needs `password`. Before one in a URL. */
    readonly username?: string | undefined
    /** The password. Before one in a URL. */
    readonly password?: string | undefined
    /**
     * The database, 0 to 65535. Not in a cluster.
     * @default 0
     */
    readonly db?: number | undefined
    /** What an encrypted connection needs beyond the system's authorities, as PEM text or a Buffer of it. */
    readonly tls?:
      | {
          /** The authority that signed the servers' certificates, instead of the system's. */
          readonly ca?: string | Buffer | undefined
          /** Our certificate, where the servers ask for one; needs `key`. */
          readonly cert?: string | Buffer | undefined
          /** The private key of `cert`. */
          readonly key?: string | Buffer | undefined
        }
      | undefined
    /**
     * What all keys begin with: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
     * @default 'keepstone:'
     */
    readonly prefix?: string | undefined
    /**
     * The longest that a request waits for the store; 1 ms to 5 s. Then its limits do as their `onStoreFailure` says.
     * @default '25ms'
     */
    readonly timeout?: Duration | undefined
    /**
     * The most memory for what is kept of the store in this process: leases, refusals, and the counts while it is away.
     * @default '64mb'
     */
    readonly maxBytes?: Size | undefined
  }

  /**
   * A Memcached store. Guards and worker threads of a process with the same options share its connections, and
   * processes with the same `servers` and `prefix` share its counts. Without TLS and without a login: keep the servers
   * in a network that is yours.
   *
   * No count is overwritten by another process, but counts can be lost: Memcached forgets all of them when it is
   * restarted or flushed, and single ones when it is full. Such a key begins anew. In any span W a key is admitted at
   * most burst + limit / window × (W + s), where s is how much the processes differ in reading the server's clock:
   * below 0.1 s as a rule, 2 s at most just after one has connected. The processes' own wall clocks decide nothing.
   * Without {@link RateLimitPolicy.exact} leases come on top, as with Redis.
   *
   * A key lives on one of the servers, picked by the text of their addresses, so all processes must write them alike. A
   * server that is away takes its keys along and no others. Revocations are never kept here, since one that is forgotten
   * would let a revoked token pass: with `jwt`, write `revocation: { scope: 'process' }` or `revocation: false`.
   */
  export interface MemcachedStoreOptions {
    /**
     * 1 to 64 servers, in any order: `host:port`, `[address]:port` or `memcached://host:port`; without a port it is
     * 11211.
     */
    readonly servers: readonly string[]
    /**
     * What all keys begin with: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
     * @default 'keepstone:'
     */
    readonly prefix?: string | undefined
    /**
     * The longest that a request waits for the store; 1 ms to 5 s. Then its limits do as their `onStoreFailure` says. A
     * request takes two round trips, and up to eight where many processes count one key.
     * @default '25ms'
     */
    readonly timeout?: Duration | undefined
    /**
     * The most memory for what is kept of the store in this process: leases, refusals, and the counts while it is away.
     * @default '64mb'
     */
    readonly maxBytes?: Size | undefined
  }

  /** The memory store. Cluster processes do not share it: each counts for itself. */
  export interface MemoryStoreOptions {
    /**
     * The most memory that counters may take; 1 MB to 16 GB. It is taken as it is needed. Where it is full, keys that
     * have used least are forgotten, and blocked ones never.
     * @default '64mb', or the size that the shared store of this name has
     */
    readonly maxBytes?: Size | undefined
    /**
     * A name of 1 to 128 bytes under which guards and worker threads of this process share one store: limits with the
     * same name and figures count together, and guards with the same `jwt.issuer` share their revocations. Left out:
     * the store belongs to this guard alone.
     */
    readonly shared?: string | undefined
  }

  /**
   * How a list of revocations that processes share is looked at: only with a `redis` store. Each process has a copy of the
   * list and follows the store, so that a request asks nobody. While the copy can't be trusted, a request with a token is
   * refused with 503 `revocation_stale`: also between the start of a process and the moment when it has read the list
   * ({@link Guard.ready}).
   */
  export interface RevocationOptions {
    /**
     * `'replica'` looks in the copy. `'strict'` asks the store for what is new before each check, one command for all
     * requests that come meanwhile; {@link Guard.require} asks so on single routes.
     * @default 'replica'
     */
    readonly mode?: 'replica' | 'strict' | undefined
    /**
     * The longest that a revocation by another process may take to be known here, in the worst case; usually it takes
     * milliseconds. 1 s to 5 min.
     * @default '5s'
     */
    readonly maxStaleness?: Duration | undefined
    /**
     * What becomes of requests with a token while that can't be promised: `'deny'` refuses them, `'probe'` asks the store
     * as `'strict'` does, and refuses where it does not answer.
     * @default 'deny'
     */
    readonly onStale?: 'deny' | 'probe' | undefined
    /**
     * Beside `store.memcached` alone, and needed there: Memcached may forget at any time, so each process has a list of
     * its own, and a token that is revoked in one is still good in the others. Nothing else may be given then.
     */
    readonly scope?: 'process' | undefined
  }

  // ---------------------------------------------------------------------------------------------------- headers

  /**
   * Response headers. What is left out is as the profile says; `false` leaves a header out. `X-Content-Type-Options:
   * nosniff` is always sent.
   */
  export interface HeadersOptions {
    /**
     * `Content-Security-Policy` (CSP Level 3).
     * @default `default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'` (profile `'api'`);
     *   `default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none';
     *   script-src 'self'; script-src-attr 'none'; style-src 'self'` (profile `'web'`)
     */
    readonly csp?: CspOptions | false | undefined
    /**
     * `Strict-Transport-Security` (RFC 6797). Sent on secure requests only, as section 7.2 demands.
     * @default { maxAge: 63072000, includeSubDomains: true }
     */
    readonly hsts?: HstsOptions | false | undefined
    /**
     * `X-Frame-Options` (RFC 7034). Follows the `frame-ancestors` of `csp.directives` where only that is given.
     * @default 'DENY' (profile `'api'`), 'SAMEORIGIN' (profile `'web'`)
     */
    readonly frameOptions?: 'DENY' | 'SAMEORIGIN' | false | undefined
    /**
     * `Referrer-Policy`; of a list browsers take the last value that they know.
     * @default 'no-referrer' (profile `'api'`), 'strict-origin-when-cross-origin' (profile `'web'`)
     */
    readonly referrerPolicy?: ReferrerPolicy | readonly ReferrerPolicy[] | false | undefined
    /**
     * `Cross-Origin-Resource-Policy`: who may load a response without CORS.
     * @default 'same-origin'
     */
    readonly corp?: 'same-origin' | 'same-site' | 'cross-origin' | false | undefined
    /**
     * `Cross-Origin-Opener-Policy`, for pages.
     * @default false (profile `'api'`), 'same-origin' (profile `'web'`)
     */
    readonly coop?:
      | 'same-origin'
      | 'same-origin-allow-popups'
      | 'noopener-allow-popups'
      | 'unsafe-none'
      | false
      | undefined
    /**
     * `Cross-Origin-Embedder-Policy`, for pages.
     * @default false
     */
    readonly coep?: 'require-corp' | 'credentialless' | 'unsafe-none' | false | undefined
    /**
     * `Permissions-Policy`: for each browser feature who may use it, `'self'`, `'*'` or https origins; an empty list is
     * nobody, `false` takes the feature out of the header. Written over the defaults.
     * @default nobody: camera, display-capture, geolocation, microphone, payment, usb
     */
    readonly permissionsPolicy?: Readonly<Record<string, readonly string[] | false>> | false | undefined
    /**
     * `Cache-Control`, where the handler sets none.
     * @default 'no-store' (profile `'api'`), false (profile `'web'`)
     */
    readonly cacheControl?: string | false | undefined
    /**
     * `Reporting-Endpoints` (Reporting API): for each name an https URL that takes reports.
     * @default false
     */
    readonly reportingEndpoints?: Readonly<Record<string, string>> | false | undefined
    /**
     * Response headers to take off when the response is written, beside `X-Powered-By`.
     * @default []
     */
    readonly remove?: readonly string[] | undefined
  }

  /** `Content-Security-Policy`. */
  export interface CspOptions {
    /** For each directive its sources, in place of the profile's; `false` leaves the directive out. */
    readonly directives?: Readonly<Record<string, readonly string[] | false>> | undefined
    /**
     * Sends `Content-Security-Policy-Report-Only`: browsers report and block nothing.
     * @default false
     */
    readonly reportOnly?: boolean | undefined
    /**
     * Makes a new nonce for every response, adds it to `script-src` and `style-src`, and gives it to the handler as
     * `req.guard.nonce`. Profile `'web'` only.
     * @default false
     */
    readonly nonce?: boolean | undefined
  }

  /** `Strict-Transport-Security`. */
  export interface HstsOptions {
    /**
     * How long browsers keep to HTTPS, in seconds; 0 to 315360000 (ten years).
     * @default 63072000 (two years)
     */
    readonly maxAge?: number | undefined
    /**
     * Whether subdomains are meant too.
     * @default true
     */
    readonly includeSubDomains?: boolean | undefined
    /**
     * Asks to be put on the browsers' preload list, which takes months to leave. Needs `includeSubDomains` and a
     * `maxAge` of at least 31536000.
     * @default false
     */
    readonly preload?: boolean | undefined
  }

  /** A value of `Referrer-Policy`. */
  export type ReferrerPolicy =
    | 'no-referrer'
    | 'no-referrer-when-downgrade'
    | 'origin'
    | 'origin-when-cross-origin'
    | 'same-origin'
    | 'strict-origin'
    | 'strict-origin-when-cross-origin'

  // ------------------------------------------------------------------------------------------------------- cors

  /** Cross-origin access (Fetch Standard, section 3.2). */
  export interface CorsOptions {
    /**
     * The origins whose pages may read responses: `'https://app.example.com'`, without path or trailing slash, or
     * `'https://*.example.com'`, where the star is exactly one label; `['*']`, without `credentials`, is every page.
     * With `credentials`, origins are https, but for localhost. A function decides for each origin: anything but `true`
     * keeps the origin out, an error refuses the request with 500, and a promise must settle. There is no default.
     */
    readonly origins: readonly string[] | ((origin: string) => boolean | Promise<boolean>)
    /**
     * Whether pages may send cookies and TLS client certificates along.
     * @default false
     */
    readonly credentials?: boolean | undefined
    /**
     * The methods a page may use, in upper case. A preflight that asks for another is answered with 403.
     * @default ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE']
     */
    readonly methods?: readonly string[] | undefined
    /**
     * The request headers a page may send beyond the safelisted ones, without wildcards. A preflight that asks for
     * another is answered with 403.
     * @default ['authorization', 'content-type']
     */
    readonly requestHeaders?: readonly string[] | undefined
    /**
     * The response headers a page may read beyond the safelisted ones.
     * @default []
     */
    readonly exposeHeaders?: readonly string[] | undefined
    /**
     * How long browsers may keep a preflight's answer, in seconds; 0 to 86400. Chromium caps it at 7200.
     * @default 7200
     */
    readonly maxAge?: number | undefined
  }

  // ------------------------------------------------------------------------------------------------------- csrf

  /**
   * Which pages may make a browser send requests that change something (any method but GET, HEAD and OPTIONS) in the user's
   * name. `Sec-Fetch-Site` decides where it is there (Fetch Metadata): `same-origin` and `none` pass; else `Origin` must be our
   * own, by `Host` and scheme, or listed. With neither header, a request with cookies is refused. A request whose token came
   * in the `Authorization` header always passes, where `jwt.from` has it.
   */
  export interface CsrfOptions {
    /**
     * Other origins whose pages may, such as `'https://app.example.com'`: exact ones, https but for localhost, at most 1000.
     * CORS does not make it one of these: list it in both.
     * @default []
     */
    readonly origins?: readonly string[] | undefined
  }

  // ---------------------------------------------------------------------------------------------------- clients

  /**
   * Networks in CIDR form, or addresses; an IPv6 address stands for its /56. The longest network that a client lies in
   * decides, so that `allow` may take an address out of a network in `block`. At most 10000 in each.
   */
  export interface ClientsOptions {
    /** Not limited. */
    readonly allow?: readonly string[] | undefined
    /** Refused with 403 `client_blocked`. */
    readonly block?: readonly string[] | undefined
  }

  // ------------------------------------------------------------------------------------------------ rate limits

  /** A limit: of requests in a time, or of requests that are under way at once. A list may have both. */
  export type RateLimit = RateLimitPolicy | ConcurrencyLimit

  /** A limit of requests in a time. Refused requests get 429 with `Retry-After` (RFC 6585 section 4). */
  export interface RateLimitPolicy {
    /**
     * The policy's name, in headers, in `req.guard.limits` and for {@link Guard.limits}: 1 to 64 letters, digits, `_`,
     * `.` or `-`. Unique within a list.
     *
     * A request that meets several stacks of one guard is counted once by each limit that was declared: once by the
     * guard's own, and once by one in a route's options, even if it has the same name. Limits with the same name and
     * figures in one store are one count, which each of them charges, so give each a name of its own.
     */
    readonly name: string
    /** How many units one key may use per `window`; a whole number from 1 to 10^9. */
    readonly limit: number
    /** The time in which `limit` units come back; 10 ms to 400 days. */
    readonly window: Duration
    /**
     * How requests are counted. `'gcra'` and the buckets let a burst through and then an even rate, and answer alike:
     * three names for one rule (ITU-T I.371). `'fixed-window'` counts in windows that begin at multiples of `window`
     * since 1970 (`'1d'` is a UTC day); `'sliding-window'` adds the part of the last one that is less than `window`
     * ago.
     * @default 'gcra'
     */
    readonly algorithm?:
      | 'gcra'
      | 'token-bucket'
      | 'leaky-bucket'
      | 'fixed-window'
      | 'sliding-window'
      | undefined
    /**
     * How many units may be used at once by a key that was quiet; 1 to 10^9, and no more than come back in 4000 days.
     * Not for the window algorithms.
     * @default `limit`
     */
    readonly burst?: number | undefined
    /**
     * How many units a request uses: a whole number from 1 to the smallest `limit` or `burst`, or a function of the
     * request. A function that throws or returns no whole number from 0 to 4294967295 refuses the request with 500.
     * @default 1
     */
    readonly cost?: number | FromRequest<number> | undefined
    /**
     * What is counted apart: the client's address (IPv6 by its /56), the token's `sub`, the token (by its `jti`, or a
     * digest where it has none), the route, each combination of several, or what a function of the request returns.
     * `'user'` and `'token'` are the address where there is no such thing. `'route'` is the pattern where the handler
     * is mounted on a route; elsewhere, as with `app.use`, all paths share one count. A function that throws or returns
     * no string, or an empty one, refuses the request with 500.
     * @default 'ip'
     */
    readonly key?: RateLimitKey | readonly RateLimitKey[] | FromRequest<string> | undefined
    /**
     * Other limits for tokens with a role or plan, by its name: 1 to 64, found in the claims `role` and `plan`
     * (strings) and `roles` (a list). Of several the most generous counts.
     */
    readonly tiers?: Readonly<Record<string, RateLimitTier>> | undefined
    /** Only requests with one of these methods (upper case) are counted; `'GET'` includes HEAD. Left out: all. */
    readonly methods?: readonly string[] | undefined
    /**
     * Only requests to one of these paths are counted: `'/v1/login'`, or `'/v1/*'` for `/v1` and everything below it.
     * Compared with the decoded path; case and a slash at the end make no difference. Left out: all.
     */
    readonly paths?: readonly string[] | undefined
    /**
     * Whether a shared store is asked for each request. Otherwise a process debits what a busy key will need in the next
     * second, at most 2 % of the window, ahead of time, and believes a refusal for up to a second: a key is then admitted
     * at most `burst + rate × (window + that second)` times in any window, and most requests ask nobody. Where `limit` is
     * small every request asks anyway. The memory store is always exact.
     * @default false
     */
    readonly exact?: boolean | undefined
    /**
     * What becomes of requests while a shared store gives no answer. `'local'`: this process counts alone, by its part
     * of the limit (the limit divided by the number of processes that were last seen alive, at least 1).
     * `'closed'`: they are refused with 503 `store_unavailable`. `'open'`: they pass, uncounted.
     * @default 'local'; `'closed'` with `exact` and with `count: 'failed'`
     */
    readonly onStoreFailure?: 'local' | 'closed' | 'open' | undefined
    /**
     * Which requests count. Every request is charged before it is let in, so that many at once can't exceed the limit,
     * and what does not count is given back when its response is over. `'failed'`: those that are answered with a status
     * of 400 or more, by whichever handler or layer, or that end without an answer. `'succeeded'`: the others. Other
     * than `'all'`, a shared store is asked for every request.
     * @default 'all'
     */
    readonly count?: 'all' | 'failed' | 'succeeded' | undefined
    /**
     * What becomes of a request that exceeds the limit. `'reject'`: it is refused with 429. `'delay'`: it waits for its
     * turn, which is charged at once, at most `maxDelay`; beyond that, or where `maxDelayed` others wait, it is refused.
     * A client that leaves while it waits has used its turn. Not for the window algorithms. `'shadow'`: it passes, while
     * the limit counts as if it had refused; `req.guard.limits` and the `log` event say what it would have done, and
     * clients are told nothing of it. Other than `'reject'`, a shared store is asked for every request.
     * @default 'reject'
     */
    readonly onExceed?: 'reject' | 'delay' | 'shadow' | undefined
    /**
     * The longest that a request waits with `onExceed: 'delay'`; 1 ms to 60 s.
     * @default '5s'
     */
    readonly maxDelay?: Duration | undefined
    /**
     * How many requests wait for this limit at most, in one guard; 1 to 100000.
     * @default 1000
     */
    readonly maxDelayed?: number | undefined
    /** See {@link ConcurrencyLimit}, which has no `limit` and no `window`. */
    readonly concurrent?: never
    /** See {@link ConcurrencyLimit}. */
    readonly timeout?: never
  }

  /**
   * A limit of requests that are under way at once. Refused requests get 429 with `Retry-After: 1`: nobody knows when a
   * place comes free.
   *
   * A request takes a place when all its limits admit it, and gives it back once: when its response is over, when its
   * connection is closed, or when a later layer refuses it. It holds the place while it waits for its turn under
   * `onExceed: 'delay'` of another limit, and an upgraded connection that was let in by a stack holds it until it closes.
   *
   * With Redis the places of all processes are counted together, for each request. With Memcached the guard is refused
   * (`ERR_CONFLICTING_OPTIONS`).
   */
  export interface ConcurrencyLimit {
    /** As {@link RateLimitPolicy.name}. Limits with the same name in one store share their places. */
    readonly name: string
    /** How many requests of one key may be under way at once; a whole number from 1 to 1,000,000. */
    readonly concurrent: number
    /** As {@link RateLimitPolicy.key}. @default 'ip' */
    readonly key?: RateLimitKey | readonly RateLimitKey[] | FromRequest<string> | undefined
    /** Other numbers of places by role or plan, as {@link RateLimitPolicy.tiers}. Each tier has places of its own. */
    readonly tiers?: Readonly<Record<string, ConcurrencyTier>> | undefined
    /** As {@link RateLimitPolicy.methods}. */
    readonly methods?: readonly string[] | undefined
    /** As {@link RateLimitPolicy.paths}. */
    readonly paths?: readonly string[] | undefined
    /**
     * For how long a shared store holds the place of a process that it does not hear of any more; 1 s to 1 h. A process that
     * lives renews its places before that: a request may take longer. Means nothing to the memory store, whose places end
     * with the process, or with the worker thread, that holds them.
     * @default '60s'
     */
    readonly timeout?: Duration | undefined
    /**
     * `'reject'`: what finds no place is refused with 429. `'shadow'`: it passes without one, and is only told about as in
     * {@link RateLimitPolicy.onExceed}.
     * @default 'reject'
     */
    readonly onExceed?: 'reject' | 'shadow' | undefined
    /**
     * What becomes of requests while a shared store gives no answer. `'local'`: this process lets one in while it has
     * itself fewer under way than its part of the places (`concurrent` divided by the number of processes that were last
     * seen alive, at least 1). `'closed'`: they are refused with 503 `store_unavailable`. `'open'`: they pass, uncounted.
     * @default 'local'
     */
    readonly onStoreFailure?: 'local' | 'closed' | 'open' | undefined
    /** Counts in a time: write a {@link RateLimitPolicy} of its own beside this one. */
    readonly limit?: never
    /** As `limit`. */
    readonly window?: never
    /** As `limit`. */
    readonly burst?: never
    /** As `limit`. */
    readonly algorithm?: never
    /** Each request takes one place. */
    readonly cost?: never
    /** Each request gives its place back, however it ends. */
    readonly count?: never
    /** A shared store is asked for each request in any case. */
    readonly exact?: never
  }

  /** The number of places of one role or plan. */
  export interface ConcurrencyTier {
    /** As {@link ConcurrencyLimit.concurrent}. */
    readonly concurrent: number
  }

  /** The limit of one role or plan. */
  export interface RateLimitTier {
    /** As {@link RateLimitPolicy.limit}. */
    readonly limit: number
    /**
     * As {@link RateLimitPolicy.window}.
     * @default the policy's
     */
    readonly window?: Duration | undefined
    /**
     * As {@link RateLimitPolicy.burst}; needed where the policy has a `burst` of its own.
     * @default the tier's `limit`
     */
    readonly burst?: number | undefined
  }

  /** What a rate limit counts by. */
  export type RateLimitKey = 'ip' | 'user' | 'token' | 'route'

  // ------------------------------------------------------------------------------------------------------ token

  /** How tokens are verified, and, where a private key or a secret is given, issued. */
  export type JwtOptions = JwtClaimsOptions & (JwtIssuer | JwtIssuers)

  /** Tokens of one issuer. */
  export type JwtIssuer = IssuerName & JwtKeySource & { readonly issuers?: undefined }

  /**
   * Tokens of several issuers. What {@link IssuerRules} has is said here for all of them, and by one of them for itself.
   * See docs/issuers.md.
   */
  export interface JwtIssuers {
    /**
     * 1 to 32 issuers, no two of one name. The `iss` of a token chooses its issuer, whose keys alone may verify it:
     * the same `kid` at two issuers is two keys. {@link Tokens.issue} signs as the first one that has a private key
     * or a secret.
     */
    readonly issuers: readonly IssuerOptions[]
    readonly issuer?: undefined
    readonly audience?: undefined
    readonly secret?: undefined
    readonly keys?: undefined
    readonly jwks?: undefined
    readonly discovery?: undefined
    readonly preset?: undefined
    readonly staleFor?: undefined
    readonly rotation?: undefined
  }

  /** One of several issuers. */
  export type IssuerOptions = IssuerName & IssuerRules & JwtKeySource

  /** Whose tokens, and whom they are for. */
  export interface IssuerName {
    /**
     * The only `iss` that is accepted (RFC 7519 section 4.1.1). With the preset `'spiffe'` the trust domain,
     * `'spiffe://example.org'`; with `'vault'` Vault's address will do.
     */
    readonly issuer: string
    /** The `aud` values of this API; a token must name one of them (RFC 7519 section 4.1.3). */
    readonly audience: string | readonly string[]
    /**
     * Rules that a kind of issuer has of its own. `'vault'`: the identity tokens of HashiCorp Vault, whose keys are found
     * by discovery. `'spiffe'`: JWT-SVIDs of one trust domain, whose bundle is in `jwks` or at its URL: `sub` must be a
     * SPIFFE ID of the trust domain with a path, no `iss` is asked for, `typ` is `JWT`, `JOSE` or none, and the algorithms
     * are RS, ES and PS. A `sub` of the trust domain is taken from no other issuer.
     */
    readonly preset?: 'vault' | 'spiffe' | undefined
  }

  /** What the tokens of an issuer must be like. */
  export interface IssuerRules {
    /**
     * The algorithms that are accepted. Every key is bound to one algorithm anyhow; this narrows the choice.
     * @default the algorithms of the keys
     */
    readonly algorithms?: readonly Algorithm[] | undefined
    /**
     * The `typ` a token's header must have, e.g. `'at+jwt'` (RFC 9068 section 2.1), in any case, with or without
     * `application/`. It is also the `typ` of issued tokens.
     * @default `JWT`, `at+jwt` or none; issued tokens have `at+jwt`
     */
    readonly typ?: string | undefined
    /**
     * How far another machine's clock may be off, for `exp`, `nbf` and `iat`; 0 to 60 s.
     * @default '10s'
     */
    readonly clockTolerance?: Duration | undefined
    /**
     * The longest life (`exp` less `iat`) a token may have; 1 s to 366 days. It also bounds how long a revocation is
     * kept.
     * @default '24h'
     */
    readonly maxLifetime?: Duration | undefined
  }

  /** How tokens are looked for and taken. */
  export interface JwtClaimsOptions extends IssuerRules {
    /**
     * Where a token is looked for: 1 to 8 places. A request that has tokens in two of them, or two in one, is refused with 400
     * `token_ambiguous` (RFC 6750 section 2).
     * @default ['header']
     */
    readonly from?: readonly TokenSource[] | undefined
    /**
     * Which tokens need a `DPoP` proof (RFC 9449). `'if-bound'`: those that are bound to a key (`cnf.jkt`), while others must
     * not come with the scheme `DPoP`. `'required'`: every token must be bound and come with its proof. `'off'`: the scheme is
     * not known, so that no bound token is taken. Each proof is used once: in memory once per process, with a shared store
     * once in all processes, for one more round trip; where the store does not answer, the request is refused with 503.
     * @default 'if-bound'
     */
    readonly dpop?: 'off' | 'if-bound' | 'required' | undefined
    /**
     * Whether a proof must have a nonce of this server (RFC 9449 section 9): `true`, or what they are made with.
     * @default false
     */
    readonly dpopNonce?: boolean | DpopNonceOptions | undefined
    /**
     * Whether a request without a token passes as anonymous. A token that is there and wrong is refused all the
     * same.
     * @default false
     */
    readonly optional?: boolean | undefined
    /**
     * The cache of tokens that were verified, in bytes: a number or `'8mb'`, from 64 kb to 1024 mb. Each hit compares the
     * whole token and asks again for its times, the life of its key and its revocation. `false` verifies every time.
     * @default { maxBytes: '8mb' }
     */
    readonly cache?: { readonly maxBytes?: number | string | undefined } | false | undefined
    /**
     * Refresh tokens: {@link Tokens.issue} gives one with each access token, and {@link Tokens.refresh} takes it. `true` is
     * `{}`. Needs `revocation`, and a store that does not forget: memory or Redis. See docs/sessions.md.
     * @default false
     */
    readonly refresh?: boolean | RefreshOptions | undefined
  }

  /** How refresh tokens live (RFC 9700 section 4.14). To be the same in all processes. */
  export interface RefreshOptions {
    /**
     * How long after the login a session goes on, however often it is refreshed; 1 minute to 366 days.
     * @default '30d'
     */
    readonly lifetime?: Duration | undefined
    /**
     * How long a session goes on without being refreshed; 1 minute to `lifetime`.
     * @default as long as `lifetime`
     */
    readonly idle?: Duration | undefined
    /**
     * For so long after its use a token gives the same successor again, for tabs that race and answers that were lost; 0 to
     * 60 s. Afterwards, and for an older token at any time, a use is a replay, which ends the session.
     * @default '10s'
     */
    readonly reuseWindow?: Duration | undefined
  }

  /** Signing keys that change by themselves. See docs/sessions.md. */
  export interface RotationOptions {
    /**
     * How long a key signs; 1 hour to 366 days. What it signed is verified until the last token of it has expired.
     * @default '30d'
     */
    readonly every?: Duration | undefined
    /**
     * How long a key is published before it signs, at least; 10 minutes to `every`. As a rule it is published for all of
     * `every`: this is for a service that was down when the key was due. Longer than other services keep the JWK set.
     * @default '1h'
     */
    readonly overlap?: Duration | undefined
    /**
     * The algorithm of new keys, none of a secret. Old keys keep theirs. RSA keys have 2048 bits.
     * @default 'ES256'
     */
    readonly alg?: Exclude<Algorithm, 'HS256' | 'HS384' | 'HS512'> | undefined
    /**
     * Where the private keys are kept, as they are: they are not encrypted. A path: a file that is made with mode 0600, and
     * refused where others may read it (not checked on Windows); processes that share it agree. Or functions of the
     * application.
     */
    readonly storage: string | KeyStorage
  }

  /** Where an application keeps signing keys: a secret store such as Vault. */
  export interface KeyStorage {
    /** Gives the text that was saved last, or `null` where there is none. Called about once a minute. */
    load(): string | null | Promise<string | null>
    /**
     * Keeps `text`, which has private keys. `previous` is what `load` gave: where several processes share the keys, save
     * only if it is still what is there (a compare-and-set), and answer `false` if it is not.
     */
    save(text: string, previous: string | null): boolean | void | Promise<boolean | void>
  }

  /**
   * One place of a token. `'header'`: `Authorization`, with the scheme `Bearer` or `DPoP`. `cookie`: the cookie of this name,
   * which must start with `__Host-`: others can be set by every host of the domain. Set it with `Secure`, `HttpOnly`,
   * `SameSite` and `Path=/`. It switches {@link GuardConfig.csrf} on. `query`: the parameter of this name. Discouraged (RFC 9700
   * section 4.3.2): URLs stand in histories, in logs and in `Referer`.
   */
  export type TokenSource = 'header' | { readonly cookie: `__Host-${string}` } | { readonly query: string }

  /** What the nonces of `DPoP` proofs are made with. */
  export interface DpopNonceOptions {
    /**
     * A secret of at least 32 bytes that is hard to guess, the same in all processes; needed with a shared store.
     * @default a random one of this process
     */
    readonly secret?: string | Uint8Array | undefined
    /**
     * How long a nonce is good at most; at least it is half as long. 10 s to 1 h.
     * @default '5m'
     */
    readonly lifetime?: Duration | undefined
  }

  /** Where the keys come from: the options, with at least one source, or a URL. */
  export type JwtKeySource =
    | (JwtKeys & { readonly secret: string | Uint8Array })
    | (JwtKeys & { readonly keys: readonly KeyInput[] })
    | (JwtKeys & { readonly jwks: JwkSet })
    | (JwtKeys & { readonly rotation: RotationOptions })
    | (JwtKeysAtUrl & { readonly jwks: string })
    | (JwtKeysAtUrl & { readonly discovery: true | 'oauth' })
    | (JwtKeysAtUrl & { readonly preset: 'vault' })

  /** The sources of keys. */
  export interface JwtKeys {
    /**
     * A shared secret for HS256, or for the one of HS256, HS384 and HS512 that `algorithms` names: at least 32, 48 or
     * 64 bytes that are hard to guess. Make one with `openssl rand -base64 48`.
     */
    readonly secret?: string | Uint8Array | undefined
    /**
     * Up to 100 keys, each with its algorithm. New tokens are signed with the private key in force that has the latest
     * `notBefore`; with a secret where there is none.
     */
    readonly keys?: readonly KeyInput[] | undefined
    /** A JWK set with public keys (RFC 7517 section 5). Keys for encryption are left out. */
    readonly jwks?: JwkSet | undefined
    /** Keys that are made here, and change by themselves. They sign; the others verify besides. */
    readonly rotation?: RotationOptions | undefined
    readonly discovery?: false | undefined
    readonly staleFor?: undefined
  }

  /**
   * Keys that an issuer publishes. They are fetched by Node's `fetch` in the background: about every five minutes, more
   * often if `Cache-Control` says so, and when a token has a `kid` that is not known, at most once in 30 s. A request
   * waits for that only where its own key is not known, for 2 s at most. Without keys, and where they are too old, its
   * tokens are refused with 503 `issuer_unavailable`. See docs/issuers.md.
   */
  export interface JwtKeysAtUrl {
    /**
     * The URL of a JWK set, with `https`, or with `http` on a loopback address. Redirects are not followed, and no more
     * than 256 KiB are read.
     */
    readonly jwks?: string | undefined
    /**
     * `true` reads the URL from the issuer's metadata at `<issuer>/.well-known/openid-configuration` (OpenID Connect
     * Discovery 1.0), `'oauth'` from `/.well-known/oauth-authorization-server` (RFC 8414 section 3). Its `issuer` must be
     * exactly the option. Not beside `jwks`.
     */
    readonly discovery?: boolean | 'oauth' | undefined
    /**
     * How long the keys that are known are used while the issuer gives none; 10 minutes to 24 h.
     * @default '1h'
     */
    readonly staleFor?: Duration | undefined
    readonly secret?: undefined
    readonly keys?: undefined
    readonly rotation?: undefined
  }

  /** A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864). */
  export type Algorithm =
    | 'HS256'
    | 'HS384'
    | 'HS512'
    | 'RS256'
    | 'RS384'
    | 'RS512'
    | 'PS256'
    | 'PS384'
    | 'PS512'
    | 'ES256'
    | 'ES384'
    | 'ES512'
    | 'EdDSA'
    | 'Ed25519'

  /** One key. */
  export interface KeyInput {
    /** The key's name, as tokens carry it in `kid`. Needed where there are several keys; one of them may have none. */
    readonly kid?: string | undefined
    /** The one algorithm this key is used with. */
    readonly alg: Algorithm
    /**
     * PEM text, raw secret bytes (HS algorithms), or a JWK. A private key signs and verifies, a public one verifies.
     *
     * Judged when the guard is built: `ERR_WEAK_SECRET` for a secret that is short or easy to guess, `ERR_WEAK_KEY` for RSA keys
     * outside of 2048 to 8192 bits or with a known flaw and for Ed25519 points of small order, `ERR_INVALID_KEY` for what does not
     * fit `alg`. docs/tokens.md has every rule.
     */
    readonly key: string | Uint8Array | Jwk
    /**
     * From when the key is in force: a `Date`, or seconds since the Unix epoch. {@link Tokens.jwks} shows it before.
     * @default always
     */
    readonly notBefore?: Date | number | undefined
    /**
     * Until when the key is in force: a `Date`, or seconds since the Unix epoch.
     * @default always
     */
    readonly notAfter?: Date | number | undefined
  }

  /** A JSON Web Key (RFC 7517). */
  export interface Jwk {
    readonly kty: string
    readonly kid?: string | undefined
    readonly alg?: string | undefined
    readonly use?: string | undefined
    readonly key_ops?: readonly string[] | undefined
    readonly [member: string]: unknown
  }

  /** A JSON Web Key set (RFC 7517 section 5). */
  export interface JwkSet {
    readonly keys: readonly Jwk[]
  }

  /** Options of {@link Guard.authenticate}. */
  export interface AuthenticateOptions {
    /** Whether a request without a token passes as anonymous. Left out: as the guard's `jwt` says. */
    readonly optional?: boolean | undefined
  }

  // ---------------------------------------------------------------------------------------------------- payload

  /** Which bodies are read, and limits on them, checked on their bytes. docs/payloads.md has what is accepted and refused. */
  export interface PayloadOptions {
    /**
     * The kinds of bodies that are read; any other is refused with 415. `'json'`: `application/json`, and types that end
     * with `+json`. `'form'`: `application/x-www-form-urlencoded`, read by the types that the schema declares; without a
     * schema its values are strings, and lists of strings where a name ends with `[]`. At least one.
     * @default ['json']
     */
    readonly types?: readonly ('json' | 'form')[] | undefined
    /**
     * The largest body, from 1 byte to 64 MB; a larger one is refused with 413. It bounds what a compressed body
     * becomes, and the query string where there is a schema for it.
     * @default '100kb'
     */
    readonly maxBytes?: Size | undefined
    /**
     * How deep objects and arrays may nest; 1 to 128.
     * @default 32
     */
    readonly maxDepth?: number | undefined
    /**
     * How many values a body may hold in all; 1 to 10000000.
     * @default 10000
     */
    readonly maxNodes?: number | undefined
    /**
     * How many members one object may have; 1 to 1000000.
     * @default 1000
     */
    readonly maxKeys?: number | undefined
    /**
     * Whether keys that a document database may read as operators or paths (`$gt`, `a.b`) are refused where the
     * schema does not declare them.
     * @default 'refuse'
     */
    readonly operators?: 'refuse' | 'allow' | undefined
    /**
     * Whether bodies compressed with gzip, deflate or br are read (RFC 9110 section 8.4). `ratio` is how many times larger
     * one may become, from 1 to 1000, 20 where it is left out; what grows more is refused with 413.
     * @default false, a compressed body is refused with 415
     */
    readonly inflate?: boolean | { readonly ratio?: number | undefined } | undefined
    /**
     * How long a body may take to arrive once the request is welcome, from 10 ms to 1 hour; a later one is refused with
     * 408 and its connection closed. Node's own `server.requestTimeout` (300 s) bounds the whole request.
     * @default '30s'
     */
    readonly timeout?: Duration | undefined
    /**
     * The draft of JSON Schemas without `$schema`. Of the guard alone, as all that follow.
     * @default '2020-12'
     */
    readonly draft?: '4' | '6' | '7' | '2019-09' | '2020-12' | undefined
    /**
     * Schemas by their absolute URI, for `$ref`. They must be of the draft of the schema that refers to them, and are
     * referred to by URI, URI and JSON Pointer, or among each other by relative name. Nothing is ever fetched.
     * @default {}
     */
    readonly schemas?: Readonly<Record<string, JsonSchema>> | undefined
    /**
     * Formats by name, for `format`. A regular expression (flags `i`, `m`, `s`, `u`, `v`) or its source is checked in
     * linear time by the core; a function is asked behind the core, must return `true`, and may stand only where the
     * schema applies in every case. The built-in format of the same name is replaced.
     * @default {}
     */
    readonly formats?: Readonly<Record<string, RegExp | string | ((text: string) => boolean)>> | undefined
    /**
     * Keywords by name: functions of the value and of what the schema writes behind the keyword. They must return `true`
     * and may stand only where the schema applies in every case.
     * @default {}
     */
    readonly keywords?: Readonly<Record<string, (value: any, argument: any) => boolean>> | undefined
    /**
     * Texts for errors by their code (`required`, `format`, ...), at most 200 characters each; `{key}` and `{limit}` are
     * filled in. Under a language tag (`de`, `pt-BR`) the same again, for clients whose `Accept-Language` asks for it.
     * Errors of a library's own check keep the library's texts.
     * @default {}
     */
    readonly messages?: Readonly<Record<string, string | Readonly<Record<string, string>>>> | undefined
  }

  // ----------------------------------------------------------------------------------------------------- policy

  /**
   * Authorization by a Rego policy. Only `true`, or an object whose `allow` is `true`, lets a request pass; such an
   * object may also have `reasons` (texts, for the log) and, where it denies, a `status` from 400 to 499.
   *
   * `input` has `method`, `effective_method`, `path`, `raw_path`, `route`, `params`, `query`, `headers`, `user`,
   * `token`, `client.ip`, `rate`, `time.now_ns` and `body`: see docs/recipes.md. A policy that reads another member
   * gives the warning `GUARD_POLICY_INPUT`.
   */
  export interface PolicyOptions {
    /**
     * A folder with `.rego` files (also in folders below it), one `.rego` file, or the texts themselves by name. A
     * path is relative to the working directory of the process. Read once, at construction.
     */
    readonly policies: string | Readonly<Record<string, string>>
    /**
     * What the policy finds in `data`: an object of what JSON can say, up to 64 MB.
     * @default {}
     */
    readonly data?: object | undefined
    /** The rule that decides, e.g. `'data.httpapi.authz.allow'`. It must have a `default` that denies. */
    readonly query: string
    /**
     * The version of Rego. `'auto'` reads each file as v1, or, where it lacks v1's `if` and `contains`, as v0.
     * @default 'auto'
     */
    readonly regoVersion?: 'auto' | 'v0' | 'v1' | undefined
    /**
     * Bounds of one evaluation; past them the answer is no.
     * @default {}
     */
    readonly limits?: PolicyLimits | undefined
  }

  /** Bounds of one policy evaluation. */
  export interface PolicyLimits {
    /**
     * The longest evaluation, in milliseconds; 1 to 1000.
     * @default 25
     */
    readonly timeMs?: number | undefined
    /**
     * The most text and numbers in the input; 256 bytes to 16 MB.
     * @default '64kb'
     */
    readonly inputBytes?: Size | undefined
    /**
     * How deep the input may nest; 4 to 128.
     * @default 32
     */
    readonly depth?: number | undefined
  }

  /** Options of {@link Guard.authorize}. */
  export interface AuthorizeOptions {
    /** The rule that decides on these routes. Left out: the guard's `policy.query`. */
    readonly query?: string | undefined
  }

  // ---------------------------------------------------------------------------------------------------- OpenAPI

  /** An OpenAPI document, as far as its shape matters here. Documents with types of their own fit it, too. */
  export interface OpenApiDocument {
    /** `3.0.x` or `3.1.x`. */
    readonly openapi: string
    /** Paths with their operations. */
    readonly paths?: object | undefined
    readonly components?: object | undefined
    readonly servers?: readonly object[] | undefined
    readonly security?: readonly object[] | undefined
  }

  /** Options of {@link Guard.fromOpenApi}. */
  export interface OpenApiOptions {
    /**
     * What stands before every path of the document: `''` or `'/v1'`. Where an application mounts the handler under a
     * path, that path is part of it.
     * @default the path of the document's `servers`, which must all have the same
     */
    readonly basePath?: string | undefined
    /**
     * What becomes of a request under the base path that no operation is about: it passes to the application, or is
     * refused with 404 `unknown_route` or 405 `method_not_allowed`. `OPTIONS` always passes.
     * @default 'pass'
     */
    readonly unknown?: 'pass' | 'refuse' | undefined
    /**
     * What becomes of bodies and parameters of a form that is not read (`multipart/form-data`, `deepObject`, objects as
     * parameters or in forms): an error when the guard is built, or they pass to the application unchecked, while everything else
     * of the operation is checked. A query with such a parameter is not checked at all.
     * @default 'refuse'
     */
    readonly unreadable?: 'refuse' | 'pass' | undefined
    /**
     * What becomes of members that a body (at its top) or a query does not declare, where the document says nothing of
     * `additionalProperties`: refused with 422, or accepted, as JSON Schema has it.
     * @default 'refuse'
     */
    readonly undeclared?: 'refuse' | 'accept' | undefined
    /** Names of formats that are not checked. A format that is neither known nor named here is an error. */
    readonly ignoreFormats?: readonly string[] | undefined
    /**
     * How security schemes are carried out, by name. Bearer tokens, OAuth 2 and OpenID Connect need no entry: they are
     * tokens of the guard. API keys, other HTTP schemes and mutual TLS need one. `'token'`: a token that the guard
     * verifies; `false`: it is checked elsewhere, and nothing is asked here.
     */
    readonly security?: { readonly [scheme: string]: SecurityFunction | 'token' | false } | undefined
  }

  /**
   * Says whether a request meets a security scheme. Only `true`, or a promise of it, is a yes. What it throws refuses the
   * request with 500.
   */
  export type SecurityFunction = (req: IncomingMessage, demand: SecurityDemand) => boolean | Promise<boolean>

  /** What a {@link SecurityFunction} is asked about. */
  export interface SecurityDemand {
    /** The name of the scheme in the document. */
    readonly scheme: string
    /** The scopes or roles that the operation lists for it. */
    readonly scopes: readonly string[]
    /** The operation. */
    readonly operation: OpenApiOperation
  }

  /** What {@link Guard.fromOpenApi} gives. */
  export interface OpenApiGuard {
    /**
     * Guards the whole API: `app.use(api.handler)`. It finds the operation by method and canonical path, asks for what
     * its `security` demands (401, 403), then checks parameters and body (400, 413, 415, 422). `req.body` is the
     * parsed body; `req.params` and `req.query` are left alone, see {@link OpenApiGuard.valid}.
     */
    readonly handler: RequestHandler
    /**
     * The same for one operation, on a route of your own: `app.get('/users/:id', ...api.stack('getUser'), handler)`.
     * The path is the route's affair, and its parameters must have the names that the document has.
     *
     * @param operation its `operationId`, or method and path: `'GET /users/{id}'`.
     * @throws {@link GuardError} `ERR_INVALID_OPTION` with a did-you-mean where there is none.
     */
    stack(operation: string): RequestHandler[]
    /**
     * What was found valid on the request, converted, with defaults filled in. A part without a schema is not there.
     *
     * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` when the request is about no operation of this document.
     */
    valid(req: IncomingMessage): OpenApiValid
    /** The operations of the document. */
    readonly operations: readonly OpenApiOperation[]
  }

  /** An operation of a document. */
  export interface OpenApiOperation {
    readonly operationId?: string
    /** In upper case. */
    readonly method: string
    /** As the document has it. */
    readonly path: string
  }

  /** What {@link OpenApiGuard.valid} gives. */
  export interface OpenApiValid {
    /** What the request is about. */
    readonly operation: OpenApiOperation
    readonly body?: any
    readonly query?: Record<string, any>
    readonly params?: Record<string, any>
    /** The headers that the operation declares, by lower-case name. */
    readonly headers?: Record<string, any>
    /** The cookies that the operation declares. */
    readonly cookies?: Record<string, any>
  }

  // --------------------------------------------------------------------------------------------------- handlers

  /** A handler for Express 4, Express 5, Connect and plain `node:http`. */
  export interface RequestHandler {
    (req: IncomingMessage, res: ServerResponse, next: Next): void
  }

  /** What a handler calls when the request may go on, or with the error that stops it. */
  export type Next = (error?: any) => void

  /** A handler behind which `req.body` is a `Body`. */
  export interface BodyHandler<Body> {
    (req: IncomingMessage, res: ServerResponse, next: Next): void
    // Express takes the types of a route from the last overload.
    (req: IncomingMessage & { body: Body }, res: ServerResponse, next: Next): void
  }

  /** A handler that gives `req.body` its type where `S` has a schema for it. */
  export type RouteHandler<S> = S extends { readonly body: infer B } ? BodyHandler<Infer<B>> : RequestHandler

  /** What {@link Guard.validate} returns. */
  export type ValidateHandler<S> = RouteHandler<S> & {
    /**
     * What this handler found valid on the request, converted and typed.
     *
     * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` when the request has not passed this very handler.
     */
    valid(req: IncomingMessage): Valid<S>
  }

  /** What `req.guard` is. */
  export interface RequestGuard {
    /** This request's id, also in log events. It is of this process, and not sent to the client. */
    readonly id: string
    /** The client's address, as every layer sees it; IPv4 also where it came as IPv6. Empty on a Unix socket. */
    readonly client: string
    /** The verified token, or `null`. */
    readonly token: VerifiedToken | null
    /** How the rate limits that are about this request stand after it. */
    readonly limits: readonly LimitState[]
    /** What the policy gave as reasons. */
    readonly reasons: readonly string[]
    /** The nonce of this response's `Content-Security-Policy`, where `headers.csp.nonce` is on. */
    readonly nonce?: string
  }

  /** What a verified token is, its claims apart: those are in `req.user`. */
  export interface VerifiedToken {
    /** The token's id (RFC 7519 section 4.1.7). */
    readonly jti?: string
    /** When it expires, in seconds since the Unix epoch. */
    readonly exp: number
    /** When it was issued, in seconds since the Unix epoch. */
    readonly iat: number
    /** The key that verified it. */
    readonly kid?: string
    /** The algorithm of that key. */
    readonly alg: Algorithm
    /** What it is bound to, where it is: a key whose proof was checked, the certificate of the connection, or both. */
    readonly bound?: 'dpop' | 'mtls' | 'dpop+mtls'
  }

  /** One rate limit as a key stands to it. */
  export interface LimitState {
    /** The policy's name. */
    readonly name: string
    /** How many units the key may use per window. */
    readonly limit: number
    /** How many units are left now. */
    readonly remaining: number
    /** In how many seconds more units come; 0 where all are there. */
    readonly reset: number
    /** Only of a limit with `onExceed: 'shadow'`: whether it would have refused the request. */
    readonly wouldRefuse?: boolean
  }

  /** One decided request, for {@link GuardConfig.log}. */
  export interface DecisionEvent {
    /** When, as an ISO 8601 UTC time. */
    readonly time: string
    /** The request's id; the same as `req.guard.id`. */
    readonly id: string
    /** The client's address. */
    readonly client: string
    /** The method. */
    readonly method: string
    /** The path, without the query. */
    readonly path: string
    /**
     * What was decided. `'preflight'` is a CORS preflight that was answered here; `'response'` comes after `'allow'` where
     * the handler's answer was not as its schema says.
     */
    readonly outcome: 'allow' | 'refuse' | 'preflight' | 'response'
    /** The status of a refusal, of a preflight's answer, or of the answer that was not as its schema says. */
    readonly status?: number | undefined
    /** The code of a refusal, as in the problem document. */
    readonly code?: string | undefined
    /** The token's `sub`. */
    readonly user?: string | undefined
    /** What the policy gave as reasons. */
    readonly reasons: readonly string[]
    /** The limits with `onExceed: 'shadow'` that would have refused the request, where the stack has such limits. */
    readonly shadow?: readonly string[] | undefined
  }

  // ------------------------------------------------------------------------------------------------- operations

  /**
   * The rate limits outside of a request: those of the guard and of all its stacks and layers, also of such as are
   * mounted nowhere. Every method rejects with {@link GuardError} `ERR_UNKNOWN_LIMIT` for a name that no policy has,
   * and `ERR_INVALID_ARGUMENT` for an unusable key or number.
   *
   * `consume` and `get` are about the policy's own limit; the others reach the key in every tier.
   *
   * Of a {@link ConcurrencyLimit} only `get`, `set` and `reset` can be asked: `consume`, `penalize`, `reward` and `block` of
   * its keys reject with `ERR_INVALID_ARGUMENT`, and `signal` does not reach it.
   */
  export interface Limits {
    /**
     * Uses `cost` units (1; 0 to 4294967295) of `key`, or none where they are not there.
     * @param key for `'ip'` the address, for `'user'` the subject, for `'token'` the `jti`, for a function what it
     *   would return.
     */
    consume(name: string, key: LimitKey, cost?: number): Promise<KeyState>
    /** How `key` stands, and whether a request of cost 1 would be admitted; uses nothing. */
    get(name: string, key: LimitKey): Promise<KeyState>
    /** Takes `cost` units (1) from `key` whether it has them or not; at most everything is taken. */
    penalize(name: string, key: LimitKey, cost?: number): Promise<void>
    /** Gives `cost` units (1) back to `key`; at most what it has used. */
    reward(name: string, key: LimitKey, cost?: number): Promise<void>
    /**
     * Refuses `key` for a time from now, 1 ms to 400 days, whatever it has left. Replaces an earlier block. Rejects
     * with `ERR_INVALID_OPTION` for what is no such time.
     */
    block(name: string, key: LimitKey, duration: Duration): Promise<void>
    /**
     * Refuses a client for a time from now, 1 ms to 400 days, with 403 `client_blocked`: an address (IPv6: its /56) or a
     * network before its token is looked at, a user as soon as the token has told who it is. It holds for all guards
     * over the same store: at once in this process, and with Redis within 3 s in all others. Of two lists, the longest
     * network decides, as in {@link ClientsOptions}; of two calls for one client, the later one.
     *
     * With Redis it rejects with `ERR_STORE_UNAVAILABLE` where the others could not be told; it holds here all the same.
     * With Memcached it holds in this process alone.
     *
     * @param reason for the `log` event alone, at most 200 bytes.
     */
    block(client: ClientRef, ttl: Duration, reason?: string): Promise<void>
    /** Does not limit a client for a time, and does not refuse it either. As {@link Limits.block} in all else. */
    allow(client: ClientRef, ttl: Duration): Promise<void>
    /**
     * Makes the limits of a client tighter or wider for a while, say after a CAPTCHA that failed or was passed: those
     * that count by its address, user or token alone (`key: 'ip'`, `'user'` or `'token'`), or the one named `policy`. With
     * `factor` 0.1 a window has a tenth of its `limit` (at least 1), and for GCRA and the buckets a request costs ten times
     * as much (at most everything, so that one passes in the end). What was counted stays. A later signal for the same
     * client takes the place of an earlier one; `factor` 1 takes it back.
     *
     * With Redis it holds in all processes: at once for limits that ask for every request, within a second for others. While
     * the store is away, processes that count alone do not know of it.
     */
    signal(client: SignalRef, options: SignalOptions): Promise<void>
    /**
     * Gives a limit of this guard other figures while it runs: at once in this process, and with Redis within 3 s in all
     * others. What is left out of `window`, `burst` and `tiers` stays as it was configured; the figures are checked as they
     * are when a guard is built. Counts begin anew. It holds for 400 days at most, also for processes that start later, as
     * long as the limit is configured as it is here: a deploy with other options wins. With Memcached it holds in this
     * process alone. Of a {@link ConcurrencyLimit} it takes `concurrent` and `tiers`, and requests under way still count.
     */
    set(policy: LimitChange): Promise<void>
    /** Takes back what `block` or `allow` has said of a client. What stands in {@link ClientsOptions} stays. */
    unblock(client: ClientRef): Promise<void>
    /**
     * Forgets what `key` used, and its block. Of a {@link ConcurrencyLimit} it frees all places; with Redis, requests that
     * are still under way take theirs again within half of its `timeout`.
     */
    reset(name: string, key: LimitKey): Promise<void>
  }

  /** How a key stands. */
  export interface KeyState {
    /** Whether the request is (for `get`: a request of cost 1 would be) admitted. */
    readonly allowed: boolean
    /** How many units the key may use per window. */
    readonly limit: number
    /** How many units are left now; 0 while the key is blocked. */
    readonly remaining: number
    /** In how many seconds more units come; 0 where all are there. */
    readonly reset: number
    /** In how many seconds what was refused would be admitted; 0 where `allowed`. */
    readonly retryAfter: number
    /** How many seconds a block by {@link Limits.block} still lasts; 0 where there is none. */
    readonly blockedFor: number
    /** Of a {@link ConcurrencyLimit}, and there alone: how many requests are under way. It may be more than `limit` after `set`. */
    readonly taken?: number
  }

  /** A client: an address, a network in CIDR form, or a user by the token's `sub`. */
  export type ClientRef = string | { readonly user: string }

  /** A client: an address, a user by the token's `sub`, or a token by its `jti`. */
  export type SignalRef = string | { readonly user: string } | { readonly token: string }

  /** What {@link Limits.signal} makes of limits. */
  export interface SignalOptions {
    /** How much of each limit there is; 0.01 to 10, in thousandths. */
    readonly factor: number
    /** For how long; 1 ms to 400 days. */
    readonly ttl: Duration
    /** The one limit that it is about; left out: all that count by this alone. */
    readonly policy?: string | undefined
  }

  /** Other figures for a limit, of its kind. */
  export type LimitChange = RateLimitChange | ConcurrencyLimitChange

  /** Other places; each as in {@link ConcurrencyLimit}. */
  export interface ConcurrencyLimitChange {
    /** Which limit. */
    readonly name: string
    readonly concurrent: number
    readonly tiers?: Readonly<Record<string, ConcurrencyTier>> | undefined
    readonly limit?: never
  }

  /** Other figures for a limit in time; each as in {@link RateLimitPolicy}. */
  export interface RateLimitChange {
    /** Which limit. */
    readonly name: string
    readonly limit: number
    readonly window?: Duration | undefined
    readonly burst?: number | undefined
    readonly tiers?: Readonly<Record<string, RateLimitTier>> | undefined
    readonly concurrent?: never
  }

  /** What a limit counts apart: one text, or one for each part of the policy's `key`, in its order. */
  export type LimitKey = string | readonly [string, ...string[]]

  /**
   * Claims to issue: what JSON can say, with a `Date` as its ISO 8601 text; functions, `NaN`, `Buffer`s and the like
   * are refused. `iss`, `iat`, `exp` and `jti` are set by the guard and left out here; so is `aud`, unless it is one
   * of several audiences.
   */
  export interface IssueClaims {
    /** Whom the token is about (RFC 7519 section 4.1.2). */
    readonly sub?: string
    /**
     * The session it belongs to, for {@link Revoke.session}. A session has one refresh token: another login with the same
     * `sid` takes the place of the one before.
     * @default a random one
     */
    readonly sid?: string
    readonly iat?: never
    readonly exp?: never
    readonly jti?: never
    readonly [claim: string]: unknown
  }

  /** Options of {@link Tokens.issue}. */
  export interface IssueOptions {
    /**
     * How long the token lives, in whole seconds; 1 s to the guard's `jwt.maxLifetime`.
     * @default '15m', or `jwt.maxLifetime` where that is less
     */
    readonly expiresIn?: Duration | undefined
    /**
     * Whether to give a refresh token too.
     * @default true where `jwt.refresh` is set
     */
    readonly refresh?: boolean | undefined
  }

  /** Options of {@link Tokens.refresh}. */
  export interface RefreshTokenOptions {
    /**
     * Gives the claims of the new access token for those that the session began with, for roles that change. They hold for
     * this token alone; `sub` and `sid` stay as they are. What it throws rejects the refresh, and the same token may be
     * used again within `reuseWindow`.
     * @default the claims of the session
     */
    readonly claims?: ((claims: IssueClaims) => IssueClaims | void | Promise<IssueClaims | void>) | undefined
  }

  /** An issued token, in the member names of an OAuth 2.0 token response (RFC 6749 section 5.1), camel-cased. */
  export interface IssuedToken {
    readonly accessToken: string
    /** Good for one use, of {@link Tokens.refresh}; only where `jwt.refresh` is set. Opaque: `ksr_` and 86 characters. */
    readonly refreshToken?: string
    /** In seconds. */
    readonly expiresIn: number
    /** How it is sent: `'DPoP'` where its claims have `cnf.jkt` (RFC 9449 section 5), else `'Bearer'`. */
    readonly tokenType: 'Bearer' | 'DPoP'
  }

  /** The claims of a verified token. */
  export interface Claims {
    readonly iss: string
    readonly aud: string | readonly string[]
    readonly exp: number
    readonly iat: number
    readonly sub?: string
    readonly nbf?: number
    readonly jti?: string
    readonly [claim: string]: unknown
  }

  /**
   * Tokens outside of a request. Every failure rejects with {@link GuardError}; a guard without `jwt` fails with
   * `ERR_MISSING_OPTION`.
   */
  export interface Tokens {
    /**
     * Issues a signed token, of at most 8 KiB. Rejects with `ERR_MISSING_OPTION` where the guard has no secret and no
     * private key, with `ERR_INVALID_ARGUMENT` for claims that JSON has no word for or that the guard would not verify,
     * and with `ERR_INVALID_OPTION` for claims that are no object and for an `expiresIn` out of its range.
     */
    issue(claims: IssueClaims, options?: IssueOptions): Promise<IssuedToken>
    /**
     * Takes a refresh token and gives the next pair, with the claims, and for as long, as {@link Tokens.issue} did. Each
     * token is good for one use; within `jwt.refresh.reuseWindow` it gives the same successor again.
     *
     * Rejects with 401 `ERR_REFRESH_INVALID` for what is no token, or none any more; with 401 `ERR_REFRESH_REUSED` for a
     * replay, which has ended the session, its access tokens included; with 401 `token_revoked` where its subject was
     * revoked. Without the store with 503 `ERR_STORE_UNAVAILABLE` or `revocation_stale`: the same token may be used again.
     */
    refresh(refreshToken: string, options?: RefreshTokenOptions): Promise<IssuedToken>
    /**
     * Lets the next signing key sign now: for a key that has leaked, which {@link Revoke.key} then revokes. A next key that
     * is younger than two minutes has to be read by other processes first: `from` is the second from which it signs.
     * Rejects with `ERR_MISSING_OPTION` without `jwt.rotation`, with 503 `ERR_KEY_STORAGE` where it can't be saved, and
     * with what the application's `load` or `save` throws.
     */
    rotate(): Promise<{ readonly kid: string; readonly from: number }>
    /**
     * Verifies a token as a request's token is, revocation included. Rejects with a {@link TokenErrorCode}; with `token_bound`
     * for a token that is bound to a key or a certificate, since there is no request that shows it.
     */
    verify(token: string): Promise<Claims>
    /**
     * The public keys, those included whose time is still to come. Secrets are never part of it.
     *
     * @throws {@link GuardError} `ERR_MISSING_OPTION` where the guard has no `jwt`.
     */
    jwks(): JwkSet
  }

  /**
   * Taking tokens back, on a guard with `jwt` and `revocation`; others reject with `ERR_MISSING_OPTION`. Each promise
   * resolves when the revocation is stored and in force: a request that starts afterwards is refused with 401
   * `token_revoked`. Guards and worker threads with the same `store.memory.shared` and `jwt.issuer` have one list.
   *
   * With a `redis` store all processes have one list. A promise resolves when the store has the revocation, which is then
   * in force in this process, within milliseconds in the others, and after `maxStaleness` at the latest. It rejects with
   * `ERR_STORE_UNAVAILABLE` where the store has not said that it has it: the token is refused here all the same, but call
   * again, or the others may never hear of it.
   *
   * With several issuers each has a list of its own, and {@link RevokeOptions} must say whose token, subject, session or key
   * is meant, unless the whole token is given: two issuers may well use one name.
   *
   * At most 5000000 tokens, 1000000 subjects, 1000000 sessions and 10000 keys are revoked at one time; beyond that,
   * and for a time that is none, a promise rejects with `ERR_INVALID_ARGUMENT`, and nothing is forgotten for it.
   */
  export interface Revoke {
    /**
     * One token.
     * @param token the token itself, or its `jti`.
     * @param exp when the token expires: a `Date`, or seconds since the Unix epoch. Read from the token where that is
     *   given; with a `jti`, left out means `jwt.maxLifetime` from now.
     * @throws {@link GuardError} (the promise rejects) a {@link TokenErrorCode} for a token that is not one of this
     *   guard's; an expired one is.
     */
    token(token: string, exp?: Date | number, options?: RevokeOptions): Promise<void>
    /**
     * Every token of a subject that was issued until now, within this second too, and the refresh tokens of sessions that
     * began until then. A token that {@link Tokens.issue}
     * makes afterwards is good.
     * @param before the latest `iat` that is meant: a `Date`, or seconds since the Unix epoch; not ahead. Left out:
     * now.
     */
    subject(sub: string, before?: Date | number, options?: RevokeOptions): Promise<void>
    /** Every token with this `sid` claim, also those issued later, for `jwt.maxLifetime` from now, and its refresh token. */
    session(sid: string, options?: RevokeOptions): Promise<void>
    /** Every token that this key signed or will sign, as long as the list is kept: in memory, by whoever shares it. */
    key(kid: string, options?: RevokeOptions): Promise<void>
  }

  /** Whose tokens a revocation means. */
  export interface RevokeOptions {
    /** An issuer as `jwt` names it. May be left out where there is but one. */
    readonly issuer?: string | undefined
  }

  /** The policy outside of a request. */
  export interface Policy {
    /**
     * Asks the policy.
     *
     * @param input what the policy finds in `input`: what JSON can say.
     * @param query the rule, e.g. `'data.httpapi.authz.allow'`; left out: the guard's `policy.query`.
     * @throws {@link GuardError} (the promise rejects) `ERR_MISSING_OPTION` where the guard has no `policy`,
     *   `ERR_INVALID_OPTION` for a `query` that is no rule of it, and `ERR_INVALID_ARGUMENT` for an `input` that JSON
     *   has no word for.
     */
    evaluate(input: unknown, query?: string): Promise<PolicyDecision>
  }

  /** What a policy says. */
  export interface PolicyDecision {
    /** Whether it allows the request. */
    readonly allow: boolean
    /** What it gave as reasons; at most 16. */
    readonly reasons: readonly string[]
    /** Why it could not be evaluated, `null` where it was. A request is refused with 503 then. */
    readonly fault: 'time_limit' | 'evaluation' | 'panic' | 'not_a_decision' | 'foreign_query' | null
  }

  /** What {@link Guard.health} says. */
  export interface HealthReport {
    /** Whether requests are decided: the store has answered, and every issuer has given keys at some time. */
    readonly ready: boolean
    /** The issuers of `jwt`, in their order; empty without it. */
    readonly issuers: readonly IssuerHealth[]
    /** The store of the counters. */
    readonly store: {
      readonly kind: 'memory' | 'redis' | 'memcached'
      /** What it takes in this process now. */
      readonly bytes: number
      /** The most that it may take here. */
      readonly maxBytes: number
      /** How many keys it counts here; with a shared store, of how many something is known here. */
      readonly keys: number
      /** Whether it answers. Only of a shared store. */
      readonly available?: boolean
      /** How many processes were last seen to share it, this one among them. Only of a shared store. */
      readonly instances?: number
      /** How many questions are on their way to it. Only of a shared store. */
      readonly waiting?: number
    }
    /** How many revocations are kept; `null` where `jwt` or `revocation` is off. */
    readonly revoked: RevocationCounts | null
    /** How this process's copy of a shared list of revocations is; `null` where there is none. */
    readonly revocation: {
      /** `'fresh'`: it decides. `'stale'`: older than `maxStaleness`. `'not-ready'`: not read to its end yet. */
      readonly state: 'fresh' | 'stale' | 'not-ready'
      /** Milliseconds since it was certain that nothing is missing; `null` for never. */
      readonly age: number | null
      /** Entries that the store has lost and has not been given again yet. */
      readonly missing: number
    } | null
  }

  /** How the keys of an issuer are. */
  export interface IssuerHealth {
    /** As `jwt` names it. */
    readonly issuer: string
    /**
     * `'ready'`: its keys are in the options, or the last fetch was good. `'failing'`: the last fetch was not, and the keys
     * that are known are used. `'stale'`: they are older than `staleFor`, and its tokens are refused with 503.
     * `'not-ready'`: it has given none yet.
     */
    readonly state: 'ready' | 'failing' | 'stale' | 'not-ready'
    /** How many keys are known. */
    readonly keys: number
    /** Milliseconds since the last good fetch; `null` for never, and for keys in the options. */
    readonly age: number | null
    /** Why the last fetch failed; `null` where it did not. */
    readonly error:
      | 'timeout'
      | 'network'
      | 'tls'
      | 'redirect'
      | 'status'
      | 'too-large'
      | 'malformed'
      | 'issuer'
      | 'jwks-uri'
      | 'set'
      | null
  }

  /** How many revocations are kept; those that have expired are counted until the next sweep. */
  export interface RevocationCounts {
    /** Single tokens. */
    readonly tokens: number
    readonly subjects: number
    readonly sessions: number
    readonly keys: number
  }

  // ---------------------------------------------------------------------------------------------------- schemas

  /** Schemas for the parts of a request. A part without a schema is not checked. */
  export interface RequestSchemas {
    /**
     * The body: JSON, or a form where `payload.types` has it. Where a JSON Schema says nothing of `additionalProperties` at
     * its top, members that it does not declare are refused; `additionalProperties: true` lets them pass. A zod schema does
     * with them as zod does.
     */
    readonly body?: Schema | undefined
    /**
     * The query string, read by keepstone itself, alike on Express 4 and 5; `req.query` stays as it is. Text is converted
     * to the declared type; undeclared names are refused, and so is a name twice unless it is a list.
     */
    readonly query?: Schema | undefined
    /** The route's parameters, where the handler is mounted on the route. Text is converted to the declared type. */
    readonly params?: Schema | undefined
    /** The request headers, by lower-case name. Headers that are not declared pass and are not in `.valid(req)`. */
    readonly headers?: Schema | undefined
    /** The cookies, by name. Cookies that are not declared pass and are not in `.valid(req)`; one twice is refused. */
    readonly cookies?: Schema | undefined
    /**
     * Schemas of the handler's JSON answers, by status (`200`), class (`'2xx'`) or `default`. An answer that is sent in one
     * piece (`res.json`, `res.send`, `res.end`) is judged before it leaves; at every depth an object with `properties` is
     * closed unless it says `additionalProperties: true`. Streams, other media types and statuses without a schema leave
     * as they are. A library's schema must have Standard JSON Schema; its output is what is judged.
     */
    readonly response?: Readonly<Record<number | string, Schema>> | undefined
    /**
     * What becomes of an answer that is not as its schema says. `'strip'` drops undeclared members, and sends 500
     * `response_mismatch` in the place of an answer that is wrong otherwise; `'fail'` sends the 500 for both; `'warn'` sends
     * the answer. All three tell `log` (`outcome: 'response'`) and once the warning `GUARD_RESPONSE`, but for members that
     * were dropped.
     * @default 'strip'
     */
    readonly onResponse?: 'strip' | 'warn' | 'fail' | undefined
  }

  /** What {@link Guard.validate} takes. */
  export interface ValidateOptions extends RequestSchemas {
    /**
     * Narrows the guard's `payload` on these routes; `false` leaves the body to the application, while the other parts are
     * still checked. It contradicts a `body` schema. What `payload` says of schemas is of the guard alone.
     */
    readonly payload?: PayloadOptions | false | undefined
  }

  /**
   * A JSON Schema, a TypeBox schema, or a schema of a library with Standard Schema, such as zod 4, valibot, arktype and
   * joi.
   */
  export type Schema = JsonSchema | StandardSchema

  /** A JSON Schema. Only what types are inferred from is listed; every keyword of the draft may be written. */
  export interface JsonSchema {
    readonly $schema?: string | undefined
    readonly $ref?: string | undefined
    readonly type?: JsonTypeName | readonly JsonTypeName[] | undefined
    readonly const?: unknown
    readonly enum?: readonly unknown[] | undefined
    readonly properties?: object | undefined
    readonly required?: readonly string[] | undefined
    readonly additionalProperties?: unknown
    readonly patternProperties?: object | undefined
    readonly items?: unknown
    readonly prefixItems?: readonly unknown[] | undefined
    readonly anyOf?: readonly unknown[] | undefined
    readonly oneOf?: readonly unknown[] | undefined
    readonly allOf?: readonly unknown[] | undefined
    /** Takes white space off both ends of a string, as JavaScript's `trim`, before it is checked. */
    readonly 'x-trim'?: boolean | undefined
    /** Composes characters (Unicode NFC) before a string is checked. */
    readonly 'x-nfc'?: boolean | undefined
    /** Puts a string into lower case before it is checked. */
    readonly 'x-lowercase'?: boolean | undefined
    /** Trims an address and puts its domain into lower case before it is checked. */
    readonly 'x-normalize-email'?: boolean | undefined
    /**
     * At the top of a schema: `'backtracking'` lets its patterns use look-around and backreferences. A match that takes
     * more than 10000 steps back is given up, and the value refused.
     */
    readonly 'x-regex'?: 'linear' | 'backtracking' | undefined
  }

  /** A JSON Schema type name. */
  export type JsonTypeName = keyof JsonTypes

  /** A schema of a library that implements Standard Schema (version 1). */
  export interface StandardSchema<Input = unknown, Output = Input> {
    readonly '~standard': {
      readonly version: 1
      readonly vendor: string
      readonly types?: { readonly input: Input; readonly output: Output } | undefined
    }
  }

  /** What passes the schemas `S`, part by part. */
  export type Valid<S> = { -readonly [Part in keyof S & ('body' | 'query' | 'params' | 'headers')]: Infer<S[Part]> }

  /** What passes the schema `T`. */
  export type Infer<T> = T extends { readonly '~standard': { readonly types?: infer Types } }
    ? NonNullable<Types> extends { readonly output: infer Output }
      ? Output
      : unknown
    : FromSchema<T>

  /**
   * What passes the JSON Schema `S`, as far as TypeScript can say it: `type`, `const`, `enum`, `properties`,
   * `required`, `items`, `prefixItems`, `additionalProperties`, `patternProperties`, `anyOf`, `oneOf` and `allOf`.
   * Other keywords, `$ref` among them, leave the type as it is. TypeBox schemas are JSON Schemas.
   */
  export type FromSchema<S> = [S] extends [false]
    ? never
    : S extends { readonly const: infer Value }
      ? Value
      : S extends { readonly enum: readonly (infer Value)[] }
        ? Value
        : FromType<S> & FromAnyOf<S> & FromAllOf<S>

  /** What the simple type names stand for. */
  interface JsonTypes {
    string: string
    number: number
    integer: number
    boolean: boolean
    null: null
    array: unknown[]
    object: { [member: string]: unknown }
  }

  type FromType<S> = S extends { readonly type: readonly (infer Name)[] }
    ? FromTypeName<S, Name>
    : S extends { readonly type: infer Name }
      ? FromTypeName<S, Name>
      : S extends { readonly properties: object }
        ? FromObject<S>
        : unknown

  type FromTypeName<S, Name> = Name extends 'object'
    ? FromObject<S>
    : Name extends 'array'
      ? FromArray<S>
      : Name extends JsonTypeName
        ? JsonTypes[Name]
        : unknown

  type FromObject<S> = S extends { readonly properties: infer Properties }
    ? Flat<
        { -readonly [Key in keyof Properties as Key extends RequiredKey<S> ? Key : never]: FromSchema<Properties[Key]> } & {
          -readonly [Key in keyof Properties as Key extends RequiredKey<S> ? never : Key]?: FromSchema<Properties[Key]>
        } & FromAdditional<S>
      >
    : S extends { readonly patternProperties: infer Patterns }
      ? { [member: string]: FromSchema<Patterns[keyof Patterns]> }
      : S extends { readonly additionalProperties: infer Additional extends object }
        ? { [member: string]: FromSchema<Additional> }
        : { [member: string]: unknown }

  type FromAdditional<S> = S extends { readonly additionalProperties: true | object }
    ? { [member: string]: unknown }
    : unknown

  /** TypeBox marks the optional members, JSON Schema lists the required ones. */
  type RequiredKey<S> = S extends { readonly '~kind': unknown; readonly properties: infer Properties }
    ? { [Key in keyof Properties]: Properties[Key] extends { readonly '~optional': true } ? never : Key }[keyof Properties]
    : S extends { readonly required: readonly (infer Key)[] }
      ? Key
      : never

  type FromArray<S> = S extends { readonly prefixItems: infer Items extends readonly unknown[] }
    ? [...FromTuple<Items>, ...(S extends { readonly items: infer Rest } ? FromSchema<Rest>[] : unknown[])]
    : S extends { readonly items: infer Items extends readonly unknown[] }
      ? FromTuple<Items>
      : S extends { readonly items: infer Item }
        ? FromSchema<Item>[]
        : unknown[]

  type FromTuple<Items extends readonly unknown[]> = { -readonly [Index in keyof Items]: FromSchema<Items[Index]> }

  type FromAnyOf<S> = S extends { readonly anyOf: readonly (infer Branch)[] }
    ? FromBranch<Branch>
    : S extends { readonly oneOf: readonly (infer Branch)[] }
      ? FromBranch<Branch>
      : unknown

  type FromBranch<Branch> = Branch extends unknown ? FromSchema<Branch> : never

  type FromAllOf<S> = S extends { readonly allOf: readonly [infer First, ...infer Rest] }
    ? FromSchema<First> & FromAllOf<{ readonly allOf: Rest }>
    : unknown

  type Flat<T> = { [Key in keyof T]: T[Key] }

  // ----------------------------------------------------------------------------------------------------- errors

  /** Every error that keepstone throws or rejects with. `docs/errors.md` has an entry for each code. */
  export class GuardError extends Error {
    private constructor()
    readonly name: 'GuardError'
    /** The stable code. */
    readonly code: GuardErrorCode
    /** The HTTP status that a request would be refused with, where there is one. */
    readonly status?: number
    /** The option at fault, as it is written: `rateLimit[1].window`. */
    readonly path?: string
    /** What to write instead, where there is something to say. */
    readonly suggestion?: string
  }

  /** Every code of a {@link GuardError}. */
  export type GuardErrorCode = ConfigErrorCode | TokenErrorCode | OperationErrorCode

  /** What {@link createGuard} throws. */
  export type ConfigErrorCode =
    | 'ERR_UNKNOWN_OPTION'
    | 'ERR_INVALID_OPTION'
    | 'ERR_MISSING_OPTION'
    | 'ERR_CONFLICTING_OPTIONS'
    | 'ERR_WEAK_SECRET'
    | 'ERR_WEAK_KEY'
    | 'ERR_INVALID_KEY'
    | 'ERR_INVALID_SCHEMA'
    | 'ERR_INVALID_POLICY'
    | 'ERR_INVALID_OPENAPI'

  /**
   * Why a token is not accepted. A request with such a token is refused with the same code and 401, with 503 for
   * `issuer_unavailable`.
   */
  export type TokenErrorCode =
    | 'token_missing'
    | 'token_malformed'
    | 'token_expired'
    | 'token_not_yet_valid'
    | 'token_signature'
    | 'token_issuer'
    | 'token_audience'
    | 'token_claims'
    | 'token_algorithm'
    | 'token_key'
    | 'token_type'
    | 'token_lifetime'
    | 'token_revoked'
    | 'issuer_unavailable'
    | 'token_bound'

  /** Why an operation of a guard fails. */
  export type OperationErrorCode =
    | 'ERR_CLOSED'
    | 'ERR_INTERNAL'
    | 'ERR_INVALID_ARGUMENT'
    | 'ERR_ISSUER_UNAVAILABLE'
    | 'ERR_KEY_STORAGE'
    | 'ERR_REFRESH_INVALID'
    | 'ERR_REFRESH_REUSED'
    | 'ERR_STORE_UNAVAILABLE'
    | 'ERR_UNKNOWN_LIMIT'

  export { guard as default }
}

export = guard

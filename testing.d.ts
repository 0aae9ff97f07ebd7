/**
 * Helpers for tests of an application behind a guard: an issuer, a clock, a client, and a guard
 * that forgets. They need no test runner of their own: node:test, vitest and Jest take them alike.
 * See docs/start/testing.md.
 */

import type { Server as HttpServer, RequestListener } from 'node:http'
import type { Algorithm, Duration, Guard, JwkSet } from 'keepstone'

/** What makes a token one that must be refused; see {@link TestTokenOptions.forgery}. */
export type Forgery =
  | 'other-key'
  | 'unknown-key'
  | 'embedded-key'
  | 'no-signature'
  | 'public-key-as-secret'
  | 'changed-claims'
  | 'broken-signature'

/** The names in the tokens of an issuer, and how they are signed. */
export interface TestIssuerOptions {
  /**
   * The `iss` of its tokens.
   * @default 'https://issuer.test'; the URL of an issuer that has one
   */
  readonly issuer?: string
  /**
   * The `aud` of its tokens.
   * @default 'test-api'
   */
  readonly audience?: string | readonly string[]
  /**
   * The algorithm of its keys. RSA keys have 2048 bits, and take a moment to make.
   * @default 'ES256'
   */
  readonly algorithm?: Exclude<Algorithm, 'HS256' | 'HS384' | 'HS512' | 'Ed25519'>
}

/** How one token is made. */
export interface TestTokenOptions {
  /**
   * How long the token lives, from when it was issued: `exp` less `iat`.
   * @default '15m'
   */
  readonly expiresIn?: Duration
  /**
   * How long ago it was issued: `{ age: '1h' }` is a token that expired 45 minutes ago.
   * @default '0s'
   */
  readonly age?: Duration
  /**
   * Members of the header (`alg`, `kid`, `typ: 'at+jwt'`) to add or to replace; one that is
   * `undefined` is left out. The signature stays the one of the key.
   */
  readonly header?: { readonly [member: string]: unknown }
  /**
   * Forges the token. `'other-key'`: signed by another key under the issuer's `kid`.
   * `'unknown-key'`: by another key under its own `kid`. `'embedded-key'`: by a key in the header's
   * `jwk`. `'no-signature'`: `alg` is `none`. `'public-key-as-secret'`: HS256, with the public key
   * as the secret. `'changed-claims'`: `sub` was changed after signing. `'broken-signature'`: one
   * bit of the signature is another.
   * @default a good signature
   */
  readonly forgery?: Forgery
}

/** An issuer with keys of its own. */
export interface TestIssuer {
  /** The `iss` of its tokens. */
  readonly issuer: string
  /** The `aud` of its tokens. */
  readonly audience: string | readonly string[]
  /**
   * Options of a guard that takes its tokens: `createGuard({ jwt: issuer.jwt })`, or
   * `{ ...issuer.jwt, optional: true }`. They have public keys alone, so that the guard verifies
   * and does not issue, as in production.
   */
  readonly jwt: { readonly issuer: string; readonly audience: string | readonly string[]; readonly jwks: JwkSet }
  /**
   * A signed token. `iss`, `aud`, `sub: 'test-user'`, `iat`, `exp` and a random `jti` are there by
   * default; the times are those of a {@link TestClock}, where there is one.
   *
   * ```ts
   * issuer.token({ sub: 'ada', role: 'admin' })
   * issuer.token({ sub: 'ada', exp: undefined })
   * issuer.token({ sub: 'ada' }, { age: '1h' })
   * ```
   *
   * @param claims what to add or to replace; a claim that is `undefined` is left out.
   * @param options how the token is made.
   * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT`, `ERR_INVALID_OPTION`,
   *   `ERR_UNKNOWN_OPTION`.
   */
  token(claims?: { readonly [claim: string]: unknown }, options?: TestTokenOptions): string
  /**
   * Tokens that a guard with {@link TestIssuer.jwt} refuses, by name: one of every {@link Forgery},
   * and `expired`, `not-yet-valid`, `without-expiry`, `other-issuer`, `other-audience` and
   * `without-audience`.
   *
   * @param claims the claims that they have besides.
   */
  forgeries(claims?: { readonly [claim: string]: unknown }): { readonly [name: string]: string }
  /** The public keys, as a JWK set. */
  jwks(): JwkSet
  /**
   * Makes a new key, which signs from now on. The earlier ones stay in the set. A guard that was
   * built with {@link TestIssuer.jwt} before refuses its tokens.
   */
  rotate(): void
}

/** An issuer that publishes its keys on the loopback. */
export interface RunningTestIssuer extends Omit<TestIssuer, 'jwt'> {
  /**
   * Options of a guard that fetches the keys: by discovery, or from the URL of the set where
   * {@link TestIssuerOptions.issuer} was given.
   */
  readonly jwt: { readonly issuer: string; readonly audience: string | readonly string[] } & ({ readonly discovery: true } | { readonly jwks: string })
  /**
   * Where it listens, `http://127.0.0.1:<port>`: the set is at `/jwks`, the metadata at both
   * well-known paths (OpenID Connect Discovery, RFC 8414).
   */
  readonly url: string
  /** Stops it, as an outage would. Resolves when the port is free. */
  close(): Promise<void>
}

/**
 * An issuer whose public keys a guard takes as options.
 *
 * ```ts
 * const issuer = createTestIssuer()
 * const guard = createGuard({ jwt: issuer.jwt })
 * const { sub } = await guard.tokens.verify(issuer.token({ sub: 'ada' }))
 * ```
 *
 * @param options `{}` by default.
 * @throws {@link "keepstone".GuardError} `ERR_INVALID_OPTION`, `ERR_UNKNOWN_OPTION`.
 */
export declare function createTestIssuer(options?: TestIssuerOptions): TestIssuer

/**
 * An issuer with a server that publishes its keys: for tests of discovery, key rotation and
 * outages. It keeps no process alive.
 *
 * @param options `{}` by default.
 * @returns a promise: the issuer listens.
 * @throws {@link "keepstone".GuardError} as {@link createTestIssuer} does.
 */
export declare function startTestIssuer(options?: TestIssuerOptions): Promise<RunningTestIssuer>

/**
 * A clock that runs ahead of the machine's. It goes on by itself, too: it is an offset.
 *
 * Every guard of this thread follows it, with a memory store: lifetimes of tokens, of their cache
 * and of keys; windows, blocks, signals and lists; revocations, sessions and DPoP proofs; `time` in
 * policies. Timers do not: requests that a limit delays, and the timeouts of bodies, stores and
 * issuers, wait as long as ever. Neither does `Date` in JavaScript.
 */
export interface TestClock {
  /** The time that guards see. */
  now(): Date
  /**
   * Moves the clock on.
   *
   * @param span for instance `'15m'`.
   * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT`; `ERR_TESTING` while a guard of
   *   this thread has a shared store, and beyond 100 years.
   */
  advance(span: Duration): void
  /**
   * Moves the clock on to a time. It can't go back.
   *
   * @param time a `Date`, or text that `Date.parse` takes.
   * @throws {@link "keepstone".GuardError} as {@link TestClock.advance} does;
   *   `ERR_INVALID_ARGUMENT` for a time that has passed.
   */
  set(time: Date | string): void
  /**
   * Goes back to the time of the machine. What a guard has counted, issued and revoked before then
   * lies ahead, and holds until the machine has caught up: close such guards.
   */
  release(): void
}

/**
 * The test clock of this thread, at the time of the machine or where another call has left it.
 * Worker threads have clocks of their own. Outside of a test runner it warns with
 * `GUARD_TEST_CLOCK`.
 *
 * ```ts
 * const clock = createTestClock()
 * clock.advance('15m')
 * clock.release()
 * ```
 *
 * @throws {@link "keepstone".GuardError} `ERR_TESTING` where `NODE_ENV` is `'production'`, and
 *   while a guard of this thread has a shared store, which keeps its own time.
 */
export declare function createTestClock(): TestClock

/**
 * Forgets everything that a guard has in memory: counts, blocks, lists, signals, changed limits,
 * revocations and sessions. Guards that share its memory by name forget it, too. Proofs of DPoP
 * stay used.
 *
 * @param guard what `createGuard` has returned.
 * @throws {@link "keepstone".GuardError} `ERR_TESTING` where `NODE_ENV` is `'production'`, and
 *   where the guard has a shared store: give each test run a `prefix` of its own; `ERR_CLOSED`;
 *   `ERR_INVALID_ARGUMENT` for what is no guard.
 */
export declare function resetGuard(guard: Guard): void

/** What a client can send requests to. */
export type TestTarget = HttpServer | RequestListener | FastifyLike | string | URL

/** An application of Fastify. */
export interface FastifyLike {
  ready(): PromiseLike<unknown>
  readonly server: object
}

/** Who a client is. */
export interface TestClientOptions {
  /**
   * The origin of the application as a browser would see it: `Host` names it, pages have it, and
   * cookies belong to it. With `https` cookies with `Secure` and `__Host-` are kept, although the
   * requests are sent over plain http.
   * @default 'https://app.test'
   */
  readonly origin?: string
  /**
   * Whether requests look as those of a page: with `Origin` and Fetch Metadata. Without, the client
   * is a program; cookies are kept all the same.
   * @default true
   */
  readonly browser?: boolean
  /** Headers of every request. */
  readonly headers?: { readonly [name: string]: string }
}

/**
 * What a client sends as a body. Text and bytes go as they are, `FormData`, `URLSearchParams` and
 * `Blob` as `fetch` sends them; plain objects, lists, numbers, booleans and null become JSON.
 */
export type TestBody = string | number | boolean | object | null

/** One request of a client. */
export interface TestRequest {
  /**
   * The method.
   * @default 'GET'
   */
  readonly method?: string
  /** Headers, in the place of those that the client sends by itself; `undefined` leaves one out. */
  readonly headers?: { readonly [name: string]: string | undefined } | Headers | Iterable<readonly [string, string]>
  /** The body, with its type where no header has it. */
  readonly body?: TestBody
  /**
   * `'cors'`: a script sends it. `'navigate'`: a link or a form of the page leads there.
   * @default 'cors'
   */
  readonly mode?: 'cors' | 'navigate'
  /** Aborts the request. */
  readonly signal?: AbortSignal
}

/** A cookie that a client keeps. */
export interface TestCookie {
  readonly name: string
  readonly value: string
  readonly path: string
  readonly secure: boolean
  readonly httpOnly: boolean
  /** Left out where the server has set none. */
  readonly sameSite?: 'strict' | 'lax' | 'none'
  /** When it ends, by the test clock where there is one; left out for a cookie of the session. */
  readonly expires?: Date
}

/** The cookies of a client. */
export interface TestCookies {
  /** The cookie of this name, undefined where there is none or it has ended. */
  get(name: string): TestCookie | undefined
  /** All cookies. */
  all(): readonly TestCookie[]
  /**
   * Keeps a cookie as if an answer had set it.
   *
   * @param line as in `Set-Cookie`.
   * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT` where a browser would drop it.
   */
  set(line: string): void
  /** Drops all cookies. */
  clear(): void
  /** The cookies that answers have set and a browser would drop, and why. */
  readonly rejected: readonly { readonly name: string; readonly why: string }[]
}

/** A client of a server under test. Redirects are not followed, and no preflight is sent. */
export interface TestClient {
  /**
   * Sends a request, with a path that begins with `/`, and reads the whole answer.
   *
   * @returns a promise of a `Response`.
   * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT`, `ERR_UNKNOWN_OPTION`; the error
   *   of node:http where no answer comes.
   */
  fetch(path: string, request?: TestRequest): Promise<Response>
  /** As {@link TestClient.fetch}, with GET. */
  get(path: string, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with HEAD. */
  head(path: string, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with OPTIONS. */
  options(path: string, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with POST and a body. */
  post(path: string, body?: TestBody, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with PUT and a body. */
  put(path: string, body?: TestBody, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with PATCH and a body. */
  patch(path: string, body?: TestBody, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** As {@link TestClient.fetch}, with DELETE, and a body where one is given. */
  delete(path: string, body?: TestBody, request?: Omit<TestRequest, 'method' | 'body'>): Promise<Response>
  /** The cookies that the server has set. */
  readonly cookies: TestCookies
  /**
   * The same server with a token in `Authorization` (`Bearer`), and no cookies yet.
   *
   * @param token the token, or what `guard.tokens.issue` resolves to.
   */
  as(token: string | { readonly accessToken: string }): TestClient
  /**
   * The same browser, with the page of another origin: it sends that `Origin` and its Fetch
   * Metadata, and the cookies that `SameSite` lets through. A cookie without `SameSite` goes along,
   * as in Firefox and Safari. Two hosts are one site where their last two labels are the same.
   *
   * @param page an origin such as `'https://evil.test'`, or `'null'` for a sandboxed page.
   */
  from(page: string): TestClient
  /**
   * Closes its connections, and the server where the client has started it. Views by `as` and
   * `from` are closed with it.
   */
  close(): Promise<void>
}

/**
 * A client of a server under test.
 *
 * ```ts
 * const client = createTestClient(app)
 * const response = await client.post('/orders', { sku: 'a-1' })
 * await client.close()
 * ```
 *
 * @param target a server of node:http, a handler such as an Express app, a Fastify app, or the
 *   http URL of a server that listens. What does not listen yet is started on a free port of
 *   127.0.0.1 with the first request, and keeps no process alive.
 * @param options `{}` by default.
 * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT`, `ERR_INVALID_OPTION`,
 *   `ERR_UNKNOWN_OPTION`.
 */
export declare function createTestClient(target: TestTarget, options?: TestClientOptions): TestClient

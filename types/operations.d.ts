// Queries and changes of a guard outside of a request.

import type { ClientsOptions } from './clients'
import type { Duration } from './config'
import type { GuardError, TokenErrorCode } from './errors'
import type { Guard } from './guard'
import type { ConcurrencyLimit, ConcurrencyTier, RateLimitPolicy, RateLimitTier } from './limit'
import type { JwkSet } from './token'

/**
 * The rate limits outside of a request: those of the guard and of all its stacks and layers,
 * mounted or not. Every method rejects with {@link GuardError} `ERR_UNKNOWN_LIMIT` for a name that
 * no policy has, and with `ERR_INVALID_ARGUMENT` for an unusable key or number.
 *
 * `consume` and `get` apply to the policy's own limit; the other methods apply to the key in every
 * tier.
 *
 * A {@link ConcurrencyLimit} supports only `get`, `set` and `reset`: `consume`, `penalize`,
 * `reward` and `block` of its keys reject with `ERR_INVALID_ARGUMENT`, and `signal` does not affect
 * it.
 */
export interface Limits {
  /**
   * Uses `cost` units (1; 0 to 4294967295) of `key`, or none if fewer are left.
   * @param key for `'ip'` the address, for `'user'` the subject, for `'token'` the `jti`, for a
   *   function the value that it would return.
   */
  consume(name: string, key: LimitKey, cost?: number): Promise<KeyState>
  /** The state of `key`, and whether a request of cost 1 would be admitted; uses nothing. */
  get(name: string, key: LimitKey): Promise<KeyState>
  /** Takes `cost` units (1) from `key`, even if fewer are left; at most all of them. */
  penalize(name: string, key: LimitKey, cost?: number): Promise<void>
  /** Gives `cost` units (1) back to `key`; at most as many as it has used. */
  reward(name: string, key: LimitKey, cost?: number): Promise<void>
  /**
   * Refuses `key` for a time from now, 1 ms to 400 days, regardless of its remaining units.
   * Replaces an earlier block. Rejects with `ERR_INVALID_OPTION` for an invalid time.
   */
  block(name: string, key: LimitKey, duration: Duration): Promise<void>
  /**
   * Refuses a client for a time from now, 1 ms to 400 days, with 403 `client_blocked`. An address
   * (IPv6: its network of `ipv6Prefix`) or a network is refused before its token is checked, a user
   * as soon as the token has identified it. The block applies to all guards over the same store: at
   * once in this process, and with Redis within 3 s in all others. If both lists match, the longest
   * network decides, as in {@link ClientsOptions}. Of two calls for one client, the later one
   * applies.
   *
   * With Redis it rejects with `ERR_STORE_UNAVAILABLE` if the block could not be published to the
   * other processes; it still applies here. With Memcached it applies to this process alone.
   *
   * @param reason for the `log` event only, at most 200 bytes.
   */
  block(client: ClientRef, ttl: Duration, reason?: string): Promise<void>
  /**
   * Exempts a client from limits and blocks for a time. Otherwise as {@link Limits.block}.
   */
  allow(client: ClientRef, ttl: Duration): Promise<void>
  /**
   * Makes the limits of a client stricter or looser for a while, for example after a failed or
   * passed CAPTCHA. It affects the limits that count by its address, user or token alone
   * (`key: 'ip'`, `'user'` or `'token'`), or the one named `policy`. With `factor` 0.1 a window has
   * a tenth of its `limit` (at least 1). For GCRA and the buckets a request costs ten times as much
   * (at most everything, so that one passes eventually). Units already counted stay. A later signal
   * for the same client replaces an earlier one; `factor` 1 removes it.
   *
   * With Redis it applies to all processes: at once for limits that send a store command for every
   * request, within a second for others. While the store is unavailable, processes that count alone
   * do not apply it.
   */
  signal(client: SignalRef, options: SignalOptions): Promise<void>
  /**
   * Changes the figures of a limit of this guard at run time: at once in this process, and with
   * Redis within 3 s in all others. With Memcached it applies to this process alone. If `window`,
   * `burst` or `tiers` is left out, its configured value stays. The figures are checked as when a
   * guard is built. Counters start again from zero. For a {@link ConcurrencyLimit} it changes
   * `concurrent` and `tiers`, and requests in flight still count. The change lasts for at most 400
   * days, also for processes that start later, as long as they configure the limit as this process
   * does: a deployment with other options overrides it.
   */
  set(policy: LimitChange): Promise<void>
  /**
   * Removes the effect of `block` or `allow` on a client. Entries in {@link ClientsOptions} stay.
   */
  unblock(client: ClientRef): Promise<void>
  /**
   * Clears the used units of `key`, and its block. For a {@link ConcurrencyLimit} it frees all
   * slots; with Redis, requests that are still in flight take theirs again within half of its
   * `timeout`.
   */
  reset(name: string, key: LimitKey): Promise<void>
}

/** The state of a key. */
export interface KeyState {
  /** Whether the request is admitted (for `get`: whether a request of cost 1 would be). */
  readonly allowed: boolean
  /** The units that the key may use per window. */
  readonly limit: number
  /** The units left now; 0 while the key is blocked. */
  readonly remaining: number
  /** Seconds until more units are refilled; 0 if none are used. */
  readonly reset: number
  /** Seconds until the refused request would be admitted; 0 if `allowed`. */
  readonly retryAfter: number
  /** Seconds until a block by {@link Limits.block} ends; 0 without a block. */
  readonly blockedFor: number
  /**
   * The number of requests in flight; only for a {@link ConcurrencyLimit}. It may exceed `limit`
   * after `set`.
   */
  readonly taken?: number
}

/** A client: an address, a network in CIDR form, or a user by the token's `sub`. */
export type ClientRef = string | { readonly user: string }

/** A client: an address, a user by the token's `sub`, or a token by its `jti`. */
export type SignalRef = string | { readonly user: string } | { readonly token: string }

/** The change that {@link Limits.signal} makes. */
export interface SignalOptions {
  /** The multiplier of each limit; 0.01 to 10, in thousandths. */
  readonly factor: number
  /** The duration; 1 ms to 400 days. */
  readonly ttl: Duration
  /** The one limit to change. Left out: all limits that count by this client alone. */
  readonly policy?: string
}

/** New figures for a limit, of its kind. */
export type LimitChange = RateLimitChange | ConcurrencyLimitChange

/** New numbers of slots; each as in {@link ConcurrencyLimit}. */
export interface ConcurrencyLimitChange {
  /** The name of the limit. */
  readonly name: string
  readonly concurrent: number
  readonly tiers?: Readonly<Record<string, ConcurrencyTier>>
  readonly limit?: never
}

/** New figures for a limit per time; each as in {@link RateLimitPolicy}. */
export interface RateLimitChange {
  /** The name of the limit. */
  readonly name: string
  readonly limit: number
  readonly window?: Duration
  readonly burst?: number
  readonly tiers?: Readonly<Record<string, RateLimitTier>>
  readonly concurrent?: never
}

/**
 * The key of a counter: one text, or one for each part of the policy's `key`, in its order.
 */
export type LimitKey = string | readonly [string, ...string[]]

/**
 * Claims to issue: JSON values, with a `Date` as its ISO 8601 text. Functions, `NaN`, `Buffer`s,
 * class instances and the like are refused. So is a claim that is `undefined`: leave it out. The
 * guard sets `iss`, `iat`, `exp` and `jti`; leave them out. Leave out `aud` as well, unless it is
 * one of several audiences.
 */
export interface IssueClaims {
  /** The subject of the token (RFC 7519 section 4.1.2). */
  readonly sub?: string
  /**
   * The session of the token, for {@link Revoke.session}. A session has one refresh token: another
   * login with the same `sid` replaces the earlier one.
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
   * The lifetime of the token, without fractions of a second; 1 s to the guard's
   * `jwt.maxLifetime`.
   * @default '15m', or `jwt.maxLifetime` if that is shorter
   */
  readonly expiresIn?: Duration
  /**
   * Whether to issue a refresh token too.
   * @default true if `jwt.refresh` is set
   */
  readonly refresh?: boolean
}

/** Options of {@link Tokens.refresh}. */
export interface RefreshTokenOptions {
  /**
   * Returns the claims of the new access token, given those that the session began with; for roles
   * that change. They apply to this token alone; `sub` and `sid` stay the same. If it throws, the
   * refresh rejects with that error, and the same token may be used again within `reuseWindow`.
   * @default the claims of the session
   */
  readonly claims?: ((claims: IssueClaims) => IssueClaims | void | Promise<IssueClaims | void>)
}

/**
 * An issued token, in the member names of an OAuth 2.0 token response (RFC 6749 section 5.1),
 * camel-cased.
 */
export interface IssuedToken {
  readonly accessToken: string
  /**
   * Valid for one use of {@link Tokens.refresh}; only if `jwt.refresh` is set. Opaque: `ksr_` and
   * 86 characters.
   */
  readonly refreshToken?: string
  /** In seconds. */
  readonly expiresIn: number
  /**
   * The scheme to send it with: `'DPoP'` if its claims have `cnf.jkt` (RFC 9449 section 5), else
   * `'Bearer'`.
   */
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
 * Tokens outside of a request. Every failure rejects with {@link GuardError}; a guard without `jwt`
 * fails with `ERR_MISSING_OPTION`.
 */
export interface Tokens {
  /**
   * Issues a signed token of at most 8 KiB. Rejects
   *
   * - with `ERR_MISSING_OPTION` if the guard has no secret and no private key;
   * - with `ERR_INVALID_ARGUMENT` for claims that JSON can't represent or that the guard would not
   *   verify;
   * - with `ERR_INVALID_OPTION` for claims that are not an object and for an `expiresIn` out of its
   *   range.
   */
  issue(claims: IssueClaims, options?: IssueOptions): Promise<IssuedToken>
  /**
   * Exchanges a refresh token for the next pair of tokens, with the claims and the lifetime of
   * {@link Tokens.issue}. Each token is valid for one use; within `jwt.refresh.reuseWindow` it
   * yields the same successor again.
   *
   * Rejects
   *
   * - with 401 `ERR_REFRESH_INVALID` for an invalid or expired token;
   * - with 401 `ERR_REFRESH_REUSED` for a replay, which has ended the session, including its access
   *   tokens;
   * - with 401 `token_revoked` if its subject was revoked;
   * - with 503 `ERR_STORE_UNAVAILABLE` or `revocation_stale` without the store. The same token may
   *   then be used again within `reuseWindow`, or later if the store was not reached.
   */
  refresh(refreshToken: string, options?: RefreshTokenOptions): Promise<IssuedToken>
  /**
   * Makes the next signing key sign now. Use it for a leaked key, then revoke that key with
   * {@link Revoke.key}. Other processes must first read a next key that is younger than two
   * minutes: `from` is the second from which it signs. Rejects with `ERR_MISSING_OPTION` without
   * `jwt.rotation`, with 503 `ERR_KEY_STORAGE` if it can't be saved or there are already 100 keys,
   * and with errors that the application's `load` or `save` throws.
   */
  rotate(): Promise<{ readonly kid: string; readonly from: number }>
  /**
   * Verifies a token like a request's token, including revocation. Rejects with a
   * {@link TokenErrorCode}. A token that is bound to a key or a certificate rejects with
   * `token_bound`, since no request proves possession of it.
   */
  verify(token: string): Promise<Claims>
  /**
   * The public keys, including those that are not in force yet. It never includes secrets.
   *
   * @throws {@link GuardError} `ERR_MISSING_OPTION` if the guard has no `jwt`.
   */
  jwks(): JwkSet
}

/**
 * Revocation of tokens, on a guard with `jwt` and `revocation`; on others each call rejects with
 * `ERR_MISSING_OPTION`. Each promise resolves when the revocation is stored and in force: later
 * requests are refused with 401 `token_revoked`. Guards and worker threads with the same
 * `store.memory.shared` and `jwt.issuer` share one list.
 *
 * With a `redis` store all processes share one list. A promise resolves when the store has the
 * revocation. It is then in force in this process; the others apply it within milliseconds, and
 * within `maxStaleness` at the latest. The promise rejects with `ERR_STORE_UNAVAILABLE` if the
 * store has not acknowledged it: this process refuses the token all the same, but call again, or
 * the other processes may never receive the revocation.
 *
 * With several issuers, each has its own list, and {@link RevokeOptions} must name the issuer of
 * the token, subject, session or key, unless the whole token is given: two issuers may use the same
 * name.
 *
 * At most 5000000 tokens, 1000000 subjects, 1000000 sessions and 10000 keys can be revoked at one
 * time. Beyond that, and for an invalid time, a promise rejects with `ERR_INVALID_ARGUMENT`, and no
 * earlier revocation is dropped.
 */
export interface Revoke {
  /**
   * One token.
   * @param token the token itself, or its `jti`.
   * @param exp when the token expires: a `Date`, or seconds since the Unix epoch. It is read from
   *   the token if the whole token is given; for a `jti` the default is `jwt.maxLifetime` from now.
   * @throws {@link GuardError} (the promise rejects) a {@link TokenErrorCode} for a token that is
   *   not this guard's; an expired one is accepted.
   */
  token(token: string, exp?: Date | number, options?: RevokeOptions): Promise<void>
  /**
   * Every token of a subject issued until now, including this second, and the refresh tokens of
   * sessions that began until then. A token that {@link Tokens.issue} makes afterwards is accepted.
   * @param before the latest `iat` to revoke: a `Date`, or seconds since the Unix epoch; not in the
   *   future. Left out: now, or the latest time that this process's clock had shown if it was set
   *   back by up to a minute. If it was set back by more, the promise rejects with `ERR_CLOCK`
   *   until the clock has caught up.
   */
  subject(sub: string, before?: Date | number, options?: RevokeOptions): Promise<void>
  /**
   * Every token with this `sid` claim, including those issued later, for `jwt.maxLifetime` from
   * now, and its refresh token.
   */
  session(sid: string, options?: RevokeOptions): Promise<void>
  /**
   * Every token that this key signed or will sign, as long as the list exists: in memory, as long
   * as a guard or worker thread shares it.
   */
  key(kid: string, options?: RevokeOptions): Promise<void>
}

/** Selects the issuer whose tokens are revoked. */
export interface RevokeOptions {
  /**
   * An issuer by its name in `jwt`, `'api-key'` or `'identify'`. May be left out if there is only
   * one.
   */
  readonly issuer?: string
}

/** The policy outside of a request. */
export interface Policy {
  /**
   * Evaluates the policy.
   *
   * @param input the policy's `input`, as JSON values. A member that is `undefined` is refused:
   *   leave it out, or write null.
   * @param query the rule, e.g. `'data.httpapi.authz.allow'`. Left out: the guard's `policy.query`.
   * @throws {@link GuardError} (the promise rejects) `ERR_MISSING_OPTION` if the guard has no
   *   `policy`, `ERR_INVALID_OPTION` for a `query` that is not one of its rules, and
   *   `ERR_INVALID_ARGUMENT` for an `input` that JSON can't represent.
   */
  evaluate(input: unknown, query?: string): Promise<PolicyDecision>
}

/** The decision of a policy. */
export interface PolicyDecision {
  /** Whether it allows the request. */
  readonly allow: boolean
  /** The reasons that it returned; at most 16. */
  readonly reasons: readonly string[]
  /** Why it could not be evaluated, or `null`. A request is then refused with 503. */
  readonly fault: 'time_limit' | 'evaluation' | 'panic' | 'not_a_decision' | 'foreign_query' | null
}

/** The report of {@link Guard.health}. */
export interface HealthReport {
  /**
   * Whether the guard has started: the store has answered, and every issuer has provided keys, at
   * least once. It never becomes false again: see `store.available`, `revocation.state` and
   * `issuers` for the current state.
   */
  readonly ready: boolean
  /** The issuers of `jwt`, in their order; empty without it. */
  readonly issuers: readonly IssuerHealth[]
  /** The store of the counters. */
  readonly store: {
    readonly kind: 'memory' | 'redis' | 'memcached'
    /** The bytes that it uses in this process now. */
    readonly bytes: number
    /** The most bytes that it may use here. */
    readonly maxBytes: number
    /**
     * The number of keys that it counts here; for a shared store, the number of keys with local
     * state.
     */
    readonly keys: number
    /**
     * Whether it answers; of several servers, whether any does. `false` until one has answered.
     * Only for a shared store.
     */
    readonly available?: boolean
    /**
     * The number of its servers that do not answer: primaries of a cluster, or servers of
     * Memcached. Cluster slots without a primary count as one more. Limits with keys there follow
     * their `onStoreFailure`; all others are counted as usual. Only for a shared store.
     */
    readonly away?: number
    /**
     * The number of processes last seen to share it, including this one. Only for a shared store.
     */
    readonly instances?: number
    /** The number of store commands in flight. Only for a shared store. */
    readonly waiting?: number
    /**
     * Why it is unavailable, or gave no answer last time; `null` once it answers. Of several
     * servers, the error of the first unavailable one. Only for a shared store.
     */
    readonly error?: StoreError | null
    /**
     * Milliseconds that its clock is ahead of this process's; negative if it is behind. `null`
     * before it has answered. Limits use its clock; `exp` and `iat` of tokens use this process's.
     * Only for a shared store.
     */
    readonly clockSkewMs?: number | null
  }
  /** The number of revocations kept; `null` if `jwt` or `revocation` is off. */
  readonly revoked: RevocationCounts | null
  /** The state of this process's replica of a shared revocation list; `null` without one. */
  readonly revocation: {
    /**
     * `'fresh'`: it is used for decisions. `'stale'`: older than `maxStaleness`. `'not-ready'`: not
     * yet read completely.
     */
    readonly state: 'fresh' | 'stale' | 'not-ready'
    /** Milliseconds since the replica was last complete for certain; `null` if it never was. */
    readonly age: number | null
    /** Entries that the store has lost and that have not been restored yet. */
    readonly missing: number
  } | null
}

/**
 * Why a shared store is unavailable. The word is stable; docs/guides/operations.md lists a remedy
 * for each, and the warning `GUARD_STORE_AWAY` has it as a sentence.
 */
export type StoreError =
  | 'name'
  | 'refused'
  | 'network'
  | 'timeout'
  | 'tls'
  | 'certificate'
  | 'certificate-name'
  | 'password-missing'
  | 'password-wrong'
  | 'permission'
  | 'database'
  | 'connections'
  | 'read-only'
  | 'memory'
  | 'disk'
  | 'loading'
  | 'busy'
  | 'replicas'
  | 'sentinel-name'
  | 'not-primary'
  | 'not-cluster'
  | 'cluster'
  | 'slots'
  | 'scripts'
  | 'protocol'
  | 'too-large'
  | 'error'

/** The state of an issuer's keys. */
export interface IssuerHealth {
  /** The name in `jwt`. */
  readonly issuer: string
  /**
   * `'ready'`: its keys are in the options, or the last fetch succeeded. `'failing'`: the last
   * fetch failed, and the cached keys are used. `'stale'`: the cached keys are older than
   * `staleFor`, and its tokens are refused with 503. `'not-ready'`: the issuer, or `load` of
   * `jwt.rotation`, has not provided any keys yet. Without keys, it is the state of
   * `introspection`.
   */
  readonly state: 'ready' | 'failing' | 'stale' | 'not-ready'
  /** The number of cached keys. */
  readonly keys: number
  /**
   * Milliseconds since the last successful fetch; `null` for never, and for keys in the options.
   */
  readonly age: number | null
  /** Why the last fetch failed; `null` if it succeeded. */
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
    | 'headers'
    | null
  /** The state of its introspection endpoint; `null` without one. */
  readonly introspection: IntrospectionHealth | null
  /**
   * The keys of its set that can't be used, at most 10: the position in `keys`, from 0, and the
   * reason.
   */
  readonly leftOut: readonly { readonly index: number; readonly reason: string }[]
}

/** The state of an introspection endpoint. */
export interface IntrospectionHealth {
  /**
   * `'failing'`: it gives no clear answers, also about a token that the guard makes up, and is
   * asked about no other until it does. Tokens that it has judged within `cacheFor` are accepted.
   */
  readonly state: 'ready' | 'failing'
  /** The last error; `null` if there was none, and once it is over. */
  readonly error:
    | 'timeout'
    | 'network'
    | 'tls'
    | 'redirect'
    | 'status'
    | 'too-large'
    | 'content-type'
    | 'malformed'
    | 'credulous'
    | 'headers'
    | null
  /** Milliseconds since the last clear answer; `null` for never. */
  readonly age: number | null
  /** The number of questions in flight, at most 65. */
  readonly inFlight: number
  /** The number of requests that wait for an answer, at most 2,048. */
  readonly waiting: number
}

/** The number of revocations kept; expired ones are counted until the next sweep. */
export interface RevocationCounts {
  /** Single tokens. */
  readonly tokens: number
  readonly subjects: number
  readonly sessions: number
  readonly keys: number
}

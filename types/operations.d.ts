// What can be asked and told of a guard outside of a request.

import type { ClientsOptions } from './clients'
import type { Duration } from './config'
import type { GuardError, TokenErrorCode } from './errors'
import type { Guard } from './guard'
import type { ConcurrencyLimit, ConcurrencyTier, RateLimitPolicy, RateLimitTier } from './limit'
import type { JwkSet } from './token'

/**
 * The rate limits outside of a request: those of the guard and of all its stacks and layers, also
 * of such as are mounted nowhere. Every method rejects with {@link GuardError} `ERR_UNKNOWN_LIMIT`
 * for a name that no policy has, and `ERR_INVALID_ARGUMENT` for an unusable key or number.
 *
 * `consume` and `get` are about the policy's own limit; the others reach the key in every tier.
 *
 * Of a {@link ConcurrencyLimit} only `get`, `set` and `reset` can be asked: `consume`, `penalize`,
 * `reward` and `block` of its keys reject with `ERR_INVALID_ARGUMENT`, and `signal` does not reach
 * it.
 */
export interface Limits {
  /**
   * Uses `cost` units (1; 0 to 4294967295) of `key`, or none where they are not there.
   * @param key for `'ip'` the address, for `'user'` the subject, for `'token'` the `jti`, for a
   *   function what it would return.
   */
  consume(name: string, key: LimitKey, cost?: number): Promise<KeyState>
  /** How `key` stands, and whether a request of cost 1 would be admitted; uses nothing. */
  get(name: string, key: LimitKey): Promise<KeyState>
  /** Takes `cost` units (1) from `key` whether it has them or not; at most everything is taken. */
  penalize(name: string, key: LimitKey, cost?: number): Promise<void>
  /** Gives `cost` units (1) back to `key`; at most what it has used. */
  reward(name: string, key: LimitKey, cost?: number): Promise<void>
  /**
   * Refuses `key` for a time from now, 1 ms to 400 days, whatever it has left. Replaces an earlier
   * block. Rejects with `ERR_INVALID_OPTION` for what is no such time.
   */
  block(name: string, key: LimitKey, duration: Duration): Promise<void>
  /**
   * Refuses a client for a time from now, 1 ms to 400 days, with 403 `client_blocked`: an address
   * (IPv6: its /56) or a network before its token is looked at, a user as soon as the token has
   * told who it is. It holds for all guards over the same store: at once in this process, and with
   * Redis within 3 s in all others. Of two lists, the longest network decides, as in {@link
   * ClientsOptions}; of two calls for one client, the later one.
   *
   * With Redis it rejects with `ERR_STORE_UNAVAILABLE` where the others could not be told; it holds
   * here all the same. With Memcached it holds in this process alone.
   *
   * @param reason for the `log` event alone, at most 200 bytes.
   */
  block(client: ClientRef, ttl: Duration, reason?: string): Promise<void>
  /**
   * Does not limit a client for a time, and does not refuse it either. As {@link Limits.block} in
   * all else.
   */
  allow(client: ClientRef, ttl: Duration): Promise<void>
  /**
   * Makes the limits of a client tighter or wider for a while, say after a CAPTCHA that failed or
   * was passed: those that count by its address, user or token alone (`key: 'ip'`, `'user'` or
   * `'token'`), or the one named `policy`. With `factor` 0.1 a window has a tenth of its `limit`
   * (at least 1), and for GCRA and the buckets a request costs ten times as much (at most
   * everything, so that one passes in the end). What was counted stays. A later signal for the same
   * client takes the place of an earlier one; `factor` 1 takes it back.
   *
   * With Redis it holds in all processes: at once for limits that ask for every request, within a
   * second for others. While the store is away, processes that count alone do not know of it.
   */
  signal(client: SignalRef, options: SignalOptions): Promise<void>
  /**
   * Gives a limit of this guard other figures while it runs: at once in this process, and with
   * Redis within 3 s in all others. What is left out of `window`, `burst` and `tiers` stays as it
   * was configured; the figures are checked as they are when a guard is built. Counts begin anew.
   * It holds for 400 days at most, also for processes that start later, as long as the limit is
   * configured as it is here: a deploy with other options wins. With Memcached it holds in this
   * process alone. Of a {@link ConcurrencyLimit} it takes `concurrent` and `tiers`, and requests
   * under way still count.
   */
  set(policy: LimitChange): Promise<void>
  /**
   * Takes back what `block` or `allow` has said of a client. What stands in {@link ClientsOptions}
   * stays.
   */
  unblock(client: ClientRef): Promise<void>
  /**
   * Forgets what `key` used, and its block. Of a {@link ConcurrencyLimit} it frees all places; with
   * Redis, requests that are still under way take theirs again within half of its `timeout`.
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
  /**
   * Of a {@link ConcurrencyLimit}, and there alone: how many requests are under way. It may be more
   * than `limit` after `set`.
   */
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
  readonly policy?: string
}

/** Other figures for a limit, of its kind. */
export type LimitChange = RateLimitChange | ConcurrencyLimitChange

/** Other places; each as in {@link ConcurrencyLimit}. */
export interface ConcurrencyLimitChange {
  /** Which limit. */
  readonly name: string
  readonly concurrent: number
  readonly tiers?: Readonly<Record<string, ConcurrencyTier>>
  readonly limit?: never
}

/** Other figures for a limit in time; each as in {@link RateLimitPolicy}. */
export interface RateLimitChange {
  /** Which limit. */
  readonly name: string
  readonly limit: number
  readonly window?: Duration
  readonly burst?: number
  readonly tiers?: Readonly<Record<string, RateLimitTier>>
  readonly concurrent?: never
}

/**
 * What a limit counts apart: one text, or one for each part of the policy's `key`, in its order.
 */
export type LimitKey = string | readonly [string, ...string[]]

/**
 * Claims to issue: what JSON can say, with a `Date` as its ISO 8601 text; functions, `NaN`,
 * `Buffer`s, instances of classes and the like are refused, and so is a claim that is `undefined`:
 * leave it out. `iss`, `iat`, `exp` and `jti` are set by the guard and left out here; so is `aud`,
 * unless it is one of several audiences.
 */
export interface IssueClaims {
  /** Whom the token is about (RFC 7519 section 4.1.2). */
  readonly sub?: string
  /**
   * The session it belongs to, for {@link Revoke.session}. A session has one refresh token: another
   * login with the same `sid` takes the place of the one before.
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
   * How long the token lives, without fractions of a second; 1 s to the guard's
   * `jwt.maxLifetime`.
   * @default '15m', or `jwt.maxLifetime` where that is less
   */
  readonly expiresIn?: Duration
  /**
   * Whether to give a refresh token too.
   * @default true where `jwt.refresh` is set
   */
  readonly refresh?: boolean
}

/** Options of {@link Tokens.refresh}. */
export interface RefreshTokenOptions {
  /**
   * Gives the claims of the new access token for those that the session began with, for roles that
   * change. They hold for this token alone; `sub` and `sid` stay as they are. What it throws
   * rejects the refresh, and the same token may be used again within `reuseWindow`.
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
   * Good for one use, of {@link Tokens.refresh}; only where `jwt.refresh` is set. Opaque: `ksr_`
   * and 86 characters.
   */
  readonly refreshToken?: string
  /** In seconds. */
  readonly expiresIn: number
  /**
   * How it is sent: `'DPoP'` where its claims have `cnf.jkt` (RFC 9449 section 5), else `'Bearer'`.
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
   * Issues a signed token, of at most 8 KiB. Rejects with `ERR_MISSING_OPTION` where the guard has
   * no secret and no private key, with `ERR_INVALID_ARGUMENT` for claims that JSON has no word for
   * or that the guard would not verify, and with `ERR_INVALID_OPTION` for claims that are no object
   * and for an `expiresIn` out of its range.
   */
  issue(claims: IssueClaims, options?: IssueOptions): Promise<IssuedToken>
  /**
   * Takes a refresh token and gives the next pair, with the claims, and for as long, as {@link
   * Tokens.issue} did. Each token is good for one use; within `jwt.refresh.reuseWindow` it gives
   * the same successor again.
   *
   * Rejects with 401 `ERR_REFRESH_INVALID` for what is no token, or none any more; with 401
   * `ERR_REFRESH_REUSED` for a replay, which has ended the session, its access tokens included;
   * with 401 `token_revoked` where its subject was revoked. Without the store with 503
   * `ERR_STORE_UNAVAILABLE` or `revocation_stale`: within `reuseWindow` the same token may be used
   * again, and for longer where the store was not reached.
   */
  refresh(refreshToken: string, options?: RefreshTokenOptions): Promise<IssuedToken>
  /**
   * Lets the next signing key sign now: for a key that has leaked, which {@link Revoke.key} then
   * revokes. A next key that is younger than two minutes has to be read by other processes first:
   * `from` is the second from which it signs. Rejects with `ERR_MISSING_OPTION` without
   * `jwt.rotation`, with 503 `ERR_KEY_STORAGE` where it can't be saved or there are 100 keys
   * already, and with what the application's `load` or `save` throws.
   */
  rotate(): Promise<{ readonly kid: string; readonly from: number }>
  /**
   * Verifies a token as a request's token is, revocation included. Rejects with a {@link
   * TokenErrorCode}; with `token_bound` for a token that is bound to a key or a certificate, since
   * there is no request that shows it.
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
 * Taking tokens back, on a guard with `jwt` and `revocation`; others reject with
 * `ERR_MISSING_OPTION`. Each promise resolves when the revocation is stored and in force: a request
 * that starts afterwards is refused with 401 `token_revoked`. Guards and worker threads with the
 * same `store.memory.shared` and `jwt.issuer` have one list.
 *
 * With a `redis` store all processes have one list. A promise resolves when the store has the
 * revocation, which is then in force in this process, within milliseconds in the others, and after
 * `maxStaleness` at the latest. It rejects with `ERR_STORE_UNAVAILABLE` where the store has not
 * said that it has it: the token is refused here all the same, but call again, or the others may
 * never hear of it.
 *
 * With several issuers each has a list of its own, and {@link RevokeOptions} must say whose token,
 * subject, session or key is meant, unless the whole token is given: two issuers may well use one
 * name.
 *
 * At most 5000000 tokens, 1000000 subjects, 1000000 sessions and 10000 keys are revoked at one
 * time; beyond that, and for a time that is none, a promise rejects with `ERR_INVALID_ARGUMENT`,
 * and nothing is forgotten for it.
 */
export interface Revoke {
  /**
   * One token.
   * @param token the token itself, or its `jti`.
   * @param exp when the token expires: a `Date`, or seconds since the Unix epoch. Read from the
   *   token where that is given; with a `jti`, left out means `jwt.maxLifetime` from now.
   * @throws {@link GuardError} (the promise rejects) a {@link TokenErrorCode} for a token that is
   *   not one of this guard's; an expired one is.
   */
  token(token: string, exp?: Date | number, options?: RevokeOptions): Promise<void>
  /**
   * Every token of a subject that was issued until now, within this second too, and the refresh
   * tokens of sessions that began until then. A token that {@link Tokens.issue} makes afterwards is
   * good.
   * @param before the latest `iat` that is meant: a `Date`, or seconds since the Unix epoch; not
   *   ahead. Left out: now, or what the clock of this process had shown, where it was set back by
   *   up to a minute. By more, the promise rejects with `ERR_CLOCK` until it has caught up.
   */
  subject(sub: string, before?: Date | number, options?: RevokeOptions): Promise<void>
  /**
   * Every token with this `sid` claim, also those issued later, for `jwt.maxLifetime` from now, and
   * its refresh token.
   */
  session(sid: string, options?: RevokeOptions): Promise<void>
  /**
   * Every token that this key signed or will sign, as long as the list is kept: in memory, by
   * whoever shares it.
   */
  key(kid: string, options?: RevokeOptions): Promise<void>
}

/** Whose tokens a revocation means. */
export interface RevokeOptions {
  /** An issuer as `jwt` names it. May be left out where there is but one. */
  readonly issuer?: string
}

/** The policy outside of a request. */
export interface Policy {
  /**
   * Asks the policy.
   *
   * @param input what the policy finds in `input`: what JSON can say. A member that is
   *   `undefined` is refused: leave it out, or write null.
   * @param query the rule, e.g. `'data.httpapi.authz.allow'`; left out: the guard's `policy.query`.
   * @throws {@link GuardError} (the promise rejects) `ERR_MISSING_OPTION` where the guard has no
   *   `policy`, `ERR_INVALID_OPTION` for a `query` that is no rule of it, and
   *   `ERR_INVALID_ARGUMENT` for an `input` that JSON has no word for.
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
  /**
   * Whether the guard has started: the store has answered, and every issuer has given keys, at some
   * time. It stays so: look at `store.available`, `revocation.state` and `issuers` for how it is
   * now.
   */
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
    /**
     * Whether it answers: of several servers, whether any does; `false` until one has. Only of a
     * shared store.
     */
    readonly available?: boolean
    /**
     * How many of its servers do not answer: primaries of a cluster, or servers of Memcached. Slots
     * of a cluster that nobody serves count as one more.
     * Limits whose keys are there do as their `onStoreFailure` says, all others are counted as
     * ever. Only of a shared store.
     */
    readonly away?: number
    /**
     * How many processes were last seen to share it, this one among them. Only of a shared store.
     */
    readonly instances?: number
    /** How many questions are on their way to it. Only of a shared store. */
    readonly waiting?: number
    /**
     * Why it is not available, or gave no answer the last time; `null` once it answers. Of several
     * servers, why the first one is away. Only of a shared store.
     */
    readonly error?: StoreError | null
    /**
     * How many milliseconds its clock is ahead of this process's; below zero where it is behind.
     * `null` before it has answered. Limits go by its clock, `exp` and `iat` of tokens by this
     * process's. Only of a shared store.
     */
    readonly clockSkewMs?: number | null
  }
  /** How many revocations are kept; `null` where `jwt` or `revocation` is off. */
  readonly revoked: RevocationCounts | null
  /** How this process's copy of a shared list of revocations is; `null` where there is none. */
  readonly revocation: {
    /**
     * `'fresh'`: it decides. `'stale'`: older than `maxStaleness`. `'not-ready'`: not read to its
     * end yet.
     */
    readonly state: 'fresh' | 'stale' | 'not-ready'
    /** Milliseconds since it was certain that nothing is missing; `null` for never. */
    readonly age: number | null
    /** Entries that the store has lost and has not been given again yet. */
    readonly missing: number
  } | null
}

/**
 * Why a shared store is not available. The word is stable; docs/guides/operations.md says what to
 * do about each, and the warning `GUARD_STORE_AWAY` has it as a sentence.
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

/** How the keys of an issuer are. */
export interface IssuerHealth {
  /** As `jwt` names it. */
  readonly issuer: string
  /**
   * `'ready'`: its keys are in the options, or the last fetch was good. `'failing'`: the last fetch
   * was not, and the keys that are known are used. `'stale'`: they are older than `staleFor`, and
   * its tokens are refused with 503. `'not-ready'`: it has given none yet, or `load` of
   * `jwt.rotation` has not.
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

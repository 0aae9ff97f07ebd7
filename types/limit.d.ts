// Options of rate limits.

import type { Duration, FromRequest } from './config'
import type { Guard } from './guard'

/**
 * A limit: of requests in a time, or of requests that are under way at once. A list may have both.
 */
export type RateLimit = RateLimitPolicy | ConcurrencyLimit

/**
 * A limit of requests in a time. Refused requests get 429 with `Retry-After` (RFC 6585 section 4).
 */
export interface RateLimitPolicy {
  /**
   * The policy's name, in headers, in `req.guard.limits` and for {@link Guard.limits}: 1 to 64
   * letters, digits, `_`, `.` or `-`. Unique within a list.
   *
   * A request that meets several stacks of one guard is counted once by each limit that was
   * declared: once by the guard's own, and once by one in a route's options, even if it has the
   * same name. Limits with the same name and figures in one store are one count, which each of them
   * charges, so give each a name of its own.
   */
  readonly name: string
  /** How many units one key may use per `window`; a whole number from 1 to 10^9. */
  readonly limit: number
  /** The time in which `limit` units come back; 10 ms to 400 days. */
  readonly window: Duration
  /**
   * How requests are counted. `'gcra'` and the buckets let a burst through and then an even rate,
   * and answer alike: three names for one rule (ITU-T I.371). `'fixed-window'` counts in windows
   * that begin at multiples of `window` since 1970 (`'1d'` is a UTC day); `'sliding-window'` adds
   * the part of the last one that is less than `window` ago.
   * @default 'gcra'
   */
  readonly algorithm?:
    | 'gcra'
    | 'token-bucket'
    | 'leaky-bucket'
    | 'fixed-window'
    | 'sliding-window'
  /**
   * How many units may be used at once by a key that was quiet; 1 to 10^9, and no more than come
   * back in 4000 days. Not for the window algorithms.
   * @default `limit`
   */
  readonly burst?: number
  /**
   * How many units a request uses: a whole number from 1 to the smallest `limit` or `burst`, or a
   * function of the request. A function that throws or returns no whole number from 0 to 4294967295
   * refuses the request with 500.
   * @default 1
   */
  readonly cost?: number | FromRequest<number>
  /**
   * What is counted apart: the client's address (IPv6 by its /56), the token's `sub`, the token (by
   * its `jti`, or a digest where it has none), the route, each combination of several, or what a
   * function of the request returns. `'user'` and `'token'` are the address where there is no such
   * thing. `'route'` is the route where the handler is mounted on one, whatever path its router is
   * mounted at (`guard.limits` can name only routes of the application itself, by their pattern);
   * elsewhere, as with `app.use`, all paths share one count. A function that throws or returns no
   * string, or an empty one, refuses the request with 500.
   * @default 'ip'
   */
  readonly key?: RateLimitKey | readonly RateLimitKey[] | FromRequest<string>
  /**
   * Other limits for tokens with a role or plan, by its name: 1 to 64, found in the claims `role`,
   * `roles` and `plan`, each a string or a list of strings. Of several the most generous counts.
   */
  readonly tiers?: Readonly<Record<string, RateLimitTier>>
  /**
   * Only requests with one of these methods (upper case) are counted; `'GET'` includes HEAD. Left
   * out: all.
   */
  readonly methods?: readonly string[]
  /**
   * Only requests to one of these paths are counted: `'/v1/login'`, or `'/v1/*'` for `/v1` and
   * everything below it. Compared with the decoded path, so that every spelling is counted; case
   * and a slash at the end make no difference. Left out: all.
   */
  readonly paths?: readonly string[]
  /**
   * Whether a shared store is asked for each request. Otherwise a process debits what a busy key
   * will need in the next second, at most 2 % of the window, ahead of time, and believes a refusal
   * for up to a second: a key is then admitted at most `burst + rate × (window + that second)`
   * times in any window, and most requests ask nobody. Where `limit` is small every request asks
   * anyway. The memory store is always exact.
   * @default false
   */
  readonly exact?: boolean
  /**
   * What becomes of requests while a shared store gives no answer; the calls of `guard.limits`
   * reject then. `'local'`: this process counts alone, by its part of the limit (the limit divided
   * by the number of processes that were last seen alive or by the store's `processes`, whichever
   * is larger; at least 1). `'closed'`: they are refused with 503 `store_unavailable`. `'open'`:
   * they pass, uncounted.
   * @default 'local'; `'closed'` with `exact` and with `count: 'failed'`
   */
  readonly onStoreFailure?: 'local' | 'closed' | 'open'
  /**
   * Which requests count. Every request is charged before it is let in, so that many at once can't
   * exceed the limit, and what does not count is given back when its response is over. `'failed'`:
   * those that are answered with a status of 400 or more, by whichever handler or layer, or that
   * end without an answer. `'succeeded'`: the others. Other than `'all'`, a shared store is asked
   * for every request.
   * @default 'all'
   */
  readonly count?: 'all' | 'failed' | 'succeeded'
  /**
   * What becomes of a request that exceeds the limit. `'reject'`: it is refused with 429.
   * `'delay'`: it waits for its turn, which is charged at once, at most `maxDelay`; beyond that, or
   * where `maxDelayed` others wait, it is refused. A client that leaves while it waits has used its
   * turn. Not for the window algorithms. `'shadow'`: it passes, while the limit counts as if it had
   * refused; `req.guard.limits` and the `log` event say what it would have done, and clients are
   * told nothing of it. Other than `'reject'`, a shared store is asked for every request.
   * @default 'reject'
   */
  readonly onExceed?: 'reject' | 'delay' | 'shadow'
  /**
   * The longest that a request waits with `onExceed: 'delay'`; 1 ms to 60 s.
   * @default '5s'
   */
  readonly maxDelay?: Duration
  /**
   * How many requests wait for this limit at most, in one guard; 1 to 100000.
   * @default 1000
   */
  readonly maxDelayed?: number
  /** See {@link ConcurrencyLimit}, which has no `limit` and no `window`. */
  readonly concurrent?: never
  /** See {@link ConcurrencyLimit}. */
  readonly timeout?: never
}

/**
 * A limit of requests that are under way at once. Refused requests get 429 with `Retry-After: 1`:
 * nobody knows when a place comes free.
 *
 * A request takes a place when all its limits admit it, and gives it back once: when its response
 * is over, when its connection is closed, or when a later layer refuses it. It holds the place
 * while it waits for its turn under `onExceed: 'delay'` of another limit, and an upgraded
 * connection that was let in by a stack holds it until it closes.
 *
 * With Redis the places of all processes are counted together, for each request. With Memcached the
 * guard is refused (`ERR_CONFLICTING_OPTIONS`).
 */
export interface ConcurrencyLimit {
  /** As {@link RateLimitPolicy.name}. Limits with the same name in one store share their places. */
  readonly name: string
  /** How many requests of one key may be under way at once; a whole number from 1 to 1,000,000. */
  readonly concurrent: number
  /** As {@link RateLimitPolicy.key}. @default 'ip' */
  readonly key?: RateLimitKey | readonly RateLimitKey[] | FromRequest<string>
  /**
   * Other numbers of places by role or plan, as {@link RateLimitPolicy.tiers}. Each tier has places
   * of its own.
   */
  readonly tiers?: Readonly<Record<string, ConcurrencyTier>>
  /** As {@link RateLimitPolicy.methods}. */
  readonly methods?: readonly string[]
  /** As {@link RateLimitPolicy.paths}. */
  readonly paths?: readonly string[]
  /**
   * For how long a shared store holds the place of a process that it does not hear of any more, and
   * half as long again where no other process has a place of that key; 1 s to 1 h. A process that
   * lives renews its places before that: a request may take longer. Means nothing to the memory
   * store, whose places end with the process, or with the worker thread, that holds them.
   * @default '60s'
   */
  readonly timeout?: Duration
  /**
   * `'reject'`: what finds no place is refused with 429. `'shadow'`: it passes without one, and is
   * only told about as in {@link RateLimitPolicy.onExceed}.
   * @default 'reject'
   */
  readonly onExceed?: 'reject' | 'shadow'
  /**
   * What becomes of requests while a shared store gives no answer. `'local'`: this process lets one
   * in while it has itself fewer under way than its part of the places (`concurrent` divided by the
   * number of processes that were last seen alive or by the store's `processes`, whichever is
   * larger; at least 1). `'closed'`: they are refused with 503 `store_unavailable`. `'open'`: they
   * pass, uncounted.
   * @default 'local'
   */
  readonly onStoreFailure?: 'local' | 'closed' | 'open'
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
  readonly window?: Duration
  /**
   * As {@link RateLimitPolicy.burst}; needed where the policy has a `burst` of its own.
   * @default the tier's `limit`
   */
  readonly burst?: number
}

/** What a rate limit counts by. */
export type RateLimitKey = 'ip' | 'user' | 'token' | 'route'

// Options of rate limits.

import type { Duration, FromRequest } from './config'
import type { Guard } from './guard'

/**
 * A limit of requests per time, or of requests in flight at once. A list may have both.
 */
export type RateLimit = RateLimitPolicy | ConcurrencyLimit

/** A syntax of headers that show the state of limits. */
export type RateLimitHeaders = 'draft-8' | 'draft-7' | 'draft-6' | 'x-ratelimit'

/**
 * A limit of requests per time. Refused requests get 429 with `Retry-After` (RFC 6585 section 4).
 */
export interface RateLimitPolicy {
  /**
   * The policy's name, in headers, in `req.guard.limits` and for {@link Guard.limits}: 1 to 64
   * letters, digits, `_`, `.` or `-`. Unique within a list.
   *
   * If a request passes several stacks of one guard, each declared limit counts it once: the
   * guard's own limit once, and a limit in a route's options once, even if both have the same name.
   * Limits with the same name and figures in one store share one counter, which each of them
   * charges. So give each limit its own name.
   */
  readonly name: string
  /** The units that one key may use per `window`; a whole number from 1 to 10^9. */
  readonly limit: number
  /** The time in which `limit` units are refilled; 10 ms to 400 days. */
  readonly window: Duration
  /**
   * The algorithm. `'gcra'` and the buckets admit a burst and then a steady rate, and give the same
   * answers: three names for one rule (ITU-T I.371). `'fixed-window'` counts in windows that begin
   * at multiples of `window` since 1970 (`'1d'` is a UTC day). `'sliding-window'` adds the part of
   * the previous window that is less than `window` ago.
   * @default 'gcra'
   */
  readonly algorithm?:
    | 'gcra'
    | 'token-bucket'
    | 'leaky-bucket'
    | 'fixed-window'
    | 'sliding-window'
  /**
   * The units that an idle key may use at once; 1 to 10^9, and no more than are refilled in 4000
   * days. Not for the window algorithms.
   * @default `limit`
   */
  readonly burst?: number
  /**
   * The units that a request uses: a whole number from 1 to the smallest `limit` or `burst`, or a
   * function of the request. If the function throws or returns anything but a whole number from 0
   * to 4294967295, the request is refused with 500.
   * @default 1
   */
  readonly cost?: number | FromRequest<number | Promise<number>>
  /**
   * The key of the counter: the client's address (IPv6 by its `ipv6Prefix`, 56), the token's `sub`,
   * the token (by its `jti`, or a digest if it has none), the route, the result of a function of
   * the request, or each combination of several: `['ip', (req) =>
   * String(req.headers['x-tenant'])]`.
   *
   * 1. Without a user or token, `'user'` and `'token'` fall back to the client's address.
   * 2. `'route'` is the route that the handler is mounted on, wherever its router is mounted
   *    (`guard.limits` can name only routes of the application itself, by their pattern).
   *    Elsewhere, as with `app.use`, all paths share one counter.
   * 3. A function may return a promise. If it throws, rejects, needs more than 5 s or returns
   *    anything but a non-empty string, the request is refused with 500.
   * 4. For a client in a function, use {@link Guard.clientKey}: one IPv6 client has many addresses.
   * @default 'ip'
   */
  readonly key?: RateLimitKey | KeyFunction | readonly (RateLimitKey | KeyFunction)[]
  /**
   * Other limits for tokens with a role or plan, by its name: 1 to 64 tiers. Roles and plans are
   * read from the claims `role`, `roles` and `plan`, each a string or a list of strings. If several
   * tiers match, the most generous applies.
   */
  readonly tiers?: Readonly<Record<string, RateLimitTier>>
  /**
   * Counts only requests with one of these methods (upper case); `'GET'` includes HEAD. Left out:
   * all methods.
   */
  readonly methods?: readonly string[]
  /**
   * Counts only requests to one of these paths: `'/v1/login'`, or `'/v1/*'` for `/v1` and
   * everything below it. Compared with the decoded path, so that every spelling is counted; case
   * and a trailing slash are ignored. Left out: all paths.
   */
  readonly paths?: readonly string[]
  /**
   * Whether each request sends a store command to a shared store. Otherwise a process reserves the
   * units that a busy key needs in the next second, at most 2 % of the window, ahead of time, and
   * caches a refusal for up to a second. Most requests then need no store command, and a key is
   * admitted at most `burst + rate × (window + that second)` times in any window. If `limit` is
   * small, every request sends one anyway. The memory store is always exact.
   * @default false
   */
  readonly exact?: boolean
  /**
   * The handling of requests while a shared store does not answer; calls of `guard.limits` then
   * reject.
   *
   * 1. `'local'`: this process counts alone, with its part of the limit (the limit divided by the
   *    number of processes last seen alive or by the store's `processes`, whichever is larger; at
   *    least 1).
   * 2. `'closed'`: requests are refused with 503 `store_unavailable`.
   * 3. `'open'`: requests pass, uncounted.
   * @default 'local'; `'closed'` with `exact` and with `count: 'failed'`
   */
  readonly onStoreFailure?: 'local' | 'closed' | 'open'
  /**
   * The requests that count. Every request is charged before it is admitted, so that concurrent
   * requests can't exceed the limit; a request that does not count is refunded when its response
   * ends. `'failed'`: requests answered with a status of 400 or more, by any handler or layer, or
   * that end without an answer. `'succeeded'`: all others. With a value other than `'all'`, every
   * request sends a store command to a shared store.
   * @default 'all'
   */
  readonly count?: 'all' | 'failed' | 'succeeded'
  /**
   * The handling of a request that exceeds the limit.
   *
   * 1. `'reject'`: it is refused with 429.
   * 2. `'delay'`: it waits for its turn, which is charged at once, for at most `maxDelay`. If the
   *    wait would be longer, or if `maxDelayed` others are waiting, it is refused. A client that
   *    disconnects while it waits has used its turn. Not for the window algorithms.
   * 3. `'shadow'`: it passes, while the limit counts as if it had refused. `req.guard.limits` and
   *    the `log` event report the refusal; the client gets no sign of it.
   *
   * With a value other than `'reject'`, every request sends a store command to a shared store.
   * @default 'reject'
   */
  readonly onExceed?: 'reject' | 'delay' | 'shadow'
  /**
   * The longest wait of a request with `onExceed: 'delay'`; 1 ms to 60 s.
   * @default '5s'
   */
  readonly maxDelay?: Duration
  /**
   * The most requests that wait for this limit at once, in one guard; 1 to 100000.
   * @default 1000
   */
  readonly maxDelayed?: number
  /** See {@link ConcurrencyLimit}, which has no `limit` and no `window`. */
  readonly concurrent?: never
  /** See {@link ConcurrencyLimit}. */
  readonly timeout?: never
}

/**
 * A limit of requests in flight at once. Refused requests get 429 with `Retry-After: 1`, since the
 * time at which a slot becomes free can't be predicted.
 *
 * A request takes a slot when all its limits admit it, and releases it once: when its response
 * ends, when its connection is closed, or when a later layer refuses it. It holds the slot while it
 * waits for its turn under `onExceed: 'delay'` of another limit. An upgraded connection that a
 * stack admitted holds its slot until it closes.
 *
 * With Redis, the slots of all processes are counted together, for each request. With Memcached,
 * building the guard fails (`ERR_CONFLICTING_OPTIONS`).
 */
export interface ConcurrencyLimit {
  /** As {@link RateLimitPolicy.name}. Limits with the same name in one store share their slots. */
  readonly name: string
  /** The requests of one key that may be in flight at once; a whole number from 1 to 1,000,000. */
  readonly concurrent: number
  /** As {@link RateLimitPolicy.key}. @default 'ip' */
  readonly key?: RateLimitKey | KeyFunction | readonly (RateLimitKey | KeyFunction)[]
  /**
   * Other numbers of slots by role or plan, as {@link RateLimitPolicy.tiers}. Each tier has its own
   * slots.
   */
  readonly tiers?: Readonly<Record<string, ConcurrencyTier>>
  /** As {@link RateLimitPolicy.methods}. */
  readonly methods?: readonly string[]
  /** As {@link RateLimitPolicy.paths}. */
  readonly paths?: readonly string[]
  /**
   * How long a shared store holds the slots of a process that stops renewing them, and half as long
   * again if no other process has a slot of that key; 1 s to 1 h. A live process renews its slots
   * in time, so a request may take longer. It has no effect on the memory store, whose slots end
   * with the process or the worker thread that holds them.
   * @default '60s'
   */
  readonly timeout?: Duration
  /**
   * `'reject'`: a request without a free slot is refused with 429. `'shadow'`: it passes without a
   * slot, and is only reported, as in {@link RateLimitPolicy.onExceed}.
   * @default 'reject'
   */
  readonly onExceed?: 'reject' | 'shadow'
  /**
   * The handling of requests while a shared store does not answer.
   *
   * 1. `'local'`: this process admits a request while it has fewer in flight than its part of the
   *    slots (`concurrent` divided by the number of processes last seen alive or by the store's
   *    `processes`, whichever is larger; at least 1).
   * 2. `'closed'`: requests are refused with 503 `store_unavailable`.
   * 3. `'open'`: requests pass, uncounted.
   * @default 'local'
   */
  readonly onStoreFailure?: 'local' | 'closed' | 'open'
  /** For a limit per time, add a {@link RateLimitPolicy} to the list. */
  readonly limit?: never
  /** As `limit`. */
  readonly window?: never
  /** As `limit`. */
  readonly burst?: never
  /** As `limit`. */
  readonly algorithm?: never
  /** Each request takes one slot. */
  readonly cost?: never
  /** Each request releases its slot, however it ends. */
  readonly count?: never
  /** Every request sends a store command to a shared store in any case. */
  readonly exact?: never
}

/** The number of slots of one role or plan. */
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
   * As {@link RateLimitPolicy.burst}; needed if the policy has its own `burst`.
   * @default the tier's `limit`
   */
  readonly burst?: number
}

/** A part of a key from the request: a text that is not empty, or a promise of one. */
export type KeyFunction = FromRequest<string | Promise<string>>

/** The built-in keys of a rate limit. */
export type RateLimitKey = 'ip' | 'user' | 'token' | 'route'

// Options of the policy.

import type { Duration, FromRequest, Size } from './config'
import type { Guard } from './guard'

/**
 * Authorization by a Rego policy. A request passes only if the result is `true`, or an object whose
 * `allow` is `true`. Such an object may also have `reasons` (texts, for the log) and, to deny, a
 * `status` from 400 to 499.
 *
 * `input` has `method`, `effective_method`, `path`, `decoded_path`, `raw_path`, `route`, `params`,
 * `query`, `headers`, `user`, `token`, `client.ip`, `rate`, `time.now_ns`, `body` and `resource`:
 * see docs/guides/policy.md. `path` has the segments as sent, to compare with the text of routes;
 * `decoded_path` is for comparison with values. A policy that reads another member causes the
 * warning `GUARD_POLICY_INPUT`.
 */
export interface PolicyOptions {
  /**
   * A folder with `.rego` files (also in subfolders), one `.rego` file, or the texts themselves by
   * name. A path is relative to the working directory of the process. Read once, when the guard is
   * built.
   */
  readonly policies: string | Readonly<Record<string, string>>
  /**
   * The policy's `data`: an object of JSON values, up to 64 MB.
   * @default {}
   */
  readonly data?: object
  /**
   * The rule that decides, e.g. `'data.httpapi.authz.allow'`. It must have a `default` that denies.
   */
  readonly query: string
  /**
   * The version of Rego. `'auto'` reads each file as v1, or, where it lacks v1's `if` and
   * `contains`, as v0.
   * @default 'auto'
   */
  readonly regoVersion?: 'auto' | 'v0' | 'v1'
  /**
   * Bounds of one evaluation. Beyond `timeMs` the request is refused with 503 `policy_fault`,
   * beyond the others with 403 `policy_denied`.
   * @default {}
   */
  readonly limits?: PolicyLimits
}

/** Bounds of one policy evaluation. */
export interface PolicyLimits {
  /**
   * The longest evaluation, in milliseconds; 1 to 1000. It is checked between expressions.
   * Functions have their own bounds: see docs/guides/policy.md.
   * @default 25
   */
  readonly timeMs?: number
  /**
   * The most bytes of text and numbers in the input; 256 bytes to 16 MB.
   * @default '64kb'
   */
  readonly inputBytes?: Size
  /**
   * The deepest nesting of the input; 4 to 128.
   * @default 32
   */
  readonly depth?: number
}

/** Options of {@link Guard.authorize}. */
export interface AuthorizeOptions {
  /** The rule that decides on these routes. Left out: the guard's `policy.query`. */
  readonly query?: string
  /**
   * Gives the policy the object that a request is about, as `input.resource`: `{ resource }`, where
   * `resource` is JSON values and a `Date` is its text, or `null` without one. It can't set another
   * member of `input`. It is called for each request that all layers before the policy admit, once,
   * before the body is read; on the routes of other options `input.resource` is undefined.
   *
   * 1. If it throws, rejects or needs longer than `timeout`, the request is refused with 503
   *    `policy_fault`.
   * 2. If it returns anything else, such as an instance of a class or another member beside
   *    `resource`, the request is refused with 500.
   * 3. Only the members that the policy reads count for {@link PolicyLimits.inputBytes}; the whole
   *    of it may have 16 times as much text. Beyond that it is refused with 403 `policy_denied`.
   *
   * The policy must read `input.resource`.
   */
  readonly input?: ResourceFunction
  /**
   * The longest time that `input` may take; 10 ms to 30 s.
   * @default '1s'
   */
  readonly timeout?: Duration
}

/** The result of {@link AuthorizeOptions.input}. */
export interface PolicyResource {
  /** What the policy reads as `input.resource`. `null` and `undefined`: there is no such object. */
  readonly resource: unknown
}

/** Gives the policy the object of a request: its parameter is the framework's request. */
export type ResourceFunction = FromRequest<PolicyResource | null | undefined | Promise<PolicyResource | null | undefined>>

// Options of the policy.

import type { Size } from './config'
import type { Guard } from './guard'

/**
 * Authorization by a Rego policy. A request passes only if the result is `true`, or an object whose
 * `allow` is `true`. Such an object may also have `reasons` (texts, for the log) and, to deny, a
 * `status` from 400 to 499.
 *
 * `input` has `method`, `effective_method`, `path`, `decoded_path`, `raw_path`, `route`, `params`,
 * `query`, `headers`, `user`, `token`, `client.ip`, `rate`, `time.now_ns` and `body`: see
 * docs/guides/policy.md. `path` has the segments as sent, to compare with the text of routes;
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
}

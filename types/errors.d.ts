// The error, and its codes.

/**
 * Every error that keepstone throws or rejects with. `docs/reference/errors.md` has an entry for
 * each code.
 */
export declare class GuardError extends Error {
  private constructor()
  readonly name: 'GuardError'
  /** The stable code. */
  readonly code: GuardErrorCode
  /** The HTTP status of a refusal for this reason, if there is one. */
  readonly status?: number
  /** The option at fault, in the notation of the configuration: `rateLimit[1].window`. */
  readonly path?: string
  /** The value to write instead, if there is a suggestion. */
  readonly suggestion?: string
  /** Every fault of an OpenAPI document, if the error is about one. */
  readonly faults?: readonly DocumentFault[]
  /** Why a token is refused, in one word for the operator, e.g. `claim_missing:aud`. */
  readonly reason?: string
}

/** One fault of an OpenAPI document. */
export interface DocumentFault {
  /** `ERR_INVALID_OPENAPI`, or `ERR_INVALID_SCHEMA` for a schema that can't be compiled. */
  readonly code: ConfigErrorCode
  /** The place in the document: `paths./users.post.requestBody`. */
  readonly path: string
  /** The same place as a JSON Pointer (RFC 6901): `/paths/~1users/post/requestBody`. */
  readonly pointer: string
  /** What is wrong there. */
  readonly problem: string
  /** What to write instead, if there is a suggestion. */
  readonly suggestion?: string
  /**
   * The operations that can't be used for this reason, as `METHOD /path`. With all of them in the
   * option `skip`, the rest of the document loads.
   */
  readonly operations: readonly string[]
}

/** Every code of a {@link GuardError}. */
export type GuardErrorCode = ConfigErrorCode | TokenErrorCode | OperationErrorCode

/** Codes that {@link createGuard} throws. */
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
 * Reasons to reject a token. A request with such a token is refused with the same code and 401,
 * with 503 for `issuer_unavailable` and `introspection_unavailable`, or with 400 for
 * `token_ambiguous`.
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
  | 'token_inactive'
  | 'introspection_unavailable'
  | 'token_bound'
  | 'token_ambiguous'

/** Reasons for an operation of a guard to fail. */
export type OperationErrorCode =
  | 'ERR_ABORTED'
  | 'ERR_CLOCK'
  | 'ERR_CLOSED'
  | 'ERR_INTERNAL'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_ISSUER_UNAVAILABLE'
  | 'ERR_KEY_STORAGE'
  | 'ERR_REFRESH_INVALID'
  | 'ERR_REFRESH_REUSED'
  | 'ERR_STORE_UNAVAILABLE'
  | 'ERR_TESTING'
  | 'ERR_UNKNOWN_LIMIT'

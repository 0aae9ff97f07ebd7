// Identities that are no tokens: sessions by a function of the application, and API keys.

import type { Guard } from './guard'
import type { Duration, FromRequest, GuardConfig } from './config'
import type { Revoke } from './operations'

/**
 * The claims of a user, as JSON values. They become `req.user`, and limits, `guard.require` and
 * policies read them as they read those of a token: at most 16 kB, at most 16 levels deep. A member
 * that is `undefined`, an instance of a class and a whole number beyond `2^53 - 1` are refused.
 */
export interface IdentityClaims {
  /**
   * The user. A text that is not empty; with `subject: 'lenient'` also a whole number.
   */
  readonly sub: string | number
  /** The session, for {@link Revoke.session}. */
  readonly sid?: string
  /** The id of this login, for {@link Revoke.token} and limits with `key: 'token'`. */
  readonly jti?: string
  /** When it ends, in seconds since the Unix epoch. Then the request is refused with 401. */
  readonly exp?: number
  /** When it begins, in seconds since the Unix epoch. */
  readonly nbf?: number
  /**
   * When the user logged in, in seconds since the Unix epoch. {@link Revoke.subject} refuses logins
   * up to its `before`, and all that have no `iat`.
   */
  readonly iat?: number
  /** A binding to a key can't be checked here. */
  readonly cnf?: never
  readonly [claim: string]: unknown
}

/**
 * Returns the claims of a request's user, or `null` or `undefined` for an anonymous request. It may
 * return a promise. It gets the request that the functions of limits get.
 */
export type Identify = FromRequest<IdentityClaims | null | undefined | Promise<IdentityClaims | null | undefined>>

/** The options of {@link GuardConfig.identify}, if a function alone is not enough. */
export interface IdentifyOptions {
  /** The function. */
  readonly claims: Identify
  /**
   * How long a request waits for its promise; 100 ms to 60 s. After it, the request is refused with
   * 503 `identity_unavailable`.
   * @default '5s'
   */
  readonly timeout?: Duration
  /**
   * The longest life of a login; 1 m to 366 d. Claims with an older `iat` are refused, and
   * revocations are kept for that long. Set it to the life of your sessions where many of them are
   * revoked: a list has room for a million.
   * @default '366d'
   */
  readonly maxLifetime?: Duration
  /**
   * `'lenient'` also accepts a whole number as `sub`: user 7 and user `'7'` are then one user.
   * @default 'strict'
   */
  readonly subject?: 'strict' | 'lenient'
}

/** The record of an API key, as the application stores it. Other members are refused. */
export interface ApiKeyRecord {
  /**
   * The digest by which it was found. The core compares it, so that a lax search in a database
   * finds nothing.
   */
  readonly digest: string
  /** The user of the key. */
  readonly sub: string | number
  /**
   * More claims: scopes for {@link Guard.require}, a plan for limits. `sub`, `exp`, `iat` and `jti`
   * have a place of their own.
   */
  readonly claims?: Readonly<Record<string, unknown>>
  /** When the key ends, in seconds since the Unix epoch. */
  readonly exp?: number
  /** When it was made, in seconds since the Unix epoch; for {@link Revoke.subject}. */
  readonly iat?: number
}

/** Options of {@link GuardConfig.apiKeys}. */
export interface ApiKeyOptions {
  /**
   * What each key begins with, such as `'acme_live'`: 2 to 32 lower-case letters and digits, with
   * single `_` between words. A list of 1 to 8 accepts keys with each of them; new keys get the
   * first one.
   */
  readonly prefix: string | readonly string[]
  /**
   * Returns the record of the key with this digest (SHA-256, in lower-case hexadecimal), or `null`.
   * It may return a promise. It is called only for keys with the right form and checksum, once for
   * each request.
   */
  readonly lookup: { of(digest: string): ApiKeyRecord | null | undefined | Promise<ApiKeyRecord | null | undefined> }['of']
  /**
   * The header that holds a key alone. Headers that pages may set on any request, or that browsers,
   * proxies or HTTP itself write, are refused: `accept`, `host`, `origin`, `sec-*` and the like.
   * @default 'x-api-key'
   */
  readonly header?: string
  /**
   * Where a key comes in `Authorization` instead: `'ApiKey'` for
   * `Authorization: ApiKey acme_live_...`, `'Bearer'` for `Authorization: Bearer acme_live_...`.
   * With `jwt` or `identify`, a bearer text without the prefix is left to them.
   */
  readonly scheme?: 'Bearer' | 'ApiKey'
  /**
   * How long a request waits for a promise of `lookup`; 100 ms to 60 s. After it, the request is
   * refused with 503 `identity_unavailable`.
   * @default '5s'
   */
  readonly timeout?: Duration
  /**
   * How long a record is used again without a call of `lookup`; 1 s to 1 h. A key that is deleted
   * or changed in the table is in force for that long; {@link ApiKeys.revoke} works at once.
   * @default records are not kept
   */
  readonly cacheFor?: Duration
  /**
   * `'lenient'` also accepts a whole number as `sub`.
   * @default 'strict'
   */
  readonly subject?: 'strict' | 'lenient'
}

/** A new API key. */
export interface NewApiKey {
  /** The key, for its owner. Show it once, and do not store it. */
  readonly key: string
  /** Its digest, for the table. */
  readonly digest: string
  /**
   * Its id, the first 24 characters of the digest: the same as `req.guard.identity.id`. It is no
   * secret.
   */
  readonly id: string
}

/** Options of {@link ApiKeys.create}. */
export interface NewApiKeyOptions {
  /**
   * One of the prefixes in {@link ApiKeyOptions.prefix}.
   * @default the first one
   */
  readonly prefix?: string
}

/** API keys. Every call throws `ERR_MISSING_OPTION` without {@link GuardConfig.apiKeys}. */
export interface ApiKeys {
  /**
   * Makes a key: the prefix, 43 random characters (256 bits) and a checksum of 6. It is not stored:
   * keep the digest with the user in your table.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` for an unknown prefix, `ERR_CLOSED`.
   */
  create(options?: NewApiKeyOptions): NewApiKey
  /**
   * The digest of a key, 64 characters.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` for a text that is no key of this guard.
   */
  digest(key: string): string
  /**
   * Refuses a key from now on, in all processes that share the store of revocations, for 366 days.
   * Delete it from the table as well: the table is what lasts.
   *
   * @param key the key, its digest or its id.
   * @throws {@link GuardError} as {@link Revoke.token} does.
   */
  revoke(key: string): Promise<void>
}

/** The verified identity of a request, except its claims: those are in `req.user`. */
export interface RequestIdentity {
  /**
   * The issuer of the token as `jwt` has it, `'api-key'` for an API key, `'identify'` for the
   * application's function. No token can have one of the latter two.
   */
  readonly issuer: string
  /** The `jti` of a token or of claims; the id of an API key. */
  readonly id?: string
  /** When it ends, in seconds since the Unix epoch. */
  readonly exp?: number
  /** When it was issued, in seconds since the Unix epoch. */
  readonly iat?: number
}

/**
 * Single readers of the core, without a guard around them: for running outside test suites
 * (Wycheproof, JSONTestSuite, the JSON Schema Test Suite) on the addon that ships. Nothing here
 * protects an application: `verifyCompact` looks at no claim, so an expired token or one of another
 * issuer passes. Use {@link "keepstone".createGuard}.
 */

/** A JSON Web Key (RFC 7517). */
export interface ConformanceJwk {
  readonly kty: string
  readonly kid?: string
  readonly alg?: string
  readonly [member: string]: unknown
}

/**
 * Verifies the signature of a JWS in compact form (RFC 7515 section 7.1) by the rules of the token
 * layer: strict base64url, header up to 1 KiB, token up to 8 KiB, no `crit` and no `b64`, one
 * algorithm for each key.
 *
 * Keys are judged as those of `createGuard` are, with two exceptions: a secret (`oct`) is taken
 * too, in a set if all of its keys are secrets, and how guessable it is is not judged. RSA keys and
 * secrets must have an `alg`.
 *
 * @param token header, payload and signature; the payload may be any bytes
 * @param jwkOrJwkSet one JWK, or a set `{ keys: [...] }` of up to 100, in which the token's `kid`
 * chooses
 * @returns the payload
 * @throws GuardError with a `token_*` code and status 401 where the token is refused, and an
 * `ERR_*` code where a key is (such as `ERR_INVALID_KEY`, `ERR_WEAK_KEY`)
 */
export function verifyCompact(token: string, jwkOrJwkSet: ConformanceJwk | { readonly keys: readonly ConformanceJwk[] }): Buffer

/**
 * Reads JSON as the payload layer does with its defaults: UTF-8, no duplicate keys, no `__proto__`,
 * no keys that begin with `$` or contain `.`, no U+0000, no lone surrogates, no whole number beyond
 * 2^53 - 1, at most 100 KiB and 32 levels.
 *
 * @returns what `JSON.parse` makes of the same bytes
 * @throws GuardError with the code of the refusal and its status, such as `malformed_json` and 400
 */
export function parseJson(bytes: Uint8Array): unknown

/**
 * Reads a body as the payload layer does with its defaults and without a schema, and gives what the
 * core itself made of it: for holding it against what other readers make of the same bytes. A form
 * is an object of strings, and of lists of strings where a name ends with `[]`.
 *
 * @param type default `'json'`
 * @returns the core's own value; `undefined` is never one, and an empty body, which is none, is
 * `null`
 * @throws GuardError with the code of the refusal and its status, such as `duplicate_key` and 400
 */
export function readBody(bytes: Uint8Array, type?: 'json' | 'form'): unknown

/** What {@link validateJson} can be told. */
export interface ValidateJsonOptions {
  /** The draft of a schema without `$schema`. Default `'2020-12'`. */
  readonly draft?: '2020-12' | '2019-09' | '7' | '6' | '4'
  /**
   * Documents by absolute URI: the only ones that a `$ref` may lead to. Default none; nothing is
   * ever fetched.
   */
  readonly registry?: { readonly [uri: string]: unknown }
  /** Whether `format` is asserted. Default false, as the drafts since 2019-09 have it. */
  readonly formats?: boolean
}

/** One fault of an instance; at most 20 are told. */
export interface JsonFault {
  readonly in: 'body'
  /** A JSON Pointer in fragment form (RFC 6901 section 6): `#/email`. */
  readonly pointer: string
  /**
   * The schema keyword that failed, such as `required`; or why the bytes were refused before any
   * schema was asked.
   */
  readonly code: string
  /** What it must be, without the submitted value. */
  readonly detail: string
}

/**
 * Validates the bytes of an instance against a schema as its draft has it: nothing is closed,
 * unknown keywords pass.
 *
 * Bytes that {@link parseJson} would refuse (but for keys such as `$ref`, which pass here) are not
 * valid, whatever the schema says; the one error then has the code of that refusal.
 *
 * @param schema an object or a boolean
 * @throws GuardError `ERR_INVALID_SCHEMA` where the schema can't be compiled, and where an option
 * is wrong
 */
export function validateJson(
  schema: boolean | { readonly [keyword: string]: unknown },
  bytes: Uint8Array,
  options?: ValidateJsonOptions
): { valid: boolean; errors: JsonFault[] }

// Options of tokens: issuers, keys, sources, sessions.

import type { Duration, GuardConfig } from './config'
import type { Guard } from './guard'
import type { Tokens } from './operations'

/** How tokens are verified, and, where a private key or a secret is given, issued. */
export type JwtOptions = JwtClaimsOptions & (JwtIssuer | JwtIssuers)

/** Tokens of one issuer. */
export type JwtIssuer = IssuerName & JwtKeySource & { readonly issuers?: never }

/**
 * Tokens of several issuers. What {@link IssuerRules} has is said here for all of them, and by one
 * of them for itself. See docs/guides/issuers.md.
 */
export interface JwtIssuers {
  /**
   * 1 to 32 issuers, no two of one name. The `iss` of a token chooses its issuer, whose keys alone
   * may verify it: the same `kid` at two issuers is two keys. {@link Tokens.issue} signs as the
   * first one that has a private key, a secret or `rotation`.
   */
  readonly issuers: readonly IssuerOptions[]
  readonly issuer?: never
  readonly audience?: never
  readonly secret?: never
  readonly keys?: never
  readonly jwks?: never
  readonly discovery?: never
  readonly preset?: never
  readonly staleFor?: never
  readonly rotation?: never
}

/** One of several issuers. */
export type IssuerOptions = IssuerName & IssuerRules & JwtKeySource

/** Whose tokens, and whom they are for. */
export interface IssuerName {
  /**
   * The only `iss` that is accepted (RFC 7519 section 4.1.1). With the preset `'spiffe'` the trust
   * domain, `'spiffe://example.org'`; with `'vault'` Vault's address will do.
   */
  readonly issuer: string
  /** The `aud` values of this API; a token must name one of them (RFC 7519 section 4.1.3). */
  readonly audience: string | readonly string[]
  /**
   * Rules that a kind of issuer has of its own. `'vault'`: the identity tokens of HashiCorp Vault,
   * whose keys are found by discovery. `'spiffe'`: JWT-SVIDs of one trust domain, whose bundle is
   * in `jwks` or at its URL: `sub` must be a SPIFFE ID of the trust domain with a path, no `iss` is
   * asked for, `typ` is `JWT`, `JOSE` or none, and the algorithms are RS, ES and PS. A `sub` of the
   * trust domain is taken from no other issuer.
   */
  readonly preset?: 'vault' | 'spiffe'
}

/** What the tokens of an issuer must be like. */
export interface IssuerRules {
  /**
   * The algorithms that are accepted. Every key is bound to one algorithm anyhow; this narrows the
   * choice.
   * @default the algorithms of the keys
   */
  readonly algorithms?: readonly Algorithm[]
  /**
   * The `typ` a token's header must have, e.g. `'at+jwt'` (RFC 9068 section 2.1), in any case, with
   * or without `application/`. It is also the `typ` of issued tokens.
   * @default `JWT`, `at+jwt` or none; issued tokens have `at+jwt`
   */
  readonly typ?: string
  /**
   * How far another machine's clock may be off, for `exp`, `nbf` and `iat`; 0 to 60 s.
   * @default '10s'
   */
  readonly clockTolerance?: Duration
  /**
   * The longest life (`exp` less `iat`) a token may have; 1 s to 366 days. It also bounds how long
   * a revocation is kept.
   * @default '24h'
   */
  readonly maxLifetime?: Duration
}

/** How tokens are looked for and taken. */
export interface JwtClaimsOptions extends IssuerRules {
  /**
   * Where a token is looked for: 1 to 8 places. A request that has tokens in two of them, or two in
   * one, is refused with 400 `token_ambiguous` (RFC 6750 section 2).
   * @default ['header']
   */
  readonly from?: readonly TokenSource[]
  /**
   * Which tokens need a `DPoP` proof (RFC 9449). `'if-bound'`: those that are bound to a key
   * (`cnf.jkt`), while others must not come with the scheme `DPoP`. `'required'`: every token must
   * be bound and come with its proof. `'off'`: the scheme is not known, so that no bound token is
   * taken. Each proof is used once: in memory once per process, with a shared store once in all
   * processes, for one more round trip; where the store does not answer, the request is refused
   * with 503.
   * @default 'if-bound'
   */
  readonly dpop?: 'off' | 'if-bound' | 'required'
  /**
   * Whether a proof must have a nonce of this server (RFC 9449 section 9): `true`, or what they are
   * made with.
   * @default false
   */
  readonly dpopNonce?: boolean | DpopNonceOptions
  /**
   * Whether a request without a token passes as anonymous. A token that is there and wrong is
   * refused all the same.
   * @default false
   */
  readonly optional?: boolean
  /**
   * The cache of tokens that were verified, in bytes: a number or `'8mb'`, from 64 kb to 1024 mb.
   * Each hit compares the whole token and asks again for its times, the life of its key and its
   * revocation. `false` verifies every time.
   * @default { maxBytes: '8mb' }
   */
  readonly cache?: { readonly maxBytes?: number | string } | false
  /**
   * Refresh tokens: {@link Tokens.issue} gives one with each access token, and {@link
   * Tokens.refresh} takes it. `true` is `{}`. Needs `revocation`, and a store that does not forget:
   * memory or Redis. See docs/guides/sessions.md.
   * @default false
   */
  readonly refresh?: boolean | RefreshOptions
}

/** How refresh tokens live (RFC 9700 section 4.14). To be the same in all processes. */
export interface RefreshOptions {
  /**
   * How long after the login a session goes on, however often it is refreshed; 1 minute to 366
   * days.
   * @default '30d'
   */
  readonly lifetime?: Duration
  /**
   * How long a session goes on without being refreshed; 1 minute to `lifetime`.
   * @default as long as `lifetime`
   */
  readonly idle?: Duration
  /**
   * For so long after its use a token gives the same successor again, for tabs that race and
   * answers that were lost; 0 to 60 s. Afterwards, and for an older token at any time, a use is a
   * replay, which ends the session.
   * @default '10s'
   */
  readonly reuseWindow?: Duration
  /**
   * What the records of sessions in a shared store are sealed with: a secret of at least 32 bytes,
   * or up to 10 of them. The first one seals, all are taken. Give one where sessions are to outlive
   * the keys that sign; see "Records in the store" in docs/guides/sessions.md.
   * @default derived from the private keys and secrets in `jwt`
   */
  readonly secret?: string | Uint8Array | readonly (string | Uint8Array)[]
}

/** Signing keys that change by themselves. See docs/guides/sessions.md. */
export interface RotationOptions {
  /**
   * How long a key signs; 1 hour to 366 days, and at least a ninetieth of `maxLifetime`. What it
   * signed is verified until the last token of it has expired.
   * @default '30d'
   */
  readonly every?: Duration
  /**
   * How long a key is published before it signs, at least; 10 minutes to `every`. As a rule it is
   * published for all of `every`: this is for a service that was down when the key was due. Longer
   * than other services keep the JWK set.
   * @default '1h'
   */
  readonly overlap?: Duration
  /**
   * The algorithm of new keys, none of a secret. Old keys keep theirs. RSA keys have 2048 bits.
   * @default 'ES256'
   */
  readonly alg?: Exclude<Algorithm, 'HS256' | 'HS384' | 'HS512'>
  /**
   * Where the private keys are kept, as they are: they are not encrypted. A path: a file that is
   * made with mode 0600, and refused where others may read it (not checked on Windows); processes
   * that share it agree. Or functions of the application.
   */
  readonly storage: string | KeyStorage
}

/** Where an application keeps signing keys: a secret store such as Vault. */
export interface KeyStorage {
  /**
   * Gives the text that was saved last, or `null` where there is none. Called about once a minute.
   */
  load(): string | null | Promise<string | null>
  /**
   * Keeps `text`, which has private keys. `previous` is what `load` gave: where several processes
   * share the keys, save only if it is still what is there (a compare-and-set), and answer `false`
   * if it is not.
   */
  save(text: string, previous: string | null): boolean | void | Promise<boolean | void>
}

/**
 * One place of a token. `'header'`: `Authorization`, with the scheme `Bearer` or `DPoP`. `cookie`:
 * the cookie of this name, which must start with `__Host-`: others can be set by every host of the
 * domain. Set it with `Secure`, `HttpOnly`, `SameSite` and `Path=/`. It switches {@link
 * GuardConfig.csrf} on. `query`: the parameter of this name. Discouraged (RFC 9700 section 4.3.2):
 * URLs stand in histories, in logs and in `Referer`. Schemas of a `query` pass over that name, and
 * must not declare it.
 */
export type TokenSource = 'header' | { readonly cookie: `__Host-${string}` } | { readonly query: string }

/** What the nonces of `DPoP` proofs are made with. */
export interface DpopNonceOptions {
  /**
   * A secret of at least 32 bytes that is hard to guess, the same in all processes; needed with a
   * shared store.
   * @default a random one of this process
   */
  readonly secret?: string | Uint8Array
  /**
   * How long a nonce is good at most; at least it is half as long. 10 s to 1 h.
   * @default '5m'
   */
  readonly lifetime?: Duration
}

/** Where the keys come from: the options, with at least one source, or a URL. */
export type JwtKeySource =
  | (JwtKeys & { readonly secret: string | Uint8Array })
  | (JwtKeys & { readonly keys: readonly KeyInput[] })
  | (JwtKeys & { readonly jwks: JwkSet })
  | (JwtKeys & { readonly rotation: RotationOptions })
  | (JwtKeysAtUrl & { readonly jwks: string })
  | (JwtKeysAtUrl & { readonly discovery: true | 'oauth' })
  | (JwtKeysAtUrl & { readonly preset: 'vault' })

/** The sources of keys. */
export interface JwtKeys {
  /**
   * A shared secret for HS256, or for the one of HS256, HS384 and HS512 that `algorithms` names: at
   * least 32, 48 or 64 bytes that are hard to guess. Make one with `openssl rand -base64 48`.
   */
  readonly secret?: string | Uint8Array
  /**
   * Up to 100 keys, each with its algorithm. New tokens are signed with the private key in force
   * that has the latest `notBefore`; with a secret where there is none.
   */
  readonly keys?: readonly KeyInput[]
  /** A JWK set with public keys (RFC 7517 section 5). Keys for encryption are left out. */
  readonly jwks?: JwkSet
  /** Keys that are made here, and change by themselves. They sign; the others verify besides. */
  readonly rotation?: RotationOptions
  readonly discovery?: false
  readonly staleFor?: never
}

/**
 * Keys that an issuer publishes. They are fetched by Node's `fetch` in the background: about every
 * five minutes, more often if `Cache-Control` says so, and when a token has a `kid` that is not
 * known, at most once in 30 s. A request waits for that only where its own key is not known, for 2
 * s at most, twice. Without keys, and where they are too old, its tokens are refused with 503
 * `issuer_unavailable`. See docs/guides/issuers.md.
 */
export interface JwtKeysAtUrl {
  /**
   * The URL of a JWK set, with `https`, or with `http` on a loopback address. Redirects are not
   * followed, and no more than 256 KiB are read.
   */
  readonly jwks?: string
  /**
   * `true` reads the URL from the issuer's metadata at `<issuer>/.well-known/openid-configuration`
   * (OpenID Connect Discovery 1.0), `'oauth'` from `/.well-known/oauth-authorization-server` (RFC
   * 8414 section 3). Its `issuer` must be exactly the option. Not beside `jwks`.
   */
  readonly discovery?: boolean | 'oauth'
  /**
   * How long the keys that are known are used while the issuer gives none; 10 minutes to 24 h.
   * @default '1h'
   */
  readonly staleFor?: Duration
  readonly secret?: never
  readonly keys?: never
  readonly rotation?: never
}

/** A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864). */
export type Algorithm =
  | 'HS256'
  | 'HS384'
  | 'HS512'
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'
  | 'Ed25519'

/** One key. */
export interface KeyInput {
  /**
   * The key's name, as tokens carry it in `kid`. Needed where there are several keys; one of them
   * may have none.
   */
  readonly kid?: string
  /** The one algorithm this key is used with. */
  readonly alg: Algorithm
  /**
   * PEM text, raw secret bytes (HS algorithms), or a JWK. A private key signs and verifies, a
   * public one verifies.
   *
   * Judged when the guard is built: `ERR_WEAK_SECRET` for a secret that is short or easy to guess,
   * `ERR_WEAK_KEY` for RSA keys outside of 2048 to 8192 bits or with a known flaw and for Ed25519
   * points of small order, `ERR_INVALID_KEY` for what does not fit `alg`. docs/guides/tokens.md has
   * every rule.
   */
  readonly key: string | Uint8Array | Jwk
  /**
   * From when the key is in force: a `Date`, or seconds since the Unix epoch. {@link Tokens.jwks}
   * shows it before.
   * @default always
   */
  readonly notBefore?: Date | number
  /**
   * Until when the key is in force: a `Date`, or seconds since the Unix epoch.
   * @default always
   */
  readonly notAfter?: Date | number
}

/** A JSON Web Key (RFC 7517). */
export interface Jwk {
  readonly kty: string
  readonly kid?: string | undefined
  readonly alg?: string | undefined
  readonly use?: string | undefined
  readonly key_ops?: readonly string[] | undefined
  readonly [member: string]: unknown
}

/** A JSON Web Key set (RFC 7517 section 5). */
export interface JwkSet {
  readonly keys: readonly Jwk[]
}

/** Options of {@link Guard.authenticate}. */
export interface AuthenticateOptions {
  /** Whether a request without a token passes as anonymous. Left out: as the guard's `jwt` says. */
  readonly optional?: boolean
}

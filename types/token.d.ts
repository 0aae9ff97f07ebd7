// Options of tokens: issuers, keys, sources, sessions.

import type { Duration, GuardConfig } from './config'
import type { Guard } from './guard'
import type { Tokens } from './operations'

/** How tokens are verified and, with a private key or a secret, issued. */
export type JwtOptions = JwtClaimsOptions & (JwtIssuer | JwtIssuers)

/** Tokens of one issuer. */
export type JwtIssuer = (IssuerName | ResourceIssuerName) & JwtKeySource & { readonly issuers?: never }

/** The issuer of tokens for a protected resource, whose URL is their audience. */
export type ResourceIssuerName = Omit<IssuerName, 'audience'> & {
  readonly audience?: never
  readonly resource: string | ResourceOptions
}

/**
 * Tokens of several issuers. Options of {@link IssuerRules} here apply to all issuers; an issuer
 * may override them for itself. See docs/guides/issuers.md.
 */
export interface JwtIssuers {
  /**
   * 1 to 32 issuers with distinct names. The `iss` of a token selects its issuer, and only the keys
   * of that issuer may verify it: the same `kid` at two issuers is two keys. {@link Tokens.issue}
   * signs as the first issuer that has a private key, a secret or `rotation`.
   */
  readonly issuers: readonly IssuerOptions[]
  readonly issuer?: never
  readonly audience?: never
  readonly claims?: never
  readonly dedicatedIssuer?: never
  readonly tenants?: never
  readonly iat?: never
  readonly subject?: never
  readonly secret?: never
  readonly keys?: never
  readonly jwks?: never
  readonly discovery?: never
  readonly preset?: never
  readonly staleFor?: never
  readonly rotation?: never
  readonly introspection?: never
}

/** The options of an OAuth protected resource. */
export interface ResourceOptions {
  /** The URL of this API, with `https`, or with `http` on a loopback address. No query. */
  readonly url: string
  /** The scopes that clients may ask for, up to 100. */
  readonly scopes?: readonly string[]
  /**
   * The authorization servers, up to 100 URLs.
   * @default the issuers whose name is a URL
   */
  readonly authorizationServers?: readonly string[]
  /** A name for people. */
  readonly name?: string
  /** The URL of the documentation, with `https`. */
  readonly documentation?: string
}

/** The metadata of a protected resource (RFC 9728 section 2). */
export interface ResourceMetadata {
  readonly resource: string
  readonly authorization_servers?: readonly string[]
  readonly scopes_supported?: readonly string[]
  readonly bearer_methods_supported: readonly ('header' | 'query')[]
  readonly dpop_bound_access_tokens_required?: true
  readonly resource_name?: string
  readonly resource_documentation?: string
}

/** One of several issuers. */
export type IssuerOptions = IssuerName & IssuerRules & JwtKeySource

/** The issuer of the tokens, and what binds them to this API. */
export interface IssuerName {
  /**
   * The only accepted `iss` (RFC 7519 section 4.1.1). With the preset `'spiffe'`, the trust domain,
   * such as `'spiffe://example.org'`; with `'vault'`, Vault's address is enough. With
   * {@link tenants}, a template: `'https://login.microsoftonline.com/{tenantid}/v2.0'`.
   */
  readonly issuer: string
  /**
   * The `aud` values of this API; a token must name one of them (RFC 7519 section 4.1.3).
   *
   * `false` takes tokens that name no audience, as some providers issue them; a token with an `aud`
   * is refused, since it is meant for that one. Something else must bind the tokens to this API:
   * {@link claims} with a text for `client_id`, `azp`, `appid`, `cid`, `clientId` or `resource`, or
   * {@link dedicatedIssuer}. Without that, `createGuard` throws `ERR_CONFLICTING_OPTIONS`.
   *
   * With `resource` it may be left out, and is then the URL of the resource.
   */
  readonly audience: string | readonly string[] | false
  /**
   * Claims that a token must have, 1 to 16: a name, or a JSON Pointer (RFC 6901) such as
   * `'/firebase/sign_in_provider'`, and the accepted values. A list claim must contain one of them.
   * `iss`, `aud`, `exp`, `nbf`, `iat`, `jti` and `cnf` have rules of their own and can't be named.
   * @default none
   */
  readonly claims?: { readonly [claim: string]: ClaimValue | readonly ClaimValue[] }
  /**
   * The issuer issues tokens for this API alone, so its name stands in for an audience. Only with
   * `audience: false`. Never set it for an issuer that other APIs use as well: their tokens would
   * be accepted here.
   * @default false
   */
  readonly dedicatedIssuer?: boolean
  /**
   * The accepted tenants, 1 to 1,000, if `issuer` contains `{tenantid}`. The claim `tid` must be
   * the tenant in `iss`, and a key with a member `issuer` signs for that issuer alone. `'any'`
   * accepts every tenant, and everyone can have one: judge `tid` in the application or the policy.
   */
  readonly tenants?: readonly string[] | 'any'
  /**
   * `'optional'` accepts tokens without `iat`. Their lifetime is then bounded by `exp` alone, which
   * must be less than `maxLifetime` ahead, and every revocation of their subject covers them, also
   * one before their login. Revocations are kept for `maxLifetime`: it must not be shorter than the
   * provider's lifetime. Of an introspected token with neither `iat` nor `exp`, each answer is used
   * for {@link IntrospectionRules.cacheFor}.
   * @default 'required'
   */
  readonly iat?: 'required' | 'optional'
  /**
   * `'lenient'` accepts a `sub` that is a whole number, as its decimal digits, and treats an empty
   * `sub` as none. `req.user.sub` keeps the value of the token.
   * @default 'strict'
   */
  readonly subject?: 'strict' | 'lenient'
  /**
   * Rules for a kind of issuer. `'vault'`: the identity tokens of HashiCorp Vault, whose keys are
   * found by discovery. `'spiffe'`: JWT-SVIDs of one trust domain, whose bundle is in `jwks` or at
   * its URL. `sub` must be a SPIFFE ID of the trust domain with a path, `iss` is not required,
   * `typ` is `JWT`, `JOSE` or absent, and the algorithms are RS, ES and PS. Tokens of other issuers
   * may not have a `sub` of the trust domain.
   */
  readonly preset?: 'vault' | 'spiffe'
}

/** A value of a claim: a string, a whole number or a boolean. */
export type ClaimValue = string | number | boolean

/** Requirements for the tokens of an issuer. */
export interface IssuerRules {
  /**
   * The accepted algorithms. Every key is bound to one algorithm in any case; this option narrows
   * the choice.
   * @default the algorithms of the keys
   */
  readonly algorithms?: readonly Algorithm[]
  /**
   * The required `typ` of a token's header, e.g. `'at+jwt'` (RFC 9068 section 2.1), in any case,
   * with or without `application/`. It is also the `typ` of issued tokens.
   * @default `JWT`, `at+jwt` or none; issued tokens have `at+jwt`
   */
  readonly typ?: string
  /**
   * The tolerated clock difference between machines, for `exp`, `nbf` and `iat`; 0 to 60 s.
   * @default '10s'
   */
  readonly clockTolerance?: Duration
  /**
   * The longest lifetime (`exp` minus `iat`) of a token; 1 s to 366 days. It also bounds how long a
   * revocation is kept. An introspected token without `exp` ends so long after its `iat`.
   * @default '24h'
   */
  readonly maxLifetime?: Duration
}

/** How tokens are found and accepted. */
export interface JwtClaimsOptions extends IssuerRules {
  /**
   * The sources of a token: 1 to 8. A request with tokens in two of them, or two in one, is refused
   * with 400 `token_ambiguous` (RFC 6750 section 2).
   * @default ['header']
   */
  readonly from?: readonly TokenSource[]
  /**
   * Makes this API an OAuth protected resource (RFC 9728): its URL, or options with it. Challenges
   * then contain `resource_metadata` and the scopes to ask for; {@link Guard.protectedResource}
   * serves the metadata. It is also the audience of issuers without `audience`, with or without a
   * slash at its end (RFC 8707). See docs/guides/oauth.md.
   */
  readonly resource?: string | ResourceOptions
  /**
   * The largest accepted token, from 1 kb to 32 kb. Node itself accepts 16 kb of headers unless
   * `maxHeaderSize` of `http.createServer` or `--max-http-header-size` is higher.
   * @default '8kb'
   */
  readonly maxTokenSize?: number | string
  /**
   * The tokens that need a `DPoP` proof (RFC 9449). `'if-bound'`: tokens that are bound to a key
   * (`cnf.jkt`); others must not use the scheme `DPoP`. `'required'`: every token must be bound and
   * come with its proof. `'off'`: the scheme is not supported, so no bound token is accepted. Each
   * proof can be used once: in memory once per process, with a shared store once across all
   * processes, for one more round trip. If the store does not answer, the request is refused with
   * 503.
   * @default 'if-bound'
   */
  readonly dpop?: 'off' | 'if-bound' | 'required'
  /**
   * Whether a proof must have a nonce of this server (RFC 9449 section 9): `true`, or the options
   * of the nonces.
   * @default false
   */
  readonly dpopNonce?: boolean | DpopNonceOptions
  /**
   * Whether a request without a token passes as anonymous. An invalid token is refused; with
   * `'lenient'`, one in a cookie counts as none instead, and its cookie is cleared: a browser keeps
   * sending the cookie of a session that has ended. If the keys of the issuer are missing, the
   * answer is 503 in any case.
   * @default false
   */
  readonly optional?: boolean | 'lenient'
  /**
   * The cache of verified tokens, in bytes: a number or `'8mb'`, from 64 kb to 1024 mb. Each hit
   * compares the whole token and checks again its times, the validity of its key and its
   * revocation. `false` verifies every time.
   * @default { maxBytes: '8mb' }
   */
  readonly cache?: { readonly maxBytes?: number | string } | false
  /**
   * Refresh tokens: {@link Tokens.issue} returns one with each access token, and
   * {@link Tokens.refresh} accepts it. `true` is `{}`. Needs `revocation`, and a store that does
   * not evict records: memory or Redis. See docs/guides/sessions.md.
   * @default false
   */
  readonly refresh?: boolean | RefreshOptions
}

/**
 * The lifetime of refresh tokens (RFC 9700 section 4.14). Use the same options in all processes.
 */
export interface RefreshOptions {
  /**
   * The longest time from login to the end of a session, however often it is refreshed; 1 minute to
   * 366 days.
   * @default '30d'
   */
  readonly lifetime?: Duration
  /**
   * The longest time between two refreshes of a session; 1 minute to `lifetime`.
   * @default the same as `lifetime`
   */
  readonly idle?: Duration
  /**
   * The time after its use in which a token yields the same successor again, for concurrent tabs
   * and lost answers; 0 to 60 s. A later use, or any use of an older token, is a replay, which ends
   * the session.
   * @default '10s'
   */
  readonly reuseWindow?: Duration
  /**
   * The secret that encrypts the session records in a shared store: at least 32 bytes, or up to 10
   * of them. The first one encrypts, all can decrypt. Set it if sessions must outlive the signing
   * keys; see "Records in the store" in docs/guides/sessions.md.
   * @default derived from the private keys and secrets in `jwt`
   */
  readonly secret?: string | Uint8Array | readonly (string | Uint8Array)[]
}

/** Signing keys that rotate automatically. See docs/guides/sessions.md. */
export interface RotationOptions {
  /**
   * How long a key signs; 1 hour to 366 days, and at least a ninetieth of `maxLifetime`. Its tokens
   * are verified until the last one has expired.
   * @default '30d'
   */
  readonly every?: Duration
  /**
   * The least time for which a key is published before it signs; 10 minutes to `every`. Usually a
   * key is published for all of `every`: this minimum is for a service that was down when the key
   * was due. It must be longer than other services cache the JWK set.
   * @default '1h'
   */
  readonly overlap?: Duration
  /**
   * The algorithm of new keys, not one of a secret. Old keys keep theirs. RSA keys have 2048 bits.
   * @default 'ES256'
   */
  readonly alg?: Exclude<Algorithm, 'HS256' | 'HS384' | 'HS512'>
  /**
   * The storage of the private keys; they are not encrypted. A path: a file that is created with
   * mode 0600, and refused if others may read it (not checked on Windows); processes that share it
   * agree on its keys. Or functions of the application.
   */
  readonly storage: string | KeyStorage
}

/** An application's storage for signing keys: a secret store such as Vault. */
export interface KeyStorage {
  /**
   * Returns the text that was saved last, or `null` if there is none. Called about once a minute.
   */
  load(): string | null | Promise<string | null>
  /**
   * Stores `text`, which contains private keys. `previous` is the text that `load` returned. If
   * several processes share the keys, save only if that is still the stored text (a
   * compare-and-set), and return `false` if it is not.
   */
  save(text: string, previous: string | null): boolean | void | Promise<boolean | void>
}

/**
 * One source of a token.
 *
 * 1. `'header'`: `Authorization`, with the scheme `Bearer` or `DPoP`. Credentials of another scheme
 *    count as none if another source has a token.
 * 2. `header`: the header of this name, which contains the token alone. A proxy that logs users in
 *    adds it: make sure that it removes one that the client sent. It switches
 *    {@link GuardConfig.csrf} on. Headers that pages may set on any request, or that browsers,
 *    proxies or HTTP itself write, are refused: `accept`, `host`, `origin`, `sec-*`,
 *    `x-forwarded-for` and the like.
 * 3. `cookie`: the cookie of this name, which must start with `__Host-`: other cookies can be set
 *    by every host of the domain. Set it with `Secure`, `HttpOnly`, `SameSite` and `Path=/`. It
 *    switches {@link GuardConfig.csrf} on.
 * 4. `query`: the parameter of this name. Discouraged (RFC 9700 section 4.3.2): URLs appear in
 *    histories, in logs and in `Referer`. Schemas of a `query` skip that name, and must not declare
 *    it.
 */
export type TokenSource =
  | 'header'
  | { readonly header: string }
  | { readonly cookie: `__Host-${string}` }
  | { readonly query: string }

/** Options of the nonces of `DPoP` proofs. */
export interface DpopNonceOptions {
  /**
   * A secret of at least 32 bytes that is hard to guess, the same in all processes; required with a
   * shared store.
   * @default a random one for this process
   */
  readonly secret?: string | Uint8Array
  /**
   * The longest validity of a nonce; it is valid for at least half as long. 10 s to 1 h.
   * @default '5m'
   */
  readonly lifetime?: Duration
}

/**
 * The source of the keys: the options, with at least one source, or a URL. With `introspection` the
 * issuer is asked about opaque tokens; without any keys, about all tokens.
 */
export type JwtKeySource =
  | (JwtKeysAnywhere & { readonly introspection?: IntrospectionOptions })
  | JwtIntrospection

/** Keys in the options, or at a URL. */
export type JwtKeysAnywhere =
  | (JwtKeys & { readonly secret: string | Uint8Array })
  | (JwtKeys & { readonly keys: readonly KeyInput[] })
  | (JwtKeys & { readonly jwks: JwkSet })
  | (JwtKeys & { readonly rotation: RotationOptions })
  | (JwtKeysAtUrl & { readonly jwks: string | JwksSource })
  | (JwtKeysAtUrl & { readonly discovery: true | 'oauth' })
  | (JwtKeysAtUrl & { readonly preset: 'vault' })

/** No keys: the issuer is asked about its tokens. */
export interface JwtIntrospection {
  readonly introspection: IntrospectionOptions
  readonly secret?: never
  readonly keys?: never
  readonly jwks?: never
  readonly discovery?: false
  readonly staleFor?: never
  readonly rotation?: never
}

/**
 * The introspection endpoint of an issuer (RFC 7662), for tokens that only it can judge. At most
 * one issuer has one. An issuer without keys that is the only one is asked about all tokens;
 * otherwise it is asked about those that are no JWT. See docs/guides/oauth.md.
 *
 * Node's `fetch` asks, without following redirects, and reads at most 64 KiB. Requests with one
 * token wait for one question. If the endpoint gives no clear answer, or too many requests wait,
 * the request is refused with 503 `introspection_unavailable`.
 */
export type IntrospectionOptions = IntrospectionRules & (IntrospectionClient | IntrospectionHeaders)

/** The credentials of this API at its issuer, for HTTP Basic (RFC 6749 section 2.3.1). */
export interface IntrospectionClient {
  /** The name of this API as a client of the issuer, up to 1,024 bytes. */
  readonly clientId: string
  /** Its secret, up to 1,024 bytes. */
  readonly clientSecret: string
  readonly headers?: never
}

/** Other credentials, in headers. */
export interface IntrospectionHeaders {
  /**
   * Request headers, up to 16, such as `authorization`; or a function that returns them, which is
   * called for each question.
   */
  readonly headers:
    | { readonly [name: string]: string }
    | (() => { readonly [name: string]: string } | Promise<{ readonly [name: string]: string }>)
  readonly clientId?: never
  readonly clientSecret?: never
}

/** How an issuer is asked about tokens, and the rules for its answers. */
export interface IntrospectionRules {
  /** The URL of the endpoint, with `https`, or with `http` on a loopback address. */
  readonly url: string
  /**
   * Allows `http` to a host in a private network, such as `http://keycloak:8080`. Everyone on the
   * way reads the tokens and chooses the answers. Public addresses are refused.
   * @default false
   */
  readonly allowHttp?: boolean
  /**
   * How long an answer is used; 1 s to 5 minutes. A token that its issuer revokes is accepted for
   * that long. An answer that refuses a token is used for 5 s at most.
   * @default '10s'
   */
  readonly cacheFor?: Duration
  /**
   * How long the endpoint may take for its whole answer; 100 ms to 10 s. A request waits for its
   * turn for that long, too.
   * @default '2s'
   */
  readonly timeout?: Duration
  /**
   * Also asks about JWTs whose `iss` is this issuer. For an issuer without keys, beside others.
   * @default false
   */
  readonly jwts?: boolean
  /**
   * `'optional'` accepts answers without `iss`. One that is there must be the issuer's name.
   * @default 'required'
   */
  readonly iss?: 'required' | 'optional'
  /**
   * `'optional'` accepts answers without `token_type`. One that is there must be `Bearer`, or
   * `DPoP` for a token that is bound to a key. Many endpoints call a refresh token active, too, and
   * leave out its type: with `'optional'`, name a claim of access tokens in
   * {@link IssuerName.claims}.
   * @default 'required'
   */
  readonly tokenType?: 'required' | 'optional'
}

/** Keys in the options. */
export interface JwtKeys {
  /**
   * A shared secret for HS256, or for the one of HS256, HS384 and HS512 in `algorithms`: at least
   * 32, 48 or 64 bytes that are hard to guess. Make one with `openssl rand -base64 48`.
   */
  readonly secret?: string | Uint8Array
  /**
   * Up to 100 keys, each with its algorithm. New tokens are signed with the private key in force
   * that has the latest `notBefore`, or with a secret if there is none.
   */
  readonly keys?: readonly KeyInput[]
  /**
   * A JWK set with public keys (RFC 7517 section 5). Keys for encryption are ignored. A key that
   * can't be used is left out, with the warning `GUARD_KEY_LEFT_OUT`; `kid` and `alg` name a key.
   * The set is refused if no key is left, or if two keys have one `kid` and `alg`.
   */
  readonly jwks?: JwkSet
  /**
   * Keys that are generated here, and rotate automatically. They sign; the other keys only verify.
   */
  readonly rotation?: RotationOptions
  readonly discovery?: false
  readonly staleFor?: never
}

/**
 * Keys that an issuer publishes. Node's `fetch` reads them in the background: about every five
 * minutes, more often if `Cache-Control` requires it, and when a token has an unknown `kid`, at
 * most once in 30 s. A request waits for that only if its own key is unknown, for 2 s at most,
 * twice. Without keys, and if they are too old, its tokens are refused with 503
 * `issuer_unavailable`. See docs/guides/issuers.md.
 */
export interface JwtKeysAtUrl {
  /**
   * The URL of a JWK set, with `https`, or with `http` on a loopback address; or the URL with
   * options. Redirects are not followed, and at most 256 KiB are read. Each key is judged by
   * itself, as in a set of the options.
   */
  readonly jwks?: string | JwksSource
  /**
   * `true` reads the URL from the issuer's metadata at `<issuer>/.well-known/openid-configuration`
   * (OpenID Connect Discovery 1.0), `'oauth'` from `/.well-known/oauth-authorization-server` (RFC
   * 8414 section 3). Its `issuer` must equal the option exactly. Not together with `jwks`.
   */
  readonly discovery?: boolean | 'oauth'
  /**
   * How long cached keys are used while the issuer provides none; 10 minutes to 24 h.
   * @default '1h'
   */
  readonly staleFor?: Duration
  /**
   * A shared secret beside the published keys, for an issuer that changes from one to the other:
   * tokens of HS256 (or the HS algorithm in `algorithms`) are verified with it, whatever their
   * `kid`.
   */
  readonly secret?: string | Uint8Array
  readonly keys?: never
  readonly rotation?: never
}

/** A JWK set at a URL, with options of the request. */
export interface JwksSource {
  /** The URL. */
  readonly url: string
  /**
   * Request headers, up to 16, such as `authorization`; or a function that returns them, which is
   * called for each request.
   */
  readonly headers?:
    | { readonly [name: string]: string }
    | (() => { readonly [name: string]: string } | Promise<{ readonly [name: string]: string }>)
  /**
   * Allows `http` to a host in a private network, such as `http://keycloak:8080`. Everyone who can
   * change the answer on its way chooses the trusted keys. Public addresses are refused.
   * @default false
   */
  readonly allowHttp?: boolean
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
   * The key's name, as in the `kid` of tokens. Required if there are several keys; one of them may
   * have none.
   */
  readonly kid?: string
  /** The one algorithm of this key. */
  readonly alg: Algorithm
  /**
   * PEM text, raw secret bytes (HS algorithms), or a JWK. A private key signs and verifies, a
   * public key verifies.
   *
   * Checked when the guard is built: `ERR_WEAK_SECRET` for a secret that is short or easy to guess,
   * `ERR_WEAK_KEY` for RSA keys outside of 2048 to 8192 bits or with a known flaw and for Ed25519
   * points of small order, `ERR_INVALID_KEY` for a key that does not fit `alg`.
   * docs/guides/tokens.md has every rule.
   */
  readonly key: string | Uint8Array | Jwk
  /**
   * The start of the key's validity: a `Date`, or seconds since the Unix epoch. {@link Tokens.jwks}
   * includes it before that.
   * @default always
   */
  readonly notBefore?: Date | number
  /**
   * The end of the key's validity: a `Date`, or seconds since the Unix epoch.
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
  /**
   * Whether a request without an identity passes as anonymous, as in
   * {@link JwtClaimsOptions.optional}. Left out: as in the guard's `jwt`, or `false`.
   */
  readonly optional?: boolean | 'lenient'
}

// Presets of identity providers: from a name and one or two facts to the options of an issuer.

import type { IssuerName, IssuerRules, JwkSet, JwksSource } from './token'

/** Options of one issuer, for `jwt` or for an entry of `jwt.issuers`. */
export interface ProviderIssuer extends IssuerName, IssuerRules {
  readonly jwks: string | JwksSource
}

/**
 * Options of an issuer whose tokens a proxy adds in a header of its own, for `jwt`. For an entry of
 * `jwt.issuers`, take `from` off, and write it beside `issuers`:
 *
 * ```ts
 * const { from, ...iap } = providers.iap({ audience: '/projects/1234/apps/my-project' })
 * const guard = createGuard({ jwt: { issuers: [iap], from } })
 * ```
 */
export interface ProxyIssuer extends ProviderIssuer {
  readonly from: readonly [{ readonly header: string }]
}

/** Options of an issuer whose metadata names its keys. */
export interface DiscoveredIssuer extends IssuerName, IssuerRules {
  readonly discovery: true
}

/** Options of an issuer with rules of its own: `preset`. */
export interface VaultIssuer extends IssuerName {
  readonly preset: 'vault'
}

/** Options of a SPIFFE trust domain. */
export interface SpiffeIssuer<Bundle> extends IssuerName {
  readonly preset: 'spiffe'
  readonly jwks: Bundle
}

/** Options of Supabase, with or without the secret of its older tokens. */
export interface SupabaseIssuer<Secret> extends ProviderIssuer {
  readonly secret: Secret
}

type OneOrMore = string | readonly string[]

/**
 * The presets. Each returns new options that `createGuard` judges as if they were written by hand.
 * docs/guides/providers.md has the tokens, roles and limits of each provider.
 */
export interface Providers {
  /**
   * Access tokens of Auth0 for an API. `domain` is the tenant's or a custom one; `clients` narrows
   * the applications (`azp`).
   */
  auth0(facts: { readonly domain: string; readonly audience: OneOrMore; readonly clients?: OneOrMore }): ProviderIssuer

  /**
   * Access tokens of a custom authorization server of Okta. `clients` narrows the applications
   * (`cid`). Tokens of the org authorization server are for Okta alone and can't be verified.
   */
  okta(facts: {
    readonly domain: string
    readonly audience: OneOrMore
    /** @default 'default' */
    readonly authorizationServer?: string
    readonly clients?: OneOrMore
  }): ProviderIssuer

  /**
   * Tokens of one tenant of Microsoft Entra. `version` is that of the tokens, which the API's
   * registration chooses (`requestedAccessTokenVersion`). `audience` is the API's GUID in tokens of
   * v2, and often `api://<GUID>` in tokens of v1. `clients` narrows the applications (`azp`,
   * `appid`). ID tokens are refused by `azpacr` or `appidacr`, which access tokens alone have.
   */
  entra(facts: {
    readonly tenant: string
    readonly audience: OneOrMore
    /** @default 'v2' */
    readonly version?: 'v1' | 'v2'
    readonly clients?: OneOrMore
  }): ProviderIssuer

  /**
   * Tokens of several tenants of Microsoft Entra (v2). The claim `tid` must be the tenant in `iss`.
   * `tenants: 'any'` gives up the choice of tenants: everyone can have one, so the application or
   * the policy must judge `tid`.
   */
  entraMultiTenant(facts: { readonly audience: OneOrMore; readonly tenants: readonly string[] | 'any'; readonly clients?: OneOrMore }): ProviderIssuer

  /**
   * Access tokens of one user flow or policy of Azure AD B2C. `clients` are the applications that
   * ask for them (`azp`): ID tokens, which have the same `iss`, have none.
   */
  entraB2c(facts: {
    /** The name before `.b2clogin.com` and `.onmicrosoft.com`. */
    readonly tenantName: string
    /** The id of the tenant. */
    readonly tenant: string
    readonly policy: string
    /**
     * The claim with the policy: `'acr'` for policies that are set up so.
     * @default 'tfp'
     */
    readonly policyClaim?: 'tfp' | 'acr'
    readonly audience: OneOrMore
    readonly clients: OneOrMore
  }): ProviderIssuer

  /**
   * Tokens of a user pool of Amazon Cognito. Access tokens have no `aud`: `client_id` and
   * `token_use` stand in for it, so the tokens of these clients are accepted whichever API they
   * were meant for. `tokens: 'id'` accepts ID tokens instead, whose `aud` is the client.
   */
  cognito(facts: {
    readonly region: string
    readonly userPool: string
    readonly clients: OneOrMore
    /** @default 'access' */
    readonly tokens?: 'access' | 'id'
  }): ProviderIssuer

  /**
   * ID tokens of users who sign in with Google. `azp` must be `clientId` or one of `apps`, the
   * client ids of the mobile apps: a Google service account can get a token with any `aud`.
   * `hostedDomain` narrows the users to one Workspace domain (`hd`).
   */
  google(facts: { readonly clientId: OneOrMore; readonly apps?: OneOrMore; readonly hostedDomain?: string }): ProviderIssuer

  /**
   * ID tokens of Google service accounts, by their email. Every service account can get a token for
   * every audience, so the accounts must be listed.
   */
  googleServiceAccounts(facts: { readonly audience: OneOrMore; readonly serviceAccounts: OneOrMore }): ProviderIssuer

  /**
   * ID tokens of Firebase Authentication. `signInProviders` narrows the ways to sign in; without
   * it, anonymous users are accepted where the project allows them.
   */
  firebase(facts: { readonly project: string; readonly signInProviders?: OneOrMore }): ProviderIssuer

  /**
   * Tokens that Google's Identity-Aware Proxy adds to each request, in a header of its own
   * (`from`), which switches CSRF protection on.
   */
  iap(facts: { readonly audience: OneOrMore }): ProxyIssuer

  /**
   * Tokens that Cloudflare Access adds to each request, in a header of its own (`from`), which
   * switches CSRF protection on. `serviceTokens` accepts those of services too: their `sub` is
   * empty, so `subject: 'lenient'` gives up the check of it, and they have no user to revoke or to
   * limit.
   */
  cloudflareAccess(facts: { readonly team: string; readonly audience: OneOrMore; readonly serviceTokens?: boolean }): ProxyIssuer

  /**
   * Session tokens of Clerk. They have no `aud`: the page's origin in `azp` stands in for it, so
   * the sessions of these pages are accepted whichever API they were meant for. `v: 2` keeps tokens
   * of JWT templates apart, which are for other services. `domain` is that of the Frontend API.
   */
  clerk(facts: { readonly domain: string; readonly origins: OneOrMore }): ProviderIssuer

  /**
   * Tokens of users of a Supabase project. Every API of the project shares the audience
   * `authenticated`. With `secret`, tokens of the legacy secret are accepted beside those of the
   * published keys: everyone who has it can issue tokens.
   */
  supabase(facts: { readonly project: string; readonly secret?: never }): ProviderIssuer
  supabase<Secret extends string | Uint8Array>(facts: { readonly project: string; readonly secret: Secret }): SupabaseIssuer<Secret>

  /**
   * Access tokens of a realm of Keycloak, by `audience`, by `clients` (`azp`) or both. With
   * `clients` alone, the tokens of these clients are accepted whichever API they were meant for.
   * `internalUrl` is where the keys are fetched, if not at `url`; one with `http` gives up the
   * protection of the keys on their way.
   */
  keycloak(facts: {
    /** The public address in `iss`, with its path: `https://id.example.com/auth`. */
    readonly url: string
    readonly realm: string
    readonly audience?: OneOrMore
    readonly clients?: OneOrMore
    readonly internalUrl?: string
  }): ProviderIssuer

  /**
   * Access tokens of WorkOS AuthKit. They have no `aud`: the client is in `iss`, so the tokens of
   * this client are accepted whichever API they were meant for.
   */
  workos(facts: { readonly clientId: string }): ProviderIssuer

  /**
   * Access tokens of Kinde, by `audience`, by `clients` (`azp`) or both. With `clients` alone, the
   * tokens of these clients are accepted whichever API they were meant for, and must have the scope
   * `openid`: ID tokens have no scopes.
   */
  kinde(facts: { readonly domain: string; readonly audience?: OneOrMore; readonly clients?: OneOrMore }): ProviderIssuer

  /**
   * OIDC tokens of GitHub Actions. Every workflow chooses its audience, so `repository` or `owner`
   * must name whose workflows are accepted; `ref` and `environment` narrow them.
   */
  githubActions(facts: { readonly audience: OneOrMore; readonly repository?: OneOrMore; readonly owner?: OneOrMore; readonly ref?: OneOrMore; readonly environment?: OneOrMore }): ProviderIssuer

  /**
   * ID tokens of GitLab CI jobs. Every job chooses its audience, so `project` or `group` must name
   * whose jobs are accepted. `protectedRefs` accepts those of protected branches and tags alone.
   */
  gitlab(facts: {
    readonly audience: OneOrMore
    readonly project?: OneOrMore
    readonly group?: OneOrMore
    readonly protectedRefs?: boolean
    /** @default 'https://gitlab.com' */
    readonly url?: string
  }): ProviderIssuer

  /**
   * Service account tokens of a Kubernetes cluster, whose metadata names the keys. Every pod can
   * get a token for every audience: `serviceAccounts` narrows them to `namespace:name`.
   */
  kubernetes(facts: { readonly issuer: string; readonly audience: OneOrMore; readonly serviceAccounts?: OneOrMore; readonly apiServer?: never; readonly tokenFile?: never }): DiscoveredIssuer
  /**
   * The same, with the keys of `apiServer`, such as `'https://kubernetes.default.svc'`. The token
   * in `tokenFile` is sent to it.
   */
  kubernetes(facts: {
    readonly issuer: string
    readonly audience: OneOrMore
    readonly serviceAccounts?: OneOrMore
    readonly apiServer: string
    /** @default '/var/run/secrets/kubernetes.io/serviceaccount/token' */
    readonly tokenFile?: string
  }): ProviderIssuer

  /** Identity tokens of HashiCorp Vault. `audience` is the client id of the role. */
  vault(facts: { readonly address: string; readonly audience: OneOrMore }): VaultIssuer

  /** JWT-SVIDs of a SPIFFE trust domain. `bundle` is its JWK set or the URL of it. */
  spiffe<Bundle extends string | JwksSource | JwkSet>(facts: { readonly trustDomain: string; readonly audience: OneOrMore; readonly bundle: Bundle }): SpiffeIssuer<Bundle>
}

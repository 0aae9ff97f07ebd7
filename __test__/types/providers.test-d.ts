// The presets of providers: what they return fits `jwt`, alone, spread and among others.
import { createGuard, providers } from 'keepstone'
import type { IssuerOptions, JwkSet, JwtOptions, ProviderIssuer } from 'keepstone'

declare const set: JwkSet
const okta: ProviderIssuer = providers.okta({ domain: 'example.okta.com', audience: 'api://default' })
const alone: JwtOptions = okta
const spread: JwtOptions = { ...okta, clockTolerance: '5s', optional: true }
const inline: JwtOptions = { ...okta, jwks: set }
const secret: JwtOptions = providers.supabase({ project: 'abcdefghijklmnopqrst', secret: Buffer.alloc(32) })
const { from, ...iap } = providers.iap({ audience: '/projects/1/apps/a' })
const several: readonly IssuerOptions[] = [
  okta,
  iap,
  providers.vault({ address: 'https://vault.example.com', audience: 'a' }),
  providers.spiffe({ trustDomain: 'example.org', audience: 'a', bundle: set }),
  providers.spiffe({ trustDomain: 'example.org', audience: 'a', bundle: 'https://spire.example.org/bundle' }),
  providers.kubernetes({ issuer: 'https://oidc.example.com', audience: 'a' }),
  providers.kubernetes({ issuer: 'https://oidc.example.com', audience: 'a', apiServer: 'https://kubernetes.default.svc' }),
]
createGuard({ jwt: { issuers: several, from } })
createGuard({ jwt: providers.iap({ audience: ['/projects/1/apps/a'] }) })
createGuard({ jwt: { ...providers.kubernetes({ issuer: 'https://oidc.example.com', audience: 'a' }), maxLifetime: '366d' } })
for (const jwt of [alone, spread, inline, secret]) createGuard({ jwt })

// @ts-expect-error a fact is missing
providers.okta({ domain: 'example.okta.com' })
// @ts-expect-error no such fact
providers.okta({ domain: 'example.okta.com', audience: 'a', tenant: 'b' })
// @ts-expect-error `from` stands beside `issuers`
createGuard({ jwt: { issuers: [{ ...iap, from }] } })
// @ts-expect-error the table is fixed
providers.okta = providers.okta

'use strict'

// A table of identity providers: from a name and one or two facts to the options of an issuer. The
// options are plain, so print them to see what a preset stands for. docs/guides/providers.md has a
// section for each.
//
// 1. A token must be bound to this API: by `audience`, or by claims where a provider has none.
// 2. Where a provider's ID tokens have the same `iss` as its access tokens, a claim or the audience
//    keeps them apart.
// 3. `algorithms` names those that the provider signs with, since some key sets have no `alg`.

const { any, conflict, flag, host, named, names, oneOf, optional, preset, url, UUID, uuid, words } = require('./facts.js')

const RS256 = ['RS256']
// How the client authenticated (`azpacr`, `appidacr`): Entra writes it into access tokens alone, so
// that it keeps ID tokens apart.
const ACCESS = ['0', '1', '2']
const GUID = "'8f2b0c1e-4a55-4d2c-9b7e-2f6a1c3d5e70'"
const MICROSOFT = 'https://login.microsoftonline.com'
const GITHUB = 'https://token.actions.githubusercontent.com'
const GOOGLE = 'https://accounts.google.com'
const GOOGLE_KEYS = 'https://www.googleapis.com/oauth2/v3/certs'
const FIREBASE_KEYS = 'https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com'

const audience = (example) => names(example, 'an audience')
const client = (example) => names(example, 'the id of a client')

/** `{ claims }` without the claims that no fact is about; nothing where there is none. */
function claimsOf(wanted) {
  const claims = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined))
  return Object.keys(claims).length === 0 ? {} : { claims }
}

const auth0 = preset('auth0', { domain: host("'example.eu.auth0.com'"), audience: audience("'https://api.example.com'"), clients: optional(client("'my-client'")) }, ({ domain, audience, clients }) => ({
  issuer: `https://${domain}/`,
  audience,
  ...claimsOf({ azp: clients }),
  algorithms: RS256,
  jwks: `https://${domain}/.well-known/jwks.json`
}))

const okta = preset(
  'okta',
  { domain: host("'example.okta.com'"), audience: audience("'api://default'"), authorizationServer: optional(named("'default'", 'the id of an authorization server', /^[A-Za-z0-9]+$/)), clients: optional(client("'0oa1b2c3d4e5f6g7h8i9'")) },
  ({ domain, audience, authorizationServer = 'default', clients }) => {
    const issuer = `https://${domain}/oauth2/${authorizationServer}`
    return { issuer, audience, ...claimsOf({ cid: clients }), algorithms: RS256, jwks: `${issuer}/v1/keys` }
  }
)

const entra = preset(
  'entra',
  { tenant: uuid(GUID, 'the id of a tenant'), audience: audience(GUID), version: optional(words("'v2'", ['v1', 'v2'])), clients: optional(client(GUID)) },
  ({ tenant, audience, version = 'v2', clients }) =>
    version === 'v2'
      ? { issuer: `${MICROSOFT}/${tenant}/v2.0`, audience, ...claimsOf({ tid: tenant, azp: clients, azpacr: ACCESS }), algorithms: RS256, jwks: `${MICROSOFT}/${tenant}/discovery/v2.0/keys` }
      : { issuer: `https://sts.windows.net/${tenant}/`, audience, ...claimsOf({ tid: tenant, appid: clients, appidacr: ACCESS }), algorithms: RS256, jwks: `${MICROSOFT}/${tenant}/discovery/keys` }
)

const entraMultiTenant = preset('entraMultiTenant', { audience: audience(GUID), tenants: tenants(), clients: optional(client(GUID)) }, ({ audience, tenants, clients }) => ({
  issuer: `${MICROSOFT}/{tenantid}/v2.0`,
  tenants,
  audience,
  ...claimsOf({ azp: clients, azpacr: ACCESS }),
  algorithms: RS256,
  jwks: `${MICROSOFT}/common/discovery/v2.0/keys`
}))

/** `'any'` in place of ids must be written as it is: a list of one tenant is a list. */
function tenants() {
  const ids = names(`[${GUID}], or 'any'`, 'the id of a tenant', UUID)
  return { ...ids, check: (value) => (value === 'any' ? undefined : Array.isArray(value) ? ids.check(value) : "must be a list of tenants, or 'any'") }
}

const entraB2c = preset(
  'entraB2c',
  {
    tenantName: named("'example'", 'the name of a tenant', /^[a-z0-9][a-z0-9-]*$/),
    tenant: uuid(GUID, 'the id of a tenant'),
    policy: named("'B2C_1_signin'", 'the name of a user flow or policy', /^[A-Za-z0-9_-]+$/),
    policyClaim: optional(words("'tfp'", ['tfp', 'acr'])),
    audience: audience(GUID),
    clients: client(GUID)
  },
  ({ tenantName, tenant, policy, policyClaim = 'tfp', audience, clients }) => ({
    issuer: `https://${tenantName}.b2clogin.com/${tenant}/v2.0/`,
    audience,
    ...claimsOf({ [policyClaim]: policy, azp: clients }),
    algorithms: RS256,
    jwks: `https://${tenantName}.b2clogin.com/${tenantName}.onmicrosoft.com/${policy}/discovery/v2.0/keys`
  })
)

const cognito = preset(
  'cognito',
  {
    region: named("'eu-west-1'", 'the name of a region', /^[a-z]{2}(?:-[a-z]+)+-\d+$/),
    userPool: named("'eu-west-1_a1B2c3D4e'", 'the id of a user pool', /^[a-z0-9-]+_[A-Za-z0-9]+$/),
    clients: client("'1h57kf5cpq17m0eml12EXAMPLE'"),
    tokens: optional(words("'access'", ['access', 'id']))
  },
  ({ region, userPool, clients, tokens = 'access' }) => {
    if (!userPool.startsWith(`${region}_`)) throw conflict('providers.cognito.userPool', 'is of another region', 'write the id of a pool in `region`, such as eu-west-1_a1B2c3D4e')
    const issuer = `https://cognito-idp.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/${userPool}`
    const bound = tokens === 'access' ? { audience: false, claims: { client_id: clients, token_use: 'access' } } : { audience: clients, claims: { token_use: 'id' } }
    return { issuer, ...bound, algorithms: RS256, jwks: `${issuer}/.well-known/jwks.json` }
  }
)

const google = preset(
  'google',
  { clientId: client("'1234-abc.apps.googleusercontent.com'"), apps: optional(client("'1234-android.apps.googleusercontent.com'")), hostedDomain: optional(host("'example.com'")) },
  ({ clientId, apps = [], hostedDomain }) => ({
    issuer: GOOGLE,
    audience: clientId,
    ...claimsOf({ azp: [...new Set([clientId, apps].flat())], hd: hostedDomain }),
    algorithms: RS256,
    jwks: GOOGLE_KEYS
  })
)

const googleServiceAccounts = preset(
  'googleServiceAccounts',
  { audience: audience("'https://api.example.com'"), serviceAccounts: names("'worker@my-project.iam.gserviceaccount.com'", 'the email of a service account', /^[a-z0-9.-]+@[a-z0-9.-]+\.gserviceaccount\.com$/) },
  ({ audience, serviceAccounts }) => ({ issuer: GOOGLE, audience, claims: { email: serviceAccounts, email_verified: true }, algorithms: RS256, jwks: GOOGLE_KEYS })
)

const firebase = preset(
  'firebase',
  { project: named("'my-project'", 'the id of a project', /^[a-z][a-z0-9-]{4,28}[a-z0-9]$/), signInProviders: optional(names("['password', 'google.com']", 'a sign-in provider')) },
  ({ project, signInProviders }) => ({
    issuer: `https://securetoken.google.com/${project}`,
    audience: project,
    ...claimsOf({ '/firebase/sign_in_provider': signInProviders }),
    algorithms: RS256,
    jwks: FIREBASE_KEYS
  })
)

const iap = preset('iap', { audience: names("'/projects/123456789012/global/backendServices/1234567890'", 'the audience of a backend', /^\/projects\/\d+\/[\w/:.-]+$/) }, ({ audience }) => ({
  issuer: 'https://cloud.google.com/iap',
  audience,
  algorithms: ['ES256'],
  jwks: 'https://www.gstatic.com/iap/verify/public_key-jwk',
  from: [{ header: 'x-goog-iap-jwt-assertion' }]
}))

const cloudflareAccess = preset(
  'cloudflareAccess',
  { team: named("'example'", 'the name of a team, without .cloudflareaccess.com', /^[a-z0-9][a-z0-9-]*$/), audience: names("'4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2'", 'the audience tag of an application', /^[0-9a-f]{64}$/), serviceTokens: optional(flag()) },
  ({ team, audience, serviceTokens = false }) => ({
    issuer: `https://${team}.cloudflareaccess.com`,
    audience,
    claims: { type: 'app' },
    ...(serviceTokens ? { subject: 'lenient' } : {}),
    algorithms: RS256,
    jwks: `https://${team}.cloudflareaccess.com/cdn-cgi/access/certs`,
    from: [{ header: 'cf-access-jwt-assertion' }]
  })
)

const clerk = preset(
  'clerk',
  { domain: host("'clerk.example.com'"), origins: names("'https://app.example.com'", 'the origin of a page', /^https?:\/\/[a-z0-9.-]+(?::\d+)?$/) },
  ({ domain, origins }) => ({ issuer: `https://${domain}`, audience: false, claims: { azp: origins, v: 2 }, algorithms: RS256, jwks: `https://${domain}/.well-known/jwks.json` })
)

const supabase = preset('supabase', { project: named("'abcdefghijklmnopqrst'", 'the reference of a project', /^[a-z0-9]{20}$/), secret: optional(any('process.env.SUPABASE_JWT_SECRET')) }, ({ project, secret }) => {
  const issuer = `https://${project}.supabase.co/auth/v1`
  const keys = secret === undefined ? { algorithms: ['ES256', 'RS256'] } : { algorithms: ['ES256', 'RS256', 'HS256'], secret }
  return { issuer, audience: 'authenticated', ...keys, jwks: `${issuer}/.well-known/jwks.json` }
})

const keycloak = preset(
  'keycloak',
  {
    url: url("'https://id.example.com'", ['https:', 'http:']),
    realm: named("'my-realm'", 'the name of a realm', /^[A-Za-z0-9._~-]+$/),
    audience: optional(audience("'my-api'")),
    clients: optional(client("'my-client'")),
    internalUrl: optional(url("'http://keycloak:8080'", ['https:', 'http:']))
  },
  (facts) => {
    oneOf('keycloak', facts, ['audience', 'clients'], 'one of them must bind a token to this API')
    const { url: base, realm, audience = false, clients, internalUrl } = facts
    const keysOf = (server) => `${server}/realms/${realm}/protocol/openid-connect/certs`
    const isPlain = internalUrl !== undefined && internalUrl.startsWith('http:')
    return {
      issuer: `${base}/realms/${realm}`,
      audience,
      ...claimsOf({ azp: clients, typ: ['Bearer', 'DPoP'] }),
      algorithms: RS256,
      jwks: isPlain ? { url: keysOf(internalUrl), allowHttp: true } : keysOf(internalUrl ?? base)
    }
  }
)

const workos = preset('workos', { clientId: named("'client_01HXYZ'", 'the id of a client', /^client_[A-Za-z0-9]+$/) }, ({ clientId }) => ({
  issuer: `https://api.workos.com/user_management/${clientId}`,
  audience: false,
  dedicatedIssuer: true,
  algorithms: RS256,
  jwks: `https://api.workos.com/sso/jwks/${clientId}`
}))

const kinde = preset('kinde', { domain: host("'example.kinde.com'"), audience: optional(audience("'https://api.example.com'")), clients: optional(client("'0123456789abcdef0123456789abcdef'")) }, (facts) => {
  oneOf('kinde', facts, ['audience', 'clients'], 'one of them must bind a token to this API')
  const { domain, audience = false, clients } = facts
  const issuer = `https://${domain}`
  // Without an audience only `scp` keeps ID tokens of the same client apart.
  const scp = audience === false ? 'openid' : undefined
  return { issuer, audience, ...claimsOf({ azp: clients, scp }), algorithms: RS256, jwks: `${issuer}/.well-known/jwks` }
})

const githubActions = preset(
  'githubActions',
  {
    audience: audience("'https://api.example.com'"),
    repository: optional(names("'my-org/my-repo'", 'a repository with its owner', /^[\w.-]+\/[\w.-]+$/)),
    owner: optional(names("'my-org'", 'the owner of repositories', /^[\w.-]+$/)),
    ref: optional(names("'refs/heads/main'", 'a git ref', /^refs\//)),
    environment: optional(names("'production'", 'an environment'))
  },
  (facts) => {
    oneOf('githubActions', facts, ['repository', 'owner'], 'a workflow of any repository can get a token with any audience')
    const { audience, repository, owner, ref, environment } = facts
    return { issuer: GITHUB, audience, ...claimsOf({ repository, repository_owner: owner, ref, environment }), algorithms: RS256, jwks: `${GITHUB}/.well-known/jwks` }
  }
)

const gitlab = preset(
  'gitlab',
  {
    audience: audience("'https://api.example.com'"),
    project: optional(names("'my-group/my-project'", 'a project with its group', /^[\w.-]+(?:\/[\w.-]+)+$/)),
    group: optional(names("'my-group'", 'the path of a group', /^[\w.-]+(?:\/[\w.-]+)*$/)),
    protectedRefs: optional(flag()),
    url: optional(url("'https://gitlab.example.com'"))
  },
  (facts) => {
    oneOf('gitlab', facts, ['project', 'group'], 'a job of any project can get a token with any audience')
    const { audience, project, group, protectedRefs = false, url: base = 'https://gitlab.com' } = facts
    const claims = claimsOf({ project_path: project, namespace_path: group, ref_protected: protectedRefs ? 'true' : undefined })
    return { issuer: base, audience, ...claims, algorithms: RS256, jwks: `${base}/oauth/discovery/keys` }
  }
)

const kubernetes = preset(
  'kubernetes',
  {
    issuer: url("'https://kubernetes.default.svc.cluster.local'"),
    audience: audience("'https://api.example.com'"),
    serviceAccounts: optional(names("'my-namespace:my-account'", 'a service account with its namespace', /^[a-z0-9.-]+:[a-z0-9.-]+$/)),
    apiServer: optional(url("'https://kubernetes.default.svc'")),
    tokenFile: optional(named("'/var/run/secrets/kubernetes.io/serviceaccount/token'", 'the path of a file', /^\//))
  },
  ({ issuer, audience, serviceAccounts, apiServer, tokenFile = '/var/run/secrets/kubernetes.io/serviceaccount/token' }) => {
    const subjects = serviceAccounts === undefined ? undefined : [serviceAccounts].flat().map((account) => `system:serviceaccount:${account}`)
    const { readFile } = require('node:fs/promises')
    const headers = async () => ({ authorization: `Bearer ${(await readFile(tokenFile, 'utf8')).trim()}` })
    const keys = apiServer === undefined ? { discovery: true } : { jwks: { url: `${apiServer}/openid/v1/jwks`, headers } }
    return { issuer, audience, ...claimsOf({ sub: subjects }), algorithms: RS256, ...keys }
  }
)

const vault = preset('vault', { address: url("'https://vault.example.com:8200'", ['https:', 'http:']), audience: audience("'dHlJbVlHbkxnOW5sRXc5'") }, ({ address, audience }) => ({ preset: 'vault', issuer: address, audience }))

const spiffe = preset(
  'spiffe',
  { trustDomain: named("'example.org'", 'a trust domain', /^[a-z0-9._-]+$/), audience: audience("'spiffe://example.org/api'"), bundle: any("'https://spire.example.org/bundle'") },
  ({ trustDomain, audience, bundle }) => ({ preset: 'spiffe', issuer: `spiffe://${trustDomain}`, audience, jwks: bundle })
)

const providers = Object.freeze({
  auth0,
  okta,
  entra,
  entraMultiTenant,
  entraB2c,
  cognito,
  google,
  googleServiceAccounts,
  firebase,
  iap,
  cloudflareAccess,
  clerk,
  supabase,
  keycloak,
  workos,
  kinde,
  githubActions,
  gitlab,
  kubernetes,
  vault,
  spiffe
})

module.exports = { providers }

// Identity providers: the facts of each, its key set, and its tokens in their exact shape. What is
// under `forged` must be refused, with the reason beside it.

import { encryptionKey, inPlainBase64, providerKey, secretToken, times, withLeadingZero } from './provider-tokens.mjs'

const API = 'https://api.example.com'
const TENANT = '8f2b0c1e-4a55-4d2c-9b7e-2f6a1c3d5e70'
const OTHER_TENANT = '11111111-2222-4333-8444-555555555555'
const CONSUMERS = '9188040d-6c67-4c5b-b112-36a304b66dad'
const APP = '6e74172b-be56-4843-9ff4-e66a39bb12e3'
const OTHER_APP = '00000000-aaaa-4bbb-8ccc-dddddddddddd'
const CLIENT = 'my-client'
const SUPABASE_SECRET = 'Zm9yIHRlc3RzIG9ubHk6IHN1cGFiYXNlIGxlZ2FjeSBzZWNyZXQ'
const X5 = { x5t: 'NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg', x5c: ['MIIDBzCCAe+gAwIBAgIJ'] }

const key = (kid, more, rest = {}) => providerKey({ kid, more, ...rest })
const one = (signing, ...others) => ({ signing, set: { keys: [...others, signing.jwk] } })

const auth0 = {
  facts: { domain: 'example.eu.auth0.com', audience: API },
  ...one(key('NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg', X5)),
  good: {
    user: { payload: { iss: 'https://example.eu.auth0.com/', sub: 'auth0|5f7c8ec7c33c6c004bbafe82', aud: [API, 'https://example.eu.auth0.com/userinfo'], ...times(86400 - 60), azp: 'x7Yz', scope: 'openid profile read:orders', permissions: ['read:orders'], 'https://example.com/roles': ['admin'] } },
    M2M: { payload: { iss: 'https://example.eu.auth0.com/', sub: 'x7Yz@clients', aud: API, ...times(), azp: 'x7Yz', scope: 'read:orders', gty: 'client-credentials' } },
    'RFC 9068': { payload: { iss: 'https://example.eu.auth0.com/', sub: 'auth0|1', aud: API, ...times(), client_id: 'x7Yz', jti: 'a1b2', scope: 'read:orders' }, header: { typ: 'at+jwt' } }
  },
  forged: {
    'an ID token': [{ aud: 'x7Yz', azp: undefined, scope: undefined, nonce: 'n', email: 'a@example.com' }, 'audience_mismatch'],
    'a token for /userinfo alone': [{ aud: 'https://example.eu.auth0.com/userinfo' }, 'audience_mismatch'],
    'another tenant': [{ iss: 'https://evil.eu.auth0.com/' }, 'issuer_unknown'],
    'the issuer without its slash': [{ iss: 'https://example.eu.auth0.com' }, 'issuer_unknown']
  }
}

const OKTA = 'https://example.okta.com/oauth2/default'
const okta = {
  facts: { domain: 'example.okta.com', audience: 'api://default', clients: '0oabcd' },
  ...one(key('lYQyZ1bKx8m5h0', {})),
  good: {
    user: { payload: { ver: 1, jti: 'AT.1', iss: OKTA, aud: 'api://default', ...times(), cid: '0oabcd', uid: '00u1', scp: ['openid', 'orders.read'], auth_time: 1700000000, sub: 'ada@example.com', groups: ['admins'] }, header: { typ: undefined } },
    service: { payload: { ver: 1, jti: 'AT.2', iss: OKTA, aud: 'api://default', ...times(), cid: '0oabcd', scp: ['orders.read'], sub: '0oabcd' } }
  },
  forged: {
    'another client': [{ cid: '0oevil' }, 'claim_mismatch:cid'],
    'no client': [{ cid: undefined }, 'claim_missing:cid'],
    'an ID token': [{ aud: '0oabcd', cid: undefined, scp: undefined, amr: ['pwd'] }, 'audience_mismatch'],
    'another authorization server': [{ iss: 'https://example.okta.com/oauth2/aus9' }, 'issuer_unknown'],
    'the org authorization server': [{ iss: 'https://example.okta.com', aud: 'https://example.okta.com' }, 'issuer_unknown']
  }
}

// Keys without `alg`, with members of their own.
const entraKey = (kid, issuer) => key(kid, { alg: undefined, ...X5, cloud_instance_name: 'microsoftonline.com', issuer }, { name: kid })
const V2 = `https://login.microsoftonline.com/${TENANT}/v2.0`
const v2 = { aud: APP, iss: V2, ...times(4500), nbf: times().iat, aio: 'AWQAm/8TAAAA', azp: OTHER_APP, azpacr: '1', oid: 'f2b1', rh: '0.AX', sub: 'aB3', tid: TENANT, uti: 'u1', ver: '2.0' }
const entra = {
  facts: { tenant: TENANT, audience: APP, clients: [OTHER_APP] },
  ...one(entraKey('kXqe0l', V2)),
  good: {
    user: { payload: { ...v2, scp: 'orders.read orders.write', roles: ['Admin'], name: 'Ada', preferred_username: 'ada@example.com' }, header: { typ: 'JWT' } },
    'app only': { payload: { ...v2, roles: ['Orders.Read.All'], idtyp: 'app' } },
    'with continuous access evaluation': { payload: { ...v2, exp: v2.iat + 86400, scp: 'orders.read', xms_cc: ['cp1'] } }
  },
  forged: {
    'an ID token with azp': [{ azpacr: undefined, scp: undefined }, 'claim_missing:azpacr'],
    'an ID token of the same application': [{ azp: undefined, azpacr: undefined, scp: undefined, nonce: 'n' }, 'claim_missing:azp'],
    'another client': [{ azp: TENANT }, 'claim_mismatch:azp'],
    'another tenant': [{ iss: `https://login.microsoftonline.com/${OTHER_TENANT}/v2.0`, tid: OTHER_TENANT }, 'issuer_unknown'],
    'a tenant in iss and another in tid': [{ tid: OTHER_TENANT }, 'claim_mismatch:tid'],
    'a token of v1': [{ iss: `https://sts.windows.net/${TENANT}/` }, 'issuer_unknown'],
    'a token for Microsoft Graph': [{ aud: '00000003-0000-0000-c000-000000000000' }, 'audience_mismatch']
  }
}

const entraV1 = {
  provider: 'entra',
  facts: { tenant: TENANT, audience: [`api://${APP}`, APP], version: 'v1', clients: OTHER_APP },
  ...one(entraKey('kXqe0l', V2)),
  good: {
    user: { payload: { aud: `api://${APP}`, iss: `https://sts.windows.net/${TENANT}/`, ...times(4500), nbf: times().iat, acr: '1', amr: ['pwd'], appid: OTHER_APP, appidacr: '0', oid: 'f2b1', scp: 'orders.read', sub: 'aB3', tid: TENANT, unique_name: 'ada@example.com', ver: '1.0', wids: ['62e90394'] }, header: { typ: 'JWT', x5t: 'kXqe0l' } },
    'app only': { payload: { aud: APP, iss: `https://sts.windows.net/${TENANT}/`, ...times(), appid: OTHER_APP, appidacr: '1', oid: 'f2b1', roles: ['Orders.Read.All'], sub: 'f2b1', tid: TENANT, ver: '1.0' } }
  },
  forged: {
    'another client': [{ appid: APP }, 'claim_mismatch:appid'],
    'another tenant': [{ iss: `https://sts.windows.net/${OTHER_TENANT}/`, tid: OTHER_TENANT }, 'issuer_unknown'],
    'a tenant in iss and another in tid': [{ tid: OTHER_TENANT }, 'claim_mismatch:tid'],
    'no tenant': [{ tid: undefined }, 'claim_missing:tid'],
    'an ID token': [{ appidacr: undefined, scp: undefined }, 'claim_missing:appidacr'],
    'a token of v2': [{ iss: V2 }, 'issuer_unknown']
  }
}

// The keys of `common`: for all tenants, and one for the tenant of personal accounts.
const anyTenant = entraKey('common-1', 'https://login.microsoftonline.com/{tenantid}/v2.0')
const consumers = entraKey('consumers-1', `https://login.microsoftonline.com/${CONSUMERS}/v2.0`)
const entraMultiTenant = {
  facts: { audience: APP, tenants: [TENANT, CONSUMERS] },
  ...one(anyTenant, consumers.jwk),
  good: {
    'a tenant': { payload: { ...v2, scp: 'orders.read' } },
    'a personal account': { payload: { ...v2, iss: `https://login.microsoftonline.com/${CONSUMERS}/v2.0`, tid: CONSUMERS, scp: 'orders.read' }, by: consumers }
  },
  forged: {
    'a tenant that is not listed': [{ iss: `https://login.microsoftonline.com/${OTHER_TENANT}/v2.0`, tid: OTHER_TENANT }, 'tenant_unknown'],
    'a tenant in iss and another in tid': [{ tid: CONSUMERS }, 'claim_mismatch:tid'],
    'another tenant in iss than in tid': [{ iss: `https://login.microsoftonline.com/${CONSUMERS}/v2.0` }, 'claim_mismatch:tid'],
    'an ID token': [{ azp: undefined, azpacr: undefined, scp: undefined, nonce: 'n' }, 'claim_missing:azpacr'],
    'no tid': [{ tid: undefined }, 'claim_missing:tid'],
    'the template itself': [{ iss: 'https://login.microsoftonline.com/{tenantid}/v2.0', tid: '{tenantid}' }, 'issuer_unknown'],
    'a key of personal accounts for a tenant': [{}, 'kid_unknown', { by: consumers }],
    'a path in place of a tenant': [{ iss: `https://login.microsoftonline.com/x/${TENANT}/v2.0` }, 'issuer_unknown']
  }
}

const B2C = `https://example.b2clogin.com/${TENANT}/v2.0/`
const entraB2c = {
  facts: { tenantName: 'example', tenant: TENANT, policy: 'B2C_1_signin', audience: APP, clients: OTHER_APP },
  ...one(key('X5eXk4xyojNFum1kl2Ytv8dlNP4-c57dO6QGTVBwaNk', { alg: undefined, nbf: 1493763266 })),
  good: {
    user: { payload: { iss: B2C, exp: times().exp, nbf: times().iat, aud: APP, sub: '884408e1', oid: '884408e1', tfp: 'B2C_1_signin', scp: 'orders.read', azp: OTHER_APP, ver: '1.0', iat: times().iat, emails: ['ada@example.com'] }, header: { typ: 'JWT' } }
  },
  forged: {
    'an ID token': [{ azp: undefined, scp: undefined, nonce: 'n' }, 'claim_missing:azp'],
    'another policy': [{ tfp: 'B2C_1_weak' }, 'claim_mismatch:tfp'],
    'no policy': [{ tfp: undefined }, 'claim_missing:tfp'],
    'another client': [{ azp: APP }, 'claim_mismatch:azp'],
    'another tenant': [{ iss: `https://example.b2clogin.com/${OTHER_TENANT}/v2.0/` }, 'issuer_unknown'],
    'another application': [{ aud: OTHER_APP }, 'audience_mismatch']
  }
}

const POOL = 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a1B2c3D4e'
const cognitoKeys = one(key('1234example+/=', {}), key('5678example+/=', {}, { name: 'second' }).jwk)
const cognitoAccess = { sub: 'aaaaaaaa-bbbb', 'cognito:groups': ['admins'], iss: POOL, version: 2, client_id: CLIENT, origin_jti: 'o1', event_id: 'e1', token_use: 'access', scope: 'aws.cognito.signin.user.admin orders/read', auth_time: 1700000000, ...times(), jti: 'j1', username: 'ada' }
const cognitoId = { sub: 'aaaaaaaa-bbbb', 'cognito:groups': ['admins'], email_verified: true, iss: POOL, 'cognito:username': 'ada', origin_jti: 'o1', aud: CLIENT, event_id: 'e1', token_use: 'id', auth_time: 1700000000, ...times(), jti: 'j1', email: 'ada@example.com' }
const cognito = {
  facts: { region: 'eu-west-1', userPool: 'eu-west-1_a1B2c3D4e', clients: [CLIENT, 'my-worker'] },
  ...cognitoKeys,
  good: {
    user: { payload: cognitoAccess, header: { typ: undefined } },
    M2M: { payload: { sub: 'my-worker', token_use: 'access', scope: 'orders/read', auth_time: 1700000000, iss: POOL, ...times(), version: 2, jti: 'j2', client_id: 'my-worker' } }
  },
  forged: {
    'an ID token': [{ ...cognitoId, client_id: undefined }, 'audience_mismatch'],
    'an ID token with the client': [{ token_use: 'id' }, 'claim_mismatch:token_use'],
    'another client': [{ client_id: 'evil' }, 'claim_mismatch:client_id'],
    'no client': [{ client_id: undefined }, 'claim_missing:client_id'],
    'clients in a text': [{ client_id: `${CLIENT} evil` }, 'claim_mismatch:client_id'],
    'another pool': [{ iss: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_other' }, 'issuer_unknown'],
    'no token_use': [{ token_use: undefined }, 'claim_missing:token_use']
  }
}
const cognitoIdTokens = {
  provider: 'cognito',
  facts: { region: 'eu-west-1', userPool: 'eu-west-1_a1B2c3D4e', clients: CLIENT, tokens: 'id' },
  ...cognitoKeys,
  good: { 'ID token': { payload: cognitoId } },
  forged: {
    'an access token': [{ ...cognitoAccess, aud: undefined }, 'claim_missing:aud'],
    'an access token with an audience': [{ token_use: 'access' }, 'claim_mismatch:token_use'],
    'another client': [{ aud: 'evil' }, 'audience_mismatch']
  }
}

const GOOGLE_ID = '1234-abc.apps.googleusercontent.com'
const google = {
  facts: { clientId: GOOGLE_ID, apps: ['1234-android.apps.googleusercontent.com'], hostedDomain: 'example.com' },
  ...one(key('f2e82732b971a135cf1416e8b46dae04d80894e7', {})),
  good: {
    web: { payload: { iss: 'https://accounts.google.com', azp: GOOGLE_ID, aud: GOOGLE_ID, sub: '110169484474386276334', hd: 'example.com', email: 'ada@example.com', email_verified: true, nbf: times().iat, ...times(), jti: 'j' }, header: { typ: 'JWT' } },
    Android: { payload: { iss: 'https://accounts.google.com', azp: '1234-android.apps.googleusercontent.com', aud: GOOGLE_ID, sub: '1', hd: 'example.com', ...times() } }
  },
  forged: {
    'a service account that asked for this audience': [{ azp: '107517467455664443765', email: 'x@evil.iam.gserviceaccount.com' }, 'claim_mismatch:azp'],
    'another application': [{ azp: 'evil', aud: 'evil' }, 'audience_mismatch'],
    'another domain': [{ hd: 'evil.example' }, 'claim_mismatch:hd'],
    'a personal account': [{ hd: undefined }, 'claim_missing:hd'],
    'another spelling of the issuer': [{ iss: 'https://accounts.google.com/' }, 'issuer_unknown']
  }
}
const googleServiceAccounts = {
  facts: { audience: API, serviceAccounts: ['worker@my-project.iam.gserviceaccount.com'] },
  ...one(key('f2e82732b971a135cf1416e8b46dae04d80894e7', {})),
  good: { 'service account': { payload: { iss: 'https://accounts.google.com', azp: '107517467455664443765', aud: API, sub: '107517467455664443765', email: 'worker@my-project.iam.gserviceaccount.com', email_verified: true, ...times() } } },
  forged: {
    'another account': [{ email: 'x@evil.iam.gserviceaccount.com' }, 'claim_mismatch:email'],
    'no email': [{ email: undefined }, 'claim_missing:email'],
    'an email that is not verified': [{ email_verified: false }, 'claim_mismatch:email_verified'],
    'a text in place of a boolean': [{ email_verified: 'true' }, 'claim_mismatch:email_verified']
  }
}

const firebase = {
  facts: { project: 'my-project', signInProviders: ['password', 'google.com'] },
  ...(() => {
    const signing = key('8dac45df', {})
    return { signing, set: { keys: [withLeadingZero(signing.jwk)] } }
  })(),
  good: {
    user: { payload: { iss: 'https://securetoken.google.com/my-project', aud: 'my-project', auth_time: 1700000000, user_id: 'u1', sub: 'u1', ...times(), email: 'ada@example.com', firebase: { identities: { email: ['ada@example.com'] }, sign_in_provider: 'password' } }, header: { typ: 'JWT' } }
  },
  forged: {
    'an anonymous user': [{ firebase: { identities: {}, sign_in_provider: 'anonymous' } }, 'claim_mismatch:/firebase/sign_in_provider'],
    'no provider': [{ firebase: {} }, 'claim_missing:/firebase/sign_in_provider'],
    'the pointer as a name': [{ firebase: undefined, '/firebase/sign_in_provider': 'password' }, 'claim_missing:/firebase/sign_in_provider'],
    'another project': [{ iss: 'https://securetoken.google.com/evil', aud: 'evil' }, 'issuer_unknown'],
    'a session cookie': [{ iss: 'https://session.firebase.google.com/my-project' }, 'issuer_unknown']
  }
}

const BACKEND = '/projects/123456789012/global/backendServices/1234567890'
const iap = {
  facts: { audience: BACKEND },
  header: 'x-goog-iap-jwt-assertion',
  ...one(key('0oeLcQ', {}, { type: 'ec' })),
  good: { user: { payload: { aud: BACKEND, email: 'ada@example.com', ...times(540), iss: 'https://cloud.google.com/iap', sub: 'accounts.google.com:1118', hd: 'example.com', google: { access_levels: ['a'] } }, header: { typ: 'JWT' } } },
  forged: {
    'another backend': [{ aud: '/projects/123456789012/global/backendServices/9' }, 'audience_mismatch'],
    'another project': [{ aud: '/projects/9/global/backendServices/1234567890' }, 'audience_mismatch'],
    'an ID token of Google': [{ iss: 'https://accounts.google.com' }, 'issuer_unknown']
  }
}

const TAG = '4714c1358e65fe4b408ad6d432a5f878f08194bdb4752441fd56faefa9b2b6f2'
const TEAM = 'https://example.cloudflareaccess.com'
const cloudflareAccess = {
  facts: { team: 'example', audience: TAG, serviceTokens: true },
  header: 'cf-access-jwt-assertion',
  ...(() => {
    const { signing, set } = one(key('b3c4', {}))
    return { signing, set: { ...set, public_cert: { kid: 'b3c4', cert: '-----BEGIN CERTIFICATE-----' }, public_certs: [] } }
  })(),
  good: {
    user: { payload: { aud: [TAG], email: 'ada@example.com', ...times(), nbf: times().iat, iss: TEAM, type: 'app', identity_nonce: 'n', sub: '7335d417', country: 'PT' } },
    service: { payload: { type: 'app', aud: [TAG], ...times(), iss: TEAM, common_name: 'e367826f.access', sub: '' } }
  },
  forged: {
    'another application': [{ aud: ['0'.repeat(64)] }, 'audience_mismatch'],
    'another team': [{ iss: 'https://evil.cloudflareaccess.com' }, 'issuer_unknown'],
    'the session of the team': [{ type: 'org' }, 'claim_mismatch:type'],
    'an audience in a text': [{ aud: `${TAG} x` }, 'audience_mismatch']
  }
}

const clerk = {
  facts: { domain: 'clerk.example.com', origins: ['https://app.example.com'] },
  ...one(key('ins_2abc', {})),
  good: { session: { payload: { azp: 'https://app.example.com', ...times(600), fva: [0, -1], iss: 'https://clerk.example.com', nbf: times().iat, sid: 'sess_1', sts: 'active', sub: 'user_1', v: 2, o: { id: 'org_1', rol: 'admin' } }, header: { cat: 'cl_B7d4PD111AAA', typ: 'JWT' } } },
  forged: {
    'another page': [{ azp: 'https://evil.example' }, 'claim_mismatch:azp'],
    'a page whose name begins alike': [{ azp: 'https://app.example.com.evil.example' }, 'claim_mismatch:azp'],
    'a token of a JWT template': [{ v: undefined, sid: undefined, sts: undefined, fva: undefined, aud: 'convex' }, 'audience_mismatch'],
    'no page': [{ azp: undefined }, 'claim_missing:azp'],
    'another instance': [{ iss: 'https://clerk.evil.example' }, 'issuer_unknown']
  }
}

const SUPABASE = 'https://abcdefghijklmnopqrst.supabase.co/auth/v1'
const supabaseUser = { iss: SUPABASE, sub: 'd6d2', aud: 'authenticated', ...times(), email: 'ada@example.com', phone: '', app_metadata: { provider: 'email' }, user_metadata: {}, role: 'authenticated', aal: 'aal1', amr: [{ method: 'password', timestamp: 1700000000 }], session_id: 's1', is_anonymous: false }
const supabaseForged = {
  'the anon key': [{ iss: 'supabase', aud: undefined, sub: undefined, role: 'anon' }, 'issuer_unknown'],
  'the key of the service role': [{ iss: 'supabase', aud: undefined, role: 'service_role' }, 'issuer_unknown'],
  'another project': [{ iss: 'https://zzzzzzzzzzzzzzzzzzzz.supabase.co/auth/v1' }, 'issuer_unknown'],
  'a key without an audience': [{ aud: undefined, role: 'anon' }, 'claim_missing:aud']
}
const supabaseKeys = one(key('b81269f1-21d8-4f2e-b719-c2240a840d90', { key_ops: ['verify'], ext: true }, { type: 'ec' }))
const supabase = { facts: { project: 'abcdefghijklmnopqrst' }, ...supabaseKeys, good: { user: { payload: supabaseUser, header: { typ: 'JWT' } } }, forged: { ...supabaseForged, 'a token of the legacy secret': [{}, 'alg_not_of_key', { token: (payload) => secretToken(payload, { kid: 'legacy' }, SUPABASE_SECRET) }] } }
const supabaseInTransition = {
  provider: 'supabase',
  facts: { project: 'abcdefghijklmnopqrst', secret: SUPABASE_SECRET },
  // Beside a URL the secret goes by `alg` alone, whatever the kid.
  isFetched: true,
  ...supabaseKeys,
  good: {
    'by the published key': { payload: supabaseUser },
    'by the legacy secret': { payload: supabaseUser, token: (payload) => secretToken(payload, { typ: 'JWT' }, SUPABASE_SECRET) },
    'by the legacy secret, with a kid': { payload: supabaseUser, token: (payload) => secretToken(payload, { kid: 'legacy/hs256' }, SUPABASE_SECRET) }
  },
  forged: { ...supabaseForged, 'another secret': [{}, 'token_signature', { token: (payload) => secretToken(payload, {}, 'another secret of at least 32 bytes, 9f3Kx') }] }
}

const REALM = 'https://id.example.com/realms/shop'
const keycloakUser = { ...times(300), auth_time: 1700000000, jti: 'onrtac:1', iss: REALM, aud: 'my-api', sub: 'f:1:ada', typ: 'Bearer', azp: CLIENT, sid: 's1', acr: '1', 'allowed-origins': ['https://app.example.com'], realm_access: { roles: ['admin'] }, resource_access: { 'my-api': { roles: ['editor'] } }, scope: 'openid profile', preferred_username: 'ada' }
// One kid for two algorithms, and an encryption key beside them.
const keycloakKeys = () => {
  const [signing, pss] = [key('FJ86GcF3jTbNLOco', X5), key('FJ86GcF3jTbNLOco', { alg: 'PS256' }, { name: 'pss' })]
  return { signing, set: { keys: [encryptionKey(), inPlainBase64(signing.jwk), pss.jwk] } }
}
const keycloak = {
  facts: { url: 'https://id.example.com', realm: 'shop', audience: 'my-api' },
  ...keycloakKeys(),
  good: {
    user: { payload: keycloakUser, header: { typ: 'JWT' } },
    'several audiences': { payload: { ...keycloakUser, aud: ['my-api', 'account'] } },
    lightweight: { payload: { ...keycloakUser, sub: undefined, realm_access: undefined } },
    'service account': { payload: { ...keycloakUser, azp: 'worker', client_id: 'worker', preferred_username: 'service-account-worker', sid: undefined } }
  },
  forged: {
    'an ID token': [{ typ: 'ID', aud: CLIENT, at_hash: 'x' }, 'audience_mismatch'],
    'an ID token for this audience': [{ typ: 'ID' }, 'claim_mismatch:typ'],
    'a refresh token': [{ typ: 'Refresh', aud: REALM }, 'audience_mismatch'],
    'a token for the account console': [{ aud: 'account' }, 'audience_mismatch'],
    'another realm': [{ iss: 'https://id.example.com/realms/master' }, 'issuer_unknown']
  }
}
const keycloakByClient = {
  provider: 'keycloak',
  facts: { url: 'https://id.example.com', realm: 'shop', clients: [CLIENT] },
  ...keycloakKeys(),
  good: {
    'without an audience': { payload: { ...keycloakUser, aud: undefined, resource_access: undefined } }
  },
  forged: {
    'a token for another API': [{ aud: 'billing' }, 'audience_mismatch'],
    'a token of the account console': [{ aud: 'account' }, 'audience_mismatch'],
    'an ID token of the same client': [{ typ: 'ID', aud: CLIENT }, 'audience_mismatch'],
    'an ID token without an audience': [{ typ: 'ID' }, 'claim_mismatch:typ'],
    'another client': [{ azp: 'evil' }, 'claim_mismatch:azp'],
    'no client': [{ azp: undefined }, 'claim_missing:azp'],
    'no typ': [{ typ: undefined }, 'claim_missing:typ']
  }
}

// Users with roles of the account console have its audience, in every realm by default.
const keycloakOfAccount = {
  provider: 'keycloak',
  facts: { url: 'https://id.example.com', realm: 'shop', audience: 'account', clients: [CLIENT] },
  ...keycloakKeys(),
  good: { user: { payload: { ...keycloakUser, aud: 'account' } } },
  forged: {
    'without an audience': [{ aud: undefined }, 'claim_missing:aud'],
    'for another API': [{ aud: 'billing' }, 'audience_mismatch'],
    'an ID token of the same client': [{ typ: 'ID', aud: CLIENT }, 'audience_mismatch'],
    'another client': [{ azp: 'evil' }, 'claim_mismatch:azp'],
    'no client': [{ azp: undefined }, 'claim_missing:azp'],
    'no typ': [{ typ: undefined }, 'claim_missing:typ']
  }
}

const workos = {
  facts: { clientId: 'client_01HXYZ' },
  ...one(key('sso_oidc_key_pair_01', X5)),
  good: { user: { payload: { iss: 'https://api.workos.com/user_management/client_01HXYZ', sub: 'user_01', act: undefined, org_id: 'org_01', role: 'member', roles: ['member'], permissions: ['orders:read'], sid: 'session_01', jti: 'j', ...times(300) } } },
  forged: {
    'another client': [{ iss: 'https://api.workos.com/user_management/client_EVIL' }, 'issuer_unknown'],
    'no client': [{ iss: 'https://api.workos.com' }, 'issuer_unknown'],
    'an empty session': [{ sid: '' }, 'claim_kind:sid']
  }
}

const kindeUser = { aud: [], azp: CLIENT, ...times(), gty: ['authorization_code'], iss: 'https://example.kinde.com', jti: 'j', org_code: 'org_1', permissions: ['orders:read'], scp: ['openid', 'profile', 'email', 'offline'], sub: 'kp_1' }
const kinde = {
  facts: { domain: 'example.kinde.com', audience: API },
  ...one(key('a6:5c:54', {})),
  good: {
    user: { payload: { ...kindeUser, aud: [API] }, header: { typ: 'JWT' } },
    M2M: { payload: { aud: [API], azp: 'worker', ...times(), gty: ['client_credentials'], iss: 'https://example.kinde.com', jti: 'j', scp: [] } }
  },
  forged: {
    'no audience': [{ aud: [] }, 'audience_mismatch'],
    'an ID token': [{ aud: ['https://example.kinde.com', CLIENT], scp: undefined }, 'audience_mismatch'],
    'another business': [{ iss: 'https://evil.kinde.com' }, 'issuer_unknown']
  }
}
const kindeByClient = {
  provider: 'kinde',
  facts: { domain: 'example.kinde.com', clients: CLIENT },
  ...one(key('a6:5c:54', {})),
  good: { 'an empty audience': { payload: kindeUser } },
  forged: {
    'another client': [{ azp: 'evil' }, 'claim_mismatch:azp'],
    'no client': [{ azp: undefined }, 'claim_missing:azp'],
    'an ID token of the same client': [{ aud: ['https://example.kinde.com', CLIENT], scp: undefined }, 'audience_mismatch']
  }
}

const GITHUB = 'https://token.actions.githubusercontent.com'
const githubActions = {
  facts: { audience: API, repository: 'octo-org/octo-repo', ref: 'refs/heads/main', environment: 'production' },
  ...one(key('cc413527-173f-5a05-976e-9c52b1d7b431', X5)),
  good: { job: { payload: { jti: 'j', sub: 'repo:octo-org/octo-repo:environment:production', aud: API, environment: 'production', ref: 'refs/heads/main', ref_protected: 'true', sha: 'abc', repository: 'octo-org/octo-repo', repository_owner: 'octo-org', repository_id: '74', repository_owner_id: '65', run_id: '1', run_number: '10', actor: 'octocat', workflow: 'deploy', event_name: 'workflow_dispatch', iss: GITHUB, nbf: times().iat - 300, ...times(300) }, header: { typ: 'JWT', x5t: 'cc' } } },
  forged: {
    'another repository': [{ repository: 'evil/octo-repo', repository_owner: 'evil' }, 'claim_mismatch:repository'],
    'a branch': [{ ref: 'refs/heads/evil' }, 'claim_mismatch:ref'],
    'another environment': [{ environment: 'staging' }, 'claim_mismatch:environment'],
    'no environment': [{ environment: undefined }, 'claim_missing:environment'],
    'another audience': [{ aud: 'https://github.com/octo-org' }, 'audience_mismatch']
  }
}

const gitlab = {
  facts: { audience: API, group: 'my-group', protectedRefs: true },
  ...one(key('4i3sFE7sxqNPOT7FdvcGA1ZVGGI_r-tsDXnEuYT4ZqE', {})),
  good: { job: { payload: { namespace_id: '72', namespace_path: 'my-group', project_id: '20', project_path: 'my-group/my-project', user_id: '1', pipeline_id: '574', job_id: '302', ref: 'main', ref_type: 'branch', ref_path: 'refs/heads/main', ref_protected: 'true', jti: 'j', iss: 'https://gitlab.com', nbf: times().iat - 5, ...times(), sub: 'project_path:my-group/my-project:ref_type:branch:ref:main', aud: API }, header: { typ: 'JWT' } } },
  forged: {
    'another group': [{ namespace_path: 'evil', project_path: 'evil/my-project' }, 'claim_mismatch:namespace_path'],
    'a subgroup': [{ namespace_path: 'my-group/sub' }, 'claim_mismatch:namespace_path'],
    'a branch that is not protected': [{ ref_protected: 'false' }, 'claim_mismatch:ref_protected'],
    'a log-in with GitLab': [{ namespace_path: undefined, project_path: undefined, ref_protected: undefined, nickname: 'ada' }, 'claim_missing:namespace_path'],
    'another GitLab': [{ iss: 'https://gitlab.evil.example' }, 'issuer_unknown']
  }
}

const CLUSTER = 'https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLED539D4633E53DE1B71EXAMPLE'
const pod = { aud: [API], ...times(), nbf: times().iat, iss: CLUSTER, jti: 'j', 'kubernetes.io': { namespace: 'shop', node: { name: 'n', uid: 'u' }, pod: { name: 'orders-1', uid: 'u' }, serviceaccount: { name: 'orders', uid: 'u' } }, sub: 'system:serviceaccount:shop:orders' }
const kubernetes = {
  facts: { issuer: CLUSTER, audience: API, serviceAccounts: ['shop:orders'] },
  ...one(key('a18ae03ca0c90a6f', {})),
  good: { pod: { payload: pod } },
  forged: {
    'another service account': [{ sub: 'system:serviceaccount:shop:evil' }, 'claim_mismatch:sub'],
    'another namespace': [{ sub: 'system:serviceaccount:evil:orders' }, 'claim_mismatch:sub'],
    'a token for the API server': [{ aud: ['https://kubernetes.default.svc'] }, 'audience_mismatch'],
    'another cluster': [{ iss: 'https://oidc.eks.eu-west-1.amazonaws.com/id/EVIL' }, 'issuer_unknown']
  }
}

const VAULT = 'https://vault.example.com:8200/v1/identity/oidc'
const vault = {
  facts: { address: 'https://vault.example.com:8200', audience: 'dHlJbVlHbkxnOW5sRXc5' },
  ...one(key('b3e2f5a0-5b1c-8f0e-1c7a-5d2f3a4b5c6d', {})),
  good: { entity: { payload: { aud: 'dHlJbVlHbkxnOW5sRXc5', ...times(), iss: VAULT, namespace: 'root', sub: '8c4b' } } },
  forged: {
    'another role': [{ aud: 'other' }, 'audience_mismatch'],
    'another namespace': [{ iss: 'https://vault.example.com:8200/v1/evil/identity/oidc' }, 'issuer_unknown'],
    'no audience': [{ aud: undefined }, 'claim_missing:aud']
  }
}

const svidKey = key('svid-1', { use: 'jwt-svid', alg: undefined }, { type: 'ec' })
const bundle = { spiffe_sequence: 1, spiffe_refresh_hint: 300, keys: [{ kty: 'EC', crv: 'P-256', use: 'x509-svid', x5c: ['MIIB'], x: svidKey.jwk.x, y: svidKey.jwk.y }, svidKey.jwk] }
const spiffe = {
  facts: { trustDomain: 'example.org', audience: 'spiffe://example.org/api', bundle },
  signing: svidKey,
  set: bundle,
  good: {
    workload: { payload: { aud: ['spiffe://example.org/api'], exp: times().exp, iat: times().iat, sub: 'spiffe://example.org/ns/shop/sa/orders' }, header: { typ: 'JOSE' } },
    'with an issuer': { payload: { aud: 'spiffe://example.org/api', exp: times().exp, iat: times().iat, iss: 'https://spire.example.org', sub: 'spiffe://example.org/orders' } }
  },
  // `sub` names the issuer, and its keys have no other algorithm.
  issuer: { sub: 'spiffe://evil.example/ns/shop/sa/orders' },
  forged: {
    'another audience': [{ aud: ['spiffe://example.org/other'] }, 'audience_mismatch'],
    'the trust domain itself': [{ sub: 'spiffe://example.org' }, 'issuer_unknown'],
    'a trust domain that begins alike': [{ sub: 'spiffe://example.org.evil.example/a' }, 'issuer_unknown'],
    'no subject': [{ sub: undefined }, 'claim_missing:sub']
  }
}

/** By the name of each row; `provider` is the preset, where it is not the name. */
export const table = { auth0, okta, entra, entraV1, entraMultiTenant, entraB2c, cognito, cognitoIdTokens, google, googleServiceAccounts, firebase, iap, cloudflareAccess, clerk, supabase, supabaseInTransition, keycloak, keycloakByClient, keycloakOfAccount, workos, kinde, kindeByClient, githubActions, gitlab, kubernetes, vault, spiffe }

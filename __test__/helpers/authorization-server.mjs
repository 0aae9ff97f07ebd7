// oidc-provider as a real authorization server on 127.0.0.1, with one user who agrees to all.

import http from 'node:http'
import https from 'node:https'
import { createHash, createPrivateKey, randomBytes, sign } from 'node:crypto'
import { once } from 'node:events'
import { Provider, errors } from 'oidc-provider'
import { keyPair } from './key-pair.mjs'

/** A private P-256 key that signs, as the authorization server keeps it. */
export function signingKey(kid) {
  const { privateKey } = keyPair('ec', { namedCurve: 'P-256' })
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig' }
}

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A token with exactly these claims, signed by a key of {@link signingKey}. */
export function signedBy(key, claims, header = {}) {
  const input = `${part({ alg: 'ES256', typ: 'at+jwt', kid: key.kid, ...header })}.${part(claims)}`
  const privateKey = createPrivateKey({ key, format: 'jwk' })
  return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}

/** The claims of a token, unverified. */
export const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString())

/**
 * Starts an authorization server.
 *
 * - `resources` has the scopes of each resource by its URL, and may grow
 *   later by resources with the same scopes.
 * - `clients` are registered from the start; others may register themselves (RFC 7591).
 * - `tls` (options of `https.createServer`) adds a second address, `mtlsUrl`, for clients with
 *   certificates (RFC 8705 section 5).
 * - `accessTokenTTL` is in seconds.
 *
 * `url` is the issuer. `setKeys(keys)` starts it anew with other keys over the same data, as a
 * rolling restart does: the first one signs. `seen` has the paths of all requests.
 */
export async function startAuthorizationServer({ resources, clients = [], keys = [signingKey('first')], accessTokenTTL = 300, tls, features }) {
  const seen = []
  let handle
  const listener = (req, res) => {
    seen.push(req.url.split('?', 1)[0])
    handle(req, res)
  }
  const server = http.createServer(listener)
  const secure = tls === undefined ? undefined : https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, listener)
  const servers = [server, secure].filter((one) => one !== undefined)
  for (const one of servers) one.listen(0, '127.0.0.1')
  await Promise.all(servers.map((one) => once(one, 'listening')))
  const url = `http://127.0.0.1:${server.address().port}`
  const mtlsUrl = secure === undefined ? undefined : `https://127.0.0.1:${secure.address().port}`
  const cookieKeys = [randomBytes(32).toString('hex')]

  const start = (jwks) => {
    const provider = new Provider(url, {
      clients,
      jwks: { keys: jwks },
      cookies: { keys: cookieKeys },
      clientDefaults: { id_token_signed_response_alg: 'ES256' },
      findAccount: (ctx, accountId) => ({ accountId, claims: () => ({ sub: accountId }) }),
      interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
      scopes: ['openid', 'offline_access', ...new Set(Object.values(resources).flat())],
      issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
      ttl: { AccessToken: accessTokenTTL, ClientCredentials: accessTokenTTL, Grant: 3600, IdToken: 300, Interaction: 600, RefreshToken: 3600, Session: 3600 },
      extraTokenClaims: (ctx) => {
        const { AuthorizationCode, RefreshToken } = ctx.oidc.entities
        return { sid: (AuthorizationCode ?? RefreshToken)?.sid }
      },
      // Its protection against requests to private addresses would refuse the loopback.
      fetch: (to, options) => fetch(to, { ...options, dispatcher: undefined }),
      features: {
        backchannelLogout: { enabled: true },
        clientCredentials: { enabled: true },
        devInteractions: { enabled: false },
        mTLS: { enabled: secure !== undefined, certificateBoundAccessTokens: true, getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.() },
        registration: { enabled: true },
        resourceIndicators: {
          enabled: true,
          getResourceServerInfo(ctx, resource) {
            const scopes = resources[resource]
            if (scopes === undefined) throw new errors.InvalidTarget()
            return { audience: resource, scope: scopes.join(' '), accessTokenTTL, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }
          },
          useGrantedResource: () => true
        },
        ...features
      }
    })
    // Large providers let their keys be cached for hours.
    provider.use(async (ctx, next) => {
      await next()
      if (ctx.oidc?.route === 'jwks') ctx.set('Cache-Control', 'public, max-age=21600, must-revalidate, no-transform')
    })
    const callback = provider.callback()
    handle = (req, res) => (req.url.startsWith('/interaction/') ? void agree(provider, req, res) : callback(req, res))
    return provider
  }
  let provider = start(keys)

  return {
    url,
    mtlsUrl,
    seen,
    get provider() {
      return provider
    },
    setKeys: (next) => void (provider = start(next)),
    async stop() {
      for (const one of servers) {
        one.close()
        one.closeAllConnections()
      }
      await Promise.all(servers.map((one) => once(one, 'close')))
    }
  }
}

/** The answer of the token endpoint to a client with a secret. */
export async function tokenFor(server, client, parameters, headers = {}) {
  const response = await fetch(`${server.url}/token`, { method: 'POST', headers: { ...basic(client), ...headers }, body: new URLSearchParams(parameters) })
  return { status: response.status, nonce: response.headers.get('dpop-nonce'), ...(await response.json()) }
}

/** How a client with a secret authenticates (RFC 6749 section 2.3.1). */
export const basic = ({ client_id: id, client_secret: secret }) => ({ authorization: `Basic ${btoa(`${id}:${secret}`)}` })

/**
 * A user logs in for a client: the code flow with PKCE. Returns the answer of the token endpoint.
 */
export async function logIn(server, client, { scope, resource }, browser = browserOf(server.url)) {
  const verifier = randomBytes(32).toString('base64url')
  const redirect = client.redirect_uris[0]
  const url = new URL(`${server.url}/auth`)
  const challenge = createHash('sha256').update(verifier).digest('base64url')
  const target = resource === undefined ? {} : { resource }
  url.search = new URLSearchParams({ client_id: client.client_id, response_type: 'code', redirect_uri: redirect, scope, code_challenge: challenge, code_challenge_method: 'S256', ...target })
  const code = (await browser.visit(url)).searchParams.get('code')
  return tokenFor(server, client, { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: redirect, ...target })
}

/** The user logs in, or grants all that is asked for. */
async function agree(provider, req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') return provider.interactionFinished(req, res, { login: { accountId: 'ada' } })
  const found = grantId === undefined ? undefined : await provider.Grant.find(grantId)
  const grant = found ?? new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details
  grant.addOIDCScope(missingOIDCScope.join(' '))
  for (const [resource, scopes] of Object.entries(missingResourceScopes)) grant.addResourceScope(resource, scopes.join(' '))
  await provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } })
}

/**
 * A browser at the authorization server, which follows redirects and keeps its cookies.
 * `visit(url)` ends at another host and returns that URL; `open(url, form)` ends at a page and
 * returns its text. With `form` the first request is a POST.
 */
export function browserOf(issuer) {
  const cookies = new Map()
  const follow = async (from, form) => {
    let body = form === undefined ? undefined : new URLSearchParams(form)
    for (let url = new URL(from), hops = 0; hops < 20; hops++) {
      if (url.origin !== issuer) return { url }
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await fetch(url, { redirect: 'manual', headers: { cookie }, ...(body === undefined ? {} : { method: 'POST', body }) })
      body = undefined
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
        if (value === '') cookies.delete(name)
        else cookies.set(name, value)
      }
      const text = await response.text()
      const next = response.headers.get('location')
      if (next === null) return { url, status: response.status, text }
      url = new URL(next, url)
    }
    throw new Error('too many redirects')
  }
  return {
    async visit(from) {
      const { url, status, text } = await follow(from)
      if (status !== undefined) throw new Error(`${status} at ${url.pathname}: ${text}`)
      return url
    },
    open: async (from, form) => (await follow(from, form)).text
  }
}

// Issuers that are asked about tokens: an authorization server (oidc-provider), and an endpoint
// that answers as a test tells it to.

import http from 'node:http'
import { once } from 'node:events'
import Provider from 'oidc-provider'

/** What the API is called at its issuer. Both need encoding before they are joined. */
export const CLIENT = { clientId: 'orders api', clientSecret: 'a:secret with % and + of 32 characters' }

const clients = [
  { client_id: CLIENT.clientId, client_secret: CLIENT.clientSecret, grant_types: [], response_types: [], redirect_uris: [] },
  ...['shop', 'other'].map((client_id) => ({
    client_id, client_secret: `the secret of ${client_id}`, grant_types: ['client_credentials', 'authorization_code', 'refresh_token'], redirect_uris: ['https://shop.example/cb']
  }))
]

/**
 * An authorization server whose access tokens are opaque. `token(client, options)` asks for one by
 * client credentials, as RFC 6749 section 4.4 has it; `save(kind, claims)` stores one of a user.
 */
export async function startAuthorizationServer() {
  const server = http.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    clients,
    scopes: ['openid', 'offline_access', 'orders:read', 'orders:write'],
    features: {
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      clientCredentials: { enabled: true },
      dPoP: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({ scope: 'orders:read orders:write', audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: 600 })
      }
    }
  })
  server.on('request', provider.callback())
  let asked = 0
  server.on('request', (req) => {
    if (req.url === '/token/introspection') asked += 1
  })
  const post = async (path, form, { client_id, client_secret }, headers = {}) => {
    const basic = Buffer.from(`${encodeURIComponent(client_id)}:${encodeURIComponent(client_secret)}`).toString('base64')
    return await fetch(`${issuer}${path}`, { method: 'POST', headers: { authorization: `Basic ${basic}`, ...headers }, body: new URLSearchParams(form) })
  }
  const clientOf = (name) => clients.find(({ client_id }) => client_id === name)
  return {
    issuer,
    endpoint: `${issuer}/token/introspection`,
    /** How often the endpoint was asked. */
    asked: () => asked,
    async token(client, { resource, scope = 'orders:read' }, headers) {
      const response = await post('/token', { grant_type: 'client_credentials', resource, scope }, clientOf(client), headers)
      const { access_token, error } = await response.json()
      if (error !== undefined) throw new Error(error)
      return access_token
    },
    async save(kind, { client, ...values }) {
      const found = await provider.Client.find(client)
      const grant = new provider.Grant({ accountId: values.accountId, clientId: client })
      const resourceServer = { identifier: () => values.aud, audience: values.aud, accessTokenFormat: 'opaque', accessTokenTTL: 600 }
      const token = new provider[kind]({ client: found, grantId: await grant.save(), ...(kind === 'AccessToken' ? { resourceServer } : {}), ...values })
      return await token.save()
    },
    revoke: (token, client) => post('/token/revocation', { token }, clientOf(client)),
    stop: () => stop(server)
  }
}

/**
 * An endpoint that answers `answer(token, request)`: an object is sent as JSON, a function is
 * called with the response. It knows no made-up token. `asked` has every token.
 */
export async function startEndpoint(answer = () => ({ active: false })) {
  const asked = []
  const seen = []
  const endpoint = { answer }
  const server = http.createServer(async (req, res) => {
    const chunks = []
    for await (const chunk of req) chunks.push(chunk)
    const form = new URLSearchParams(Buffer.concat(chunks).toString())
    const token = form.get('token')
    asked.push(token)
    seen.push({ method: req.method, url: req.url, headers: req.headers, form })
    const given = await endpoint.answer(token, req)
    if (typeof given === 'function') return given(res)
    res.setHeader('content-type', 'application/json')
    return res.end(JSON.stringify(given))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address()
  return Object.assign(endpoint, {
    url: `http://127.0.0.1:${port}/introspect`,
    port,
    asked,
    seen,
    /** How often it was asked about this token. */
    count: (token) => asked.filter((other) => other === token).length,
    stop: () => stop(server)
  })
}

async function stop(server) {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}

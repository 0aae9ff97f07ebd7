// The official MCP client logs in at a real authorization server and calls the tools of an MCP
// server behind the guard: the examples, and a server of its own for streams.

import test, { after, before } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import { ResourceListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js'
import { createGuard } from 'keepstone'
import { browserOf, claimsOf, logIn, signedBy, signingKey, startAuthorizationServer, tokenFor } from './helpers/authorization-server.mjs'
import { bearer, expresses, json, send, serve } from './helpers/http.mjs'
import { freePort } from './helpers/processes.mjs'

const SCOPES = ['notes:read', 'notes:write']
const REDIRECT = 'http://127.0.0.1:1/callback'
const OTHER = 'https://other.example.com/mcp'
const secret = 'of-a-client-that-keeps-it-to-itself'
const APP = { client_id: 'app', token_endpoint_auth_method: 'none', grant_types: ['authorization_code'], redirect_uris: [REDIRECT] }
const WEB = { client_id: 'web', client_secret: secret, grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [REDIRECT] }
const SERVICE = { client_id: 'service', client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [] }
const clients = [APP, WEB, SERVICE]
const key = signingKey('first')

let issuer
let elsewhere
const examples = {}

before(async () => {
  const [express, hono] = [await freePort(), await freePort()]
  const resources = Object.fromEntries([express, hono].map((port) => [`http://127.0.0.1:${port}/mcp`, SCOPES]))
  issuer = await startAuthorizationServer({ resources: { ...resources, [OTHER]: SCOPES }, clients, keys: [key] })
  elsewhere = await startAuthorizationServer({ resources, clients })
  examples.express = await startExample('server', express)
  examples.hono = await startExample('hono', hono)
})

after(async () => {
  for (const { stop } of Object.values(examples)) await stop()
  await Promise.all([issuer?.stop(), elsewhere?.stop()])
})

/** Starts examples/mcp/`name`.mjs, which must say nothing on stderr. */
async function startExample(name, port) {
  const file = fileURLToPath(new URL(`../examples/mcp/${name}.mjs`, import.meta.url))
  const child = spawn(process.execPath, [file], { env: { ...process.env, ISSUER: issuer.url, PORT: String(port) }, stdio: ['ignore', 'pipe', 'pipe'] })
  let err = ''
  child.stderr.on('data', (chunk) => (err += chunk))
  const closed = once(child, 'close')
  await Promise.race([once(child.stdout, 'data'), closed.then(() => assert.fail(`examples/mcp/${name}.mjs ended: ${err}`))])
  return {
    port,
    url: `http://127.0.0.1:${port}/mcp`,
    async stop() {
      child.kill('SIGKILL')
      await closed
      assert.equal(err, '')
    }
  }
}

/** What an application keeps for the SDK's OAuth client. Its browser follows all redirects. */
class LogIn {
  redirectUrl = REDIRECT
  saved = {}
  challenges = []
  #browser = browserOf(issuer.url)
  #grants

  constructor({ grants = ['authorization_code'], client } = {}) {
    this.#grants = grants
    if (client !== undefined) this.saved.client = { client_id: client.client_id, issuer: issuer.url }
  }

  get clientMetadata() {
    return { client_name: 'test', redirect_uris: [REDIRECT], grant_types: this.#grants, response_types: ['code'], token_endpoint_auth_method: 'none' }
  }

  clientInformation = () => this.saved.client
  saveClientInformation = (client) => void (this.saved.client = client)
  tokens = () => this.saved.tokens
  saveTokens = (tokens) => void (this.saved.tokens = tokens)
  codeVerifier = () => this.saved.verifier
  saveCodeVerifier = (verifier) => void (this.saved.verifier = verifier)

  async redirectToAuthorization(url) {
    this.asked = Object.fromEntries(url.searchParams)
    this.code = (await this.#browser.visit(url)).searchParams.get('code')
  }
}

/** Connects the official client, after a log-in if the server asks for one. */
async function connect(url, authProvider) {
  const connection = () => ({
    client: new Client({ name: 'test', version: '1.0.0' }),
    transport: new StreamableHTTPClientTransport(new URL(url), { authProvider, fetch: (to, init) => watched(authProvider, to, init) })
  })
  const first = connection()
  try {
    await first.client.connect(first.transport)
    return first
  } catch (error) {
    assert.ok(error instanceof UnauthorizedError, error.message)
  }
  await first.transport.finishAuth(authProvider.code)
  const second = connection()
  await second.client.connect(second.transport)
  return second
}

async function watched(authProvider, url, init) {
  const response = await fetch(url, init)
  const challenge = response.headers.get('www-authenticate')
  if (challenge !== null) authProvider.challenges.push([response.status, challenge])
  return response
}

/** Calls a tool; where the token has too little scope, logs in for more and calls it again. */
async function callTool({ client, transport }, authProvider, call) {
  try {
    return await client.callTool(call)
  } catch (error) {
    assert.ok(error instanceof UnauthorizedError, error.message)
  }
  await transport.finishAuth(authProvider.code)
  return client.callTool(call)
}

const textOf = ({ content }) => content[0].text
const metadataOf = (url) => url.replace('/mcp', '/.well-known/oauth-protected-resource/mcp')
const clientToken = async (parameters) => (await tokenFor(issuer, SERVICE, { grant_type: 'client_credentials', ...parameters })).access_token

/** One message of the protocol, as a client posts it. */
const message = (method, params, headers) => json({ jsonrpc: '2.0', id: 1, method, params }, { path: '/mcp', headers: { accept: 'application/json, text/event-stream', ...headers } })
const initialize = (headers) => message('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 'test', version: '1.0.0' } }, headers)

for (const host of ['express', 'hono']) {
  test(`${host}: a client without a token finds the authorization server, registers, logs in and calls a tool`, async () => {
    const { url } = examples[host]
    const login = new LogIn()
    const known = issuer.seen.length
    const { client, transport } = await connect(url, login)
    assert.deepEqual(login.challenges, [[401, `Bearer realm="api", scope="notes:read", resource_metadata="${metadataOf(url)}"`]])
    const steps = new Set(issuer.seen.slice(known))
    for (const path of ['/.well-known/oauth-authorization-server', '/reg', '/auth', '/token']) assert.ok(steps.has(path), path)
    assert.deepEqual([login.asked.resource, login.asked.scope, login.asked.code_challenge_method], [url, 'notes:read', 'S256'])
    const { iss, aud, scope } = claimsOf(login.saved.tokens.access_token)
    assert.deepEqual([iss, aud, scope], [issuer.url, url, 'notes:read'])
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['list-notes', 'add-note'])
    assert.equal(textOf(await client.callTool({ name: 'list-notes' })), '')
    await transport.terminateSession()
    await client.close()
  })

  test(`${host}: a tool that needs more scope makes the client log in for it, and keeps what it has`, async () => {
    const { url } = examples[host]
    const login = new LogIn({ client: APP })
    const connection = await connect(url, login)
    assert.equal(login.saved.tokens.scope, 'notes:read')
    const note = { name: 'add-note', arguments: { note: `by ${host}` } }
    assert.equal(textOf(await callTool(connection, login, note)), 'added')
    const [status, challenge] = login.challenges.at(-1)
    assert.equal(status, 403)
    assert.match(challenge, /^Bearer realm="api", error="insufficient_scope", .*, scope="notes:write notes:read", resource_metadata=/)
    assert.deepEqual(login.saved.tokens.scope.split(' ').sort(), SCOPES)
    // The new token is enough for both tools.
    const asked = login.challenges.length
    assert.equal(textOf(await connection.client.callTool(note)), 'added')
    assert.equal(textOf(await connection.client.callTool({ name: 'list-notes' })), `by ${host}\nby ${host}`)
    assert.equal(login.challenges.length, asked)
    await connection.client.close()
  })

  test(`${host}: a client whose token has expired refreshes it and goes on`, async () => {
    const { url } = examples[host]
    const login = new LogIn({ grants: ['authorization_code', 'refresh_token'] })
    const { client } = await connect(url, login)
    const { tokens } = login.saved
    const expired = { ...claimsOf(tokens.access_token), iat: now() - 600, exp: now() - 300 }
    login.saved.tokens = { ...tokens, access_token: signedBy(key, expired) }
    login.asked = undefined
    assert.equal((await client.listTools()).tools.length, 2)
    assert.match(login.challenges.at(-1)[1], /error="invalid_token", error_description="the token has expired"/)
    assert.equal(login.asked, undefined, 'nobody had to log in')
    assert.notEqual(login.saved.tokens.access_token, tokens.access_token)
    await client.close()
  })

  test(`${host}: tokens that are not for this server are refused`, async () => {
    const { port, url } = examples[host]
    const good = await clientToken({ resource: url, scope: 'notes:read' })
    assert.equal((await send(port, initialize(bearer(good)))).status, 200)
    const claims = claimsOf(good)
    const user = await logIn(issuer, WEB, { scope: 'openid notes:read', resource: url })
    const [header, payload] = good.split('.')
    const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const confused = `${encoded({ alg: 'HS256', typ: 'at+jwt', kid: key.kid })}.${payload}`
    const { d: _, ...publicKey } = key
    for (const [name, token, code] of [
      ['of another resource', await clientToken({ resource: OTHER, scope: 'notes:read' }), 'token_audience'],
      ['of this resource and one letter more', signedBy(key, { ...claims, aud: `${url}s` }), 'token_audience'],
      ['without a resource', await clientToken({}), 'token_malformed'],
      ['without an audience', signedBy(key, { ...claims, aud: undefined }), 'token_claims'],
      ['an ID token', user.id_token, 'token_type'],
      ['an ID token under another type', signedBy(key, claimsOf(user.id_token)), 'token_audience'],
      ['a refresh token', user.refresh_token, 'token_malformed'],
      ['expired', signedBy(key, { ...claims, iat: now() - 600, exp: now() - 60 }), 'token_expired'],
      ['of another issuer whose key has the same name', (await tokenFor(elsewhere, SERVICE, { grant_type: 'client_credentials', resource: url, scope: 'notes:read' })).access_token, 'token_signature'],
      ['in the name of another issuer', signedBy(key, { ...claims, iss: elsewhere.url }), 'token_issuer'],
      ['of another issuer under our name', signedBy(signingKey(key.kid), claims), 'token_signature'],
      ['of a key that nobody publishes', signedBy(signingKey('unknown'), claims), 'token_key'],
      ['unsigned', `${encoded({ alg: 'none', typ: 'at+jwt' })}.${payload}.`, 'token_malformed'],
      ['signed with the public key as a secret', `${confused}.${createHmac('sha256', JSON.stringify(publicKey)).update(confused).digest('base64url')}`, 'token_algorithm'],
      ['with more scope than was signed', `${header}.${encoded({ ...claims, scope: SCOPES.join(' ') })}.${good.split('.')[2]}`, 'token_signature']
    ]) {
      const { status, json: problem, headers } = await send(port, initialize(bearer(token)))
      assert.deepEqual([status, problem?.code], [401, code], name)
      assert.ok(headers['www-authenticate'].endsWith(`resource_metadata="${metadataOf(url)}"`), name)
    }
    assert.equal((await send(port, initialize({ ...bearer(good), host: 'rebound.example.com' }))).status, 403)
  })

  test(`${host}: no way of calling a tool gets around its scope`, async () => {
    const { port, url } = examples[host]
    const reader = bearer(await clientToken({ resource: url, scope: 'notes:read' }))
    const call = (name) => ({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: { note: 'x' } } })
    const headers = { accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2025-03-26', ...reader }
    for (const body of [call('add-note'), [call('list-notes'), call('add-note')], call('no-such-tool'), { ...call('add-note'), id: undefined }]) {
      const { status, json: problem } = await send(port, json(body, { path: '/mcp', headers }))
      assert.deepEqual([status, problem?.code], [403, 'insufficient_scope'], JSON.stringify(body))
    }
    const twice = '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"add-note"}}'
    assert.equal((await send(port, json(twice, { path: '/mcp', headers }))).status, 400)
    // Names of the protocol and of tools may have dots and dollar signs.
    const named = { name: 'list-notes', arguments: { $schema: 'x' }, _meta: { 'io.modelcontextprotocol/related-task': { taskId: '1' } } }
    const { status, json: answer } = await send(port, json({ ...call('list-notes'), params: named }, { path: '/mcp', headers }))
    // On Express the server itself says that the session is missing.
    assert.deepEqual([status, answer?.error?.code], host === 'hono' ? [200, undefined] : [400, -32000])
    const none = bearer(await clientToken({ resource: url }))
    assert.equal((await send(port, initialize(none))).status, 403)
  })
}

const now = () => Math.floor(Date.now() / 1000)

test("a session is its user's: another one's token does not open it, and it ends with DELETE", async () => {
  const { port, url } = examples.express
  const owner = bearer((await logIn(issuer, WEB, { scope: 'notes:read', resource: url })).access_token)
  const id = (await send(port, initialize(owner))).headers['mcp-session-id']
  const session = { 'mcp-session-id': id, 'mcp-protocol-version': '2025-06-18' }
  const list = (headers) => send(port, message('tools/list', {}, { ...session, ...headers }))
  assert.equal((await list(owner)).status, 200)
  const stranger = bearer(await clientToken({ resource: url, scope: 'notes:read' }))
  assert.equal((await list(stranger)).status, 404)
  assert.equal((await list({})).status, 401)
  assert.equal((await send(port, { method: 'DELETE', path: '/mcp', headers: { ...session, ...stranger } })).status, 404)
  assert.equal((await send(port, { method: 'DELETE', path: '/mcp', headers: { ...session, ...owner } })).status, 200)
  assert.equal((await list(owner)).status, 404)

  // One user has ten sessions at most, and takes none from another.
  const kept = (await send(port, initialize(stranger))).headers['mcp-session-id']
  const opened = []
  for (let i = 0; i < 11; i++) opened.push((await send(port, initialize(owner))).headers['mcp-session-id'])
  const lists = async (session, headers) => (await list({ 'mcp-session-id': session, ...headers })).status
  assert.deepEqual([await lists(opened[0], owner), await lists(opened[1], owner), await lists(kept, stranger)], [404, 200, 200])
})

test('a client in a browser may send what the protocol needs, and read what it needs, from a known page alone', async () => {
  const { port, url } = examples.express
  const origin = 'http://localhost:6274'
  const preflight = (method, names) => send(port, { method: 'OPTIONS', path: '/mcp', headers: { origin, 'access-control-request-method': method, 'access-control-request-headers': names } })
  assert.equal((await preflight('POST', 'authorization,content-type,mcp-protocol-version,mcp-session-id')).status, 204)
  assert.equal((await preflight('GET', 'authorization,last-event-id,mcp-protocol-version,mcp-session-id')).status, 204)
  assert.equal((await preflight('DELETE', 'authorization,mcp-protocol-version,mcp-session-id')).status, 204)
  const refused = await send(port, initialize({ origin }))
  assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [401, origin])
  assert.match(refused.headers['access-control-expose-headers'], /mcp-session-id.*www-authenticate/i)
  const token = bearer(await clientToken({ resource: url, scope: 'notes:read' }))
  assert.equal((await send(port, initialize({ origin, ...token }))).status, 200)
  const foreign = await send(port, initialize({ origin: 'https://evil.example', ...token }))
  assert.deepEqual([foreign.status, foreign.json.code], [403, 'csrf_failed'])
  const metadata = { path: new URL(metadataOf(url)).pathname, headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'mcp-protocol-version' } }
  assert.equal((await send(port, { ...metadata, method: 'OPTIONS' })).status, 204)
  assert.equal((await send(port, metadata)).headers['access-control-allow-origin'], '*')
})

for (const [name, express] of expresses) {
  test(`${name}: streams pass the guard as they are written, and end when the client says so`, async () => {
    const app = express()
    await serve(app, async (_send, { port }) => {
      const events = []
      const guard = createGuard({
        jwt: { issuer: issuer.url, discovery: true, resource: OTHER },
        rateLimit: { name: 'streams', concurrent: 2, key: 'user' },
        log: ({ method, outcome }) => events.push(`${method} ${outcome}`)
      })
      let finish
      const mcp = new McpServer({ name: 'streams', version: '1.0.0' })
      mcp.registerResource('list', 'notes://all', {}, () => ({ contents: [] }))
      mcp.registerTool('work', {}, async (extra) => {
        const { progressToken } = extra._meta
        await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress: 1 } })
        await new Promise((resolve) => (finish = resolve))
        return { content: [{ type: 'text', text: 'done' }] }
      })
      const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: () => 'the-session' })
      await mcp.connect(transport)
      app.use(guard.securityStack())
      app.all('/mcp', (req, res) => void transport.handleRequest(req, res, req.body))

      const token = await clientToken({ resource: OTHER, scope: 'notes:read' })
      const client = new Client({ name: 'test', version: '1.0.0' })
      let open
      const opened = new Promise((resolve) => (open = resolve))
      const connection = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${port}/mcp`), {
        requestInit: { headers: bearer(token) },
        fetch: async (url, init) => {
          const response = await fetch(url, init)
          if (init.method === 'GET') open(response.status)
          return response
        }
      })
      await client.connect(connection)
      assert.equal(await opened, 200)
      // The server speaks first, on the stream that GET has opened.
      const changed = new Promise((resolve) => client.setNotificationHandler(ResourceListChangedNotificationSchema, resolve))
      mcp.sendResourceListChanged()
      await changed
      // The tool ends only once its progress has arrived.
      const result = await client.callTool({ name: 'work' }, undefined, { onprogress: () => finish() })
      assert.equal(textOf(result), 'done')
      await connection.terminateSession()
      await client.close()
      await guard.close()
      assert.deepEqual(events, ['POST allow', 'POST allow', 'GET allow', 'POST allow', 'DELETE allow'])
    })
  })
}

test('a server that is bound to its clients refuses the token of another client', async () => {
  const app = expresses[0][1]()
  const guard = createGuard({ jwt: { issuer: issuer.url, discovery: true, resource: OTHER, claims: { client_id: ['web', 'app'] } } })
  app.use(guard.securityStack())
  app.post('/mcp', (req, res) => res.json({ client: req.user.client_id }))
  await serve(app, async (request) => {
    const user = await logIn(issuer, WEB, { scope: 'notes:read', resource: OTHER })
    assert.deepEqual((await request(message('ping', {}, bearer(user.access_token)))).json, { client: 'web' })
    const { status, json: problem } = await request(message('ping', {}, bearer(await clientToken({ resource: OTHER, scope: 'notes:read' }))))
    assert.deepEqual([status, problem.code], [401, 'token_claims'])
  })
  await guard.close()
})

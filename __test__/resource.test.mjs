// The API as an OAuth protected resource: metadata (RFC 9728) and challenges that point to them.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { makeKey } from './helpers/issuer.mjs'

const ISSUER = 'https://id.example.com'
const RESOURCE = 'https://api.example.com/mcp'
const METADATA = 'https://api.example.com/.well-known/oauth-protected-resource/mcp'
const PATH = '/.well-known/oauth-protected-resource/mcp'
const key = makeKey('k1')
const jwks = { keys: [key.jwk] }
const options = (resource, more = {}) => ({ rateLimit: false, jwt: { issuer: ISSUER, jwks, resource, ...more } })

/** An app that serves the metadata before the stack, and a tool that needs a scope. */
async function served(config, use, express = expresses[0][1]) {
  const guard = createGuard(config)
  const app = express()
  app.use(guard.protectedResource())
  app.use(guard.securityStack())
  app.get('/tools', guard.require({ scope: 'tools:call' }), (req, res) => res.json({ sub: req.user.sub }))
  app.get('/', (req, res) => res.json({ sub: req.user.sub }))
  await serve(app, (send) => use(send, guard))
  await guard.close()
}

for (const [name, express] of expresses) {
  test(`${name}: a client without a token finds the metadata in the challenge, and in them where to ask`, async () => {
    await served(options({ url: RESOURCE, scopes: ['tools:call', 'read'] }), async (send) => {
      const refused = await send()
      assert.equal(refused.status, 401)
      assert.equal(refused.headers['www-authenticate'], `Bearer realm="api", scope="tools:call read", resource_metadata="${METADATA}"`)
      const metadata = await send({ path: PATH })
      assert.equal(metadata.status, 200)
      assert.equal(metadata.headers['content-type'], 'application/json')
      assert.equal(metadata.headers['access-control-allow-origin'], '*')
      assert.deepEqual(metadata.json, {
        resource: RESOURCE,
        authorization_servers: [ISSUER],
        scopes_supported: ['tools:call', 'read'],
        bearer_methods_supported: ['header']
      })
    }, express)
  })
}

test('a token is for this resource alone, with or without a slash at its end', async () => {
  await served(options(RESOURCE), async (send) => {
    for (const aud of [RESOURCE, `${RESOURCE}/`, ['https://other.example', RESOURCE]]) {
      const { status, json } = await send({ headers: bearer(key.token({ iss: ISSUER, aud })) })
      assert.deepEqual([status, json], [200, { sub: 'ada' }], String(aud))
    }
    for (const aud of ['https://api.example.com', 'https://api.example.com/', `${RESOURCE}//`, `${RESOURCE}/x`, 'https://API.example.com/mcp', 'http://api.example.com/mcp', [], '', undefined]) {
      const { status } = await send({ headers: bearer(key.token({ iss: ISSUER, aud })) })
      assert.equal(status, 401, String(aud))
    }
  })
})

test('a token of too little scope is told which ones to ask for, those that it has among them', async () => {
  await served(options({ url: RESOURCE, scopes: ['read'] }), async (send) => {
    const token = (claims) => bearer(key.token({ iss: ISSUER, aud: RESOURCE, ...claims }))
    const refused = await send({ path: '/tools', headers: token({ scope: 'read' }) })
    assert.equal(refused.status, 403)
    assert.match(refused.headers['www-authenticate'], new RegExp(`error="insufficient_scope".*, scope="tools:call read", resource_metadata="${METADATA}"$`))
    assert.equal((await send({ path: '/tools', headers: token({ scope: 'read tools:call' }) })).status, 200)
  })
})

test('a guard without resource sends no metadata, and its challenges are as they were', async () => {
  const guard = createGuard({ rateLimit: false, jwt: { issuer: ISSUER, audience: 'api', jwks } })
  assert.throws(() => guard.protectedResource(), { code: 'ERR_MISSING_OPTION', path: 'jwt.resource' })
  const app = expresses[0][1]()
  app.use(guard.securityStack())
  await serve(app, async (send) => {
    assert.equal((await send()).headers['www-authenticate'], 'Bearer realm="api"')
  })
  await guard.close()
})

test('the metadata answers GET, HEAD and preflights, and other paths go on', async () => {
  await served(options(RESOURCE), async (send) => {
    assert.equal((await send({ path: PATH, method: 'HEAD' })).status, 200)
    assert.equal((await send({ path: PATH, method: 'OPTIONS' })).status, 204)
    const { status, headers } = await send({ path: PATH, method: 'POST' })
    assert.deepEqual([status, headers.allow], [405, 'GET, HEAD, OPTIONS'])
    assert.equal((await send({ path: '/.well-known/oauth-protected-resource' })).status, 401)
  })
  const guard = createGuard(options('https://api.example.com'))
  assert.equal(guard.protectedResource().path, '/.well-known/oauth-protected-resource')
  assert.deepEqual(guard.protectedResource().document, { resource: 'https://api.example.com', authorization_servers: [ISSUER], bearer_methods_supported: ['header'] })
  await guard.close()
})

test('what is no identifier of a resource is refused when the guard is built', () => {
  for (const [resource, path] of [
    ['api', 'jwt.resource'], ['http://api.example.com', 'jwt.resource'], ['https://api.example.com/?a', 'jwt.resource'], ['https://api.example.com#a', 'jwt.resource'],
    ['https://u:p@api.example.com', 'jwt.resource'], ['https://api.example.com/"', 'jwt.resource'], [5, 'jwt.resource'], [{}, 'jwt.resource.url'],
    [{ url: RESOURCE, scopes: [] }, 'jwt.resource.scopes'], [{ url: RESOURCE, scopes: ['a b'] }, 'jwt.resource.scopes[0]'], [{ url: RESOURCE, scopes: ['a"'] }, 'jwt.resource.scopes[0]'],
    [{ url: RESOURCE, authorizationServers: ['http://id.example'] }, 'jwt.resource.authorizationServers[0]'], [{ url: RESOURCE, documentation: 'x' }, 'jwt.resource.documentation'],
    [{ url: RESOURCE, scope: ['a'] }, 'jwt.resource.scope']
  ]) {
    assert.throws(() => createGuard(options(resource)), { path }, JSON.stringify(resource))
  }
})

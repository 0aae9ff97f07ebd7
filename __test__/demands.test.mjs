// What a route demands of a token: guard.require.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'

for (const [name, express] of expresses) {
  test(`${name}: a route takes the tokens that meet its demands, behind the stack and without it`, async () => {
    const guard = createGuard({ jwt: { ...jwt, optional: true }, rateLimit: false })
    const ada = (await guard.tokens.issue({ sub: 'ada', scope: 'read write', roles: ['admin'], email_verified: true })).accessToken
    const eve = (await guard.tokens.issue({ sub: 'eve', scope: 'read' })).accessToken
    const routes = {
      '/scope': [{ scope: ['read', 'write'] }, 'insufficient_scope'],
      '/role': [{ role: ['owner', 'admin'] }, 'insufficient_role'],
      '/claims': [{ claims: { email_verified: true } }, 'insufficient_claims'],
      '/all': [{ scope: 'write', role: 'admin', claims: { sub: ['ada', 'bob'] } }, 'insufficient_scope']
    }
    for (const stack of [guard.securityStack(), (req, res, next) => next()]) {
      const app = express()
      app.use(stack)
      for (const [path, [demands]] of Object.entries(routes)) {
        app.get(path, guard.require(demands), (req, res) => res.json({ sub: req.user.sub }))
      }
      await serve(app, async (send) => {
        for (const [path, [, code]] of Object.entries(routes)) {
          const good = await send({ path, headers: bearer(ada) })
          assert.deepEqual([good.status, good.json.sub], [200, 'ada'], path)
          const lacking = await send({ path, headers: bearer(eve) })
          assert.deepEqual([lacking.status, lacking.json.code], [403, code], path)
          const challenge = lacking.headers['www-authenticate']
          if (code === 'insufficient_scope') assert.match(challenge, /^Bearer realm="api", error="insufficient_scope"/)
          else assert.equal(challenge, undefined, 'no other token of hers would do')
          assert.equal((await send({ path })).status, 401, 'a demand is no demand of nobody')
        }
        const { headers } = await send({ path: '/scope', headers: bearer(eve) })
        assert.match(headers['www-authenticate'], /scope="read write"$/)
      })
    }
  })
}

test('a login must be as recent as the route says', async () => {
  const [, express] = expresses[0]
  const guard = createGuard({ jwt, rateLimit: false })
  const now = Math.floor(Date.now() / 1000)
  const issue = async (claims) => (await guard.tokens.issue({ sub: 'ada', ...claims })).accessToken
  const app = express()
  app.get('/', guard.require({ maxAge: '10m' }), (req, res) => res.end())
  await serve(app, async (send) => {
    assert.equal((await send({ headers: bearer(await issue({ auth_time: now - 60 })) })).status, 200)
    for (const claims of [{ auth_time: now - 3600 }, {}, { auth_time: String(now) }, { auth_time: now + 3600 }]) {
      const answer = await send({ headers: bearer(await issue(claims)) })
      assert.deepEqual([answer.status, answer.json.code], [401, 'insufficient_user_authentication'], JSON.stringify(claims))
      assert.match(answer.headers['www-authenticate'], /^Bearer .*error="insufficient_user_authentication".*, max_age="600"$/)
    }
  })
})

test('what can not be demanded is refused when the route is built', () => {
  const guard = createGuard({ jwt })
  assert.throws(() => guard.require({ scopes: 'read' }), { code: 'ERR_UNKNOWN_OPTION', suggestion: /`scope`/ })
  assert.throws(() => guard.require({ scope: [] }), { code: 'ERR_INVALID_OPTION', path: 'scope' })
  assert.throws(() => guard.require({ claims: { a: { b: 1 } } }), { code: 'ERR_INVALID_OPTION', path: 'claims.a' })
  assert.throws(() => guard.require({ claims: { a: () => true } }), { code: 'ERR_INVALID_OPTION', path: 'claims.a' })
  assert.throws(() => guard.require({ claims: { role: 'admin' } }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'claims.role' })
  assert.throws(() => guard.require({ maxAge: 'today' }), { code: 'ERR_INVALID_OPTION', path: 'maxAge' })
  assert.throws(() => createGuard({}).require({ scope: 'read' }), { code: 'ERR_INVALID_OPTION', path: 'jwt' })
})

test('a document reads the scopes of a token as a demand does, however they are written', async () => {
  const guard = createGuard({ jwt, rateLimit: false })
  const document = {
    openapi: '3.1.0',
    info: { title: 'Orders', version: '1' },
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' }, key: { type: 'apiKey', in: 'header', name: 'x-api-key' } }
    },
    // With an alternative, so that it is not the core that asks for the scopes.
    paths: { '/orders': { get: { security: [{ token: ['write'] }, { key: [] }], responses: { 200: { description: 'them' } } } } }
  }
  const api = guard.fromOpenApi(document, { security: { token: 'token', key: () => false } })
  const { default: express } = await import('express')
  const answering = (handler) => express().use(handler, (req, res) => res.json({}))
  for (const [claims, passes] of [
    [{ scope: 'read write' }, true],
    [{ scope: ['write'] }, true],
    [{ scope: ['read write'] }, true],
    [{ scp: 'write' }, true],
    [{ scp: ['read', 'write'] }, true],
    [{ scope: 'read', scp: 'write' }, false],
    [{ scope: 'writer' }, false],
    [{ scope: [['write']] }, false],
    [{ scope: { write: true } }, false],
    [{}, false]
  ]) {
    const { accessToken } = await guard.tokens.issue({ sub: 'ada', ...claims })
    for (const handler of [api.handler, guard.require({ scope: 'write' })]) {
      await serve(answering(handler), async (send) => {
        const { status } = await send({ path: '/orders', headers: bearer(accessToken) })
        assert.equal(status, passes ? 200 : 403, JSON.stringify(claims))
      })
    }
  }
})

test('a route with demands lets nobody pass without an identity, whatever the guard lets pass', async () => {
  const lenient = createGuard({ jwt: { ...jwt, optional: true }, rateLimit: false })
  const [, express] = expresses[0]
  const app = express()
  app.get('/', lenient.securityStack({ require: { scope: 'read' } }), (req, res) => res.json({}))
  await serve(app, async (send) => {
    assert.equal((await send()).status, 401)
    assert.equal((await send({ headers: bearer((await lenient.tokens.issue({ sub: 'ada' })).accessToken) })).status, 403)
    assert.equal((await send({ headers: bearer((await lenient.tokens.issue({ sub: 'ada', scope: 'read' })).accessToken) })).status, 200)
  })
  for (const [route, path, code] of [
    [{ require: {} }, 'require', 'ERR_INVALID_OPTION'],
    [{ require: 'admin' }, 'require', 'ERR_INVALID_OPTION'],
    [{ require: false }, 'require', 'ERR_INVALID_OPTION'],
    [{ require: { scopes: 'read' } }, 'require.scopes', 'ERR_UNKNOWN_OPTION'],
    [{ require: { scope: '' } }, 'require.scope', 'ERR_INVALID_OPTION'],
    [{ require: { scope: 'read' }, jwt: false }, 'require', 'ERR_CONFLICTING_OPTIONS'],
    [{ require: { scope: 'read' }, jwt: { optional: true } }, 'require', 'ERR_CONFLICTING_OPTIONS'],
    [{ require: { scope: undefined } }, 'require.scope', 'ERR_MISSING_OPTION']
  ]) assert.throws(() => lenient.securityStack(route), (error) => error.path === path && error.code === code, JSON.stringify(route))
  assert.throws(() => createGuard({}).securityStack({ require: { scope: 'read' } }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'require' })
  assert.throws(() => createGuard({ jwt, revocation: false }).securityStack({ require: { fresh: true } }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'require.fresh' })
})

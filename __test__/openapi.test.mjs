// A whole API guarded by its own description, on Express 4, Express 5 and node:http.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import v8 from 'node:v8'
import vm from 'node:vm'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, json, serve } from './helpers/http.mjs'
import { petstore, petstoreOptions } from './helpers/petstore.mjs'

const build = (config) => createGuard({ rateLimit: false, jwt, ...config })
const tokenOf = async (guard, scope) => (await guard.tokens.issue({ sub: 'ada', ...(scope === undefined ? {} : { scope }) })).accessToken
const pet = { name: 'Rex', owner: { email: 'ada@example.com' } }

const order = (body, type = 'application/x-www-form-urlencoded') => ({ method: 'POST', path: '/v1/pets/orders', headers: { 'content-type': type }, body })

/** An application that knows nothing of what its document promises. */
function storeOf(express, guard, api) {
  const app = express()
  app.use(guard.headers(), api.handler)
  app.all(/.*/, (req, res) => {
    const valid = (() => {
      try {
        return api.valid(req)
      } catch (error) {
        return { code: error.code }
      }
    })()
    res.json({ reached: true, valid, body: req.body ?? null, params: req.params, user: req.user?.sub ?? null })
  })
  return app
}

for (const [name, express] of expresses) {
  test(`${name}: requests that the document describes reach the application, converted`, async () => {
    const guard = build()
    const api = guard.fromOpenApi(petstore, petstoreOptions)
    const [reads, writes, admin] = await Promise.all(['pets:read', 'pets:write other', 'admin'].map((scope) => tokenOf(guard, scope)))
    await serve(storeOf(express, guard, api), async (send) => {
      const list = await send({ path: '/v1/pets?tags=a&tags=b&ids=1,2', headers: { 'x-tenant': 'acme', 'x-kinds': 'cat, dog', cookie: 'a=b; seen=3' } })
      assert.equal(list.status, 200, list.text)
      assert.deepEqual(list.json.valid, {
        operation: { operationId: 'listPets', method: 'GET', path: '/pets' },
        query: { limit: 20, tags: ['a', 'b'], ids: [1, 2] },
        headers: { 'x-kinds': ['cat', 'dog'], 'x-tenant': 'acme' },
        cookies: { seen: 3 }
      })
      assert.equal(list.json.user, null)
      const one = await send({ path: '/v1/pets/7/', headers: bearer(reads) })
      assert.deepEqual([one.status, one.json.valid.params, one.json.user], [200, { petId: 7 }, 'ada'], one.text)
      const head = await send({ method: 'HEAD', path: '/v1/pets/7', headers: bearer(reads) })
      assert.equal(head.status, 200)
      for (const token of [writes, admin]) {
        const made = await send(json({ ...pet, nickname: null, weight: 0.5, parents: [{ name: 'a', parents: [{ name: 'b' }] }] }, { path: '/v1/pets', headers: bearer(token) }))
        assert.equal(made.status, 200, made.text)
        assert.equal(made.json.body.name, 'Rex')
        assert.deepEqual(made.json.valid.body, made.json.body)
      }
      // An optional body, in each of its media types, or none.
      for (const request of [
        json({ by: 'name', name: 'Rex' }),
        json({ by: 'owner', owner: 'a@b.co' }),
        json({ color: null }, { headers: { 'content-type': 'application/merge-patch+json; charset=utf-8' } }),
        { method: 'POST' }
      ]) {
        const found = await send({ ...request, path: '/v1/pets/search' })
        assert.equal(found.status, 200, found.text)
      }
      // A form where the operation has one, with the types of its schema; and JSON beside it.
      const form = await send(order('count=2&kinds=cat&kinds=dog'))
      assert.deepEqual([form.status, form.json.body], [200, { count: 2, kinds: ['cat', 'dog'], gift: false }], form.text)
      assert.deepEqual(form.json.valid.body, form.json.body)
      const beside = await send(json({ count: 2 }, { path: '/v1/pets/orders' }))
      assert.deepEqual([beside.status, beside.json.body], [200, { count: 2 }], beside.text)
      const photo = await send({ method: 'PUT', path: '/v1/pets/7/photo', headers: { 'content-type': 'image/png' }, body: Buffer.from([1, 2, 3]) })
      assert.deepEqual([photo.status, photo.json.body, photo.json.valid.params], [200, null, { petId: 7 }], photo.text)
    })
  })

  test(`${name}: requests that it does not allow never do`, async () => {
    const guard = build()
    const api = guard.fromOpenApi(petstore, { ...petstoreOptions, unknown: 'refuse' })
    const [reads, writes, none, foreign] = await Promise.all([
      tokenOf(guard, 'pets:read'), tokenOf(guard, 'pets:write'), tokenOf(guard), tokenOf(build({ jwt: { ...jwt, secret: `${jwt.secret}x` } }), 'admin')
    ])
    const post = (body, more = {}) => json(body, { path: '/v1/pets', ...more, headers: { ...bearer(writes), ...more.headers } })
    const list = (query, headers = {}) => ({ path: `/v1/pets?${query}`, headers })
    // [what, request, status, code, and the places of errors]
    const attacks = [
      ['an undeclared member', post({ ...pet, admin: true }), 422, 'validation_failed', ['body #/admin']],
      ['an undeclared member inside', post({ ...pet, owner: { email: 'a@b.co', role: 'admin' } }), 422, 'validation_failed', ['body #/owner/role']],
      ['a read-only member', post({ ...pet, id: 1 }), 422, 'validation_failed', ['body #/id']],
      ['a read-only member inside', post({ ...pet, owner: { email: 'a@b.co', verified: true } }), 422, 'validation_failed', ['body #/owner/verified']],
      ['wrong types', post({ name: 5, owner: [], weight: 0, nickname: 1 }), 422, 'validation_failed', ['body #/name', 'body #/owner', 'body #/weight', 'body #/nickname']],
      ['no body', { method: 'POST', path: '/v1/pets', headers: bearer(writes) }, 422, 'validation_failed', ['body #']],
      ['a member twice', post('{"name":"a","name":"b","owner":{"email":"a@b.co"}}'), 400, 'duplicate_key'],
      ['__proto__', post('{"__proto__":{"admin":true},"name":"a","owner":{"email":"a@b.co"}}'), 400, 'forbidden_key'],
      ['another media type', post('name=a', { headers: { 'content-type': 'application/x-www-form-urlencoded' } }), 415, 'unsupported_media_type'],
      ['a form with an undeclared name', order('count=2&admin=true'), 422, 'validation_failed', ['body #/admin']],
      ['a form with a read-only member', order('count=2&paid=true'), 422, 'validation_failed', ['body #/paid']],
      ['a form with a bad element', order('count=2&kinds=cat&kinds=cow'), 422, 'validation_failed', ['body #/kinds/1']],
      ['a form with a name twice', order('count=2&count=3'), 400, 'duplicate_key'],
      ['a form with brackets', order('count[]=2'), 400, 'bracketed_key'],
      ['a form in place of JSON', order('count=2', 'application/json'), 400, 'malformed_json'],
      ['JSON in place of a form', order('{"count":2}'), 422, 'validation_failed'],
      ['a form in another charset', order('count=2', 'application/x-www-form-urlencoded; charset=utf-7'), 415, 'unsupported_charset'],
      ['an empty form', order(''), 422, 'validation_failed', ['body #']],
      ['another JSON type', post(pet, { headers: { 'content-type': 'application/vnd.api+json' } }), 415, 'unsupported_media_type'],
      ['no media type', { ...post(pet), headers: bearer(writes) }, 415, 'unsupported_media_type'],
      ['another charset', post(pet, { headers: { 'content-type': 'application/json; charset=utf-7' } }), 415, 'unsupported_charset'],
      ['a body where none is described', { method: 'DELETE', path: '/v1/pets/7', headers: { ...bearer(await tokenOf(guard, 'admin')), 'x-key': 'open sesame', 'content-type': 'application/json', 'content-length': 2 }, body: '{}' }, 415, 'unsupported_media_type'],
      ['an undeclared name in the query', list('admin=1'), 422, 'validation_failed', ['query #/admin']],
      ['an undeclared name where none is described', { path: '/v1/pets/7?x=1', headers: bearer(reads) }, 422, 'validation_failed', ['query #/x']],
      ['a number out of range', list('limit=101'), 422, 'validation_failed', ['query #/limit']],
      ['a number twice', list('limit=1&limit=2'), 400, 'duplicate_key'],
      ['a list with commas twice', list('ids=1&ids=2'), 400, 'duplicate_key'],
      ['a list with commas in brackets', list('ids[]=1'), 400, 'bracketed_key'],
      ['a list of something else', list('ids=1,x'), 422, 'validation_failed', ['query #/ids/1']],
      ['a long list', list('tags=a&tags=b&tags=c&tags=d'), 422, 'validation_failed', ['query #/tags']],
      ['an operator', list('limit[$gt]=1'), null, null],
      ['a bad header', list('', { 'x-tenant': 'A1' }), 422, 'validation_failed', ['headers #/x-tenant']],
      ['a bad list in a header', list('', { 'x-kinds': 'cat,cow' }), 422, 'validation_failed', ['headers #/x-kinds/1']],
      ['a bad cookie', list('', { cookie: 'seen=-1' }), 422, 'validation_failed', ['cookies #/seen']],
      ['a cookie twice', list('', { cookie: 'seen=1; seen=2' }), 400, 'duplicate_key'],
      ['a bad path parameter', { path: '/v1/pets/x', headers: bearer(reads) }, 422, 'validation_failed', ['params #/petId']],
      ['a path parameter out of range', { path: '/v1/pets/0', headers: bearer(reads) }, 422, 'validation_failed', ['params #/petId']],
      ['neither branch', json({ by: 'name', owner: 'a@b.co' }, { path: '/v1/pets/search' }), 422, 'validation_failed'],
      ['no token', { path: '/v1/pets/7' }, 401, 'token_missing'],
      ['a token of somebody else', { path: '/v1/pets/7', headers: bearer(foreign) }, 401, 'token_signature'],
      ['a token without the scope', { path: '/v1/pets/7', headers: bearer(none) }, 403, 'insufficient_scope'],
      ['a token with another scope', json(pet, { path: '/v1/pets', headers: bearer(reads) }), 403, 'insufficient_scope'],
      ['no credentials of either kind', json({ name: 'a' }, { method: 'PATCH', path: '/v1/pets/7' }), 401, 'credentials_missing'],
      ['a bad token where a key would do', json({ name: 'a' }, { method: 'PATCH', path: '/v1/pets/7', headers: { ...bearer(foreign), 'x-key': 'open sesame' } }), 401, 'token_signature'],
      ['a bad token where none is needed', { method: 'PUT', path: '/v1/pets/7/photo', headers: bearer(foreign) }, 401, 'token_signature'],
      ['one of two demands', { method: 'DELETE', path: '/v1/pets/7', headers: { 'x-key': 'open sesame' } }, 401, 'token_missing'],
      ['the other of two demands', { method: 'DELETE', path: '/v1/pets/7', headers: bearer(await tokenOf(guard, 'admin')) }, 401, 'credentials_missing'],
      ['a bad password', { method: 'POST', path: '/v1/pets/7:adopt', headers: { authorization: 'Basic YTpi' } }, 401, 'credentials_missing'],
      ['another method', { method: 'PUT', path: '/v1/pets/7', headers: bearer(writes) }, 405, 'method_not_allowed'],
      ['another path', { path: '/v1/pet', headers: bearer(reads) }, 404, 'unknown_route'],
      ['an encoded slash', { path: '/v1/pets/7%2fphoto', headers: bearer(reads) }, 400, 'malformed_path'],
      ['a way up', { path: '/v1/pets/../pets/7', headers: bearer(reads) }, 400, 'malformed_path'],
      ['a way up, encoded', { path: '/v1/pets/%2e%2e/pets/7', headers: bearer(reads) }, 400, 'malformed_path'],
      ['an empty segment', { path: '/v1//pets/7', headers: bearer(reads) }, 400, 'malformed_path'],
      ['capitals', { path: '/V1/Pets/7' }, 401, 'token_missing'],
      ['an encoded letter', { path: '/v1/%70ets/7' }, 400, 'malformed_path'],
      ['a path outside of the document', { path: '/health' }, 404, 'unknown_route']
    ]
    await serve(storeOf(express, guard, api), async (send) => {
      for (const [what, request, status, code, places] of attacks) {
        const answer = await send(request)
        assert.equal(answer.json?.reached, undefined, `${what} reached the application`)
        if (status === null) continue
        assert.equal(answer.status, status, `${what}: ${answer.text}`)
        assert.equal(answer.json.code, code, `${what}: ${answer.text}`)
        assert.equal(answer.headers['content-type'], 'application/problem+json', what)
        assert.equal(answer.headers['x-content-type-options'], 'nosniff', what)
        if (places !== undefined) assert.deepEqual(answer.json.errors.map((error) => `${error.in} ${error.pointer}`).sort(), places.sort(), answer.text)
        if (status === 401) assert.ok(answer.headers['www-authenticate'], what)
        if (status === 405) assert.equal(answer.headers.allow, 'DELETE, GET, HEAD, PATCH')
      }
      const scope = await send(json(pet, { path: '/v1/pets', headers: bearer(reads) }))
      assert.match(scope.headers['www-authenticate'], /^Bearer .*error="insufficient_scope".*scope="pets:write"$/)
      const both = await send({ method: 'PATCH', path: '/v1/pets/7' })
      assert.equal(both.headers['www-authenticate'], 'Bearer realm="api", ApiKey realm="api"')
      // What asks for methods is not the document's affair.
      for (const request of [{ method: 'OPTIONS', path: '/v1/pets' }, { method: 'OPTIONS', path: '/v1/nope' }, { method: 'OPTIONS', path: '/health' }]) {
        assert.equal((await send(request)).status, 200, JSON.stringify(request))
      }
    })
  })

  test(`${name}: functions of the application decide where the document names other schemes`, async () => {
    const guard = build()
    const asked = []
    const options = {
      ...petstoreOptions,
      security: { ...petstoreOptions.security, key: (req, demand) => (asked.push(demand), petstoreOptions.security.key(req)) }
    }
    const api = guard.fromOpenApi(petstore, options)
    const [admin, any] = await Promise.all([tokenOf(guard, 'admin'), tokenOf(guard)])
    await serve(storeOf(express, guard, api), async (send) => {
      const change = (headers) => send(json({ name: 'a', nickname: null }, { method: 'PATCH', path: '/v1/pets/7', headers }))
      assert.deepEqual([(await change({ 'x-key': 'open sesame' })).json.user, (await change(bearer(any))).json.user], [null, 'ada'])
      assert.equal((await change({ 'x-key': 'no' })).status, 401)
      assert.equal((await send({ method: 'DELETE', path: '/v1/pets/7', headers: { ...bearer(admin), 'x-key': 'open sesame' } })).status, 200)
      assert.equal((await send({ method: 'POST', path: '/v1/pets/7:adopt', headers: { authorization: `Basic ${Buffer.from('ada:lovelace').toString('base64')}` } })).status, 200)
      assert.deepEqual(asked.at(-1), { scheme: 'key', scopes: [], operation: { operationId: 'deletePet', method: 'DELETE', path: '/pets/{petId}' } })
    })
  })

  test(`${name}: the stack of one operation stands on a route of its own`, async () => {
    const guard = build()
    const api = guard.fromOpenApi(petstore, petstoreOptions)
    const app = express()
    app.get('/anywhere/:petId', api.stack('getPet'), (req, res) => res.json({ valid: api.valid(req), params: req.params }))
    app.post('/pets', ...api.stack('POST /pets'), (req, res) => res.json(req.body))
    const token = await tokenOf(guard, 'pets:read admin')
    await serve(app, async (send) => {
      const fine = await send({ path: '/anywhere/7', headers: bearer(token) })
      assert.deepEqual([fine.json.valid.params, fine.json.params], [{ petId: 7 }, { petId: '7' }], fine.text)
      assert.equal((await send({ path: '/anywhere/x', headers: bearer(token) })).status, 422)
      assert.equal((await send({ path: '/anywhere/7' })).status, 401)
      assert.deepEqual((await send(json(pet, { path: '/pets', headers: bearer(token) }))).json, pet)
      assert.equal((await send(json({ ...pet, admin: 1 }, { path: '/pets', headers: bearer(token) }))).status, 422)
    })
  })

  test(`${name}: a security function that fails is never a pass`, async () => {
    for (const key of [() => { throw new Error('away') }, async () => { throw new Error('away') }, () => 1, () => undefined, async () => 'yes']) {
      const guard = build()
      const api = guard.fromOpenApi(petstore, { ...petstoreOptions, security: { ...petstoreOptions.security, key } })
      await serve(storeOf(express, guard, api), async (send) => {
        const answer = await send(json({ name: 'a' }, { method: 'PATCH', path: '/v1/pets/7' }))
        assert.ok([401, 500].includes(answer.status), answer.text)
        assert.equal(answer.json.reached, undefined)
      })
    }
  })
}

test('node:http: the handler guards a server without a framework, and the log hears of refusals', async () => {
  const events = []
  const guard = build({ log: (event) => events.push([event.method, event.path, event.outcome, event.status, event.code]) })
  const api = guard.fromOpenApi(petstore, { ...petstoreOptions, unknown: 'refuse' })
  const server = http.createServer((req, res) => api.handler(req, res, () => res.end(JSON.stringify(api.valid(req)))))
  await serve(undefined, async (send) => {
    const fine = await send({ path: '/v1/pets?limit=3' })
    assert.deepEqual(fine.json.query, { limit: 3 })
    assert.equal((await send({ path: '/v1/pets?limit=x' })).status, 422)
    assert.equal((await send({ path: '/v1/nope' })).status, 404)
    assert.equal((await send({ method: 'PUT', path: '/v1/pets' })).status, 405)
    assert.deepEqual(events.filter(([, , outcome]) => outcome === 'refuse'), [
      ['GET', '/v1/pets', 'refuse', 422, 'validation_failed'],
      ['GET', '/v1/nope', 'refuse', 404, 'unknown_route'],
      ['PUT', '/v1/pets', 'refuse', 405, 'method_not_allowed']
    ])
  }, server)
})

test('an unknown request passes unless it is to be refused, in no spelling of a known one', async () => {
  const guard = build()
  const api = guard.fromOpenApi(petstore, petstoreOptions)
  const [, express] = expresses[0]
  await serve(storeOf(express, guard, api), async (send) => {
    for (const request of [{ path: '/v1/other' }, { method: 'PUT', path: '/v1/pets' }, { path: '/' }]) {
      const answer = await send(request)
      assert.deepEqual([answer.status, answer.json.valid], [200, { code: 'ERR_INVALID_ARGUMENT' }])
    }
    for (const path of ['/v1/PETS/7', '/V1/pets/7/', '/v1/pets/%2D7']) assert.equal((await send({ path })).status, 401, path)
    for (const path of ['/v1/p%65ts/7', '/v1/pets/%37', '/v1/pets//7', '/v1/pets/7//', '/v1/./pets/7', '/v1/pets/7%00']) assert.equal((await send({ path })).status, 400, path)
  })
})

test('once the guard is closed every operation is refused, also one that was never asked for', async () => {
  const guard = build()
  const api = guard.fromOpenApi(petstore, petstoreOptions)
  const token = await tokenOf(guard, 'pets:read')
  const server = http.createServer((req, res) => api.handler(req, res, () => res.end('passed')))
  await serve(undefined, async (send) => {
    assert.equal((await send({ path: '/v1/pets' })).status, 200)
    await guard.close()
    for (const request of [{ path: '/v1/pets' }, { path: '/v1/pets/7', headers: bearer(token) }, { method: 'PUT', path: '/v1/pets/7/photo' }]) {
      const answer = await send(request)
      assert.deepEqual([answer.status, answer.json?.code], [503, 'guard_closed'], answer.text)
    }
  }, server)
})

test('a token may come as the guard takes it, and is no undeclared name of the query', async () => {
  const guard = build({ jwt: { ...jwt, from: ['header', { query: 'access_token' }] } })
  const api = guard.fromOpenApi(petstore, petstoreOptions)
  const token = await tokenOf(guard, 'pets:read')
  await serve(storeOf(expresses[0][1], guard, api), async (send) => {
    const fine = await send({ path: `/v1/pets/7?access_token=${token}` })
    assert.deepEqual([fine.status, fine.json.user], [200, 'ada'], fine.text)
    assert.equal((await send({ path: '/v1/pets/7?access_token=x' })).status, 401)
    assert.deepEqual(fine.json.valid.query, {}, 'and no parameter either')
    // An operation that asks for no token has no such name.
    assert.equal((await send({ path: `/v1/pets?access_token=${token}` })).status, 422)
  })
})

test('the stack of the guard goes before, and leaves tokens and bodies to what the document says', async () => {
  const guard = build({ rateLimit: { name: 'api', limit: 100, window: '1m' }, cors: { origins: ['https://app.example.com'] } })
  const api = guard.fromOpenApi(petstore, { ...petstoreOptions, unknown: 'refuse' })
  for (const [, express] of expresses) {
    const app = express()
    app.use(guard.securityStack({ jwt: { optional: true }, payload: false }), api.handler)
    app.get('/v1/pets/:id', (req, res) => res.json({ id: api.valid(req).params.petId, limits: req.guard.limits.length }))
    app.post('/v1/pets', (req, res) => res.status(201).json(req.body))
    app.put('/v1/pets/:id/photo', (req, res) => {
      const chunks = []
      req.on('data', (chunk) => chunks.push(chunk)).on('end', () => res.send(Buffer.concat(chunks)))
    })
    const token = await tokenOf(guard, 'pets:read pets:write admin')
    await serve(app, async (send) => {
      assert.deepEqual((await send({ path: '/v1/pets/7', headers: bearer(token) })).json, { id: 7, limits: 1 })
      assert.equal((await send(json(pet, { path: '/v1/pets', headers: bearer(token) }))).status, 201)
      assert.equal((await send(json({ ...pet, id: 1 }, { path: '/v1/pets', headers: bearer(token) }))).status, 422)
      const photo = await send({ method: 'PUT', path: '/v1/pets/7/photo', headers: { 'content-type': 'image/png' }, body: 'bytes' })
      assert.deepEqual([photo.status, photo.text], [200, 'bytes'])
      assert.equal((await send({ path: '/v1/pets/7' })).status, 401)
      const refused = await send({ path: '/v1/nope', headers: { origin: 'https://app.example.com' } })
      assert.deepEqual([refused.status, refused.headers['access-control-allow-origin']], [404, 'https://app.example.com'])
      const preflight = await send({ method: 'OPTIONS', path: '/v1/pets', headers: { origin: 'https://app.example.com', 'access-control-request-method': 'POST' } })
      assert.equal(preflight.status, 204)
    })
  }
})

test('cookies are a part of a request like any other', async () => {
  const guard = build()
  const check = guard.validate({ cookies: { type: 'object', required: ['lang'], properties: { lang: { enum: ['en', 'de'] }, n: { type: 'integer', default: 5 } } } })
  const [, express] = expresses[0]
  const app = express()
  app.get('/', check, (req, res) => res.json(check.valid(req).cookies))
  await serve(app, async (send) => {
    assert.deepEqual((await send({ headers: { cookie: 'session=x=y; lang="de"' } })).json, { lang: 'de', n: 5 })
    for (const cookie of ['lang=fr', 'lang=en; n=x', 'lang', 'Lang=en', '']) assert.equal((await send({ headers: { cookie } })).status, 422, cookie)
    for (const cookie of ['lang=en; lang=de', 'n=1; lang=en; n=1']) assert.equal((await send({ headers: { cookie } })).status, 400, cookie)
  })
})

test('what is wrong with a document is said where it stands, when the guard is built', () => {
  const guard = build()
  const fails = (doc, options, code, path, words) =>
    assert.throws(() => guard.fromOpenApi(doc, options), (error) => {
      assert.deepEqual([error.name, error.code, error.path], ['GuardError', code, path], error.message)
      assert.match(error.message, words)
      return true
    })
  const changed = (change) => {
    const doc = structuredClone(petstore)
    change(doc)
    return doc
  }
  fails('openapi: 3.0.3', {}, 'ERR_INVALID_OPENAPI', 'doc', /YAML/)
  fails(undefined, {}, 'ERR_INVALID_OPENAPI', 'doc', /undefined/)
  fails({ ...petstore, openapi: '3.3.0' }, petstoreOptions, 'ERR_INVALID_OPENAPI', 'openapi', /3\.1/)
  fails(petstore, {}, 'ERR_INVALID_OPENAPI', 'paths./pets/{petId}.delete.security.0.key', /`key`/)
  fails(petstore, { security: petstoreOptions.security }, 'ERR_INVALID_OPENAPI', 'paths./pets/{petId}/photo.put.requestBody.content.image/png', /unreadable/)
  fails(changed((doc) => { doc.components.schemas.Parent.properties.name.pattern = '(a)\\1' }), petstoreOptions, 'ERR_INVALID_SCHEMA', 'components.schemas.Parent.properties.name.pattern', /linear/)
  fails(changed((doc) => { doc.components.parameters.Limit.schema.default = 0 }), petstoreOptions, 'ERR_INVALID_SCHEMA', 'components.parameters.Limit.schema.default', /default for `limit`/)
  fails(changed((doc) => { doc.paths['/pets'].get.parameters[0] = { $ref: '#/components/parameters/Limits' } }), petstoreOptions, 'ERR_INVALID_OPENAPI', 'paths./pets.get.parameters.0.$ref', /leads nowhere/)
  fails(petstore, { ...petstoreOptions, unkown: 'pass' }, 'ERR_UNKNOWN_OPTION', 'options.unkown', /did you mean `unknown`/)
  fails(petstore, null, 'ERR_INVALID_OPTION', 'options', /object/)
  assert.throws(() => createGuard({ rateLimit: false }).fromOpenApi(petstore, petstoreOptions), /has no `jwt`/)
  const api = guard.fromOpenApi(petstore, petstoreOptions)
  assert.throws(() => api.stack('getPets'), (error) => error.path === 'operation' && /did you mean '\w*Pets?'/.test(error.message))
  assert.throws(() => api.stack(7), (error) => error.code === 'ERR_INVALID_ARGUMENT')
  assert.equal(api.operations.length, 9)
})

test('a function of the guard is asked where a schema stands, and refused at its place in the document where a reference leads', async () => {
  const guard = build({ payload: { formats: { luhn: (text) => text === '18' }, keywords: { even: (value) => value % 2 === 0 } } })
  const described = (inline, shared) => ({
    openapi: '3.1.0',
    info: { title: 'Cards', version: '1' },
    paths: {
      '/cards': {
        post: {
          parameters: [{ name: 'n', in: 'query', schema: { type: 'integer', ...inline.query } }],
          requestBody: { content: { 'application/json': { schema: { type: 'object', properties: { card: { type: 'string', ...inline.body }, more: { $ref: '#/components/schemas/More' } } } } } }
        }
      }
    },
    components: { schemas: { More: { type: 'object', properties: { card: { type: 'string', ...shared } } } } }
  })
  for (const [doc, path] of [
    [described({}, { format: 'luhn' }), 'components.schemas.More.properties.card'],
    [described({}, { even: true }), 'components.schemas.More.properties.card'],
    [described({ body: { anyOf: [{ format: 'luhn' }, { maxLength: 1 }] } }, {}), 'paths./cards.post.requestBody.content.application/json.schema.properties.card.anyOf.0']
  ]) {
    assert.throws(() => guard.fromOpenApi(doc), (error) => error.code === 'ERR_INVALID_SCHEMA' && error.path === path && /asks a function/.test(error.message), path)
  }
  const api = guard.fromOpenApi(described({ query: { even: true }, body: { format: 'luhn' } }, {}))
  const [, express] = expresses[0]
  await serve(storeOf(express, guard, api), async (send) => {
    const post = (n, card) => send(json({ card }, { path: `/cards?n=${n}` }))
    assert.equal((await post(2, '18')).status, 200)
    const refused = await post(3, '19')
    assert.deepEqual(refused.json.errors.map((error) => `${error.in} ${error.pointer} ${error.code}`).sort(), ['body #/card format', 'query #/n even'])
  })
})

for (const [name, express] of expresses) {
  test(`${name}: answers are what the document says, where that is asked for`, async () => {
    const events = []
    const guard = build({ log: (event) => events.push(event) })
    const doc = structuredClone(petstore)
    const { schemas } = doc.components
    schemas.Owner.properties.pin = { type: 'string', writeOnly: true }
    schemas.Pet.required.push('secret')
    schemas.Pet.properties.secret = { type: 'string', writeOnly: true }
    schemas.Problem = { type: 'object', properties: { message: { type: 'string' } } }
    const of = (schema) => ({ description: 'so', content: { 'application/json': { schema } } })
    doc.paths['/pets/{petId}'].get.responses = { 200: of({ $ref: '#/components/schemas/Pet' }), '4XX': { $ref: '#/components/responses/Problem' } }
    doc.paths['/pets/{petId}/photo'].put.responses = { default: { $ref: '#/components/responses/Problem' } }
    doc.components.responses = { Problem: of({ $ref: '#/components/schemas/Problem' }) }
    const sent = { id: 7, ...pet, secret: 'hunter2', hash: 'hunter2', owner: { ...pet.owner, pin: 'hunter2', verified: true } }
    const clean = { id: 7, ...pet, owner: { ...pet.owner, verified: true } }
    const answers = { 7: [200, sent], 8: [200, clean], 9: [200, pet], 10: [404, { message: 'none', stack: 'hunter2' }], 11: [201, sent] }
    const over = async (responses, use, mount) => {
      const api = guard.fromOpenApi(doc, { ...petstoreOptions, ...(responses === undefined ? {} : { responses }) })
      const app = express()
      mount(app, api)
      app.put('/v1/pets/:id/photo', (req, res) => res.json({ message: 'kept', stack: 'hunter2' }))
      app.get('/v1/pets/:petId', (req, res) => res.status(answers[req.params.petId][0]).json(answers[req.params.petId][1]))
      const token = bearer(await tokenOf(guard, 'pets:read'))
      await serve(app, (send) => use(async (id) => {
        const answer = await send({ path: `/v1/pets/${id}`, headers: token })
        return [answer.status, answer.json]
      }, send))
    }
    const whole = (app, api) => app.use(api.handler)
    for (const mount of [whole, (app, api) => app.get('/v1/pets/:petId', ...api.stack('getPet'))]) {
      await over('strip', async (get, send) => {
        for (const id of [7, 8]) assert.deepEqual(await get(id), [200, clean])
        const [status, problem] = await get(9)
        assert.deepEqual([status, problem.code], [500, 'response_mismatch'])
        assert.deepEqual(await get(10), [404, { message: 'none' }])
        assert.deepEqual(await get(11), [201, sent], 'the document has no such status')
        // A refusal is the guard's, and no answer of the application.
        const refused = await send({ path: '/v1/pets/7' })
        assert.deepEqual([refused.status, refused.json.code], [401, 'token_missing'])
        if (mount !== whole) return
        const photo = await send({ method: 'PUT', path: '/v1/pets/7/photo', headers: { 'content-type': 'image/png' }, body: Buffer.from([1]) })
        assert.deepEqual(photo.json, { message: 'kept' })
      }, mount)
    }
    assert.deepEqual(events.filter(({ outcome }) => outcome === 'response').map(({ path }) => path), ['/v1/pets/9', '/v1/pets/9'])
    await over('fail', async (get) => {
      for (const id of [7, 9, 10]) assert.equal((await get(id))[0], 500, `${id}`)
      assert.deepEqual(await get(8), [200, clean])
    }, whole)
    await over('warn', async (get) => {
      for (const id of [7, 8, 9, 10]) assert.deepEqual(await get(id), answers[id])
    }, whole)
    await over(undefined, async (get) => assert.deepEqual(await get(7), answers[7]), whole)
  })
}

test('a token that lacks nothing is not told to get another scope, and a scope that is null is none', async () => {
  const guard = build()
  const doc = structuredClone(petstore)
  const operation = (security) => ({ security, responses: { 204: { description: 'fine' } } })
  doc.paths['/both'] = { get: operation([{ oauth: ['admin'], key: [] }, { oauth: ['root'] }]) }
  doc.paths['/either'] = { get: operation([{ oauth: ['admin'] }, { key: [] }]) }
  const api = guard.fromOpenApi(doc, petstoreOptions)
  const token = async (claims) => bearer((await guard.tokens.issue({ sub: 'ada', ...claims })).accessToken)
  const [, express] = expresses[0]
  await serve(storeOf(express, guard, api), async (send) => {
    const get = async (path, headers) => {
      const { status, json: { code }, headers: sent } = await send({ path: `/v1${path}`, headers })
      return [status, code, sent['www-authenticate']]
    }
    const challenges = 'ApiKey realm="api", Bearer realm="api"'
    const admin = await token({ scope: 'admin' })
    assert.deepEqual(await get('/both', admin), [401, 'credentials_missing', challenges])
    assert.deepEqual(await get('/both', { ...admin, 'x-key': 'wrong' }), [401, 'credentials_missing', challenges])
    assert.deepEqual((await get('/both', { ...admin, 'x-key': 'open sesame' }))[0], 200)
    const none = await token({ scope: 'other' })
    for (const path of ['/both', '/either']) {
      const [status, code, challenge] = await get(path, none)
      assert.deepEqual([status, code], [403, 'insufficient_scope'])
      assert.match(challenge, /error="insufficient_scope".*scope="admin"$/)
    }
    assert.equal((await get('/either', await token({ scp: ['admin'] })))[0], 200)
    assert.equal((await get('/either', await token({ scope: null, scp: ['admin'] })))[0], 403)
    // As the core reads it where it asks alone.
    assert.equal((await send({ path: '/v1/pets/7', headers: await token({ scope: null, scp: ['pets:read'] }) })).status, 403)
  })
})

test('a document that nobody uses any more gives its memory back, and one stack of it is a use', async () => {
  v8.setFlagsFromString('--expose-gc')
  const gc = vm.runInNewContext('gc')
  const native = createRequire(import.meta.url)('../native.js')
  const isKnown = (number) => !native.openApiFind(number, 'GET', '/', '').startsWith('xguard_closed')
  const guard = build()
  const first = native.openApi(0xfffff, '{}', '{}')
  assert.match(first, /error/, 'a document needs a guard')
  let last = 0
  let stacks = [guard.fromOpenApi(petstore, petstoreOptions).stack('getPet')]
  for (let number = 1; number < 1000; number += 1) if (isKnown(number)) last = number
  assert.ok(last > 0)
  const later = () => new Promise((resolve) => { setTimeout(resolve, 20) })
  for (let i = 0; i < 5; i += 1) {
    gc()
    await later()
  }
  assert.ok(isKnown(last), 'it is in use')
  assert.equal(stacks.length, 1)
  stacks = []
  for (let i = 0; i < 500 && isKnown(last); i += 1) {
    gc()
    await later()
  }
  assert.ok(!isKnown(last))
  await guard.close()
})

test('an answer that another handler has begun while a security function is asked is broken off, and ends no process', async () => {
  const guard = build()
  const key = async (req) => {
    req.res.writeHead(200)
    req.res.write(' ')
    return false
  }
  const api = guard.fromOpenApi(petstore, { ...petstoreOptions, security: { ...petstoreOptions.security, key } })
  const app = expresses[0][1]().use(api.handler, (req, res) => res.end())
  await serve(app, async (send) => {
    await assert.rejects(send(json({ name: 'a' }, { method: 'PATCH', path: '/v1/pets/7' })))
    assert.equal((await send({ path: '/v1/pets?limit=x' })).status, 422)
  })
})

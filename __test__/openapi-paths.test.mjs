// The operation of a path: in every spelling the one whose handler runs, wherever the guard is
// mounted.

import test from 'node:test'
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import http from 'node:http'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { bearer, expresses, serve } from './helpers/http.mjs'

const build = (config) => createGuard({ rateLimit: false, jwt, ...config })

/** A document with these paths; those in `open` need no token. */
function documentOf(paths, open = [], more = {}) {
  const described = paths.map((path) => {
    const parameters = [...path.matchAll(/\{(.*?)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
    return [path, { get: { parameters, responses: {}, security: open.includes(path) ? [] : [{ token: [] }] } }]
  })
  return {
    openapi: '3.1.0',
    info: { title: 't', version: '1' },
    components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
    paths: Object.fromEntries(described),
    ...more
  }
}

for (const [name, express] of expresses) {
  test(`${name}: no encoding of literal text leads around the rules of the handler that runs`, async () => {
    const open = ['/files/{name}.json', '/orders/{id}:preview', '/public', '/users/me']
    const guard = build()
    const { handler } = guard.fromOpenApi(documentOf([...open, '/files/{name}', '/orders/{id}', '/users/{id}', '/{page}'], open))
    const app = express()
    app.use(handler)
    const patterns = ['/files/:name.json', '/orders/:id\\:preview', '/public', '/users/me']
    for (const pattern of patterns) app.get(pattern, (req, res) => res.json({ open: true, ...req.params }))
    for (const pattern of ['/files/:name', '/orders/:id', '/users/:id', '/:page']) app.get(pattern, (req, res) => res.json({ open: false, ...req.params }))
    const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
    await serve(app, async (send) => {
      for (const path of ['/files/secret.json', '/files/a%40b.json', '/orders/7:preview', '/public', '/FILES/a.json', '/Users/me']) {
        assert.equal((await send({ path })).json?.open, true, path)
      }
      for (const path of [
        '/files/secret%2Ejson', '/files/secret%2ejson', '/files/secret.%6Ason', '/orders/7%3Apreview', '/orders/7%3apreview', '/%70ublic', '/p%75blic/',
        '/users/m%65', '/users/ME', '/PUBLIC', '/files/secret', '/files/secret%2Etxt', '/orders/urn%3A7', '/secret'
      ]) {
        const answer = await send({ path })
        assert.ok([400, 401].includes(answer.status), `${path}: ${answer.status}`)
      }
      const value = await send({ path: '/orders/urn%3A7%20%C3%A9', headers: bearer(accessToken) })
      assert.deepEqual(value.json, { open: false, id: 'urn:7 é' }, value.text)
    })
  })

  test(`${name}: a policy compares literal text as it was sent, and values decoded`, async () => {
    const policy = `package p
      import rego.v1
      default allow := false
      allow if input.path == ["files", "open.json"]
      allow if [lower(text) | some text in input.path] == ["kiosk"]
      allow if { input.path[0] == "mail"; input.decoded_path[1] == "a@b.com" }`
    const guard = createGuard({ policy: { policies: { 'p.rego': policy }, query: 'data.p.allow' }, csrf: false })
    const app = express()
    app.use(guard.authorize())
    app.get(['/files/open.json', '/kiosk', '/mail/:to'], (req, res) => res.send('granted'))
    app.get(['/files/:name', '/:page'], (req, res) => res.send('another'))
    await serve(app, async (send) => {
      for (const path of ['/files/open.json', '/KIOSK/', '/mail/a@b.com', '/mail/a%40b.com']) assert.equal((await send({ path })).text, 'granted', path)
      // The Kelvin sign in lower case is a `k`.
      for (const path of ['/files/open%2Ejson', '/files/op%65n.json', '/%E2%84%AAIOSK', '/mai%6C/a@b.com', '/mail/a%2540b.com']) {
        assert.ok([400, 403].includes((await send({ path })).status), path)
      }
    })
  })

  test(`${name}: a request outside of the document is refused where unknown ones are`, async () => {
    const doc = documentOf(['/users'], [], { servers: [{ url: 'https://api.example.com/v1' }] })
    for (const [mount, options, path, status] of [
      // A gateway has taken `/v1` away.
      ['/', {}, '/users', 404],
      ['/', {}, '/v1/users', 401],
      ['/', { basePath: '' }, '/users', 401],
      ['/api', {}, '/api/users', 404],
      ['/api', {}, '/api/v1/users', 404],
      ['/api', { basePath: '/api' }, '/api/users', 401],
      ['/api', { basePath: '' }, '/api/users', 404],
      ['/API', { basePath: '/api' }, '/Api/users/', 401]
    ]) {
      const app = express()
      app.use(mount, build().fromOpenApi(doc, { ...options, unknown: 'refuse' }).handler)
      app.use((req, res) => res.send('reached'))
      await serve(app, async (send) => {
        const answer = await send({ path })
        assert.deepEqual([answer.status, answer.json?.code], [status, status === 404 ? 'unknown_route' : 'token_missing'], `${path} under ${mount}: ${answer.text}`)
        assert.equal((await send({ method: 'OPTIONS', path })).text, 'reached', 'preflights are for CORS')
      })
    }
  })
}

test('an asterisk is no path of the document', async () => {
  const doc = documentOf(['/'])
  doc.paths['/'].options = { responses: {}, security: [{ token: [] }] }
  const { handler } = build().fromOpenApi(doc, { unknown: 'refuse' })
  const server = http.createServer((req, res) => handler(req, res, () => res.end('reached')))
  await serve(undefined, async (send) => {
    assert.equal((await send({ method: 'OPTIONS', path: '*' })).text, 'reached')
    assert.equal((await send({ method: 'OPTIONS', path: '/' })).status, 401)
    assert.equal((await send({ path: '*' })).status, 400)
  }, server)
})

/**
 * The warnings of a process of its own, in which each comes once: requests for `paths` go to an
 * application that `mount` builds.
 */
function warningsOf(mount, paths) {
  const script = `
    import http from 'node:http'
    import { once } from 'node:events'
    import { createRequire } from 'node:module'
    import { createGuard } from 'keepstone'
    const require = createRequire(process.cwd() + '/x')
    const doc = { openapi: '3.1.0', info: { title: 't', version: '1' }, paths: { '/users': { get: { responses: {} } } } }
    const fromOpenApi = (more, options) => createGuard({ rateLimit: false }).fromOpenApi({ ...doc, ...more }, options).handler
    process.on('warning', ({ code }) => console.log(code))
    const server = http.createServer((${mount})(require('express'), fromOpenApi)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    for (const path of ${JSON.stringify(paths)}) {
      const answer = await fetch('http://127.0.0.1:' + server.address().port + path)
      if (answer.status !== 200) console.log(answer.status)
    }
    server.close()`
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: new URL('..', import.meta.url), stdio: ['ignore', 'pipe', 'ignore'] })
  return printed.toString().split('\n').filter((line) => line !== '')
}

test('a handler that passes what lies outside of its document warns of it, once', () => {
  const mounted = (mount, options = '{}', more = '{}') => `(express, api) => express().use(${mount}, api(${more}, ${options})).use((req, res) => res.end("reached"))`
  const v1 = '{ servers: [{ url: "/v1" }] }'
  const warned = ['GUARD_OPENAPI_OUTSIDE']
  assert.deepEqual(warningsOf(mounted('"/"', '{}', v1), ['/v1/users', '/v1/other', '/users', '/users']), warned)
  assert.deepEqual(warningsOf(mounted('"/api"'), ['/api/users', '/api/users']), warned)
  assert.deepEqual(warningsOf(mounted('"/api"', '{}', v1), ['/api/users']), warned)
  // What is under the base path is unknown, not outside.
  assert.deepEqual(warningsOf(mounted('"/"'), ['/users', '/other']), [])
  assert.deepEqual(warningsOf(mounted('"/v1"', '{}', v1), ['/v1/users', '/v1/other', '/health']), [])
  assert.deepEqual(warningsOf(mounted('"/api"', '{ basePath: "/api" }'), ['/api/users', '/api/other']), [])
  // Connect cuts the mount path off and says no more.
  const connect = `(express, api) => { const handler = api({}, {}); return (req, res) => { req.originalUrl = req.url; req.url = req.url.slice(4); handler(req, res, () => res.end()) } }`
  assert.deepEqual(warningsOf(connect, ['/api/users']), warned)
})

test('a base path that no request can have is refused when the guard is built', () => {
  for (const basePath of ['/v1?x', '/{tenant}', '/a//b', '/a/..', '/a b', '/caf\u00e9', '/%76']) {
    assert.throws(() => build().fromOpenApi(documentOf(['/users']), { basePath }), { code: 'ERR_INVALID_OPTION', path: 'options.basePath' }, basePath)
  }
  for (const path of ['/caf\u00e9', '/a b', '/%61dmin']) {
    assert.throws(() => build().fromOpenApi(documentOf([path])), { code: 'ERR_INVALID_OPENAPI', path: `paths.${path}` }, path)
  }
})

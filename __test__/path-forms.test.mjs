// `paths`: encoded slashes and empty segments in the paths of named routes. A request passes only
// where the router and all layers read the same path.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone as plugin } from 'keepstone/fastify'
import { keepstone } from 'keepstone/hono'
import { hosts, serveRoutes } from './helpers/hosts.mjs'
import { expresses, serve } from './helpers/http.mjs'
import { request, sendBytes } from './helpers/raw.mjs'
import { randomOf } from './helpers/routes.mjs'

// What the policy reads is what it gives as its reason.
const policy = {
  policies: {
    'a.rego': `package a
import rego.v1
default allow := {"allow": false}
allow := {"allow": true, "reasons": [json.marshal([input.path, input.decoded_path, object.get(input, "params", {})])]} if lower(input.path[1]) != "secret"
`
  },
  query: 'data.a.allow'
}
const paths = { encodedSlashes: ['/files/*', 'GET /get/*'], emptySegments: ['/proxy/*'] }
const open = (more) => createGuard({ rateLimit: false, paths, ...more })
const read = (route) => ({ guard }) => [200, { route, read: JSON.parse(guard.reasons.at(-1)) }]

// Parts of a path that one reader or another treats in its own way.
const PARTS = ['/', '/', '%2F', '%2f', '%2F', '.', '..', '%2e', '%2E%2E', '%252F', '%252e', '%25', ';', ';a', '%3B', '\\', '%5C', 'a', 'secret', 'Secret', 'raw', '%61', '%C3%A9', '%', '%00', '%20', ':', '*', '@']

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const guard = open({
      policy, rateLimit: { name: 'few', limit: 1, window: '1h', paths: ['/files/few/login', '/proxy/login'] },
      jwt: { issuer: 'https://id.example.com', audience: 'a', secret: Buffer.from(Array.from({ length: 32 }, (_, i) => (i * 37 + 11) & 255)) },
      public: ['/files/*', '/get/*', '/proxy/*', '/other/a']
    })
    const routes = [
      ['get', '/files/secret', {}, read('secret')],
      ['get', '/files/:name', {}, read('name')],
      ['get', '/files/:name/raw', {}, read('raw')],
      ['get', '/get/:name', {}, read('get')],
      ['post', '/get/:name', {}, read('get')],
      ['get', '/proxy/:a/:b', {}, read('proxy')],
      ['get', '/other/:name', {}, read('other')]
    ]
    const ask = serveRoutes(start, guard, routes)
    const get = async (path, method = 'GET') => {
      const { status, text } = await sendBytes(ask.port(), request(method, path))
      const body = /\{.*\}/s.exec(Buffer.from(text, 'latin1').toString())?.[0]
      const json = body === undefined ? undefined : JSON.parse(body)
      // The routers of these two tests give parameters as they were sent.
      const isSent = name === 'node:http' || name === 'guard.check'
      if (isSent && json?.read !== undefined) json.read[2] = Object.fromEntries(Object.entries(json.read[2]).map(([key, value]) => [key, decodeURIComponent(value)]))
      return { status, json }
    }

    test('an encoded slash reaches the parameter of a named route, and policies see the path as it was sent', async () => {
      const url = 'https://a.example/b?c'
      for (const value of ['group/project', url, 'a/b/', 'é/ö', 'a/..b']) {
        const { status, json } = await get(`/files/${encodeURIComponent(value)}`)
        assert.deepEqual([status, json.route, json.read], [200, 'name', [['files', encodeURIComponent(value)], ['files', value], { name: value }]])
      }
      assert.deepEqual((await get('/files/a%2fb/raw')).json.read, [['files', 'a%2fb', 'raw'], ['files', 'a/b', 'raw'], { name: 'a/b' }])
      assert.equal((await get('/get/a%2Fb')).status, 200)
    })

    test('no other route, method or spelling may have one', async () => {
      for (const path of ['/other/a%2Fb', '/Files/a%2Fb', '/files%2Fa', '/x/files/a%2Fb', '/filesx/a%2Fb', '/files//a', '/proxy/a%2Fb', '/%2Ffiles/a%2Fb', '//files/a%2Fb', '/other/..%2Ffiles/a%2Fb']) {
        assert.deepEqual([(await get(path)).json?.code, path], ['malformed_path', path])
      }
      assert.equal((await get('/get/a%2Fb', 'POST')).json.code, 'malformed_path')
    })

    test('nothing gets out of the named route', async () => {
      for (const rest of ['..%2Fsecret', 'a%2F..%2F..%2Fother%2Fa', '..%2f..%2fetc%2fpasswd', '%2Fetc%2Fpasswd', '%2F', 'a%2F.', 'a%2F%2e%2e%2Fb', '.%2Fa', 'a%2F..;x%2Fb', '..;%2Fa', 'a%2Fb%5C..%5Cc', 'a%2F\\..', 'a%2F%252e%252e%252fb', 'a%2Fb%252Fc', 'a%2Fb%255Cc', 'a%2F%73ecret', 'a%2F%00', 'a%2F%0a', 'a%2F%ff', 'a%2F%', 'a%2Fb//c']) {
        const { status, json } = await get(`/files/${rest}`)
        assert.equal(status, 400, rest)
        assert.equal(json?.code === undefined || json.code === 'malformed_path' || json.code === 'FST_ERR_BAD_URL', true, rest)
      }
    })

    const isMerging = name === 'Express 4'
    test('a limit of a path counts what a lenient reader takes for it', async () => {
      assert.deepEqual([(await get('/files/few%2Flogin')).status, (await get('/files/few%2flogin')).status], [200, 429])
      const proxied = [(await get('/proxy/login')).status, (await get('/proxy//login')).status, (await get('/proxy///login/')).status]
      assert.deepEqual(proxied.slice(1), isMerging ? [400, 400] : [429, 429])
    })

    test('a request passes only where the router and all layers read the same path', async () => {
      const { pick, below } = randomOf(7)
      let passed = 0
      for (let i = 0; i < 600; i += 1) {
        const target = `/${pick(['files', 'files', 'proxy', 'other', 'get'])}/${Array.from({ length: 1 + below(6) }, () => pick(PARTS)).join('')}`
        const { status, json } = await get(target)
        assert.ok([200, 400, 401, 403, 404, 429].includes(status), `${target}: ${status}`)
        if (status !== 200) continue
        passed += 1
        const [sent, decoded, params] = json.read
        // The framework of Hono resolves plain dot segments before any middleware.
        const expected = name === 'Hono' ? new URL(target, 'http://a').pathname : target
        assert.equal(`/${sent.join('/')}`, expected.replace(/\/$/, ''), target)
        assert.deepEqual(decoded, sent.map(decodeURIComponent), target)
        assert.notEqual(json.route, 'secret', target)
        if (json.route === 'name' || json.route === 'get' || json.route === 'other') assert.deepEqual([sent.length, params.name], [2, decoded[1]], target)
        if (json.route === 'raw') assert.deepEqual([sent.length, params.name, sent[2].toLowerCase()], [3, decoded[1], 'raw'], target)
        // Fastify gives an empty parameter for a trailing slash.
        if (json.route === 'proxy' && params.b !== '') assert.deepEqual([params.a, params.b], decoded.slice(1), target)
        for (const part of decoded.join('/').split('/')) assert.ok(part !== '.' && part !== '..' && !part.includes('\\'), target)
        if (json.route === 'other') assert.ok(!decoded[1].includes('/'), target)
      }
      assert.ok(passed > 40, String(passed))
    })
  })
}

for (const [name, express] of expresses) {
  test(`${name}: empty segments pass below the named path where the router keeps them, and policies see them`, async () => {
    const guard = open({ policy })
    const app = express()
    app.use(guard.securityStack())
    app.use('/proxy', (req, res) => res.json([req.url, ...JSON.parse(req.guard.reasons[0]).slice(0, 2)]))
    await serve(app, async (send) => {
      // For Express 4, `/proxy//a` is `/a` below `/proxy`, and the policy would see another path.
      if (name === 'Express 4') {
        for (const path of ['/proxy//a/', '/proxy/a//b']) assert.equal((await send({ path })).json?.code, 'malformed_path')
        assert.equal((await send({ path: '/proxy/a' })).status, 200)
        return
      }
      assert.deepEqual((await send({ path: '/proxy//a/' })).json, ['//a/', ['proxy', '', 'a'], ['proxy', '', 'a']])
      assert.deepEqual((await send({ path: '/proxy/a//b%20c?d=//' })).json, ['/a//b%20c?d=//', ['proxy', 'a', '', 'b%20c'], ['proxy', 'a', '', 'b c']])
      for (const path of ['//proxy/a', '/other//a', '/proxy//../a', '/proxy//%2e%2e/a', '/proxy//a%2Fb', '/Proxy//a']) {
        assert.deepEqual([(await send({ path })).json?.code, path], ['malformed_path', path])
      }
    })
  })
}

test('Fastify must not merge the slashes that a path may have', async () => {
  const guard = open()
  for (const options of [{ ignoreDuplicateSlashes: true }, { routerOptions: { ignoreDuplicateSlashes: true } }]) {
    await assert.rejects(async () => await Fastify(options).register(plugin, { guard }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'paths.emptySegments' })
    await Fastify(options).register(plugin, { guard: open({ paths: { encodedSlashes: ['/files/*'] } }) })
  }
  const app = Fastify()
  await app.register(plugin, { guard })
  app.get('/proxy/*', async (request) => request.params['*'])
  assert.equal((await app.inject('/proxy//a')).body, '/a')
  const hono = new Hono().get('/proxy/*', keepstone(guard, {}, { address: () => '127.0.0.1' }), (c) => c.text(c.req.path))
  assert.equal(await (await hono.request('http://localhost/proxy//a')).text(), '/proxy//a')
})

test('a router of Fastify that ends the path at a semicolon hides no path from limits and policies', async () => {
  for (const options of [{ useSemicolonDelimiter: true }, { routerOptions: { useSemicolonDelimiter: true } }, {}]) {
    const guard = open({ policy, rateLimit: { name: 'few', limit: 1, window: '1h', paths: ['/a/login'] } })
    const app = Fastify(options)
    await app.register(plugin, { guard })
    for (const path of ['/a/login', '/a/secret', '/a/open']) app.get(path, async (request) => request.query)
    const splits = options.useSemicolonDelimiter ?? options.routerOptions?.useSemicolonDelimiter ?? false
    const status = async (url) => (await app.inject(url)).statusCode
    assert.deepEqual([await status('/a/login'), await status('/a/login;a'), await status('/a/login;?a'), await status('/a/login;a/b')], splits ? [200, 429, 429, 429] : [200, 404, 404, 404])
    for (const path of ['/a/secret;', '/a/secret;b=/c', '/a/secret;b?c']) assert.equal(await status(path), splits ? 403 : 404, path)
    if (splits) assert.deepEqual((await app.inject('/a/open;b=1')).json(), { b: '1' })
    assert.equal(await status('/a/secret?b;c'), 403)
  }
})

test('operations of an OpenAPI document have no such paths', async () => {
  const guard = open()
  const [, express] = expresses[0]
  const document = {
    openapi: '3.1.0', info: { title: 'a', version: '1' },
    paths: { '/files/{name}': { get: { operationId: 'file', parameters: [{ name: 'name', in: 'path', required: true, schema: { type: 'string' } }], responses: { 200: { description: 'fine' } } } } }
  }
  const app = express().use(guard.securityStack(), guard.fromOpenApi(document).handler, (req, res) => res.end('reached'))
  await serve(app, async (send) => {
    assert.equal((await send({ path: '/files/a' })).text, 'reached')
    assert.equal((await send({ path: '/files/a%2Fb' })).json.code, 'malformed_path')
  })
})

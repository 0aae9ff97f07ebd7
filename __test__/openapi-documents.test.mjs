// Documents as they are published: their faults at once, and the forms of their parameters.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { json, serve } from './helpers/http.mjs'

const build = () => createGuard({ rateLimit: false })

test('all faults of a document are thrown at once, and without their operations it loads', async () => {
  const guard = build()
  const body = (schema) => ({ required: true, content: { 'application/json': { schema } } })
  const doc = {
    openapi: '3.1.0',
    info: { title: 'Faults', version: '1' },
    paths: {
      '/fine': { post: { requestBody: body({ type: 'object', properties: { a: { type: 'string' } } }) } },
      '/a': { get: { parameters: [{ name: 'q', in: 'query', schema: { type: 'string', format: 'snow' } }], respnses: {} } },
      '/b/{id}': { get: { operationId: 'b' } },
      '/c': { put: { requestBody: body({ $ref: '#/components/schemas/C' }) } }
    },
    components: { schemas: { C: { type: 'object', properties: { x: { type: 'string', pattern: '(' }, y: { nullable: true } } } } }
  }
  const load = (options) => guard.fromOpenApi(doc, { unknown: 'refuse', ...options })
  let faults
  assert.throws(() => load({}), (error) => {
    faults = error.faults
    assert.match(error.message, /^the document has 5 faults:\n {2}`paths/)
    assert.deepEqual(error.faults.map((fault) => fault.pointer).toSorted(), [
      '/components/schemas/C/properties/x/pattern', '/components/schemas/C/properties/y/nullable',
      '/paths/~1a/get/parameters/0/schema/format', '/paths/~1a/get/respnses', '/paths/~1b~1{id}/get'
    ])
    return true
  })
  assert.ok(faults.every((fault) => fault.problem.length > 0 && fault.path.length > 0 && Object.isFrozen(fault)))
  assert.deepEqual(faults.find((fault) => fault.pointer.endsWith('pattern')).operations, ['PUT /c'])
  const api = load({ skip: faults.flatMap((fault) => fault.operations) })
  assert.deepEqual(api.operations, [{ method: 'POST', path: '/fine' }])
  await serve((req, res) => api.handler(req, res, () => res.end('reached')), async (send) => {
    assert.equal((await send(json({ a: 'x' }, { path: '/fine' }))).status, 200)
    assert.equal((await send(json({ a: 1 }, { path: '/fine' }))).status, 422)
    assert.equal((await send({ path: '/a' })).json.code, 'unknown_route')
  })
  assert.throws(() => load({ skip: ['nope'] }), (error) => error.path === 'options.skip')
})

test('parameters and forms are read in every style that has one reading, and refused in any other', async () => {
  const guard = build()
  const list = (items = 'string') => ({ type: 'array', items: { type: items } })
  const point = { type: 'object', properties: { x: { type: 'integer' }, y: { type: 'integer' } }, additionalProperties: false }
  const filter = {
    type: 'object',
    additionalProperties: false,
    properties: {
      status: { type: 'string', enum: ['open', 'closed'] },
      ids: list('integer'),
      created: { anyOf: [{ type: 'integer' }, { type: 'object', properties: { gte: { type: 'integer' } }, additionalProperties: false }] },
      tags: { type: 'object', additionalProperties: { type: 'string' } }
    }
  }
  const query = (name, schema, more = {}) => ({ name, in: 'query', schema, ...more })
  const at = (name, schema, style, explode) => ({ name, in: 'path', required: true, schema, style, explode })
  const get = (...parameters) => ({ get: { parameters } })
  const doc = {
    openapi: '3.1.0',
    info: { title: 'Styles', version: '1' },
    paths: {
      '/deep': get(query('filter', filter, { style: 'deepObject' }), query('expand', list(), { style: 'deepObject' })),
      '/lists': get(
        query('pipes', list('integer'), { style: 'pipeDelimited' }), query('spaces', list(), { style: 'spaceDelimited' }),
        query('names[]', list()), query('point', point, { explode: false })
      ),
      '/spread': get(query('point', point), query('q', { type: 'string' })),
      '/json': get({ name: 'where', in: 'query', content: { 'application/json': { schema: point } } }),
      '/label/{v}': get(at('v', list('integer'), 'label', false)),
      '/labels/{v}': get(at('v', point, 'label', true)),
      '/matrix/{v}': get(at('v', list('integer'), 'matrix', true)),
      '/simple/{v}': get(at('v', point, 'simple', true)),
      '/header': get({ name: 'x-point', in: 'header', schema: point }),
      '/form': {
        post: { requestBody: { content: { 'application/x-www-form-urlencoded': {
          schema: { type: 'object', properties: { filter, where: point, n: { type: 'integer' } } },
          encoding: { filter: { style: 'deepObject', explode: true }, where: { contentType: 'application/json' } }
        } } } }
      }
    }
  }
  const api = guard.fromOpenApi(doc)
  await serve((req, res) => api.handler(req, res, () => res.end(JSON.stringify(api.valid(req)))), async (send) => {
    for (const [path, part, expected] of [
      ['/deep?filter[status]=open&filter[ids][]=1&filter[ids][]=2', 'query', { filter: { status: 'open', ids: [1, 2] } }],
      ['/deep?filter%5Bids%5D=1&filter%5Bids%5D=2', 'query', { filter: { ids: [1, 2] } }],
      ['/deep?filter[ids][0]=1&filter[ids][1]=2&expand[]=a', 'query', { filter: { ids: [1, 2] }, expand: ['a'] }],
      ['/deep?filter[created]=5&expand[0]=a&expand[1]=b', 'query', { filter: { created: 5 }, expand: ['a', 'b'] }],
      ['/deep?filter[created][gte]=5&filter[tags][any]=1', 'query', { filter: { created: { gte: 5 }, tags: { any: '1' } } }],
      ['/lists?pipes=1|2&spaces=a%20b&names[]=x&point=x,1,y,2', 'query', { pipes: [1, 2], spaces: ['a', 'b'], 'names[]': ['x'], point: { x: 1, y: 2 } }],
      ['/spread?x=1&q=a&y=2', 'query', { point: { x: 1, y: 2 }, q: 'a' }],
      [`/json?where=${encodeURIComponent('{"x":1}')}`, 'query', { where: { x: 1 } }],
      ['/label/.1,2', 'params', { v: [1, 2] }],
      ['/labels/.x=1.y=2', 'params', { v: { x: 1, y: 2 } }],
      ['/matrix/;v=1;v=2', 'params', { v: [1, 2] }],
      ['/simple/x=1,y=2', 'params', { v: { x: 1, y: 2 } }]
    ]) {
      const answer = await send({ path })
      assert.equal(answer.status, 200, `${path} ${answer.text}`)
      assert.deepEqual(answer.json[part], expected, path)
    }
    assert.deepEqual((await send({ path: '/header', headers: { 'x-point': 'x, 1, y, 2' } })).json.headers, { 'x-point': { x: 1, y: 2 } })
    const form = await send({ method: 'POST', path: '/form', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: `filter[status]=open&n=3&where=${encodeURIComponent('{"y":2}')}` })
    assert.deepEqual(form.json.body, { filter: { status: 'open' }, n: 3, where: { y: 2 } }, form.text)
    for (const [path, status, code] of [
      ['/deep?filter[status]=other', 422], ['/deep?filter[admin]=1', 422], ['/deep?filter=open', 422], ['/deep?admin[x]=1', 400, 'bracketed_key'],
      ['/deep?filter[status]=open&filter[status]=closed', 400, 'duplicate_key'], ['/deep?filter[ids][]=1&filter[ids][0]=2', 400, 'duplicate_key'],
      ['/deep?filter[ids]=1&filter[ids][]=2', 400, 'duplicate_key'], ['/deep?filter[status]=open&filter[status][$ne]=x', 400, 'bracketed_key'],
      ['/deep?filter[ids][1]=1', 400, 'bracketed_key'], ['/deep?filter[ids][01]=1', 400, 'bracketed_key'], ['/deep?filter[ids][999999999999]=1', 400, 'bracketed_key'],
      ['/deep?filter[ids][][x]=1', 400, 'bracketed_key'], ['/deep?filter[]=1', 400, 'bracketed_key'], ['/deep?filter[status', 400, 'bracketed_key'],
      ['/deep?filter[__proto__][x]=1', 400, 'bracketed_key'], ['/deep?filter[tags][__proto__]=1', 400, 'forbidden_key'], ['/deep?filter[tags][$where]=1', 400, 'operator_key'],
      [`/deep?filter${'[tags]'.repeat(6)}=1`, 400, 'bracketed_key'], ['/lists?pipes[]=1', 400, 'bracketed_key'], ['/lists?pipes=1&pipes=2', 400, 'duplicate_key'],
      ['/lists?point=x,1,y', 400, 'malformed_parameter'], ['/lists?point=x,1,x,2', 400, 'duplicate_key'], ['/lists?point=z,1', 422],
      ['/spread?z=1', 422], ['/spread?x=a', 422], ['/spread?x=1&x=2', 400, 'duplicate_key'],
      ['/json?where=1,%22admin%22:true', 400, 'malformed_json'], [`/json?where=${encodeURIComponent('{"x":1,"x":2}')}`, 400, 'duplicate_key'], ['/json?where={}&where={}', 400],
      ['/label/1,2', 400, 'malformed_parameter'], ['/labels/.x', 400, 'malformed_parameter'], ['/matrix/;w=1', 400, 'malformed_parameter'], ['/matrix/;v=a', 422],
      ['/simple/x=1,x=2', 400, 'duplicate_key']
    ]) {
      const answer = await send({ path })
      assert.equal(answer.status, status, `${path} ${answer.text}`)
      if (code !== undefined) assert.equal(answer.json.code, code, path)
    }
  })
})

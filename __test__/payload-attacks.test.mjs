// The table of attacks on bodies, forms and queries: each is refused on its bytes, and what is good
// beside it is not.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'
import { SCHEMA, TEXT_SCHEMA, attacks, controls } from './helpers/payload-attacks.mjs'

for (const [name, express] of expresses) {
  test(`${name}: every attack of the table is refused with its code and a short answer, and no good request is`, async () => {
    const guard = createGuard({ rateLimit: false })
    const app = express()
    const seen = []
    const handler = (req, res) => {
      seen.push(req.path === '/query' ? query.valid(req).query : req.body)
      res.json({})
    }
    const query = guard.validate({ query: TEXT_SCHEMA })
    app.post('/body', ...guard.securityStack({ body: SCHEMA }), handler)
    app.post('/form', ...guard.securityStack({ body: TEXT_SCHEMA, payload: { types: ['form'] } }), handler)
    app.get('/query', query, handler)
    await serve(app, async (send) => {
      for (const { where, kind, name: what, code, request } of attacks) {
        const answer = await send(request)
        const told = `${where}, ${kind}, ${what}: ${answer.status} ${answer.text.slice(0, 300)}`
        assert.equal(answer.json?.code, code, told)
        assert.ok([400, 413, 415, 422].includes(answer.status), told)
        assert.ok(answer.text.length <= 8192, `${answer.text.length} characters: ${told}`)
      }
      assert.deepEqual(seen, [], 'an attack reached the handler')
      for (const { name: what, request, seen: wanted } of controls) {
        const answer = await send(request)
        assert.equal(answer.status, 200, `${what}: ${answer.text}`)
        assert.deepEqual(seen.pop(), wanted, what)
      }
    })
  })
}

test('the table has every kind of attack for every place that can be attacked so', () => {
  const kinds = (place) => new Set(attacks.filter(({ where }) => where === place).map(({ kind }) => kind))
  const shared = ['duplicate key', 'prototype', 'operator', 'number', 'text', 'exhaustion', 'schema']
  for (const place of ['body', 'form', 'query']) for (const kind of shared) assert.ok(kinds(place).has(kind), `${place}: ${kind}`)
  for (const kind of ['grammar', 'media type', 'compression']) assert.ok(kinds('body').has(kind), kind)
})

// Schemas of zod, valibot, arktype, joi and TypeBox: the verdict is the library's own, and so is
// what the handler gets.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'
import { librarySchemas, valuesFor } from './helpers/library-schemas.mjs'

const [, express] = expresses[0]
const VALUES = 20
const { takeSchemas } = createRequire(import.meta.url)('../shim/schema.js')
const own = { formats: new Map(), keywords: new Map() }

test('there are 200 schemas and more, of all five', (t) => {
  assert.ok(librarySchemas.length >= 200, `${librarySchemas.length}`)
  const skipped = librarySchemas.filter(([, , body]) => takeSchemas({ body }, own).librarySchemas.length === 0)
  const share = (list, all) => `${list.length} of ${all.length}`
  for (const library of new Set(librarySchemas.map(([library]) => library))) {
    const of = (list) => list.filter(([name]) => name === library)
    t.diagnostic(`${library}: ${share(of(skipped), of(librarySchemas))} schemas are judged by the core alone`)
  }
  t.diagnostic(`all: ${share(skipped, librarySchemas)}`)
})

for (const library of new Set(librarySchemas.map(([library]) => library))) {
  test(`${library}: on generated values the verdict is the library's own`, async (t) => {
    const guard = createGuard({ rateLimit: false, headers: false })
    const app = express()
    const schemas = librarySchemas.filter(([name]) => name === library)
    schemas.forEach(([, name, schema], i) => {
      const check = guard.validate({ body: schema })
      app.post(`/${i}`, check, (req, res) => res.json({ name, body: check.valid(req).body }))
    })
    const agent = new http.Agent({ keepAlive: true })
    t.after(() => agent.destroy())
    let accepted = 0
    let asked = 0
    await serve(app, async (send) => {
      for (const [i, [, name, , verdict, examples]] of schemas.entries()) {
        for (const value of valuesFor(examples, VALUES, i)) {
          const text = JSON.stringify(value)
          const answer = await send({ ...json(text), path: `/${i}`, agent })
          const { ok, output } = verdict(JSON.parse(text))
          const told = `${name}: ${text}: ${answer.text}`
          assert.equal(answer.status, ok ? 200 : 422, told)
          if (ok) assert.deepEqual(answer.json.body, JSON.parse(JSON.stringify({ output })).output, told)
          asked += 1
          accepted += ok ? 1 : 0
        }
      }
    })
    for (const [, name, , verdict, examples] of schemas) for (const value of examples) assert.ok(verdict(value).ok, name)
    t.diagnostic(`${asked} values, ${accepted} accepted`)
    assert.ok(accepted > asked / 10 && accepted < asked)
  })
}

// A query string as the guard reads it, held against `req.query` of Express 4 and of Express 5.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import guardModule from '../index.js'
import { expresses, serve } from './helpers/http.mjs'

const { createGuard } = guardModule

/** How many queries are made up; the full size is 100,000: KEEPSTONE_QUERIES=100000. */
const QUERIES = Number(process.env.KEEPSTONE_QUERIES ?? 3_000)

const policy = (rule) => ({
  policies: { 'q.rego': `package q\nimport rego.v1\ndefault allow := {"allow": false}\n${rule}` },
  query: 'data.q.allow'
})

// What these policies read is what they give as their reason.
const READS_ALL = policy('allow := {"allow": true, "reasons": [json.marshal(input.query)]}')
const READS_ROLE = policy('allow := {"allow": true, "reasons": [json.marshal([v | some v in input.query.role])]}')
const SCHEMA = {
  type: 'object',
  properties: { role: { type: 'string' }, tag: { type: 'array', items: { type: 'string' } } },
  additionalProperties: true
}

// Parts of names and values that one parser or another treats in its own way.
const TOKENS = [
  'role', 'role', 'tag', 'a', '1', '[', ']', '[]', '%5B', '%5d', '=', '=', '=', '&', '&', '&', '%3D', '%26', '+', '%20', '%', '%4', '%ff', '%C3%A9',
  '%00', '%EF%BB%BF', ';', '.', ',', '?', '/', '%25', '%255B', '%u0041', '__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length', '%5F', "'"
]

/** The same numbers at each run: mulberry32. */
function dice(seed) {
  let state = seed
  return (sides) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % sides
  }
}

function madeUp(roll) {
  // Half of them are pairs, the other half is anything.
  const token = () => TOKENS[roll(TOKENS.length)]
  if (roll(2) === 0) return Array.from({ length: 1 + roll(12) }, token).join('')
  const word = () => Array.from({ length: 1 + roll(3) }, token).join('').replaceAll(/[&=]/g, '')
  return Array.from({ length: 1 + roll(4) }, () => `${roll(3) === 0 ? word() : ['role', 'tag', 'r%6fle', 'a'][roll(4)]}=${word()}`).join('&')
}

/** A parsed query as names with lists of texts; anything else is nothing that the guard reads. */
function lists(query) {
  const entries = Object.keys(query).map((name) => [name, Array.isArray(query[name]) ? [...query[name]] : [query[name]]])
  return Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

const parsers = expresses.map(([name, express]) => [name, express().get('query parser fn')])

test('a made-up query is read as Express 4 and 5 read it, or refused', async (t) => {
  let reasons
  const stackOf = (options) => createGuard({ rateLimit: false, log: (event) => (reasons = event.reasons), ...options }).securityStack()
  const whole = stackOf({ policy: READS_ALL })
  const one = stackOf({ policy: READS_ROLE })
  const checked = createGuard({ rateLimit: false }).validate({ query: SCHEMA })
  const layers = { '/all': whole, '/role': one, '/schema': checked }
  let valid
  const listener = (req, res) =>
    layers[req.url.split('?', 1)[0]](req, res, () => {
      valid = req.url.startsWith('/schema') ? checked.valid(req).query : undefined
      res.end()
    })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const roll = dice(7)
  const counts = { passed: 0, refused: 0 }
  await serve(listener, async (send) => {
    const ask = async (path) => {
      const { status } = await send({ path, agent })
      counts[status === 200 ? 'passed' : 'refused'] += 1
      if (status !== 200) assert.ok(status >= 400 && status < 500, `${status} for ${path}`)
      return status === 200
    }
    for (let i = 0; i < QUERIES; i += 1) {
      const query = madeUp(roll)
      const others = parsers.map(([name, parse]) => [name, parse(query)])
      if (await ask(`/all?${query}`)) {
        const ours = lists(JSON.parse(reasons[0]))
        for (const [name, theirs] of others) assert.deepEqual(ours, lists(theirs), `${name}: ${query}`)
      }
      if (await ask(`/role?${query}`)) {
        const ours = JSON.parse(reasons[0])
        for (const [name, theirs] of others) assert.deepEqual(ours, Object.hasOwn(theirs, 'role') ? lists(theirs).role : [], `${name}: ${query}`)
      }
      // `tag[]` is a list to the schema and to Express 4, and a name of its own to Express 5.
      if ((await ask(`/schema?${query}`)) && !/\[|%5b/i.test(query)) {
        for (const [name, theirs] of others) assert.deepEqual(lists(valid), lists(theirs), `${name}: ${query}`)
      }
    }
  })
  agent.destroy()
  t.diagnostic(`${counts.passed} passed, ${counts.refused} refused`)
  assert.ok(counts.passed > QUERIES / 10 && counts.refused > QUERIES / 10, JSON.stringify(counts))
})

const ADMIN_ONLY = policy('allow := {"allow": true} if not "admin" in object.get(input.query, "role", [])')
const ADMIN_ONLY_BY_NAME = policy('allow := {"allow": true} if not bad\nbad if "admin" in input.query.role')

for (const [name, express] of expresses) {
  test(`${name}: no spelling of a name gives the handler what the policy has not seen`, async () => {
    const app = express()
    const roles = (req) => JSON.stringify(req.query.role ?? null)
    app.get('/one', createGuard({ rateLimit: false, policy: ADMIN_ONLY_BY_NAME }).securityStack(), (req, res) => res.send(roles(req)))
    app.get('/all', createGuard({ rateLimit: false, policy: ADMIN_ONLY }).securityStack(), (req, res) => res.send(roles(req)))
    app.get('/none', createGuard({ rateLimit: false }).securityStack(), (req, res) => res.json(req.query))
    await serve(app, async (send) => {
      for (const path of ['/one', '/all']) {
        for (const [query, code] of [
          ['role[]=admin', 'bracketed_key'],
          ['role%5B%5D=admin', 'bracketed_key'],
          ['role[x]=admin', 'bracketed_key'],
          ['role[0]=admin', 'bracketed_key'],
          ['[role]=admin', 'bracketed_key'],
          ['a=b]=c', 'bracketed_key'],
          ['__proto__=admin', 'forbidden_key'],
          ['__proto__[role]=admin', path === '/all' ? 'bracketed_key' : undefined],
          ['=admin', 'malformed_query'],
          ['role=%', 'malformed_query'],
          ['role=%ffadmin', 'malformed_query'],
          [`role=user${'&'.repeat(1_000)}role=admin`, 'too_many_keys'],
          [`${'a=1&'.repeat(1_000)}role=admin`, 'too_many_keys']
        ]) {
          const { status, json, text } = await send({ path: `${path}?${query}` })
          if (code === undefined) assert.deepEqual([status, text], [200, 'null'], query)
          else assert.deepEqual([status, json.code], [400, code], `${path}?${query}`)
        }
        for (const query of ['role=admin', 'role=user&role=admin', 'r%6fle=%61dmin', 'role=admin&role=user']) {
          assert.equal((await send({ path: `${path}?${query}` })).status, 403, query)
        }
        assert.equal((await send({ path: `${path}?role=user&tag=a&tag=b` })).text, '"user"')
      }
      // A policy that reads one name by name leaves the others to the handler, and without one all
      // are the handler's.
      assert.equal((await send({ path: '/one?role=user&filter[x]=1&tag[]=a' })).status, 200)
      assert.equal((await send({ path: '/none?role[]=a&filter[x]=1&=b&a=%&__proto__=1' })).status, 200)
    })
  })

  test(`${name}: a query that a schema reads is split as the handler's`, async () => {
    const guard = createGuard({ rateLimit: false })
    const list = guard.validate({ query: { type: 'object', properties: { 'filter[x]': { type: 'string' }, tag: { type: 'array', items: { type: 'string' } }, role: { enum: ['user'] } }, additionalProperties: true } })
    const app = express()
    app.get('/', list, (req, res) => res.json(list.valid(req).query))
    await serve(app, async (send) => {
      assert.deepEqual((await send({ path: '/?filter[x]=1&tag=a&tag=b&role=user' })).json, { 'filter[x]': '1', tag: ['a', 'b'], role: 'user' })
      assert.deepEqual((await send({ path: '/?tag[]=a' })).json, { tag: ['a'] })
      for (const [query, code] of [
        ['a=b]=c', 'bracketed_key'],
        ['[role]=admin', 'bracketed_key'],
        ['=a', 'malformed_query'],
        [`${'&'.repeat(1_000)}role=user`, 'too_many_keys']
      ]) {
        const { status, json } = await send({ path: `/?${query}` })
        assert.deepEqual([status, json.code], [400, code], query)
      }
    })
  })
}

// The table of attacks on tokens: none is accepted, by guard.tokens.verify or in front of Express.
// `npm run bench:attacks` runs the same table against other libraries.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { attacks, claims, controls } from './helpers/token-attacks.mjs'
import { highS, jwk, token } from './helpers/token-keys.mjs'
import { jwtOf, keepstone } from './helpers/token-verifiers.mjs'

const [, express] = expresses[0]

// One guard for all cases of a setup, or the error that building one threw.
const guards = new Map()
function guardOf(setup) {
  const key = JSON.stringify(setup)
  if (!guards.has(key)) guards.set(key, makeOrRefusal(setup))
  return guards.get(key)
}

function makeOrRefusal(setup) {
  try {
    return { verify: keepstone(setup) }
  } catch (error) {
    return { refusal: error }
  }
}

test('the table has every kind of attack, and no case twice', () => {
  assert.ok(attacks.length >= 80, `${attacks.length}`)
  const names = attacks.map(({ group, name }) => `${group}: ${name}`)
  assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), [])
})

test('what must be accepted is, by its claims', async () => {
  for (const { name, setup, token } of controls) {
    const verified = await guardOf(setup).verify(token)
    assert.deepEqual(verified, JSON.parse(Buffer.from(token.split('.')[1], 'base64url')), name)
  }
})

test('no attack is accepted by guard.tokens.verify, and each is refused with a code of its own kind', async () => {
  const taken = []
  for (const { group, name, setup, token } of attacks) {
    const { verify, refusal } = guardOf(setup)
    if (refusal !== undefined) {
      // A key that is the fault is refused when the guard is built; all others must have built one.
      assert.equal(group, 'keys', `${name}: ${refusal}`)
      assert.match(refusal.code, /^ERR_(INVALID|MISSING|WEAK|CONFLICTING)_/, name)
      assert.match(refusal.path, /^jwt\./, name)
      continue
    }
    await verify(token).then(
      () => taken.push(`${group}: ${name}`),
      (error) => {
        assert.match(error.code, /^token_/, name)
        assert.equal(error.status, 401, name)
      }
    )
  }
  assert.deepEqual(taken, [])
})

test('every attack on a key is stopped when the guard is built, not when a token comes', () => {
  for (const { name, setup } of attacks.filter(({ group }) => group === 'keys')) {
    assert.throws(() => createGuard({ jwt: jwtOf(setup) }), { name: 'GuardError' }, name)
  }
})

test('issuer and audience are texts: a pattern, with which a token could keep a thread busy (CVE-2026-35041), is refused', () => {
  const { keys } = jwtOf(controls[0].setup)
  for (const [name, value] of [['issuer', /^(a+)+$/], ['issuer', [/x/]], ['audience', /^(a+)+$/], ['audience', [/x/]]]) {
    const jwt = { issuer: 'https://id.example.com', audience: 'api', keys, [name]: value }
    assert.throws(() => createGuard({ jwt }), (error) => error.code === 'ERR_INVALID_OPTION' && error.path.startsWith(`jwt.${name}`), name)
  }
})

for (const [framework, express] of expresses) {
  test(`${framework}: every attack that a header can carry gets 401, never 200 or 500`, async () => {
    const all = [...controls, ...attacks].filter(({ setup, wire }) => wire !== false && guardOf(setup).refusal === undefined)
    let sent = 0
    for (const [, cases] of groupBy(all, ({ setup }) => JSON.stringify(setup))) {
      const app = express()
      app.use(createGuard({ rateLimit: false, jwt: jwtOf(cases[0].setup) }).securityStack())
      app.get('/', (req, res) => res.json({ sub: req.user?.sub }))
      await serve(app, async (send) => {
        for (const { group, name, token } of cases) {
          const { status, headers, json } = await send({ headers: bearer(token) })
          sent += 1
          if (group === 'controls') {
            assert.deepEqual([status, json], [200, { sub: '42' }], name)
            continue
          }
          assert.equal(status, 401, `${group}: ${name}`)
          assert.match(headers['www-authenticate'], /^Bearer realm="api", error="invalid_token"/, name)
          assert.match(json.code, /^token_/, name)
        }
      })
    }
    assert.ok(sent > 700, `${sent}`)
  })
}

// Node 20 has no Map.groupBy.
function groupBy(items, keyOf) {
  const groups = new Map()
  for (const item of items) {
    const key = keyOf(item)
    groups.set(key, [...(groups.get(key) ?? []), item])
  }
  return groups
}

test('two Authorization headers are refused, whichever of them is good', async () => {
  const { setup, token: text } = controls[0]
  const app = express()
  app.use(createGuard({ rateLimit: false, jwt: jwtOf(setup) }).securityStack())
  app.get('/', (req, res) => res.send('in'))
  await serve(app, async (send) => {
    for (const pair of [[text, 'x.y.z'], ['x.y.z', text], [text, text]]) {
      const { status } = await send({ headers: ['Host', 'a', ...pair.flatMap((one) => ['Authorization', `Bearer ${one}`])] })
      assert.equal(status, 400, `${pair.map((one) => one === text)}`)
    }
  })
})

test('the second signature that anybody can write for an ECDSA token is revoked with the first', async () => {
  for (const alg of ['ES256', 'ES384', 'ES512']) {
    for (const more of [{}, { jti: 'one' }]) {
      const guard = createGuard({ rateLimit: false, jwt: jwtOf({ keys: [{ alg, key: jwk(alg) }] }) })
      const text = token(alg, { alg }, claims(more))
      const other = highS(alg, text)
      assert.notEqual(other, text)
      assert.equal((await guard.tokens.verify(other)).sub, '42', 'as good as the first, to every verifier')
      await guard.revoke.token(text)
      for (const one of [text, other]) await assert.rejects(guard.tokens.verify(one), { code: 'token_revoked' }, alg)
    }
  }
})

test('a handler that changes req.user changes it for no other request, of the same token or of another', async () => {
  const { setup, token: text } = controls.find(({ name }) => name === 'claims in every script')
  const guard = createGuard({ rateLimit: false, jwt: jwtOf(setup) })
  const app = express()
  app.use(guard.securityStack())
  let handled = 0
  app.get('/', (req, res) => {
    const before = JSON.stringify(req.user)
    handled += 1
    req.user.role = 'admin'
    req.user.sub = 'root'
    req.user.nested.a.push('mine')
    delete req.user.exp
    Object.defineProperty(req.user, 'iss', { get: () => 'https://evil.example' })
    res.type('json').send(before)
  })
  await serve(app, async (send) => {
    const expected = JSON.parse(Buffer.from(text.split('.')[1], 'base64url'))
    const answers = await Promise.all(Array.from({ length: 20 }, () => send({ headers: bearer(text) })))
    for (const { json } of answers) assert.deepEqual(json, expected)
    assert.equal(handled, 20)
    const [one, two] = [await guard.tokens.verify(text), await guard.tokens.verify(text)]
    assert.notEqual(one, two)
    one.nested.a.length = 0
    assert.deepEqual([two, await guard.tokens.verify(text)], [expected, expected])
  })
})

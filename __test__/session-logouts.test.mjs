// A logout ends the session of the browser that asks for it, and no other one.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { createGuard } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { makeKey } from './helpers/issuer.mjs'
import { ACCESS, browse, clears, config } from './helpers/session-apps.mjs'

const guards = []
after(() => Promise.all(guards.map((guard) => guard.close())))

function guardOf(options) {
  const guard = createGuard(options)
  guards.push(guard)
  return guard
}

const { issuer, audience } = jwt
const key = makeKey('other')
const svids = makeKey('svid', { use: 'jwt-svid' })
const from = ['header', { cookie: ACCESS }]
const several = () =>
  guardOf({
    rateLimit: false, sessions: {},
    jwt: {
      refresh: true, from,
      issuers: [
        jwt,
        { issuer: 'https://login.example/{tenantid}', tenants: 'any', audience, jwks: { keys: [key.jwk] } },
        { issuer: 'https://other.example', audience, jwks: { keys: [key.jwk] } },
        { preset: 'spiffe', issuer: 'spiffe://example.org', audience, jwks: { keys: [svids.jwk] } }
      ]
    }
  })
const page = { host: 'api.example.com', 'sec-fetch-site': 'same-origin', origin: 'http://api.example.com' }

/** A session: its cookies as a header, its access token, and its `sid`. */
async function begin(guard) {
  const headers = new Headers()
  await guard.sessions.start(headers, { sub: 'ada' })
  const lines = headers.getSetCookie().map((line) => line.split(';', 1)[0])
  const access = lines[0].slice(lines[0].indexOf('=') + 1)
  return { cookie: lines.join('; '), lines, access, sid: (await guard.tokens.verify(access)).sid }
}

/** A logout behind the stack of `front`. */
async function logOut(guard, headers, front = guard) {
  const [protect] = front.securityStack()
  const logout = guard.sessions.logout()
  const listener = (req, res) => protect(req, res, () => logout(req, res, (error) => res.writeHead(599).end(JSON.stringify({ code: error.code }))))
  let answer
  await browse(listener, async (browser, send) => (answer = await send({ method: 'POST', headers: { ...page, ...headers } })))
  return answer
}

const isAlive = (guard, access) => guard.tokens.verify(access).then(() => true, (error) => assert.equal(error.code, 'token_revoked') ?? false)

test("a token of another issuer that names a user's session ends nothing, and clears the cookies", async () => {
  const guard = several()
  const { access, sid } = await begin(guard)
  const workload = { aud: audience, sub: 'spiffe://example.org/w', sid }
  for (const token of [
    svids.token({ ...workload, iss: issuer }),
    svids.token(workload),
    key.token({ aud: audience, iss: 'https://other.example', sub: 'eve', sid }),
    key.token({ aud: audience, iss: 'https://login.example/abc', tid: 'abc', sub: 'eve', sid })
  ]) {
    for (const headers of [{ authorization: `Bearer ${token}` }, { cookie: `${ACCESS}=${token}` }]) {
      const answer = await logOut(guard, headers)
      assert.deepEqual([answer.status, clears(answer)], [204, true])
      assert.equal(await isAlive(guard, access), true)
    }
  }
})

test("behind the stack of another guard, a logout ends the session of the request's own cookies", async () => {
  const guard = guardOf(config())
  const front = guardOf({ rateLimit: false, jwt: { issuer: 'https://other.example', audience, jwks: { keys: [key.jwk] } } })
  const [ada, eve] = [await begin(guard), await begin(guard)]
  const authorization = `Bearer ${key.token({ aud: audience, iss: 'https://other.example', sub: 'eve', sid: ada.sid })}`
  assert.equal((await logOut(guard, { authorization }, front)).status, 204)
  assert.equal(await isAlive(guard, ada.access), true)
  assert.equal((await logOut(guard, { authorization, cookie: eve.cookie }, front)).status, 204)
  assert.deepEqual([await isAlive(guard, ada.access), await isAlive(guard, eve.access)], [true, false])
})

test('a logout with a token of another issuer ends the session of the refresh token', async () => {
  const guard = several()
  const { access, lines } = await begin(guard)
  const token = key.token({ aud: audience, iss: 'https://other.example', sub: 'ada', sid: 'theirs' })
  const answer = await logOut(guard, { authorization: `Bearer ${token}`, cookie: lines.slice(1).join('; ') })
  assert.deepEqual([answer.status, clears(answer), await isAlive(guard, access)], [204, true, false])
})

test('a session whose name looks like a token is ended', async () => {
  const guard = guardOf(config())
  for (const sid of [`ksr_${'A'.repeat(86)}`, 'e30.e30.e30', ' a ']) {
    const { accessToken } = await guard.tokens.issue({ sub: 'ada', sid })
    const answer = await logOut(guard, { cookie: `${ACCESS}=${accessToken}` })
    assert.deepEqual([answer.status, clears(answer), await isAlive(guard, accessToken)], [204, true, false], sid)
  }
})

test('a bound token ends its session where a layer has checked its proof, and nowhere else', async () => {
  const guard = guardOf(config({ jwt: { from, dpop: 'if-bound' } }))
  const client = dpopClient()
  const { accessToken: token } = await guard.tokens.issue({ sub: 'ada', cnf: { jkt: client.jkt } })
  const headers = new Headers()
  await guard.sessions.end(new Request('http://api.example.com/', { headers: { authorization: `DPoP ${token}` } }), headers)
  const [protect] = guard.securityStack()
  const ends = (req, res) => protect(req, res, () => guard.sessions.end(req, res).then(() => res.end(), () => res.destroy()))
  const sent = () => dpop(token, client.proof({ url: 'http://api.example.com/', token, method: 'POST' }))
  await browse(ends, async (browser, send) => {
    const ask = async () => (await send({ method: 'POST', headers: { host: page.host, ...sent() } })).json?.code
    assert.equal(await ask(), undefined, 'the proof was checked, and nothing was revoked before')
    assert.equal(await ask(), 'token_revoked')
  })
})

// Before anything is timed: the good request passes and what a stack claims to refuse is refused. A
// stack that got fast by not doing its work fails here.

import { body, claims, origins, sign } from './fixtures.mjs'

async function post(server, { token, json = body(1), origin = origins[0], text = JSON.stringify(json) }) {
  const response = await fetch(`${server.url}/v1/users`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', origin, ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    body: text,
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

const good = () => sign(claims(1))
const flip = (token) => token.slice(0, -2) + (token.at(-2) === 'A' ? 'B' : 'A') + token.at(-1)

/** Per layer: what is sent, and what must come back. */
const refusals = {
  jwt: [
    ['no token', {}, [401]],
    ['a forged signature', () => ({ token: flip(good()) }), [401]],
    ['a token of another key', () => ({ token: sign(claims(1), { key: 'x'.repeat(64) }) }), [401]],
    ['an unsigned token', () => ({ token: sign(claims(1), { header: { alg: 'none', typ: 'JWT' } }) }), [401]],
    ['an expired token', () => ({ token: sign(claims(1, { iat: 1_700_000_000, exp: 1_700_000_600 })) }), [401]],
    ['a token for another audience', () => ({ token: sign(claims(1, { aud: 'another-app' })) }), [401]],
    ['a token of another issuer', () => ({ token: sign(claims(1, { iss: 'https://evil.example' })) }), [401]],
  ],
  body: [
    ['an unknown member', () => ({ token: good(), json: { ...body(1), admin: true } }), [400, 422]],
    ['an operator in place of a string', () => ({ token: good(), json: { ...body(1), email: { $gt: '' } } }), [400, 422]],
    ['a missing member', () => ({ token: good(), json: { username: 'user0001' } }), [400, 422]],
  ],
  policy: [['a role the policy does not know', () => ({ token: sign(claims(1, { role: 'viewer' })) }), [403]]],
}

const must = (truth, what) => {
  if (!truth) throw new Error(what)
}

/**
 * Checks one running server against the layers of its stack; throws with what went wrong. Returns
 * the number of checks.
 */
export async function verify(stack, server) {
  const has = (layer) => stack.layers.includes(layer)
  let checks = 0
  const check = (truth, what) => {
    checks += 1
    must(truth, `${stack.name}: ${what}`)
  }

  const passed = await post(server, { token: good() })
  check(passed.status === 201, `the good request got ${passed.status}: ${passed.text.slice(0, 300)}`)
  check(passed.text === JSON.stringify({ ok: true, name: body(1).username }), `the good request got the body ${passed.text}`)
  if (has('headers')) check(passed.headers.get('x-content-type-options') === 'nosniff', 'no security headers on the answer')
  if (has('cors')) {
    check(passed.headers.get('access-control-allow-origin') === origins[0], 'the allowed origin is not allowed')
    const stranger = await post(server, { token: good(), origin: 'https://evil.example' })
    check(stranger.headers.get('access-control-allow-origin') !== 'https://evil.example', 'a foreign origin is allowed')
  }

  for (const [layer, cases] of Object.entries(refusals)) {
    if (!has(layer)) continue
    for (const [what, request, expected] of cases) {
      const { status } = await post(server, typeof request === 'function' ? request() : request)
      check(expected.includes(status), `${what} got ${status}, not ${expected.join(' or ')}`)
    }
  }

  if (has('revocation')) {
    const revoked = claims(2)
    const token = sign(revoked)
    check((await post(server, { token })).status === 201, 'a token that is about to be revoked did not pass')
    await server.ask('revoke', { token, claims: revoked })
    const { status } = await post(server, { token })
    check(status === 401, `a revoked token got ${status}`)
  }
  return checks
}

/** The limits that `verifyLimits` wants its server to have. */
export const tightLimits = { client: 6, user: 3 }

/**
 * Checks on a server with tight limits that both of them count: per user first, then per client
 * address.
 */
export async function verifyLimits(stack, server) {
  const send = async (user) => (await post(server, { token: sign(claims(user)) })).status
  const statuses = []
  for (const user of [1, 1, 1, 1, 2, 2, 2, 3]) statuses.push(await send(user))
  const shown = `${stack.name}: statuses ${statuses.join(' ')}`
  must(statuses.slice(0, 3).every((status) => status === 201), `${shown}: refused below the limit`)
  must(statuses[3] === 429, `${shown}: the fourth request of a user with limit 3 passed`)
  must(statuses[4] === 201, `${shown}: another user was refused`)
  must(statuses[7] === 429, `${shown}: the eighth request of a client with limit 6 passed`)
  return 4
}

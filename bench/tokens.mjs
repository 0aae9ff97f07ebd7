// What verifying a token costs, beside other libraries in one process: `npm run bench:tokens`. See
// README.md.
//
// Two ways into keepstone: `verify` is guard.tokens.verify, which answers a promise, and `request`
// is what a request costs in the middleware (guard.authenticate(): the head read, the token found
// in it, verified and asked for revocation, the claims on req.user and read by the handler). The
// others are called as their README has it, without a request around them. How far the core is from
// a bare signature check is measured in Rust: `cargo bench --bench tokens`.

import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { createVerifier } from 'fast-jwt'
import { rivals } from './lib/rivals.mjs'
import { paired, spread, table, withRange } from './lib/stats.mjs'
import { ALGORITHMS, AUDIENCE, ISSUER, spki, token } from '../__test__/helpers/token-keys.mjs'

const root = path.resolve(process.env.KEEPSTONE_ROOT ?? path.join(path.dirname(fileURLToPath(import.meta.url)), '..'))
const { createGuard } = createRequire(import.meta.url)(root)
const ROUNDS = Number(process.env.ROUNDS ?? 15)
const MS = Number(process.env.MS ?? 40)

const now = Math.floor(Date.now() / 1000)
const claims = (user) => ({ iss: ISSUER, aud: AUDIENCE, sub: `user-${user}`, role: 'admin', scope: 'read:users write:users', jti: `7f3c9a52-${user}`, sid: `s-${user}`, iat: now, exp: now + 3600 })
const tokens = (alg, count) => Array.from({ length: count }, (_, user) => token(alg, { alg, typ: 'JWT' }, claims(user)))
const keyOf = (alg) => ALGORITHMS[alg].secret ?? spki(alg)

/** A guard with a filled revocation list, so that the question is asked and not skipped. */
async function guardOf(alg, cache) {
  const guard = createGuard({ rateLimit: false, headers: false, cors: false, jwt: { issuer: ISSUER, audience: AUDIENCE, keys: [{ alg, key: keyOf(alg) }], ...(cache ? {} : { cache: false }) } })
  for (let i = 0; i < 10_000; i += 1) await guard.revoke.token(`gone-${i}`, now + 3600)
  for (let i = 0; i < 100; i += 1) await guard.revoke.session(`gone-${i}`)
  for (let i = 0; i < 100; i += 1) await guard.revoke.subject(`gone-${i}`)
  return guard
}

/**
 * What of a request and a response the middleware reads and writes; without HTTP, which would cost
 * far more.
 */
function request(text) {
  const headers = { host: 'api.example.com', authorization: `Bearer ${text}` }
  return {
    req: { method: 'GET', url: '/v1/users', originalUrl: '/v1/users', headers, rawHeaders: Object.entries(headers).flat(), httpVersion: '1.1', socket: { remoteAddress: '127.0.0.1', encrypted: false }, app: { get: () => undefined } },
    res: { headersSent: false, writableEnded: false, destroyed: false, statusCode: 200, setHeader() {}, getHeader() {}, removeHeader() {}, on() {}, once() {}, end() { throw new Error(`refused with ${this.statusCode}`) } },
  }
}

/**
 * Who takes part: `add` says how one verifies, `library` adds another library if it has the
 * algorithm.
 */
function contenders(alg) {
  const setup = { keys: [{ alg, key: keyOf(alg) }] }
  const all = []
  const add = (name, verify, sync) => all.push({ name, verify, sync, rounds: [] })
  const library = (name, ...more) => {
    const found = rivals.find((one) => one.name.startsWith(`${name} `) && one.supports(alg))
    if (found !== undefined) add(name, found.make(setup, ISSUER, AUDIENCE, ...more), name !== 'jose')
  }
  return { all, add, library }
}

/**
 * A verifier that is the whole way through the middleware: the handler behind it reads one claim.
 */
function throughMiddleware(guard) {
  const handler = guard.authenticate()
  let seen
  return (text) => {
    const { req, res } = request(text)
    handler(req, res, (error) => {
      if (error) throw error
      seen = req.user.sub
    })
    return seen
  }
}

/** Microseconds a call, over as many calls as fit into the time. */
async function time({ verify, sync }, texts) {
  const began = performance.now()
  let calls = 0
  do {
    for (const text of texts) {
      if (sync) verify(text)
      else await verify(text)
    }
    calls += texts.length
  } while (performance.now() - began < MS)
  return ((performance.now() - began) * 1000) / calls
}

async function run(title, all, texts, over, bar) {
  for (const one of all) for (let i = 0; i < 3; i += 1) await time(one, texts)
  for (let round = 0; round < ROUNDS; round += 1) {
    // Another one begins each round.
    const order = [...all.slice(round % all.length), ...all.slice(0, round % all.length)]
    const took = new Map()
    for (const one of order) took.set(one, await time(one, texts))
    for (const one of all) one.rounds.push(took.get(one))
  }
  const base = all.find(({ name }) => name === over)
  const rows = all.map((one) => [one.name, withRange(spread(one.rounds), 2), one === base ? '1' : withRange(paired(one.rounds, base.rounds, (mine, other) => mine / other), 2)])
  console.log(`\n${title}${bar === undefined ? '' : `: wanted at most ${bar} of ${over}`}\n${table(['', 'us a token', `of ${over}`], rows)}`)
}

console.log(`Node ${process.version}, ${ROUNDS} rounds of ${MS} ms each; median (least-greatest); a ratio is taken within each round`)
for (const [alg, bar] of [['HS256', 1], ['EdDSA', 0.6], ['ES256'], ['RS256']]) {
  const { all, add, library } = contenders(alg)
  const guard = await guardOf(alg, false)
  add('keepstone request', throughMiddleware(guard), true)
  add('keepstone verify', (text) => guard.tokens.verify(text), false)
  library('fast-jwt', { cache: false })
  library('jsonwebtoken')
  library('jose')
  await run(`${alg}, not seen before`, all, tokens(alg, 64), 'fast-jwt', bar)
}
{
  const alg = 'HS256'
  const { all, add } = contenders(alg)
  const guard = await guardOf(alg, true)
  const options = { key: keyOf(alg), algorithms: [alg], allowedIss: ISSUER, allowedAud: AUDIENCE, cache: 1000 }
  add('keepstone request, revocation asked', throughMiddleware(guard), true)
  add('keepstone verify, revocation asked', (text) => guard.tokens.verify(text), false)
  add('fast-jwt, no revocation', createVerifier(options), true)
  add('fast-jwt keyed by the token, no revocation', createVerifier({ ...options, cacheKeyBuilder: (text) => text }), true)
  await run('HS256, seen before', all, tokens(alg, 64), 'fast-jwt, no revocation', 0.7)
}

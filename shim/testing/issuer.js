'use strict'

// An issuer with keys of its own, in this process or behind a URL of the loopback.

const { randomUUID } = require('node:crypto')
const { once } = require('node:events')
const http = require('node:http')
const { optional } = require('../arguments.js')
const { invalid, readKnown, readSpan } = require('./arguments.js')
const { guardTime } = require('./clock.js')
const { FORGERIES, REFUSED, forge } = require('./forgeries.js')
const { ALGORITHMS, compact, makeKey } = require('./keys.js')

const LIFETIME = '15m'

/** An issuer whose public keys a guard takes as options. */
function createTestIssuer(...rest) {
  const { issuer = 'https://issuer.test', audience, algorithm } = readIssuer(rest)
  const keys = makeKeys(algorithm)
  const self = {
    ...tokensOf(issuer, audience, keys),
    get jwt() {
      return { issuer, audience, jwks: keys.jwks() }
    }
  }
  return Object.freeze(self)
}

/** An issuer that publishes its keys at a URL, as those of production do. */
async function startTestIssuer(...rest) {
  const { issuer, audience, algorithm } = readIssuer(rest)
  const keys = makeKeys(algorithm)
  const server = http.createServer((req, res) => answer(req, res, issuer ?? urlOf(server), keys))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  // A test that forgets to close it still ends.
  server.unref()
  server.on('connection', (socket) => socket.unref())
  const url = urlOf(server)
  const name = issuer ?? url
  return Object.freeze({
    ...tokensOf(name, audience, keys),
    jwt: Object.freeze(issuer === undefined ? { issuer: name, audience, discovery: true } : { issuer: name, audience, jwks: `${url}/jwks` }),
    url,
    async close() {
      if (!server.listening) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  })
}

function readIssuer(rest) {
  const { issuer, audience = 'test-api', algorithm = 'ES256' } = readKnown(rest, ['issuer', 'audience', 'algorithm'])
  if (issuer !== undefined && (typeof issuer !== 'string' || issuer === '')) throw invalid('options.issuer', 'must be a string that is not empty')
  const audiences = Array.isArray(audience) ? audience : [audience]
  if (audiences.length === 0 || !audiences.every((one) => typeof one === 'string' && one !== '')) throw invalid('options.audience', 'must be a string, or a list of strings')
  if (!ALGORITHMS.includes(algorithm)) throw invalid('options.algorithm', `must be one of ${ALGORITHMS.join(', ')}`)
  return { issuer, audience, algorithm }
}

/** The keys of an issuer: the last one signs, all are published. */
function makeKeys(algorithm) {
  const all = []
  const rotate = () => void all.push(makeKey(algorithm, `test-${all.length + 1}`))
  rotate()
  return { rotate, current: () => all.at(-1), jwks: () => ({ keys: all.map(({ jwk }) => ({ ...jwk })) }) }
}

function tokensOf(issuer, audience, keys) {
  const token = (...given) => {
    const [claims = {}, ...rest] = given
    const { header, age, expiresIn, forgery } = readToken(rest)
    const key = keys.current()
    return signed(key, { alg: key.alg, kid: key.kid, typ: 'at+jwt', ...header }, claimsOf(issuer, audience, claims, age, expiresIn), forgery)
  }
  return {
    issuer,
    audience,
    token,
    forgeries(...given) {
      const claims = given.length === 0 ? {} : optional('claims', given)
      const now = seconds(guardTime())
      const all = FORGERIES.map((forgery) => [forgery, token(claims, { forgery })])
      const refused = Object.entries(REFUSED).map(([name, change]) => [name, token({ ...claims, ...change(now) })])
      return Object.fromEntries([...all, ...refused])
    },
    jwks: keys.jwks,
    rotate: keys.rotate
  }
}

const seconds = (ms) => Math.floor(ms / 1000)

/** The claims of an access token; those that are given replace them, undefined leaves one out. */
function claimsOf(issuer, audience, claims, age, expiresIn) {
  if (claims === null || typeof claims !== 'object' || Array.isArray(claims)) throw invalid('claims', 'must be an object')
  const iat = seconds(guardTime() - age)
  return { iss: issuer, aud: audience, sub: 'test-user', iat, exp: iat + seconds(expiresIn), jti: randomUUID(), ...claims }
}

function readToken(rest) {
  // `header` may have any shape, members that are undefined among them.
  const { header = {}, ...others } = rest.length === 0 ? {} : optional('options', rest)
  const { age = '0s', expiresIn = LIFETIME, forgery } = readKnown([others], ['header', 'age', 'expiresIn', 'forgery'])
  if (header === null || typeof header !== 'object') throw invalid('options.header', 'must be an object')
  if (forgery !== undefined && !FORGERIES.includes(forgery)) throw invalid('options.forgery', `must be one of ${FORGERIES.join(', ')}`)
  return { header, age: readSpan('options.age', age), expiresIn: readSpan('options.expiresIn', expiresIn), forgery }
}

function signed(key, header, claims, forgery) {
  return forgery === undefined ? compact(header, claims, key.sign) : forge(forgery, key, header, claims)
}

const urlOf = (server) => `http://127.0.0.1:${server.address().port}`

function answer(req, res, issuer, keys) {
  const base = urlOf(req.socket.server)
  const documents = {
    '/jwks': keys.jwks,
    '/.well-known/openid-configuration': () => ({ issuer, jwks_uri: `${base}/jwks` }),
    '/.well-known/oauth-authorization-server': () => ({ issuer, jwks_uri: `${base}/jwks` })
  }
  const document = Object.hasOwn(documents, req.url) ? documents[req.url]() : undefined
  res.writeHead(document === undefined ? 404 : 200, { 'content-type': 'application/json' })
  res.end(JSON.stringify(document ?? {}))
}

module.exports = { createTestIssuer, startTestIssuer }

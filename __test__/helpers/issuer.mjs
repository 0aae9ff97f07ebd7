// An issuer of tokens: a server on 127.0.0.1 that publishes keys, and the keys that sign.

import http from 'node:http'
import https from 'node:https'
import { createHash, sign } from 'node:crypto'
import { once } from 'node:events'
import { keyPair } from './key-pair.mjs'

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A key pair with a name: `jwk` is its public half, `token(claims)` signs. */
export function makeKey(kid, more = {}) {
  const { privateKey, publicKey } = keyPair('ec', { namedCurve: 'P-256' })
  return {
    kid,
    jwk: { ...publicKey.export({ format: 'jwk' }), kid, alg: 'ES256', use: 'sig', ...more },
    token(claims, header = {}) {
      const iat = Math.floor(Date.now() / 1000)
      const input = `${part({ alg: 'ES256', kid, ...header })}.${part({ sub: 'ada', iat, exp: iat + 600, ...claims })}`
      return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    }
  }
}

/**
 * Starts an issuer. `publish(path, answer)` says what it answers at a path: an object is sent as
 * JSON with an `ETag`, a function is called with the request and the response. `seen` has every
 * request as `{ url, headers }`.
 */
export async function startIssuer({ tls } = {}) {
  const answers = new Map()
  const seen = []
  const listener = (req, res) => {
    seen.push({ url: req.url, headers: req.headers })
    const answer = answers.get(req.url)
    if (typeof answer === 'function') return answer(req, res)
    if (answer === undefined) return res.writeHead(404).end()
    const body = JSON.stringify(answer)
    const etag = `"${createHash('sha256').update(body).digest('base64url')}"`
    res.setHeader('etag', etag)
    if (req.headers['if-none-match'] === etag) return res.writeHead(304).end()
    res.setHeader('content-type', 'application/json')
    res.end(body)
  }
  const server = tls === undefined ? http.createServer(listener) : https.createServer(tls, listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${server.address().port}`,
    seen,
    publish: (path, answer) => void answers.set(path, answer),
    async stop() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

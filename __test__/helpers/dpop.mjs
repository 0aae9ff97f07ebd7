// A client that binds its tokens to a key of its own (RFC 9449).

import { createHash, randomUUID, sign } from 'node:crypto'
import { keyPair } from './key-pair.mjs'

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** A P-256 key with `jwk`, its `jkt`, and `proof(claims, header)` for a request. */
export function dpopClient() {
  const { privateKey, publicKey } = keyPair('ec', { namedCurve: 'P-256' })
  const { crv, kty, x, y } = publicKey.export({ format: 'jwk' })
  const jwk = { crv, kty, x, y }
  return {
    jwk,
    jkt: createHash('sha256').update(JSON.stringify(jwk)).digest('base64url'),
    /**
     * Made at this very instant: one of a whole second may be older than the process. `token` is
     * the one that goes with it, if there is one yet; `claims` and `header` replace what is there
     * by default.
     */
    proof({ method = 'GET', url, token, ...claims }, header = {}) {
      const ath = token === undefined ? undefined : createHash('sha256').update(token).digest('base64url')
      const payload = { jti: randomUUID(), htm: method, htu: url, iat: Date.now() / 1000, ath, ...claims }
      const input = `${part({ typ: 'dpop+jwt', alg: 'ES256', jwk, ...header })}.${part(payload)}`
      return `${input}.${sign('sha256', Buffer.from(input), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    }
  }
}

/** The headers of a request with a bound token. */
export const dpop = (token, proof) => ({ authorization: `DPoP ${token}`, dpop: proof })

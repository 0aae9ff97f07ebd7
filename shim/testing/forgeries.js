'use strict'

// Tokens that every guard must refuse: the known attacks on signatures (RFC 8725), and claims that
// are not meant for it.

const { compact, encode, hmac, makeKey } = require('./keys.js')

const HOUR_S = 3600

/** What makes each forged token of a key, a header and claims. */
const MAKERS = {
  // Signed by a key of the attacker, under the name of the issuer's.
  'other-key': (key, header, claims) => compact(header, claims, makeKey(key.alg, key.kid).sign),
  // Signed by a key of the attacker, under a name of its own.
  'unknown-key': (key, header, claims) => compact({ ...header, kid: 'unknown' }, claims, makeKey(key.alg, 'unknown').sign),
  // Signed by a key that the token itself brings.
  'embedded-key': (key, header, claims) => {
    const own = makeKey(key.alg, key.kid)
    return compact({ ...header, jwk: own.jwk }, claims, own.sign)
  },
  // Without a signature.
  'no-signature': (key, header, claims) => compact({ ...header, alg: 'none' }, claims, () => Buffer.alloc(0)),
  // The public key, taken for the secret of an HMAC.
  'public-key-as-secret': (key, header, claims) => compact({ ...header, alg: 'HS256' }, claims, hmac(key.pem)),
  // The claims of another token in front of a good signature.
  'changed-claims': (key, header, claims) => {
    const [head, , signature] = compact(header, claims, key.sign).split('.')
    return [head, encode({ ...claims, sub: `${claims.sub}-changed` }), signature].join('.')
  },
  // One bit of the signature is another.
  'broken-signature': (key, header, claims) =>
    compact(header, claims, (text) => {
      const signature = key.sign(text)
      signature[signature.length >> 1] ^= 1
      return signature
    })
}

/** Claims of tokens that are signed well and refused all the same, by the time in seconds. */
const REFUSED = {
  expired: (now) => ({ iat: now - 2 * HOUR_S, exp: now - HOUR_S }),
  'not-yet-valid': (now) => ({ nbf: now + HOUR_S }),
  'without-expiry': () => ({ exp: undefined }),
  'other-issuer': () => ({ iss: 'https://other-issuer.test' }),
  'other-audience': () => ({ aud: 'another-api' }),
  'without-audience': () => ({ aud: undefined })
}

const forge = (forgery, key, header, claims) => MAKERS[forgery](key, header, claims)

module.exports = { FORGERIES: Object.freeze(Object.keys(MAKERS)), REFUSED, forge }

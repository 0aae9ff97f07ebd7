'use strict'

// The keys of test issuers.

const { constants, createHmac, generateKeyPairSync, sign } = require('node:crypto')

const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }
const ALGORITHMS = ['ES256', 'ES384', 'ES512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'EdDSA']

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A new key pair: `jwk` is its public half, `sign` signs text. */
function makeKey(alg, kid) {
  const { privateKey, publicKey } = generatePair(alg)
  return Object.freeze({
    kid,
    alg,
    jwk: Object.freeze({ ...publicKey.export({ format: 'jwk' }), kid, alg, use: 'sig' }),
    pem: publicKey.export({ type: 'spki', format: 'pem' }),
    sign: (text) => sign(hashOf(alg), Buffer.from(text), { key: privateKey, ...paddingOf(alg) })
  })
}

function generatePair(alg) {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  const namedCurve = CURVES[alg]
  return namedCurve === undefined ? generateKeyPairSync('rsa', { modulusLength: 2048 }) : generateKeyPairSync('ec', { namedCurve })
}

const hashOf = (alg) => (alg === 'EdDSA' ? null : `sha${alg.slice(2)}`)

function paddingOf(alg) {
  if (alg.startsWith('ES')) return { dsaEncoding: 'ieee-p1363' }
  return alg.startsWith('PS') ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : {}
}

/** A compact JWS over a header and claims; `signer` gives the bytes of the signature. */
function compact(header, claims, signer) {
  const input = `${encode(header)}.${encode(claims)}`
  return `${input}.${signer(input).toString('base64url')}`
}

const hmac = (secret) => (text) => createHmac('sha256', secret).update(text).digest()

module.exports = { ALGORITHMS, compact, encode, hmac, makeKey }

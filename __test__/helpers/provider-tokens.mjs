// Tokens and key sets in the shapes of identity providers, with keys of our own.

import { constants, createHmac, sign } from 'node:crypto'
import { keyPair } from './key-pair.mjs'

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
const MADE = new Map()

/** A key pair by its name, made once: a second one of the name is the same. */
function pairOf(name, type) {
  const key = `${type} ${name}`
  if (!MADE.has(key)) MADE.set(key, type === 'rsa' ? keyPair('rsa', { modulusLength: 2048 }) : keyPair('ec', { namedCurve: 'P-256' }))
  return MADE.get(key)
}

/**
 * A key of a provider. `jwk` is its public half with the members in `more`, one that is `undefined`
 * left out; `token(payload, header)` signs, with the `alg` of the header.
 */
export function providerKey({ kid, name = 'provider', type = 'rsa', more = {} }) {
  const { privateKey, publicKey } = pairOf(name, type)
  const alg = type === 'rsa' ? 'RS256' : 'ES256'
  const whole = { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig', alg, ...more }
  const jwk = Object.fromEntries(Object.entries(whole).filter(([, value]) => value !== undefined))
  const signers = {
    RS256: (input) => sign('sha256', input, privateKey),
    PS256: (input) => sign('sha256', input, { key: privateKey, ...PSS }),
    ES256: (input) => sign('sha256', input, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
    // The public key as the secret of an HMAC: what confuses a verifier that goes by `alg`.
    HS256: (input) => createHmac('sha256', publicKey.export({ type: 'spki', format: 'pem' })).update(input).digest(),
    none: () => Buffer.alloc(0)
  }
  return { kid, jwk, alg, token: (payload, header = {}) => signed(payload, { alg, kid, ...header }, signers[header.alg ?? alg]) }
}

/** A token signed with a shared secret. */
export const secretToken = (payload, header, secret) => signed(payload, { alg: 'HS256', ...header }, (input) => createHmac('sha256', secret).update(input).digest())

function signed(payload, header, signer) {
  const input = `${part(clean(header))}.${part(clean(payload))}`
  return `${input}.${signer(Buffer.from(input)).toString('base64url')}`
}

/** Without the members that are `undefined`. */
const clean = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))

/** The JWK with a zero octet in front of its modulus, as Java and Firebase write it. */
export function withLeadingZero(jwk) {
  return { ...jwk, n: Buffer.concat([Buffer.alloc(1), Buffer.from(jwk.n, 'base64url')]).toString('base64url') }
}

/** The JWK with its numbers in plain base64 with padding. */
export function inPlainBase64(jwk) {
  const plain = (text) => Buffer.from(text, 'base64url').toString('base64')
  return { ...jwk, n: plain(jwk.n), e: plain(jwk.e) }
}

/** A key for encryption, as Keycloak publishes it beside the others. */
export const encryptionKey = () => providerKey({ kid: 'enc-1', name: 'encryption', more: { use: 'enc', alg: 'RSA-OAEP' } }).jwk

/** `iat`, `nbf` and `exp` of a token that was issued a minute ago. */
export function times(life = 3600) {
  const iat = Math.floor(Date.now() / 1000) - 60
  return { iat, exp: iat + life + 60 }
}

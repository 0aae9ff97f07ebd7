// The keys that the table of attacks is about, made anew in each run, and how a token is put
// together by hand.

import { checkPrimeSync, constants, createHmac, createPrivateKey, createPublicKey, createHash, randomBytes, sign as signBytes } from 'node:crypto'
import { keyPair } from './key-pair.mjs'

export const ISSUER = 'https://secure.myapp.com'
export const AUDIENCE = 'my-backend-app'

export const part = (value) => Buffer.from(typeof value === 'string' || Buffer.isBuffer(value) ? value : JSON.stringify(value)).toString('base64url')
export const digest = (name, data) => createHash(name).update(data).digest()

const rsa = keyPair('rsa', { modulusLength: 2048 })
const ec = (namedCurve) => keyPair('ec', { namedCurve })
const pss = (salt) => ({ padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: salt })
const ieee = { dsaEncoding: 'ieee-p1363' }

/**
 * By algorithm: `pair` of a key pair or `secret`, the hash, and what Node needs to sign with it.
 */
export const ALGORITHMS = {
  HS256: { secret: randomBytes(48).toString('base64url'), hash: 'sha256' },
  HS384: { secret: randomBytes(48).toString('base64url'), hash: 'sha384' },
  HS512: { secret: randomBytes(64).toString('base64url'), hash: 'sha512' },
  RS256: { pair: rsa, hash: 'sha256', options: {} },
  RS384: { pair: rsa, hash: 'sha384', options: {} },
  RS512: { pair: rsa, hash: 'sha512', options: {} },
  PS256: { pair: rsa, hash: 'sha256', options: pss(32) },
  PS384: { pair: rsa, hash: 'sha384', options: pss(48) },
  PS512: { pair: rsa, hash: 'sha512', options: pss(64) },
  ES256: { pair: ec('P-256'), hash: 'sha256', options: ieee },
  ES384: { pair: ec('P-384'), hash: 'sha384', options: ieee },
  ES512: { pair: ec('P-521'), hash: 'sha512', options: ieee },
  EdDSA: { pair: keyPair('ed25519'), hash: null, options: {} }
}

const HMACS = { HS256: 'sha256', HS384: 'sha384', HS512: 'sha512' }

/** The signature that `alg` makes with its key of this run, or with another one. */
export function signature(alg, message, key) {
  const own = ALGORITHMS[alg]
  if (alg in HMACS) return createHmac(HMACS[alg], key ?? own.secret).update(message).digest()
  return signBytes(own.hash, Buffer.from(message), { key: key ?? own.pair.privateKey, ...own.options })
}

/**
 * A token over exactly this header and payload (text, bytes or an object), signed as `alg` does.
 */
export function token(alg, header, payload, key) {
  const message = `${part(header)}.${part(payload)}`
  return `${message}.${signature(alg, message, key).toString('base64url')}`
}

export const spki = (alg) => ALGORITHMS[alg].pair.publicKey.export({ type: 'spki', format: 'pem' })
export const jwk = (alg) => ({ ...ALGORITHMS[alg].pair.publicKey.export({ format: 'jwk' }), alg, use: 'sig' })

/** What a verifier of `alg` is set up with: a secret, or a public key as PEM. */
export const verifying = (alg) => ({ keys: [{ alg, key: ALGORITHMS[alg].secret ?? spki(alg) }] })

const toBig = (bytes) => BigInt(`0x${bytes.toString('hex')}`)
export function toBytes(number) {
  const hex = number.toString(16)
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
}
const big = (number) => toBytes(number).toString('base64url')

function power(base, exponent, modulus) {
  let result = 1n
  for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus) if (e & 1n) result = (result * b) % modulus
  return result
}

function inverse(a, modulus) {
  let [old, rest, x, y] = [a % modulus, modulus, 1n, 0n]
  while (rest > 0n) {
    const quotient = old / rest
    ;[old, rest] = [rest, old - quotient * rest]
    ;[x, y] = [y, x - quotient * y]
  }
  return ((x % modulus) + modulus) % modulus
}

/**
 * A whole RSA key that has the fingerprint of CVE-2017-15361: each prime is k * M + 65537^a mod M.
 */
export function rocaKey() {
  const primes = Array.from({ length: 167 }, (_, n) => n + 1).filter((n) => n > 1 && Array.from({ length: n - 2 }, (_, d) => d + 2).every((d) => n % d !== 0))
  const product = primes.reduce((all, prime) => all * BigInt(prime), 1n)
  // Both top bits are set, so that two such primes make 2048 bits.
  const [least, most] = [(3n << 1022n) / product + 1n, (1n << 1024n) / product - 1n]
  const find = () => {
    for (;;) {
      const k = least + (toBig(randomBytes(128)) % (most - least))
      const candidate = k * product + power(65537n, toBig(randomBytes(16)), product)
      if ((candidate - 1n) % 65537n !== 0n && checkPrimeSync(candidate)) return candidate
    }
  }
  const [p, q] = [find(), find()]
  const d = inverse(65537n, (p - 1n) * (q - 1n))
  const key = { kty: 'RSA', n: big(p * q), e: 'AQAB', d: big(d), p: big(p), q: big(q), dp: big(d % (p - 1n)), dq: big(d % (q - 1n)), qi: big(inverse(q, p)) }
  return { privateKey: createPrivateKey({ key, format: 'jwk' }), jwk: { kty: 'RSA', n: key.n, e: key.e } }
}

/**
 * What anybody can sign for an RSA key with the exponent 1: the signature is the padded hash itself
 * (RFC 8017 section 9.2).
 */
export function signedWithoutKey(n, message) {
  const info = Buffer.from('3031300d060960864801650304020105000420', 'hex')
  const end = Buffer.concat([Buffer.from([0]), info, digest('sha256', message)])
  return Buffer.concat([Buffer.from([0, 1]), Buffer.alloc(n.length - 2 - end.length, 0xff), end])
}

export const publicOf = (key) => createPublicKey({ key, format: 'jwk' })

/** Orders of the curves' groups, big-endian. */
export const ORDERS = {
  ES256: 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
  ES384: 'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
  ES512: '01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409'
}

/** The other signature that is as good: `s` becomes `n - s`. */
export function highS(alg, text) {
  const cut = text.lastIndexOf('.')
  const bytes = Buffer.from(text.slice(cut + 1), 'base64url')
  const half = bytes.length / 2
  const s = BigInt(`0x${ORDERS[alg]}`) - toBig(bytes.subarray(half))
  const other = Buffer.from(s.toString(16).padStart(2 * half, '0'), 'hex')
  return `${text.slice(0, cut)}.${Buffer.concat([bytes.subarray(0, half), other]).toString('base64url')}`
}

// Other JWT libraries, each set up as its documentation has it: the algorithm pinned, issuer and
// audience given.

import { createPublicKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createVerifier } from 'fast-jwt'
import * as jose from 'jose'
import jsonwebtoken from 'jsonwebtoken'

const require = createRequire(import.meta.url)
const versionOf = (name) => JSON.parse(readFileSync(require.resolve(name).replace(new RegExp(`(node_modules/${name}/).*`), '$1package.json'), 'utf8')).version

/** A secret as it is; a public key as PEM, whatever it was given as. */
const pem = (alg, key) =>
  alg.startsWith('HS') || typeof key === 'string' || key === undefined ? key : createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' })

/**
 * `make(setup, issuer, audience)` gives `verify(token)`, a promise or not; it throws where the
 * setup is refused.
 */
export const rivals = [
  {
    name: `jsonwebtoken ${versionOf('jsonwebtoken')}`,
    supports: (alg) => alg !== 'EdDSA',
    make({ keys }, issuer, audience) {
      const options = { algorithms: keys.map(({ alg }) => alg), issuer, audience }
      const all = keys.map(({ kid, alg, key }) => [kid, pem(alg, key)])
      if (all.length === 1) return (token) => jsonwebtoken.verify(token, all[0][1], options)
      const find = ({ kid }, done) => done(null, all.find(([name]) => name === kid)?.[1])
      return (token) => new Promise((resolve, reject) => jsonwebtoken.verify(token, find, options, (error, claims) => (error ? reject(error) : resolve(claims))))
    },
  },
  {
    name: `fast-jwt ${versionOf('fast-jwt')}`,
    supports: () => true,
    make({ keys }, issuer, audience, more = {}) {
      const all = keys.map(({ kid, alg, key }) => [kid, pem(alg, key)])
      const key = all.length === 1 ? all[0][1] : async ({ header }) => all.find(([name]) => name === header.kid)?.[1]
      return createVerifier({ key, algorithms: keys.map(({ alg }) => alg), allowedIss: issuer, allowedAud: audience, ...more })
    },
  },
  {
    name: `jose ${versionOf('jose')}`,
    supports: () => true,
    make({ keys }, issuer, audience) {
      const options = { issuer, audience, algorithms: keys.map(({ alg }) => alg) }
      const found = readKeys(keys)
      // Who awaits it learns of it; a setup that is never used must not end the process.
      found.catch(() => {})
      return async (token) => (await jose.jwtVerify(token, await found, options)).payload
    },
  },
]

async function readKeys(keys) {
  if (keys.length > 1) {
    const set = await Promise.all(keys.map(async ({ kid, alg, key }) => ({ ...(await jose.exportJWK(await jose.importSPKI(key, alg))), kid, alg })))
    return jose.createLocalJWKSet({ keys: set })
  }
  const [{ alg, key }] = keys
  if (key === undefined) return undefined
  if (alg.startsWith('HS')) return typeof key === 'string' ? new TextEncoder().encode(key) : key
  return typeof key === 'string' ? jose.importSPKI(key, alg) : jose.importJWK(key, alg)
}

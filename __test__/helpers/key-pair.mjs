// Key pairs for the tests, of all types that Node makes.

import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto'

const SPKI = { type: 'spki', format: 'der' }
const PKCS8 = { type: 'pkcs8', format: 'der' }

/**
 * `{ publicKey, privateKey }` as `generateKeyPairSync` gives them, but read from their bytes: its
 * key objects share a lock with the job that made them, and Node 20 waits for ever where that job
 * is collected while one of them is exported.
 */
export function keyPair(type, options = {}) {
  const pair = generateKeyPairSync(type, { ...options, publicKeyEncoding: SPKI, privateKeyEncoding: PKCS8 })
  return { publicKey: createPublicKey({ key: pair.publicKey, ...SPKI }), privateKey: createPrivateKey({ key: pair.privateKey, ...PKCS8 }) }
}

// keepstone as the table of attacks sees it.

import { createGuard } from 'keepstone'
import { AUDIENCE, ISSUER } from './token-keys.mjs'

/** The option `jwt` for a setup of the table. */
export const jwtOf = ({ keys }) => ({ issuer: ISSUER, audience: AUDIENCE, keys: keys.map(({ kid, alg, key }) => ({ ...(kid === undefined ? {} : { kid }), alg, key })) })

/** `verify(token)` for a setup. Throws where the setup itself is refused. */
export function keepstone(setup) {
  const guard = createGuard({ rateLimit: false, jwt: jwtOf(setup) })
  return (token) => guard.tokens.verify(token)
}

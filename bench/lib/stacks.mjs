// The stacks that are compared, and what each one does.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { audience, issuer, origins, policy, secret } from './fixtures.mjs'

const servers = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'servers')
const peers = ['headers', 'cors', 'limit', 'jwt', 'revocation', 'body']
const all = [...peers, 'policy']

/**
 * In the order of the table. `database` is the stack's own in Redis; its absence says that it needs
 * none.
 */
export const stacks = [
  { name: 'bare', file: 'bare.cjs', layers: [], what: 'Express 5 and express.json(): no protection' },
  {
    name: 'articles',
    file: 'articles.cjs',
    layers: peers,
    database: 0,
    what: 'helmet, cors, rate-limiter-flexible, ioredis, jsonwebtoken (string secret), zod',
  },
  {
    name: 'articles-key',
    file: 'articles.cjs',
    variant: 'keyobject',
    layers: peers,
    database: 1,
    what: 'the same with the secret as a KeyObject, which spares jsonwebtoken a failing key parse',
  },
  {
    name: 'tuned',
    file: 'tuned.cjs',
    layers: peers,
    database: 2,
    what: 'helmet, cors, rate-limiter-flexible, ioredis (one round trip), fast-jwt (cached), ajv (compiled)',
  },
  { name: 'keepstone', file: 'keepstone.cjs', layers: all, what: 'every layer and a Rego policy, embedded store' },
  {
    name: 'keepstone-app',
    file: 'keepstone.cjs',
    variant: 'app',
    layers: all,
    what: 'the same: a stack for the whole application, and guard.validate on the route',
  },
]

export const fileOf = (stack) => path.join(servers, stack.file)

const unreachable = { client: 1e9, user: 1e9 }

/**
 * What a server is told. `redis` is the base URL; limits are out of reach unless a check wants to
 * reach them.
 */
export function settingsOf(stack, redis, { limits = unreachable, database = stack.database } = {}) {
  return {
    layers: stack.layers,
    variant: stack.variant,
    limits,
    issuer,
    audience,
    origins,
    secret,
    policy,
    ...(stack.database !== undefined && { redis: `${redis}/${database}` }),
  }
}

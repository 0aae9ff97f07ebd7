// What each layer costs: one switched on at a time, measured over real HTTP. `node bench/run.mjs
// --layers`.

import { stacks } from './lib/stacks.mjs'

const peer = stacks.find(({ name }) => name === 'tuned')
const own = stacks.find(({ name }) => name === 'keepstone')

/** `over` names the row that a row's cost is counted from; the layers it needs are in both. */
const rows = [
  ['bare', null, [], 'bare', 'nothing'],
  ['tuned headers', peer, ['headers'], 'bare', 'helmet'],
  ['tuned cors', peer, ['cors'], 'bare', 'cors'],
  ['tuned limit', peer, ['limit'], 'bare', 'rate-limiter-flexible over Redis, per client'],
  ['tuned jwt', peer, ['jwt'], 'bare', 'fast-jwt, cached'],
  ['tuned revocation', peer, ['jwt', 'revocation'], 'tuned jwt', 'EXISTS in Redis'],
  ['tuned body', peer, ['body'], 'bare', 'ajv'],
  ['tuned all', peer, peer.layers, 'bare', 'the whole stack'],
  ['keepstone none', own, [], 'bare', 'a guard with every layer off'],
  ['keepstone headers', own, ['headers'], 'keepstone none', 'security headers'],
  ['keepstone cors', own, ['cors'], 'keepstone none', 'CORS'],
  ['keepstone limit', own, ['limit'], 'keepstone none', 'one policy, per client'],
  ['keepstone jwt', own, ['jwt'], 'keepstone none', 'HS256, cached'],
  ['keepstone revocation', own, ['jwt', 'revocation'], 'keepstone jwt', 'revocation, embedded'],
  ['keepstone user limit', own, ['jwt', 'limit'], 'keepstone jwt', 'two policies, per client and per user'],
  ['keepstone body', own, ['body'], 'keepstone none', 'body read and judged as bytes'],
  ['keepstone policy', own, ['jwt', 'policy'], 'keepstone jwt', 'Rego, three rules'],
  ['keepstone all', own, own.layers, 'bare', 'the whole stack'],
]

/** The rows as stacks that `run.mjs` can start. */
export const layerStacks = rows.map(([name, stack, layers, over, what]) =>
  stack === null ? { ...stacks[0], over, what } : { ...stack, name, layers, over, what },
)

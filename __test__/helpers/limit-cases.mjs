// What rate limits do, whatever store counts them: a table of configurations, of what is sent and
// called, and of what comes of it.

import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { bearer, expresses, serve } from './http.mjs'
import { jwt } from './articles.mjs'

const [, express] = expresses[0]
const K = '127.0.0.1'
// So long that nothing comes back, and no window ends, while the tests run.
const WINDOW = '300d'
// Exact: what a process has leased of a shared store and not spent yet would be missing from what
// is left.
const limit = (more) => ({ name: 'api', limit: 3, window: WINDOW, exact: true, ...more })

// What is done. A request gives its status and what is left of each limit that has counted it, a
// call what it says.
const get = (path = '/', more) => ({ request: { path, ...more } })
const post = (path = '/', more) => get(path, { method: 'POST', ...more })
const by = (claims, step) => ({ ...step, claims })
const from = (address, step) => ({ request: { ...step.request, from: address } })
const withHeader = (name, value, step = get()) => ({ request: { ...step.request, headers: { [name]: value } } })
const call = (method, ...args) => ({ method, args })
const times = (count, row) => Array.from({ length: count }, () => row)

const ADA = { sub: 'ada', role: 'gold' }
const BOB = { sub: 'bob', role: 'user' }
const EVE = { sub: 'eve', roles: ['user', 'gold', 'silver'] }

const EVERY_ALGORITHM = ['gcra', 'token-bucket', 'leaky-bucket', 'fixed-window', 'sliding-window'].map((algorithm) => ({
  name: `${algorithm}: the limit passes, each client by itself, and by hand as by requests`,
  config: { rateLimit: limit({ algorithm }) },
  steps: [
    [get(), '200 api:2'],
    [get(), '200 api:1'],
    [get(), '200 api:0'],
    ...times(3, [get(), '429 api:0']),
    [from('127.0.0.3', get()), '200 api:2'],
    [call('get', 'api', K), 'refused 0'],
    [call('reward', 'api', K, 2), 'done'],
    [call('get', 'api', K), 'allowed 2'],
    [call('consume', 'api', K, 3), 'refused 2'],
    [call('consume', 'api', K, 2), 'allowed 0'],
    [get(), '429 api:0'],
    [call('reset', 'api', K), 'done'],
    [get(), '200 api:2'],
    [call('penalize', 'api', K, 50), 'done'],
    [get(), '429 api:0'],
    [call('reward', 'api', K, 50), 'done'],
    [get(), '200 api:2'],
    [call('block', 'api', K, '1h'), 'done'],
    [get(), '429 api:0'],
    [call('get', 'api', K), 'refused 0 blocked'],
    [call('reward', 'api', K, 3), 'done'],
    [get(), '429 api:0'],
    [call('reset', 'api', K), 'done'],
    [get(), '200 api:2']
  ]
}))

export const CASES = [
  ...EVERY_ALGORITHM,
  {
    name: 'a burst lets more or fewer through at once than the limit',
    config: { rateLimit: [limit({ name: 'wide', limit: 10, burst: 12 }), limit({ name: 'tight', limit: 10, burst: 2, paths: ['/tight'] })] },
    steps: [
      [get('/tight'), '200 wide:11 tight:1'],
      [get('/tight'), '200 wide:10 tight:0'],
      [get('/tight'), '429 wide:10 tight:0'],
      ...Array.from({ length: 10 }, (_, i) => [get(), `200 wide:${9 - i}`]),
      [get(), '429 wide:0']
    ]
  },
  {
    name: 'several limits: a refusal by one charges none of the others',
    config: {
      rateLimit: [
        limit({ name: 'day', limit: 6, algorithm: 'fixed-window' }),
        limit({ name: 'tight', limit: 2, algorithm: 'sliding-window' }),
        limit({ name: 'smooth', limit: 4 }),
        limit({ name: 'user', limit: 5, key: ['user'] })
      ]
    },
    steps: [
      [get(), '200 day:5 tight:1 smooth:3 user:4'],
      [get(), '200 day:4 tight:0 smooth:2 user:3'],
      ...times(4, [get(), '429 day:4 tight:0 smooth:2 user:3']),
      [call('get', 'day', K), 'allowed 4'],
      [call('get', 'smooth', K), 'allowed 2'],
      [call('reset', 'tight', K), 'done'],
      [get(), '200 day:3 tight:1 smooth:1 user:2'],
      [call('consume', 'smooth', K), 'allowed 0'],
      [get(), '429 day:3 tight:1 smooth:0 user:2'],
      [call('get', 'tight', K), 'allowed 1']
    ]
  },
  {
    name: 'several limits with different keys: by address, user, route and function',
    routes: ['/a', '/b', '/c'],
    config: {
      jwt,
      rateLimit: [
        limit({ name: 'ip', limit: 9 }),
        limit({ name: 'user', limit: 4, key: 'user' }),
        limit({ name: 'route', limit: 3, key: ['user', 'route'] }),
        limit({ name: 'tenant', limit: 7, key: (req) => req.headers.host.split(':')[0] })
      ]
    },
    steps: [
      [by(ADA, get('/a')), '200 ip:8 user:3 route:2 tenant:6'],
      [by(ADA, get('/b')), '200 ip:7 user:2 route:2 tenant:5'],
      [by(BOB, get('/a')), '200 ip:6 user:3 route:2 tenant:4'],
      [by(ADA, get('/a')), '200 ip:5 user:1 route:1 tenant:3'],
      [by(ADA, get('/A/')), '200 ip:4 user:0 route:0 tenant:2'],
      [by(ADA, get('/c')), '429 ip:4 user:0 route:3 tenant:2'],
      [by(BOB, get('/a')), '200 ip:3 user:2 route:1 tenant:1'],
      [call('get', 'route', ['ada', '/a']), 'refused 0'],
      [call('get', 'route', ['bob', '/a']), 'allowed 1'],
      [call('get', 'tenant', K), 'allowed 1']
    ]
  },
  {
    name: 'tiers: the most generous of the roles, and what is done by hand reaches all of them',
    config: {
      jwt,
      rateLimit: limit({ key: 'user', limit: 2, tiers: { silver: { limit: 3 }, gold: { limit: 5 } } })
    },
    steps: [
      [by(BOB, get()), '200 api:1'],
      [by(ADA, get()), '200 api:4'],
      [by(EVE, get()), '200 api:4'],
      [by({ sub: 'bob', role: 'silver' }, get()), '200 api:2'],
      [by(BOB, get()), '200 api:0'],
      [by(BOB, get()), '429 api:0'],
      [call('penalize', 'api', 'ada', 3), 'done'],
      [by(ADA, get()), '200 api:0'],
      [by(ADA, get()), '429 api:0'],
      [call('reward', 'api', 'ada', 2), 'done'],
      [by(ADA, get()), '200 api:1'],
      [call('block', 'api', 'eve', '1h'), 'done'],
      [by(EVE, get()), '429 api:0'],
      [by({ sub: 'eve', role: 'user' }, get()), '429 api:0'],
      [call('reset', 'api', 'eve'), 'done'],
      [by(EVE, get()), '200 api:4'],
      [call('reset', 'api', 'bob'), 'done'],
      [by(BOB, get()), '200 api:1'],
      [by({ sub: 'bob', role: 'silver' }, get()), '200 api:2']
    ]
  },
  {
    name: 'costs: a number, a function, nothing, and more than there is',
    config: {
      rateLimit: [
        limit({ name: 'fixed', limit: 10, cost: 2, paths: ['/fixed'] }),
        limit({ name: 'by', limit: 10, cost: (req) => Number(req.headers['x-cost'] ?? 1), paths: ['/by'] })
      ]
    },
    steps: [
      ...[8, 6, 4, 2, 0].map((left) => [get('/fixed'), `200 fixed:${left}`]),
      [get('/fixed'), '429 fixed:0'],
      [withHeader('x-cost', '4', get('/by')), '200 by:6'],
      [withHeader('x-cost', '0', get('/by')), '200 by:6'],
      [withHeader('x-cost', '7', get('/by')), '429 by:6'],
      [withHeader('x-cost', '11', get('/by')), '429 by:6'],
      [withHeader('x-cost', '4000000000', get('/by')), '429 by:6'],
      [withHeader('x-cost', '6', get('/by')), '200 by:0'],
      [withHeader('x-cost', '0', get('/by')), '200 by:0'],
      [withHeader('x-cost', '1', get('/by')), '429 by:0'],
      [call('consume', 'by', K, 0), 'allowed 0']
    ]
  },
  {
    name: 'costs in windows: nothing is lost where one limit costs and the other does not',
    config: {
      rateLimit: [
        limit({ name: 'reads', limit: 9, algorithm: 'fixed-window', cost: (req) => (req.method === 'GET' ? 1 : 0) }),
        limit({ name: 'writes', limit: 5, algorithm: 'sliding-window', cost: (req) => (req.method === 'POST' ? 1 : 0) }),
        limit({ name: 'all', limit: 7 })
      ]
    },
    steps: [
      [get(), '200 reads:8 writes:5 all:6'],
      [post(), '200 reads:8 writes:4 all:5'],
      [post(), '200 reads:8 writes:3 all:4'],
      [get(), '200 reads:7 writes:3 all:3'],
      [post(), '200 reads:7 writes:2 all:2'],
      [get(), '200 reads:6 writes:2 all:1'],
      [call('get', 'reads', K), 'allowed 6'],
      [call('get', 'writes', K), 'allowed 2']
    ]
  },
  {
    name: 'methods and paths: a limit counts what it is about',
    config: {
      rateLimit: [
        limit({ name: 'write', limit: 2, methods: ['POST', 'DELETE'] }),
        limit({ name: 'admin', limit: 4, paths: ['/admin/*', '/root'] })
      ]
    },
    steps: [
      [get('/'), '200'],
      [post('/'), '200 write:1'],
      [get('/admin/a'), '200 admin:3'],
      [get('/root'), '200 admin:2'],
      [get('/roots'), '200'],
      [post('/admin'), '200 write:0 admin:1'],
      [post('/admin/b'), '429 write:0 admin:1'],
      [get('/admin/b'), '200 admin:0'],
      [get('/admin/b'), '429 admin:0'],
      [post('/'), '429 write:0'],
      [get('/'), '200']
    ]
  },
  {
    name: 'custom keys: texts of any kind are apart',
    config: { rateLimit: limit({ limit: 2, key: (req) => decodeURIComponent(req.headers['x-key']) }) },
    steps: ['a', 'A', 'ab', 'é', '\u{1f511}', '{a}', 'a\nb', 'a b', '0', 'x'.repeat(2_000)].flatMap((key) => [
      [withHeader('x-key', encodeURIComponent(key)), '200 api:1'],
      [call('get', 'api', key), 'allowed 1'],
      [withHeader('x-key', encodeURIComponent(key)), '200 api:0'],
      [withHeader('x-key', encodeURIComponent(key)), '429 api:0']
    ])
  },
  {
    name: 'a user called like an address is not that address',
    config: { jwt: { ...jwt, optional: true }, rateLimit: limit({ key: 'user' }) },
    steps: [
      [by({ sub: K }, get()), '200 api:2'],
      [get(), '200 api:2'],
      [by({ sub: K }, get()), '200 api:1'],
      [call('get', 'api', K), 'allowed 1']
    ]
  },
  {
    name: 'blocks of two limits of one key do not touch each other, nor what both have counted',
    config: { rateLimit: [limit({ name: 'a', algorithm: 'sliding-window', paths: ['/a'] }), limit({ name: 'b', algorithm: 'fixed-window', paths: ['/b'] })] },
    steps: [
      [get('/a'), '200 a:2'],
      [get('/b'), '200 b:2'],
      [call('block', 'a', K, '1h'), 'done'],
      [get('/a'), '429 a:0'],
      [get('/b'), '200 b:1'],
      [call('block', 'b', K, '1h'), 'done'],
      [get('/b'), '429 b:0'],
      [call('reset', 'a', K), 'done'],
      [get('/a'), '200 a:2'],
      [get('/b'), '429 b:0'],
      [call('block', 'b', K, '1ms'), 'done'],
      [{ pause: 1_100 }, 'done'],
      [get('/b'), '200 b:0']
    ]
  },
  {
    name: 'calls that are not awaited take effect in their order',
    config: { rateLimit: limit() },
    steps: [
      [{ calls: [call('consume', 'api', K), call('penalize', 'api', K, 2), call('consume', 'api', K), call('reset', 'api', K), call('consume', 'api', K, 2)] }, 'allowed 2, done, refused 0, done, allowed 1'],
      [get(), '200 api:0']
    ]
  },
  {
    name: 'a route with limits of its own: those of the guard count once',
    config: { rateLimit: limit({ name: 'all', limit: 5 }) },
    route: { rateLimit: limit({ name: 'login', limit: 2 }) },
    steps: [
      [get(), '200 all:4'],
      [get('/route'), '200 login:1'],
      [get('/route'), '200 login:0'],
      [get('/route'), '429 login:0'],
      [call('get', 'all', K), 'allowed 1'],
      [call('get', 'login', K), 'refused 0']
    ]
  }
]

/** Runs a case over a store (the option `store`), and asserts every answer. */
export async function runCase({ config, route, routes = [], steps }, store) {
  // These are about limits, and not every store can keep revocations.
  const revocation = config.jwt === undefined ? {} : { revocation: false }
  const guard = createGuard({ ...config, ...revocation, ...(store === undefined ? {} : { store }) })
  const app = express()
  // Behind `app.use` no route has a pattern yet.
  for (const path of routes) app.all(path, guard.securityStack(), (req, res) => res.send('ok'))
  app.use(guard.securityStack())
  if (route !== undefined) app.use('/route', guard.securityStack(route))
  app.use((req, res) => res.send('ok'))
  await guard.ready()
  await serve(app, async (send) => {
    for (const [i, [step, wanted]] of steps.entries()) {
      const seen = await take(step, guard, send)
      assert.equal(seen, wanted, `step ${i}: ${JSON.stringify(step)}`)
    }
  })
  await guard.close()
}

async function take({ request, claims, method, args, calls, pause }, guard, send) {
  if (pause !== undefined) {
    await new Promise((resolve) => setTimeout(resolve, pause))
    return 'done'
  }
  if (calls !== undefined) return (await Promise.all(calls.map((one) => take(one, guard)))).join(', ')
  if (method !== undefined) return told(await guard.limits[method](...args))
  const token = claims === undefined ? {} : bearer((await guard.tokens.issue(claims)).accessToken)
  const { status, headers } = await send({ ...request, headers: { ...request.headers, ...token } })
  const left = [...(headers.ratelimit ?? '').matchAll(/"([^"]+)";r=(\d+)/g)].map(([, name, remaining]) => `${name}:${remaining}`)
  return [status, ...left].join(' ')
}

function told(state) {
  if (state === undefined) return 'done'
  const { allowed, remaining, blockedFor } = state
  return `${allowed ? 'allowed' : 'refused'} ${remaining}${blockedFor > 0 ? ' blocked' : ''}`
}

// Routes and spellings of requests at random, against the routers of Express: the rules that are
// asked are those of the handler that runs, or the answer is 4xx. KEEPSTONE_ROUTES (or the first
// argument) is the number of requests, KEEPSTONE_SEED chooses them.

import test from 'node:test'
import assert from 'node:assert/strict'
import http from 'node:http'
import { createRequire } from 'node:module'
import { createGuard } from 'keepstone'
import { decodingRouterOf, inOrder, randomOf, routerOf, routers, routesOf, spellingOf } from './helpers/routes.mjs'

const native = createRequire(import.meta.url)('../native.js')

const COUNT = Number(process.env.KEEPSTONE_ROUTES ?? process.argv[2] ?? 20_000)
const SEED = Number(process.env.KEEPSTONE_SEED ?? 11)
const PER_SET = 100

/**
 * The most literal routes at random that a document may have together, with their number in the
 * core.
 */
function documentOf(random, guard) {
  let routes = routesOf(random)
  for (;;) {
    const paths = {}
    for (const { method, path } of routes) {
      const parameters = [...path.matchAll(/\{(.*?)\}/g)].map(([, name]) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
      paths[path] = { ...paths[path], [method.toLowerCase()]: { parameters, responses: {} } }
    }
    const doc = { openapi: '3.1.0', info: { title: 't', version: '1' }, paths }
    const { ok, error } = JSON.parse(native.openApi(guard, JSON.stringify(doc), '{}'))
    if (error === undefined) {
      const numbers = ok.operations.map(({ method, path }) => ({ method, path }))
      return { api: ok.api, routes, numbers }
    }
    // A set with routes that could be taken for one another is refused.
    if (routes.length === 1) routes = routesOf(random)
    else routes = routes.toSpliced(random.below(routes.length), 1)
  }
}

test('the operation whose rules are asked is the one whose handler runs, or the answer is 4xx', (t) => {
  const { guard } = JSON.parse(native.createGuard(JSON.stringify({ rateLimit: false }))).ok
  const seen = { requests: 0, refused: 0, ran: 0, unknown: 0 }
  for (let set = 0; seen.requests < COUNT; set += 1) {
    const random = randomOf(SEED * 1_000_003 + set)
    const document = documentOf(random, guard)
    const routes = inOrder(document.routes)
    const tried = [...routers.map((router) => [router[0], routerOf(router, routes)]), ['a router that decodes', decodingRouterOf(routes)]]
    for (let i = 0; i < PER_SET; i += 1) {
      const [method, url] = spellingOf(random, routes)
      seen.requests += 1
      const found = native.openApiFind(document.api, method, url, '')
      if (found[0] === 'x') {
        // 404: two operations fit, and neither is the more literal one.
        assert.ok(['400', '404'].includes(found.split('\n')[1]))
        seen.refused += 1
        continue
      }
      const end = found.indexOf('\n')
      const asked = found[0] === '=' ? document.numbers[Number(found.slice(1, end))] : undefined
      for (const [name, router] of tried) {
        const ran = router?.(method, url) ?? null
        if (ran === null) continue
        const { method: handles, path } = routes[ran.number]
        const what = `${name}, seed ${SEED}, set ${set}: ${method} ${url} runs ${handles} ${path}, asked were the rules of ${JSON.stringify(asked ?? found)}, of ${JSON.stringify(routes)}`
        assert.deepEqual({ method: handles, path }, asked, what)
        if (ran.params !== undefined) assert.deepEqual(ran.params, JSON.parse(found.slice(end + 1) || '{}'), what)
        seen.ran += 1
      }
      if (asked === undefined) seen.unknown += 1
    }
    native.openApiRelease(document.api)
  }
  native.release(guard)
  isMixed(t, seen)
})

/** A request and its answer without a connection. */
function exchangeOf(method, url) {
  const req = new http.IncomingMessage({ remoteAddress: '192.0.2.1' })
  const res = new http.ServerResponse(req)
  return [Object.assign(req, { method, url, rawHeaders: ['Host', 'x'] }), res]
}

/** Runs a handler that answers at once; says whether the request has passed. */
function passes(handler, req, res) {
  let passed = false
  handler(req, res, () => {
    passed = true
  })
  if (!passed) assert.ok(res.writableEnded && res.statusCode >= 400 && res.statusCode < 500, String(res.statusCode))
  return passed
}

test('a limit on a path counts every request that the route of this path runs, or the answer is 4xx', (t) => {
  const seen = { requests: 0, refused: 0, ran: 0, unknown: 0 }
  for (let set = 0; seen.requests < COUNT / 2; set += 1) {
    const random = randomOf(SEED * 1_000_003 + set)
    // A limit writes these characters encoded.
    const routes = routesOf(random, true).filter(({ path }) => !/[*:()|]/.test(path))
    if (routes.length === 0) continue
    const limits = routes.map(({ path }, i) => ({ name: `r${i}`, limit: 1e6, window: '1h', paths: [i % 2 === 0 || path === '/' ? path : `${path}/*`] }))
    const guard = createGuard({ rateLimit: limits, csrf: false })
    const handler = guard.rateLimit()
    const tried = routes.flatMap(({ path }, i) => {
      const below = i % 2 === 1 && path !== '/'
      return routers.flatMap((router) => [path, ...(below ? [`${path}/{rest}`] : [])].map((path) => [`${router[0]} ${path}`, i, routerOf(router, [{ method: 'GET', path }])]))
    })
    for (let i = 0; i < PER_SET; i += 1) {
      const [, url] = spellingOf(random, [...routes, ...routes.map(({ path }) => ({ method: 'GET', path: `${path}/{rest}`.replace('//', '/') }))])
      seen.requests += 1
      const [req, res] = exchangeOf('GET', url)
      if (!passes(handler, req, res)) {
        seen.refused += 1
        continue
      }
      const counted = new Set(req.guard.limits.map(({ name }) => name))
      for (const [name, number, router] of tried) {
        if (router('GET', url) === null) continue
        assert.ok(counted.has(`r${number}`), `${name}, seed ${SEED}, set ${set}: GET ${url} is not counted by ${JSON.stringify(limits[number])}`)
        seen.ran += 1
      }
      if (counted.size === 0) seen.unknown += 1
    }
    guard.close()
  }
  isMixed(t, seen)
})

test('a rule that grants by the text of a path grants no request that another route runs', (t) => {
  const seen = { requests: 0, refused: 0, ran: 0, unknown: 0 }
  for (let set = 0; seen.requests < COUNT / 4; set += 1) {
    const random = randomOf(SEED * 1_000_003 + set)
    const routes = routesOf(random, true)
    const all = [...routes, { method: 'GET', path: '/{x}' }, { method: 'GET', path: '/{x}/{y}' }, { method: 'GET', path: '/{x}/{y}/{z}' }]
    const guard = createGuard({ policy: { policies: { 'p.rego': policyOf(routes) }, query: 'data.p.decision', limits: { timeMs: 1000 } }, csrf: false })
    const handler = guard.authorize()
    // With respect to case a route is only compared by the rule that minds it.
    const tried = routers.map((router) => [router[0], router[3].caseSensitive === true, routerOf(router, all)])
    for (let i = 0; i < PER_SET; i += 1) {
      const [, url] = spellingOf(random, routes)
      seen.requests += 1
      const [req, res] = exchangeOf('GET', url)
      if (!passes(handler, req, res)) {
        seen.refused += 1
        continue
      }
      const { reasons } = req.guard
      for (const [name, mindsCase, router] of tried) {
        const ran = router('GET', url)
        if (ran === null) continue
        const granted = reasons.filter((reason) => reason.startsWith('exact') || !mindsCase)
        if (granted.length === 0) continue
        // Two routes may have one text but for its case, and the first one runs.
        const same = granted.map((reason) => routes[Number(reason.split(' ')[1])].path.toLowerCase())
        const { path } = all[ran.number]
        assert.ok(same.includes(path.toLowerCase()), `${name}, seed ${SEED}, set ${set}: GET ${url} runs ${path}, granted by ${granted} of ${JSON.stringify(routes)}`)
        seen.ran += 1
      }
      if (reasons.length === 0) seen.unknown += 1
    }
    guard.close()
  }
  isMixed(t, { ...seen, unknown: 1 })
})

/** A policy that grants by the text of each path: as it is, and in lower and upper case. */
function policyOf(routes) {
  const rules = routes.map(({ path }, number) => {
    const segments = path.split('/').filter((segment) => segment !== '')
    const rule = (name, list, text) => `reasons contains "${name} ${number}" if ${list} == ${JSON.stringify(segments.map(text))}`
    return [
      rule('exact', 'input.path', (text) => text),
      rule('lower', '[lower(text) | some text in input.path]', (text) => text.toLowerCase()),
      rule('upper', '[upper(text) | some text in input.path]', (text) => text.toUpperCase())
    ].join('\n')
  })
  return `package p\nimport rego.v1\ndefault decision := {"allow": false}\ndecision := {"allow": true, "reasons": sort([text | some text in reasons])} if count(reasons) > 0\n${rules.join('\n')}\n`
}

/** A run in which everything is refused, or nothing runs, proves nothing. */
function isMixed(t, { requests, refused, ran, unknown }) {
  t.diagnostic(`${requests} requests: ${refused} refused, ${ran} handlers ran, ${unknown} without rules`)
  assert.ok(refused > requests / 20 && refused < requests * 0.95 && ran > requests / 4 && unknown > 0)
}

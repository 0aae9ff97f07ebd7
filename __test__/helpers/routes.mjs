// Route sets as an OpenAPI document has them, their translation for Express, and odd spellings of
// requests for them.

import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

export const routers = [
  ['Express 4', require('express-4').Router, pattern4],
  ['Express 5', require('express').Router, pattern5]
].flatMap(([name, Router, patternOf]) => [
  [name, Router, patternOf, {}],
  [`${name}, case-sensitive`, Router, patternOf, { caseSensitive: true }],
  [`${name}, strict`, Router, patternOf, { strict: true }]
])

/** Numbers at random, the same for the same seed (mulberry32). */
export function randomOf(seed) {
  let state = seed >>> 0
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n) => Math.floor(random() * n)
  return { chance: (p) => random() < p, below, pick: (list) => list[below(list.length)] }
}

const LITERALS = [
  'a', 'b', 'ab', 'me', 'public', 'secret.json', 'a.b', 'a%2Eb', 'a-b', '~u', 'K', 's', '7:pay', 'a@b', 'a+b', 'a(b)', '$x', 'a*b', "it's", 'a,b;c=d',
  'a!', 'caf%C3%A9', 'caf%c3%a9', 'a%20b', 'a%25b', 'a&b', '_', '..a', 'a|b', 'a%7Cb'
]
const AFFIXES = [
  '{}.json', '{}:pay', 'v{}', 'v.{}', 'x.a{}', 'a-{}', 'a{}b', '{}s', '~{}', '{}.tar.gz', 'caf%C3%A9{}', '{}%20b', '{}%2Ejson', '$x{}', 'a:{}',
  '{}-x', 'x/a{}', '{}-{}', '{}:{}', '{}.{}', 'v{}.{}', 'a{}-b{}c', '{}...{}', '{}-{}.{}', '{}b{}', '{}%2D{}'
]
const VALUES = [
  '7', 'me', 'a', 'secret.json', '7:pay', 'a.b', 'v1', 'v.1.2', 'x.json.json', '.json', 'tar.gz', 'é', 'É', 'a b', 'a@b', '100%', 'a-x', 'K', 'ſ', 'İ',
  '\u212A', 'public', 'x.a', 'x.azx.a', 'a:b', '~u', 'b', 's', 'a%2Eb', 'caf%C3%A9', "'", '"', '|', 'a-x/a', '3-4', 'a-b-c', 'x..y', 'a-bx', 'ab'
]
const METHODS = ['GET', 'GET', 'GET', 'GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS']

/**
 * A few routes, `{ method, path }` with paths as OpenAPI writes them, whose segments often meet.
 */
export function routesOf({ chance, below, pick }, onlyLiterals = false) {
  const pool = Array.from({ length: 2 + below(4) }, () => (onlyLiterals || chance(0.55) ? pick(LITERALS) : pick(AFFIXES)))
  const routes = new Map()
  for (let i = 2 + below(8); i > 0; i -= 1) {
    const segments = Array.from({ length: chance(0.05) ? 0 : 1 + below(3) }, () => (!onlyLiterals && chance(0.3) ? '{}' : pick(pool)))
    let n = 0
    const slash = !onlyLiterals && segments.length > 0 && chance(0.2) ? '/' : ''
    const path = `/${segments.join('/')}${slash}`.replaceAll('{}', () => `{p${n++}}`)
    const method = onlyLiterals ? 'GET' : pick(METHODS)
    routes.set(`${method} ${path}`, { method, path })
  }
  return [...routes.values()]
}

/**
 * The more literal ones first, as a document means them and routes are to be registered; HEAD
 * before GET.
 */
export function inOrder(routes) {
  const rank = (segment) => (segment.includes('{') ? 2000 - decodeURIComponent(segment.replaceAll(/\{.*?\}/g, '')).length : 0)
  const ranks = ({ path }) => path.replace(/\/$/, '').split('/').map(rank)
  const order = (a, b) => {
    const [left, right] = [ranks(a), ranks(b)]
    for (let i = 0; i < Math.max(left.length, right.length); i += 1) {
      const difference = (left[i] ?? -1) - (right[i] ?? -1)
      if (difference !== 0) return difference
    }
    return Number(b.method === 'HEAD') - Number(a.method === 'HEAD')
  }
  return routes.toSorted(order)
}

/** A path of OpenAPI as a pattern of Express 4. */
function pattern4(path) {
  return translate(path, (text) => text.replace(/[.*+?^${}()[\]|\\:]/g, (c) => (c === '.' ? c : `\\${c}`)), (name, next) => (/^\w|^\(/.test(next) ? `:${name}([^/]+?)` : `:${name}`))
}

/** A path of OpenAPI as a pattern of Express 5. */
function pattern5(path) {
  return translate(path, (text) => text.replace(/[{}()[\]+?!:*\\]/g, '\\$&'), (name) => `:"${name}"`)
}

function translate(path, escape, parameter) {
  const parts = path.split(/\{(.*?)\}/)
  return parts.map((part, i) => (i % 2 === 0 ? escape(part) : parameter(part, parts[i + 1]))).join('')
}

/**
 * A router of Express that notes which route a request runs, and with which parameters; undefined
 * where Express has no pattern for a route.
 */
export function routerOf([, Router, patternOf, options], routes) {
  const router = Router(options)
  let ran
  for (const [number, { method, path }] of routes.entries()) {
    try {
      router[method.toLowerCase()](patternOf(path), (req) => {
        ran = { number, params: { ...req.params } }
      })
    } catch (error) {
      // Express 4 makes no regular expression of a parameter behind escaped parentheses.
      if (error instanceof SyntaxError) return undefined
      throw error
    }
  }
  return (method, url) => {
    ran = null
    const res = { setHeader() {}, set() {}, send() {}, end() {} }
    router.handle({ method, url, headers: {} }, res, () => {})
    return ran
  }
}

/** A router that decodes the path first, as others than Express do. */
export function decodingRouterOf(routes) {
  const text = (part) => decodeURIComponent(part).replace(/[.*+?^${}()[\]|\\/]/g, '\\$&')
  const compiled = routes.map(({ method, path }) => {
    const source = path.replace(/\/$/, '').split('/').map((segment) => segment.split(/\{.*?\}/).map(text).join('([^/]+)')).join('/')
    return { method, pattern: new RegExp(`^${source}/?$`, 'i') }
  })
  return (method, url) => {
    const path = url.split('?', 1)[0]
    let decoded
    try {
      decoded = decodeURIComponent(path)
    } catch {
      return null
    }
    const number = compiled.findIndex((route) => (route.method === method || (method === 'HEAD' && route.method === 'GET')) && route.pattern.test(decoded))
    return number === -1 ? null : { number }
  }
}

/** A request for one of the routes, or for a path that is like theirs, in a spelling at random. */
export function spellingOf(random, routes) {
  const { chance, pick } = random
  const { method, path } = pick(routes)
  let url = path.replaceAll(/\{.*?\}/g, () => valueOf(random))
  if (chance(0.1)) url = url.split('/').map((segment) => (chance(0.5) ? valueOf(random) : segment)).join('/')
  if (!url.startsWith('/')) url = `/${url}`
  if (chance(0.7)) url = disguised(random, url)
  if (chance(0.15)) url = url.endsWith('/') ? url.slice(0, -1) || '/' : `${url}/`
  if (chance(0.05)) url = pick([`/${url}`, `${url}/.`, `${url}/..`, `/..${url}`, url.replaceAll('/', '//'), `${url}/x`, `http://x${url}`, '*', `${url};a=b`])
  if (chance(0.1)) url += '?a=/b'
  return [chance(0.75) ? method : pick(METHODS), url]
}

function valueOf({ chance, pick }) {
  const value = pick(VALUES)
  const encoded = encodeURIComponent(value)
  return chance(0.8) || encodeURI(value) !== value ? encoded : value
}

/**
 * The same path in another spelling: cases change, characters are encoded, encodings are taken back
 * or doubled.
 */
function disguised({ chance, pick }, url) {
  const rate = pick([0.02, 0.1, 0.4])
  const hex = (c) => {
    const code = c.codePointAt(0).toString(16).padStart(2, '0')
    return `%${chance(0.5) ? code : code.toUpperCase()}`
  }
  return url.replaceAll(/%[0-9a-f]{2}|[^]/gi, (c, at) => {
    if (at === 0 || !chance(rate)) return c
    if (c.length === 3) return pick([c.toLowerCase(), c.toUpperCase(), `%25${c.slice(1)}`, decodedOf(c)])
    if (/[a-z]/i.test(c)) return chance(0.85) ? pick([c.toLowerCase(), c.toUpperCase()]) : hex(c)
    return c === '/' ? pick(['/', '//', '%2f', '/./']) : chance(0.8) ? hex(c) : pick([c, '"', '|', '\\', '%', '^', '.'])
  })
}

function decodedOf(encoding) {
  const c = String.fromCharCode(Number.parseInt(encoding.slice(1), 16))
  return /[!-"$->@-~]/.test(c) ? c : encoding
}

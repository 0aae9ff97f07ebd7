'use strict'

// The routes of an application, each with the handlers of a guard on its way, for
// `guard.toOpenApi`. Express 4 and 5 are read from their routers, Hono from its list of routes,
// Fastify from what the plugin has seen. Any other framework gives a list.

const { GuardError } = require('../errors.js')
const { joined, sampleOf, templateOf } = require('../openapi/paths.js')
const { kConversation, kHandlers, kRoutes } = require('../shared.js')
const { routerOf } = require('./node-http/route.js')

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']
/** What `app.all` is described as. */
const ALL = ['get', 'put', 'post', 'delete', 'patch']
const MAX_DEPTH = 32

/**
 * The routes of `app` that `guard` protects, `{ method, template, handlers }`, and `omitted`, the
 * others with the reason, `{ route, problem }`. `mounts` are routers and applications by the path
 * where they are mounted.
 */
function routesOf(app, { guard, mounts, wholeStack }) {
  const found = new Found(guard)
  const stack = stackOf(app)
  if (Array.isArray(app)) listed(app, found)
  else if (stack !== undefined) new Express(found, mounts).walk(stack, '', [], 0)
  else if (Array.isArray(app?.routes) && typeof app.fetch === 'function') hono(app.routes, found, wholeStack)
  else if (app?.server?.[kRoutes] !== undefined) fastify(app.server[kRoutes], found, wholeStack)
  else {
    throw new GuardError('`app` must be an application of Express or Hono, one of Fastify with the plugin of keepstone, or a list of { method, path, handlers }', {
      code: 'ERR_INVALID_ARGUMENT',
      path: 'app'
    })
  }
  return found
}

/** The routes so far. */
class Found {
  routes = []
  omitted = []

  constructor(guard) {
    this.guard = guard
  }

  /** Whether a handler is a layer of the guard. */
  isOwn(handler) {
    return typeof handler === 'function' && handler.guard === this.guard
  }

  add(method, path, handlers) {
    const name = `${method.toUpperCase()} ${String(path)}`
    const own = handlers.filter((handler) => this.isOwn(handler))
    if (own.length === 0) return
    if (own.some((handler) => handler[kConversation] === undefined)) {
      this.omitted.push({ route: name, problem: 'a document of its own guards it (fromOpenApi)' })
      return
    }
    const template = templateOf(path)
    if (template === null) this.omitted.push({ route: name, problem: 'its path is a pattern that OpenAPI has no words for' })
    else if (!METHODS.includes(method)) this.omitted.push({ route: name, problem: 'OpenAPI has no such method' })
    else this.routes.push({ method, template, handlers: own })
  }
}

const stackOf = (app) => {
  if (typeof app !== 'function') return undefined
  const stack = Array.isArray(app.stack) ? app.stack : routerOf(app)?.stack
  return Array.isArray(stack) ? stack : undefined
}

function listed(list, found) {
  for (const [i, entry] of list.entries()) {
    const { method, path, handlers } = entry ?? {}
    if (typeof method !== 'string' || typeof path !== 'string' || !Array.isArray(handlers)) {
      throw new GuardError(`\`app[${i}]\` must be { method, path, handlers }: two strings and a list`, { code: 'ERR_INVALID_ARGUMENT', path: `app[${i}]` })
    }
    found.add(method.toLowerCase(), path, handlers.flat())
  }
}

/** Express, Connect-like routers. */
class Express {
  #found
  #mounts

  constructor(found, mounts) {
    this.#found = found
    this.#mounts = Object.entries(mounts).map(([path, router]) => ({ path, router, isUsed: false }))
    for (const { path, router } of this.#mounts) {
      if (stackOf(router) !== undefined && templateOf(path) !== null) continue
      throw new GuardError(`\`options.mounts.${path}\` must be a router or an application of Express under the path where it is mounted`, {
        code: 'ERR_INVALID_OPTION',
        path: `options.mounts.${path}`
      })
    }
  }

  /** `before` are the layers that run earlier: `[layer, base]`. */
  walk(stack, base, before, depth) {
    if (depth > MAX_DEPTH) return
    const earlier = [...before]
    for (const layer of stack) {
      const { route, handle } = layer
      if (route) this.#route(route, base, earlier)
      else if (Array.isArray(handle.stack)) this.#router(layer, handle, base, earlier, depth)
      else if (handle.name === 'mounted_app') this.#application(base, earlier, depth)
      else earlier.push([layer, base])
    }
  }

  #route(route, base, earlier) {
    for (const text of [route.path].flat()) {
      const path = typeof text === 'string' ? joined(base, text) : text
      const template = templateOf(path)
      const sample = template === null ? null : sampleOf(template.path)
      const outer = sample === null ? earlier.map(([layer]) => layer.handle) : earlier.filter(([layer, at]) => runs(layer, sample, at)).map(([layer]) => layer.handle)
      const named = Object.keys(route.methods)
      // Express 5 lists all methods of Node for `app.all`.
      const methods = route.methods._all === true || named.length > METHODS.length ? ALL : named
      for (const method of methods) {
        const own = route.stack.filter((it) => it.method === undefined || it.method === method).map(({ handle }) => handle)
        this.#found.add(method, path, [...outer, ...own])
      }
    }
  }

  #router(layer, router, base, earlier, depth) {
    const given = this.#mounts.filter((mount) => mount.router === router)
    if (given.length === 0) {
      const path = mountOf(layer)
      if (path !== undefined) return this.walk(router.stack, joined(base, path), earlier, depth + 1)
      this.#found.omitted.push({ route: `routers under ${base === '' ? '/' : base}`, problem: 'the path where a router is mounted, which Express does not tell: name it in `mounts`' })
    }
    for (const mount of given.filter(({ isUsed }) => !isUsed)) {
      mount.isUsed = true
      this.walk(router.stack, mount.path, earlier, depth + 1)
    }
    return undefined
  }

  /** Applications inside of this one: the router does not name them. */
  #application(base, earlier, depth) {
    const given = this.#mounts.filter(({ router, isUsed }) => !isUsed && router.mountpath !== undefined && router.parent !== undefined)
    if (given.length === 0) this.#found.omitted.push({ route: `applications under ${base === '' ? '/' : base}`, problem: 'an application that is mounted, which Express does not tell: name it in `mounts`' })
    for (const mount of given) {
      mount.isUsed = true
      this.walk(stackOf(mount.router), mount.path, earlier, depth + 1)
    }
  }
}

/** Whether a layer that is mounted under `base` runs for a path. */
function runs(layer, path, base) {
  const front = sampleOf(templateOf(base === '' ? '/' : base)?.path ?? '/')
  const rest = front === '/' ? path : path.slice(front.length)
  try {
    return Boolean(layer.match(rest === '' ? '/' : rest))
  } catch {
    return false
  }
}

/** Where a router is mounted; undefined if that is not known. */
function mountOf({ regexp, slash, keys = [] }) {
  if (slash === true || regexp?.fast_slash === true) return '/'
  if (regexp === undefined) return undefined
  // Express 4 keeps the pattern of a path, and the names of its parameters.
  const names = keys.map(({ name }) => name)
  const pattern = /^\^(.*)\\\/\?\(\?=\\\/\|\$\)$/.exec(regexp.source)?.[1]
  const text = pattern?.replaceAll(/\\?\/?\(\?:\\?\/?\(\[\^\\?\/\]\+\?\)\)/g, (whole) => `${whole.startsWith('\\/') || whole.includes('(?:\\/') ? '/' : ''}:${names.shift()}`).replaceAll('\\', '')
  return text === undefined || templateOf(text) === null ? undefined : text
}

function hono(list, found, wholeStack) {
  const before = []
  const routes = new Map()
  for (const { method, path, handler } of list) {
    const known = handler[kHandlers]
    const own = known?.guard === found.guard ? (known.handlers ?? wholeStack()) : undefined
    if (method === 'ALL') {
      if (own !== undefined) before.push([path, own])
      continue
    }
    const key = `${method} ${path}`
    if (!routes.has(key)) {
      const template = templateOf(path)
      const sample = template === null ? null : sampleOf(template.path)
      const outer = before.filter(([pattern]) => sample === null || covers(pattern, sample)).flatMap(([, handlers]) => handlers)
      routes.set(key, { method: method.toLowerCase(), path, handlers: outer })
    }
    if (own !== undefined) routes.get(key).handlers.push(...own)
  }
  for (const { method, path, handlers } of routes.values()) found.add(method, path, handlers)
}

/** Whether a pattern of Hono's middleware fits a path. */
function covers(pattern, path) {
  const wanted = pattern.split('/').slice(1)
  const sent = path.split('/').slice(1)
  for (const [i, segment] of wanted.entries()) {
    if (segment === '*' && i === wanted.length - 1) return true
    if (sent[i] === undefined || (segment !== '*' && !segment.startsWith(':') && segment !== sent[i])) return false
  }
  return wanted.length === sent.length
}

function fastify(list, found, wholeStack) {
  const has = (method, path) => list.some(({ methods, url }) => url === path && methods.includes(method))
  for (const { guard, methods, url, stack } of list) {
    // Fastify adds a HEAD to each GET.
    if (stack === null || guard !== found.guard || (methods.includes('HEAD') && has('GET', url))) continue
    const handlers = stack === undefined ? wholeStack() : [stack].flat()
    for (const method of methods) found.add(method.toLowerCase(), url, handlers)
  }
}

module.exports = { routesOf }

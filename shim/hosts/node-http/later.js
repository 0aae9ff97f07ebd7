'use strict'

// Whether a later layer of a guard takes the body of a request: the routers of Express are searched
// as they would run. It is asked only for a body that a stack would refuse, or whose size is not
// announced. In doubt the answer is no, and the stack refuses.

const { kConversation, kTakesBody } = require('../../shared.js')
const { routerOf } = require('./route.js')

/** The most routers inside of each other that are searched. */
const MAX_DEPTH = 32

/** The operations of a document read bodies as the guard does. */
const AS_THE_GUARD = {}

/**
 * How the layer of `guard` reads the body that stands behind `handler` on this request's way,
 * before the end of its route, and declares its body: `{ maxBytes, timeout }`. Null if there is
 * none.
 */
function takerOf(req, handler, guard) {
  const { app, originalUrl, method } = req
  // A router inside of an application's application is not known from here.
  if (app === undefined || app.parent !== undefined || typeof originalUrl !== 'string') return null
  const path = originalUrl.split('?', 1)[0]
  if (!path.startsWith('/') || path.includes('#')) return null
  const stack = routerOf(app)?.stack
  if (!Array.isArray(stack)) return null
  const taking = (handle, base) => {
    if (handle.guard !== guard) return null
    return handle[kConversation]?.taking ?? (handle[kTakesBody]?.(req, base) === true ? AS_THE_GUARD : null)
  }
  const search = { handler, taking, method: method.toLowerCase(), isBehind: false }
  try {
    return searchRouter(stack, path, '', search, 0) || null
  } catch {
    // A parameter that can't be decoded: the router will answer.
    return null
  }
}

/**
 * The options of that layer, false if there is none, undefined where the router passes the request
 * on.
 */
function searchRouter(stack, path, base, search, depth) {
  if (depth > MAX_DEPTH) return false
  for (const layer of stack) {
    const { route, handle } = layer
    const match = layer.match(path)
    if (!match) continue
    let known
    if (route) {
      known = searchRoute(route, base, search)
    } else if (Array.isArray(handle.stack)) {
      // Express 4, and 5 before router 2.3, keep the matched path on the layer.
      const mount = match === true ? layer.path : match.path
      const rest = path.slice(mount.length)
      if (!path.startsWith(mount) || (rest !== '' && rest[0] !== '/' && mount !== '')) known = search.isBehind ? false : undefined
      else known = searchRouter(handle.stack, rest === '' ? '/' : rest, base + mount, search, depth + 1)
    } else {
      known = searchHandler(handle, base + (match === true ? layer.path : match.path), search)
    }
    if (known !== undefined) return known
  }
  return undefined
}

function searchRoute(route, base, search) {
  const { method } = search
  let runs = false
  for (const { method: own, handle } of route.stack) {
    const isOf = own === undefined || own === method || (method === 'head' && own === 'get' && !route.methods.head)
    if (!isOf || handle.length > 3) continue
    runs = true
    const known = searchHandler(handle, base, search)
    if (known !== undefined) return known
  }
  // The route answers: nothing behind it sees the body.
  return runs && search.isBehind ? false : undefined
}

function searchHandler(handle, base, search) {
  if (handle === search.handler) {
    // If it stands there twice, it is not known which one runs.
    if (search.isBehind) return false
    search.isBehind = true
    return undefined
  }
  if (!search.isBehind) return undefined
  const taking = search.taking(handle, base)
  if (taking !== null) return taking
  // An application inside of the application: its routes are not known from here.
  return handle.name === 'mounted_app' ? false : undefined
}

module.exports = { takerOf }

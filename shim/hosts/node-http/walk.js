'use strict'

// Searches the routers of Express as they would run for a request.

const { routerOf } = require('./route.js')

/** The most routers inside of each other that are searched. */
const MAX_DEPTH = 32

/**
 * Visits the handlers that the application of `req` would run for `method`, in their order, and
 * returns the first result of a visitor's method that is not undefined. `visitor` has these:
 *
 * - `handler(handle, base, method)`: one handler; `base` is the path at which it is mounted, and
 *   `method` that of a route that was given it, undefined if it runs for all
 * - `answered(last)`: a route has ended with the handler `last`, and has probably answered
 * - `routerAnswered()`: a router answers `OPTIONS` by itself, since it has routes for other methods
 * - `unknown()`: a part that can't be searched, such as an application inside of the application
 *
 * Undefined without such a result, and null if the request can't be followed: no Express, another
 * path than the router's, or a parameter that can't be decoded.
 */
function walk(req, method, visitor) {
  const { app, originalUrl } = req
  // A router inside of an application's application is not known from here.
  if (app === undefined || app.parent !== undefined || typeof originalUrl !== 'string') return null
  const path = originalUrl.split('?', 1)[0]
  if (!path.startsWith('/') || path.includes('#')) return null
  const stack = routerOf(app)?.stack
  if (!Array.isArray(stack)) return null
  try {
    return walkRouter(stack, path, '', method.toLowerCase(), visitor, 0)
  } catch {
    // A parameter that can't be decoded: the router will answer.
    return null
  }
}

function walkRouter(stack, path, base, method, visitor, depth) {
  if (depth > MAX_DEPTH) return visitor.unknown()
  let hasOthers = false
  for (const layer of stack) {
    const { route, handle } = layer
    const match = layer.match(path)
    if (!match) continue
    let known
    if (route) {
      hasOthers ||= !route.methods[method] && !route.methods._all
      known = walkRoute(route, base, method, visitor)
    } else if (Array.isArray(handle.stack)) {
      // Express 4, and 5 before router 2.3, keep the matched path on the layer.
      const mount = match === true ? layer.path : match.path
      const rest = path.slice(mount.length)
      if (!path.startsWith(mount) || (rest !== '' && rest[0] !== '/' && mount !== '')) known = visitor.unknown()
      else known = walkRouter(handle.stack, rest === '' ? '/' : rest, base + mount, method, visitor, depth + 1)
    } else {
      known = walkHandler(handle, base + (match === true ? layer.path : match.path), undefined, visitor)
    }
    if (known !== undefined) return known
  }
  return hasOthers && method === 'options' ? visitor.routerAnswered() : undefined
}

function walkRoute(route, base, method, visitor) {
  let last
  for (const { method: own, handle } of route.stack) {
    const isOf = own === undefined || own === method || (method === 'head' && own === 'get' && !route.methods.head)
    if (!isOf || handle.length > 3) continue
    last = handle
    const known = walkHandler(handle, base, own, visitor)
    if (known !== undefined) return known
  }
  return last === undefined ? undefined : visitor.answered(last)
}

function walkHandler(handle, base, method, visitor) {
  const known = visitor.handler(handle, base, method)
  if (known !== undefined) return known
  // An application inside of the application: its routes are not known from here.
  return handle.name === 'mounted_app' ? visitor.unknown() : undefined
}

module.exports = { walk }

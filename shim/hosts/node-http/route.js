'use strict'

// The position of a route among the routes of its application. Two routers may each have a route
// `/:id`. The mount path would distinguish them, but it is client input: `/t/:tenant` has as many
// values as there are tenants.

// Routes and their positions. A route is created once and kept.
const places = new WeakMap()

/**
 * The position of the running route: its index in its router, that router's index in the enclosing
 * one, and so on, such as `2.0.1`; the same in every process that builds the same application.
 * Empty for a route of the application itself, and if the application can't be searched.
 */
function placeOf(req) {
  const { route } = req
  if (typeof route !== 'object') return ''
  let place = places.get(route)
  if (place === undefined) {
    place = search(req.app, route)
    places.set(route, place)
  }
  return place
}

function search(app, route) {
  const found = positionIn(routerOf(app), route, new Set())
  // A route of the application itself is identified by its pattern, which `guard.limits` can name.
  if (found === null || (found.length === 1 && app.parent === undefined)) return ''
  // An application inside an application is identified by its mount pattern.
  const mounts = []
  for (let mounted = app; mounted.parent !== undefined; mounted = mounted.parent) mounts.unshift(String(mounted.mountpath))
  return [...mounts, found.join('.')].join(' ')
}

/**
 * Express 4 keeps its router as `_router`, and throws if `router` is read; Express 5 has `router`.
 */
function routerOf(app) {
  return app?._router ?? (app?.settings === undefined ? undefined : app.router)
}

function positionIn(router, route, seen) {
  const stack = router?.stack
  if (!Array.isArray(stack) || seen.has(router)) return null
  seen.add(router)
  for (let i = 0; i < stack.length; i += 1) {
    if (stack[i].route === route) return [i]
    const inner = positionIn(stack[i].handle, route, seen)
    if (inner !== null) return [i, ...inner]
  }
  return null
}

module.exports = { placeOf, routerOf }

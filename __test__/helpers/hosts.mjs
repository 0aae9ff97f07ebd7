// One API on every host that keepstone runs in. Each has the routes of `ROUTES`, with a stack of
// their own.

import http from 'node:http'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { after, before } from 'node:test'
import { serve as serveHono } from '@hono/node-server'
import Fastify from 'fastify'
import { Hono } from 'hono'
import { keepstone as fastifyPlugin } from 'keepstone/fastify'
import { keepstone as honoMiddleware } from 'keepstone/hono'
import { factsOfServer } from './facts.mjs'
import { send } from './http.mjs'

const require = createRequire(import.meta.url)

/**
 * A host: `start(guard, routes)` serves them and gives `{ port, stop }`. A route is `[method, path,
 * options, answer]`; `answer({ user, guard, body })` gives `[status, value]`, or a promise of it.
 */
export const hosts = [
  ['Express 5', (guard, routes) => startExpress(require('express'), guard, routes)],
  ['Express 4', (guard, routes) => startExpress(require('express-4'), guard, routes)],
  ['node:http', startPlain],
  ['Fastify', startFastify],
  ['Hono', startHono],
  ['guard.check', startCheck]
]

/**
 * Serves routes for the tests of the `describe` around it, and closes the guard after them. Returns
 * `ask(path, options)`, which sends a request; `ask.port()` is the port.
 */
export function serveRoutes(start, guard, routes) {
  let port
  let stop
  before(async () => ({ port, stop } = await start(guard, routes)))
  after(async () => {
    await stop()
    await guard.close()
  })
  return Object.assign((path, options = {}) => send(port, { path, ...options }), { port: () => port })
}

async function startExpress(express, guard, routes) {
  const app = express()
  for (const [method, path, options, answer] of routes) {
    app[method](path, ...guard.securityStack(options), async (req, res, next) => {
      try {
        const [status, value] = await answer(req)
        res.status(status).json(value)
      } catch (error) {
        next(error)
      }
    })
  }
  app.use(...guard.securityStack(), (req, res) => res.status(404).end())
  return await listen(http.createServer(app))
}

async function startPlain(guard, routes) {
  const stacks = routes.map(([, , options]) => guard.securityStack(options))
  const rest = guard.securityStack()
  return await listen(http.createServer((req, res) => {
    const { found, params } = routeOf(routes, req.method, req.url)
    req.params = params
    const stack = found === -1 ? rest : stacks[found]
    stack(req, res, async () => {
      const [status, value] = found === -1 ? [404, {}] : await routes[found][3](req)
      res.statusCode = status
      res.setHeader('Content-Type', 'application/json; charset=utf-8')
      res.end(JSON.stringify(value))
    })
  }))
}

async function startFastify(guard, routes) {
  const app = Fastify()
  await app.register(fastifyPlugin, { guard })
  for (const [method, path, options, answer] of routes) {
    app.route({
      method: method.toUpperCase(),
      url: path,
      exposeHeadRoute: true,
      config: { keepstone: options },
      handler: async (request, reply) => {
        const [status, value] = await answer(request)
        return reply.code(status).send(value)
      }
    })
  }
  await app.listen({ port: 0, host: '127.0.0.1' })
  return { port: app.server.address().port, stop: () => (app.server.closeAllConnections(), app.close()) }
}

async function startHono(guard, routes) {
  const app = new Hono()
  for (const [method, path, options, answer] of routes) {
    app.on(method.toUpperCase(), path, honoMiddleware(guard, options), async (c) => {
      const [status, value] = await answer({ user: c.get('user'), guard: c.get('guard'), body: c.get('body') })
      return c.json(value, status)
    })
  }
  app.use(honoMiddleware(guard))
  const server = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
  await once(server, 'listening')
  return { port: server.address().port, stop: () => stop(server) }
}

async function startCheck(guard, routes) {
  const stacks = routes.map(([, , options]) => guard.securityStack(options))
  const answer = async (req, res) => {
    const { found, params } = routeOf(routes, req.method, req.url)
    const facts = { ...factsOfServer(req, res), params, route: found === -1 ? '' : routes[found][1], source: req }
    const result = await (found === -1 ? guard.check(facts) : guard.check(facts, stacks[found]))
    for (const [name, value] of result.headers) res.setHeader(name, value)
    if (!result.allowed) return res.writeHead(result.status).end(result.body ?? '')
    res.once('close', () => result.end(res.writableFinished ? res.statusCode : undefined))
    const [status, value] = found === -1 ? [404, {}] : await routes[found][3](result)
    const text = JSON.stringify(value)
    const instead = result.checkResponse(status, text)
    res.writeHead(instead?.status ?? status, { 'Content-Type': instead?.type ?? 'application/json; charset=utf-8' })
    return res.end(instead?.body ?? text)
  }
  return await listen(http.createServer((req, res) => {
    // Nobody is answered who has gone away.
    answer(req, res).catch((error) => res.destroy(error.name === 'AbortError' ? undefined : error))
  }))
}

/** The first route that matches, as Express finds it, and its parameters. */
function routeOf(routes, method, url) {
  const path = url.split('?', 1)[0]
  for (const [found, [wanted, pattern]] of routes.entries()) {
    const match = new RegExp(`^${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`).exec(path)
    const asked = method === 'HEAD' ? 'GET' : method
    if (match !== null && (asked === wanted.toUpperCase() || (method === 'OPTIONS' && wanted !== 'options'))) return { found, params: { ...match.groups } }
  }
  return { found: -1, params: {} }
}

async function listen(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: server.address().port, stop: () => stop(server) }
}

async function stop(server) {
  server.close()
  server.closeAllConnections()
  await once(server, 'close')
}

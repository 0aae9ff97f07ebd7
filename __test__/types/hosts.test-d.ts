// The types of the other hosts, and of `guard.check`.

import Fastify from 'fastify'
import { Hono } from 'hono'
import { createGuard, type CheckResult } from 'keepstone'
import { RequestRefused, keepstone as fastifyPlugin } from 'keepstone/fastify'
import { keepstone as honoMiddleware } from 'keepstone/hono'
import { expect, type Equals } from './equals'

const guard = createGuard()

const app = Fastify()
app.register(fastifyPlugin, { guard })
// @ts-expect-error the plugin needs a guard
app.register(fastifyPlugin, {})
app.post('/orders', { config: { keepstone: { body: { type: 'object' } } } }, async (request) => [request.user?.sub, request.guard?.client])
app.get('/health', { config: { keepstone: false } }, async () => 'ok')
app.setErrorHandler((error, _request, reply) => (error instanceof RequestRefused ? reply.code(error.statusCode).send({ code: error.code }) : reply.send(error)))

const body = { type: 'object', properties: { sku: { type: 'string' } }, required: ['sku'] } as const
const hono = new Hono()
hono.post('/orders', honoMiddleware(guard, { body }), (c) => {
  const { sku } = c.get('body')
  expect<Equals<typeof sku, string>>()
  return c.json({ sku, client: c.get('guard').client, sub: c.get('user')?.sub })
})
hono.use(honoMiddleware(guard, undefined, { address: (c) => c.req.header('x-real-ip') ?? '' }))
hono.get('/admin', honoMiddleware(guard, guard.require({ role: 'admin' })), (c) => c.json({ sub: c.get('user')?.sub }))
hono.use(honoMiddleware(guard, [...guard.securityStack(), guard.require({ scope: 'a' })]))
// @ts-expect-error no such option
hono.use(honoMiddleware(guard, { bodi: {} }))

export async function check(request: Request): Promise<Response> {
  const result: CheckResult = await guard.check(
    { method: request.method, target: new URL(request.url).pathname, headers: request.headers, body: request.body, signal: request.signal },
    guard.securityStack({ body })
  )
  if (!result.allowed) return new Response(result.body, { status: result.status, headers: result.headers.map(([name, value]): [string, string] => [name, value]) })
  result.end(200)
  // @ts-expect-error a pass has no status
  return new Response(result.status)
}

app.post('/session/login', { config: { keepstone: { jwt: false } } }, async (_request, reply) => {
  const { expiresIn } = await guard.sessions.start(reply, { sub: 'ada' }, { persistent: false, expiresIn: '5m' })
  return { expiresIn }
})
app.post('/session/refresh', async (request, reply) => {
  await guard.sessions.renew(request, reply, { claims: ({ sub }) => ({ sub: sub ?? 'nobody' }) })
  return reply.code(204).send()
})
hono.post('/session/refresh', async (c) => {
  await guard.sessions.renew(c.req.raw, c.res.headers)
  return c.body(null, 204)
})
hono.post('/session/logout', async (c) => {
  await guard.sessions.end(c.req.raw, c.res.headers)
  // @ts-expect-error a context is no response
  await guard.sessions.end(c.req.raw, c)
  return c.body(null, 204)
})

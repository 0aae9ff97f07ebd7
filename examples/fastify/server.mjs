// A small API on Fastify behind the whole stack: node examples/fastify/server.mjs

import { randomBytes } from 'node:crypto'
import Fastify from 'fastify'
import { createGuard } from 'keepstone'
import { keepstone } from 'keepstone/fastify'

const guard = createGuard({
  // A secret of its own for each start is right for a demonstration only.
  jwt: { issuer: 'https://id.example.com', audience: 'orders', secret: process.env.JWT_SECRET ?? randomBytes(48).toString('base64') },
  rateLimit: { name: 'client', limit: 100, window: '60s' }
})

const Order = {
  type: 'object',
  required: ['sku', 'count'],
  properties: { sku: { type: 'string', pattern: '^[A-Z]{3}-[0-9]+$' }, count: { type: 'integer', minimum: 1, maximum: 100 } }
}

const app = Fastify()
await app.register(keepstone, { guard })

// Health checks of a load balancer: no token, no limit.
app.get('/health', { config: { keepstone: false } }, async () => ({ up: true }))

app.post('/orders', { config: { keepstone: { body: Order } } }, async (request, reply) => {
  return reply.code(201).send({ ...request.body, by: request.user.sub })
})

const url = await app.listen({ port: Number(process.env.PORT ?? 3000), host: '127.0.0.1' })
const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
console.log(`curl -i -H 'Authorization: Bearer ${accessToken}' --json '{"sku":"ABC-1","count":2}' ${url}/orders`)

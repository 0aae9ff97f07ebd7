// A small API on Hono behind the whole stack: node examples/hono/server.mjs

import { randomBytes } from 'node:crypto'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone } from 'keepstone/hono'

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

const app = new Hono()

// Health checks of a load balancer stand before the guard: no token, no limit.
app.get('/health', (c) => c.json({ up: true }))

app.post('/orders', keepstone(guard, { body: Order }), (c) => c.json({ ...c.get('body'), by: c.get('user').sub }, 201))
app.use(keepstone(guard))

serve({ fetch: app.fetch, port: Number(process.env.PORT ?? 3000), hostname: '127.0.0.1' }, async ({ port }) => {
  const { accessToken } = await guard.tokens.issue({ sub: 'ada' })
  console.log(`curl -i -H 'Authorization: Bearer ${accessToken}' --json '{"sku":"ABC-1","count":2}' http://127.0.0.1:${port}/orders`)
})

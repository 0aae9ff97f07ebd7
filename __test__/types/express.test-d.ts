// Mounting and inference in Express. Compiled against @types/express 4 and 5.
import { createServer } from 'node:http'
import express from 'express'
import guardModule, { createGuard } from 'keepstone'
import { Type } from 'typebox'
import { z } from 'zod'
import { expect, type Equals } from './equals'

declare global {
  namespace Express {
    interface User {
      sub: string
      roles: string[]
    }
  }
}

const app = express()
const guard = createGuard({
  rateLimit: {
    name: 'api',
    limit: 100,
    window: '60s',
    key: (req: express.Request) => req.ip ?? '',
    cost: (req) => (req.method === 'POST' ? 2 : 1),
  },
})

app.use(guard.securityStack())
app.use('/v1/auth', ...guard.securityStack())
app.use(guardModule.securityStack({ cors: { origins: ['https://app.example.com'] } }))
app.use(guard.headers(), guard.cors({ origins: ['https://app.example.com'] }), guard.rateLimit())
createServer().on('upgrade', async (req, socket, head) => {
  const passed: boolean = await guard.upgrade(req, socket, head, guard.securityStack({ cors: false }))
  if (passed) socket.end()
})
app.get('/jwks.json', guard.jwks())

// The body of the schema is the body of the handlers that follow.
app.post('/zod', guard.validate({ body: z.strictObject({ username: z.string() }) }), (req, res) => {
  expect<Equals<typeof req.body, { username: string }>>()
  // @ts-expect-error: not in the schema
  req.body.password
  res.json({ hello: req.body.username })
})
app.post('/typebox', guard.validate({ body: Type.Object({ username: Type.String() }) }), (req, res) => {
  expect<Equals<typeof req.body, { username: string }>>()
  res.json({ hello: req.body.username })
})
app.post(
  '/json-schema',
  guard.validate({ body: { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] } }),
  (req, res) => {
    expect<Equals<typeof req.body, { n: number }>>()
    res.json(req.body.n + 1)
  },
)

// Other handlers around it change nothing, and route parameters keep their types.
const page = guard.validate({ query: z.object({ page: z.coerce.number() }) })
app.post(
  '/users/:id',
  guard.authenticate(),
  page,
  guard.validate({ body: z.object({ a: z.number() }) }),
  guard.authorize(),
  (req, res, next) => {
    expect<Equals<typeof req.body, { a: number }>>()
    const id: string | string[] = req.params.id
    const { page: number } = page.valid(req)['query'] satisfies { page: number }
    res.json([id, number])
    next()
  },
)
app.post('/stack', ...guard.securityStack({ body: z.object({ b: z.boolean() }) }), (req, res) => {
  expect<Equals<typeof req.body, { b: boolean }>>()
  res.json(req.body.b)
})
app.post('/unspread', guard.securityStack({ body: z.object({ b: z.boolean() }) }), (req, res) => {
  expect<Equals<typeof req.body, { b: boolean }>>()
  res.json(req.body.b)
})
app.get('/unspread/:id', guard.securityStack(), (req, res) => {
  res.json(req.params.id.length)
})
app.use('/unspread', guard.securityStack(), guard.require({ scope: 'a' }), (req, res) => void res.json(req.path))
const paged = guard.securityStack({ query: { type: 'object', properties: { page: { type: 'integer' } }, required: ['page'] } })
app.get('/paged', ...paged, (req, res) => {
  const { page }: { page: number } = paged.valid(req).query
  res.json(page)
})
app.use(express.json({ verify: guard.captureRaw }), express.urlencoded({ extended: false, verify: guard.captureRaw }))

const form = guard.validate({ body: { type: 'object', properties: { amount: { type: 'integer' } }, required: ['amount'] }, payload: { types: ['form'] } })
app.post('/form', form, (req, res) => {
  expect<Equals<typeof req.body.amount, number>>()
  const valid = form.valid(req)
  expect<Equals<keyof typeof valid, 'body'>>()
  res.json(valid.body.amount)
})

app.post('/plain', ...guard.securityStack({ payload: { maxDepth: 4 } }), (req, res) => {
  res.json(req.body.anything)
})
express.Router().route('/routed').post(guard.validate({ body: z.object({ c: z.string() }) }), (req, res) => {
  res.json(req.body.c)
})

app.get('/me', guard.authenticate({ optional: true }), (req, res) => {
  expect<Equals<typeof req.user, Express.User | undefined>>()
  const roles: string[] = req.user?.roles ?? []
  const id: string | undefined = req.guard?.id
  const expires: number | undefined = req.guard?.token?.exp
  const left: number | undefined = req.guard?.limits[0]?.remaining
  res.json([roles, id, expires, left, req.guard?.client, req.guard?.reasons])
})

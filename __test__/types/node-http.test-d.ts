// Handlers in plain node:http, without Express or its types.
import { createServer } from 'node:http'
import { createGuard } from 'keepstone'
import { z } from 'zod'
import { expect, type Equals } from './equals'

const guard = createGuard({ hosts: ['api.example.com'] })
const [first] = guard.securityStack()
const signup = guard.validate({ body: z.object({ a: z.string() }) })

createServer((req, res) => {
  first?.(req, res, (error) => {
    if (error) return
    signup(req, res, () => {
      const { body } = signup.valid(req)
      expect<Equals<typeof body, { a: string }>>()
      res.end(body.a)
    })
  })
})

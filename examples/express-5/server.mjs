// A small API behind every layer of keepstone, on the embedded default: nothing to install but the
// package. Start it with `npm start` from the repository, or with `node
// examples/express-5/server.mjs` once it is built.

import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import express from 'express'
import { createGuard } from 'keepstone'

const ISSUER = 'https://secure.myapp.com'
const AUDIENCE = 'my-backend-app'

const guard = createGuard({
  cors: { origins: ['https://app.example.com'] },
  // A secret of its own for each start is right for a demonstration only: set JWT_SECRET to keep
  // tokens over restarts.
  jwt: { issuer: ISSUER, audience: AUDIENCE, secret: process.env.JWT_SECRET ?? randomBytes(32).toString('base64url') },
  rateLimit: [
    { name: 'client', limit: 100, window: '60s' },
    { name: 'user', limit: 60, window: '60s', key: 'user' }
  ],
  policy: {
    policies: fileURLToPath(new URL('policy', import.meta.url)),
    query: 'data.httpapi.authz.allow'
  }
})

const CreateUserSchema = {
  type: 'object',
  required: ['username', 'email', 'password'],
  additionalProperties: false,
  properties: {
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' },
    email: { type: 'string', format: 'email' },
    password: { type: 'string', minLength: 12 }
  }
}

const users = [{ username: 'ada' }]

const app = express()
app.use(guard.securityStack())

app.get('/api/v1/users', (req, res) => {
  res.json({ users, you: req.user.sub })
})

app.post('/api/v1/users', guard.validate({ body: CreateUserSchema }), (req, res) => {
  const { username } = req.body
  users.push({ username })
  res.status(201).json({ username })
})

app.post('/api/v1/logout', async (req, res) => {
  await guard.revoke.token(req.guard.token.jti, req.guard.token.exp)
  res.status(204).end()
})

const server = app.listen(Number(process.env.PORT ?? 3000), async (error) => {
  if (error) throw error
  const url = `http://localhost:${server.address().port}`
  const { accessToken } = await guard.tokens.issue({ sub: 'ada', role: 'admin' })
  const { accessToken: reader } = await guard.tokens.issue({ sub: 'bob', role: 'reader' })
  console.log(`keepstone protects ${url}

Paste these first:
  URL=${url}
  TOKEN=${accessToken}
  READER=${reader}

It answers whom it should (200, 201):
  curl -i -H "Authorization: Bearer $TOKEN" $URL/api/v1/users
  curl -i -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"username":"grace","email":"grace@example.com","password":"correct horse battery"}' $URL/api/v1/users

And refuses, layer by layer:
  token:      curl -i $URL/api/v1/users                                                        # 401
  token:      curl -i -H "Authorization: Bearer \${TOKEN}x" $URL/api/v1/users                    # 401
  policy:     curl -i -H "Authorization: Bearer $READER" $URL/api/v1/users                      # 403
  schema:     curl -i -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"username":"x","email":"a@b","password":"short","admin":true}' $URL/api/v1/users   # 422
  bytes:      curl -i -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"username":"a","username":"b"}' $URL/api/v1/users   # 400
  media type: curl -i -H "Authorization: Bearer $TOKEN" -d 'a=b' $URL/api/v1/users               # 415
  path:       curl -i --path-as-is -H "Authorization: Bearer $TOKEN" "$URL/api//v1/users"       # 400
  CORS:       curl -i -X OPTIONS -H 'Origin: https://evil.example' -H 'Access-Control-Request-Method: GET' $URL/api/v1/users   # 403
  limit:      for i in $(seq 101); do curl -s -o /dev/null -w '%{http_code} ' -H "Authorization: Bearer $TOKEN" $URL/api/v1/users; done   # 429 at the end
  revocation: curl -i -X POST -H "Authorization: Bearer $READER" $URL/api/v1/logout; curl -i -H "Authorization: Bearer $READER" $URL/api/v1/users   # 204, then 401
`)
})

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close()
    server.closeIdleConnections()
  })
}

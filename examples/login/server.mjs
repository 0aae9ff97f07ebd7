// Login, sessions and logout on node:http alone: node examples/login/server.mjs

import http from 'node:http'
import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto'
import { createGuard } from 'keepstone'

const secret = process.env.JWT_SECRET ?? randomBytes(48).toString('base64')
const guard = createGuard({
  jwt: { issuer: 'https://id.example.com', audience: 'app', secret, from: [{ cookie: '__Host-token' }], refresh: true },
  sessions: {},
  rateLimit: [
    { name: 'all', limit: 600, window: '1m' },
    { name: 'login', limit: 5, window: '15m', paths: ['/session/login'], count: 'failed' }
  ]
})

// The table of users; a password is stored as scrypt makes it.
const hash = (password, salt) => scryptSync(password, salt, 32)
const salt = randomBytes(16)
const users = new Map([['ada@example.com', { id: 'u1', role: 'reader', salt, hash: hash('correct horse battery', salt) }]])
const nobody = { salt, hash: randomBytes(32) }

/** The user with this password; an unknown address takes as long as a wrong password. */
function find({ email, password }) {
  const user = users.get(email) ?? nobody
  return timingSafeEqual(hash(password, user.salt), user.hash) && user !== nobody ? user : null
}

const Login = {
  type: 'object',
  required: ['email', 'password'],
  additionalProperties: false,
  properties: { email: { type: 'string', maxLength: 254 }, password: { type: 'string', maxLength: 200 } }
}
const open = guard.securityStack({ jwt: false }) // a refresh comes with an expired token
const login = guard.securityStack({ jwt: false, body: Login })
const closed = guard.securityStack()
const refresh = guard.sessions.refresh()
const logout = guard.sessions.logout()

const json = (res, status, value) => res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(value))

const routes = {
  'POST /session/login': [login, async (req, res) => {
    const user = find(req.body)
    if (user === null) return json(res, 401, { code: 'wrong_login' })
    await guard.sessions.start(res, { sub: user.id, role: user.role })
    res.writeHead(204).end()
  }],
  'POST /session/refresh': [open, refresh],
  'POST /session/logout': [open, logout],
  'GET /me': [closed, (req, res) => json(res, 200, { id: req.user.sub, role: req.user.role })]
}

const server = http.createServer((req, res) => {
  const [stack, handle] = routes[`${req.method} ${req.url.split('?', 1)[0]}`] ?? [closed, (_, res) => json(res, 404, {})]
  const fail = () => (res.headersSent ? res.destroy() : json(res, 500, { code: 'failed' }))
  stack(req, res, async () => {
    try {
      await handle(req, res, fail)
    } catch {
      fail()
    }
  })
})
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`http://localhost:${server.address().port}, as ada@example.com with "correct horse battery"`)
})

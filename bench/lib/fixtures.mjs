// What every stack is sent: tokens, bodies, and the bad ones that a protected stack must refuse.

import { createHmac, randomBytes, randomUUID } from 'node:crypto'

export const issuer = 'https://secure.myapp.com'
export const audience = 'my-backend-app'
export const origins = ['https://app.example.com']
export const secret = randomBytes(32).toString('hex')

/** The articles' kind of policy; only keepstone evaluates it. */
export const policy = `package httpapi.authz

default allow = false

allow {
  input.method == "POST"
  input.path == ["v1", "users"]
  input.user.role == "admin"
}

allow {
  input.method == "GET"
  some id
  input.path == ["v1", "users", id]
  input.user.sub == id
}

allow {
  input.method == "GET"
  input.path == ["v1", "health"]
}
`

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** The claims of one user; `over` replaces single ones. */
export function claims(user, over = {}) {
  const now = Math.floor(Date.now() / 1000)
  return {
    iss: issuer,
    aud: audience,
    sub: `user-${user}`,
    role: 'admin',
    jti: randomUUID(),
    iat: now,
    exp: now + 3600,
    ...over,
  }
}

/** A compact HS256 token. */
export function sign(payload, { key = secret, header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const input = `${encode(header)}.${encode(payload)}`
  const signature = header.alg === 'none' ? '' : createHmac('sha256', key).update(input).digest('base64url')
  return `${input}.${signature}`
}

export function body(user) {
  const name = `user${String(user).padStart(4, '0')}`
  return { username: name, email: `${name}@example.com`, password: `correct-horse-${user % 10}` }
}

/** 64 users, a token and a body each. */
export function requests(count = 64) {
  return Array.from({ length: count }, (_, user) => ({ token: sign(claims(user)), body: JSON.stringify(body(user)) }))
}

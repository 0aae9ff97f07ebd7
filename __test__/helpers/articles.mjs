// The cases of the articles that the product answers: names and values are theirs.

export const ISSUER = 'https://secure.myapp.com'
export const AUDIENCE = 'my-backend-app'
export const SECRET = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV'

export const jwt = { issuer: ISSUER, audience: AUDIENCE, secret: SECRET }

export const CreateUserSchema = {
  type: 'object',
  required: ['username', 'email', 'password'],
  additionalProperties: false,
  properties: {
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' },
    email: { type: 'string', format: 'email' },
    password: { type: 'string', minLength: 12 }
  }
}

export const goodUser = { username: 'grace', email: 'grace@example.com', password: 'correct horse battery' }

export const policyText = `package httpapi.authz
default allow = false
allow {
  input.method = "GET"
  input.path = ["api","v1","users"]
  input.user.role = "admin"
}
`

export const policy = { policies: { 'authz.rego': policyText }, query: 'data.httpapi.authz.allow' }

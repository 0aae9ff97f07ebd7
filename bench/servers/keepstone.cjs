'use strict'

// keepstone with every layer on, built from this repository. `--layers` switches single layers off.

const express = require('express')
const { settings, SignupSchema, on, serve } = require('./harness.cjs')
const { createGuard } = require(process.env.KEEPSTONE_ROOT)

const { client, user } = settings.limits
const config = {
  headers: on('headers') ? undefined : false,
  cors: on('cors') ? { origins: settings.origins } : false,
  rateLimit: on('limit') && [
    { name: 'client', limit: client, window: '60s' },
    ...(on('jwt') ? [{ name: 'user', limit: user, window: '60s', key: 'user' }] : []),
  ],
  jwt: on('jwt') && {
    issuer: settings.issuer,
    audience: settings.audience,
    secret: settings.secret,
  },
  revocation: on('revocation') ? undefined : false,
  policy: on('policy') && { policies: { 'authz.rego': settings.policy }, query: 'data.httpapi.authz.allow' },
}
for (const key of Object.keys(config)) if (config[key] === undefined) delete config[key]

async function main() {
  const guard = createGuard(config)
  await guard.ready()
  const app = express()
  if (settings.variant === 'app') {
    app.use(guard.securityStack())
    app.post('/v1/users', guard.validate({ body: SignupSchema }))
  } else {
    app.use('/v1/users', ...guard.securityStack(on('body') ? { body: SignupSchema } : {}))
  }
  // Where no layer asks for the body, Express reads it.
  if (!on('body')) app.use(express.json())
  serve(app, { revoke: (token) => guard.revoke.token(token) })
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})

'use strict'

// What the four servers share: settings from the parent, the one route's handler, and the answers to the parent's
// questions. Whatever differs between the stacks is in their own files.

const settings = JSON.parse(process.env.BENCH_SETTINGS)

/** The same constraints as the zod schema in articles.cjs; here for ajv and keepstone. */
const SignupSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['username', 'email', 'password'],
  properties: {
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[A-Za-z0-9_]+$' },
    email: { type: 'string', format: 'email', maxLength: 254 },
    password: { type: 'string', minLength: 12, maxLength: 128 },
  },
}

/** Whether this run has the layer switched on; only `--layers` switches any off. */
const on = (layer) => settings.layers.includes(layer)

let served = 0

function handler(req, res) {
  served += 1
  res.status(201).json({ ok: true, name: req.body.username })
}

/** Adds the route, listens on a free loopback port and tells the parent which. `revoke` takes a token and its claims. */
function serve(app, { revoke } = {}) {
  app.post('/v1/users', handler)

  process.on('message', async ({ id, ask, token, claims }) => {
    try {
      if (ask === 'usage') process.send({ id, served, cpu: process.cpuUsage() })
      else if (ask === 'revoke') {
        await revoke(token, claims)
        process.send({ id })
      }
    } catch (error) {
      process.send({ id, error: String(error && error.stack) })
    }
  })
  process.on('disconnect', () => process.exit(0))

  const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }))
}

module.exports = { settings, SignupSchema, on, serve }

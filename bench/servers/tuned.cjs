'use strict'

// The best we know how to do with the packages of today: a cached verifier, a compiled schema, and one round trip to
// Redis in which both limits and the revocation lookup travel together. `--layers` switches single layers off.

const express = require('express')
const helmet = require('helmet')
const cors = require('cors')
const Redis = require('ioredis')
const { RateLimiterRedis } = require('rate-limiter-flexible')
const { createVerifier } = require('fast-jwt')
const Ajv = require('ajv')
const addFormats = require('ajv-formats')
const { settings, SignupSchema, on, serve } = require('./harness.cjs')

const [jwt, limit, revocation] = [on('jwt'), on('limit'), on('revocation')]
const redis = new Redis(settings.redis, { enableAutoPipelining: true })

const verify = createVerifier({
  key: settings.secret,
  algorithms: ['HS256'],
  allowedIss: settings.issuer,
  allowedAud: settings.audience,
  requiredClaims: ['iss', 'aud', 'exp', 'sub', 'jti'],
  cache: true,
  // The token itself as the key: fast-jwt's own advice for speed. Its default hashes the token on every request.
  cacheKeyBuilder: (token) => token,
})

const validSignup = addFormats(new Ajv({ allErrors: false })).compile(SignupSchema)

const limiter = (keyPrefix, points) =>
  new RateLimiterRedis({ storeClient: redis, keyPrefix, points, duration: 60, rejectIfRedisNotReady: true })
const clientLimiter = limiter('client', settings.limits.client)
const userLimiter = limiter('user', settings.limits.user)

function claimsOf(req) {
  const header = req.headers.authorization
  if (header === undefined || !header.startsWith('Bearer ')) return null
  try {
    return verify(header.slice(7))
  } catch {
    return null
  }
}

async function admit(req, res, next) {
  const user = jwt ? claimsOf(req) : null
  try {
    // All at once: ioredis sends what is asked for within one tick as one pipeline.
    const [revoked] = await Promise.all([
      revocation && user !== null ? redis.exists(`blacklist:${user.jti}`) : 0,
      // An attempt without a good token counts against its address as well.
      limit ? clientLimiter.consume(req.ip) : null,
      limit && user !== null ? userLimiter.consume(user.sub) : null,
    ])
    if (jwt && user === null) return res.status(401).json({ error: 'Invalid token' })
    if (revoked !== 0) return res.status(401).json({ error: 'Token revoked' })
  } catch (refused) {
    if (refused instanceof Error) return next(refused)
    return res.status(429).json({ error: 'Too many requests' })
  }
  req.user = user
  next()
}

function validate(req, res, next) {
  if (validSignup(req.body)) return next()
  res.status(422).json({ errors: validSignup.errors })
}

const stack = []
if (on('headers')) stack.push(helmet())
if (on('cors')) stack.push(cors({ origin: settings.origins }))
if (limit || jwt) stack.push(admit)
stack.push(express.json())
if (on('body')) stack.push(validate)

const app = express()
app.use('/v1/users', ...stack)

redis.once('ready', () =>
  serve(app, {
    revoke: (token, { jti, exp }) => redis.set(`blacklist:${jti}`, '1', 'EX', exp - Math.floor(Date.now() / 1000)),
  }),
)

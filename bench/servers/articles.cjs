'use strict'

// The stack as security articles glue it: one package per layer, each with its own trip to Redis.
// The OPA sidecar is left out, which spares this stack an HTTP call per request.

const { createSecretKey } = require('node:crypto')
const express = require('express')
const helmet = require('helmet')
const cors = require('cors')
const Redis = require('ioredis')
const { RateLimiterRedis } = require('rate-limiter-flexible')
const jwt = require('jsonwebtoken')
const { z } = require('zod')
const { settings, serve } = require('./harness.cjs')

const redis = new Redis(settings.redis)

// A string, as the articles have it, makes jsonwebtoken 9 try to parse it as a public key on every call.
const secret =
  settings.variant === 'keyobject' ? createSecretKey(Buffer.from(settings.secret)) : settings.secret

const Signup = z.strictObject({
  username: z.string().min(3).max(20).regex(/^[A-Za-z0-9_]+$/),
  email: z.email().max(254),
  password: z.string().min(12).max(128),
})

const clientLimiter = new RateLimiterRedis({
  storeClient: redis,
  keyPrefix: 'client',
  points: settings.limits.client,
  duration: 60,
})
const userLimiter = new RateLimiterRedis({
  storeClient: redis,
  keyPrefix: 'user',
  points: settings.limits.user,
  duration: 60,
})

const limit = (limiter, key) => async (req, res, next) => {
  try {
    await limiter.consume(key(req))
  } catch (refused) {
    if (refused instanceof Error) return next(refused)
    return res.status(429).json({ error: 'Too many requests' })
  }
  next()
}

async function authenticate(req, res, next) {
  const token = req.headers.authorization?.split(' ')[1]
  if (!token) return res.status(401).json({ error: 'Missing token' })
  let claims
  try {
    claims = jwt.verify(token, secret, {
      algorithms: ['HS256'],
      issuer: settings.issuer,
      audience: settings.audience,
    })
  } catch {
    return res.status(401).json({ error: 'Invalid token' })
  }
  try {
    if (await redis.exists(`blacklist:${claims.jti}`)) return res.status(401).json({ error: 'Token revoked' })
  } catch (error) {
    return next(error)
  }
  req.user = claims
  next()
}

function validate(req, res, next) {
  const result = Signup.safeParse(req.body)
  if (!result.success) return res.status(400).json({ errors: result.error.issues })
  req.body = result.data
  next()
}

const app = express()
app.use(
  '/v1/users',
  helmet(),
  cors({ origin: settings.origins }),
  limit(clientLimiter, (req) => req.ip),
  authenticate,
  limit(userLimiter, (req) => req.user.sub),
  express.json(),
  validate,
)

redis.once('ready', () =>
  serve(app, {
    revoke: (token, { jti, exp }) => redis.set(`blacklist:${jti}`, '1', 'EX', exp - Math.floor(Date.now() / 1000)),
  }),
)

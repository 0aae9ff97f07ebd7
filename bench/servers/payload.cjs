'use strict'

// One POST with a signup body, checked by one validator or by none.

const express = require('express')
const { SignupSchema, settings, serve } = require('./harness.cjs')

const app = express()

const refuse = (res, errors) => res.status(422).json({ errors })
const ways = {
  'express.json': () => [express.json()],
  ajv() {
    const Ajv = require('ajv').default
    const ajv = new Ajv({ allErrors: true })
    require('ajv-formats').default(ajv)
    const validate = ajv.compile(SignupSchema)
    return [express.json(), (req, res, next) => (validate(req.body) ? next() : refuse(res, validate.errors))]
  },
  zod() {
    const { z } = require('zod')
    const Signup = z.strictObject({
      username: z.string().min(3).max(20).regex(/^[A-Za-z0-9_]+$/),
      email: z.email().max(254),
      password: z.string().min(12).max(128),
    })
    const check = (req, res, next) => {
      const { success, data, error } = Signup.safeParse(req.body)
      if (!success) return refuse(res, error.issues)
      req.body = data
      next()
    }
    return [express.json(), check]
  },
  'express-validator'() {
    const { body, checkExact, validationResult } = require('express-validator')
    const chains = [
      body('username').isString().isLength({ min: 3, max: 20 }).matches(/^[A-Za-z0-9_]+$/),
      body('email').isString().isLength({ max: 254 }).isEmail(),
      body('password').isString().isLength({ min: 12, max: 128 }),
    ]
    const check = (req, res, next) => {
      const result = validationResult(req)
      if (!result.isEmpty()) return refuse(res, result.array())
      next()
    }
    return [express.json(), checkExact(chains), check]
  },
  keepstone() {
    const { createGuard } = require(process.env.KEEPSTONE_ROOT)
    return [createGuard({ rateLimit: false }).validate({ body: SignupSchema })]
  },
}

app.use('/v1/users', ...ways[settings.way]())
serve(app)

'use strict'

// The single entry point. `require('keepstone')`, `import guard from 'keepstone'` and
// `import { createGuard } from 'keepstone'` all return this module object, so a process has one
// instance.

const { createGuard } = require('./shim/guard.js')
const { GuardError } = require('./shim/errors.js')
const { providers } = require('./shim/providers.js')

/** Builds a guard and returns its stack, in one line. */
function securityStack(...config) {
  return createGuard(...config).securityStack()
}

const guard = { createGuard, securityStack, providers, GuardError }

module.exports = guard
module.exports.createGuard = createGuard
module.exports.securityStack = securityStack
module.exports.providers = providers
module.exports.GuardError = GuardError
module.exports.default = guard

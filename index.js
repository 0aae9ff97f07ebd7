'use strict'

// The single entry point. `require('keepstone')`, `import guard from 'keepstone'` and
// `import { createGuard } from 'keepstone'` all return this module object, so a process has one
// instance.

const { createGuard } = require('./shim/guard.js')
const { GuardError } = require('./shim/errors.js')

/** Builds a guard and returns its stack, in one line. */
function securityStack(...config) {
  return createGuard(...config).securityStack()
}

const guard = { createGuard, securityStack, GuardError }

module.exports = guard
module.exports.createGuard = createGuard
module.exports.securityStack = securityStack
// The name alone, which `import { providers }` reads off this text; its value follows below.
module.exports.providers = undefined
module.exports.GuardError = GuardError
module.exports.default = guard

// Few need the presets of identity providers: they are read from the disk where one is asked for.
Object.defineProperties(guard, { providers: { enumerable: true, get: () => require('./shim/providers.js').providers } })

'use strict'

// `guard.clientKey(req)`: the client as limits by address count it.

const native = require('../native.js')
const { GuardError } = require('./errors.js')
const { kFormat } = require('./shared.js')

// The clients of requests that were passed to functions of the options: some hosts pass an object
// there that has no `guard`.
const clients = new WeakMap()

function noteClient(subject, client) {
  clients.set(subject, client)
}

/**
 * The key of a request: `203.0.113.7`, `2001:db8::/56`, or `unknown` without an address. `prefix`
 * is the guard's `ipv6Prefix`.
 */
function clientKey(req, prefix) {
  const isObject = req !== null && typeof req === 'object'
  const client = isObject ? (clients.get(req) ?? (req.guard?.[kFormat] === undefined ? undefined : req.guard.client)) : undefined
  if (client !== undefined) return native.clientKey(client, prefix)
  throw new GuardError('`req` is a request that no handler of the guard has seen: call it in a function of the options, or behind the guard', {
    code: 'ERR_INVALID_ARGUMENT',
    path: 'req'
  })
}

module.exports = { clientKey, noteClient }

'use strict'

// The warnings for a proxy that is missing in `trustedProxies`.

const { warnOnce } = require('./errors.js')

/** Warns of a peer in a private network by its address, which is empty on a Unix socket. */
function warnOutsideProxy(peer) {
  warn(peer === '' ? "a peer on a Unix socket, and 'unix'" : `${peer}, which`)
}

/**
 * Warns of a peer with a public address. All of them share one warning, since any client can cause
 * it.
 */
function warnPublicProxy() {
  warn('a public address, which')
}

function warn(peer) {
  warnOnce('GUARD_UNTRUSTED_PROXY', `\`X-Forwarded-For\` arrives from ${peer} is not in \`trustedProxies\`, and is ignored: if it is a proxy, add it, or all its clients count as one`)
}

module.exports = { warnOutsideProxy, warnPublicProxy }

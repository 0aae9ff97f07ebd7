'use strict'

// Warnings for the operator about the way requests arrive, for every host.

const { warnOnce } = require('../errors.js')

function warnUntrustedProxy() {
  warnOnce('GUARD_UNTRUSTED_PROXY', '`X-Forwarded-For` arrives, but no proxy is trusted: all clients of a proxy count as one, and their handshakes are refused; set `trustedProxies`')
}

function warnNoAddress() {
  warnOnce('GUARD_NO_CLIENT_ADDRESS', "a request has come without a client address, as over a Unix socket: such clients count as one, and no list of clients is about them; add 'unix' to `trustedProxies` where a proxy sends them")
}

function warnRewritten() {
  warnOnce('GUARD_URL_REWRITTEN', 'the method or URL of a request was changed before a layer of the guard, so that the router would run another handler than the one that is judged; mount the guard behind what rewrites, and let that set `req.originalUrl` too')
}

module.exports = { warnNoAddress, warnRewritten, warnUntrustedProxy }

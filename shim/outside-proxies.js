'use strict'

// The warning for a proxy that is missing in `trustedProxies`.

const { BlockList, isIP } = require('node:net')
const { warnOnce } = require('./errors.js')

/** Networks that no client on the internet has: who sends from there is named. */
const OWN = new BlockList()
for (const [network, length] of [['127.0.0.0', 8], ['10.0.0.0', 8], ['172.16.0.0', 12], ['192.168.0.0', 16], ['100.64.0.0', 10], ['169.254.0.0', 16]]) OWN.addSubnet(network, length, 'ipv4')
for (const [network, length] of [['::1', 128], ['fc00::', 7], ['fe80::', 10]]) OWN.addSubnet(network, length, 'ipv6')

/**
 * Warns that a peer outside of `trustedProxies` has sent `X-Forwarded-For`. `peer` is its address,
 * empty on a Unix socket. Public addresses share one warning, since any client can cause it.
 */
function warnOutsideProxies(peer) {
  const ofPeer = peer === '' ? "a peer on a Unix socket, and 'unix'" : `${isOwn(peer) ? peer : 'a public address'}, which`
  warnOnce('GUARD_UNTRUSTED_PROXY', `\`X-Forwarded-For\` arrives from ${ofPeer} is not in \`trustedProxies\`, and is ignored: if it is a proxy, add it, or all its clients count as one`)
}

const isOwn = (peer) => OWN.check(peer, isIP(peer) === 6 ? 'ipv6' : 'ipv4')

module.exports = { warnOutsideProxies }

'use strict'

const { viewOf } = require('./head.js')

/**
 * The argument of `guard.check` from a request of node:http or node:http2, for frameworks that wrap
 * one. `target` is the target that the framework's router reads.
 */
function factsOf(req, target) {
  const { fields, hasBody, method, flags } = viewOf(req, { view: null })
  const headers = []
  for (let i = 0; i < fields.length; i += 2) headers.push([fields[i], fields[i + 1]])
  return {
    method,
    target,
    headers,
    address: req.socket.remoteAddress ?? '',
    tls: req.socket.encrypted === true && new TlsFacts(req.socket),
    body: hasBody ? req : null,
    httpVersion: req.httpVersion,
    truncated: flags.includes('c')
  }
}

class TlsFacts {
  #socket

  constructor(socket) {
    this.#socket = socket
  }

  get fingerprint256() {
    return this.#socket.getPeerX509Certificate?.()?.fingerprint256
  }
}

module.exports = { factsOf }

'use strict'

// The server under test: one that listens already, or one that is started for the test.

const { once } = require('node:events')
const http = require('node:http')
const net = require('node:net')
const { invalid } = require('./arguments.js')

const TARGETS = 'must be a server of node:http, a handler such as an Express app, a Fastify app, or the URL of a server'

/** `address()` gives `{ host, port }`, and starts the server where that is left to this. */
function serverOf(target) {
  if (typeof target === 'string' || target instanceof URL) return atUrl(target)
  const fastify = target !== null && typeof target === 'object' && typeof target.ready === 'function' && isServer(target.server)
  if (!fastify && !isServer(target) && typeof target !== 'function') throw invalid('target', TARGETS)
  if (typeof (fastify ? target.server : target)?.setSecureContext === 'function') throw invalid('target', 'speaks TLS; give its handler, which is served over plain http as behind a proxy')
  const server = fastify ? target.server : isServer(target) ? target : http.createServer(target)
  const wasListening = server.listening
  let started
  const start = async () => {
    if (fastify) await target.ready()
    if (!server.listening) listenFor(server)
    if (server.address() === null) await once(server, 'listening')
    return addressOf(server.address())
  }
  return {
    address: () => (started ??= start()),
    async close() {
      // Only what was started here is stopped here.
      if (wasListening || started === undefined) return
      await started.catch(() => {})
      if (!server.listening) return
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }
}

const isServer = (value) => value instanceof net.Server || (typeof value?.listen === 'function' && typeof value.address === 'function')

/** A test that forgets to close it still ends. */
function listenFor(server) {
  server.listen(0, '127.0.0.1')
  server.unref()
  server.on('connection', (socket) => socket.unref())
}

function atUrl(target) {
  const url = URL.canParse(target) ? new URL(target) : undefined
  if (url?.protocol !== 'http:') throw invalid('target', 'must be a URL with http: of a server that runs in the test')
  const host = url.hostname.replace(/^\[|\]$/g, '')
  return { address: async () => ({ host, port: Number(url.port || 80) }), close: async () => {} }
}

function addressOf(address) {
  if (typeof address === 'string') throw invalid('target', 'listens on a path; let it listen on a port')
  const everywhere = address.address === '::' || address.address === '0.0.0.0'
  return { host: everywhere ? '127.0.0.1' : address.address, port: address.port }
}

module.exports = { serverOf }

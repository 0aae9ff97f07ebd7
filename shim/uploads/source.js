'use strict'

// The bytes of a body, piece by piece, as they are asked for.

const { types } = require('node:util')

/** The error of a body whose client has disconnected. */
class ClientGone extends Error {}

/**
 * A source of the pieces of `body`: bytes, a stream of Node or a ReadableStream. `next()` resolves
 * with a Buffer, or null at the end, and rejects with a ClientGone if there is none. `stop()` ends
 * the reading; nothing reads the rest.
 */
function sourceOf(body) {
  if (types.isUint8Array(body)) return ofBytes(body)
  return typeof body.on === 'function' ? ofNode(body) : ofWeb(body)
}

function ofBytes(bytes) {
  const left = bytes.length === 0 ? [] : [Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)]
  return { next: async () => left.shift() ?? null, stop() {} }
}

function ofNode(stream) {
  const pieces = []
  let wake = null
  // 'open', 'ended', or the error of a stream that is gone
  let state = stream.destroyed ? new ClientGone() : stream.readableEnded ? 'ended' : 'open'

  const settle = () => {
    if (wake === null) return
    const { resolve, reject } = wake
    if (pieces.length > 0) resolve(pieces.shift())
    else if (state === 'ended') resolve(null)
    else if (state !== 'open') reject(state)
    else return
    wake = null
  }
  const end = (next) => {
    if (state === 'open') state = next
    settle()
  }
  const onData = (data) => {
    // An earlier handler may have requested text with `req.setEncoding()`.
    pieces.push(typeof data === 'string' ? Buffer.from(data, stream.readableEncoding) : data)
    stream.pause()
    settle()
  }
  const onEnd = () => end('ended')
  const onGone = (cause) => end(new ClientGone('the client has disconnected', { cause }))
  stream.on('data', onData)
  stream.on('end', onEnd)
  stream.on('error', onGone)
  stream.on('close', onGone)

  return {
    next: () => new Promise((resolve, reject) => {
      wake = { resolve, reject }
      settle()
      if (wake !== null) stream.resume()
    }),
    stop() {
      stream.off('data', onData)
      stream.off('end', onEnd)
      stream.off('close', onGone)
      // The listener for errors stays: an error without a listener would end the process.
      if (state === 'open') stream.pause()
      pieces.length = 0
    }
  }
}

function ofWeb(stream) {
  const reader = stream.getReader()
  return {
    async next() {
      const { done, value } = await reader.read().catch((cause) => {
        throw new ClientGone('the client has disconnected', { cause })
      })
      if (done) return null
      if (!types.isUint8Array(value)) throw new TypeError('the body must be a stream of bytes')
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    },
    stop() {
      reader.cancel().catch(() => {})
    }
  }
}

module.exports = { ClientGone, sourceOf }

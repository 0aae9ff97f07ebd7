'use strict'

const { types } = require('node:util')
const { readBody } = require('../node-http/body.js')

/**
 * Reads the body of a check: bytes, a ReadableStream or a Node stream. The contract is that of
 * `readBody` in ../node-http/body.js; `gone` receives the error of a failed stream.
 */
function readAny(body, limit, ms, done, gone, late) {
  if (types.isUint8Array(body)) return done(Buffer.from(body.buffer, body.byteOffset, body.byteLength))
  if (typeof body.on === 'function') return readBody(body, limit, ms, done, gone, late)
  if (body.locked) return gone(new TypeError('the body is being read by somebody else'))
  readWeb(body.getReader(), limit, ms, done, gone, late)
}

async function readWeb(reader, limit, ms, done, gone, late) {
  const chunks = []
  let size = 0
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    cancel(reader)
    late()
  }, ms)
  try {
    for (;;) {
      const { done: ended, value } = await reader.read()
      if (isLate) return
      if (ended) break
      if (!types.isUint8Array(value)) throw new TypeError('the body must be a stream of bytes')
      chunks.push(value)
      size += value.length
      if (size > limit) {
        cancel(reader)
        break
      }
    }
  } catch (error) {
    clearTimeout(timer)
    if (!isLate) gone(error)
    return
  }
  clearTimeout(timer)
  done(Buffer.concat(chunks, size))
}

/** Discards the rest of the body. */
function cancel(reader) {
  reader.cancel().catch(() => {})
}

module.exports = { readAny }

'use strict'

const zlib = require('node:zlib')

const INFLATE = { gzip: zlib.gunzip, deflate: zlib.inflate, br: zlib.brotliDecompress }

/**
 * Decompresses a body, in a thread of its own. `done(bytes, fault)`: the bytes; or why not:
 * `'swells'` where they are more than `ratio` times as many, `'large'` where they are more than
 * `limit`, `'garbled'` where they are not what they should be.
 */
function inflate(bytes, coding, ratio, limit, done) {
  // Nothing is nothing in every coding.
  if (bytes.length === 0) return done(bytes, null)
  const swollen = bytes.length * ratio
  const options = { maxOutputLength: Math.min(limit, swollen), info: true }
  INFLATE[coding](bytes, options, (error, result) => {
    if (error !== null) {
      // What zlib has against the data is an Error; that there is too much of it, a RangeError.
      const over = error instanceof RangeError
      return done(null, !over ? 'garbled' : swollen < limit ? 'swells' : 'large')
    }
    // What lies behind the end of the data has another meaning to another reader.
    if (result.engine.bytesWritten !== bytes.length) return done(null, 'garbled')
    done(result.buffer, null)
  })
}

module.exports = { inflate }

'use strict'

// Methods of node:zlib, which is loaded for the first compressed body: few applications take any.
const INFLATE = { gzip: 'gunzip', deflate: 'inflate', br: 'brotliDecompress' }

/**
 * Decompresses a body in a thread pool. `done(bytes, fault)` receives the bytes, or the reason:
 * `'swells'` if they are more than `ratio` times as many, `'large'` if they are more than `limit`,
 * `'garbled'` if the data is invalid.
 */
function inflate(bytes, coding, ratio, limit, done) {
  // Empty data is empty in every coding.
  if (bytes.length === 0) return done(bytes, null)
  const swollen = bytes.length * ratio
  const options = { maxOutputLength: Math.min(limit, swollen), info: true }
  require('node:zlib')[INFLATE[coding]](bytes, options, (error, result) => {
    if (error !== null) {
      // zlib reports invalid data as an Error, and too much output as a RangeError.
      const over = error instanceof RangeError
      return done(null, !over ? 'garbled' : swollen < limit ? 'swells' : 'large')
    }
    // Another reader could interpret the data after the end differently.
    if (result.engine.bytesWritten !== bytes.length) return done(null, 'garbled')
    done(result.buffer, null)
  })
}

module.exports = { inflate }

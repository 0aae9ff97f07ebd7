'use strict'

const native = require('../native.js')

/** The text of a problem document (RFC 9457), which the core writes. `detail` may be left out. */
function problemOf(status, code, detail) {
  return native.problem(status, code, detail)
}

module.exports = { problemOf }

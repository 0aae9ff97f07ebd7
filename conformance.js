'use strict'

// The entry point `keepstone/conformance`, for running outside test suites.

const { parseJson, readBody, validateJson, verifyCompact } = require('./shim/conformance.js')

module.exports = { parseJson, readBody, validateJson, verifyCompact }

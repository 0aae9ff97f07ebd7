'use strict'

// The entry point `keepstone/conformance`, for running outside test suites.

const { parseJson, validateJson, verifyCompact } = require('./shim/conformance.js')

module.exports = { parseJson, validateJson, verifyCompact }

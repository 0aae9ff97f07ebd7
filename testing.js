'use strict'

// The entry point `keepstone/testing`.

const { createTestClient } = require('./shim/testing/client.js')
const { createTestClock, resetGuard } = require('./shim/testing/clock.js')
const { createTestIssuer, startTestIssuer } = require('./shim/testing/issuer.js')

module.exports = { createTestClient, createTestClock, createTestIssuer, resetGuard, startTestIssuer }

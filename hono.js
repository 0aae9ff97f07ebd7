'use strict'

module.exports = require('./shim/hosts/hono.js')

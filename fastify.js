'use strict'

module.exports = require('./shim/hosts/fastify.js')

'use strict'

const { RequestState } = require('../../request.js')
const { kState } = require('../../shared.js')
const { LOSES_SHAPES, shareShapes } = require('./workarounds.js')

/** The state of a request, created on first use. */
function stateOf(req) {
  const known = req[kState]
  if (known !== undefined) return known
  if (LOSES_SHAPES) shareShapes(req)
  return (req[kState] = new RequestState())
}

module.exports = { stateOf }

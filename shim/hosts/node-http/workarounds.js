'use strict'

// What works around V8 and Node, and which versions end it.

const { ServerResponse } = require('node:http')
const { isDeepStrictEqual } = require('node:util')

// `setHeader` checks every name and value and makes the name lower case, for each request anew: as
// much work as the core has with all of its decision. Where Node keeps headers as we know it (20 to
// 26), what was checked once is put there as it is. A Node that keeps them otherwise is found out
// below, and gets `setHeader`.
/**
 * Where a response of this Node keeps its headers; null where it is not plain that they can be put
 * there.
 */
function findHeadersKey() {
  try {
    const response = () => new ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, headers: {} })
    const [one, two] = [response(), response()]
    const found = Object.getOwnPropertySymbols(one).find((symbol) => symbol.description === 'kOutHeaders')
    if (found === undefined || one[found] !== null) return null
    for (const [name, value] of [['X-First', 'a'], ['Vary', 'b']]) {
      one.setHeader(name, value)
      ;(two[found] ??= Object.create(null))[name.toLowerCase()] = [name, value]
    }
    const told = (res) => {
      const all = [res[found], Object.getPrototypeOf(res[found]), res.getHeaders(), res.getHeaderNames(), res.getRawHeaderNames?.()]
      res.setHeader('vary', 'c')
      res.appendHeader('X-First', 'd')
      res.sendDate = false
      res.writeHead(200)
      return [...all, res.getHeaders(), res._header]
    }
    return isDeepStrictEqual(told(one), told(two)) ? found : null
  } catch {
    return null
  }
}

const headersKey = findHeadersKey()

// Whether V8 gives every object a hidden class of its own whose prototype was changed before a
// property was added. Express does that to each request and response, so that no cache ever knows
// them: every property that anybody reads or adds after that is looked up the long way. Measured:
// 11.3 and 12.4 (Node 20 and 22) do, 13.6 (Node 24) does not: this goes when Node 22 does.
const LOSES_SHAPES = Number.parseFloat(process.versions.v8) < 12.5

/**
 * Makes request and response of Express hash tables, which share one class: V8 does that to an
 * object that loses a property which is not its last one. Each gets back what it has lost.
 */
function shareShapes(req) {
  const { res } = req
  if (res?.req !== req) return
  delete req.res
  req.res = res
  delete res.req
  res.req = req
}

module.exports = { LOSES_SHAPES, headersKey, shareShapes }

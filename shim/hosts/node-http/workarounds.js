'use strict'

// Workarounds for V8 and Node, and the versions that end them.

const { ServerResponse } = require('node:http')
const { isDeepStrictEqual } = require('node:util')

// `setHeader` checks every name and value and lower-cases the name, again for each request: as much
// work as the core's whole decision. If Node stores headers in the known way (20 to 26), headers
// that were checked once are stored directly. A Node that stores them differently is detected
// below, and `setHeader` is used.
/**
 * The property in which a response of this Node stores its headers; null if direct storage is not
 * certain to work.
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

// Whether V8 gives an object a hidden class of its own if its prototype was changed before a
// property was added. Express does that to each request and response, so inline caches never match
// them: every later read or addition of a property is a slow lookup. Measured: 11.3 and 12.4 (Node
// 20 and 22) do, 13.6 (Node 24) does not: remove this with Node 22.
const LOSES_SHAPES = Number.parseFloat(process.versions.v8) < 12.5

/**
 * Makes request and response of Express hash tables, which share one class: V8 does that to an
 * object that loses a property other than its last one. Each lost property is restored.
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

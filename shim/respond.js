'use strict'

// Answers of handlers against their schemas. A JSON answer that is sent in one piece (`res.json`, `res.send`, `res.end`) is
// judged before its first byte leaves. What is written in pieces is a stream, and leaves as it is.

const { ServerResponse } = require('node:http')
const { types } = require('node:util')
const native = require('../native.js')
const { holdStream } = require('./headers.js')
const { OF_ANOTHER_BODY, OF_ANOTHER_CONTENT, setStatus } = require('./response.js')
const { refused } = require('./shared.js')

// A response whose head is sent: it throws what Node throws where a head is written twice.
const SENT = new ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, headers: {} }).writeHead(200)

const FAULT = '{"type":"about:blank","title":"Internal Server Error","status":500,"code":"response_mismatch"}'
// A script as `res.jsonp` of Express writes it: what stands before its JSON, and the JSON.
const PADDED = /^(\/\*\*\/ typeof (\S*) === 'function' && \2\()([^]*)\);$/
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/**
 * Puts the check of the stack `handle` before what `res` sends. `on` is 'strip', 'warn' or 'fail'; `tell(problem)` is told
 * what is wrong with an answer, as a problem document's text.
 */
function guardResponse(res, handle, on, tell) {
  const { writeHead, write, end, flushHeaders, send, jsonp } = res
  // The head is on its way, or judged: what follows is none of our business.
  let released = false
  // Whether `writeHead` was called, and its message. What it was given is put on as late as
  // possible: the length of the body may change.
  let held = false
  let message
  // Whether `res.jsonp` is under way.
  let padded = false

  res.writeHead = function (status, ...rest) {
    if (released || this.headersSent || !isStatus(status)) return writeHead.call(this, status, ...rest)
    if (held) return SENT.writeHead(status)
    held = true
    // As Node reads them: a message that is no text is none, and what stands there are the headers.
    if (typeof rest[0] === 'string') message = rest[0]
    this.statusCode = status
    if (message !== undefined) this.statusMessage = message
    setAll(this, typeof rest[0] === 'string' ? rest[1] : (rest[1] ?? rest[0]))
    // What goes on over the stream of HTTP/2 is written in pieces.
    holdStream(this, () => {
      if (!released && !this.headersSent) this.flushHeaders()
    })
    return this
  }
  res.flushHeaders = function () {
    released = true
    return flushHeaders.call(this)
  }
  res.write = function (...args) {
    released = true
    return write.apply(this, args)
  }
  res.end = function (...args) {
    const [chunk, encoding] = args
    if (!released && isBody(chunk) && !this.headersSent && isStatus(this.statusCode)) {
      const text = judge(this, chunk, typeof encoding === 'string' ? encoding : undefined)
      if (text !== null) {
        args[0] = text
        if (typeof encoding === 'string') args[1] = 'utf8'
        putLength(this, text)
      }
    }
    released = true
    return end.apply(this, args)
  }
  // Express computes ETag and length from what it is given, so there it is judged before.
  if (typeof send === 'function') {
    res.send = function (...args) {
      const [body] = args
      if (padded && !isJson(this)) return sendPadded(this, body)
      if (released || args.length !== 1 || !isBody(body) || !isJson(this)) return send.apply(this, args)
      const text = judge(this, body)
      released = true
      return send.call(this, text ?? body)
    }
  }

  // The client chooses whether it is a script: the JSON in it is judged all the same.
  if (typeof jsonp === 'function') {
    res.jsonp = function (...args) {
      padded = true
      try {
        return jsonp.apply(this, args)
      } finally {
        padded = false
      }
    }
  }

  function sendPadded(res, body) {
    const [, before, , json] = PADDED.exec(body) ?? []
    if (released || json === undefined || json === '') return send.call(res, body)
    const text = judgeText(res, json)
    released = true
    if (text === null) return send.call(res, body)
    if (text === FAULT) return send.call(res, text)
    return send.call(res, `${before}${text.replace(/\u2028/g, '\\u2028').replace(/\u2029/g, '\\u2029')});`)
  }

  /** What is to be sent instead of `body`; null where it goes out as it is. */
  function judge(res, body, encoding) {
    return isJson(res) ? judgeText(res, body, encoding) : null
  }

  function judgeText(res, body, encoding) {
    if (refused.has(res)) return null
    const bytes = typeof body === 'string' ? Buffer.from(body, encoding) : body
    const answer = native.judgeResponse(handle, Number(res.statusCode) >>> 0, bytes)
    if (answer === undefined) return null
    const stripped = answer[0] === '0' ? answer.slice(1) : null
    if (stripped !== null && on === 'strip') {
      for (const name of OF_ANOTHER_CONTENT) res.removeHeader(name)
      // Which of its bytes these are; `items` and the like count no bytes.
      if (/^bytes\b/i.test(String(res.getHeader('Content-Range') ?? ''))) res.removeHeader('Content-Range')
      return stripped
    }
    tell(res.statusCode, stripped === null ? answer.slice(1) : null)
    if (on === 'warn') return null
    // A check around this one has nothing to say about it.
    refused.add(res)
    setStatus(res, 500)
    // What was said of the answer that is not sent: how long it is, how it is packed, how long to keep it.
    for (const name of [...OF_ANOTHER_BODY, 'Cache-Control', 'Expires']) res.removeHeader(name)
    res.setHeader('Content-Type', 'application/problem+json')
    return FAULT
  }
}

/**
 * Whether a client may read the answer as JSON: one value of several is enough, and blanks around
 * it are none.
 */
const isJson = (res) => [res.getHeader('Content-Type')].flat().some((type) => JSON_TYPE.test(String(type).trim()))

const isBody = (chunk) => (typeof chunk === 'string' && chunk !== '') || (types.isUint8Array(chunk) && chunk.length > 0)

/** Whether Node takes it as a status. */
const isStatus = (status) => (status | 0) >= 100 && (status | 0) <= 999

/** Says how long a body is that another one was made of. */
function putLength(res, text) {
  const status = res.statusCode | 0
  if (status === 204 || status === 304) return
  // In chunks, which may have a trailer behind them, no length is told.
  if (res.hasHeader('Transfer-Encoding') || res.hasHeader('Trailer')) res.removeHeader('Content-Length')
  else res.setHeader('Content-Length', Buffer.byteLength(text))
}

function setAll(res, headers) {
  if (headers === undefined || headers === null) return
  if (!Array.isArray(headers)) {
    for (const [name, value] of Object.entries(headers)) if (value !== undefined) res.setHeader(name, value)
    return
  }
  const pairs = Array.isArray(headers[0]) ? headers : Array.from({ length: headers.length / 2 }, (_, i) => [headers[2 * i], headers[2 * i + 1]])
  // A name may be there twice; the first one replaces what was set before.
  const seen = new Set()
  for (const [name, value] of pairs) {
    const key = String(name).toLowerCase()
    if (seen.has(key)) res.appendHeader(name, value)
    else res.setHeader(name, value)
    seen.add(key)
  }
}

module.exports = { guardResponse }

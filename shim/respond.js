'use strict'

// Answers of handlers against their schemas. A JSON answer that is sent in one piece (`res.json`, `res.send`, `res.end`) is
// judged before its first byte leaves. What is written in pieces is a stream, and leaves as it is.

const native = require('../native.js')
const { OF_ANOTHER_BODY } = require('./response.js')
const { refused } = require('./shared.js')

const FAULT = '{"type":"about:blank","title":"Internal Server Error","status":500,"code":"response_mismatch"}'
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/**
 * Puts the check of the stack `handle` before what `res` sends. `on` is 'strip', 'warn' or 'fail'; `tell(problem)` is told
 * what is wrong with an answer, as a problem document's text.
 */
function guardResponse(res, handle, on, tell) {
  const { writeHead, write, end, flushHeaders, send } = res
  // The head is on its way, or judged: what follows is none of our business.
  let released = false
  // What `writeHead` was given. It is put on as late as possible: the length of the body may change.
  let message

  res.writeHead = function (status, ...rest) {
    if (released || this.headersSent) return writeHead.call(this, status, ...rest)
    // As Node reads them: a message that is no text is none, and what stands there are the headers.
    if (typeof rest[0] === 'string') message = rest[0]
    this.statusCode = status
    if (message !== undefined) this.statusMessage = message
    setAll(this, typeof rest[0] === 'string' ? rest[1] : (rest[1] ?? rest[0]))
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
    if (!released && isBody(chunk) && !this.headersSent) {
      const text = judge(this, chunk, typeof encoding === 'string' ? encoding : undefined)
      if (text !== null) {
        args[0] = text
        if (typeof encoding === 'string') args[1] = 'utf8'
        if (this.statusCode !== 204 && this.statusCode !== 304) this.setHeader('Content-Length', Buffer.byteLength(text))
        this.removeHeader('ETag')
      }
    }
    released = true
    return end.apply(this, args)
  }
  // Express computes ETag and length from what it is given, so there it is judged before.
  if (typeof send === 'function') {
    res.send = function (...args) {
      const [body] = args
      if (released || args.length !== 1 || !isBody(body) || !isJson(this)) return send.apply(this, args)
      const text = judge(this, body)
      released = true
      return send.call(this, text ?? body)
    }
  }

  /** What is to be sent instead of `body`; null where it goes out as it is. */
  function judge(res, body, encoding) {
    if (refused.has(res) || !isJson(res)) return null
    const bytes = typeof body === 'string' ? Buffer.from(body, encoding) : body
    const answer = native.judgeResponse(handle, Number(res.statusCode) >>> 0, bytes)
    if (answer === undefined) return null
    const stripped = answer[0] === '0' ? answer.slice(1) : null
    if (stripped !== null && on === 'strip') return stripped
    tell(res.statusCode, stripped === null ? answer.slice(1) : null)
    if (on === 'warn') return null
    res.statusCode = 500
    res.statusMessage = ''
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

const isBody = (chunk) => (typeof chunk === 'string' && chunk !== '') || (chunk instanceof Uint8Array && chunk.length > 0)

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

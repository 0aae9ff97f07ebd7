'use strict'

// Checks answers of handlers against their schemas. A JSON answer that is sent in one piece
// (`res.json`, `res.send`, `res.end`) is checked before its first byte is sent. An answer written
// in pieces is a stream, and is sent unchecked.

const { ServerResponse } = require('node:http')
const { types } = require('node:util')
const { checkAnswer, isJsonType } = require('../../response-check.js')
const { refused } = require('../../shared.js')
const { holdStream } = require('./headers.js')
const { OF_ANOTHER_BODY, OF_ANOTHER_CONTENT, setStatus } = require('./response.js')

// A response whose head is sent: it throws Node's error for a head that is written twice.
const SENT = new ServerResponse({ method: 'GET', httpVersionMajor: 1, httpVersionMinor: 1, headers: {} }).writeHead(200)

// A script as Express's `res.jsonp` writes it: the text before its JSON, and the JSON.
const PADDED = /^(\/\*\*\/ typeof (\S*) === 'function' && \2\()([^]*)\);$/

/**
 * Runs the check of a stack before `res` sends an answer. The arguments are those of
 * ../../response-check.js.
 */
function checkResponse(res, stack, mode, report) {
  // `released`: the head is being sent, or was checked, and later calls are not intercepted.
  const check = { stack, mode, report, released: false }
  guardHead(res, check)
  guardBody(res, check)
  if (typeof res.send === 'function') guardSend(res, check)
}

/**
 * The arguments of `writeHead` are applied as late as possible: the length of the body may change.
 */
function guardHead(res, check) {
  const { writeHead, flushHeaders } = res
  let held = false
  let message
  res.writeHead = function (status, ...rest) {
    if (check.released || this.headersSent || !isStatus(status)) return writeHead.call(this, status, ...rest)
    if (held) return SENT.writeHead(status)
    held = true
    // As Node does: a message that is not a string is the headers argument.
    if (typeof rest[0] === 'string') message = rest[0]
    this.statusCode = status
    if (message !== undefined) this.statusMessage = message
    setAll(this, typeof rest[0] === 'string' ? rest[1] : (rest[1] ?? rest[0]))
    // Data sent over the HTTP/2 stream is written in pieces.
    holdStream(this, () => {
      if (!check.released && !this.headersSent) this.flushHeaders()
    })
    return this
  }
  res.flushHeaders = function () {
    check.released = true
    return flushHeaders.call(this)
  }
}

function guardBody(res, check) {
  const { write, end } = res
  res.write = function (...args) {
    check.released = true
    return write.apply(this, args)
  }
  res.end = function (...args) {
    const [chunk, encoding] = args
    if (!check.released && isBody(chunk) && !this.headersSent && isStatus(this.statusCode) && isJson(this)) {
      const text = judge(this, check, chunk, typeof encoding === 'string' ? encoding : undefined)
      if (text !== null) {
        args[0] = text
        if (typeof encoding === 'string') args[1] = 'utf8'
        putLength(this, text)
      }
    }
    check.released = true
    return end.apply(this, args)
  }
}

/** Express computes ETag and length from its argument, so the check runs before that. */
function guardSend(res, check) {
  const { send, jsonp } = res
  // Whether `res.jsonp` is running.
  let padded = false
  res.send = function (...args) {
    const [body] = args
    if (check.released || args.length !== 1 || !isBody(body)) return send.apply(this, args)
    if (isJson(this)) {
      const text = judge(this, check, body)
      check.released = true
      return send.call(this, text ?? body)
    }
    return padded ? send.call(this, judgeScript(this, check, body)) : send.apply(this, args)
  }
  if (typeof jsonp !== 'function') return
  res.jsonp = function (...args) {
    padded = true
    try {
      return jsonp.apply(this, args)
    } finally {
      padded = false
    }
  }
}

/** The client chooses whether it is a script; its JSON is checked in both cases. */
function judgeScript(res, check, body) {
  const [, before, , json] = PADDED.exec(body) ?? []
  if (json === undefined || json === '') return body
  const text = judge(res, check, json)
  check.released = true
  if (text === null) return body
  if (refused.has(res)) return text
  return `${before}${text.replace(/\u2028/g, '\\u2028').replace(/\u2029/g, '\\u2029')});`
}

/** The text to send instead of `body`; null if it is to be sent as it is. */
function judge(res, check, body, encoding) {
  if (refused.has(res)) return null
  const instead = checkAnswer(check, res.statusCode, typeof body === 'string' ? Buffer.from(body, encoding) : body)
  if (instead === null) return null
  if (!instead.isFault) {
    for (const name of OF_ANOTHER_CONTENT) res.removeHeader(name)
    // It gives the range of bytes that was sent; `items` and similar units count no bytes.
    if (/^bytes\b/i.test(String(res.getHeader('Content-Range') ?? ''))) res.removeHeader('Content-Range')
    return instead.text
  }
  // An outer check must not check this problem document.
  refused.add(res)
  setStatus(res, 500)
  // Headers about the answer that is not sent: its length, its encoding, its caching.
  for (const name of [...OF_ANOTHER_BODY, 'Cache-Control', 'Expires']) res.removeHeader(name)
  res.setHeader('Content-Type', 'application/problem+json')
  return instead.text
}

/**
 * Whether a client may read the answer as JSON: one matching value of several is enough, and
 * surrounding white space is ignored.
 */
const isJson = (res) => [res.getHeader('Content-Type')].flat().some(isJsonType)

const isBody = (chunk) => (typeof chunk === 'string' && chunk !== '') || (types.isUint8Array(chunk) && chunk.length > 0)

/** Whether Node accepts it as a status. */
const isStatus = (status) => (status | 0) >= 100 && (status | 0) <= 999

/** Sets the length of a replaced body. */
function putLength(res, text) {
  const status = res.statusCode | 0
  if (status === 204 || status === 304) return
  // A chunked answer may have a trailer, and has no length.
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
  // A name may occur twice; the first occurrence replaces the earlier value.
  const seen = new Set()
  for (const [name, value] of pairs) {
    const key = String(name).toLowerCase()
    if (seen.has(key)) res.appendHeader(name, value)
    else res.setHeader(name, value)
    seen.add(key)
  }
}

module.exports = { checkResponse }

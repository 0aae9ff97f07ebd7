'use strict'

// Cookies on the requests and responses of every host: node:http and Express, Fastify, and the
// `Request` and `Headers` of the Fetch standard.

const { GuardError } = require('../errors.js')
const { viewOf } = require('./node-http/head.js')
const { stateOf } = require('./node-http/state.js')

const CREDENTIALS = /^(?:Bearer|DPoP) +(\S+)$/i

/**
 * The values of all cookies with a name. Names are compared without trimming or decoding, as in
 * src/bearer/presentation.rs: browsers protect the name `__Host-a`, but no other spelling of it.
 */
function valuesOf(req, name) {
  const values = []
  for (const field of cookieFields(req)) {
    for (const part of field.split(';')) {
      const pair = part.startsWith(' ') ? part.slice(1) : part
      if (pair.startsWith(name) && pair[name.length] === '=') values.push(pair.slice(name.length + 1))
    }
  }
  return values
}

const cookieFields = (req) => fieldsOf(req, 'cookie')

/** The values of all header fields with a name, which is in lower case. */
function fieldsOf(req, name) {
  const { headers } = req
  if (typeof headers.get === 'function') {
    const field = headers.get(name)
    return field === null ? [] : [field]
  }
  const { fields } = nodeViewOf(req)
  return fields.filter((_, i) => i % 2 === 1 && fields[i - 1].toLowerCase() === name)
}

function nodeViewOf(req) {
  // Fastify wraps the request of Node.
  const raw = req.raw ?? req
  return viewOf(raw, stateOf(raw))
}

/** The tokens of a request in the places of `jwt.from`. A place with two of them has none. */
function tokensOf(req, from) {
  return from.flatMap((source) => {
    const values = valuesAt(req, source)
    return values.length === 1 ? values : []
  })
}

function valuesAt(req, source) {
  if (source === 'header') return fieldsOf(req, 'authorization').flatMap((field) => CREDENTIALS.exec(field.trim())?.[1] ?? [])
  if (source.cookie !== undefined) return valuesOf(req, source.cookie)
  if (source.header !== undefined) return fieldsOf(req, source.header.toLowerCase()).map((field) => field.trim())
  const target = typeof req.headers.get === 'function' ? req.url : nodeViewOf(req).target
  return new URLSearchParams(String(target).split('?').slice(1).join('?')).getAll(source.query)
}

/** Throws unless `req` is a request of a supported host. */
function assertRequest(req) {
  const headers = req?.headers
  if (headers === null || typeof headers !== 'object') throw unusable('req', 'a request of node:http, Express or Fastify, or a Request')
}

/** Throws unless `res` is a response of a supported host that has not been sent. */
function assertResponse(res) {
  const isNode = typeof res?.setHeader === 'function' && typeof res.getHeader === 'function'
  if (!isNode && !isFastify(res) && !isHeaders(res)) throw unusable('res', 'a response of node:http, Express or Fastify, or Headers')
  if (isSent(res)) throw new GuardError('`res` was sent already; set the cookies of a session before', { code: 'ERR_INVALID_ARGUMENT', path: 'res' })
}

const isFastify = (res) => typeof res?.header === 'function' && typeof res.getHeader === 'function' && typeof res.removeHeader === 'function' && res.raw !== undefined

const isHeaders = (res) => typeof res?.getSetCookie === 'function'

/** Whether the head of a response has been sent. */
const isSent = (res) => res.headersSent === true || res.sent === true

/** Sets cookies, replacing those with the same names, and keeps the response out of caches. */
function putCookies(res, cookies) {
  const names = cookies.map((cookie) => cookie.slice(0, cookie.indexOf('=') + 1))
  const isOther = (cookie) => !names.some((name) => String(cookie).startsWith(name))
  if (isHeaders(res)) {
    const all = [...res.getSetCookie().filter(isOther), ...cookies]
    res.delete('Set-Cookie')
    for (const cookie of all) res.append('Set-Cookie', cookie)
    res.set('Cache-Control', 'no-store')
    return
  }
  const all = [...[res.getHeader('Set-Cookie') ?? []].flat().filter(isOther), ...cookies]
  if (isFastify(res)) {
    // `header` appends to an existing `set-cookie`.
    res.removeHeader('set-cookie')
    res.header('set-cookie', all).header('cache-control', 'no-store')
  } else {
    res.setHeader('Set-Cookie', all)
    res.setHeader('Cache-Control', 'no-store')
  }
}

const unusable = (name, what) => new GuardError(`\`${name}\` must be ${what}`, { code: 'ERR_INVALID_ARGUMENT', path: name })

module.exports = { assertRequest, assertResponse, isSent, putCookies, tokensOf, valuesOf }

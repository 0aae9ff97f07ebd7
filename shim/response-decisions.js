'use strict'

// The innermost decision about a response applies. Several stacks and layers of one guard may run
// on one request; a later one is an inner one. A decision removes the headers that an outer one has
// set for the same subject, response headers or CORS, and sets its own. A stack or layer without an
// option for the subject narrows nothing: it applies the guard's own options, and only if no stack
// or layer of the guard has done so before. Headers of other guards and of the application are not
// changed.

const { randomBytes } = require('node:crypto')
const { prepareHeaders } = require('./headers.js')
const { guardOf } = require('./request.js')

const NOTHING = []

/**
 * The response headers part of a stack: `plan` is the core's, `only` its single layer, `options`
 * are the user's narrowing options. Null for a layer that has no such part.
 */
function headersPart(plan, only, options) {
  if (only !== null && only !== 'headers') return null
  const { always, secure, remove, nonce } = plan.headers
  return {
    // `headers` of a whole stack is the schema of request headers.
    decides: (only === 'headers' ? options.headers : options.responseHeaders) !== undefined,
    always: prepareHeaders(always),
    secure: prepareHeaders(secure),
    strip: remove.filter((name) => name !== 'x-powered-by'),
    nonce
  }
}

/** The CORS part of a stack, likewise. `isOn`: whether it may let other origins in. */
function corsPart(plan, only, options) {
  const decides = (only === null || only === 'cors') && options.cors !== undefined
  return decides || plan.cors ? { decides, isOn: plan.cors } : null
}

/**
 * Sets the fixed response headers of `part`, unless a decision is in force that `part` does not
 * replace.
 */
function decideHeaders(part, ctx) {
  const { req, res, state, decisions } = ctx
  if (res.headersSent) return
  res.removeHeader('x-powered-by') // Express has set it already
  const outer = decisions.headers
  if (outer !== null) {
    if (!part.decides) return
    takeOff(res, outer.always)
    takeOff(res, outer.secure)
    if (outer.nonce !== null) {
      res.removeHeader(outer.nonce.name)
      delete guardOf(req).nonce
    }
  }
  decisions.headers = part
  ctx.putHeaders(part.always)
  if (part.strip.length > 0 && !decisions.stripsLate) {
    decisions.stripsLate = true
    ctx.stripLate(decisions)
  }
  if (part.nonce !== null) {
    // One nonce for the whole response: a handler may have used it before an inner decision.
    const nonce = (state.nonce ??= randomBytes(16).toString('base64'))
    guardOf(req).nonce = nonce
    res.setHeader(part.nonce.name, part.nonce.parts.join(nonce))
  }
}

/**
 * Whether `part` decides about the request. If it does, the headers of an outer CORS decision are
 * removed first.
 */
function decidesCors(part, { res, decisions }) {
  const outer = decisions.cors
  if (outer !== null) {
    if (!part.decides) return false
    if (!res.headersSent) takeOff(res, outer, 'access-control-')
  }
  decisions.cors = NOTHING
  return true
}

/**
 * Whether the CORS decision in force allows the origin of a handshake to open a socket: the origin
 * may read answers, including those to requests with the browser's cookies.
 */
function admitsHandshake(ctx) {
  const view = ctx.view()
  const has = (name) => ctx.decisions.cors.some((field, i) => i % 3 === 0 && field === `access-control-${name}`)
  return view.get('origin') !== undefined && has('allow-origin') && (has('allow-credentials') || view.get('cookie') === undefined)
}

/** Records the fields of the core's answer if a CORS decision of this request is pending. */
function noteCors(decisions, fields) {
  if (decisions.cors === NOTHING) decisions.cors = fields
}

/**
 * Removes prepared fields whose name begins with `prefix`. `Vary` stays: caches need it in any
 * case.
 */
function takeOff(res, fields, prefix = '') {
  for (let i = 0; i < fields.length; i += 3) {
    if (fields[i].startsWith(prefix)) res.removeHeader(fields[i])
  }
}

module.exports = { admitsHandshake, corsPart, decideHeaders, decidesCors, headersPart, noteCors }

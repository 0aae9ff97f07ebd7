'use strict'

// The innermost decision about a response wins. Several stacks and layers of one guard may run on
// one request; the one that runs later is the inner one. A decision takes off what an outer one has
// put on for the same subject, response headers or CORS, and puts on its own. A stack or layer
// without an option for the subject narrows nothing: it applies the guard's own options, and only
// where nothing of the guard has done so before. Other guards, and what the application sets under
// other names, are left alone.

const { randomBytes } = require('node:crypto')
const { prepareHeaders } = require('./headers.js')
const { guardOf } = require('./request.js')

const NOTHING = []

/**
 * What a stack does about response headers: `plan` is the core's, `only` its one layer, `options`
 * what the user narrowed. Null for a layer that has no part in them.
 */
function headersPart(plan, only, options) {
  if (only !== null && only !== 'headers') return null
  const { always, secure, remove, nonce } = plan.headers
  return {
    decides: only === 'headers' && options.headers !== undefined, // a whole stack has no option for them
    always: prepareHeaders(always),
    secure: prepareHeaders(secure),
    strip: remove.filter((name) => name !== 'x-powered-by'),
    nonce
  }
}

/** What a stack does about CORS, likewise. */
function corsPart(plan, only, options) {
  const decides = (only === null || only === 'cors') && options.cors !== undefined
  return decides || plan.cors ? { decides } : null
}

/**
 * Puts the fixed response headers of `part` on, unless a decision is in force that `part` does not
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
    // One for the whole response: a handler may have used it before an inner decision.
    const nonce = (state.nonce ??= randomBytes(16).toString('base64'))
    guardOf(req).nonce = nonce
    res.setHeader(part.nonce.name, part.nonce.parts.join(nonce))
  }
}

/**
 * Whether `part` judges the request. If it does, the headers of an outer CORS decision are taken
 * off first.
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
 * Whether the CORS decision in force lets the origin of a handshake open a socket: it may read
 * answers, also with the cookies that the browser has added.
 */
function admitsHandshake(ctx) {
  const view = ctx.view()
  const has = (name) => ctx.decisions.cors.some((field, i) => i % 3 === 0 && field === `access-control-${name}`)
  return view.get('origin') !== undefined && has('allow-origin') && (has('allow-credentials') || view.get('cookie') === undefined)
}

/** Notes the fields of the core's answer, where a CORS decision of this request waits for them. */
function noteCors(decisions, fields) {
  if (decisions.cors === NOTHING) decisions.cors = fields
}

/**
 * Takes prepared fields off, those whose name begins with `prefix`. `Vary` stays: a cache must know
 * it in any case.
 */
function takeOff(res, fields, prefix = '') {
  for (let i = 0; i < fields.length; i += 3) {
    if (fields[i].startsWith(prefix)) res.removeHeader(fields[i])
  }
}

module.exports = { admitsHandshake, corsPart, decideHeaders, decidesCors, headersPart, noteCors }

'use strict'

// Reads the body that the core asks for, from the connection or from a parser that was there
// before, and hands it over.

const native = require('../native.js')
const { inflate } = require('./inflate.js')
const { Uploads, otherParser, receiveParts, secondReader } = require('./uploads/uploads.js')

const NO_BYTES = Buffer.alloc(0)

/**
 * A function that reads the body of a request as `reading` of the core's answer has it. It returns
 * whether the request has passed. `bodies` and `files` are those of the stack; the functions are
 * those of its conversation.
 */
function bodyReader({ owner, bodies, files, defers, keepsValid, attempt, abandon, go, fail, takeTicket, judgeBody }) {
  return function takeBody(ctx, reading) {
    // `102400`, or `102400 form`, or `102400 json gzip`
    const [most, format, coding] = reading.split(' ')
    const limit = Number(most)
    const { state } = ctx
    if (format === 'multipart') return takeParts(ctx)
    if (files !== null && limit > 0) throw otherParser()
    if (defers) {
      // It is judged already, or it is the bytes of another parser, which no schema asks for.
      if (state.judgedBy === owner || ctx.isForeignText()) return withoutBody(ctx)
      // This stack would refuse it, or its size is not announced, or other parts are checked, too.
      const isInDoubt = limit === 0 || coding !== undefined || keepsValid || state.isPending || lengthOf(ctx) === undefined
      const taker = isInDoubt ? ctx.taker() : null
      if (taker !== null) return leaveBody(ctx, taker)
    }
    if (state.raw === null && state.received !== null) return judgeReceived(ctx, state.received, coding, limit)
    // Bytes that were read before are already decompressed.
    const bytes = state.raw ?? ctx.bodyReadBefore(format === 'form')
    if (bytes !== null) return judgeBody(ctx, bytes)
    // Its headers are refused, whatever follows.
    if (limit === 0 && lengthOf(ctx) > 0) return refuseBody(ctx, 'unread')
    return receive(ctx, limit, bodies.timeout, (read) => judgeReceived(ctx, read, coding, limit))
  }

  // Reads a multipart body; the core keeps its fields, and `uploads` its files.
  function takeParts(ctx) {
    // The core asks once more after it has waited.
    if (ctx.uploads !== null) return go(ctx, native.decideParts(takeTicket(ctx)))
    const { state } = ctx
    if (state.isRead) throw secondReader()
    const read = ctx.bodyReadBefore(true)
    if (read?.length > 0) throw otherParser()
    const uploads = new Uploads(files ?? [])
    ctx.uploads = uploads
    state.uploads = [...(state.uploads ?? []), uploads]
    const receiving = receiveParts(ctx.openBody(), uploads, (chunk) => native.readParts(ctx.ticket, chunk), bodies.timeout)
    // Errors of the next handler must propagate, and not reject the promise.
    receiving.then((how) => setImmediate(() => attempt(ctx, () => partsReceived(ctx, how))), (error) => fail(ctx, error))
    return false
  }

  function partsReceived(ctx, how) {
    if (how === 'ended' && !ctx.isOver()) {
      ctx.onceOver(() => ctx.uploads.release())
      return go(ctx, native.decideParts(takeTicket(ctx)))
    }
    if (how === 'refused') return refuseBody(ctx, 'parts')
    if (how === 'late') return refuseBody(ctx, 'late')
    abandon(ctx)
    ctx.gone()
    return false
  }

  function receive(ctx, limit, timeout, then) {
    ctx.readBody(
      limit,
      timeout,
      (read) => attempt(ctx, () => {
        ctx.state.received = read
        return then(read)
      }),
      () => abandon(ctx),
      () => attempt(ctx, () => refuseBody(ctx, 'late'))
    )
    return false
  }

  function judgeReceived(ctx, bytes, coding, limit) {
    return coding === undefined ? judgeBody(ctx, bytes) : expand(ctx, bytes, coding, limit)
  }

  // Leaves the body to a later layer, which reads at most `maxBytes` within `timeout`. The bytes
  // are read here, so that no handler and no parser in between can read them unjudged.
  function leaveBody(ctx, { maxBytes, timeout }) {
    const leave = () => {
      ctx.keepPending()
      return withoutBody(ctx)
    }
    const { state } = ctx
    if ((state.raw ?? state.received ?? ctx.bodyReadBefore(false)) !== null) return leave()
    const limit = maxBytes ?? bodies.maxBytes
    if (lengthOf(ctx) > limit) return refuseBody(ctx, 'long')
    return receive(ctx, limit, timeout ?? bodies.timeout, (read) => (read.length > limit ? refuseBody(ctx, 'long') : leave()))
  }

  function expand(ctx, bytes, coding, limit) {
    // A body that is too large as received is refused without decompressing it.
    if (bytes.length > limit) return judgeBody(ctx, bytes)
    inflate(bytes, coding, bodies.ratio, limit, (expanded, fault) =>
      attempt(ctx, () => (fault === null ? judgeBody(ctx, expanded) : refuseBody(ctx, fault)))
    )
    return false
  }

  function lengthOf(ctx) {
    const length = ctx.view().get('content-length')
    return length === undefined ? undefined : Number(length)
  }

  function withoutBody(ctx) {
    return go(ctx, native.decideBody(takeTicket(ctx), NO_BYTES))
  }

  function refuseBody(ctx, why) {
    return go(ctx, native.refuseBody(takeTicket(ctx), why))
  }
}

module.exports = { bodyReader }

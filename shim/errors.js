'use strict'

/**
 * The error that the guard throws and rejects with. `code` is stable; docs/reference/errors.md has
 * a heading for each.
 */
class GuardError extends Error {
  constructor(message, { code, status, path, suggestion, faults, reason, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'GuardError'
    this.code = code
    if (status !== undefined) this.status = status
    if (path !== undefined) this.path = path
    if (suggestion !== undefined) this.suggestion = suggestion
    // Not enumerable: the message lists them already, and so would the print of an uncaught error.
    if (faults !== undefined) Object.defineProperty(this, 'faults', { value: faults.map(faultOf) })
    if (reason !== undefined) this.reason = reason
  }
}

/** A fault of a document without the members that it does not have. */
function faultOf({ suggestion, pointer, ...fault }) {
  return Object.freeze({ ...fault, pointer: pointer ?? '', ...(suggestion === null ? {} : { suggestion }) })
}

/** Unwraps an answer of the core, except answers to requests: `{"ok": ...}` or `{"error": ...}`. */
function unwrap(answer) {
  const { ok, error } = JSON.parse(answer)
  if (error !== undefined) {
    // For the operator only; the code that catches the error does not receive it.
    if (error.warning !== undefined) warnOnce(error.warning.code, error.warning.message)
    throw new GuardError(error.message, error)
  }
  return ok
}

/** The most messages that are shown for one code. */
const MAX_WARNINGS = 20

// The messages that were shown, by code.
const warned = new Map()

/**
 * Warns of each message once per process, with a code that docs/reference/errors.md explains: a
 * second fault of the same kind has another place or another name in its text.
 */
function warnOnce(code, message) {
  let shown = warned.get(code)
  if (shown === undefined) warned.set(code, (shown = new Set()))
  if (shown.has(message) || shown.size >= MAX_WARNINGS) return
  shown.add(message)
  warn(code, message)
}

/** Warns, each time. */
function warn(code, message) {
  process.emitWarning(message, {
    type: 'GuardWarning',
    code,
    detail: `see docs/reference/errors.md#${code.toLowerCase()}`
  })
}

// A stack frame as V8 writes it: `    at name (/app/file.js:1:2)`,
// `    at file:///app/file.mjs:1:2`.
const FRAME = /^ {4}at (?:.*\()?((?:file:\/\/|node:|\/|[A-Za-z]:\\)[^()]*:\d+:\d+)\)?$/

// The text before the message: `TypeError`, `TypeError [ERR_INVALID_ARG_TYPE]`.
const HEADER = /^[\w$.]{1,64}(?: \[\w{1,64}\])?$/

/**
 * Describes an error for the operator, without its message: `JSON.parse` and others quote client
 * input. Returns the name, the `code` and the place. Messages of a GuardError quote no input and
 * are kept.
 */
function describeError(error) {
  try {
    if (error instanceof GuardError) return error.message
    if (!(error instanceof Error)) return `a value of type ${typeof error} was thrown`
    const code = isWord(error.code) ? ` ${error.code}` : ''
    const place = placeOf(error)
    return `${isWord(error.name) ? error.name : 'Error'}${code}${place === undefined ? '' : ` at ${place}`}`
  } catch {
    return 'an error that cannot be read' // a getter or a proxy of the application
  }
}

const isWord = (value) => typeof value === 'string' && /^[\w$.-]{1,64}$/.test(value)

/**
 * The first frame. Lines of a message may look like frames, so the message must appear in the stack
 * unchanged, directly after the name and directly before the frames.
 */
function placeOf({ stack, message }) {
  if (typeof stack !== 'string' || typeof message !== 'string') return undefined
  const at = message === '' ? stack.indexOf('\n') : stack.indexOf(`: ${message}\n`)
  if (at === -1 || !HEADER.test(stack.slice(0, at))) return undefined
  const frames = stack.slice(message === '' ? at + 1 : at + message.length + 3).split('\n', 20)
  const frame = frames.find((line) => FRAME.test(line))
  return frame === undefined ? undefined : FRAME.exec(frame)[1]
}

module.exports = { GuardError, describeError, unwrap, warn, warnOnce }

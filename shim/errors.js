'use strict'

/** What the guard throws and rejects with. `code` is stable; docs/errors.md has a heading for each. */
class GuardError extends Error {
  constructor(message, { code, status, path, suggestion, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'GuardError'
    this.code = code
    if (status !== undefined) this.status = status
    if (path !== undefined) this.path = path
    if (suggestion !== undefined) this.suggestion = suggestion
  }
}

/** Unwraps what the core answers to anything but a request: `{"ok": ...}` or `{"error": ...}`. */
function unwrap(answer) {
  const { ok, error } = JSON.parse(answer)
  if (error !== undefined) {
    // What the operator is to know, and whoever catches the error is not.
    if (error.warning !== undefined) warnOnce(error.warning.code, error.warning.message)
    throw new GuardError(error.message, error)
  }
  return ok
}

const warned = new Set()

/** Warns once per process, with a code that docs/errors.md explains. */
function warnOnce(code, message) {
  if (warned.has(code)) return
  warned.add(code)
  warn(code, message)
}

/** Warns, each time. */
function warn(code, message) {
  process.emitWarning(message, {
    type: 'GuardWarning',
    code,
    detail: `see docs/errors.md#${code.toLowerCase()}`
  })
}

module.exports = { GuardError, unwrap, warn, warnOnce }

'use strict'

// What the calls of a guard take besides options: judged here, since a wrong type can't be written down for the core.

const { GuardError } = require('./errors.js')

function text(name, value) {
  if (typeof value === 'string' && value !== '') return value
  throw new GuardError(`\`${name}\` must be a string that is not empty`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

function count(name, value) {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) return value
  throw new GuardError(`\`${name}\` must be a whole number from 0 to 4294967295`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/** Seconds since 1970 from a number or a Date; undefined where none is given. */
function seconds(name, value) {
  if (value === undefined) return undefined
  const number = value instanceof Date ? Math.ceil(value.getTime() / 1000) : value
  if (Number.isFinite(number) && number >= 0 && number < 253402300800) return number
  throw new GuardError(`\`${name}\` must be a Date or seconds since 1970`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

module.exports = { count, seconds, text }

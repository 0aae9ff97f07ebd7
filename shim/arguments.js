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
  const number = value instanceof Date ? value.getTime() / 1000 : value
  if (Number.isFinite(number) && number >= 0 && number < 253402300800) return number
  throw new GuardError(`\`${name}\` must be a Date or seconds since 1970`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/** What `options` has under `name`, the only option that a call has. */
function onlyOption(options, name) {
  if (options === undefined) return undefined
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw new GuardError(`\`options\` must be an object such as { ${name} }`, { code: 'ERR_INVALID_ARGUMENT', path: 'options' })
  }
  for (const key of Object.keys(options)) {
    if (key === name) continue
    const path = `options.${key.slice(0, 80)}`
    throw new GuardError(`\`${path}\` is not an option; the only one is \`${name}\``, { code: 'ERR_UNKNOWN_OPTION', path })
  }
  return options[name]
}

module.exports = { count, onlyOption, seconds, text }

'use strict'

// Arguments of a guard's methods other than options. They are checked here, since a value of the
// wrong type can't be encoded for the core.

const { types } = require('node:util')
const { GuardError } = require('./errors.js')
const { readOptions } = require('./plain.js')

function text(name, value) {
  if (typeof value !== 'string' || value === '') {
    throw new GuardError(`\`${name}\` must be a string that is not empty`, { code: 'ERR_INVALID_ARGUMENT', path: name })
  }
  // Two different texts of this kind would be equal in UTF-8, which the core and the stores use.
  if (value.isWellFormed()) return value
  throw new GuardError(`\`${name}\` holds half of a surrogate pair; give well-formed text`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

function count(name, value) {
  if (Number.isInteger(value) && value >= 0 && value <= 0xffffffff) return value
  throw new GuardError(`\`${name}\` must be a whole number from 0 to 4294967295`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/** Seconds since 1970 from a number or a Date; undefined if none is given. */
function seconds(name, value) {
  if (value === undefined) return undefined
  const number = types.isDate(value) ? Date.prototype.getTime.call(value) / 1000 : value
  if (Number.isFinite(number) && number >= 0 && number < 253402300800) return number
  throw new GuardError(`\`${name}\` must be a Date or seconds since 1970`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/**
 * The last argument of a call, which may be left out; `rest` has all arguments from there on. An
 * explicit `undefined` throws: a misspelt name must not weaken a check.
 */
function optional(name, rest, absent) {
  if (rest.length === 0) return absent
  const given = last(name, rest)
  if (given !== undefined) return given
  throw new GuardError(`\`${name}\` is undefined; give it a value, or call without it`, { code: 'ERR_MISSING_OPTION', path: name })
}

/**
 * The call `name`, which refuses more arguments than `fn` has: an ignored argument could be the one
 * that matters.
 */
function exactly(name, fn) {
  return async (...given) => {
    if (given.length <= fn.length) return fn(...given)
    const most = fn.length === 1 ? 'one argument' : `${fn.length} arguments`
    throw new GuardError(`\`${name}\` takes ${most}; leave out what follows`, { code: 'ERR_INVALID_ARGUMENT', path: name })
  }
}

/** The last argument of a call, which is present; `rest` as in `optional`. */
function last(name, rest) {
  if (rest.length === 1) return rest[0]
  if (isMiddlewareCall(rest)) {
    throw new GuardError('a method of the guard was mounted without being called; write app.use(guard.securityStack()), with the brackets', {
      code: 'ERR_INVALID_ARGUMENT',
      path: name
    })
  }
  throw new GuardError(`\`${name}\` is the last argument; leave out what follows it`, { code: 'ERR_INVALID_ARGUMENT', path: name })
}

/** Whether a router has called with a request, its response and `next`. */
function isMiddlewareCall([req, res, next]) {
  return typeof req?.method === 'string' && typeof req.headers === 'object' && typeof res?.setHeader === 'function' && typeof next === 'function'
}

/** The only option `name` of a call. `rest` as in `optional`. */
function onlyOption(rest, name) {
  if (rest.length === 0) return undefined
  const given = optional('options', rest)
  if (given === null || typeof given !== 'object' || Array.isArray(given)) {
    throw new GuardError(`\`options\` must be an object such as { ${name} }`, { code: 'ERR_INVALID_ARGUMENT', path: 'options' })
  }
  const options = readOptions('options', given, { prefix: 'options' })
  for (const key of Object.keys(options)) {
    if (key === name) continue
    const path = `options.${key.slice(0, 80)}`
    throw new GuardError(`\`${path}\` is not an option; the only one is \`${name}\``, { code: 'ERR_UNKNOWN_OPTION', path })
  }
  return options[name]
}

/** What a function of a rate limit has returned, if it is a key or a cost. */
function checkedKey(name, option, value) {
  if (option === 'key' && typeof value === 'string' && value !== '') return value
  if (option === 'cost' && Number.isSafeInteger(value) && value >= 0) return value
  throw new GuardError(
    `the function \`${option}\` of the rate limit '${name}' must return ${option === 'key' ? 'a string that is not empty' : 'a whole number'}`,
    { code: 'ERR_INVALID_ARGUMENT' }
  )
}

module.exports = { checkedKey, count, exactly, last, onlyOption, optional, seconds, text }

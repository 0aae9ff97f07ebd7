'use strict'

// What the helpers of `keepstone/testing` take.

const { optional } = require('../arguments.js')
const { GuardError } = require('../errors.js')
const { readOptions } = require('../plain.js')

const UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** The options of a call, which may be left out; a key that is none of `known` throws. */
function readKnown(rest, known) {
  const options = readOptions('options', optional('options', rest, {}), { prefix: 'options' })
  refuseUnknown('options', options, known)
  return options
}

function refuseUnknown(name, options, known) {
  const unknown = Object.keys(options).find((key) => !known.includes(key))
  if (unknown === undefined) return
  const path = `${name}.${unknown.slice(0, 80)}`
  throw new GuardError(`\`${path}\` is not an option; the options are ${known.join(', ')}`, { code: 'ERR_UNKNOWN_OPTION', path })
}

/** A time span such as `'15m'`, in milliseconds. */
function readSpan(name, value) {
  const [, number, unit] = (typeof value === 'string' && /^(\d{1,15})(ms|s|m|h|d)$/.exec(value)) || []
  if (unit !== undefined) return Number(number) * UNITS[unit]
  if (Number.isSafeInteger(value) && value >= 0) throw invalid(name, `must have a unit; write '${value}s' for seconds or '${value}ms' for milliseconds`)
  throw invalid(name, "must be a whole number with one of the units ms, s, m, h, d, such as '15m'")
}

/** What is wrong with an argument, or with a member of `options`. */
function invalid(path, what) {
  const code = path.startsWith('options.') ? 'ERR_INVALID_OPTION' : 'ERR_INVALID_ARGUMENT'
  return new GuardError(`\`${path}\` ${what}`, { code, path })
}

module.exports = { invalid, readKnown, readSpan, refuseUnknown }

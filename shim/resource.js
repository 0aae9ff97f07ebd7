'use strict'

// The application's function for the resource of a request: `policy.input` of a route. Its result
// becomes `input.resource` of the policy, and nothing else of `input`.

const { encodeData } = require('./encode.js')
const { GuardError, describeError, warnOnce } = require('./errors.js')

const FAILED = { json: undefined, failure: 'failed' }

/**
 * Wraps the function: the result is `{ json, failure }`, or a promise of it that is never rejected
 * by the application. Without `json` there is no resource; with `failure` there is no answer. A
 * result that is not understood throws.
 */
function resourceOf(fn) {
  return (subject) => {
    let result
    try {
      result = fn(subject)
    } catch (error) {
      return failed(error)
    }
    return typeof result?.then === 'function' ? Promise.resolve(result).then(written, failed) : written(result)
  }
}

function failed(error) {
  warnOnce('GUARD_FAULT', `a request was refused with 503, since \`policy.input\` has failed: ${describeError(error)}`)
  return FAILED
}

function written(result) {
  if (result === null || result === undefined) return { json: undefined, failure: undefined }
  if (typeof result !== 'object' || Array.isArray(result)) throw unusable('something else')
  const other = Reflect.ownKeys(result).find((key) => key !== 'resource')
  if (other !== undefined) throw unusable('another member')
  const { resource } = result
  // `undefined` is what a search without a result returns.
  return { json: resource === undefined ? undefined : encodeData('resource', resource), failure: undefined }
}

function unusable(what) {
  return new GuardError(`the function \`policy.input\` must return { resource } or null, and has returned ${what}`, { code: 'ERR_INVALID_ARGUMENT' })
}

module.exports = { resourceOf }

'use strict'

// Response headers that the core has written, for any host.

const { validateHeaderName, validateHeaderValue } = require('node:http')

/**
 * Names and values in turn, checked, in the format of `putHeaders`: each name also in lower case.
 */
function prepareHeaders(pairs) {
  const fields = []
  for (let i = 0; i < pairs.length; i += 2) {
    validateHeaderName(pairs[i])
    validateHeaderValue(pairs[i], pairs[i + 1])
    fields.push(pairs[i].toLowerCase(), pairs[i], pairs[i + 1])
  }
  return fields
}

/** Adds names to `Vary`, and keeps those of other handlers. */
function addVary(res, value) {
  const old = res.getHeader('Vary')
  if (old === undefined) return res.setHeader('Vary', value)
  const have = String(old).toLowerCase().split(/\s*,\s*/)
  if (have.includes('*')) return
  const more = value.split(', ').filter((name) => !have.includes(name.toLowerCase()))
  if (more.length > 0) res.setHeader('Vary', `${old}, ${more.join(', ')}`)
}

module.exports = { addVary, prepareHeaders }

'use strict'

const native = require('../native.js')
const { problemOf } = require('./problem.js')

const FAULT = problemOf(500, 'response_mismatch')
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** Whether a client may read an answer of this `Content-Type` as JSON. */
const isJsonType = (type) => JSON_TYPE.test(String(type ?? '').trim())

/**
 * Judges a JSON answer by the response schemas of a stack. `mode` is 'strip', 'warn' or 'fail';
 * `report(status, problem)` gets what is wrong with an answer, the text of a problem document, or
 * null where it only has members that no schema names. Returns null where the answer goes out as it
 * is, otherwise `{ text, isFault }`: what to send instead, and whether that is the problem document
 * of a 500.
 */
function checkAnswer({ stack, mode, report }, status, bytes) {
  const answer = native.judgeResponse(stack, Number(status) >>> 0, bytes)
  if (answer === undefined) return null
  const stripped = answer[0] === '0' ? answer.slice(1) : null
  if (stripped !== null && mode === 'strip') return { text: stripped, isFault: false }
  report(status, stripped === null ? answer.slice(1) : null)
  return mode === 'warn' ? null : { text: FAULT, isFault: true }
}

module.exports = { checkAnswer, isJsonType }

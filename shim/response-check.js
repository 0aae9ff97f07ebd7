'use strict'

const native = require('../native.js')
const { problemOf } = require('./problem.js')

const FAULT = problemOf(500, 'response_mismatch')
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i

/** Whether a client may read an answer of this `Content-Type` as JSON. */
const isJsonType = (type) => JSON_TYPE.test(String(type ?? '').trim())

/**
 * Checks a JSON answer against the response schemas of a stack. `mode` is 'strip', 'warn' or
 * 'fail'. `report(status, problem)` receives the errors of an answer as the text of a problem
 * document, or null if it only has undeclared members. Returns null if the answer is to be sent as
 * it is, otherwise `{ text, isFault }`: the text to send instead, and whether it is the problem
 * document of a 500.
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

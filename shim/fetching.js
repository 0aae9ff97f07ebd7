'use strict'

// Requests to issuers that the core schedules. This file does what only Node can: the request
// itself, with the proxies and certificate authorities of the application.

const { AsyncResource } = require('node:async_hooks')
const { unwrap, warn } = require('./errors.js')
const { looks } = require('./shared.js')
const { onFlush } = require('./store.js')

/** The most headers that the application's function may give. */
const MAX_HEADERS = 16

onFlush(() => {
  for (const look of looks) look()
})

/**
 * Carries out the requests of a guard while it is open. Only a request in flight keeps the process
 * alive.
 *
 * `due()` calls the core, and answers `{ requests, in, notices }`. `carryOut(request, signal)`
 * resolves with a call of the core that takes the answer, within `timeout(request)` milliseconds.
 * Returns the function that ends it.
 */
function follow(handle, due, carryOut, timeout) {
  // The controllers of all requests in flight.
  const running = new Set()
  let stopped = false
  // Not in the async context of the request that happens to set the timer.
  const context = new AsyncResource('KEEPSTONE_ISSUERS', { requireManualDestroy: false })
  let timer
  const look = () => context.runInAsyncScope(lookNow)
  looks.add(look)
  look()
  return stop

  function lookNow() {
    clearTimeout(timer)
    if (stopped) return
    const found = asked(() => due(handle))
    if (found === undefined) return
    for (const notice of found.notices) warn(notice.code, notice.message)
    for (const request of found.requests) void run(request)
    if (found.in === null) return
    timer = setTimeout(look, found.in)
    timer.unref()
  }

  async function run(request) {
    const controller = new AbortController()
    running.add(controller)
    const late = setTimeout(() => controller.abort(new TooLate()), timeout(request))
    late.unref()
    const tell = await carryOut(request, controller.signal)
    clearTimeout(late)
    running.delete(controller)
    if (stopped) return
    const notice = asked(() => tell(handle))
    if (notice != null) warn(notice.code, notice.message)
    look()
  }

  // A guard that is closed or collected returns nothing more.
  function asked(call) {
    try {
      return unwrap(call())
    } catch {
      stop()
      return undefined
    }
  }

  function stop() {
    stopped = true
    looks.delete(look)
    clearTimeout(timer)
    for (const controller of running) controller.abort()
  }
}

/** The headers that a function of the application gives, or none without one. */
async function headersFrom(fn, signal) {
  if (fn === undefined) return {}
  try {
    const late = new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }))
    const given = await Promise.race([fn(), late])
    if (!isPlain(given)) throw new NoHeaders()
    return Object.fromEntries(new Headers(given))
  } catch (error) {
    if (error instanceof TooLate) throw error
    throw new NoHeaders()
  }
}

/** Whether it is an object of strings: `Headers` makes a value of anything, also of `undefined`. */
function isPlain(given) {
  if (given === null || typeof given !== 'object' || Array.isArray(given)) return false
  const values = Object.values(given)
  return values.length <= MAX_HEADERS && values.every((value) => typeof value === 'string' && value !== '')
}

/**
 * The response to a request and its body, which is empty unless the status is 200. At most
 * `maxBytes` are held in memory: `content-length` may be missing or wrong.
 */
async function request(url, options, maxBytes) {
  const response = await fetch(url, { ...options, redirect: 'error', credentials: 'omit', referrerPolicy: 'no-referrer' })
  if (response.status !== 200) {
    await response.body?.cancel()
    return { response, body: Buffer.alloc(0) }
  }
  const chunks = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > maxBytes) throw new TooLarge()
    chunks.push(chunk)
  }
  return { response, body: Buffer.concat(chunks, length) }
}

class TooLarge extends Error {}
class TooLate extends Error {}
class NoHeaders extends Error {}

/** The name that the core has for an error of a request. */
function kindOf(error) {
  if (error instanceof TooLarge) return 'too-large'
  if (error instanceof TooLate) return 'timeout'
  if (error instanceof NoHeaders) return 'headers'
  const { code, message } = error?.cause ?? {}
  if (message === 'unexpected redirect') return 'redirect'
  if (/^(UND_ERR_\w*TIMEOUT|ETIMEDOUT)$/.test(code)) return 'timeout'
  return /CERT|TLS|SSL|UNABLE_TO_/.test(code) ? 'tls' : 'network'
}

module.exports = { follow, headersFrom, kindOf, request }

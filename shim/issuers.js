'use strict'

// Fetches the keys that issuers publish. The core decides when and where, and which keys are valid
// (src/remote_keys). This file does what only Node can: the request itself, with the proxies and
// certificate authorities of the application.

const { AsyncResource } = require('node:async_hooks')
const native = require('../native.js')
const { unwrap, warn } = require('./errors.js')
const { onFlush } = require('./store.js')

/** How long an issuer may take for its whole answer. */
const TIMEOUT_MS = 5000
const MAX_BYTES = 256 * 1024
/** The most headers that the application's function may give. */
const MAX_HEADERS = 16

// By guard: the function that checks whether a fetch is due.
const looks = new Map()
onFlush(() => {
  for (const look of looks.values()) look()
})

/**
 * Fetches the keys of a guard's issuers while the guard is open. Only a fetch in flight keeps the
 * process alive.
 */
function followIssuers(handle, functions) {
  // The controllers of all fetches in flight.
  const running = new Set()
  let stopped = false
  // Not in the async context of the request that happens to set the timer.
  const context = new AsyncResource('KEEPSTONE_ISSUERS', { requireManualDestroy: false })
  let timer
  const look = () => context.runInAsyncScope(lookNow)
  looks.set(handle, look)
  look()
  return stop

  function lookNow() {
    clearTimeout(timer)
    if (stopped) return
    const due = asked(native.keysDue, handle)
    if (due === undefined) return
    for (const notice of due.notices) warn(notice.code, notice.message)
    for (const wanted of due.fetch) void carryOut(wanted)
    if (due.in === null) return
    timer = setTimeout(look, due.in)
    timer.unref()
  }

  async function carryOut({ issuer, number, url, headers }) {
    const controller = new AbortController()
    running.add(controller)
    const late = setTimeout(() => controller.abort(new TooLate()), TIMEOUT_MS)
    late.unref()
    let tell
    try {
      const more = await headersOf(functions, issuer, controller.signal)
      const { head, body } = await get(url, { ...more, ...headers }, controller.signal)
      tell = () => asked(native.keysFetched, handle, issuer, number, JSON.stringify(head), body)
    } catch (error) {
      tell = () => asked(native.keysFailed, handle, issuer, number, kindOf(error))
    }
    clearTimeout(late)
    running.delete(controller)
    if (stopped) return
    const notice = tell()
    if (notice != null) warn(notice.code, notice.message)
    look()
  }

  // A guard that is closed or collected returns nothing more.
  function asked(fn, ...args) {
    try {
      return unwrap(fn(...args))
    } catch {
      stop()
      return undefined
    }
  }

  function stop() {
    stopped = true
    looks.delete(handle)
    clearTimeout(timer)
    for (const controller of running) controller.abort()
  }
}

/**
 * The headers that the application's function gives for the key set of an issuer, by its number.
 */
async function headersOf(functions, issuer, signal) {
  const fn = functions.get(`jwt.issuers[${issuer}].jwks.headers`) ?? functions.get('jwt.jwks.headers')
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

async function get(url, headers, signal) {
  const response = await fetch(url, { headers, signal, redirect: 'error', credentials: 'omit', referrerPolicy: 'no-referrer' })
  const field = (name) => response.headers.get(name) ?? undefined
  const head = {
    status: response.status,
    etag: field('etag'),
    lastModified: field('last-modified'),
    cacheControl: field('cache-control'),
    age: field('age')
  }
  if (response.status !== 200) {
    await response.body?.cancel()
    return { head, body: Buffer.alloc(0) }
  }
  return { head, body: await readAll(response) }
}

/**
 * The body. At most the limit is held in memory: `content-length` may be missing or wrong.
 */
async function readAll(response) {
  const chunks = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > MAX_BYTES) throw new TooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length)
}

class TooLarge extends Error {}
class TooLate extends Error {}
class NoHeaders extends Error {}

function kindOf(error) {
  if (error instanceof TooLarge) return 'too-large'
  if (error instanceof TooLate) return 'timeout'
  if (error instanceof NoHeaders) return 'headers'
  const { code, message } = error?.cause ?? {}
  if (message === 'unexpected redirect') return 'redirect'
  if (/^(UND_ERR_\w*TIMEOUT|ETIMEDOUT)$/.test(code)) return 'timeout'
  return /CERT|TLS|SSL|UNABLE_TO_/.test(code) ? 'tls' : 'network'
}

module.exports = { followIssuers }

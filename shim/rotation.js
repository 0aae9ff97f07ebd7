'use strict'

// Signing keys that change by themselves: the core says what is due, this has the timer and calls
// the application.

const native = require('../native.js')
const { GuardError, describeError, unwrap, warnOnce } = require('./errors.js')
const { refLoop, later, unrefLoop } = require('./store.js')

/** How often it is looked at what others have changed, and at what is due. */
const LOOK_MS = 60_000
/**
 * Until the first keys are there; twice as long after each failure, and at most until the next
 * look.
 */
const RETRY_MS = 1_000
/** How long a storage may take: the application's functions, or a file system. */
const PATIENCE_MS = 10_000
const TRIES = 5

/**
 * Keeps the keys of a guard going. `functions` are those of its options.
 * `rotate()` lets the next key sign; `stop()` ends the timer.
 */
function keepRotating(handle, where, functions) {
  const storage = where === 'callbacks' ? callbacks(functions) : null
  let timer = null
  let stopped = false
  const turn = storage === null ? turnOfFile(handle) : turnBy(handle, storage, () => stopped)
  // Keys in a file are there when the guard is.
  let loaded = storage === null
  let retry = RETRY_MS
  let before = Promise.resolve()

  // One after the other: what has been read is not what is there any more once something was saved.
  const next = (force) => {
    const turned = before.then(async () => {
      const result = await turn(force)
      if (result.notice !== null) warnOnce('GUARD_KEY_CLOCK', result.notice)
      return result
    })
    before = turned.catch(() => {})
    return turned
  }
  const look = async () => {
    let pause = LOOK_MS
    try {
      await next(false)
      loaded = true
    } catch (error) {
      if (stopped) return
      if (!loaded) {
        pause = retry
        retry = Math.min(retry * 2, LOOK_MS)
      }
      // An application may throw anything.
      warnOnce('GUARD_KEY_ROTATION', `the signing keys can't be looked after: ${describeError(error)}`)
    }
    wait(pause)
  }
  const wait = (pause) => {
    if (stopped) return
    timer = setTimeout(look, pause)
    // It must not hold the process open.
    timer.unref()
  }

  look()
  return {
    rotate: async () => {
      const { kid, from } = await next(true)
      return { kid, from }
    },
    stop() {
      stopped = true
      clearTimeout(timer)
    }
  }
}

/**
 * Another thread looks at the file: a file system may be slow, and another process may write. The
 * process does not end before it has looked, or was too late.
 */
function turnOfFile(handle) {
  return async (force) => {
    refLoop()
    try {
      return await inTime('the key file', later(native.rotationTick(handle, force), false))
    } finally {
      unrefLoop()
    }
  }
}

function turnBy(handle, { load, save }, isStopped) {
  return async (force) => {
    let forced = null
    let notice = null
    for (let tries = 0; tries < TRIES; tries += 1) {
      const found = (await inTime('`load`', load())) ?? null
      if (found !== null && typeof found !== 'string') throw storageError('`load` must give the text that `save` was given, or null')
      // A guard that was closed meanwhile saves nothing.
      if (isStopped()) throw storageError('the guard is closed')
      const turn = unwrap(native.rotationTake(handle, found, force && forced === null))
      notice ??= turn.notice
      if (turn.save === null) return { ...(forced ?? turn), notice }
      // What is not saved is not used, and what another process has saved meanwhile counts: so it
      // is loaded again.
      if ((await inTime('`save`', save(turn.save, found))) !== false && force) forced ??= turn
    }
    throw storageError('`load` does not give what was saved, or other processes save again and again')
  }
}

/**
 * What a storage answers, or an error where it never does: the next turn must not wait for ever.
 */
async function inTime(name, promise) {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(storageError(`${name} has not answered within ${PATIENCE_MS / 1000} seconds`)), PATIENCE_MS)
    timer.unref()
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

function storageError(message) {
  return new GuardError(message, { code: 'ERR_KEY_STORAGE', status: 503 })
}

function callbacks(functions) {
  const of = (name) => [...functions].find(([path]) => path.endsWith(`.rotation.storage.${name}`))[1]
  return { load: of('load'), save: of('save') }
}

module.exports = { keepRotating }

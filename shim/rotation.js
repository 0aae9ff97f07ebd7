'use strict'

// Signing keys that rotate automatically: the core decides which step is due; this file has the
// timer and calls the application.

const native = require('../native.js')
const { GuardError, describeError, unwrap, warnOnce } = require('./errors.js')
const { refLoop, later, unrefLoop } = require('./store.js')

/** The interval of the checks for changes by other processes and for due steps. */
const LOOK_MS = 60_000
/**
 * The first delay before loading the first keys again. It doubles after each failure, up to the
 * interval.
 */
const RETRY_MS = 1_000
/** The timeout of a storage: the application's functions, or a file system. */
const PATIENCE_MS = 10_000
const TRIES = 5

/**
 * Maintains the keys of a guard. `functions` are those of its options. `rotate()` makes the next
 * key sign; `stop()` ends the timer.
 */
function keepRotating(handle, where, functions) {
  const storage = where === 'callbacks' ? callbacks(functions) : null
  let timer = null
  let stopped = false
  const turn = storage === null ? turnOfFile(handle) : turnBy(handle, storage, () => stopped)
  // Keys in a file exist as soon as the guard does.
  let loaded = storage === null
  let retry = RETRY_MS
  let before = Promise.resolve()

  // Turns run one after the other: a turn must not use data that was read before another turn
  // saved.
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
    // It must not keep the process alive.
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
 * Another thread accesses the file: a file system may be slow, and another process may be writing.
 * The process stays alive until that is done or has timed out.
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
      // Unsaved keys are not used, and another process's saved keys take precedence. So the storage
      // is loaded again.
      if ((await inTime('`save`', save(turn.save, found))) !== false && force) forced ??= turn
    }
    throw storageError('`load` does not give what was saved, or other processes save again and again')
  }
}

/**
 * The answer of a storage, or an error after the timeout: the next turn must not wait forever.
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

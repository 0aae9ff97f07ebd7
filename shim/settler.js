'use strict'

// Waits for promises of the application: an identity, a key of a limit, a check of a schema.

/**
 * A function that waits for a promise, at most `ms`, while the request holds its ticket. Then
 * either `onResult(value)` or `onTimeout()` runs; a rejection is a fault. Neither runs once the
 * client has gone. `attempt` and `abandon` are those of the conversation.
 */
function settler(attempt, abandon) {
  return function whenSettled(ctx, promise, ms, onResult, onTimeout) {
    let isSettled = false
    const settle = (step) => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      cancel()
      // Errors of the next handler must propagate, and not reject the promise.
      setImmediate(() => attempt(ctx, () => {
        if (!ctx.isOver()) return step()
        abandon(ctx)
        return false
      }))
    }
    const timer = setTimeout(() => settle(onTimeout), ms)
    // The connection keeps the process alive while it is open.
    timer.unref()
    const cancel = ctx.onceClosed(() => {
      isSettled = true
      clearTimeout(timer)
      abandon(ctx)
    })
    promise.then(
      (value) => settle(() => onResult(value)),
      (error) => settle(() => {
        throw error
      })
    )
    return false
  }
}

module.exports = { settler }

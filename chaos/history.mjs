// What was done to the servers and processes, and what that excuses.

import { now, overlap } from './time.mjs'

const KEPT_EVENTS = 60
/** An answer of the store that takes this long may come too late for the limits. */
const SLOW = 300
/** A loss is noted by so much later than it has happened. */
const NOTED = 1_000

export function startHistory() {
  const start = now()
  const events = []
  const faults = []
  const losses = []
  const clockSteps = []
  const gone = []
  const stalls = []
  const slow = []
  const divided = []
  const at = (time) => `${((time - start) / 1_000).toFixed(3)} s`

  const inSpan = (times, from, to) => times.filter((time) => from <= time && time <= to).length
  const touches = (spans, from, to) => spans.some((span) => span[0] <= to && from <= span[1])

  const history = {
    at,
    faults,
    stalls,
    note(text) {
      events.push(`${at(now())}  ${text}`)
      if (events.length > KEPT_EVENTS) events.shift()
    },
    /** The last events, a line each. */
    events: () => [...events],

    /**
     * A fault begins. `outage`: the store may give no answer to somebody.
     */
    begin(name, { outage = true } = {}) {
      const fault = { name, from: now(), to: Infinity, outage }
      faults.push(fault)
      history.note(`${name} begins`)
      return {
        fault,
        end() {
          fault.to = now()
          history.note(`${name} has ended`)
        }
      }
    },
    /**
     * For one fault: `lose(what)` says that the servers may have lost what was stored before. All
     * that one fault loses counts once. With `twoTakeWrites`, a primary that was replaced may take
     * writes for so long, and those are lost.
     */
    loss() {
      const loss = { from: Infinity, to: -Infinity }
      return (what, twoTakeWrites = 0) => {
        if (loss.from === Infinity) losses.push(loss)
        loss.from = Math.min(loss.from, now())
        loss.to = now() + twoTakeWrites
        // The new one may have taken its place a moment before that was seen.
        if (twoTakeWrites > 0) divided.push([now() - 1_000, loss.to])
        history.note(`data may be lost: ${what}`)
      }
    },
    serverClockSet(milliseconds) {
      clockSteps.push(now())
      history.note(`the clock of the server is set by ${milliseconds} ms`)
    },
    /** A process died, or nobody could reach it, or it nobody, from `from` on. */
    processGone: (process, from, to) => gone.push({ process, from, to }),
    answered({ began, ended, status }) {
      if (ended - began > SLOW && status !== 0) slow.push([began, ended])
    },

    lossesIn: (from, to) => losses.filter((loss) => loss.from - NOTED <= to && from <= loss.to).length,
    clockStepsIn: (from, to) => inSpan(clockSteps, from, to),
    /** Whether somebody may not have reached the store in the span, or waited for it in vain. */
    isDisturbed(from, to) {
      const outages = faults.filter(({ outage }) => outage).map(({ from, to }) => [from, to])
      return touches(outages, from, to) || touches(stalls, from, to) || touches(slow, from, to)
    },
    /** Whether two servers may have taken writes then. */
    wasDivided: (time) => touches(divided, time, time),
    /** How long the machine was too busy to be judged. */
    stalled: (from, to) => overlap(stalls, from, to),
    /**
     * Whether what was stored at `stored` by a process may be lost for good: the servers lost it,
     * and the process that could put it back was gone.
     */
    mayBeLost({ stored, by }) {
      return losses.some(({ to }) => to >= stored - 1_000) && gone.some(({ process, to }) => process === by && to >= stored - 1_000)
    }
  }
  return history
}

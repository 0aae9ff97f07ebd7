// The time that all parts of the run agree on, and when the machine was too busy to be judged.

/** Milliseconds by the clock of the machine that nobody sets: the same one in every process. */
export const now = () => Number(process.hrtime.bigint() / 1_000n) / 1_000

const TICK = 20
/** An event loop that is late by this much has stalled. */
const LATE = 100
const KEPT = 50

/** Keeps the last spans `[from, to]` in which the event loop of this process did not run. */
export function watchStalls() {
  const spans = []
  let last = now()
  setInterval(() => {
    const at = now()
    if (at - last > TICK + LATE) spans.push([last, at])
    if (spans.length > KEPT) spans.shift()
    last = at
  }, TICK).unref()
  return spans
}

/** How many milliseconds of the span are in at least one of the spans. */
export function overlap(spans, from, to) {
  let covered = 0
  let end = from
  for (const [a, b] of spans.toSorted(([a], [b]) => a - b)) {
    const [start, stop] = [Math.max(a, end), Math.min(b, to)]
    if (stop <= start) continue
    covered += stop - start
    end = stop
  }
  return covered
}

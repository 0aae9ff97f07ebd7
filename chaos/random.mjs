// Random numbers by a seed (mulberry32).

export function randomBy(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
  const between = (least, most) => least + next() * (most - least)
  return {
    /** A number in the range. */
    between,
    /** A whole number in the range, both ends included. */
    whole: (least, most) => Math.floor(between(least, most + 1)),
    pick: (list) => list[Math.floor(next() * list.length)],
    chance: (share) => next() < share
  }
}

// What leases cost and what they let through, simulated: processes that ask a store for a key's
// quota as src/limit/remote does, requests that come at random. It backs the figures of
// docs/internals/guarantees.md and runs in a few seconds, without a store. Usage: node
// bench/simulate.mjs

const SPAN = 1 // seconds that a lease lasts, where the window is 50 s or longer
const SHARE = 0.75 // of what a process expects to need within it
const BELIEVED = 1 // seconds that a refusal is believed at most
const SECONDS = 180
const WINDOW = 60 // seconds in which admissions are counted for the bound

/** A generator of numbers from 0 to 1, the same at every run (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/**
 * The quota of one key in the store: GCRA, as a level that falls by `rate` and may be at most
 * `burst`.
 */
class Quota {
  constructor(rate, burst) {
    Object.assign(this, { rate, burst, level: 0, at: 0, commands: 0 })
  }

  settle(now) {
    this.level = Math.max(0, this.level - (now - this.at) * this.rate)
    this.at = now
  }

  take(now, amount) {
    this.commands += 1
    this.settle(now)
    const fits = this.level + amount <= this.burst
    if (fits) this.level += amount
    return { fits, left: Math.floor(this.burst - this.level), wait: fits ? 0 : (this.level + amount - this.burst) / this.rate }
  }

  giveBack(now, amount) {
    this.commands += 1
    this.settle(now)
    this.level = Math.max(0, this.level - amount)
  }
}

/** What one process knows of the key. */
class Process {
  left = 0
  until = 0
  deniedUntil = 0
  known = 0
  asked = 0
  second = -1
  now = 0
  before = 0

  admit(quota, instances, time) {
    const second = Math.floor(time)
    if (second !== this.second) {
      this.before = second === this.second + 1 ? this.now : 0
      this.second = second
      this.now = 0
    }
    this.now += 1
    if (time < this.deniedUntil) return false
    if (time < this.until && this.left > 0) {
      this.left -= 1
      return true
    }
    if (this.left > 0) quota.giveBack(time, this.left)
    this.left = 0
    const expected = Math.ceil(Math.max(this.now, this.before) * SPAN * SHARE)
    // What was left when the store was asked last, and what has come back since.
    const left = Math.min(quota.burst, this.known + (time - this.asked) * quota.rate)
    const mine = Math.floor(left / instances)
    const wanted = Math.max(1, Math.min(expected, mine))
    let answer = quota.take(time, wanted)
    let got = wanted
    if (!answer.fits && wanted > 1) {
      answer = quota.take(time, 1)
      got = 1
    }
    this.known = answer.left
    this.asked = time
    if (!answer.fits) {
      this.deniedUntil = time + Math.min(Math.max(answer.wait, SPAN / 10), BELIEVED)
      return false
    }
    this.left = got - 1
    this.until = time + SPAN
    return true
  }
}

function simulate({ rate, burst, processes, load }) {
  const next = random(7)
  const quota = new Quota(rate, burst)
  const all = Array.from({ length: processes }, () => new Process())
  const admitted = []
  let requests = 0
  for (let time = 0; time < SECONDS; time += -Math.log(1 - next()) / (rate * load)) {
    requests += 1
    if (all[Math.floor(next() * processes)].admit(quota, processes, time)) admitted.push(time)
  }
  let most = 0
  for (let from = 0, to = 0; to < admitted.length; to += 1) {
    while (admitted[to] - admitted[from] > WINDOW) from += 1
    most = Math.max(most, to - from + 1)
  }
  const possible = Math.min(requests, burst + rate * SECONDS)
  return {
    'rate/s': rate, processes, 'load %': load * 100,
    'commands per request': Number((quota.commands / requests).toFixed(3)),
    'admitted, % of what could be': Number(((100 * admitted.length) / possible).toFixed(1)),
    [`most in ${WINDOW} s`]: most,
    bound: burst + rate * (WINDOW + SPAN)
  }
}

const rows = []
for (const processes of [8, 50]) {
  for (const rate of [10, 100, 1000, 10_000]) {
    for (const load of [0.6, 0.95, 3]) rows.push(simulate({ rate, burst: rate * 6, processes, load }))
  }
}
console.table(rows)
const broken = rows.filter((row) => row[`most in ${WINDOW} s`] > row.bound)
console.log(broken.length === 0 ? 'the bound held in every row' : `the bound was broken in ${broken.length} rows`)

// Clients that go up to their limits and beyond, and such as stay far below.

import { setTimeout as sleep } from 'node:timers/promises'
import { EXACT, LONGEST_HOLD, POLITE, PROCESSES } from '../limits.mjs'
import { now } from '../time.mjs'

const as = (client) => ({ 'x-client': client })

/** A key after the other: more at once than it has, then one now and then. */
export async function useUp(context) {
  const { services, random, watch, numbers } = context
  while (!context.isOver()) {
    const key = `exact-${numbers.next()}`
    const seen = { asked: 0, admitted: 0, began: now() }
    const visit = async () => {
      seen.asked += 1
      const { status, ended } = await random.pick(services).ask({ path: '/exact', headers: as(key) })
      if (status === 429) watch.exactRefused(key, seen.asked)
      if (status !== 200) return
      seen.admitted += 1
      watch.exactAdmitted(key, { count: seen.admitted, began: seen.began, ended })
    }
    const until = now() + random.between(3_000, 10_000)
    await visits(random.whole(1, EXACT.limit), visit)
    await visits(2 * EXACT.limit, visit)
    while (now() < until && !context.isOver()) {
      await visit()
      await sleep(random.between(100, 400))
    }
  }
}

const visits = (count, visit) => Promise.all(Array.from({ length: count }, visit))

/** A busy key at `perSecond` requests, whichever process they meet; another key after a while. */
export async function keepBusy(context, path, perSecond, judge) {
  const { services, random, numbers } = context
  while (!context.isOver()) {
    const key = `${path.slice(1)}-${numbers.next()}`
    const admitted = []
    const until = now() + random.between(10_000, 20_000)
    const visit = async () => {
      const { status, began, ended } = await random.pick(services).ask({ path, headers: as(key) })
      if (status !== 200) return
      admitted.push({ began, ended })
      judge(admitted)
    }
    const under = new Set()
    while (now() < until && !context.isOver()) {
      const visiting = visit().finally(() => under.delete(visiting))
      under.add(visiting)
      await sleep(1_000 / perSecond)
    }
    await Promise.all(under)
  }
}

/** Clients of which none comes near its part of the limit. */
export async function stayPolite(context) {
  const { services, random, watch, numbers } = context
  while (!context.isOver()) {
    const key = `polite-${numbers.next()}`
    for (let left = POLITE.limit / PROCESSES / 2; left > 0 && !context.isOver(); left--) {
      watch.politeAnswered(await random.pick(services).ask({ path: '/polite', headers: as(key) }))
      await sleep(random.between(20, 150))
    }
  }
}

/** Holds places, more than there are, and leaves some of them early. */
export async function takePlaces(context) {
  const { services, random, watch } = context
  const spans = []
  const hold = async () => {
    const ms = Math.round(random.between(200, LONGEST_HOLD))
    const leaves = random.chance(0.2)
    const onHead = (request) => leaves && setTimeout(() => request.destroy(), ms / 2)
    const { status, text, ended } = await random.pick(services).ask({ path: `/places?ms=${ms}`, headers: as('one'), onHead })
    const [from, to = ended] = /^\[?([\d.]+),?([\d.]+)?/.exec(text)?.slice(1).map((time) => time && Number(time)) ?? []
    if (from !== undefined && (status === 200 || status === 0)) spans.push([from, to])
  }
  while (!context.isOver()) {
    void hold()
    await sleep(110)
    // Those that could still overlap with one that is under way stay.
    if (spans.length > 100) {
      watch.placesTaken(spans.splice(0, 80))
    }
  }
  watch.placesTaken(spans)
}

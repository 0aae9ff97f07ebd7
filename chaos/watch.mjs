// The promises of the documentation, each by its id, and whether what clients see keeps them.
//
// docs/internals/guarantees.md has the sentences and the bounds; the folders of src/simulation/
// have those that the simulation plays.

import { EXACT, LEASED, LONGEST_HOLD, MAX_STALENESS, PACED, PLACES, REUSE_WINDOW, milliseconds, rateOf } from './limits.mjs'
import { now } from './time.mjs'

export const PROMISES = {
  'revocation.bound': 'no process takes a token that was revoked longer than maxStaleness ago',
  'revocation.here': 'the process that revokes refuses the token from then on',
  'revocation.good': 'a token that nobody has revoked is never refused as one',
  'token.good': 'a good token is answered with 200 or 503',
  'session.ended': 'a session that was ended gives no tokens',
  'session.current': 'the current token of a session is never taken for a used one',
  'limit.exact': 'a key is admitted at most burst + rate x W in any span W by the store\'s clock',
  'limit.leased': 'a key is admitted at most burst + rate x (W + lease), and its local parts in an outage',
  'limit.good': 'a client that stays within its limit is never refused',
  'places.bound': 'at most `concurrent` requests of a key are under way',
  'proof.once': 'a DPoP proof is used once over all processes',
  'list.known': 'a block or its end is known to every process within 3 s',
  'store.recovery': 'every process gives normal answers within 2 s of the end of a fault',
  'cluster.others': 'a node that hangs changes no answer for the keys of others',
  'process.up': 'no process ends by itself'
}

/** How late an answer may be decided after the bound: the way of the request. */
const SLACK = 100
const LEASE = 1_000
/** After so many milliseconds every stall of a process is known. */
export const RECONSIDERED = 2_500
const MAX_VIOLATIONS = 20
const KNOWN_WITHIN = 3_000
/** The window is over for a client a little before the server says so. */
const REUSE_CERTAIN = REUSE_WINDOW - 1_000

/** What need not be looked at. */
const holds = () => true

/** `clocksDiffer` is by how many milliseconds processes may differ in reading the store's clock. */
export function startWatch(history, { clocksDiffer = 0 } = {}) {
  const checked = Object.fromEntries(Object.keys(PROMISES).map((id) => [id, 0]))
  const violations = []
  const violated = (id, what, at, events) => {
    if (violations.length < MAX_VIOLATIONS) violations.push({ id, what, at: history.at(at), events })
    history.note(`VIOLATION ${id}: ${what}`)
  }
  /**
   * Counts a check. Where it does not hold it is looked at again later: what excuses it (a process
   * that had stalled) may not be known yet.
   */
  const check = (id, holds, what) => {
    checked[id] += 1
    if (holds()) return
    const [at, text, events] = [now(), what(), history.events()]
    setTimeout(() => holds() || violated(id, text, at, events), RECONSIDERED)
  }
  return { checked, violations, check, ...tokens(history, check), ...limits(history, check, clocksDiffer), ...lists(history, check) }
}

function tokens(history, check) {
  const isExcused = (ended) => history.mayBeLost(ended)
  return {
    /**
     * A request with the access token of a session. `session.ending` is true from the moment when
     * somebody began to end it, `session.ended` is `{ stored, by, generation }` once that was
     * acknowledged.
     */
    tokenAnswered({ ending, ended, hasWrongTimes }, { status, code, began, process, generation, hasWrongClock }) {
      if (status === 0 || status === 503) return
      if (status !== 200) {
        if (ending || hasWrongTimes || hasWrongClock) return
        const id = code === 'token_revoked' ? 'revocation.good' : 'token.good'
        return check(id, () => false, () => `process ${process} answers ${status} ${code} to a good token`)
      }
      if (ended === undefined) {
        if (!ending) for (const id of ['revocation.good', 'token.good']) check(id, holds)
        return
      }
      const late = began - ended.stored
      const what = () => `process ${process} takes a token ${Math.round(late)} ms after ${ended.by} had its end stored (${ended.kind})`
      if (ended.by === process && ended.generation === generation) check('revocation.here', () => late <= 0, what)
      check('revocation.bound', () => late <= MAX_STALENESS + SLACK || isExcused(ended), what)
    },
    /** A token that was revoked is refused. */
    revokedRefused({ ended }, { status, began, process }) {
      if (status !== 401 || ended === undefined) return
      if (began - ended.stored > MAX_STALENESS) check('revocation.bound', holds)
      if (ended.by === process) check('revocation.here', holds)
    },
    /** A refresh of a session that was ended. */
    endedRefreshed({ ended }, { status, began, process }) {
      const late = began - ended.stored
      if (late <= MAX_STALENESS + SLACK) return
      const what = () => `process ${process} refreshes a session ${Math.round(late)} ms after its end was stored (${ended.kind})`
      check('session.ended', () => status !== 200 || isExcused(ended), what)
    },
    /** A refresh with the current token; `since` is when the first one without an answer began. */
    currentRefreshed(session, { status, code, ended, process, hasWrongClock }, since) {
      if (status === 200) return check('session.current', holds)
      if (status === 0 || status === 503) return
      const isLate = since !== undefined && ended - since > REUSE_CERTAIN
      const hasUnclearTime = since !== undefined && history.clockStepsIn(since - 1_000, ended) > 0
      if (session.ending || isLate || hasUnclearTime || session.hasWrongTimes || hasWrongClock) return
      const isLost = () => history.lossesIn(session.began, ended) > 0
      check('session.current', isLost, () => `process ${process} answers ${status} ${code} to the current token of a session`)
    }
  }
}

function limits(history, check, clocksDiffer) {
  const outageShare = (from, to) => (history.isDisturbed(from - 2_000, to) ? 1 : 0)
  const lossesBefore = (from, to) => history.lossesIn(from, to) + history.clockStepsIn(from, to)
  /**
   * Whether the newest of the requests that were admitted is one too many in any span. `ahead` is
   * for how long more may be debited, `share` what processes admit by themselves in an outage.
   */
  const withinRate = (id, { name, limit, burst = limit, window }, ahead, share, admitted) => {
    const rate = rateOf({ limit, window })
    const most = (from, to) => {
      const local = share * outageShare(from, to) * (2 * burst + rate * (to - from))
      return burst * (1 + lossesBefore(from, to)) + rate * (to - from + ahead) + local + 1e-6
    }
    let [from, to] = [Infinity, 0]
    for (let i = admitted.length - 1; i >= 0; i--) {
      from = Math.min(from, admitted[i].began)
      to = Math.max(to, admitted[i].ended)
      const [count, first, last] = [admitted.length - i, from, to]
      if (count <= burst + rate * (last - first + ahead)) continue
      return check(id, () => count <= most(first, last), () => `${count} of ${name} within ${Math.round(last - first)} ms, at most ${most(first, last).toFixed(1)}`)
    }
    check(id, holds)
  }
  return {
    /** The requests of one key that were admitted, `[{ began, ended }]` as they were answered. */
    pacedAdmitted: (admitted) => withinRate('limit.exact', PACED, clocksDiffer, 0, admitted),
    leasedAdmitted: (admitted) => withinRate('limit.leased', LEASED, LEASE + clocksDiffer, 1, admitted),
    exactAdmitted(key, { count, began, ended }) {
      const most = () => EXACT.limit * (1 + history.lossesIn(began, ended))
      check('limit.exact', () => count <= most(), () => `${count} of ${key} were admitted, at most ${most()}`)
    },
    /** A refusal of a key of which so many requests at most were charged. */
    exactRefused(key, asked) {
      check('limit.good', () => asked >= EXACT.limit, () => `${key} is refused after ${asked} requests`)
    },
    politeAnswered({ status, code, process }) {
      if (status !== 0) check('limit.good', () => status === 200, () => `process ${process} answers ${status} ${code} to a polite client`)
    },
    /** `spans` are those `[from, to]` in which a request was under way for certain. */
    placesTaken(spans) {
      const inside = (time) => spans.filter(([from, to]) => from <= time && time < to).length
      for (const [at] of spans) {
        const since = at - LONGEST_HOLD - milliseconds(PLACES.timeout)
        const most = () => PLACES.concurrent * (1 + history.lossesIn(since, at) + outageShare(since, at))
        const count = inside(at)
        check('places.bound', () => count <= most(), () => `${count} are under way at ${history.at(at)}, at most ${most()}`)
      }
    },
    /** A proof that was taken; `uses` are `{ process, began }`, this one among them. */
    proofUsed(uses) {
      const isExcused = () => uses.some(({ began }) => history.wasDivided(began))
      const what = () => uses.map(({ process, began }) => `${history.at(began)} by process ${process}`).join(', ')
      const count = uses.length
      check('proof.once', () => count <= 1 || isExcused(), () => `a proof was taken ${count} times: ${what()}`)
    }
  }
}

function lists(history, check) {
  return {
    /** A client that was blocked, or is no more, since `stored`. */
    listed({ isBlocked, stored, by, ip }, { status, code, began, process }) {
      if (began - stored < KNOWN_WITHIN || (status !== 200 && status !== 403)) return
      // Where the store was away or lost it, it takes as long to be published again.
      const from = Math.max(stored - 500, began - KNOWN_WITHIN - 3_000)
      const isExcused = () => history.isDisturbed(from, began) || history.mayBeLost({ stored, by })
      check('list.known', () => (status === 403) === isBlocked || isExcused(), () => `process ${process} answers ${status} ${code ?? ''} to ${ip}, ${isBlocked ? 'blocked' : 'unblocked'} ${Math.round(began - stored)} ms ago`)
    }
  }
}

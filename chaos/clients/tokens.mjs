// Clients with sessions: they log in, use and refresh their tokens, log out, and then go on.

import { setTimeout as sleep } from 'node:timers/promises'
import { now } from '../time.mjs'

const bearer = (token) => ({ authorization: `Bearer ${token}` })
const claimsOf = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'))

/** One client after the other, until the run is over. */
export async function useSessions(context) {
  while (!context.isOver()) {
    const session = await login(context)
    if (session === undefined) continue
    await use(context, session)
    await end(context, session)
    await tryAfterwards(context, session)
  }
}

async function login({ services, random, numbers }) {
  const sub = `user-${numbers.next()}`
  const began = now()
  const { status, json, hasWrongClock } = await random.pick(services).ask({ path: '/login', body: { sub } })
  if (status !== 200) return void (await sleep(200))
  const { accessToken: access, refreshToken: refresh } = json
  // `hasWrongTimes`: a process whose clock was wrong has made a token of it.
  return { sub, began, access, refresh, sid: claimsOf(access).sid, hasWrongTimes: hasWrongClock }
}

async function use(context, session) {
  const { services, random, watch } = context
  let since
  for (let steps = random.whole(5, 25); steps > 0 && !context.isOver() && !session.gone; steps--) {
    const service = random.pick(services)
    if (since !== undefined || random.chance(0.2)) since = await refresh(context, session, service, since)
    else watch.tokenAnswered(session, await service.ask({ path: '/me', headers: bearer(session.access) }))
    await sleep(random.between(50, 300))
  }
}

/** The time of the first try that got no answer, until one has. */
async function refresh({ watch }, session, service, since) {
  const answer = await service.ask({ path: '/refresh', body: { token: session.refresh } })
  watch.currentRefreshed(session, answer, since)
  session.hasWrongTimes ||= answer.hasWrongClock
  if (answer.status === 200) {
    session.access = answer.json.accessToken
    session.refresh = answer.json.refreshToken
    return undefined
  }
  if (answer.status === 401) session.gone = true
  return since ?? answer.began
}

/** Ends the session, or revokes its token alone, and keeps what was acknowledged. */
async function end({ services, random, history }, session) {
  const service = random.pick(services)
  // A subject's tokens are revoked up to a moment, and one of a wrong clock is another.
  const isSure = !session.hasWrongTimes && !service.hasWrongClock()
  const kind = random.pick(isSure ? ['token', 'session', 'subject'] : ['token', 'session'])
  const body = { token: { token: session.access }, session: { sid: session.sid }, subject: { sub: session.sub } }[kind]
  session.ending = true
  const answer = await service.ask({ path: `/revoke/${kind}`, body })
  if (answer.status !== 200 || (kind === 'subject' && answer.hasWrongClock)) return
  session.ended = { kind, stored: answer.ended, by: answer.process, generation: answer.generation }
  history.revocations = (history.revocations ?? 0) + 1
}

async function tryAfterwards(context, session) {
  const { services, random, watch } = context
  const { ended } = session
  if (ended === undefined) return
  const until = now() + 9_000
  const endsTheSession = ended.kind !== 'token' && !session.gone
  while (now() < until && !context.isOver()) {
    const service = random.pick(services)
    const answer = await service.ask({ path: '/me', headers: bearer(session.access) })
    watch.tokenAnswered(session, answer)
    watch.revokedRefused(session, answer)
    if (endsTheSession && random.chance(0.1)) {
      const next = await service.ask({ path: '/refresh', body: { token: session.refresh } })
      watch.endedRefreshed(session, next)
      if (next.status === 200) return
    }
    await sleep(random.between(50, 300))
  }
}

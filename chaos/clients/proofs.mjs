// A client with tokens that are bound to its key, and a thief who sends each proof once more.

import { setTimeout as sleep } from 'node:timers/promises'
import { dpop, dpopClient } from '../../__test__/helpers/dpop.mjs'
import { now } from '../time.mjs'

const HOST = 'api.example.com'
const URL_ = `http://${HOST}/me`
const KEPT = 300

export async function useProofs(context) {
  const { services, random, watch } = context
  const client = dpopClient()
  const used = []
  let token
  let issued = 0
  const send = async (proof) => {
    const { status, process, began, hasWrongClock } = await random.pick(services).ask({ path: '/me', headers: { host: HOST, ...dpop(proof.token, proof.text) } })
    // To a clock that was set back, a proof is young again that the store has lost.
    if (status !== 200 || hasWrongClock) return
    proof.uses.push({ process, began })
    watch.proofUsed([...proof.uses])
  }
  while (!context.isOver()) {
    if (token === undefined || now() - issued > 60_000) {
      const { status, json } = await random.pick(services).ask({ path: '/login', body: { sub: 'ada', cnf: { jkt: client.jkt } } })
      if (status === 200) [token, issued] = [json.accessToken, now()]
    }
    await sleep(random.between(50, 250))
    if (token === undefined) continue
    const proof = { token, text: client.proof({ url: URL_, token }), uses: [] }
    await Promise.all(random.chance(0.5) ? [send(proof), send(proof)] : [send(proof)])
    used.push(proof)
    if (used.length > KEPT) used.shift()
    // Of the last ones more often: those are young enough to be taken.
    await send(used[Math.floor(used.length * random.between(0.5, 1))])
  }
}

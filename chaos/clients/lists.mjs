// Clients that are blocked while the service runs, and unblocked again.

import { setTimeout as sleep } from 'node:timers/promises'
import { now } from '../time.mjs'

export async function useLists(context) {
  const { services, random, watch, numbers } = context
  while (!context.isOver()) {
    const number = numbers.next() % 60_000
    const ip = `127.77.${Math.floor(number / 250)}.${(number % 250) + 1}`
    for (const isBlocked of [true, false]) {
      const service = random.pick(services)
      const answer = await service.ask({ path: isBlocked ? '/block' : '/unblock', body: { ip } })
      if (answer.status !== 200) {
        await sleep(200)
        break
      }
      const said = { ip, isBlocked, stored: answer.ended, by: answer.process }
      const until = now() + random.between(4_000, 10_000)
      while (now() < until && !context.isOver()) {
        watch.listed(said, await random.pick(services).ask({ path: '/listed', from: ip }))
        await sleep(random.between(100, 400))
      }
    }
  }
}

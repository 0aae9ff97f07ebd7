'use strict'

// One process of a service whose revocations are shared: `bench/revocations.mjs` starts it and tells it what to do.

const { createGuard } = require(process.env.KEEPSTONE_ROOT)
const settings = JSON.parse(process.env.BENCH_SETTINGS)

const began = performance.now()
const guard = createGuard({
  store: { redis: { url: settings.redis, timeout: '2s' } },
  rateLimit: false,
  jwt: { issuer: 'https://id.example', audience: 'api', secret: settings.secret },
})

const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

const tasks = {
  issue: async () => ({ token: (await guard.tokens.issue({ sub: 'ada' })).accessToken }),
  /** Revokes a token; when the call began and when it was acknowledged, by the clock that all processes here share. */
  async revoke({ token }) {
    const asked = Date.now()
    await guard.revoke.token(token)
    return { asked, stored: Date.now() }
  },
  /** Asks about a token until it is refused. */
  async watch({ token }) {
    for (;;) {
      const refused = await guard.tokens.verify(token).then(() => false, (error) => error.code === 'token_revoked')
      if (refused) return { at: Date.now() }
      await sleep(0.5)
    }
  },
  /** Revokes `count` tokens by their names, many at a time. */
  async fill({ from, count }) {
    const exp = Math.floor(Date.now() / 1000) + 3600
    for (let done = 0; done < count; done += 500) {
      await Promise.all(Array.from({ length: Math.min(500, count - done) }, (_, i) => guard.revoke.token(`token-${from + done + i}`, exp)))
    }
    return {}
  },
  health: async () => ({ health: guard.health(), rss: process.memoryUsage().rss }),
}

process.on('message', async ({ id, ask, ...what }) => {
  try {
    process.send({ id, ...(await tasks[ask](what)) })
  } catch (error) {
    process.send({ id, error: String(error?.stack) })
  }
})
process.on('disconnect', () => process.exit(0))

async function ready() {
  while (!guard.health().ready) await sleep(5)
  process.send({ port: Math.round(performance.now() - began) })
}
ready()

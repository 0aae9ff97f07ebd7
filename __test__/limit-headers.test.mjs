// `rateLimitHeaders`: the state of the limits in the headers of other drafts and packages.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { expresses, serve } from './helpers/http.mjs'

const APP = 'https://app.example.com'
const limits = [
  { name: 'api', limit: 3, window: '1h' },
  { name: 'daily', limit: 1000, window: '1d', algorithm: 'fixed-window' },
  { name: 'tried', limit: 1, window: '1s', onExceed: 'shadow' }
]
const ok = (req, res) => res.end('ok')
const shown = ({ headers }) => Object.fromEntries(Object.entries(headers).filter(([name]) => /ratelimit/.test(name)))

for (const [name, express] of expresses) {
  const served = (rateLimitHeaders, use, more) => {
    const guard = createGuard({ rateLimit: limits, rateLimitHeaders, cors: { origins: [APP] }, ...more })
    return serve(express().use(guard.securityStack(), ok), use)
  }

  test(`${name}: each syntax is sent on passes and refusals, and pages may read it`, async () => {
    const policy = { 'ratelimit-policy': '3;w=3600, 1000;w=86400' }
    const cases = [
      ['draft-7', { ...policy, ratelimit: 'limit=3, remaining=2, reset=1200' }, 'RateLimit'],
      ['draft-6', { ...policy, 'ratelimit-limit': '3', 'ratelimit-remaining': '2', 'ratelimit-reset': '1200' }, 'RateLimit-Limit,RateLimit-Remaining,RateLimit-Reset'],
      [false, {}, ''],
      ['draft-8', { 'ratelimit-policy': '"api";q=3;w=3600, "daily";q=1000;w=86400' }, 'RateLimit']
    ]
    for (const [option, wanted, readable] of cases) {
      await served(option, async (send) => {
        const first = await send({ headers: { origin: APP } })
        const { ratelimit, ...rest } = shown(first)
        assert.deepEqual(option === 'draft-8' ? rest : shown(first), wanted, String(option))
        if (option === 'draft-8') assert.match(ratelimit, /^"api";r=2;t=1200, "daily";r=999;t=\d+$/)
        assert.equal(first.headers['access-control-expose-headers'], readable === '' ? 'Retry-After' : `${readable},Retry-After`)
        await send()
        await send()
        const refused = await send()
        assert.equal(refused.status, 429)
        assert.match(refused.headers['retry-after'], /^1(?:199|200)$/)
        if (option === 'draft-6') assert.equal(refused.headers['ratelimit-remaining'], '0')
      })
    }
  })

  test(`${name}: X-RateLimit-Reset is an instant, in seconds since 1970`, async () => {
    await served(['draft-8', 'x-ratelimit'], async (send) => {
      const answer = await send({ headers: { origin: APP } })
      assert.deepEqual([answer.headers['x-ratelimit-limit'], answer.headers['x-ratelimit-remaining']], ['3', '2'])
      const ahead = Number(answer.headers['x-ratelimit-reset']) - Date.now() / 1000
      assert.ok(ahead > 1190 && ahead <= 1201, `${ahead}`)
      assert.match(answer.headers.ratelimit, /"api";r=2/)
      assert.equal(answer.headers['access-control-expose-headers'], 'RateLimit,X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset,Retry-After')
    })
  })

  test(`${name}: a list of the application's own is what pages may read`, async () => {
    await served('x-ratelimit', async (send) => {
      assert.equal((await send({ headers: { origin: APP } })).headers['access-control-expose-headers'], 'x-total')
    }, { cors: { origins: [APP], exposeHeaders: ['x-total'] } })
  })
}

test('limits of a route send the headers of the guard', async () => {
  const guard = createGuard({ rateLimit: false, rateLimitHeaders: 'x-ratelimit' })
  const [, express] = expresses[0]
  await serve(express().get('/', guard.rateLimit({ name: 'few', limit: 2, window: '1m' }), ok), async (send) => {
    assert.deepEqual(Object.keys(shown(await send())), ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'])
  })
})

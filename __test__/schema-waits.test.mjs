// An asynchronous check of a schema library that never settles does not hold its request for ever.

import test, { after, before, describe } from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { z } from 'zod'
import { hosts } from './helpers/hosts.mjs'
import { json, send } from './helpers/http.mjs'

const warnings = []
process.on('warning', (warning) => warnings.push(warning))

for (const [name, start] of hosts) {
  describe(`on ${name}`, () => {
    const events = []
    const guard = createGuard({ rateLimit: false, payload: { timeout: '50ms' }, log: (event) => events.push(event) })
    const never = new Promise(() => {})
    const body = z.object({ name: z.string().max(99).refine((text) => (text === 'never' ? never : Promise.resolve(text !== 'no'))) })
    let handled = 0
    let port
    let stop
    before(async () => ({ port, stop } = await start(guard, [['post', '/names', { body }, () => [201, { handled: (handled += 1) }]]])))
    after(async () => {
      await stop()
      await guard.close()
    })
    const post = (text) => send(port, { path: '/names', ...json({ name: text }) })

    test('it is refused with 503, its handler does not run, and the operator is told', async () => {
      const answer = await post('never')
      assert.deepEqual([answer.status, answer.json.code, answer.headers['retry-after']], [503, 'validation_unavailable', '1'])
      assert.equal(handled, 0)
      const { outcome, layer, code } = events.at(-1)
      assert.deepEqual([outcome, layer, code], ['refuse', 'payload', 'validation_unavailable'])
      assert.ok(warnings.some((warning) => warning.code === 'GUARD_FAULT' && /asynchronous check of a schema did not settle within 50 ms/.test(warning.message)))
    })
    test('a check that settles is heard', async () => {
      assert.equal((await post('yes')).status, 201)
      assert.equal((await post('no')).status, 422)
    })
  })
}

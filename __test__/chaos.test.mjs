// A short piece of `npm run chaos`, so that it stays able to run: real servers and processes under
// load, some faults by a seed, and the promises as clients see them.

import assert from 'node:assert/strict'
import test from 'node:test'
import { runCampaign } from '../chaos/campaign.mjs'
import { overlap } from '../chaos/time.mjs'
import { violationText } from '../chaos/report.mjs'
import { PROMISES } from '../chaos/watch.mjs'

// The tests around this one take the processor away from servers, too, which no event loop shows.
const RECOVERY = 15_000

for (const [kind, seed] of [['redis', 3], ['cluster', 3]]) {
  test(`${kind}: the promises hold for clients while servers and processes fail`, { timeout: 300_000 }, async (t) => {
    const result = await runCampaign({ kind, seed, ms: 11_000, recovery: RECOVERY, say: (text) => t.diagnostic(text) })
    assert.equal(result.violations.map((violation) => violationText(violation, result, PROMISES)).join('\n'), '')
    assert.equal(result.stuck, undefined)
    assert.ok(result.faults.length > 0)
    for (const id of ['token.good', 'limit.exact', 'limit.good', 'places.bound', 'proof.once', 'store.recovery']) {
      assert.ok(result.checked[id] > 0, `${id} was looked at`)
    }
  })
}

test('a stall counts once, however many processes have it', () => {
  const spans = [[0, 100], [50, 150], [60, 70], [300, 400]]
  assert.equal(overlap(spans, 0, 1_000), 250)
  assert.equal(overlap(spans, 120, 350), 80)
  assert.equal(overlap([], 0, 10), 0)
})

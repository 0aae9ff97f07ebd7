// Plays havoc with real servers and processes under load: docs/internals/guarantees.md says what
// must hold then. Usage: npm run chaos -- [minutes, 10] [seed] [stores, e.g. redis,cluster]

import { randomInt } from 'node:crypto'
import { runCampaign } from './campaign.mjs'
import { summary, violationText } from './report.mjs'
import { STORES } from './stores.mjs'
import { PROMISES } from './watch.mjs'

// Ends the servers too: the helpers do it when this process exits.
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(code))

const [minutes = '10', seedText = String(randomInt(1, 1_000_000)), names = Object.keys(STORES).join()] = process.argv.slice(2)
const kinds = names.split(',')
const [duration, seed] = [Number(minutes) * 60_000, Number(seedText)]
if (!(duration > 0) || !Number.isInteger(seed) || kinds.some((kind) => !(kind in STORES))) {
  console.error(`usage: npm run chaos -- [minutes, 10] [seed, a whole number] [stores, of ${Object.keys(STORES)}]`)
  process.exit(2)
}

const results = []
for (const kind of kinds) {
  const result = await runCampaign({ kind, seed, ms: duration / kinds.length, say: console.log })
  results.push(result)
  console.log(summary(result))
  if (result.stuck !== undefined) console.error(`${kind} (seed ${seed}) ended early: ${result.stuck.stack}`)
  for (const violation of result.violations) console.error(violationText(violation, result, PROMISES))
}
const broken = results.reduce((sum, { violations }) => sum + violations.length, 0)
const isWhole = results.every(({ stuck }) => stuck === undefined)
console.log(broken === 0 ? `every promise held${isWhole ? '' : ' until the servers got stuck'} (seed ${seed})` : `${broken} violations (seed ${seed})`)
process.exit(broken === 0 && isWhole ? 0 : 1)

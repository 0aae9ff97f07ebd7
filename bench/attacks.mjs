// The table of attacks on tokens (__test__/helpers/token-attacks.mjs), run against keepstone and
// other libraries. Usage: node bench/attacks.mjs [--all]      --all lists every attack that anybody
// accepts
//
// A library is asked as its documentation has it: the algorithm pinned, issuer and audience given.
// What it offers beyond that (maximum ages, required claims, a check of `typ`) is left at its
// default, as keepstone's options are.

import { createRequire } from 'node:module'
import { rivals } from './lib/rivals.mjs'
import { table } from './lib/stats.mjs'
import { AUDIENCE, ISSUER, attacks, controls } from '../__test__/helpers/token-attacks.mjs'
import { keepstone } from '../__test__/helpers/token-verifiers.mjs'

const { version } = createRequire(import.meta.url)('../package.json')
const libraries = [{ name: `keepstone ${version}`, supports: () => true, make: keepstone }, ...rivals]

/**
 * `accepted`, `refused`, or `-` where the library does not have an algorithm that the case needs.
 */
async function ask({ supports, make }, { setup, token }) {
  if (!setup.keys.every(({ alg }) => supports(alg))) return '-'
  try {
    await make(setup, ISSUER, AUDIENCE)(token)
    return 'accepted'
  } catch {
    return 'refused'
  }
}

const results = []
for (const one of [...controls, ...attacks]) {
  results.push({ ...one, verdicts: await Promise.all(libraries.map((library) => ask(library, one))) })
}

const count = (cases, i, verdict) => cases.filter(({ verdicts }) => verdicts[i] === verdict).length
const groups = [...new Set(attacks.map(({ group }) => group))]
const row = (name, cases) => [
  name,
  String(cases.length),
  ...libraries.map((_, i) => {
    const missing = count(cases, i, '-')
    return `${count(cases, i, 'accepted')}${missing > 0 ? ` (${missing} n/a)` : ''}`
  }),
]
const of = (group) => results.filter((one) => one.group === group)
const bad = results.filter(({ group }) => group !== 'controls')
console.log(`Accepted, of ${attacks.length} attacks and ${controls.length} controls (n/a: an algorithm that the library does not have)\n`)
console.log(table(['', 'cases', ...libraries.map(({ name }) => name)], [row('controls: all must be', of('controls')), ...groups.map((group) => row(group, of(group))), row('attacks in all', bad)]))
if (process.argv.includes('--all')) {
  const rows = bad.filter(({ verdicts }) => verdicts.includes('accepted')).map(({ group, name, verdicts }) => [`${group}: ${name}`.slice(0, 70), ...verdicts])
  console.log(`\n${table(['', ...libraries.map(({ name }) => name)], rows)}`)
}

const missed = of('controls').filter(({ verdicts }) => verdicts.includes('refused'))
for (const { name, verdicts } of missed) console.error(`control refused: ${name}: ${libraries.filter((_, i) => verdicts[i] === 'refused').map((library) => library.name).join(', ')}`)
if (missed.length > 0 || count(bad, 0, 'accepted') > 0) process.exitCode = 1

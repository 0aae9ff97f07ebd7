// What a run has seen, as text.

const table = (rows) => {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)))
  return rows.map((row) => `  ${row.map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i]))).join('  ')}`).join('\n')
}

const milliseconds = (ms) => (ms === Infinity ? 'never' : `${Math.round(ms)} ms`)

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]
}

/** The summary of one store. */
export function summary({ kind, seed, answers, faults, recoveries, checked, violations, stalls, revocations }) {
  const requests = Object.values(answers).flatMap((codes) => Object.values(codes)).reduce((sum, count) => sum + count, 0)
  const byRoute = Object.entries(answers).map(([route, codes]) => [route, Object.entries(codes).map(([code, count]) => `${code}: ${count}`).join(', ')])
  const names = [...new Set(recoveries.map(({ name }) => name))].toSorted()
  const rows = names.map((name) => {
    const times = recoveries.filter((recovery) => recovery.name === name).map(({ ms }) => ms).toSorted((a, b) => a - b)
    return [name, times.length, milliseconds(quantile(times, 0.5)), milliseconds(times.at(-1))]
  })
  return `
== ${kind}, seed ${seed}: ${faults.length} faults, ${requests} requests, ${revocations} revocations, ${stalls} stalls of an event loop
${table([['fault', 'times', 'recovery p50', 'max'], ...rows])}

${byRoute.map(([route, codes]) => `  ${route.padEnd(16)} ${codes}`).join('\n')}

${table([['promise', 'checked', 'broken'], ...Object.entries(checked).map(([id, count]) => [id, count, violations.filter((violation) => violation.id === id).length])])}
`
}

/** A violation, with what came before it. */
export function violationText({ id, what, at, events }, { kind, seed }, promises) {
  return `VIOLATION of ${id} (${promises[id]})
  ${what}
  on ${kind}, seed ${seed}, at ${at}; before that:
${events.map((event) => `    ${event}`).join('\n')}
`
}

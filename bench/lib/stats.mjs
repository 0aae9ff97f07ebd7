// Medians and spreads. Ratios are taken within a round first, because what disturbs a shared
// machine disturbs neighbouring measurements alike; the median of those ratios is then steadier
// than a ratio of medians.

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

export function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) }
}

/** `combine(mine, other)` for each round both took part in. */
export function paired(mine, other, combine) {
  const rounds = Math.min(mine.length, other.length)
  return spread(Array.from({ length: rounds }, (_, round) => combine(mine[round], other[round])))
}

const digits = (value) => (Math.abs(value) >= 1000 ? 0 : Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2)
export const number = (value, places = digits(value)) => value.toFixed(places)

/** `12.3 (11.9-12.8)` */
export const withRange = ({ median, min, max }, places = digits(median)) =>
  `${number(median, places)} (${number(min, places)}-${number(max, places)})`

/** A plain text table: first column left, the rest right. */
export function table(head, rows) {
  const all = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column].length)))
  const line = (row) =>
    row.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))).join('  ')
  return [line(head), widths.map((width) => '-'.repeat(width)).join('  '), ...rows.map(line)].join('\n')
}

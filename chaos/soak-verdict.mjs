// What the samples of a soak come to.

const MAX_MB = 5
const HALF_HOUR = 1_800_000

/** The slope of RSS over the last two thirds, by least squares, in MB per half an hour. */
export function slope(samples) {
  const points = samples.slice(Math.floor(samples.length / 3)).map(({ at, rss }) => [at, rss / 1_048_576])
  const mean = (i) => points.reduce((sum, point) => sum + point[i], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const above = points.reduce((sum, [at, rss]) => sum + (at - x) * (rss - y), 0)
  const below = points.reduce((sum, [at]) => sum + (at - x) ** 2, 0)
  return below === 0 ? 0 : (above / below) * HALF_HOUR
}

/** Whether memory stays, and no more handles or files are open in the last third than before. */
export function verdict(samples) {
  const third = Math.floor(samples.length / 3)
  const [middle, last] = [samples.slice(third, 2 * third), samples.slice(2 * third)]
  const most = (part, count) => Math.max(...part.map(count))
  const names = new Set(samples.flatMap(({ handles }) => Object.keys(handles)))
  const counts = [['files', ({ files }) => files], ...[...names].map((name) => [name, ({ handles }) => handles[name] ?? 0])]
  const grown = counts.filter(([, count]) => most(last, count) > most(middle, count)).map(([name]) => name)
  const rises = slope(samples) > MAX_MB
  const faults = [...(rises ? [`RSS rises by more than ${MAX_MB} MB in 30 min`] : []), ...grown.map((name) => `more of ${name} than before`)]
  return { holds: faults.length === 0, text: faults.length === 0 ? 'it stays as it is' : faults.join('; ') }
}

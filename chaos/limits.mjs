// The limits of the service, as it is configured with and as its clients hold it to.

export const PROCESSES = 3

/** Longer than in production: a busy machine is no fault. */
export const STORE_TIMEOUT = 500

export const MAX_STALENESS = 5_000
export const REUSE_WINDOW = 10_000

/** A key is admitted this often and never again: the window is longer than any run. */
export const EXACT = { name: 'exact', limit: 10, window: '300d', algorithm: 'fixed-window', exact: true }
/** 5 a second. */
export const PACED = { name: 'paced', limit: 20, window: '4s', exact: true }
/** 30 a second, debited ahead of time. */
export const LEASED = { name: 'leased', limit: 300, window: '10s', burst: 60 }
/** Clients that stay far below their part of it are never refused. */
export const POLITE = { name: 'polite', limit: 90, window: '300d', algorithm: 'fixed-window' }
/** What shows whether the store judges requests; nobody reaches it. */
export const PROBE = { name: 'probe', limit: 1_000_000, window: '300d', algorithm: 'fixed-window', exact: true }

export const PLACES = { name: 'places', concurrent: 6, timeout: '4s' }
/** The longest that a client holds a place. */
export const LONGEST_HOLD = 1_500

/** Milliseconds of `'4s'` and its like. */
export function milliseconds(text) {
  const [, count, unit] = /^(\d+)([sd])$/.exec(text)
  return Number(count) * { s: 1_000, d: 86_400_000 }[unit]
}

/** Units that come back in a millisecond. */
export const rateOf = ({ limit, window }) => limit / milliseconds(window)

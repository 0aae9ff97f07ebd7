// A duration is a whole number with its unit. A number alone is refused with both of its readings,
// in every option and call: jsonwebtoken takes seconds, express-rate-limit milliseconds. The
// options come from types/*.d.ts, so a new one is tried as well.

import test, { after } from 'node:test'
import assert from 'node:assert/strict'
import { GuardError } from 'keepstone'
import { CALLS, guard } from './helpers/option-examples.mjs'
import { callsWithDurations, durationsOf, numbersOf } from './helpers/option-types.mjs'

after(() => guard.close())

// Numbers and digits, with the number that the error repeats.
const ALONE = [[0, 0], [-0, 0], [1, 1], [60, 60], [3600, 3600], [1e3, 1000], [60_000, 60_000], ['0', 0], ['60', 60], ['3600', 3600], ['0060', 60]]
// Numbers that no unit can follow, and such as are no duration: a time in milliseconds since 1970.
const NO_DURATION = [1.5, 0.1, -1, -3600, Date.UTC(2030, 0), Number.MAX_SAFE_INTEGER, Number.MAX_VALUE, Number.MIN_VALUE]
const TEXTS = [
  '', ' ', 's', 'ms', '1.5s', '.5s', '5.s', ' 5s', '5s ', '5 s', '5\u00a0s', '5s\n', '5S', '5Ms', '5M', '5sec', '5 seconds', '5min', '5hrs', '1w', '1y', '5us', '5m5s', '1h30m',
  '-5s', '-0s', '+5s', '1e3s', '1e3', '0x10s', '1_000s', '1,000s', '1.5', '-1', '+60', '60.0', 'Infinity', 'Infinitys', 'NaN', 'NaNs', 'PT5S', 'soon', '\uff15s', '\u0665s',
  '99999999999999999999s', '18446744073709551615d', '4111111111111111'
]
const OTHERS = [true, false, null, [], ['5s'], [5], {}, { s: 5 }]
// What is no plain option at all: the shim refuses these before anything is read.
const NO_OPTION = [NaN, Infinity, -Infinity, 5n, new Date(5), Object(5), Object('5s'), Symbol('5s'), () => '5s', Buffer.from('5s'), /5s/]

const BAD = [
  ...ALONE.map(([value, number]) => [value, ` must have a unit; write '${number}s' for seconds or '${number}ms' for milliseconds`]),
  ...NO_DURATION.map((value) => [value, " must be a whole number with a unit; write it like '60s' for seconds or '60ms' for milliseconds"]),
  ...TEXTS.map((value) => [value, " must be a duration, a whole number with one of the units ms, s, m, h, d, not this string; write a number and a unit such as '60s'"]),
  ...OTHERS.map((value) => [value, undefined]),
  ...NO_OPTION.map((value) => [value, undefined])
]

const shown = (value) => `${typeof value} ${typeof value === 'string' ? JSON.stringify(value) : String(value?.constructor?.name ?? '') + ' ' + (typeof value === 'object' ? JSON.stringify(value) : String(value))}`

/** The same time in smaller units, and with zeros before it. */
function sameAs(text) {
  const [, digits, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(text)
  const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  const ms = Number(digits) * units[unit]
  return [`0${text}`, ...Object.keys(units).filter((name) => ms % units[name] === 0).map((name) => `${ms / units[name]}${name}`)]
}

const general = (path) => path.replace(/\[\d*\]/g, '[]').replace(/tiers\.[^.]+/, 'tiers.*').replace(/^rateLimit\[\]/, 'rateLimit')
const isPlain = (value) => value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype

/** Each text in an example, with a function that makes the example with another value there. */
function* textsIn(value, path = '', rebuild = (whole) => whole) {
  if (typeof value === 'string') yield { path, text: value, having: rebuild }
  else if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) yield* textsIn(item, `${path}[${i}]`, (other) => rebuild(value.with(i, other)))
  } else if (isPlain(value)) {
    for (const [key, item] of Object.entries(value)) yield* textsIn(item, path === '' ? key : `${path}.${key}`, (other) => rebuild({ ...value, [key]: other }))
  }
}

/**
 * Every duration of every example, `{ name, path, text, run }`; `run` makes the call with another
 * value.
 */
function durations() {
  const found = []
  for (const [type, prefix, call, examples] of CALLS) {
    const paths = new Set([...durationsOf(type)].map(general))
    for (const example of examples) {
      for (const { path, text, having } of textsIn(example)) {
        if (paths.has(general(path))) found.push({ type, name: `${type} ${path}`, path: prefix === '' ? path : `${prefix}.${path}`, text, run: async (value) => (await call(having(value)))?.close?.() })
      }
    }
  }
  return found
}

const OPTIONS = durations()
const ARGUMENTS = [
  { name: 'limits.block(duration)', path: 'duration', text: '60s', run: (value) => guard.limits.block('a', '198.51.100.6', value) },
  { name: 'limits.block(ttl)', path: 'ttl', text: '60s', run: (value) => guard.limits.block('198.51.100.7', value) },
  { name: 'limits.block(ttl)', path: 'ttl', text: '60s', run: (value) => guard.limits.block({ user: 'eve' }, value, 'why') },
  { name: 'limits.allow(ttl)', path: 'ttl', text: '60s', run: (value) => guard.limits.allow('198.51.100.8', value) }
]

test('every duration of the types is tried', () => {
  const tried = new Set(OPTIONS.map(({ type, name }) => `${type} ${general(name.slice(type.length + 1))}`))
  const all = CALLS.flatMap(([type]) => [...durationsOf(type)].map((path) => `${type} ${general(path)}`))
  assert.deepEqual([...new Set(all)].filter((path) => !tried.has(path)), [])
  const named = ['window', 'timeout', 'maxDelay', 'clockTolerance', 'maxLifetime', 'maxStaleness', 'lifetime', 'idle', 'reuseWindow', 'every', 'overlap', 'staleFor', 'maxAge', 'ttl', 'expiresIn']
  assert.deepEqual(named.filter((name) => !all.some((path) => path.endsWith(name))), [])
  assert.deepEqual(callsWithDurations({ limits: 'Limits', tokens: 'Tokens', revoke: 'Revoke', policy: 'Policy', guard: 'Guard' }), new Set(ARGUMENTS.map(({ name }) => name)))
})

test('a time that is a number has its unit from a standard or in its name', () => {
  const isTime = /(?:age|time|ms|seconds|ttl|window|life|delay|staleness|tolerance|idle|every|overlap|expires|for|in|until|before|after)$/i
  const numbers = CALLS.flatMap(([type, prefix]) => [...numbersOf(type)].map((path) => (prefix === '' ? path : `${prefix}.${path}`)))
  assert.deepEqual(new Set(numbers.filter((path) => isTime.test(path))), new Set([
    'cors.maxAge', 'headers.hsts.maxAge', 'responseHeaders.hsts.maxAge', // seconds, as in the headers that they become
    'policy.limits.timeMs',
    'jwt.keys[].notBefore', 'jwt.keys[].notAfter', 'jwt.issuers[].keys[].notBefore', 'jwt.issuers[].keys[].notAfter' // seconds since 1970
  ]))
})

for (const { name, path, text, run } of [...OPTIONS, ...ARGUMENTS]) {
  test(`${name}: what has no unit is refused by its path, with both readings of a number`, async () => {
    for (const [value, says] of BAD) {
      await assert.rejects(async () => run(value), (error) => {
        assert.ok(error instanceof GuardError, `${shown(value)}: ${error}`)
        assert.equal(error.path, path, shown(value))
        assert.match(error.code, /^ERR_(?:INVALID|MISSING)_(?:OPTION|ARGUMENT)$/, shown(value))
        if (says !== undefined) assert.equal(error.message, `\`${path}\`${says}`, shown(value))
        return true
      }, shown(value))
    }
    for (const value of [text, ...sameAs(text)]) await run(value)
  })
}

// Options and data are plain: whatever else JavaScript can pass is understood in full or refused by
// name. It never counts as left out. The options come from types/*.d.ts, so a new one is tried as
// well.

import test, { after } from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { createContext, runInContext } from 'node:vm'
import { GuardError, createGuard, securityStack } from 'keepstone'
import { jwt } from './helpers/articles.mjs'
import { keyPair } from './helpers/key-pair.mjs'
import { CALLS, DATA, guard } from './helpers/option-examples.mjs'
import { pathsOf, typesTakenBy } from './helpers/option-types.mjs'

const native = createRequire(import.meta.url)('../native.js')
// What the core is sent, by each call.
const sent = []
for (const name of ['createGuard', 'stack', 'openApi', 'limitSet', 'limitSignal', 'listClient', 'tokenIssue', 'tokenRefresh', 'revokeKey', 'conformanceValidateJson', 'policyEvaluate']) {
  const call = native[name]
  native[name] = (...args) => {
    sent.push(JSON.stringify(args.map((arg) => (arg === undefined ? 'nothing' : arg))))
    return call(...args)
  }
}

after(() => guard.close())

class Options {
  constructor(members) {
    Object.assign(this, members)
  }
}

// [what it is, how it is made of a good value]
const ODD = [
  ['undefined', () => undefined],
  ['null', () => null],
  ['a promise', (good) => Promise.resolve(good)],
  ['a thenable', () => thenable()],
  ['an inherited thenable', () => Object.create(thenable())],
  ['a Map', (good) => new Map(Object.entries(Object(good)))],
  ['a Set', (good) => new Set([good])],
  ['a WeakMap', () => new WeakMap()],
  ['an instance of a class', (good) => new Options(typeof good === 'object' ? good : { good })],
  ['inherited members', (good) => Object.create(Object(good))],
  ['a value in an object', (good) => Object(['object', 'function'].includes(typeof good) ? 'text' : good)],
  ['a bigint', () => 5n],
  ['a symbol', () => Symbol('s')],
  ['NaN', () => NaN],
  ['Infinity', () => Infinity],
  ['a function', (good) => () => (typeof good === 'function' ? undefined : good)],
  ['a Date', () => new Date(0)],
  ['a Date that is none', () => new Date(NaN)],
  ['a regular expression', () => /x/],
  ['a Buffer', () => Buffer.from('x')],
  ['a list of floats', () => new Float64Array(2)],
  ['an ArrayBuffer', () => new ArrayBuffer(2)],
  ['a URL', () => new URL('https://app.example.com')],
  ['an error', () => new Error('odd')],
  ['a list with a hole', () => Array(1)],
  ['a list with another member', () => Object.assign(['a'], { extra: 1 })],
  ['a Proxy without members', (good) => new Proxy({}, { get: () => good })],
  ['what holds itself', () => ring()],
  ['a member that is not enumerable', (good) => Object.defineProperty({}, 'name', { value: good })],
  ['a member named by a symbol', (good) => ({ [Symbol('name')]: good })],
  ['a mark of the core', () => '\0function']
]

// Where an odd value is a good one: [what it is, the paths].
const GOOD = {
  'a function': /[. ](?:log|onRefuse|onOmission|mounts\.\/a|origins|key(?:\[\d+\])?|cost|formats\.\w+|keywords\.\w+|load|save|claims|(?:jwks|introspection)\.headers|security\.\w+|lookup|identify|identify\.claims|files\.\w+\.(?:to|discard)|input)$/,
  'a Date': /^GuardConfig jwt\..*(?:notBefore|notAfter)$|^\w+ (?:body|query|params|headers|cookies|response|payload\.schemas|policy\.data)\b.*|^ValidateJsonOptions registry\b|^ToOpenApiOptions (?:info|servers|tags|externalDocs|operations)\b|^(?:claims|input|key)\b/,
  'a regular expression': /^GuardConfig payload\.formats\.\w+$/,
  'a Buffer': /^GuardConfig jwt\..*(?:key|secret)$|^GuardConfig store\.redis\.tls\.\w+$/,
  'a mark of the core': /^(?:GuardConfig (?:payload\.schemas|policy\.data)|\w+ (?:body|query|params|headers|cookies|response)|ValidateJsonOptions registry|ToOpenApiOptions (?:info|servers|tags|externalDocs|operations)|claims|input)\b/,
  'null': /^(?:GuardConfig (?:policy\.data|payload\.schemas)\.|claims|input|ValidateJsonOptions registry)/,
}

// What a route's `payload` has by its type and is refused there.
const OF_THE_GUARD = /^payload\.(?:draft|schemas|formats|keywords|messages)$/

test('every option of every call has an example', () => {
  for (const [type, , , examples] of CALLS) {
    const seen = new Set(examples.flatMap((example) => positionsIn(example)).map((position) => general(position)))
    const missing = [...pathsOf(type)].filter((path) => !seen.has(general(path)) && !(type !== 'GuardConfig' && OF_THE_GUARD.test(path)))
    assert.deepEqual(missing, [], `${type}: give helpers/option-examples.mjs an example of each`)
  }
})

test('every call that takes options is among them', () => {
  const known = new Set(CALLS.map(([type]) => type))
  // Their members are the application's own, or they are the type parameters of calls that are
  // among them.
  const others = ['R', 'S', 'CheckRequest', 'IncomingMessage', 'ServerResponse', 'SessionRequest', 'SessionResponse', 'Duplex', 'RequestHandler', 'readonly RequestHandler[]', 'Uint8Array', 'OpenApiDocument', 'readonly OpenApiRoute[]', 'Readonly<Record<string, unknown>>', 'readonly RateLimit[]', 'IssueClaims', 'LimitKey', 'ClientRef', 'SignalRef', 'Duration', 'Date', 'string', 'number', 'object', 'unknown']
  const taken = [...typesTakenBy('Guard', 'Limits', 'Tokens', 'Sessions', 'ApiKeys', 'Revoke', 'Policy')].flatMap((text) => text.split(' | '))
  assert.deepEqual(taken.filter((type) => !known.has(type) && !others.includes(type)), [])
})

for (const [type, prefix, call, examples] of CALLS) {
  test(`${type}: an odd value is refused by the name of its option, or understood`, async () => {
    for (const example of examples) {
      assert.equal((await outcome(call, example)).error, undefined)
      for (const position of positionsIn(example)) {
        for (const [what, make] of ODD) await tryOdd(`${type} ${position}`, prefix, call, example, position, what, make)
      }
    }
  })
}

for (const [name, call, example] of DATA) {
  test(`${name}: an odd value in data is refused by its name`, async () => {
    assert.equal((await outcome(call, example)).error, undefined)
    for (const position of ['', ...positionsIn(example)]) {
      for (const [what, make] of ODD) await tryOdd(`${name} ${position}`, name, call, example, position, what, make)
    }
  })
}

async function tryOdd(label, prefix, call, example, position, what, make) {
  const told = `${label}: ${what}`
  const odd = make(valueAt(example, position))
  const { error, core } = await outcome(call, position === '' ? odd : withValue(example, position, odd))
  if (error === undefined) {
    assert.match(label, GOOD[what] ?? /^$/, `${told} was accepted`)
    // These are not sent: stack.test.mjs, refusal-hook.test.mjs and to-openapi.test.mjs have them.
    if (!/^GuardConfig (?:log|onRefuse)$|^ToOpenApiOptions /.test(label)) assert.notEqual(core, (await outcome(call, withoutValue(example, position))).core, `${told} counts as left out`)
    return
  }
  assert.ok(error instanceof GuardError, `${told}: ${error}`)
  const path = position === '' ? prefix : prefix === '' ? position : position.startsWith('[') ? prefix + position : `${prefix}.${position}`
  // What JSON can say is judged as what it stands for, such as a claim of the wrong kind.
  if (what === 'null' && error.path === undefined) return
  assert.ok(isAbout((error.path ?? '').replace(/\["([^"]+)"\]/g, '.$1'), path), `${told}: ${error.path}: ${error.message}`)
  assert.match(error.message, /^`[^`]+` .*[^.]$/, told)
}

/**
 * Whether an error names the option: itself, a part of it, or the object or schema that it is a
 * part of.
 */
function isAbout(named, path) {
  const [short, long] = named.length < path.length ? [named, path] : [path, named]
  return short !== '' && long.startsWith(short) && /^(?:[.[]|$)/.test(long.slice(short.length))
}

/** What came of a call: what the core was sent, or the error. */
async function outcome(call, options) {
  sent.length = 0
  try {
    const made = await call(options)
    const core = sent.join('\n').replaceAll(/ksr_[\w-]+/g, 'a refresh token')
    await made?.close?.()
    return { core }
  } catch (error) {
    return { error, core: sent.join('\n') }
  }
}

function positionsIn(value, path = '') {
  if (value === null || typeof value !== 'object' || value instanceof Date || value instanceof RegExp) return path === '' ? [] : [path]
  const members = Array.isArray(value) ? value.map((item, i) => [`[${i}]`, item]) : Object.entries(value).map(([key, item]) => [path === '' ? key : `.${key}`, item])
  const below = members.flatMap(([step, item]) => positionsIn(item, path + step))
  return path === '' ? below : [path, ...below]
}

const stepsOf = (position) => splitKeys(position)

/**
 * The members that lead to a position. Keys may have dots:
 * `payload.schemas.https://example.com/a.json`.
 */
function splitKeys(position) {
  return position.replaceAll('https://example.com/a.json', '#').replaceAll('a.rego', '%').replaceAll('b.rego', '&').split(/\.|(?=\[)/).filter((step) => step !== '')
    .map((step) => step.replace('#', 'https://example.com/a.json').replace('%', 'a.rego').replace('&', 'b.rego')).map((step) => (step.startsWith('[') ? Number(step.slice(1, -1)) : step))
}

const general = (path) => path.replace(/\[\d*\]/g, '[]').replace(/tiers\.[^.]+/, 'tiers.*').replace(/payload\.files\.[^.]+/, 'payload.files.*').replace(/^operations\.[^.]+/, 'operations.*').replace(/^rateLimit\[\]/, 'rateLimit')

const valueAt = (example, position) => stepsOf(position).reduce((value, step) => value[step], example)

function changed(example, position, change) {
  const steps = stepsOf(position)
  const last = steps.pop()
  const copy = (value) => (Array.isArray(value) ? [...value] : { ...value })
  const top = copy(example)
  let at = top
  for (const step of steps) {
    at[step] = copy(at[step])
    at = at[step]
  }
  change(at, last)
  return top
}

const withValue = (example, position, value) => changed(example, position, (at, key) => { at[key] = value })
const withoutValue = (example, position) => changed(example, position, (at, key) => (Array.isArray(at) ? at.splice(key, 1) : delete at[key]))

function thenable() {
  return { then() {} } // oxlint-disable-line unicorn/no-thenable
}

function ring() {
  const holder = { a: {} }
  holder.a.again = holder
  return holder
}

// Objects that say the same in another way.
const realm = createContext({})
const mapped = (value, make) => {
  if (Array.isArray(value)) return make(value.map((item) => mapped(item, make)))
  if (value === null || typeof value !== 'object' || value instanceof Date || value instanceof RegExp || Buffer.isBuffer(value)) return value
  return make(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapped(item, make)])))
}
const SAME = [
  ['frozen', (value) => Object.freeze(value)],
  ['sealed', (value) => Object.seal(value)],
  ['without a prototype', (value) => (Array.isArray(value) ? value : Object.assign(Object.create(null), value))],
  ['of another realm', (value) => runInContext('(value) => Array.isArray(value) ? Array.from(value) : Object.assign({}, value)', realm)(value)],
  ['with getters', (value) => (Array.isArray(value) ? value : Object.defineProperties({}, Object.fromEntries(Object.entries(value).map(([key, item]) => [key, { get: () => item, enumerable: true }]))))],
  ['behind a Proxy', (value) => (Object.keys(value).length === 0 ? value : new Proxy(value, {}))],
  ['of node-config', (value) => (Array.isArray(value) ? value : Object.defineProperties({ ...value }, Object.fromEntries(['get', 'has', 'util'].map((key) => [key, { value: () => {}, enumerable: false }]))))]
]

for (const [what, make] of SAME) {
  test(`options ${what} are the same options`, async () => {
    for (const [type, , call, examples] of CALLS) {
      for (const example of examples) {
        const { core } = await outcome(call, example)
        const same = await outcome(call, mapped(example, make))
        assert.deepEqual([same.error, same.core], [undefined, core], type)
      }
    }
  })
}

test('what libraries hide in plain objects is passed over', async () => {
  const hidden = (value, key) => Object.defineProperty(value, key, { value: 'hidden', enumerable: false })
  createGuard(hidden({ rateLimit: false }, Symbol('type'))) // TOML parsers
  guard.validate({ body: { type: 'object', properties: {}, [Symbol.for('TypeBox.Kind')]: 'Object' } })
  guard.validate({ body: hidden({ type: 'object', properties: {} }, '~kind') })
  await guard.policy.evaluate({ headers: { ':method': 'GET', [Symbol('nodejs.http2.sensitiveHeaders')]: [] } })
})

test('keys that Node holds are to be exported', () => {
  const { publicKey } = keyPair('ec', { namedCurve: 'P-256' })
  const { issuer, audience } = jwt
  assert.throws(() => createGuard({ jwt: { issuer, audience, keys: [{ alg: 'ES256', key: publicKey }] } }), { code: 'ERR_INVALID_OPTION', path: 'jwt.keys[0].key', message: /key\.export\(/ })
})

test('a member that shows something else each time is read once', () => {
  let asked = 0
  const config = { rateLimit: false, get trustedProxies() { return (asked += 1) === 1 ? ['10.0.0.0/8'] : [] }, get log() { return (asked += 10) < 20 ? () => {} : 'no function' } }
  createGuard(config)
  assert.equal(asked, 11)
  const lists = new Proxy({ origins: ['https://a.example'] }, { get: (target, key) => (key === 'origins' ? [`https://a${(asked += 1)}.example`] : target[key]) })
  guard.cors(lists)
  assert.equal(asked, 12)
})

test('an argument that is undefined is not left out', async () => {
  for (const call of ['securityStack', 'headers', 'cors', 'csrf', 'rateLimit', 'authenticate', 'authorize', 'require', 'validate']) {
    assert.throws(() => guard[call](undefined), { name: 'GuardError', code: 'ERR_MISSING_OPTION' }, call)
    assert.throws(() => guard[call]({}, {}), { name: 'GuardError', code: 'ERR_INVALID_ARGUMENT' }, call)
  }
  for (const build of [createGuard, securityStack]) assert.throws(() => build(undefined), { code: 'ERR_MISSING_OPTION', path: 'config' })
  await assert.rejects(guard.upgrade({}, {}, Buffer.alloc(0), undefined), { code: 'ERR_MISSING_OPTION', path: 'stack' })
  assert.throws(() => guard.validate(), { code: 'ERR_MISSING_OPTION', path: 'schemas' })
  await assert.rejects(guard.tokens.issue({ sub: 'a' }, undefined), { code: 'ERR_MISSING_OPTION', path: 'options' })
  await assert.rejects(guard.revoke.key('k', undefined), { code: 'ERR_MISSING_OPTION', path: 'options' })
  await assert.rejects(guard.policy.evaluate(), { code: 'ERR_INVALID_ARGUMENT', path: 'input' })
  await assert.rejects(guard.policy.evaluate({}, undefined), { code: 'ERR_INVALID_ARGUMENT', path: 'query' })
  await assert.rejects(guard.limits.consume('a', 'k', undefined), { code: 'ERR_INVALID_ARGUMENT', path: 'cost' })
})

test('a message says what to write instead', () => {
  for (const [config, says] of [
    [Promise.resolve({}), /^`config` is a promise; await it first$/],
    [new Map(), /^`config` is a Map; give a plain object, such as Object\.fromEntries\(map\)$/],
    [{ hosts: new Set(['a']) }, /^`hosts` is a Set; give a list, such as \[\.\.\.set\]$/],
    [Object.create({ jwt }), /^`config` inherits members from another object; copy them, such as \{ \.\.\.defaults, \.\.\.options \}$/],
    [new Options({ jwt }), /^`config` is an instance of a class; give a plain object/],
    [{ store: { redis: new URL('redis://127.0.0.1:1') } }, /^`store\.redis` is a URL object; give its text, such as url\.href$/],
    [{ jwt: { ...jwt, secret: undefined } }, /^`jwt\.secret` is undefined; give it a value, or leave it out$/]
  ]) assert.throws(() => createGuard(config), { name: 'GuardError', message: says })
})

test('a module is taken for its exports, unless it has a default one', async () => {
  const named = await import('data:text/javascript,export const rateLimit = false; export const hosts = ["api.example.com"]')
  createGuard(named)
  const schema = await import('data:application/json,{"type":"object"}', { with: { type: 'json' } })
  assert.throws(() => guard.validate({ body: schema }), { code: 'ERR_INVALID_OPTION', path: 'body', message: /default export/ })
  guard.validate({ body: schema.default })
  const compiled = Object.defineProperty({ default: { type: 'object' } }, '__esModule', { value: true })
  assert.throws(() => guard.validate({ body: compiled }), { path: 'body', message: /default export/ })
})

test('demands and schemas that ask nothing are refused', () => {
  guard.require()
  assert.throws(() => guard.require({}), { code: 'ERR_INVALID_OPTION', path: 'demands' })
  for (const nothing of [{}, { payload: false }]) assert.throws(() => guard.validate(nothing), { code: 'ERR_INVALID_OPTION', path: 'schemas' })
  assert.throws(() => guard.validate({ response: {} }), { code: 'ERR_INVALID_OPTION', path: 'response' })
  for (const nothing of [null, 'read', ['read']]) assert.throws(() => guard.require(nothing), { code: 'ERR_INVALID_OPTION', path: 'demands' })
  assert.throws(() => createGuard({ jwt, revocation: false }).require({ fresh: true }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'fresh' })
})

test('a layer that is off is not mounted alone', () => {
  const off = createGuard({ headers: false, cors: false, rateLimit: false })
  for (const [layer, path] of [['headers', 'headers'], ['cors', 'cors'], ['rateLimit', 'rateLimit'], ['authenticate', 'jwt'], ['authorize', 'policy'], ['require', 'jwt']]) {
    assert.throws(() => off[layer](), { code: 'ERR_INVALID_OPTION', path }, layer)
  }
  assert.throws(() => createGuard().cors(), { code: 'ERR_INVALID_OPTION', path: 'cors' })
  off.headers({})
  off.cors({ origins: ['https://app.example.com'] })
  off.rateLimit({ name: 'a', limit: 1, window: '1s' })
  off.csrf() // it needs no options: our own origin is known
})

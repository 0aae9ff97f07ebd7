'use strict'

// Reads the facts that a preset of `providers` is made from. Each mistake names the fact and an
// example of it, and no error repeats what was given.

const { GuardError } = require('./errors.js')
const { readOptions } = require('./plain.js')

const MAX_TEXT = 256
const MAX_ITEMS = 100
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const HOST = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})+$`)
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/**
 * A preset: a function from facts to options of an issuer. `kinds` has the kind of each fact, and
 * `build` gets facts that were checked.
 */
function preset(provider, kinds, build) {
  return (facts) => build(readFacts(`providers.${provider}`, kinds, facts))
}

function readFacts(path, kinds, given) {
  const example = `{ ${Object.keys(kinds).filter((name) => !kinds[name].isOptional).map((name) => `${name}: ${kinds[name].example}`).join(', ')} }`
  if (given === undefined) throw missing(path, `give an object such as ${example}`)
  const facts = readOptions('facts', given, { prefix: path })
  for (const name of Object.keys(facts)) {
    if (!Object.hasOwn(kinds, name)) throw problem('ERR_UNKNOWN_OPTION', `${path}.${name}`, 'is not a fact of this provider', `the facts are ${Object.keys(kinds).map((known) => `\`${known}\``).join(', ')}`)
  }
  for (const [name, kind] of Object.entries(kinds)) {
    const at = `${path}.${name}`
    if (facts[name] === undefined) {
      if (kind.isOptional) continue
      throw missing(at, `write ${name}: ${kind.example}`)
    }
    const fault = kind.check(facts[name])
    if (fault !== undefined) throw problem('ERR_INVALID_OPTION', at, fault, `write ${kind.example}`)
  }
  return facts
}

/** Refuses facts that name none of `names`, one of which must bind the token. */
function oneOf(provider, facts, names, why) {
  if (names.some((name) => facts[name] !== undefined)) return
  throw problem('ERR_MISSING_OPTION', `providers.${provider}.${names[0]}`, 'is missing', `write ${names.map((name) => `\`${name}\``).join(' or ')}: ${why}`)
}

/** Refuses two facts that contradict each other. */
function conflict(path, what, suggestion) {
  return problem('ERR_CONFLICTING_OPTIONS', path, what, suggestion)
}

const missing = (path, suggestion) => problem('ERR_MISSING_OPTION', path, 'is missing', suggestion)

function problem(code, path, what, suggestion) {
  return new GuardError(`\`${path}\` ${what}; ${suggestion}`, { code, path, suggestion })
}

// Kinds of facts. `check` returns what is wrong.

const kind = (example, check) => ({ example, check, isOptional: false })
const optional = (of) => ({ ...of, isOptional: true })

function faultOfText(value) {
  if (typeof value !== 'string') return 'must be a string'
  if (value === '') return 'must not be empty'
  if (value.length > MAX_TEXT) return `must have at most ${MAX_TEXT} characters`
  // A URL made of it would lead elsewhere.
  if (/(?:^|\/)\.\.?(?:\/|$)/.test(value)) return 'must have no part that is `.` or `..`'
  // eslint-disable-next-line no-control-regex
  return /[\s\u0000-\u001f\u007f]/.test(value) ? 'must have no whitespace' : undefined
}

/** A name by its pattern. `what` describes it: `the id of a tenant`. */
const named = (example, what, pattern) => kind(example, (value) => faultOfText(value) ?? faultOfName(value, what, pattern))

function faultOfName(value, what, pattern) {
  if (pattern.test(value)) return undefined
  if (/^[a-z]+:\/\//i.test(value)) return `must be ${what}, not a URL`
  if (pattern.test(value.toLowerCase())) return `must be ${what}, in lower case`
  if (value.endsWith('/')) return `must be ${what}, without a slash at its end`
  return `must be ${what}`
}

const host = (example) => named(example, 'the name of a host', HOST)
const uuid = (example, what) => named(example, what, UUID)

/** One name or several. */
function names(example, what, pattern = /^/) {
  const faultOf = (value) => faultOfText(value) ?? faultOfName(value, what, pattern)
  return kind(example, (value) => {
    if (!Array.isArray(value)) return typeof value === 'string' ? faultOf(value) : 'must be a string or a list of strings'
    if (value.length === 0 || value.length > MAX_ITEMS) return `must have 1 to ${MAX_ITEMS} items`
    if (new Set(value).size < value.length) return 'must have each item once'
    return value.map(faultOf).find((fault) => fault !== undefined)
  })
}

/** A URL that paths are appended to. */
const url = (example, protocols = ['https:']) => kind(example, (value) => faultOfText(value) ?? faultOfUrl(value, protocols))

function faultOfUrl(value, protocols) {
  const parsed = URL.canParse(value) ? new URL(value) : undefined
  const wanted = protocols.map((protocol) => protocol.slice(0, -1)).join(' or ')
  if (parsed === undefined || !protocols.includes(parsed.protocol)) return `must be a URL with ${wanted}`
  if (/[?#]/.test(value) || parsed.username !== '' || parsed.password !== '') return 'must be a URL without a user, a query and a fragment'
  if (value.endsWith('/')) return 'must not end with a slash'
  return value.startsWith(parsed.origin) ? undefined : 'must have its scheme and host in lower case, and no default port'
}

const words = (example, known) => kind(example, (value) => (known.includes(value) ? undefined : `must be ${known.map((word) => `'${word}'`).join(' or ')}`))

const flag = () => kind('true', (value) => (typeof value === 'boolean' ? undefined : 'must be true or false'))

/** Anything that the guard judges itself. */
const any = (example) => kind(example, () => undefined)

module.exports = { any, conflict, flag, host, named, names, oneOf, optional, preset, url, UUID, uuid, words }

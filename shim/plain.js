'use strict'

// Reads JavaScript options or data into a tree of our own. Each member is read once, and all later
// code uses the tree: a getter or a Proxy can't return different values to two readers. Input that
// is not fully understood throws: an ignored member could be the one that protects.

const { types } = require('node:util')
const { GuardError } = require('./errors.js')

const MAX_DEPTH = 200
const MAX_PATH = 80
// Methods that node-config hides in all objects that it returns. No option has such a name.
const HIDDEN_METHODS = new Set(['get', 'has', 'util'])
// Symbols that TypeBox 0.34 writes into schemas, and Node's HTTP/2 into headers.
const KNOWN_SYMBOL = /^(?:TypeBox|nodejs)\./
const PROMISE = ['is a promise', 'await it first']
const HALF_PAIR = ['holds half of a surrogate pair', 'give well-formed text']
const no = () => false

/**
 * Reads an object of options. `name` is the name of the argument, `prefix` precedes the paths of
 * its members.
 * - `keeps(path, value)`: whether a value stays as it is, as schemas of libraries do.
 * - `isJson(path)`: whether only JSON is allowed there and below.
 * - `isTime(path)`: whether a Date is allowed there.
 * - `keywords`: the application's own keywords of schemas; their arguments may be functions.
 */
function readOptions(name, options, { prefix = '', keeps = no, isJson = no, isTime = no, keywords = [] } = {}) {
  const context = { name, keeps, isJson, isTime, keywords: new Set(keywords), above: new Set(), invalid: 'ERR_INVALID_OPTION', missing: 'ERR_MISSING_OPTION' }
  const tree = read(options, prefix, context, false)
  if (tree === null || typeof tree !== 'object' || Array.isArray(tree) || types.isUint8Array(tree) || types.isRegExp(tree)) {
    throw refusal(prefix, context, `must be an object, not ${nameOf(tree)}`)
  }
  return tree
}

/** Reads JSON values, with a Date as its text. */
function readData(name, data) {
  return readJson(name, data, name, 'ERR_INVALID_ARGUMENT')
}

/** Reads an OpenAPI document. The path of an error is the location in the document. */
function readDocument(doc) {
  return readJson('doc', doc, '', 'ERR_INVALID_OPENAPI')
}

function readJson(name, value, path, code) {
  return read(value, path, { name, keeps: no, isJson: no, isTime: no, keywords: new Set(), above: new Set(), invalid: code, missing: code }, true)
}

/** `json`: whether only JSON values are accepted, as in schemas. */
function read(value, path, context, json) {
  if (context.keeps(path, value)) return value
  switch (typeof value) {
    case 'undefined':
      throw refusal(path, context, 'is undefined', 'give it a value, or leave it out', context.missing)
    case 'function':
      if (json) throw notJson(path, context, 'a function')
      return value
    case 'number':
      if (!Number.isFinite(value)) throw refusal(path, context, 'is not a finite number')
      return value
    case 'bigint':
      throw refusal(path, context, 'is a bigint', 'give a number or a string')
    case 'symbol':
      throw refusal(path, context, 'is a symbol', 'give a string')
    case 'string':
      // The core reads such texts as functions and bytes.
      if (!json && value.startsWith('\0')) throw refusal(path, context, 'must not start with U+0000')
      if (!value.isWellFormed()) throw refusal(path, context, ...HALF_PAIR)
      return value
    case 'boolean':
      return value
    default:
      return value === null ? null : readObject(value, path, context, json)
  }
}

function readObject(value, path, context, json) {
  const { above } = context
  if (above.size > MAX_DEPTH || above.has(value)) {
    throw refusal(path, context, 'is nested too deeply or holds itself', undefined, 'ERR_INVALID_OPTION')
  }
  // Not `instanceof`: test runners and `node:vm` have classes of their own.
  if (types.isUint8Array(value)) {
    if (json) throw notJson(path, context, 'a Buffer')
    if (isDetached(value)) throw refusal(path, context, 'holds bytes that were transferred away', 'give a copy of them')
    return value
  }
  if (types.isDate(value)) {
    if (Number.isNaN(Date.prototype.getTime.call(value))) throw refusal(path, context, 'is a Date that is no time')
    if (!json && !context.isTime(path)) throw refusal(path, context, 'is a Date', 'give what it stands for, such as date.toISOString()')
    return Date.prototype.toISOString.call(value)
  }
  if (types.isRegExp(value)) {
    if (json) throw notJson(path, context, 'a regular expression')
    if (!isPlainRegExp(value)) throw refusal(path, context, 'is a regular expression with methods of its own, which nobody would call', 'write it as a literal, or give a function')
    return value
  }
  above.add(value)
  const tree = Array.isArray(value) ? readList(value, path, context, json) : readMembers(value, path, context, json)
  above.delete(value)
  return tree
}

function readList(list, path, context, json) {
  const items = []
  for (let i = 0; i < list.length; i += 1) items.push(read(list[i], `${path}[${i}]`, context, json))
  for (const key of Object.keys(list)) {
    if (!isIndex(key, items.length)) throw refusal(under(path, key), context, 'is a member of a list', 'give the items alone')
  }
  return items
}

function readMembers(value, path, context, json) {
  const unusable = kindOf(value)
  if (unusable !== undefined) throw refusal(path, context, ...unusable)
  const keys = Reflect.ownKeys(value)
  if (keys.length === 0 && types.isProxy(value)) throw refusal(path, context, 'is a Proxy that lists no members', 'give a plain object')
  const module = types.isModuleNamespaceObject(value) || Object.hasOwn(value, '__esModule')
  if (module && Object.hasOwn(value, 'default')) throw refusal(path, context, 'is a module', 'give its default export')
  const tree = Object.create(null)
  for (const key of keys) {
    const shown = under(path, typeof key === 'symbol' ? `[${String(key)}]` : key)
    if (!isListed(value, key)) {
      takeHidden(value, key, shown, tree, context)
      continue
    }
    if (typeof key === 'symbol') {
      if (KNOWN_SYMBOL.test(key.description)) continue
      throw refusal(shown, context, 'has a symbol as its name', 'give it a string as its name')
    }
    if (!key.isWellFormed()) throw refusal(path, context, 'has a member whose name holds half of a surrogate pair', 'give well-formed text')
    const member = value[key]
    if (key === 'then' && typeof member === 'function') throw refusal(path, context, ...PROMISE)
    // The argument of a keyword may be anything: the application's own function reads it.
    const isArgument = context.keywords.has(key) && (typeof member === 'function' || types.isRegExp(member))
    tree[key] = isArgument ? member : read(member, under(path, key), context, json || context.isJson(under(path, key)))
  }
  return tree
}

/** Refuses a member that is not enumerable, except those of libraries: TypeBox hides its marks. */
function takeHidden(value, key, shown, tree, context) {
  if (typeof key === 'symbol' || key === '__esModule' || HIDDEN_METHODS.has(key)) return
  if (!key.startsWith('~')) throw refusal(shown, context, 'is not enumerable', 'write it as a plain member')
  Object.defineProperty(tree, key, { value: value[key], enumerable: false })
}

/** Whether the bytes were transferred to another thread and can't be read. */
function isDetached({ buffer, byteLength }) {
  if (byteLength > 0) return false
  try {
    Buffer.from(buffer)
    return false
  } catch {
    return true
  }
}

const isListed = (value, key) => Object.prototype.propertyIsEnumerable.call(value, key)

const isIndex = (key, length) => /^(?:0|[1-9]\d*)$/.test(key) && Number(key) < length

const under = (path, key) => (path === '' ? key : `${path}.${key}`)

/** Why an object is not plain, and what to write instead; undefined for a plain one. */
function kindOf(value) {
  if (types.isPromise(value)) return PROMISE
  if (types.isMap(value)) return ['is a Map', 'give a plain object, such as Object.fromEntries(map)']
  if (types.isSet(value)) return ['is a Set', 'give a list, such as [...set]']
  if (types.isBoxedPrimitive(value)) return ['is a primitive value in an object', 'give value.valueOf()']
  if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) return ['holds bytes of another kind', 'give a Buffer or a Uint8Array']
  if (types.isKeyObject(value)) return ['is a KeyObject', "give what it exports, such as key.export({ type: 'pkcs8', format: 'pem' })"]
  if (types.isCryptoKey(value)) return ['is a CryptoKey', "give what it exports, such as await crypto.subtle.exportKey('jwk', key)"]
  const prototype = Object.getPrototypeOf(value)
  if (prototype === null || isObjectPrototype(prototype)) return undefined
  if (typeof value.then === 'function') return PROMISE
  if (value instanceof URL) return ['is a URL object', 'give its text, such as url.href']
  const isInstance = typeof prototype.constructor === 'function' && Object.hasOwn(prototype, 'constructor')
  return isInstance
    ? ['is an instance of a class', 'give a plain object with what is meant']
    : ['inherits members from another object', 'copy them, such as { ...defaults, ...options }']
}

/**
 * Whether it is the `Object.prototype` of some realm: `node:vm` and test runners have their own.
 */
function isObjectPrototype(prototype) {
  if (prototype === Object.prototype) return true
  if (Object.getPrototypeOf(prototype) !== null) return false
  const { constructor } = prototype
  return typeof constructor === 'function' && constructor.prototype === prototype && constructor.name === 'Object' && !types.isProxy(prototype)
}

function notJson(path, context, what) {
  return refusal(path, context, `is ${what}, which can't be written as JSON`, 'give text, finite numbers, booleans, null, lists or plain objects')
}

/** Whether a regular expression, of any realm, is matched by its source and flags alone. */
function isPlainRegExp(value) {
  const parent = Object.getPrototypeOf(Object.getPrototypeOf(value) ?? {})
  return Reflect.ownKeys(value).every((key) => key === 'lastIndex') && parent !== null && Object.getPrototypeOf(parent) === null
}

function nameOf(value) {
  if (value === null) return 'null'
  if (typeof value === 'string') return 'a string'
  if (Array.isArray(value)) return 'a list'
  if (types.isUint8Array(value)) return 'a Buffer'
  if (types.isRegExp(value)) return 'a regular expression'
  return `a ${typeof value}`
}

function refusal(path, { name, invalid }, problem, suggestion, code = invalid) {
  const shown = path === '' ? name : path.slice(0, MAX_PATH)
  const message = `\`${shown}\` ${problem}${suggestion === undefined ? '' : `; ${suggestion}`}`
  return new GuardError(message, { code, path: shown, suggestion })
}

module.exports = { readData, readDocument, readOptions }

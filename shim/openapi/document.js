'use strict'

// `guard.toOpenApi`: the document of the routes that a guard protects, by what their layers
// declare. It is made from the options that the core has judged, not from a second description.

const { GuardError, warn } = require('../errors.js')
const { routesOf } = require('../hosts/routes.js')
const { readOptions } = require('../plain.js')
const { kConversation } = require('../shared.js')
const { PROBLEMS, operationOf } = require('./operation.js')
const { Schemas } = require('./schemas.js')

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']
const OPTIONS = ['info', 'servers', 'tags', 'externalDocs', 'version', 'operations', 'mounts', 'onOmission']
/** The options that are data for the document. */
const DATA = ['info', 'servers', 'tags', 'externalDocs', 'operations']
const OF_OPERATION = ['operationId', 'summary', 'description', 'tags', 'deprecated', 'externalDocs']
const VERSION = /^3\.[12]\.\d+$/

/** A problem document: RFC 9457, with the members that the guard adds. */
const PROBLEM = {
  type: 'object',
  required: ['type', 'title', 'status', 'code'],
  properties: {
    type: { type: 'string', format: 'uri-reference' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    code: { type: 'string' },
    errors: {
      type: 'array',
      items: {
        type: 'object',
        properties: { in: { type: 'string' }, pointer: { type: 'string' }, code: { type: 'string' }, detail: { type: 'string' } }
      }
    },
    truncated: { type: 'boolean' }
  }
}

const answerOf = (status) => ({
  description: PROBLEMS[status],
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } }
})

/** The security schemes of a document, by the places where credentials come. */
class Security {
  schemes = {}

  /** The names of the schemes of these credentials, as alternatives. */
  namesOf({ tokens, isProven, apiKey }) {
    const names = tokens.map((place) => (place.in === 'authorization' ? this.#add(isProven ? 'dpop' : 'bearer', bearer(isProven)) : this.#add(`${place.in}Token`, keyIn(place))))
    if (apiKey === null) return names
    const scheme = apiKey.in === 'header' ? keyIn(apiKey) : { type: 'http', scheme: apiKey.scheme.toLowerCase() }
    return [...names, this.#add('apiKey', scheme)]
  }

  #add(wanted, scheme) {
    const text = JSON.stringify(scheme)
    for (let i = 1; ; i += 1) {
      const name = i === 1 ? wanted : `${wanted}${i}`
      const known = (this.schemes[name] ??= scheme)
      if (JSON.stringify(known) === text) return name
    }
  }
}

const bearer = (isProven) => (isProven ? { type: 'http', scheme: 'dpop' } : { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' })
const keyIn = ({ in: place, name }) => ({ type: 'apiKey', in: place, name })

/**
 * Builds `guard.toOpenApi` for the guard with the internal object `owner`. `config` is its options,
 * `wholeStack()` returns the handlers of its plain stack.
 */
function toOpenApiOf(owner, config, wholeStack) {
  return (app, options) => {
    const { info, servers, tags, externalDocs, version, operations, mounts, onOmission } = readArguments(options)
    const { routes, omitted } = routesOf(app, { guard: owner.pin, mounts, wholeStack })
    const schemas = new Schemas(rulesOf(config))
    const security = new Security()
    const problems = new Set()
    const omissions = []
    const note = (operation, problem) => {
      if (!omissions.some((it) => it.operation === operation && it.problem === problem)) omissions.push(Object.freeze({ operation, problem }))
    }
    for (const { route, problem } of omitted) note(route, problem)
    const unnamed = new Set(Object.keys(operations))
    const paths = {}
    for (const route of routes) {
      const { method, template, handlers } = route
      const name = `${method.toUpperCase()} ${template.path}`
      const report = (problem) => note(name, problem)
      const item = (paths[template.path] ??= {})
      if (item[method] !== undefined) {
        report('a second route of this method and path')
        continue
      }
      const layers = handlers.map((handler) => handler[kConversation])
      unnamed.delete(name)
      item[method] = { ...operations[name], ...operationOf(route, layers, { schemas, security, problems, report }) }
    }
    refuseUnnamed(unnamed, paths)
    tell(omissions, onOmission)
    const components = {
      schemas: { ...schemas.components, Problem: PROBLEM },
      responses: Object.fromEntries([...problems].toSorted().map((status) => [`Problem${status}`, answerOf(status)])),
      ...(Object.keys(security.schemes).length > 0 ? { securitySchemes: security.schemes } : {})
    }
    const rest = Object.entries({ servers, tags, externalDocs }).filter(([, value]) => value !== undefined)
    // Free of what this file shares between documents.
    return structuredClone({ openapi: version, info, ...Object.fromEntries(rest), paths, components })
  }
}

/** What schemas may refer to, and the formats and keywords of the guard. */
function rulesOf({ payload }) {
  const { schemas = {}, draft, formats = {}, keywords = {} } = payload === null || typeof payload !== 'object' ? {} : payload
  return { registered: schemas, draft, formats: new Map(Object.entries(formats)), keywords: Object.keys(keywords) }
}

function readArguments(options) {
  if (options === undefined) {
    throw new GuardError('`options.info` must be given; write { info: { title, version } }', { code: 'ERR_MISSING_OPTION', path: 'options.info' })
  }
  const read = readOptions('options', options, { prefix: 'options', isJson: (path) => DATA.includes(path.slice('options.'.length)) })
  for (const key of Object.keys(read)) {
    if (!OPTIONS.includes(key)) throw new GuardError(`\`options.${key}\` is no option; the options are ${OPTIONS.join(', ')}`, { code: 'ERR_UNKNOWN_OPTION', path: `options.${key}` })
  }
  const { info, version = '3.1.0', operations = {}, mounts = {}, onOmission } = read
  for (const [key, isList] of [['info', false], ['servers', true], ['tags', true], ['externalDocs', false], ['operations', false], ['mounts', false]]) {
    const value = read[key]
    // Objects that were read have no prototype.
    const isObject = value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === null
    if (value === undefined || (isList ? Array.isArray(value) : isObject)) continue
    throw new GuardError(`\`options.${key}\` must be ${isList ? 'a list' : 'an object'}`, { code: 'ERR_INVALID_OPTION', path: `options.${key}` })
  }
  for (const key of DATA) refuseNull(read[key], `options.${key}`)
  for (const key of ['title', 'version']) {
    if (typeof info?.[key] === 'string') continue
    throw new GuardError(`\`options.info.${key}\` must be a string: OpenAPI asks for it`, { code: 'ERR_MISSING_OPTION', path: `options.info.${key}` })
  }
  if (typeof version !== 'string' || !VERSION.test(version)) {
    throw new GuardError("`options.version` must be a version 3.1.x or 3.2.x of OpenAPI, such as '3.1.1': schemas of older ones are no JSON Schema", { code: 'ERR_INVALID_OPTION', path: 'options.version' })
  }
  if (onOmission !== undefined && typeof onOmission !== 'function') {
    throw new GuardError('`options.onOmission` must be a function that takes one omission', { code: 'ERR_INVALID_OPTION', path: 'options.onOmission' })
  }
  for (const [name, texts] of Object.entries(operations)) {
    const unknown = Object.keys(texts ?? {}).find((key) => !OF_OPERATION.includes(key))
    if (texts !== null && typeof texts === 'object' && unknown === undefined) continue
    const path = `options.operations.${name}`
    throw new GuardError(`\`${path}\` may have ${OF_OPERATION.join(', ')} alone: the rest is what the layers declare`, { code: 'ERR_INVALID_OPTION', path })
  }
  return { ...read, version, operations, mounts }
}

/** OpenAPI has no field of these objects that may be null. */
function refuseNull(value, path) {
  if (value === null) throw new GuardError(`\`${path}\` is null, which OpenAPI does not have there; leave it out`, { code: 'ERR_INVALID_OPTION', path })
  if (typeof value !== 'object') return
  for (const [key, inner] of Object.entries(value)) {
    if (!key.startsWith('x-')) refuseNull(inner, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`)
  }
}

function refuseUnnamed(unnamed, paths) {
  const [name] = unnamed
  if (name === undefined) return
  const known = Object.entries(paths).flatMap(([path, item]) => METHODS.filter((method) => item[method] !== undefined).map((method) => `${method.toUpperCase()} ${path}`))
  throw new GuardError(`\`options.operations.${name}\` is no route that the guard protects; these are ${known.join(', ')}`, {
    code: 'ERR_INVALID_OPTION',
    path: `options.operations.${name}`
  })
}

/** Hands each omission over, or warns of all at once. */
function tell(omissions, onOmission) {
  if (onOmission !== undefined) return void omissions.forEach((omission) => onOmission(omission))
  if (omissions.length === 0) return undefined
  const shown = omissions.slice(0, 5).map(({ operation, problem }) => `${operation}: ${problem}`)
  const more = omissions.length > shown.length ? `, and ${omissions.length - shown.length} more` : ''
  return warn('GUARD_OPENAPI_OMITTED', `the document does not say all that the guard checks (${shown.join('; ')}${more}): take the list with \`onOmission\``)
}

module.exports = { toOpenApiOf }

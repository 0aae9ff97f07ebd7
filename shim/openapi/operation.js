'use strict'

// One operation of a document: what all layers of the guard on its way ask for.

const native = require('../../native.js')
const { unwrap } = require('../errors.js')
const { sampleOf } = require('./paths.js')

const PARTS = { query: 'query', params: 'path', headers: 'header', cookies: 'cookie' }
/** Headers that `content` and `security` define (OpenAPI 3.1.1 section 4.8.12.2). */
const IGNORED_HEADERS = new Set(['accept', 'content-type', 'authorization'])
/** Keywords of the schema of a part that parameters have a place for. */
const OF_PARTS = new Set(['type', 'properties', 'required', 'title', 'description', 'additionalProperties', 'unevaluatedProperties'])
const WITHOUT_BODY = new Set(['get', 'head', 'delete', 'options', 'trace'])
const SAFE = new Set(['get', 'head', 'options'])
const MEDIA = { json: 'application/json', form: 'application/x-www-form-urlencoded', multipart: 'multipart/form-data' }
/** The statuses of problem documents, with a description of each. */
const PROBLEMS = {
  400: 'The request is malformed',
  401: 'Credentials are missing or not accepted',
  403: 'The request is not allowed',
  408: 'The body arrived too late',
  413: 'The body or the query is too large',
  415: 'The body has another media type',
  422: 'The request does not match the schema',
  429: 'Too many requests',
  503: 'A service that the check needs is not available'
}

/**
 * Describes the operation of a route. `layers` are the conversations of its layers in their order,
 * `context` has `schemas`, `security`, the statuses of `problems`, and `report(problem)`.
 */
function operationOf({ method, template }, layers, context) {
  const { report } = context
  const path = sampleOf(template.path)
  const facts = layers.map((layer) => unwrap(native.describeStack(layer.stack, method.toUpperCase(), path)))
  const declared = layers.map((layer) => layer.declared())
  if (template.loss !== undefined) report(template.loss)
  for (const { inexact } of declared) {
    for (const part of inexact) report(`${part}: checks and changes of its library (refinements, transforms, own functions)`)
  }
  const parameters = [...parametersOf(declared, context), ...undescribed(template.names, declared)]
  const requestBody = bodyOf(method, facts, declared, context)
  const security = securityOf(facts, context)
  return {
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(requestBody === undefined ? {} : { requestBody }),
    responses: responsesOf(method, facts, declared, requestBody, context),
    ...(security === undefined ? {} : { security })
  }
}

/** The parameters that schemas of the layers declare; the last one of a name counts. */
function parametersOf(declared, { schemas, report }) {
  const found = new Map()
  for (const { options } of declared) {
    for (const [part, place] of Object.entries(PARTS)) {
      if (options[part] === undefined) continue
      const said = (problem) => report(`${part}: ${problem}`)
      const whole = flat(schemas.convert(options[part], said), schemas, said)
      if (place === 'query' && whole.isOpen) said('that it takes other names, too')
      for (const [name, schema] of Object.entries(whole.properties)) {
        const lower = place === 'header' ? name.toLowerCase() : name
        if (place === 'header' && IGNORED_HEADERS.has(lower)) {
          said(`the header \`${lower}\`, which is no parameter in OpenAPI`)
          continue
        }
        const types = [schemas.resolve(schema)?.type].flat()
        if (types.includes('object') || (types.includes('array') && place !== 'query')) said(`how the object or list \`${lower}\` is written as text`)
        const required = place === 'path' || whole.required.includes(name)
        found.set(`${place} ${lower}`, { name: lower, in: place, ...(required ? { required } : {}), schema })
      }
    }
  }
  return [...found.values()]
}

/** The parameters of the path that no schema describes. */
function undescribed(names, declared) {
  const known = new Set(declared.flatMap(({ options }) => Object.keys(options.params?.properties ?? {})))
  return names.filter((name) => !known.has(name)).map((name) => ({ name, in: 'path', required: true, schema: { type: 'string' } }))
}

/** The members of the schema of a part, also where it is a reference or an `allOf` of objects. */
function flat(schema, schemas, said, depth = 0) {
  const all = { properties: Object.create(null), required: [], isOpen: true }
  if (schema === null || typeof schema !== 'object' || depth > 16) {
    if (schema === true) said('its names, which only its library knows')
    return all
  }
  Object.assign(all.properties, schema.properties)
  all.required.push(...(schema.required ?? []))
  all.isOpen = schema.properties === undefined || schema.additionalProperties !== undefined && schema.additionalProperties !== false || schema.unevaluatedProperties === true
  const parts = [...(schema.allOf ?? []), ...(schema.$ref === undefined ? [] : [schemas.resolve(schema)])]
  for (const part of parts) {
    const inner = flat(part, schemas, said, depth + 1)
    for (const [name, member] of Object.entries(inner.properties)) {
      all.properties[name] = all.properties[name] === undefined ? member : { allOf: [all.properties[name], member] }
    }
    all.required.push(...inner.required)
  }
  for (const key of Object.keys(schema)) {
    if (!OF_PARTS.has(key) && key !== 'allOf' && key !== '$ref') said(`\`${key}\` of the whole`)
  }
  if (schema.properties === undefined && parts.length === 0) said('its names, which its schema does not list')
  return all
}

function bodyOf(method, facts, declared, { schemas, report }) {
  const own = declared.flatMap(({ options }, i) => (options.body === undefined ? [] : [[options.body, facts[i]]]))
  if (own.length > 0) {
    const converted = own.map(([schema]) => schemas.closed(schemas.convert(schema, (problem) => report(`body: ${problem}`))))
    const schema = converted.length === 1 ? converted[0] : { allOf: converted }
    const { types } = own.at(-1)[1].body
    // The schema is about the fields of a multipart body alone, and would refuse its files.
    if (types.includes('multipart')) report('the fields and files of a multipart body')
    return { required: true, content: Object.fromEntries(types.map((type) => [MEDIA[type], type === 'multipart' ? {} : { schema }])) }
  }
  if (WITHOUT_BODY.has(method)) return undefined
  const reader = facts.find(({ body }) => body?.isDeclared)
  // Without a declaration, bodies of any type may be for the handler.
  if (reader === undefined) return { content: { '*/*': {} } }
  return { content: Object.fromEntries(reader.body.types.map((type) => [MEDIA[type], {}])) }
}

/** The security requirements; undefined if no layer reads an identity. */
function securityOf(facts, { security, report }) {
  const readers = facts.filter(({ identity }) => identity !== 'none')
  if (readers.length === 0) return undefined
  const scopes = [...new Set(facts.flatMap((it) => it.scopes))]
  for (const demand of new Set(facts.flatMap(({ demands }) => demands))) report(`the requirement \`${demand}\` for tokens`)
  const { credentials } = readers[0]
  if (credentials.identify) report('identities that the function `identify` finds')
  const names = security.namesOf(credentials)
  if (names.length === 0) return undefined
  const alternatives = names.map((name) => ({ [name]: scopes }))
  return readers.some(({ identity }) => identity === 'required') && !credentials.identify ? alternatives : [...alternatives, {}]
}

function responsesOf(method, facts, declared, requestBody, { schemas, problems, report }) {
  const responses = {}
  for (const { options } of declared) {
    for (const [status, schema] of Object.entries(options.response ?? {})) {
      const name = /^[1-5]xx$/i.test(status) ? status.toUpperCase() : status
      const converted = schemas.convert(schema, (problem) => report(`response ${name}: ${problem}`))
      responses[name] = { description: 'The answer of the handler', content: { 'application/json': { schema: converted } } }
    }
  }
  if (Object.keys(responses).length === 0) responses['2XX'] = { description: 'The answer of the handler' }
  for (const status of statusesOf(method, facts, declared, requestBody)) {
    if (responses[status] !== undefined) continue
    responses[status] = { $ref: `#/components/responses/Problem${status}` }
    problems.add(status)
  }
  return responses
}

/** The statuses of the problem documents that these layers answer with. */
function statusesOf(method, facts, declared, requestBody) {
  const some = (test) => facts.some(test)
  const has = (...parts) => declared.some(({ options }) => parts.some((part) => options[part] !== undefined))
  const identity = some((it) => it.identity !== 'none')
  const isForbidden = some((it) => it.scopes.length + it.demands.length > 0 || it.policy || (it.csrf && !SAFE.has(method)))
  return [
    400,
    ...(identity ? [401] : []),
    ...(isForbidden ? [403] : []),
    ...(requestBody === undefined ? [] : [408]),
    ...(requestBody === undefined && !has('query') ? [] : [413]),
    ...(requestBody === undefined ? [] : [415]),
    ...(has('body', ...Object.keys(PARTS)) ? [422] : []),
    ...(some((it) => it.limits) ? [429] : []),
    ...(identity || some((it) => it.limits) ? [503] : [])
  ]
}

module.exports = { PROBLEMS, operationOf }

// Sends the same requests to two servers that guard one document: keepstone, and
// express-openapi-validator (ajv). Both only say whether the request is accepted.

import http from 'node:http'
import { createRequire } from 'node:module'
import { Requests, operationsOf } from './openapi-requests.mjs'

const require = createRequire(import.meta.url)

/** Why verdicts may differ. The first class whose test holds is that of a difference. */
export const CLASSES = [
  ['path', 'the text of a path that two routers read differently is refused (docs/guides/openapi.md)', (it) => ['malformed_path', 'unknown_route'].includes(it.own.code)],
  ['no body', 'the other side answers 415 to a request without the body that the operation need not have', (it) => !refuses(it) && it.their.status === 415 && it.request.body === undefined],
  ['route', 'the other side does not find the operation: a name of a parameter has a hyphen, a less literal path comes first, or two paths differ in names of parameters alone', (it) => !refuses(it) && [404, 405].includes(it.their.status)],
  ['style', 'the other side does not read lists in headers and cookies', (it) => !refuses(it) && it.their.message?.startsWith("Parameter 'style' has incorrect value")],
  ['default', 'the other side fills in defaults before it checks `required` and the branches of `oneOf`, and refuses one that does not match its own schema', (it) => isOfDefaults(it)],
  ['header', 'the other side checks parameters named `Accept`, `Content-Type` or `Authorization`, which OpenAPI says are ignored', (it) => allTheirs(it, (error) => /^\/headers\/(?:accept|content-type|authorization)$/i.test(error.path))],
  ['read-only parameter', 'the other side refuses a parameter whose schema is `readOnly`, a word about properties of bodies', (it) => allTheirs(it, (error) => error.errorCode === 'readOnly.openapi.validation' && !error.path.startsWith('/body'))],
  ['json', 'a JSON text that parsers read differently is refused: keys such as `$ref` or `a.b`, numbers that are not held exactly', (it) => ['operator_key', 'unsafe_number', 'forbidden_key', 'forbidden_character'].includes(it.own.code)],
  ['repeated', 'a single value that comes twice is refused, and not taken for a list', (it) => it.own.code === 'duplicate_key'],
  ['size', 'a body or query over the limits of `payload` is refused', (it) => it.own.status === 413 || ['too_deep', 'too_many_nodes', 'too_many_keys'].includes(it.own.code)],
  ['brackets', 'names with brackets that no parameter declares are refused', (it) => it.own.code === 'bracketed_key'],
  ['format', 'ajv-formats has other patterns for a format, or none', (it) => refuses(it) && it.own.errors.every((error) => error.code === 'format') || onlyTheirs(it, 'format')],
  ['integer', 'integer formats are limits, and an integer beyond 2^53 - 1 is refused', (it) => refuses(it) && it.own.errors.every((error) => ['minimum', 'maximum', 'type', 'pattern'].includes(error.code)) && it.hasIntegerFormat],
  ['coercion', 'ajv converts text of a parameter loosely (`1e3` or an empty text for an integer, `null`), the guard by the grammar of JSON', (it) => refuses(it) && it.own.errors.every((error) => error.in !== 'body')],
  ['list', 'the other side splits lists and objects in parameters in another way, or refuses reserved characters in them', (it) => !refuses(it) && it.their.errors.every((error) => /\/(?:query|params|headers|cookies)\b/.test(error.path ?? ''))],
  ['discriminator', 'the value of a discriminator chooses the branch; the other side reads it by other names, and in parents of `allOf` too', (it) => it.hasDiscriminator || /^'[^']+' must be equal to one of the allowed values/.test(it.their.message)],
  ['nullable', 'the other side accepts null beside an `enum`, `$ref` or `allOf`', (it) => it.hasNullable],
  ['siblings', 'the other side checks keywords beside `$ref`, which 3.0 ignores', (it) => it.hasSiblings && !refuses(it)],
  ['write-only', 'the other side refuses a body that is null or no object before its schema is asked', (it) => !refuses(it) && it.their.status === 400 && it.their.errors.length === 0],
  ['read-only', 'a property that is read-only is refused at every depth', (it) => refuses(it) && it.own.errors.some((error) => error.code === 'schema' || error.code === 'false'), true]
]

const allTheirs = (it, test) => !refuses(it) && it.their.errors.length > 0 && it.their.errors.every((error) => typeof error.path === 'string' && test(error))

// Whether all errors are about values that the request does not have, or a branch was refused for
// one that the other side has put there itself.
function isOfDefaults(it) {
  if (refuses(it)) return it.hasDefault && it.own.errors.every((error) => error.in === 'body' && error.code === 'required')
  const isAdded = (error) => error.errorCode === 'additionalProperties.openapi.validation' && isAbsent(it.request, error.path)
  return allTheirs(it, (error) => isAbsent(it.request, error.path)) || it.their.errors.some(isAdded)
}

// Whether a request has no value at the path of an error: `/body/role`, `/query/limit`.
function isAbsent(request, path) {
  const [, part, ...steps] = (path ?? '').split('/')
  if (steps.length === 0) return false
  const [name] = steps
  switch (part) {
    case 'body':
      return request.body !== undefined && steps.reduce((at, step) => at?.[step], JSON.parse(request.body)) === undefined
    case 'query':
      return ![...new URLSearchParams(request.path.split('?')[1])].some(([key]) => key === name || key.startsWith(`${name}[`))
    case 'headers':
      return !/^(?:accept|content-type|authorization)$/i.test(name) && !Object.keys(request.headers).some((key) => key.toLowerCase() === name.toLowerCase())
    case 'cookies':
      return !(request.headers.cookie ?? '').split('; ').some((pair) => pair.startsWith(`${name}=`))
    default:
      return false
  }
}

const refuses = (it) => it.own.status !== 200
const onlyTheirs = (it, word) => !refuses(it) && it.their.errors.length > 0 && it.their.errors.every((error) => (error.errorCode ?? '').startsWith(word))

/**
 * Compares the verdicts over `requests` requests for a document.
 *
 * @returns {Promise<{ requests: number, accepted: number, unjudged: number, reason?: string,
 * differences: object[] }>}
 *   `unjudged` counts requests that the other side could not judge, for `reason`
 */
export async function compare(createGuard, doc, options, { requests, seed = 1 }) {
  const plain = withoutOthers(doc)
  const guard = createGuard({ rateLimit: false, log: () => {} })
  let own, their
  try {
    const api = guard.fromOpenApi(plain, { basePath: '', unreadable: 'pass', undeclared: 'accept', unknown: 'refuse', ...options })
    own = await serve((app) => app.use(api.handler))
    their = await serve((app) => theirs(app, withoutIdleNullable(structuredClone(plain))))
    const known = new Set(api.operations.map(({ method, path }) => `${method} ${path}`))
    const targets = operationsOf(plain).filter(({ method, path }) => known.has(`${method.toUpperCase()} ${path}`))
    return await judge(plain, targets, new Requests(plain, seed), { own, their, requests })
  } finally {
    await Promise.all([own?.close(), their?.close()])
    await guard.close()
  }
}

async function judge(doc, targets, maker, { own, their, requests }) {
  const result = { requests: 0, accepted: 0, unjudged: 0, differences: [] }
  const text = new Map(targets.map((target) => [target, textOf(doc, target)]))
  for (let i = 0; i < requests && targets.length > 0; i += 1) {
    const target = targets[i % targets.length]
    const request = maker.make(target, i % 3 !== 0)
    const [mine, other] = await Promise.all([own.send(request), their.send(request)])
    // The other side has no verdict: it can't compile the schemas of this operation.
    if (other.status >= 500) {
      result.unjudged += 1
      result.reason ??= other.message
      continue
    }
    result.requests += 1
    if (mine.status === 200) result.accepted += 1
    if ((mine.status === 200) === (other.status === 200)) continue
    const about = text.get(target)
    const difference = {
      request, own: mine, their: other,
      hasSiblings: doc.openapi.startsWith('3.0') && /"\$ref":"[^"]+",|[^{]"\$ref"/.test(about), hasIntegerFormat: /"format":"u?int\d+"/.test(about), hasDiscriminator: about.includes('"discriminator"'), hasNullable: about.includes('"nullable"'), hasDefault: about.includes('"default"')
    }
    difference.class = CLASSES.find(([, , test]) => test(difference))?.[0] ?? 'unexplained'
    result.differences.push(difference)
  }
  return result
}

/** The text of an operation with all that it refers to. */
function textOf(doc, target) {
  const seen = new Set()
  let all = ''
  const add = (value) => {
    const text = JSON.stringify(value) ?? ''
    all += text
    for (const [, ref] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      if (seen.has(ref)) continue
      seen.add(ref)
      add(ref.split('/').map((part) => decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')).reduce((at, part) => at?.[part], doc))
    }
  }
  add([target.operation.requestBody, target.parameters])
  return all
}

/** The document without what is not compared: servers, security and answers. */
function withoutOthers(doc) {
  const plain = structuredClone(doc)
  plain.servers = [{ url: '/' }]
  delete plain.security
  delete plain.webhooks
  if (plain.components !== undefined) delete plain.components.securitySchemes
  for (const item of Object.values(plain.paths ?? {})) {
    if (typeof item !== 'object' || item === null) continue
    delete item.servers
    for (const operation of Object.values(item)) {
      if (typeof operation !== 'object' || operation === null || Array.isArray(operation)) continue
      for (const key of ['servers', 'security', 'callbacks']) delete operation[key]
      if (operation.responses !== undefined) operation.responses = { 200: { description: 'ok' } }
    }
  }
  return plain
}

/** `nullable` without `type` has no effect (OpenAPI 3.0.3), and ajv does not compile it. */
function withoutIdleNullable(value) {
  if (value === null || typeof value !== 'object') return value
  if ('nullable' in value && !('type' in value) && typeof value.nullable === 'boolean') delete value.nullable
  for (const inner of Object.values(value)) withoutIdleNullable(inner)
  return value
}

function theirs(app, apiSpec) {
  const express = require('express')
  const { middleware } = require('express-openapi-validator')
  app.use(express.json({ type: ['application/json', 'application/*+json'], strict: false }))
  app.use(middleware({
    apiSpec, validateApiSpec: false, validateSecurity: false, validateResponses: false, fileUploader: false,
    validateRequests: { allowUnknownQueryParameters: true, coerceTypes: false }, validateFormats: true
  }))
}

async function serve(mount) {
  const express = require('express')
  const app = express()
  app.disable('x-powered-by')
  mount(app)
  app.use((req, res) => res.json({}))
  app.use((error, req, res, next) => {
    if (res.headersSent) return next(error)
    res.status(error.status ?? 500).json({ code: error.name, errors: error.errors ?? [], message: String(error.message).slice(0, 300) })
  })
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
  const { port } = server.address()
  return {
    send: ({ method, path, headers, body }) => new Promise((resolve, reject) => {
      const request = http.request({ host: '127.0.0.1', port, agent, method, path, headers: body === undefined ? headers : { ...headers, 'content-length': Buffer.byteLength(body) } }, (response) => {
        const chunks = []
        response.on('data', (chunk) => chunks.push(chunk))
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const parsed = text.startsWith('{') ? JSON.parse(text) : {}
          resolve({ status: response.statusCode, code: parsed.code, errors: parsed.errors ?? [], message: parsed.message ?? parsed.detail })
        })
      })
      request.on('error', reject)
      request.end(body)
    }),
    close: () => new Promise((resolve) => {
      agent.destroy()
      server.close(resolve)
      server.closeAllConnections()
    })
  }
}

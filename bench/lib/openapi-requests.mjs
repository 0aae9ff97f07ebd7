// Requests for the operations of an OpenAPI document: made from its schemas, and broken in one
// place. The same seed gives the same requests.

const DEPTH = 5
const VALUES = {
  date: '2026-02-03',
  'date-time': '2026-02-03T04:05:06Z',
  time: '04:05:06Z',
  email: 'ada@example.com',
  uuid: '2eb8aa08-aa98-41ea-b4aa-73b441d16380',
  uri: 'https://example.com/a',
  url: 'https://example.com/a',
  hostname: 'example.com',
  ipv4: '192.0.2.7',
  ipv6: '2001:db8::7',
  byte: 'YWJj'
}

/** Random numbers from a seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
  const below = (n) => Math.floor(next() * n)
  return { below, pick: (list) => list[below(list.length)], chance: (p) => next() < p }
}

/** The operations of a document: `{ path, method, operation, parameters }`. */
export function operationsOf(doc) {
  const found = []
  for (const [path, raw] of Object.entries(doc.paths ?? {})) {
    const item = resolve(doc, raw)
    if (typeof item !== 'object' || item === null) continue
    for (const method of ['get', 'put', 'post', 'delete', 'patch']) {
      const operation = item[method]
      if (operation === undefined) continue
      const own = (operation.parameters ?? []).map((it) => resolve(doc, it))
      const is = (a) => (b) => a.name === b.name && a.in === b.in
      const shared = (item.parameters ?? []).map((it) => resolve(doc, it)).filter((it) => !own.some(is(it)))
      found.push({ path, method, operation, parameters: [...own, ...shared] })
    }
  }
  return found
}

function resolve(doc, value) {
  for (let i = 0; i < 20 && typeof value?.$ref === 'string'; i += 1) {
    if (!value.$ref.startsWith('#/')) return {}
    value = value.$ref.slice(2).split('/').map((part) => decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~'))
      .reduce((at, part) => at?.[part], doc)
  }
  return value ?? {}
}

/** Makes requests for the operations of a document. */
export class Requests {
  constructor(doc, seed) {
    this.doc = doc
    this.random = seeded(seed)
  }

  /**
   * One request, broken in one place where `broken` is set: `{ method, path, headers, body,
   * change }`.
   */
  make(target, broken) {
    const { parameters, operation, method } = target
    const media = this.#mediaOf(operation)
    const body = media === undefined ? undefined : this.value(media[1].schema ?? {}, 0)
    const values = parameters.filter(isWritten).map((parameter) => {
      const wanted = parameter.in === 'path' || parameter.required === true || this.random.chance(0.4)
      return { parameter, value: wanted ? this.value(schemaOf(parameter), 0) : undefined }
    })
    const request = { values, body, media: media?.[0], extra: [] }
    const change = broken ? this.#break(request) : 'none'
    return { method: method.toUpperCase(), ...this.#write(target, request), change }
  }

  #mediaOf(operation) {
    const body = resolve(this.doc, operation.requestBody ?? {})
    const all = Object.entries(body.content ?? {}).filter(([name]) => /^application\/(?:json|[\w.-]+\+json)$/.test(name))
    if (all.length === 0 || (body.required !== true && this.random.chance(0.1))) return undefined
    return all[0]
  }

  #write({ path, operation }, { values, body, media, extra }) {
    const headers = {}
    const query = [...extra]
    let target = path
    const cookies = []
    for (const { parameter, value } of values) {
      if (value === undefined) continue
      const name = encodeURIComponent(parameter.name)
      const text = Array.isArray(value) ? value.map(String).join(',') : String(value)
      switch (parameter.in) {
        case 'path':
          target = target.replace(`{${parameter.name}}`, encodeURIComponent(text))
          break
        case 'query':
          query.push(...pairs(parameter, name, value))
          break
        case 'header':
          if (!/^(?:accept|content-type|authorization|host|connection|content-length)$/i.test(parameter.name) && /^[\x21-\x7e][\x20-\x7e]*$/.test(text)) headers[parameter.name] = text.trim()
          break
        default:
          if (/^[\w.-]+$/.test(text)) cookies.push(`${parameter.name}=${text}`)
      }
    }
    if (cookies.length > 0) headers.cookie = cookies.join('; ')
    let text
    if (body !== undefined) {
      text = typeof body === 'symbol' ? '{' : JSON.stringify(body)
      headers['content-type'] = media
    }
    return { path: query.length > 0 ? `${target}?${query.join('&')}` : target, headers, body: text, operation: operation.operationId }
  }

  /** Breaks a request in one place, and returns what was done. */
  #break(request) {
    const { random } = this
    const changes = []
    const given = request.values.filter((it) => it.value !== undefined && it.parameter.in !== 'path')
    const required = given.filter((it) => it.parameter.required === true)
    if (required.length > 0) changes.push(['a required parameter is missing', () => { random.pick(required).value = undefined }])
    if (given.length > 0) changes.push(['a parameter is of another type', () => { const it = random.pick(given); it.value = this.#wrong(it.value) }])
    const inPath = request.values.filter((it) => it.parameter.in === 'path')
    if (inPath.length > 0) changes.push(['a path parameter is of another type', () => { const it = random.pick(inPath); it.value = this.#wrong(it.value) }])
    if (request.body !== undefined) {
      changes.push(['the body has another media type', () => { request.media = 'application/x-unknown' }])
      const places = placesOf(request.body)
      for (const kind of ['another type', 'missing', 'long', 'low']) {
        changes.push([`a part of the body is ${kind}`, () => {
          const { at, key } = random.pick(places)
          if (kind === 'missing' && at !== undefined && !Array.isArray(at)) delete at[key]
          else if (kind === 'long') replace(request, at, key, 'x'.repeat(5000))
          else if (kind === 'low') replace(request, at, key, -1)
          else replace(request, at, key, this.#wrong(at === undefined ? request.body : at[key]))
        }])
      }
    }
    if (changes.length === 0) return 'none'
    const [name, run] = random.pick(changes)
    run()
    return name
  }

  #wrong(value) {
    const others = ['x y', 12345.5, true, null, ['a'], { a: 1 }, ''].filter((other) => typeof other !== typeof value || other === null)
    return this.random.pick(others)
  }

  /** A value that a schema describes, as far as can be. */
  value(schema, depth) {
    const { random } = this
    const it = this.#merged(resolve(this.doc, schema), 0)
    if (it.const !== undefined) return it.const
    if (Array.isArray(it.enum)) return random.pick(it.enum)
    const branches = it.oneOf ?? it.anyOf
    if (Array.isArray(branches)) {
      const branch = random.pick(branches)
      const made = this.value({ allOf: [{ ...it, oneOf: undefined, anyOf: undefined }, branch] }, depth + 1)
      const name = it.discriminator?.propertyName
      if (name !== undefined && typeof made === 'object' && made !== null && branch.$ref !== undefined) {
        const mapped = Object.entries(it.discriminator.mapping ?? {}).find(([, to]) => to === branch.$ref)
        made[name] ??= mapped?.[0] ?? branch.$ref.split('/').at(-1)
        if (mapped !== undefined) [made[name]] = mapped
      }
      return made
    }
    const types = [it.type].flat()
    const type = types[0] === undefined || types[0] === 'null' && types.length > 1 ? (types[1] ?? (it.properties ? 'object' : it.items ? 'array' : 'string')) : random.pick(types)
    switch (type) {
      case 'object':
        return this.#object(it, depth)
      case 'array': {
        const least = it.minItems ?? 0
        const length = depth > DEPTH ? least : least + random.below(Math.min(3, (it.maxItems ?? 3) - least + 1))
        return Array.from({ length: Math.min(length, 20) }, () => this.value(it.items ?? {}, depth + 1))
      }
      case 'integer':
      case 'number': {
        const [low, high] = [it.minimum ?? (it.maximum === undefined ? 1 : it.maximum - 9), it.maximum ?? (it.minimum ?? 1) + 9]
        const step = it.multipleOf ?? 1
        return Math.max(Math.ceil(low / step), Math.floor((low + random.below(Math.max(1, Math.min(high - low, 1000)))) / step)) * step
      }
      case 'boolean':
        return random.chance(0.5)
      case 'null':
        return null
      default:
        return this.#text(it)
    }
  }

  #text(it) {
    if (VALUES[it.format] !== undefined && it.pattern === undefined) return VALUES[it.format]
    const length = Math.max(it.minLength ?? 0, Math.min(it.maxLength ?? 8, 1 + this.random.below(8)))
    const made = 'abcdefghij'.repeat(Math.ceil(length / 10) + 1).slice(0, Math.min(length, 3000))
    if (it.pattern === undefined) return made
    const candidates = [made, '1', '12345', 'a', 'ABC', 'abc-1', 'A1', '2026-02-03', '+15551234567', 'https://example.com/a', 'a@example.com', '0x12', 'a_b', '1.0', '10.00', VALUES.uuid, 'US', 'USD', it.example, it.default]
    return candidates.find((text) => typeof text === 'string' && matches(it.pattern, text)) ?? made
  }

  #object(it, depth) {
    const made = {}
    const required = new Set(Array.isArray(it.required) ? it.required : [])
    for (const [name, property] of Object.entries(it.properties ?? {})) {
      const own = resolve(this.doc, property)
      if (own.readOnly === true) continue
      if (required.has(name) || depth < DEPTH && this.random.chance(0.5)) made[name] = this.value(property, depth + 1)
    }
    if (Object.keys(it.properties ?? {}).length === 0 && depth < DEPTH && typeof it.additionalProperties === 'object') made.key = this.value(it.additionalProperties, depth + 1)
    return made
  }

  /** A schema with those that it has in `allOf`. */
  #merged(schema, depth) {
    if (!Array.isArray(schema.allOf) || depth > 8) return schema
    let all = { ...schema, allOf: undefined }
    for (const part of schema.allOf) {
      const it = this.#merged(resolve(this.doc, part), depth + 1)
      const plain = Object.fromEntries(Object.entries(it).filter(([, value]) => value !== undefined))
      all = {
        ...all,
        ...plain,
        properties: { ...all.properties, ...plain.properties },
        required: [...(all.required ?? []), ...(Array.isArray(plain.required) ? plain.required : [])]
      }
    }
    if (Object.keys(all.properties ?? {}).length > 0) all.type ??= 'object'
    else delete all.properties
    return all
  }
}

function pairs(parameter, name, value) {
  const { explode = (parameter.style ?? 'form') === 'form' } = parameter
  if (parameter.content !== undefined) return [`${name}=${encodeURIComponent(JSON.stringify(value))}`]
  if (Array.isArray(value)) {
    const separator = { spaceDelimited: '%20', pipeDelimited: '%7C' }[parameter.style] ?? ','
    const items = value.map((item) => encodeURIComponent(String(item)))
    if (items.length === 0) return []
    return explode ? items.map((item) => `${name}=${item}`) : [`${name}=${items.join(separator)}`]
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, item]) => typeof item !== 'object')
    const write = (item) => encodeURIComponent(String(item))
    if (parameter.style === 'deepObject') return entries.map(([key, item]) => `${name}[${encodeURIComponent(key)}]=${write(item)}`)
    if (explode) return entries.map(([key, item]) => `${encodeURIComponent(key)}=${write(item)}`)
    return entries.length === 0 ? [] : [`${name}=${entries.map(([key, item]) => `${encodeURIComponent(key)},${write(item)}`).join(',')}`]
  }
  return [`${name}=${encodeURIComponent(String(value))}`]
}

const schemaOf = (parameter) => parameter.schema ?? Object.values(parameter.content ?? {})[0]?.schema ?? {}

const isWritten = (parameter) => typeof parameter.name === 'string' && ['path', 'query', 'header', 'cookie'].includes(parameter.in)

function matches(pattern, text) {
  try {
    return new RegExp(pattern, 'u').test(text)
  } catch {
    return false
  }
}

function placesOf(value, at, key) {
  const found = [{ at, key }]
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.keys(value)) found.push(...placesOf(value[inner], value, inner))
  }
  return found
}

function replace(request, at, key, value) {
  if (at === undefined) request.body = value
  else at[key] = value
}

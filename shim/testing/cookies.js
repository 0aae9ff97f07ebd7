'use strict'

// The cookies of one browser for one site (RFC 6265bis). The site is at its origin, https as a
// rule, whatever carries its requests: so cookies with `Secure` and `__Host-` are kept over http.

const { invalid } = require('./arguments.js')
const { guardTime } = require('./clock.js')

// Of a name and a value together, and of an attribute.
const MAX_COOKIE = 4096
const MAX_ATTRIBUTE = 1024
// No browser keeps a cookie for longer.
const MAX_AGE_MS = 400 * 86_400_000

/** The jar of a site at `origin`, a URL. */
function createJar(origin) {
  const cookies = new Map()
  const rejected = []
  const live = () => {
    const now = guardTime()
    for (const [id, { expires }] of cookies) if (expires !== undefined && expires.getTime() <= now) cookies.delete(id)
    return [...cookies.values()]
  }

  /** Takes a `Set-Cookie` of an answer to `path`; `crossSite`: a page of another site asked. */
  function take(line, path, crossSite) {
    const { cookie, why } = readCookie(line, path, origin, crossSite)
    if (why !== undefined) {
      rejected.push(Object.freeze({ name: nameOf(line), why }))
      return
    }
    // A cookie that replaces another one keeps its place. One that is over goes at the next look.
    cookies.set(`${cookie.name}\n${cookie.path}`, cookie)
  }

  return {
    take,
    /** The `Cookie` of a request to `path`, or undefined; `sends(cookie)` decides by SameSite. */
    headerFor(path, sends) {
      const found = live().filter((cookie) => matchesPath(path, cookie.path) && sends(cookie))
      const ordered = found.toSorted((a, b) => b.path.length - a.path.length)
      return ordered.length === 0 ? undefined : ordered.map(({ name, value }) => (name === '' ? value : `${name}=${value}`)).join('; ')
    },
    /** What the test sees of it. */
    view: Object.freeze({
      get: (name) => live().find((cookie) => cookie.name === name),
      all: live,
      set(line) {
        if (typeof line !== 'string') throw invalid('line', "must be text as in Set-Cookie, such as 'theme=dark; Path=/'")
        const before = rejected.length
        take(line, '/', false)
        if (rejected.length > before) throw invalid('line', `is no cookie that a browser keeps: ${rejected.pop().why}`)
      },
      clear: () => cookies.clear(),
      rejected
    })
  }
}

const nameOf = (line) => line.split(';', 1)[0].split('=', 1)[0].trim()

/** The cookie of a `Set-Cookie` line, or why a browser drops it. */
function readCookie(line, path, origin, crossSite) {
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(line)) return { why: 'it has control characters' }
  const [pair, ...rest] = line.split(';')
  const cut = pair.indexOf('=')
  const name = cut === -1 ? '' : pair.slice(0, cut).trim()
  const value = pair.slice(cut + 1).trim()
  if (name === '' && value === '') return { why: 'it has neither a name nor a value' }
  if (Buffer.byteLength(name) + Buffer.byteLength(value) > MAX_COOKIE) return { why: `it is longer than ${MAX_COOKIE} bytes` }
  const attributes = readAttributes(rest)
  const why = fault(name, value, attributes, origin, crossSite)
  if (why !== undefined) return { why }
  const expires = expiryOf(attributes)
  const cookie = {
    name,
    value,
    path: attributes.path?.startsWith('/') ? attributes.path : defaultPath(path),
    secure: 'secure' in attributes,
    httpOnly: 'httponly' in attributes,
    ...(sameSiteOf(attributes) === undefined ? {} : { sameSite: sameSiteOf(attributes) }),
    ...(expires === undefined ? {} : { expires })
  }
  return { cookie: Object.freeze(cookie) }
}

/** The attributes by their names in lower case; of one that is there twice, the last one. */
function readAttributes(parts) {
  const attributes = Object.create(null)
  for (const part of parts) {
    const [name, ...value] = part.split('=')
    if (part.length <= MAX_ATTRIBUTE) attributes[name.trim().toLowerCase()] = value.join('=').trim()
  }
  return attributes
}

const sameSiteOf = ({ samesite }) => ['strict', 'lax', 'none'].find((known) => known === samesite?.toLowerCase())

function fault(name, value, attributes, origin, crossSite) {
  const secure = 'secure' in attributes
  if (secure && origin.protocol !== 'https:') return 'Secure needs an origin with https'
  // Cookies without a name pretend to have one: `=__Host-a=b`.
  const prefix = /^__(host|secure)-/i.exec(name === '' ? value : name)?.[1].toLowerCase()
  if (prefix !== undefined && name === '') return 'it has no name, and a value with the prefix of a name'
  if (prefix !== undefined && !secure) return 'a name with __Host- or __Secure- needs Secure'
  if (prefix === 'host' && (attributes.path !== '/' || attributes.domain)) return 'a name with __Host- needs Path=/ and no Domain'
  if (attributes.domain && !matchesDomain(origin.hostname, attributes.domain)) return `Domain is not ${origin.hostname} or a parent of it`
  const sameSite = sameSiteOf(attributes)
  if (sameSite === 'none' && !secure) return 'SameSite=None needs Secure'
  if ((sameSite === 'strict' || sameSite === 'lax') && crossSite) return `SameSite=${sameSite} was set for the page of another site`
  return undefined
}

function matchesDomain(host, attribute) {
  const domain = attribute.replace(/^\./, '').toLowerCase()
  const isName = /[a-z]/i.test(host) && !host.startsWith('[')
  // A parent of one label, such as `com`, is a public suffix.
  return host === domain || (isName && domain.includes('.') && host.endsWith(`.${domain}`))
}

/** RFC 6265bis section 5.6.5: `Max-Age` goes before `Expires`. */
function expiryOf(attributes) {
  const now = guardTime()
  if (/^-?\d+$/.test(attributes['max-age'] ?? '')) {
    const ms = Number(attributes['max-age']) * 1000
    return new Date(ms <= 0 ? 0 : now + Math.min(ms, MAX_AGE_MS))
  }
  const ms = Date.parse(attributes.expires ?? '')
  return Number.isNaN(ms) ? undefined : new Date(Math.min(ms, now + MAX_AGE_MS))
}

function defaultPath(path) {
  const cut = path.lastIndexOf('/')
  return cut <= 0 ? '/' : path.slice(0, cut)
}

function matchesPath(path, of) {
  return path === of || (path.startsWith(of) && (of.endsWith('/') || path[of.length] === '/'))
}

module.exports = { createJar }

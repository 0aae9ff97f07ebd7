'use strict'

// Reads a request of node:http, node:http2, Express or Connect. It uses the headers as parsed
// (`rawHeaders`), not as changed by an earlier handler (`headers`).

const { warnOnce } = require('../../errors.js')
const { RequestView } = require('../../view.js')
const { isOfAnotherParser } = require('./body.js')
const { warnNoAddress, warnRewritten, warnUntrustedProxy } = require('../warnings.js')
const { placeOf } = require('./route.js')

/** The names and values that Node's parser keeps if `server.maxHeadersCount` is not set. */
const MAX_HEADER_PAIRS = 2000

/** The view of a request, created on first use; `state` is its kept state. */
function viewOf(req, state) {
  return (state.view ??= readView(req))
}

function readView(req) {
  const isHttp2 = req.httpVersionMajor >= 2
  const fields = fieldsOf(req, isHttp2)
  const hasBody = isHttp2 ? !req.stream.endAfterHeaders : announcesBody(fields)
  return new RequestView(req.method, targetOf(req), fields, hasBody, `${isCut(req, isHttp2) ? 'c' : ''}${isOld(req) ? 'o' : ''}`)
}

/**
 * The head of a request in the format of src/request/mod.rs. `state` is the request's kept state,
 * `owner` the guard's internal object, `handler` the calling handler, and `next` its callback.
 */
function headOf(req, state, owner, handler, next) {
  const view = viewOf(req, state)
  const { socket } = req
  // If the guard has a list of proxies, the core decides and Express's setting is ignored.
  const trust = owner.trustsProxies ? false : req.app?.settings?.['trust proxy']
  let client = ''
  let secure = socket.encrypted === true
  if (trust) {
    if (trust === true) {
      warnOnce('GUARD_TRUST_PROXY_TRUE', '`trust proxy: true` lets any client choose its own address; name your proxies instead')
    }
    client = hasEmptyHop(view) ? '?' : (req.ip ?? '')
    secure = req.secure
  } else if (!owner.trustsProxies && req.headers['x-forwarded-for'] !== undefined) {
    warnUntrustedProxy()
  }
  const address = socket.remoteAddress ?? ''
  const gone = address === '' && hasGone(socket)
  if (address === '' && client === '' && !owner.trustsUnix && !gone) {
    warnNoAddress()
  }
  const route = routeOf(req, state, handler, next)
  const place = route === '' ? '' : placeOf(req)
  const flags = `${secure ? 's' : ''}${view.flags}${isRewritten(req, view) ? 'r' : ''}${state.handshake ? 'u' : ''}${gone ? 'g' : ''}${isOfAnotherParser(req, state) ? 'p' : ''}${owner.hasEmptySegments && mayMergeSlashes(req) ? 'm' : ''}`
  return view.head(address, client, flags, route, place)
}

/** Whether `app.use('/a')` takes `/a//b` for `/a/b`: Express 4 does, which alone has `_router`. */
const mayMergeSlashes = ({ app }) => app?._router !== undefined

const targetOf = (req) => req.originalUrl ?? req.url

/** Whether `X-Forwarded-For` has an empty entry: Express then takes the proxy for the client. */
function hasEmptyHop(view) {
  const { fields } = view
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i].length !== 15 || fields[i].toLowerCase() !== 'x-forwarded-for') continue
    if (fields[i + 1].split(',').some((hop) => hop.trim() === '')) return true
  }
  return false
}

/**
 * Whether a client without an address has disconnected: its data may still be read then, but no
 * address can be named for it. An open Unix socket has no address on our side either.
 */
function hasGone(socket) {
  return socket.destroyed === true || socket.localAddress !== undefined
}

/**
 * The pattern of the route, as its router stores it. `req.baseUrl` is client input, even if the
 * mount path is literal.
 */
function routeOf(req, state, handler, next) {
  const { route } = req
  if (route?.path === undefined) return ''
  const { mounted, mountedNext } = state
  if (runsIn(req, route, handler, next) || (mounted !== undefined && runsIn(req, route, mounted, mountedNext))) return String(route.path) || '/'
  if (mounted === undefined && next !== req.next) {
    warnOnce('GUARD_ROUTE_UNKNOWN', 'a handler of the guard runs in another function, so that nobody can say whether it is in the route: it has no route for policies and limits; give the handler itself to the route')
  }
  return ''
}

// The handlers of each route, found once.
const standing = new WeakMap()

/**
 * Whether a handler runs as one of a route's handlers. Express keeps `req.route` when a route
 * passes a request on, and the handler may also be mounted after it. Then its router calls it with
 * `req.next`; a route calls it with a function of its own.
 */
function runsIn(req, route, handler, next) {
  const { stack } = route
  if (!Array.isArray(stack)) return true
  if (next === req.next) return false
  let known = standing.get(route)
  if (known?.size !== stack.length) {
    known = { size: stack.length, handlers: new Set(stack.map((layer) => layer.handle)) }
    standing.set(route, known)
  }
  return known.handlers.has(handler)
}

/**
 * Whether the request was changed after it arrived: with another method or URL, a router would run
 * a handler that the layers have not checked.
 */
function isRewritten(req, view) {
  if (req.method !== view.method || targetOf(req) !== view.target) {
    warnRewritten()
    return true
  }
  const { originalUrl, url, baseUrl } = req
  if (originalUrl === undefined || originalUrl === url) return false
  // Connect and middie remove the mount path and set no `baseUrl`.
  const same = baseUrl === undefined
    ? originalUrl.endsWith(url) || originalUrl.endsWith(url.slice(1))
    : originalUrl === baseUrl + url || (isRoot(url) && originalUrl === baseUrl + url.slice(1))
  if (!same) warnRewritten()
  return !same
}

/** Whether the path is `/` alone, which a router adds if the mount path has consumed all of it. */
const isRoot = (url) => url === '/' || url.startsWith('/?')

/** The header fields of a request, names and values in turn. */
function fieldsOf(req, isHttp2) {
  const { rawHeaders } = req
  // Adapters that run an application on other servers set only `headers`.
  if (rawHeaders === undefined || rawHeaders.length === 0) return fieldsFrom(req.headers)
  return isHttp2 ? asHttp1(rawHeaders) : rawHeaders
}

function fieldsFrom(headers) {
  const fields = []
  for (const [name, value] of Object.entries(headers ?? {})) {
    if (value === undefined) continue
    for (const one of Array.isArray(value) ? value : [value]) fields.push(name, String(one))
  }
  return fields
}

/**
 * The headers of an HTTP/2 request as HTTP/1 writes them, with `:authority` as `Host` (RFC 9113
 * section 8.3.1).
 */
function asHttp1(rawHeaders) {
  const fields = []
  let authority
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]
    const value = rawHeaders[i + 1]
    if (name === ':authority') authority = value
    if (name === ':authority') fields.push('host', value)
    // An equal `Host` is not a duplicate; a different one is refused as such.
    else if (!name.startsWith(':') && !(name === 'host' && value === authority)) fields.push(name, value)
  }
  return fields
}

function announcesBody(fields) {
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      if (Number(fields[i + 1]) !== 0) return true
    } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      return true
    }
  }
  return false
}

/**
 * Whether the parser may have dropped headers. It silently drops headers over a cap, but still
 * applies the framing that it has read: at the cap, the dropped headers are unknown.
 */
function isCut(req, isHttp2) {
  // HTTP/2 refuses the stream.
  if (isHttp2) return false
  const { socket, rawHeaders } = req
  const count = socket.server?.maxHeadersCount
  const most = socket.parser?.maxHeaderPairs ?? (typeof count === 'number' ? count * 2 : MAX_HEADER_PAIRS)
  return most > 0 && rawHeaders !== undefined && rawHeaders.length >= most
}

function isOld(req) {
  return req.httpVersionMajor < 1 || (req.httpVersionMajor === 1 && req.httpVersionMinor < 1)
}

module.exports = { headOf, isRewritten, viewOf }

'use strict'

const { warnOnce } = require('./errors.js')

/** The head of a request as src/request.rs reads it. `trustsProxies`: whether the guard has been told its proxies. */
function headOf(req, trustsProxies) {
  const socket = req.socket
  // Where the guard knows its proxies, the core decides and Express's own opinion is not asked for.
  const trust = trustsProxies ? false : req.app?.settings?.['trust proxy']
  let client = ''
  let secure = socket.encrypted === true
  if (trust) {
    if (trust === true) {
      warnOnce('GUARD_TRUST_PROXY_TRUE', '`trust proxy: true` lets any client choose its own address; name your proxies instead')
    }
    client = req.ip ?? ''
    secure = req.secure
  } else if (req.headers['x-forwarded-for'] !== undefined && !trustsProxies) {
    warnOnce('GUARD_UNTRUSTED_PROXY', '`X-Forwarded-For` arrives, but no proxy is trusted: all clients of a proxy count as one; set `trustedProxies`')
  }
  const route = req.route?.path === undefined ? '' : `${req.baseUrl ?? ''}${req.route.path}`
  const raw = req.httpVersionMajor >= 2 ? asHttp1(req) : req.rawHeaders
  const target = req.originalUrl ?? req.url
  return `${7 + raw.length}\n${req.method}\n${target}\n${socket.remoteAddress ?? ''}\n${client}\n${secure ? '1' : '0'}\n${route}${raw.length === 0 ? '' : '\n'}${raw.join('\n')}`
}

/** The headers of an HTTP/2 request as HTTP/1 writes them: `Host`, and a header that says that a body follows. */
function asHttp1(req) {
  const fields = []
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const name = req.rawHeaders[i]
    if (name === ':authority') fields.push('host', req.rawHeaders[i + 1])
    else if (!name.startsWith(':')) fields.push(name, req.rawHeaders[i + 1])
  }
  if (!req.stream.endAfterHeaders && req.headers['content-length'] === undefined) {
    fields.push('transfer-encoding', 'chunked')
  }
  return fields
}

/** The path for a log: the target of a request may also hold a password (`http://user:password@host/`) or a fragment. */
function pathOf(req) {
  const target = req.originalUrl ?? req.url
  return target.startsWith('/') ? target.split(/[?#]/, 1)[0] : target === '*' ? '*' : ''
}

module.exports = { headOf, pathOf }

'use strict'

// A client over node:http that sends what a page in a browser would, and keeps cookies as it does.

const http = require('node:http')
const { invalid, readKnown, refuseUnknown } = require('./arguments.js')
const { createJar } = require('./cookies.js')
const { pageHeaders, relationOf, sendsCookie } = require('./page.js')
const { serverOf } = require('./server.js')

const REQUEST = ['method', 'headers', 'body', 'mode', 'signal']
const WITHOUT_BODY = new Set([204, 205, 304])

/** A client of a server under test. */
function createTestClient(target, ...rest) {
  const { origin = 'https://app.test', browser = true, headers = {} } = readKnown(rest, ['origin', 'browser', 'headers'])
  if (typeof browser !== 'boolean') throw invalid('options.browser', 'must be true or false')
  const site = readOrigin('options.origin', origin)
  const server = serverOf(target)
  const agent = new http.Agent({ keepAlive: true })
  const shared = { site, server, agent, headers: lowerCased(headers) }
  return clientOf(shared, { jar: createJar(site), page: browser ? site.origin : undefined, authorization: undefined })
}

/** One view of the server: a page, its cookies, and who is logged in by a token. */
function clientOf(shared, sender) {
  const send = (path, init = {}) => sendRequest(shared, sender, path, init)
  const without = (method) => (path, init = {}) => send(path, { ...init, method })
  const withBody = (method) => (path, body, init = {}) => send(path, { ...init, method, ...(body === undefined ? {} : { body }) })
  return Object.freeze({
    fetch: send,
    get: without('GET'),
    head: without('HEAD'),
    options: without('OPTIONS'),
    delete: withBody('DELETE'),
    post: withBody('POST'),
    put: withBody('PUT'),
    patch: withBody('PATCH'),
    cookies: sender.jar.view,
    as(token) {
      const text = typeof token === 'string' ? token : token?.accessToken
      if (typeof text !== 'string' || text === '') throw invalid('token', 'must be a token, or what `guard.tokens.issue` gives')
      return clientOf(shared, { ...sender, jar: createJar(shared.site), authorization: `Bearer ${text}` })
    },
    from(page) {
      return clientOf(shared, { ...sender, page: page === 'null' ? page : readOrigin('page', page).origin })
    },
    async close() {
      shared.agent.destroy()
      await shared.server.close()
    }
  })
}

function readOrigin(name, text) {
  const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : undefined
  if (/^https?:$/.test(url?.protocol) && `${url.origin}/` === url.href && url.username === '') return url
  throw invalid(name, "must be an origin such as 'https://app.example.com'")
}

async function sendRequest({ site, server, agent, headers }, { jar, page, authorization }, path, init) {
  const { method, body, mode, signal, own } = readInit(path, init)
  const relation = page === undefined ? 'same-origin' : relationOf(page, site)
  const target = path.split('#', 1)[0].replace(/[^\u0021-\u007e]+/g, encodeURIComponent)
  const pathname = target.split('?', 1)[0]
  const payload = await bytesOf(body)
  const cookie = own.has('cookie') ? undefined : jar.headerFor(pathname, (one) => sendsCookie(one, relation, method, mode))
  const all = {
    host: site.host,
    accept: mode === 'navigate' ? 'text/html' : '*/*',
    ...(page === undefined ? {} : pageHeaders(page, site, method, mode)),
    ...(authorization === undefined ? {} : { authorization }),
    ...(cookie === undefined ? {} : { cookie }),
    ...(payload?.type ? { 'content-type': payload.type } : {}),
    ...headers,
    ...Object.fromEntries(own)
  }
  for (const [name, value] of Object.entries(all)) if (value === undefined) delete all[name]
  frame(all, method, payload?.bytes)
  const response = await exchange({ ...(await server.address()), path: target, method, headers: all, agent, signal }, payload?.bytes)
  for (const line of response.headers.getSetCookie()) jar.take(line, pathname, relation === 'cross-site' && mode !== 'navigate')
  return response
}

function readInit(path, init) {
  if (typeof path !== 'string' || !path.startsWith('/')) throw invalid('path', "must begin with '/': a client speaks to one server")
  refuseUnknown('request', init, REQUEST)
  const { method = 'GET', headers = {}, body, mode = 'cors', signal } = init
  if (mode !== 'cors' && mode !== 'navigate') throw invalid('request.mode', "must be 'cors' or 'navigate'")
  return { method: String(method).toUpperCase(), body, mode, signal, own: new Map(Object.entries(lowerCased(headers))) }
}

/** Names the length of the body; node:http would leave one of DELETE out. */
function frame(headers, method, bytes) {
  if ('transfer-encoding' in headers || (bytes === undefined && /^(?:GET|HEAD|OPTIONS|DELETE)$/.test(method))) return
  headers['content-length'] ??= String(bytes?.length ?? 0)
}

/** Headers by their names in lower case, of an object, a list of pairs or `Headers`. */
function lowerCased(headers) {
  const pairs = typeof headers?.[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers)
  return Object.fromEntries(pairs.map(([name, value]) => [name.toLowerCase(), value]))
}

/** A body as bytes with its type, as `fetch` would send it; plain objects and lists are JSON. */
async function bytesOf(body) {
  if (body === undefined) return undefined
  const isJson = body === null || Array.isArray(body) || ['number', 'boolean'].includes(typeof body) || Object.prototype.toString.call(body) === '[object Object]'
  if (isJson) return { bytes: Buffer.from(JSON.stringify(body)), type: 'application/json' }
  const read = new Response(body)
  return { bytes: Buffer.from(await read.arrayBuffer()), type: read.headers.get('content-type') }
}

/** Sends a request and reads the whole answer. */
function exchange(options, bytes) {
  return new Promise((resolve, reject) => {
    const request = http.request(options, (answer) => {
      const chunks = []
      answer.on('data', (chunk) => chunks.push(chunk))
      answer.once('error', reject)
      answer.once('end', () => {
        const headers = new Headers()
        for (let i = 0; i < answer.rawHeaders.length; i += 2) headers.append(answer.rawHeaders[i], answer.rawHeaders[i + 1])
        const body = WITHOUT_BODY.has(answer.statusCode) ? null : Buffer.concat(chunks)
        resolve(new Response(body, { status: answer.statusCode, statusText: answer.statusMessage, headers }))
      })
    })
    request.once('error', reject)
    request.end(bytes)
  })
}

module.exports = { createTestClient }

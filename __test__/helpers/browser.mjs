// The cookie jar of a browser (RFC 6265bis), and its `Origin` and `Sec-Fetch-Site` headers.
// 127.0.0.1 counts as secure, as `localhost` does in browsers.

import { send } from './http.mjs'

export class Browser {
  cookies = []
  #port

  constructor(port) {
    this.#port = port
  }

  /** What a page of this host fetches, with `Sec-Fetch-Site` and `Origin` as browsers set them. */
  async fetch(method, path, { headers, ...more } = {}) {
    const cookie = this.header(path)
    const answer = await send(this.#port, {
      method,
      path,
      ...more,
      headers: { host: 'api.example.com', 'sec-fetch-site': 'same-origin', ...(method === 'GET' ? {} : { origin: 'http://api.example.com' }), ...(cookie === '' ? {} : { cookie }), ...headers }
    })
    for (const line of answer.headers['set-cookie'] ?? []) this.take(line)
    return answer
  }

  /**
   * Keeps a cookie. `byHost` false is one that another host of the domain sets, for the whole
   * domain. Gives whether the browser took it.
   */
  take(line, byHost = true) {
    const [pair, ...rest] = line.split('; ')
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]
    const attributes = Object.fromEntries(rest.map((text) => text.split('=')).map(([key, found]) => [key.toLowerCase(), found ?? true]))
    const { path = '/', secure = false, domain, 'max-age': maxAge } = attributes
    if (/^__Secure-/i.test(name) && !secure) return false
    if (/^__Host-/i.test(name) && (!secure || path !== '/' || domain !== undefined || !byHost)) return false
    if (name.length + value.length > 4096) return false
    this.cookies = this.cookies.filter((known) => !(known.name === name && known.path === path && known.byHost === byHost))
    if (Number(maxAge ?? 1) > 0) this.cookies.push({ name, value, path, byHost, persists: maxAge !== undefined })
    return true
  }

  /** The value of the `Cookie` header for a path: the longest paths come first. */
  header(path) {
    const sent = this.cookies.filter((known) => known.path === '/' || path === known.path || path.startsWith(`${known.path}/`))
    return sent.toSorted((a, b) => b.path.length - a.path.length).map(({ name, value }) => `${name}=${value}`).join('; ')
  }

  /** The value of a cookie; undefined where it has none. */
  get(name) {
    return this.cookies.find((known) => known.name === name)?.value
  }

  /** Another one with the same cookies. */
  copy() {
    const other = new Browser(this.#port)
    other.cookies = [...this.cookies]
    return other
  }
}

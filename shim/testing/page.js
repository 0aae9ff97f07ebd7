'use strict'

// What a browser adds for the page that sends a request: `Origin` and Fetch Metadata, and the
// cookies that it adds.

/** How a page is related to the site. The end of a host counts as its site: two labels. */
function relationOf(page, origin) {
  if (page === 'null') return 'cross-site'
  const from = new URL(page)
  if (from.origin === origin.origin) return 'same-origin'
  return from.protocol === origin.protocol && siteOf(from.hostname) === siteOf(origin.hostname) ? 'same-site' : 'cross-site'
}

function siteOf(host) {
  const isAddress = host.startsWith('[') || /^[\d.]+$/.test(host)
  return isAddress ? host : host.split('.').slice(-2).join('.')
}

/**
 * The headers that a browser adds. A page's own script reads and writes with `fetch` (`'cors'`); a
 * link or a form leads there (`'navigate'`).
 */
function pageHeaders(page, origin, method, mode) {
  const relation = relationOf(page, origin)
  const isRead = method === 'GET' || method === 'HEAD'
  const navigates = mode === 'navigate'
  const namesPage = !isRead || (relation !== 'same-origin' && !navigates)
  const metadata = {
    'sec-fetch-site': relation,
    'sec-fetch-mode': navigates ? 'navigate' : 'cors',
    'sec-fetch-dest': navigates ? 'document' : 'empty',
    ...(navigates ? { 'sec-fetch-user': '?1' } : {})
  }
  return { ...(namesPage ? { origin: page } : {}), ...(isTrustworthy(origin) ? metadata : {}) }
}

/** Browsers send Fetch Metadata to such origins alone. */
function isTrustworthy({ protocol, hostname }) {
  return protocol === 'https:' || hostname === 'localhost' || hostname.endsWith('.localhost') || /^127\.|^\[::1\]$/.test(hostname)
}

/**
 * Whether a cookie goes along. One without SameSite does, as in Firefox and Safari: the server must
 * stand that.
 */
function sendsCookie({ sameSite }, relation, method, mode) {
  if (relation !== 'cross-site' || sameSite === undefined || sameSite === 'none') return true
  return sameSite === 'lax' && mode === 'navigate' && (method === 'GET' || method === 'HEAD')
}

module.exports = { pageHeaders, relationOf, sendsCookie }

// Options of cross-origin access.

/** Cross-origin access (Fetch Standard, section 3.2). */
export interface CorsOptions {
  /**
   * The origins whose pages may read responses: `'https://app.example.com'`, without path or
   * trailing slash, or `'https://*.example.com'`, where the star is exactly one label.
   * `'http://localhost:*'` is any port on this machine, for development: leave it out in
   * production, where other users of the machine may serve pages. `['*']`, without `credentials`,
   * is every page. With `credentials`, origins must be https, except
   * localhost. A function decides for each origin: any result but `true` refuses the origin, an
   * error refuses the request with 500, and a promise must settle. There is no default.
   */
  readonly origins: readonly string[] | ((origin: string) => boolean | Promise<boolean>)
  /**
   * Whether pages may send cookies and TLS client certificates.
   * @default false
   */
  readonly credentials?: boolean
  /**
   * The methods that a page may use, in upper case. A preflight for another method is answered with
   * 403.
   * @default ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE']
   */
  readonly methods?: readonly string[]
  /**
   * The request headers that a page may send beyond the safelisted ones, without wildcards. A
   * preflight for another header is answered with 403.
   * @default ['authorization', 'content-type']
   */
  readonly requestHeaders?: readonly string[]
  /**
   * The response headers that a page may read beyond the safelisted ones.
   * @default `Retry-After` and the headers of the guard's `rateLimitHeaders`: ['RateLimit',
   * 'Retry-After']
   */
  readonly exposeHeaders?: readonly string[]
  /**
   * How long browsers may cache the answer to a preflight, in seconds; 0 to 86400. Chromium caps it
   * at 7200.
   * @default 7200
   */
  readonly maxAge?: number
}

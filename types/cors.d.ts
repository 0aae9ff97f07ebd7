// Options of cross-origin access.

/** Cross-origin access (Fetch Standard, section 3.2). */
export interface CorsOptions {
  /**
   * The origins whose pages may read responses: `'https://app.example.com'`, without path or
   * trailing slash, or `'https://*.example.com'`, where the star is exactly one label; `['*']`,
   * without `credentials`, is every page. With `credentials`, origins are https, but for localhost.
   * A function decides for each origin: anything but `true` keeps the origin out, an error refuses
   * the request with 500, and a promise must settle. There is no default.
   */
  readonly origins: readonly string[] | ((origin: string) => boolean | Promise<boolean>)
  /**
   * Whether pages may send cookies and TLS client certificates along.
   * @default false
   */
  readonly credentials?: boolean
  /**
   * The methods a page may use, in upper case. A preflight that asks for another is answered with
   * 403.
   * @default ['GET', 'HEAD', 'PUT', 'PATCH', 'POST', 'DELETE']
   */
  readonly methods?: readonly string[]
  /**
   * The request headers a page may send beyond the safelisted ones, without wildcards. A preflight
   * that asks for another is answered with 403.
   * @default ['authorization', 'content-type']
   */
  readonly requestHeaders?: readonly string[]
  /**
   * The response headers a page may read beyond the safelisted ones.
   * @default []
   */
  readonly exposeHeaders?: readonly string[]
  /**
   * How long browsers may keep a preflight's answer, in seconds; 0 to 86400. Chromium caps it at
   * 7200.
   * @default 7200
   */
  readonly maxAge?: number
}

// Options of the response headers.

/**
 * Response headers. What is left out is as the profile says; `false` leaves a header out.
 * `X-Content-Type-Options: nosniff` is always sent.
 */
export interface HeadersOptions {
  /**
   * `Content-Security-Policy` (CSP Level 3).
   * @default `default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`
   * (profile `'api'`); `default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors
   * 'self'; object-src 'none'; script-src 'self'; script-src-attr 'none'; style-src 'self'`
   * (profile `'web'`)
   */
  readonly csp?: CspOptions | false
  /**
   * `Strict-Transport-Security` (RFC 6797). Sent on secure requests only, as section 7.2 demands.
   * @default { maxAge: 63072000, includeSubDomains: true }
   */
  readonly hsts?: HstsOptions | false
  /**
   * `X-Frame-Options` (RFC 7034). Follows the `frame-ancestors` of `csp.directives` where only that
   * is given.
   * @default 'DENY' (profile `'api'`), 'SAMEORIGIN' (profile `'web'`)
   */
  readonly frameOptions?: 'DENY' | 'SAMEORIGIN' | false
  /**
   * `Referrer-Policy`; of a list browsers take the last value that they know.
   * @default 'no-referrer' (profile `'api'`), 'strict-origin-when-cross-origin' (profile `'web'`)
   */
  readonly referrerPolicy?: ReferrerPolicy | readonly ReferrerPolicy[] | false
  /**
   * `Cross-Origin-Resource-Policy`: who may load a response without CORS.
   * @default 'same-origin'
   */
  readonly corp?: 'same-origin' | 'same-site' | 'cross-origin' | false
  /**
   * `Cross-Origin-Opener-Policy`, for pages.
   * @default false (profile `'api'`), 'same-origin' (profile `'web'`)
   */
  readonly coop?:
    | 'same-origin'
    | 'same-origin-allow-popups'
    | 'noopener-allow-popups'
    | 'unsafe-none'
    | false
  /**
   * `Cross-Origin-Embedder-Policy`, for pages.
   * @default false
   */
  readonly coep?: 'require-corp' | 'credentialless' | 'unsafe-none' | false
  /**
   * `Permissions-Policy`: for each browser feature who may use it, `'self'`, `'*'` or https
   * origins; an empty list is nobody, `false` takes the feature out of the header. Written over the
   * defaults.
   * @default nobody: camera, display-capture, geolocation, microphone, payment, usb
   */
  readonly permissionsPolicy?: Readonly<Record<string, readonly string[] | false>> | false
  /**
   * `Cache-Control`, where the handler sets none.
   * @default 'no-store' (profile `'api'`), false (profile `'web'`)
   */
  readonly cacheControl?: string | false
  /**
   * `Reporting-Endpoints` (Reporting API): for each name an https URL that takes reports.
   * @default false
   */
  readonly reportingEndpoints?: Readonly<Record<string, string>> | false
  /**
   * Response headers to take off when the response is written, beside `X-Powered-By`.
   * @default []
   */
  readonly remove?: readonly string[]
}

/** `Content-Security-Policy`. */
export interface CspOptions {
  /**
   * For each directive its sources, in place of the profile's; `false` leaves the directive out.
   */
  readonly directives?: Readonly<Record<string, readonly string[] | false>>
  /**
   * Sends `Content-Security-Policy-Report-Only`: browsers report and block nothing.
   * @default false
   */
  readonly reportOnly?: boolean
  /**
   * Makes a new nonce for every response, adds it to `script-src` and `style-src`, and gives it to
   * the handler as `req.guard.nonce`. Profile `'web'` only.
   * @default false
   */
  readonly nonce?: boolean
}

/** `Strict-Transport-Security`. */
export interface HstsOptions {
  /**
   * How long browsers keep to HTTPS, in seconds; 0 to 315360000 (ten years).
   * @default 63072000 (two years)
   */
  readonly maxAge?: number
  /**
   * Whether subdomains are meant too.
   * @default true
   */
  readonly includeSubDomains?: boolean
  /**
   * Asks to be put on the browsers' preload list, which takes months to leave. Needs
   * `includeSubDomains` and a `maxAge` of at least 31536000.
   * @default false
   */
  readonly preload?: boolean
}

/** A value of `Referrer-Policy`. */
export type ReferrerPolicy =
  | 'no-referrer'
  | 'no-referrer-when-downgrade'
  | 'origin'
  | 'origin-when-cross-origin'
  | 'same-origin'
  | 'strict-origin'
  | 'strict-origin-when-cross-origin'

// Options of the response headers.

/**
 * Response headers. An option that is left out takes the profile's default; `false` omits a header.
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
   * `Strict-Transport-Security` (RFC 6797). Sent on secure requests only, as section 7.2 requires.
   * @default { maxAge: 63072000, includeSubDomains: true }
   */
  readonly hsts?: HstsOptions | false
  /**
   * `X-Frame-Options` (RFC 7034). If only `csp.directives` is given, it follows its
   * `frame-ancestors`.
   * @default 'DENY' (profile `'api'`), 'SAMEORIGIN' (profile `'web'`)
   */
  readonly frameOptions?: 'DENY' | 'SAMEORIGIN' | false
  /**
   * `Referrer-Policy`; of a list, browsers apply the last value that they support.
   * @default 'no-referrer' (profile `'api'`), 'strict-origin-when-cross-origin' (profile `'web'`)
   */
  readonly referrerPolicy?: ReferrerPolicy | readonly ReferrerPolicy[] | false
  /**
   * `Cross-Origin-Resource-Policy`: the origins that may load a response without CORS.
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
   * `Permissions-Policy`: for each browser feature the origins that may use it: `'self'`, `'*'` or
   * https origins. An empty list allows no origin; `false` omits the feature from the header.
   * Merged over the defaults.
   * @default an empty list for: camera, display-capture, geolocation, microphone, payment, usb
   */
  readonly permissionsPolicy?: Readonly<Record<string, readonly string[] | false>> | false
  /**
   * `Cache-Control`, unless the handler sets one.
   * @default 'no-store' (profile `'api'`), false (profile `'web'`)
   */
  readonly cacheControl?: string | false
  /**
   * `Reporting-Endpoints` (Reporting API): for each name an https URL that accepts reports.
   * @default false
   */
  readonly reportingEndpoints?: Readonly<Record<string, string>> | false
  /**
   * Response headers to remove when the response is written, in addition to `X-Powered-By`.
   * @default []
   */
  readonly remove?: readonly string[]
}

/** Response headers of some routes. */
export interface RouteHeadersOptions extends HeadersOptions {
  /**
   * The profile whose defaults hold for what is left out: `'api'` for data, `'web'` for pages.
   * @default the guard's `profile`
   */
  readonly profile?: 'api' | 'web'
}

/** `Content-Security-Policy`. */
export interface CspOptions {
  /**
   * The sources of each directive, in place of the profile's; `false` omits the directive.
   */
  readonly directives?: Readonly<Record<string, readonly string[] | false>>
  /**
   * Sends `Content-Security-Policy-Report-Only`: browsers report violations and block nothing.
   * @default false
   */
  readonly reportOnly?: boolean
  /**
   * Makes a new nonce for every response, adds it to `script-src` and `style-src`, and passes it to
   * the handler as `req.guard.nonce`. Profile `'web'` only.
   * @default false
   */
  readonly nonce?: boolean
}

/** `Strict-Transport-Security`. */
export interface HstsOptions {
  /**
   * How long browsers use HTTPS only, in seconds; 0 to 315360000 (ten years).
   * @default 63072000 (two years)
   */
  readonly maxAge?: number
  /**
   * Whether the header applies to subdomains too.
   * @default true
   */
  readonly includeSubDomains?: boolean
  /**
   * Requests inclusion in the browsers' preload list; removal takes months. Needs
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

// Options of the check against cross-site request forgery.

/**
 * The origins whose pages may make a browser send requests that change something in the user's
 * name: any method but GET, HEAD and OPTIONS, and upgrades.
 *
 * 1. If `Sec-Fetch-Site` (Fetch Metadata) is present, `same-origin` and `none` pass; with any other
 *    value the `Origin` must be listed.
 * 2. Otherwise, if `Origin` is present, it must be our own, by `Host` and scheme, or listed.
 * 3. With neither header, a request with cookies is refused.
 * 4. A request whose token came in the `Authorization` header passes in a layer that verifies it,
 *    if `jwt.from` includes that header. `guard.csrf()` alone, and a stack with `jwt: false`,
 *    verify no token: there a page of another origin must be listed, whatever it sends.
 */
export interface CsrfOptions {
  /**
   * Other origins whose pages may send such requests, such as `'https://app.example.com'`: exact
   * origins, https except localhost, at most 1000. An origin in `cors` is not included: list it in
   * both.
   * @default []
   */
  readonly origins?: readonly string[]
}

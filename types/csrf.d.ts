// Options of the check against forged requests.

/**
 * Which pages may make a browser send requests that change something (any method but GET, HEAD and
 * OPTIONS) in the user's name. `Sec-Fetch-Site` decides where it is there (Fetch Metadata):
 * `same-origin` and `none` pass; else `Origin` must be our own, by `Host` and scheme, or listed.
 * With neither header, a request with cookies is refused. A request whose token came in the
 * `Authorization` header passes in a layer that verifies it, where `jwt.from` has it.
 * `guard.csrf()` alone, and a stack with `jwt: false`, verify none: a page of another origin must
 * be listed there, whatever it sends.
 */
export interface CsrfOptions {
  /**
   * Other origins whose pages may, such as `'https://app.example.com'`: exact ones, https but for
   * localhost, at most 1000. CORS does not make it one of these: list it in both.
   * @default []
   */
  readonly origins?: readonly string[]
}

// Lists of clients.

/**
 * Networks in CIDR form, or addresses; an IPv6 address stands for its /56. The longest network that
 * a client lies in decides, so that `allow` may take an address out of a network in `block`. At
 * most 10000 in each.
 */
export interface ClientsOptions {
  /** Not limited. */
  readonly allow?: readonly string[]
  /** Refused with 403 `client_blocked`. */
  readonly block?: readonly string[]
}

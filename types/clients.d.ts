// Lists of clients.

/**
 * Lists of addresses and of networks in CIDR form. An IPv6 address stands for its network of
 * `ipv6Prefix`, by default its /56. The longest network that contains a client decides, so `allow`
 * can exempt an address from a network in `block`. At most 10000 entries in each list.
 */
export interface ClientsOptions {
  /** Clients that are not limited. */
  readonly allow?: readonly string[]
  /** Clients that are refused with 403 `client_blocked`. */
  readonly block?: readonly string[]
}

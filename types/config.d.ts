// The options of a guard and of its routes, and where it keeps what it counts.

import type { IncomingMessage } from 'node:http'
import type { ClientsOptions } from './clients'
import type { CorsOptions } from './cors'
import type { CsrfOptions } from './csrf'
import type { Guard } from './guard'
import type { HeadersOptions } from './headers'
import type { RateLimit, RateLimitPolicy } from './limit'
import type { Limits } from './operations'
import type { PayloadOptions } from './payload'
import type { AuthorizeOptions, PolicyOptions } from './policy'
import type { DecisionEvent } from './request'
import type { RequestSchemas } from './schema'
import type { SessionsOptions } from './sessions'
import type { AuthenticateOptions, JwtOptions } from './token'

/**
 * A time span: a whole number with a unit, `ms`, `s`, `m`, `h` or `d` (`'60s'`, `'1h'`), or a whole
 * number of milliseconds.
 */
export type Duration = number | `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

/**
 * A size: a whole number with a unit, `b`, `kb` or `mb` (1 kb = 1024 bytes), or a whole number of
 * bytes.
 */
export type Size = number | `${number}${'b' | 'kb' | 'mb'}`

/** A function of the request. Its parameter may be annotated as `express.Request`. */
export type FromRequest<T> = { of(req: IncomingMessage): T }['of']

/**
 * What a guard is built from: plain data, read once. Unknown keys are refused, and so is what is
 * not plain: promises, Maps and Sets, instances of classes, inherited members. A key whose value is
 * `undefined` throws as well: leave it out.
 */
export interface GuardConfig {
  /**
   * The defaults of the headers layer: `'api'` for JSON only, `'web'` for an origin that also
   * serves pages.
   * @default 'api'
   */
  readonly profile?: 'api' | 'web'
  /**
   * Response headers. `false` sends none.
   * @default {}
   */
  readonly headers?: HeadersOptions | false
  /**
   * Cross-origin access (Fetch Standard, section 3.2). `false` sends no CORS header, so browsers
   * keep other origins out.
   * @default false
   */
  readonly cors?: CorsOptions | false
  /**
   * Whether requests that change something must come from our own pages. On by itself where
   * `jwt.from` has a cookie, and then it can't be `false`.
   * @default {} where a token may come in a cookie, else false
   */
  readonly csrf?: CsrfOptions | false
  /**
   * The hosts this API answers to, in lower case: `'api.example.com'` on any port,
   * `'api.example.com:8443'` on this one. A request for another host is refused with 403 by {@link
   * Guard.securityStack}; single layers do not look at it. At least one.
   * @default any host
   */
  readonly hosts?: readonly string[]
  /**
   * Addresses and CIDR ranges of the reverse proxies in front of this process, e.g. `'10.0.0.0/8'`.
   * Only what they write into `X-Forwarded-For` and `X-Forwarded-Proto` is believed: the client is
   * the rightmost address that is no such proxy. `'unix'` is the proxy at a Unix socket, which has
   * no address. A range of all addresses is refused. With this list, also an empty one, Express's
   * `trust proxy` is not consulted. A network in IPv6 notation that holds IPv4 addresses
   * (`'::ffff:10.0.0.0/104'`) is that of these. WebSocket handshakes with `X-Forwarded-For` are
   * refused without the list.
   * @default Express's `trust proxy` decides (`req.ip`, `req.secure`); without it, the socket's
   * address is the client's
   */
  readonly trustedProxies?: readonly string[]
  /**
   * Networks of clients that are not limited, and of such as are refused with 403 before their
   * token and the limits are looked at. {@link Limits.block} and {@link Limits.allow} add to it
   * while the guard runs.
   */
  readonly clients?: ClientsOptions
  /**
   * Where rate limits are counted, and, where it is shared, revocations are kept.
   * @default { memory: { maxBytes: '64mb' } }, of this guard alone
   */
  readonly store?: StoreOptions
  /**
   * One policy, or 1 to 16 that must all agree: a request that one refuses is charged by none.
   * `false` limits nothing.
   * @default { name: 'default', limit: 100, window: '60s' }
   */
  readonly rateLimit?: RateLimit | readonly RateLimit[] | false
  /**
   * Bearer tokens (RFC 6750) that are JWTs (RFC 7519). `false` asks for none.
   * @default false
   */
  readonly jwt?: JwtOptions | false
  /**
   * Whether tokens can be taken back with {@link Guard.revoke}; `false` switches the layer off.
   * With a `redis` store all processes with its `prefix` and the same `jwt.issuer` have one list.
   * In memory, revocations are this guard's own, or those of all guards with the same
   * `store.memory.shared` and `jwt.issuer`, and there is nothing to choose. Memcached may forget
   * what it is given, so beside it the option must be `{ scope: 'process' }` or `false`.
   * @default {} where `jwt` is set
   */
  readonly revocation?: RevocationOptions | false
  /**
   * Limits on bodies, before any schema.
   * @default {}
   */
  readonly payload?: PayloadOptions
  /**
   * Authorization by a Rego policy. `false` asks none.
   * @default false
   */
  readonly policy?: PolicyOptions | false
  /**
   * The cookies of {@link Guard.sessions}; `{}` checks that the guard can have them. Needs
   * `jwt.from` with a cookie, and `jwt.refresh`.
   * @default {}, checked when sessions are first used
   */
  readonly sessions?: SessionsOptions
  /**
   * Called for every decision of a handler, before its answer is sent. An error thrown here is
   * reported once as a process warning (`GUARD_LOG_FAILED`) and changes no decision, and so is a
   * promise that rejects; it is not waited for. The event holds no token, claim value but `sub`, or
   * body.
   */
  readonly log?: (event: DecisionEvent) => void
}

/**
 * One route's own options. A key that is left out keeps the guard's setting, one that is
 * `undefined` throws. `headers` is a schema here.
 */
export interface RouteOptions extends RequestSchemas {
  /**
   * Replaces the guard's CORS options on these routes, and removes what an earlier stack or layer
   * of this guard has allowed; `false` sends no CORS header.
   */
  readonly cors?: CorsOptions | false
  /**
   * Replaces the guard's `csrf` on these routes. Where tokens may come in cookies, `false` needs
   * `jwt: false` beside it.
   */
  readonly csrf?: CsrfOptions | false
  /** Replaces the guard's rate limits on these routes; `false` limits nothing. */
  readonly rateLimit?: RateLimit | readonly RateLimit[] | false
  /**
   * Whether a request without a token passes here; `false` looks at no token, so that `req.user` is
   * not set. The guard must have `jwt`.
   */
  readonly jwt?: AuthenticateOptions | false
  /**
   * Narrows the guard's `payload` on these routes, where it says something; what it says of schemas
   * is of the guard alone. `false` leaves the body to the application, while query, params and
   * headers are still checked; it contradicts a `body` schema and a policy that reads `input.body`.
   */
  readonly payload?: PayloadOptions | false
  /**
   * Which rule of the guard's policy decides on these routes; `false` asks none. The guard must
   * have `policy`.
   */
  readonly policy?: AuthorizeOptions | false
}

/** Where counters live: one of these. */
export interface StoreOptions {
  /** Counters in the memory of this process. They are gone when it ends. */
  readonly memory?: MemoryStoreOptions
  /**
   * Counters in Redis 7 or later or in Valkey, which all processes share. A URL, or options where
   * one is not enough. The connection is made in the background: neither `createGuard` nor the
   * first request waits for it.
   */
  readonly redis?: string | RedisStoreOptions
  /**
   * Counters in Memcached 1.4 or later, which all processes share. A list of servers, or options
   * where that is not enough. The guarantee is weaker than that of Redis, see {@link
   * MemcachedStoreOptions}. The connections are made in the background: neither `createGuard` nor
   * the first request waits for them.
   */
  readonly memcached?: readonly string[] | MemcachedStoreOptions
}

/**
 * A Redis or Valkey store: one of `url`, `cluster` and `sentinel`, and what they need. Guards and
 * worker threads of a process with the same options share its connection, and processes with the
 * same `prefix` share its counts.
 */
export interface RedisStoreOptions {
  /**
   * One server: `redis://user:password@host:6379/0`, or `rediss://` for TLS, of which the
   * certificate is always checked; also `valkey://` and `valkeys://`.
   */
  readonly url?: string
  /** Redis Cluster: URLs of 1 to 64 of its nodes, all with TLS or none. They tell of the others. */
  readonly cluster?: readonly string[]
  /** A primary that sentinels know. */
  readonly sentinel?:
    | {
        /** URLs of 1 to 64 sentinels. A user and a password in the first one are used for all. */
        readonly nodes: readonly string[]
        /** What they call the primary. */
        readonly name: string
      }
  /** The user to log in as (ACL); needs `password`. Before one in a URL. */
  readonly username?: string
  /** The password. Before one in a URL. */
  readonly password?: string
  /**
   * The database, 0 to 65535. Not in a cluster.
   * @default 0
   */
  readonly db?: number
  /**
   * What an encrypted connection needs beyond the system's authorities, as PEM text or a Buffer of
   * it.
   */
  readonly tls?:
    | {
        /** The authority that signed the servers' certificates, instead of the system's. */
        readonly ca?: string | Buffer
        /** Our certificate, where the servers ask for one; needs `key`. */
        readonly cert?: string | Buffer
        /** The private key of `cert`. */
        readonly key?: string | Buffer
      }
  /**
   * What all keys begin with: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
   * @default 'keepstone:'
   */
  readonly prefix?: string
  /**
   * The longest that an answer of the store is waited for; 1 ms to 5 s. Then the limits of the
   * request do as their `onStoreFailure` says. A request asks once for a stack, and once more for
   * each further layer with limits, for a DPoP proof and for `fresh`.
   * @default '25ms'
   */
  readonly timeout?: Duration
  /**
   * The least number of processes that share the limits while the store is away; a whole number
   * from 1 to 100000. Each process then admits `limit` divided by this number, or by the number
   * last seen alive where that is larger (at least 1). With the default, a process that starts
   * while the store is away admits all of each limit, since it has seen no other: set it to the
   * number that you run at least.
   * @default 1
   */
  readonly processes?: number
  /**
   * The most memory for what is kept of the store in this process: leases, refusals, and the counts
   * while it is away.
   * @default '64mb'
   */
  readonly maxBytes?: Size
  /**
   * How many replicas must have a revocation, a logout or what is said by `guard.limits.block`,
   * `allow`, `unblock` and `set` before the call resolves (`WAIT` in Redis); 0 to 16. A failover to
   * one of them then loses none of it. A call that waits in vain rejects with
   * `ERR_STORE_UNAVAILABLE`: what it said holds, and may be lost.
   * @default 0
   */
  readonly minReplicas?: number
}

/**
 * A Memcached store. Guards and worker threads of a process with the same options share its
 * connections, and processes with the same `servers` and `prefix` share its counts. Without TLS and
 * without a login: keep the servers in a network that is yours.
 *
 * No count is overwritten by another process, but counts can be lost: Memcached forgets all of them
 * when it is restarted or flushed, and single ones when it is full. Such a key begins anew. In any
 * span W a key is admitted at most burst + limit / window × (W + s), where s is how much the
 * processes differ in reading the server's clock: below 0.1 s as a rule, 2 s at most just after one
 * has connected. The processes' own wall clocks decide nothing. Without {@link
 * RateLimitPolicy.exact} leases come on top, as with Redis.
 *
 * A key lives on one of the servers, picked by the text of their addresses, so all processes must
 * write them alike. A server that is away takes its keys along and no others. Revocations are never
 * kept here, since one that is forgotten would let a revoked token pass: with `jwt`, write
 * `revocation: { scope: 'process' }` or `revocation: false`.
 */
export interface MemcachedStoreOptions {
  /**
   * 1 to 64 servers, in any order: `host:port`, `[address]:port` or `memcached://host:port`;
   * without a port it is 11211.
   */
  readonly servers: readonly string[]
  /**
   * What all keys begin with: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
   * @default 'keepstone:'
   */
  readonly prefix?: string
  /**
   * The longest that a request waits for the store; 1 ms to 5 s. Then its limits do as their
   * `onStoreFailure` says. A request takes two round trips, and up to eight where many processes
   * count one key.
   * @default '25ms'
   */
  readonly timeout?: Duration
  /**
   * The least number of processes that share the limits while the store is away; a whole number
   * from 1 to 100000. Each process then admits `limit` divided by this number, or by the number
   * last seen alive where that is larger (at least 1). With the default, a process that starts
   * while the store is away admits all of each limit, since it has seen no other: set it to the
   * number that you run at least.
   * @default 1
   */
  readonly processes?: number
  /**
   * The most memory for what is kept of the store in this process: leases, refusals, and the counts
   * while it is away.
   * @default '64mb'
   */
  readonly maxBytes?: Size
}

/** The memory store. Cluster processes do not share it: each counts for itself. */
export interface MemoryStoreOptions {
  /**
   * The most memory that counters may take; 1 MB to 16 GB. It is taken as it is needed. Where it is
   * full, keys that have used least are forgotten, and blocked ones never.
   * @default '64mb', or the size that the shared store of this name has
   */
  readonly maxBytes?: Size
  /**
   * A name of 1 to 128 bytes under which guards and worker threads of this process share one store:
   * limits with the same name and figures count together, and guards with the same `jwt.issuer`
   * share their revocations. Left out: the store belongs to this guard alone.
   */
  readonly shared?: string
}

/**
 * How a list of revocations that processes share is looked at: only with a `redis` store. Each
 * process has a copy of the list and follows the store, so that a request asks nobody. While the
 * copy can't be trusted, a request with a token is refused with 503 `revocation_stale`: also
 * between the start of a process and the moment when it has read the list ({@link Guard.ready}).
 */
export interface RevocationOptions {
  /**
   * `'replica'` looks in the copy. `'strict'` asks the store for what is new before each check, one
   * command for all requests that come meanwhile; {@link Guard.require} asks so on single routes.
   * @default 'replica'
   */
  readonly mode?: 'replica' | 'strict'
  /**
   * The longest that a revocation by another process may take to be known here, in the worst case;
   * usually it takes milliseconds. 1 s to 5 min.
   * @default '5s'
   */
  readonly maxStaleness?: Duration
  /**
   * What becomes of requests with a token while that can't be promised: `'deny'` refuses them,
   * `'probe'` asks the store as `'strict'` does, where it was heard of within one and a half
   * seconds; after a longer silence both refuse until a second after it is back, since another
   * process may have to put back what a failover has lost.
   * @default 'deny'
   */
  readonly onStale?: 'deny' | 'probe'
  /**
   * Beside `store.memcached` alone, and needed there: Memcached may forget at any time, so each
   * process has a list of its own, and a token that is revoked in one is still good in the others.
   * Nothing else may be given then.
   */
  readonly scope?: 'process'
}

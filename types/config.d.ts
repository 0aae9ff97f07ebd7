// The options of a guard and of its routes, and the stores for its counters.

import type { IncomingMessage } from 'node:http'
import type { ClientsOptions } from './clients'
import type { CorsOptions } from './cors'
import type { CsrfOptions } from './csrf'
import type { Guard, RouteDemands } from './guard'
import type { HeadersOptions, RouteHeadersOptions } from './headers'
import type { ApiKeyOptions, Identify, IdentifyOptions } from './identity'
import type { RateLimit, RateLimitHeaders, RateLimitPolicy } from './limit'
import type { Limits } from './operations'
import type { PayloadOptions, RoutePayloadOptions } from './payload'
import type { AuthorizeOptions, PolicyOptions } from './policy'
import type { OnRefuse } from './refusal'
import type { DecisionEvent } from './request'
import type { RequestSchemas } from './schema'
import type { SessionsOptions } from './sessions'
import type { AuthenticateOptions, JwtOptions } from './token'

/**
 * A time span: a whole number with its unit, `ms`, `s`, `m`, `h` or `d`: `'60s'`, `'1h'`. A number
 * alone is refused, since some packages take seconds and others milliseconds. A computed one is a
 * template: `` `${seconds}s` ``.
 *
 * The type can't rule out `'1.5s'`, `'-1s'` and `'60 s'`: they compile, and throw.
 */
export type Duration = `${number}${'ms' | 's' | 'm' | 'h' | 'd'}`

/**
 * A size: a whole number with a unit, `b`, `kb` or `mb` (1 kb = 1024 bytes), or a whole number of
 * bytes.
 */
export type Size = number | `${number}${'b' | 'kb' | 'mb'}`

/** A function of the request. Its parameter may be annotated as `express.Request`. */
export type FromRequest<T> = { of(req: IncomingMessage): T }['of']

/** An entry of {@link GuardConfig.public}. */
export interface PublicPath {
  /** The path, as in an entry that is a string. */
  readonly path: string
  /**
   * `false` frees the path from the limits of the guard; those that a route declares itself hold.
   * @default the limits hold
   */
  readonly limits?: false
}

/**
 * The configuration of a guard: plain data, read once. Unknown keys are refused, and so are values
 * that are not plain: promises, Maps and Sets, class instances, inherited members. A key whose
 * value is `undefined` throws as well: leave it out.
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
   * Whether requests that change something must come from our own pages. It is on by default if
   * `jwt.from` has a cookie or `identify` is set, and can't be `false` then.
   * @default {} if an identity may come in a cookie, else false
   */
  readonly csrf?: CsrfOptions | false
  /**
   * The hosts that this API serves, in lower case: `'api.example.com'` on any port,
   * `'api.example.com:8443'` on this port only. {@link Guard.securityStack} refuses a request for
   * another host with 403; single layers do not check the host. At least one.
   * @default any host
   */
  readonly hosts?: readonly string[]
  /**
   * Addresses and CIDR ranges of the reverse proxies in front of this process, e.g. `'10.0.0.0/8'`,
   * or names of networks: `'loopback'` (127.0.0.0/8, ::1), `'linklocal'` (169.254.0.0/16,
   * fe80::/10), `'uniquelocal'` (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7).
   * `X-Forwarded-For` and `X-Forwarded-Proto` are trusted only as far as these proxies wrote them:
   * the client is the rightmost address that is not in the list. `'unix'` is the proxy at a Unix
   * socket, which has no address. A range of all addresses is refused. A network in IPv6 notation
   * that holds IPv4 addresses (`'::ffff:10.0.0.0/104'`) is read as an IPv4 network. With this list,
   * even an empty one, Express's `trust proxy` is ignored. Without it, WebSocket handshakes with
   * `X-Forwarded-For` are refused.
   * @default Express's `trust proxy` decides (`req.ip`, `req.secure`); without it, the socket's
   * address is the client's
   */
  readonly trustedProxies?: readonly string[]
  /**
   * How many bits of an IPv6 address identify a client, for everything that goes by address:
   * limits, {@link Guard.clientKey}, {@link Guard.limits} and single addresses in `clients`; 32 to
   * 128. A customer has a /48 to /64 and may use a new address for each request. With a longer
   * prefix than that, one customer has several counts; with a shorter one, neighbours share one.
   * IPv4 addresses, also in IPv6 notation, are clients each.
   * @default 56
   */
  readonly ipv6Prefix?: number
  /**
   * Networks of clients that are not limited, and of clients that are refused with 403 before their
   * token and the limits are checked. {@link Limits.block} and {@link Limits.allow} add to the
   * lists while the guard runs.
   */
  readonly clients?: ClientsOptions
  /**
   * The store of the rate limit counters; a shared one (not Memcached) also keeps revocations.
   * @default { memory: { maxBytes: '64mb' } }, of this guard alone
   */
  readonly store?: StoreOptions
  /**
   * One policy, or 1 to 16 that must all admit the request. If one refuses it, no policy charges
   * it. `false` limits nothing.
   * @default { name: 'default', limit: 100, window: '60s' }
   */
  readonly rateLimit?: RateLimit | readonly RateLimit[] | false
  /**
   * The response headers that show the state of the limits, of this syntax: `'draft-8'` for drafts
   * 8 to 11 of draft-ietf-httpapi-ratelimit-headers, which list every limit; `'draft-7'` and
   * `'draft-6'` (drafts 3 to 6), which show the limit that a client runs into first; or
   * `'x-ratelimit'`, `X-RateLimit-Limit`, `-Remaining` and `-Reset` of that limit, where `Reset` is
   * in seconds since 1970, as GitHub and express-rate-limit send it. A list may have
   * `'x-ratelimit'` and one draft. `false` sends none. `Retry-After` of a refusal is always sent.
   * @default 'draft-8'
   */
  readonly rateLimitHeaders?: RateLimitHeaders | readonly RateLimitHeaders[] | false
  /**
   * Bearer tokens (RFC 6750) that are JWTs (RFC 7519). `false` verifies none.
   * @default false
   */
  readonly jwt?: JwtOptions | false
  /**
   * API keys: the guard checks their form, and the application finds their records. `false` reads
   * none. A request with a token and an API key is refused with 400.
   * @default false
   */
  readonly apiKeys?: ApiKeyOptions | false
  /**
   * Paths that need no identity, 1 to 100. An entry is a path as it is sent (`'/health'`), with a
   * method before it for that method alone (`'POST /v1/login'`; `GET` includes `HEAD`), or with
   * `/*` at its end for the path and everything below. {@link PublicPath} can also lift the limits.
   *
   * The whole path is compared, also in a router that is mounted below one, byte by byte: another
   * case, a trailing slash or an encoded spelling is another path, and needs an identity. All other
   * layers judge the request as ever, the policy as well. Without a credential it is anonymous, and
   * so it is with a dead token in a cookie, which is cleared; a credential in a header that is
   * refused ends it. A route with a `require`, `authenticate` or `jwt` of its own keeps that.
   * @default none
   */
  readonly public?: readonly (string | PublicPath)[]
  /**
   * Routes whose paths may have forms that are refused elsewhere (400 `malformed_path`), since
   * another reader may take them for another path.
   */
  readonly paths?: PathsOptions
  /**
   * The user of a request that has no token and no API key: a function that reads a session of
   * express-session, of passport or of any other kind. It is called once for a request, and not for
   * one that an earlier layer has refused. Cookies of a session are sent by every page, so
   * {@link GuardConfig.csrf} is on.
   *
   * ```ts
   * const guard = createGuard({
   *   identify: (req) => (req.headers['x-user'] === 'ada' ? { sub: 'ada' } : null)
   * })
   * ```
   * @default false
   */
  readonly identify?: Identify | IdentifyOptions | false
  /**
   * Whether a request without an identity passes, whatever its source; takes the place of
   * `jwt.optional`.
   * @default { optional: false }
   */
  readonly authenticate?: AuthenticateOptions
  /**
   * Whether tokens can be revoked with {@link Guard.revoke}; `false` switches the layer off. With a
   * `redis` store, all processes with its `prefix` and the same `jwt.issuer` share one list. In
   * memory, the list belongs to this guard, or to all guards with the same `store.memory.shared`
   * and `jwt.issuer`, and there are no options to set. Memcached may evict any record, so with it
   * the option must be `{ scope: 'process' }` or `false`.
   * @default {} if `jwt`, `apiKeys` or `identify` is set
   */
  readonly revocation?: RevocationOptions | false
  /**
   * Limits on bodies, before any schema.
   * @default {}
   */
  readonly payload?: PayloadOptions
  /**
   * Authorization by a Rego policy. `false` evaluates none.
   * @default false
   */
  readonly policy?: PolicyOptions | false
  /**
   * The cookies of {@link Guard.sessions}, which need `jwt.refresh` and a cookie in `jwt.from`.
   * `createGuard` checks both if the option is given; `{}` is enough.
   * @default {}, checked at the first use of sessions
   */
  readonly sessions?: SessionsOptions
  /**
   * Called for every decision of a handler, before its answer is sent. The call is not awaited. An
   * error thrown here, or a promise that rejects, changes no decision and is reported once as a
   * process warning (`GUARD_LOG_FAILED`). The event holds no token, no body, and no claim value but
   * `sub`.
   */
  readonly log?: (event: DecisionEvent) => void
  /**
   * Answers refused requests in place of the guard: with a page, a redirect, an error of your own
   * shape, or `next(error)`. It can't let a request pass. Called on Express, Connect and
   * `node:http`, after `log`; not for handshakes, for preflights and for `guard.check`.
   *
   * ```ts
   * const guard = createGuard({
   *   onRefuse(refusal, req, res, next) {
   *     if (refusal.code !== 'token_missing') return next()
   *     res.statusCode = 303
   *     res.setHeader('Location', '/login')
   *     res.end()
   *   }
   * })
   * ```
   *
   * @default the guard answers with a problem document (RFC 9457)
   */
  readonly onRefuse?: OnRefuse
}

/**
 * The options of one route. A key that is left out keeps the guard's setting; a key that is
 * `undefined` throws. `headers` is a schema here.
 */
export interface RouteOptions extends RequestSchemas {
  /**
   * Replaces the guard's response headers on these routes, its `headers` included, and removes
   * those that an earlier stack or layer of this guard has set. `false` sends none. (`headers` is
   * the schema of request headers.)
   */
  readonly responseHeaders?: RouteHeadersOptions | false
  /**
   * Replaces the guard's CORS options on these routes, and removes the CORS headers that an earlier
   * stack or layer of this guard has set. `false` sends no CORS header.
   */
  readonly cors?: CorsOptions | false
  /**
   * Replaces the guard's `csrf` on these routes. If an identity may come in a cookie, `false` also
   * needs `authenticate: false`.
   */
  readonly csrf?: CsrfOptions | false
  /** Replaces the guard's rate limits on these routes; `false` limits nothing. */
  readonly rateLimit?: RateLimit | readonly RateLimit[] | false
  /**
   * As `authenticate`, for a guard with `jwt`.
   */
  readonly jwt?: AuthenticateOptions | false
  /**
   * What the identity must have on these routes, as {@link Guard.require} reads it; at least one
   * demand. Requests without an identity are refused, also where the guard's `jwt` is optional.
   */
  readonly require?: RouteDemands
  /**
   * Whether a request without an identity passes here. `false` reads none and calls no function for
   * one, so `req.user` is not set. The guard must have `jwt`, `apiKeys` or `identify`.
   */
  readonly authenticate?: AuthenticateOptions | false
  /**
   * Narrows the guard's `payload` on these routes, for the limits given here; its options for
   * schemas can be set only on the guard. `false` leaves the body to the application, while query,
   * params and headers are still checked. It contradicts a `body` schema and a policy that reads
   * `input.body`.
   */
  readonly payload?: RoutePayloadOptions | false
  /**
   * The rule of the guard's policy that decides on these routes, and the function that gives it the
   * object of a request; `false` evaluates none. The guard must have `policy`.
   */
  readonly policy?: AuthorizeOptions | false
}

/**
 * Where paths may have forms that are refused elsewhere: lists of 1 to 100 entries such as
 * `'/files/*'` or `'GET /files/*'`, which are about the segments below that path. An entry is
 * compared with the path as it was sent, byte by byte.
 */
export interface PathsOptions {
  /**
   * `%2F` inside of a segment, as in a parameter that is a path or a URL. It never splits the
   * segment: not for routes, and not in `input.path` of a policy. Still refused are segments that
   * begin with it, dot segments between encoded slashes, and `%252F`, `%255C` and `%252E` beside
   * one.
   */
  readonly encodedSlashes?: readonly string[]
  /**
   * Two slashes in a row, but at the end of the path. Policies see an empty segment. On Express 4,
   * whose `app.use('/a')` takes `/a//b` for `/a/b`, they stay refused.
   */
  readonly emptySegments?: readonly string[]
}

/** The store of the counters: exactly one of these. */
export interface StoreOptions {
  /** Counters in the memory of this process. They are lost when it ends. */
  readonly memory?: MemoryStoreOptions
  /**
   * Counters in Redis 7 or later or in Valkey, shared by all processes. A URL, or options if a URL
   * is not enough. The connection is made in the background: neither `createGuard` nor the first
   * request waits for it.
   */
  readonly redis?: string | RedisStoreOptions
  /**
   * Counters in Memcached 1.4 or later, shared by all processes. A list of servers, or options if a
   * list is not enough. The guarantee is weaker than that of Redis, see
   * {@link MemcachedStoreOptions}. The connections are made in the background: neither
   * `createGuard` nor the first request waits for them.
   */
  readonly memcached?: readonly string[] | MemcachedStoreOptions
}

/**
 * A Redis or Valkey store: exactly one of `url`, `cluster` and `sentinel`, and their options.
 * Guards and worker threads of a process with the same options share its connection. Processes with
 * the same `prefix` share its counters.
 */
export interface RedisStoreOptions {
  /**
   * One server: `redis://user:password@host:6379/0`, or `rediss://` for TLS, whose certificate is
   * always verified; also `valkey://` and `valkeys://`. On a Unix socket:
   * `unix:///run/redis.sock`, also `redis+unix://`, with `?user=`, `pass=` and `db=`.
   */
  readonly url?: string
  /**
   * Redis Cluster: URLs of 1 to 64 of its nodes, all with TLS or none. The other nodes are
   * discovered.
   */
  readonly cluster?: readonly string[]
  /** A primary that sentinels monitor. */
  readonly sentinel?:
    | {
        /** URLs of 1 to 64 sentinels. A user and a password in the first one are used for all. */
        readonly nodes: readonly string[]
        /** The name of the primary in the sentinels. */
        readonly name: string
      }
  /** The user to log in as (ACL); needs `password`. Takes precedence over a user in a URL. */
  readonly username?: string
  /** The password. Takes precedence over a password in a URL. */
  readonly password?: string
  /**
   * The database, 0 to 65535. Not available in a cluster.
   * @default 0
   */
  readonly db?: number
  /**
   * Settings of an encrypted connection beyond the system's certificate authorities, as PEM text or
   * a Buffer of it.
   */
  readonly tls?:
    | {
        /**
         * The authority that signed the servers' certificates, instead of the system's. A server's
         * own certificate works as well, also as `openssl req -x509` makes it. Its period and its
         * alternative names are checked; without alternative names it is taken for any name.
         */
        readonly ca?: string | Buffer
        /** Our certificate, if the servers require one; needs `key`. */
        readonly cert?: string | Buffer
        /** The private key of `cert`. */
        readonly key?: string | Buffer
      }
  /**
   * The prefix of all keys: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
   * @default 'keepstone:'
   */
  readonly prefix?: string
  /**
   * The timeout of a store command; 1 ms to 5 s. After it, the limits of the request follow their
   * `onStoreFailure`. A stack sends one command per request, plus one for each further layer with
   * limits, for a DPoP proof and for `fresh`. Where it is not set and the server is distant, it is
   * three round trips, at most 250 ms.
   * @default '25ms'
   */
  readonly timeout?: Duration
  /**
   * The minimum number of processes that share the limits while the store is unavailable; a whole
   * number from 1 to 100000. Each process then admits `limit` divided by this number, or by the
   * number of processes last seen alive if that is larger (at least 1). With the default, a process
   * that starts while the store is unavailable admits all of each limit, since it has seen no other
   * process. Set it to the least number of processes that you run.
   * @default 1
   */
  readonly processes?: number
  /**
   * The most memory for the local state of the store in this process: leases, refusals, and the
   * counters while it is unavailable.
   * @default '64mb'
   */
  readonly maxBytes?: Size
  /**
   * The number of replicas that must acknowledge a revocation, a logout, or a change by
   * `guard.limits.block`, `allow`, `unblock` and `set` before the call resolves (`WAIT` in Redis);
   * 0 to 16. A failover to one of these replicas then loses none of it. If too few replicas
   * acknowledge in time, the call rejects with `ERR_STORE_UNAVAILABLE`: the change is in force, and
   * may be lost.
   * @default 0
   */
  readonly minReplicas?: number
}

/**
 * A Memcached store. Guards and worker threads of a process with the same options share its
 * connections. Processes with the same `servers` and `prefix` share its counters. It has neither
 * TLS nor a login: keep the servers in a private network.
 *
 * No process overwrites a counter of another, but counters can be lost: Memcached loses all of them
 * when it is restarted or flushed, and evicts single ones when it is full. The counter of such a
 * key starts again from zero. In any span W a key is admitted at most
 * `burst + limit / window × (W + s)`. Here s is the difference between the processes' readings of
 * the server's clock: usually below 0.1 s, and 2 s at most just after a process has connected. The
 * processes' own wall clocks have no effect. Without {@link RateLimitPolicy.exact} leases come on
 * top, as with Redis.
 *
 * A key lives on one of the servers, chosen by the text of their addresses, so all processes must
 * write them alike. An unavailable server affects only its own keys. Revocations are never kept
 * here, since an evicted one would let a revoked token pass. With `jwt`, write
 * `revocation: { scope: 'process' }` or `revocation: false`.
 */
export interface MemcachedStoreOptions {
  /**
   * 1 to 64 servers, in any order: `host:port`, `[address]:port` or `memcached://host:port`. The
   * default port is 11211.
   */
  readonly servers: readonly string[]
  /**
   * The prefix of all keys: 1 to 64 visible ASCII characters without `{`, `}`, `*` and `?`.
   * @default 'keepstone:'
   */
  readonly prefix?: string
  /**
   * The longest time that a request waits for the store; 1 ms to 5 s. After it, the limits of the
   * request follow their `onStoreFailure`. A request takes two round trips, and up to eight if many
   * processes count one key.
   * @default '25ms'
   */
  readonly timeout?: Duration
  /**
   * The minimum number of processes that share the limits while the store is unavailable; a whole
   * number from 1 to 100000. Each process then admits `limit` divided by this number, or by the
   * number of processes last seen alive if that is larger (at least 1). With the default, a process
   * that starts while the store is unavailable admits all of each limit, since it has seen no other
   * process. Set it to the least number of processes that you run.
   * @default 1
   */
  readonly processes?: number
  /**
   * The most memory for the local state of the store in this process: leases, refusals, and the
   * counters while it is unavailable.
   * @default '64mb'
   */
  readonly maxBytes?: Size
}

/** The memory store. Cluster processes do not share it: each process counts for itself. */
export interface MemoryStoreOptions {
  /**
   * The most memory that counters may take; 1 MB to 16 GB. It is allocated as needed. When it is
   * full, the keys that have used the smallest share of their limit are evicted first; blocked and
   * used-up keys never are.
   * @default '64mb', or the size of the shared store of this name
   */
  readonly maxBytes?: Size
  /**
   * A name of 1 to 128 bytes under which guards and worker threads of this process share one store.
   * Limits with the same name and figures count together, and guards with the same `jwt.issuer`
   * share their revocations. Left out: the store belongs to this guard alone.
   */
  readonly shared?: string
}

/**
 * How requests check a revocation list that processes share; only with a `redis` store. Each
 * process keeps a replica of the list and follows the store, so a check needs no store command.
 * While the replica can't be trusted, a request with a token is refused with 503
 * `revocation_stale`. That includes the time between the start of a process and its first reading
 * of the list ({@link Guard.ready}).
 */
export interface RevocationOptions {
  /**
   * `'replica'` checks the replica. `'strict'` first asks the store for new revocations, with one
   * command for all requests that arrive meanwhile. {@link Guard.require} does so on single routes.
   * @default 'replica'
   */
  readonly mode?: 'replica' | 'strict'
  /**
   * The worst-case delay until a revocation by another process takes effect here; usually it takes
   * milliseconds. 1 s to 5 min.
   * @default '5s'
   */
  readonly maxStaleness?: Duration
  /**
   * How requests with a token are handled while `maxStaleness` can't be guaranteed. `'deny'`
   * refuses them. `'probe'` asks the store as `'strict'` does, if the store answered within the
   * last 1.5 s. After a longer silence both refuse until one second after the store is back, since
   * another process may have to restore revocations that a failover has lost.
   * @default 'deny'
   */
  readonly onStale?: 'deny' | 'probe'
  /**
   * Required with `store.memcached`, and allowed only there. Memcached may evict any record, so
   * each process has a list of its own: a token that is revoked in one process is still accepted by
   * the others. No other option may be given with it.
   */
  readonly scope?: 'process'
}

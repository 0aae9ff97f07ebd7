// Handlers, and the state of a request that they can read.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GuardConfig } from './config'
import type { GuardError } from './errors'
import type { Guard } from './guard'
import type { RequestIdentity } from './identity'
import type { Valid, ValidBody } from './schema'
import type { Algorithm } from './token'

/** A handler for Express 4, Express 5, Connect and plain `node:http`. */
export interface RequestHandler {
  (req: IncomingMessage, res: ServerResponse, next: Next): void
}

/** The callback that passes the request on, or reports the error that stops it. */
export type Next = (error?: any) => void

/** A handler after which `req.body` is a `Body`. */
export interface BodyHandler<Body> {
  (req: IncomingMessage, res: ServerResponse, next: Next): void
  // Express takes the types of a route from the last overload.
  (req: IncomingMessage & { body: Body }, res: ServerResponse, next: Next): void
}

/** A handler that types `req.body` if `S` has a schema or files for it. */
export type RouteHandler<S> = S extends { readonly body: unknown } | { readonly payload: { readonly files: object } }
  ? BodyHandler<ValidBody<S>>
  : RequestHandler

/** The result of {@link Guard.securityStack}: one handler, which can also be spread. */
export type SecurityStack<R> = ValidateHandler<R> & Iterable<RouteHandler<R>>

/** The result of {@link Guard.validate}. */
export type ValidateHandler<S> = RouteHandler<S> & {
  /**
   * The valid values of the request, converted and typed.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` if the request has not passed this very
   *   handler.
   */
  valid(req: IncomingMessage): Valid<S>
}

/** The type of `req.guard`. */
export interface RequestGuard {
  /**
   * This request's id, also in log events. It is local to this process, and not sent to the client.
   */
  readonly id: string
  /**
   * The client's address, the same for every layer. An IPv4 address in IPv6 notation is written as
   * IPv4. Empty on a Unix socket whose proxy is not trusted.
   */
  readonly client: string
  /** The verified identity, whatever its source, or `null`. */
  readonly identity: RequestIdentity | null
  /** The verified token, or `null`, also for an identity that is no token. */
  readonly token: VerifiedToken | null
  /** The state, after this request, of the rate limits that apply to it. */
  readonly limits: readonly LimitState[]
  /** The reasons that the policy returned. */
  readonly reasons: readonly string[]
  /**
   * The bytes of the body as they arrived, before decompression, where `payload.rawBody` asks for
   * them. Missing without a body, for a body that was not read, and if another parser has read it
   * and kept no bytes (`guard.captureRaw` keeps them).
   */
  readonly rawBody?: Buffer
  /**
   * The nonce in this response's `Content-Security-Policy`, if the last headers layer had
   * `csp.nonce` on.
   */
  readonly nonce?: string
  /**
   * For responses and sockets that stay open: aborts when a new request like this one would be
   * refused. Its token has expired, or it, its session, user or key was revoked; its client was
   * blocked; a `maxAge` that the route requires is over; what is revoked is not known any more; or
   * the guard was closed. `signal.reason` is a {@link GuardError} with the `code` and the `status`
   * of that refusal, and `log` gets an event with the `outcome` `'end'`.
   *
   * Checked once a second from the first read of this property until the response or socket is
   * over; it does not abort then. `fresh`, `apiKeys.lookup`, `identify`, the policy and the limits
   * are not asked again. The timer keeps no process alive.
   */
  readonly signal: AbortSignal
}

/** Facts about a verified token, except its claims: those are in `req.user`. */
export interface VerifiedToken {
  /** The token's id (RFC 7519 section 4.1.7). */
  readonly jti?: string
  /**
   * When it expires, in seconds since the Unix epoch. For an introspected token without `exp`, the
   * end that `maxLifetime` sets.
   */
  readonly exp: number
  /** When it was issued, in seconds since the Unix epoch; missing for a token without `iat`. */
  readonly iat?: number
  /** The key that verified it. */
  readonly kid?: string
  /** The algorithm of that key; missing if no key verified it: its issuer was asked. */
  readonly alg?: Algorithm
  /**
   * The kind of its binding, if it is bound: a key whose proof was checked, the certificate of the
   * connection, or both.
   */
  readonly bound?: 'dpop' | 'mtls' | 'dpop+mtls'
}

/** The state of one rate limit for the key of the request. */
export interface LimitState {
  /** The policy's name. */
  readonly name: string
  /** The units that the key may use per window. */
  readonly limit: number
  /** The units left now. */
  readonly remaining: number
  /** Seconds until more units are refilled; 0 if none are used. */
  readonly reset: number
  /** Only for a limit with `onExceed: 'shadow'`: whether it would have refused the request. */
  readonly wouldRefuse?: boolean
}

/** One decided request, for {@link GuardConfig.log}. */
export interface DecisionEvent {
  /** The time of the decision, as an ISO 8601 UTC time. */
  readonly time: string
  /** The request's id; the same as `req.guard.id`. */
  readonly id: string
  /** The client's address. */
  readonly client: string
  /** The method. */
  readonly method: string
  /** The path, without the query. */
  readonly path: string
  /**
   * The decision. `'preflight'` is a CORS preflight that was answered here. `'response'` follows
   * `'allow'` if the handler's answer did not match its schema, `'end'` when the
   * {@link RequestGuard.signal} of an open response aborts.
   */
  readonly outcome: 'allow' | 'refuse' | 'preflight' | 'response' | 'end'
  /**
   * The status of a refusal, of a preflight's answer, or of the answer that did not match its
   * schema; for `'end'`, that of the refusal which a new request would get.
   */
  readonly status?: number | undefined
  /** The code of a refusal, as in the problem document. */
  readonly code?: string | undefined
  /**
   * The layer that refused, answered the preflight, or found the answer that did not match. Absent
   * for `'allow'`, for a refusal that the application made itself, and where no layer decided: a
   * function of the application failed, or the process has too many requests that wait.
   */
  readonly layer?: DecisionLayer | undefined
  /**
   * The name of the limit that refused: with `rate_limited`, and with `store_unavailable` if the
   * limit could not be counted and its `onStoreFailure` is `'closed'`. If several refused, the
   * first in their order.
   */
  readonly limit?: string | undefined
  /**
   * Why a token was refused, finer than `code`: `claim_missing:aud`, `kid_unknown`; or why a
   * preflight allows nothing: `cors_origin`, `cors_method`, `cors_header`. For the operator alone:
   * the client gets `code`. docs/reference/errors.md lists the reasons of tokens and of other
   * identities.
   */
  readonly reason?: string | undefined
  /** The user's `sub`. */
  readonly user?: string | undefined
  /** The source of the user, as in {@link RequestIdentity.issuer}. */
  readonly issuer?: string | undefined
  /** The reasons that the policy returned. */
  readonly reasons: readonly string[]
  /**
   * The limits with `onExceed: 'shadow'` that would have refused the request; only if the stack has
   * such limits.
   */
  readonly shadow?: readonly string[] | undefined
  /**
   * The time in milliseconds from the moment at which the stack got the request until it decided,
   * to the microsecond: with its waits for the body, a store, an issuer, a limit or a function of
   * the application, and without the handler. Absent for `'response'` and `'end'`, which follow the
   * handler, and for a refusal that the application made itself.
   */
  readonly durationMs?: number | undefined
}

/**
 * A layer of the stack: `'request'` judges path, host and the head itself, `'clients'` the lists of
 * clients and users, `'authenticate'` tokens, API keys, `identify` and their revocation,
 * `'require'` what the route demands, and `'payload'` the body and the schemas of all parts.
 */
export type DecisionLayer =
  'request' | 'clients' | 'cors' | 'csrf' | 'authenticate' | 'require' | 'rateLimit' | 'policy' | 'payload'

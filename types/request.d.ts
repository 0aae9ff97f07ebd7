// Handlers, and what they are told of a request.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { GuardConfig } from './config'
import type { GuardError } from './errors'
import type { Guard } from './guard'
import type { Infer, Valid } from './schema'
import type { Algorithm } from './token'

/** A handler for Express 4, Express 5, Connect and plain `node:http`. */
export interface RequestHandler {
  (req: IncomingMessage, res: ServerResponse, next: Next): void
}

/** What a handler calls when the request may go on, or with the error that stops it. */
export type Next = (error?: any) => void

/** A handler behind which `req.body` is a `Body`. */
export interface BodyHandler<Body> {
  (req: IncomingMessage, res: ServerResponse, next: Next): void
  // Express takes the types of a route from the last overload.
  (req: IncomingMessage & { body: Body }, res: ServerResponse, next: Next): void
}

/** A handler that gives `req.body` its type where `S` has a schema for it. */
export type RouteHandler<S> = S extends { readonly body: infer B } ? BodyHandler<Infer<B>> : RequestHandler

/** What {@link Guard.validate} returns. */
export type ValidateHandler<S> = RouteHandler<S> & {
  /**
   * What this handler found valid on the request, converted and typed.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` when the request has not passed this very
   * handler.
   */
  valid(req: IncomingMessage): Valid<S>
}

/** What `req.guard` is. */
export interface RequestGuard {
  /** This request's id, also in log events. It is of this process, and not sent to the client. */
  readonly id: string
  /**
   * The client's address, as every layer sees it; IPv4 also where it came as IPv6. Empty on a Unix
   * socket whose proxy is not trusted.
   */
  readonly client: string
  /** The verified token, or `null`. */
  readonly token: VerifiedToken | null
  /** How the rate limits that are about this request stand after it. */
  readonly limits: readonly LimitState[]
  /** What the policy gave as reasons. */
  readonly reasons: readonly string[]
  /**
   * The nonce in this response's `Content-Security-Policy`, where the last decision about headers
   * has `csp.nonce` on.
   */
  readonly nonce?: string
}

/** What a verified token is, its claims apart: those are in `req.user`. */
export interface VerifiedToken {
  /** The token's id (RFC 7519 section 4.1.7). */
  readonly jti?: string
  /** When it expires, in seconds since the Unix epoch. */
  readonly exp: number
  /** When it was issued, in seconds since the Unix epoch. */
  readonly iat: number
  /** The key that verified it. */
  readonly kid?: string
  /** The algorithm of that key. */
  readonly alg: Algorithm
  /**
   * What it is bound to, where it is: a key whose proof was checked, the certificate of the
   * connection, or both.
   */
  readonly bound?: 'dpop' | 'mtls' | 'dpop+mtls'
}

/** One rate limit as a key stands to it. */
export interface LimitState {
  /** The policy's name. */
  readonly name: string
  /** How many units the key may use per window. */
  readonly limit: number
  /** How many units are left now. */
  readonly remaining: number
  /** In how many seconds more units come; 0 where all are there. */
  readonly reset: number
  /** Only of a limit with `onExceed: 'shadow'`: whether it would have refused the request. */
  readonly wouldRefuse?: boolean
}

/** One decided request, for {@link GuardConfig.log}. */
export interface DecisionEvent {
  /** When, as an ISO 8601 UTC time. */
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
   * What was decided. `'preflight'` is a CORS preflight that was answered here; `'response'` comes
   * after `'allow'` where the handler's answer was not as its schema says.
   */
  readonly outcome: 'allow' | 'refuse' | 'preflight' | 'response'
  /**
   * The status of a refusal, of a preflight's answer, or of the answer that was not as its schema
   * says.
   */
  readonly status?: number | undefined
  /** The code of a refusal, as in the problem document. */
  readonly code?: string | undefined
  /**
   * The name of the limit that refused: with `rate_limited`, and with `store_unavailable` where it
   * could not be counted and its `onStoreFailure` is `'closed'`. Of several, the first one in their
   * order.
   */
  readonly limit?: string | undefined
  /** The token's `sub`. */
  readonly user?: string | undefined
  /** What the policy gave as reasons. */
  readonly reasons: readonly string[]
  /**
   * The limits with `onExceed: 'shadow'` that would have refused the request, where the stack has
   * such limits.
   */
  readonly shadow?: readonly string[] | undefined
}

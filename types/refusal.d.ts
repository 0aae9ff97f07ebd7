// Refusals: the hook that shapes them, and refusals of the application's own.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Next } from './request'

/** A refused request, as its problem document says it, with the cause for the operator. */
export interface Refusal {
  /** The status, 400 to 599. */
  readonly status: number
  /** The stable code, from docs/reference/errors.md. */
  readonly code: string
  /** The status in words. */
  readonly title: string
  /** A sentence for the client. */
  readonly detail?: string
  /** The faults of an invalid request, at most 20; `truncated` if there were more. */
  readonly errors?: readonly { readonly in: string; readonly pointer: string; readonly code: string; readonly detail: string }[]
  readonly truncated?: boolean
  /** The name of the limit that refused; not for the client. */
  readonly limit?: string | undefined
  /** Why a token was refused, finer than `code`; not for the client. */
  readonly reason?: string | undefined
  /** Members that some codes add. */
  readonly [member: string]: unknown
}

/**
 * Answers a refused request in place of the guard. It must answer `res` or call `next`.
 *
 * The status and the guard's headers, such as `Retry-After` and `WWW-Authenticate`, are already set
 * on `res`. `next()` lets the guard answer; `next(error)` passes an error to the error handlers of
 * the application. The request never passes: `next('route')` becomes an error as well. If the
 * function throws or its promise rejects, the guard answers and warns once (`GUARD_FAULT`).
 */
export type OnRefuse = (refusal: Refusal, req: IncomingMessage & Record<string, any>, res: ServerResponse & Record<string, any>, next: Next) => unknown

/** The result of `guard.errors()`: an error handler of Express. */
export interface ErrorHandler {
  (error: any, req: IncomingMessage, res: ServerResponse, next: Next): void
}

import type { FastifyPluginAsync } from 'fastify'
import type { Guard, RequestGuard, RouteOptions } from 'keepstone'

declare module 'fastify' {
  interface FastifyRequest {
    /** The claims of the verified token; undefined without a token. */
    user?: Express.User | undefined
    /** The state of keepstone for this request; undefined on a route without keepstone. */
    guard?: RequestGuard | undefined
  }

  interface FastifyContextConfig {
    /**
     * The options of this route, as `guard.securityStack` takes them; `false` excludes the route.
     */
    keepstone?: RouteOptions | false
  }
}

/** Options of the plugin. */
export interface KeepstoneOptions {
  /** The guard that `createGuard` returned. */
  readonly guard: Guard
}

/** The error that Fastify's error handlers receive for a refused request. */
export declare class RequestRefused extends Error {
  private constructor()
  readonly name: 'RequestRefused'
  /** The status of the refusal. */
  readonly statusCode: number
  /** The code of the refusal, such as `token_expired`. */
  readonly code: string
  /** The problem document (RFC 9457), as text. */
  readonly problem: string
}

/**
 * Registers the whole stack of a guard on every route of an application, and on requests without a
 * matching route.
 *
 * ```ts
 * import Fastify from 'fastify'
 * import { createGuard } from 'keepstone'
 * import { keepstone } from 'keepstone/fastify'
 *
 * const app = Fastify()
 * await app.register(keepstone, { guard: createGuard() })
 * const config = { keepstone: { body: { type: 'object' } } } as const
 * app.post('/orders', { config }, async (request) => request.body)
 * ```
 *
 * Register it before the routes. The request is decided in `onRequest`, including its body.
 * Handlers read the checked body from `request.body` and the claims from `request.user`. A refusal
 * is an error, {@link RequestRefused}. If the application has no error handler, the error is sent
 * as its problem document.
 *
 * @throws {@link "keepstone".GuardError} `ERR_MISSING_OPTION` without `guard`. Adding a route
 *   throws as `guard.securityStack` does for its options.
 */
export declare const keepstone: FastifyPluginAsync<KeepstoneOptions>

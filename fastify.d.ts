import type { FastifyPluginAsync } from 'fastify'
import type { Guard, RequestGuard, RouteOptions } from 'keepstone'

declare module 'fastify' {
  interface FastifyRequest {
    /** The claims of the verified token; undefined where there is none. */
    user?: Express.User | undefined
    /** What keepstone knows of this request; undefined on a route without it. */
    guard?: RequestGuard | undefined
  }

  interface FastifyContextConfig {
    /**
     * The options of this route, as `guard.securityStack` takes them; `false` takes the route out.
     */
    keepstone?: RouteOptions | false
  }
}

/** Options of the plugin. */
export interface KeepstoneOptions {
  /** What `createGuard` has returned. */
  readonly guard: Guard
}

/** What Fastify's error handlers get of a request that is refused. */
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
 * The whole stack of a guard on every route of an application, and on requests that no route is
 * for.
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
 * Register it before the routes. The request is decided in `onRequest`, body included; handlers
 * find the checked body in `request.body`, the claims in `request.user`. A refusal is an error,
 * {@link RequestRefused}: without an error handler of the application it is sent as the problem
 * document.
 *
 * @throws {@link "keepstone".GuardError} `ERR_MISSING_OPTION` without `guard`; when a route is
 *   added, as `guard.securityStack` does for its options.
 */
export declare const keepstone: FastifyPluginAsync<KeepstoneOptions>
export default keepstone

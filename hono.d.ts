import type { Context, MiddlewareHandler } from 'hono'
import type { Guard, Infer, RequestGuard, RouteOptions } from 'keepstone'

/** What the middleware puts on the context, for `c.get`. `Body` is the type of the checked body. */
export interface KeepstoneVariables<Body = unknown> {
  /** The claims of the verified token; undefined where there is none. */
  user: Express.User | undefined
  /** What keepstone knows of this request. */
  guard: RequestGuard
  /** The parsed and checked body; undefined where none was read. */
  body: Body
}

/** The body that the schema of a route gives. */
export type BodyOf<R> = R extends { readonly body: infer B } ? Infer<B> : unknown

/** What the middleware can't find out itself. */
export interface KeepstoneOptions {
  /**
   * The address of the other end of the connection. Default: what @hono/node-server, Bun and Deno
   * give.
   */
  readonly address?: (c: Context) => string
}

/**
 * The whole stack of a guard as a middleware of Hono.
 *
 * ```ts
 * import { Hono } from 'hono'
 * import { createGuard } from 'keepstone'
 * import { keepstone } from 'keepstone/hono'
 *
 * const guard = createGuard()
 * const app = new Hono()
 * const body = { type: 'object', properties: { sku: { type: 'string' } } } as const
 * app.post('/orders', keepstone(guard, { body }), (c) => c.json(c.get('body'), 201))
 * ```
 *
 * @param guard what `createGuard` has returned.
 * @param route options of the routes it stands on, as `guard.securityStack` takes them. Left out:
 * the guard's own.
 * @param options what the server does not say.
 * @throws {@link "keepstone".GuardError} `ERR_MISSING_OPTION` without `guard`; otherwise as
 *   `guard.securityStack` does.
 */
export declare function keepstone<const R extends RouteOptions = RouteOptions>(
  guard: Guard,
  route?: R,
  options?: KeepstoneOptions
): MiddlewareHandler<{ Variables: KeepstoneVariables<BodyOf<R>> }>

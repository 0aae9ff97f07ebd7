import type { Context, MiddlewareHandler } from 'hono'
import type { Guard, RequestGuard, RequestHandler, RouteOptions, ValidBody } from 'keepstone'

/**
 * The variables that the middleware sets on the context, for `c.get`. `Body` is the type of the
 * checked body.
 */
export interface KeepstoneVariables<Body = unknown> {
  /** The claims of the verified token; undefined without a token. */
  user: Express.User | undefined
  /** The state of keepstone for this request. */
  guard: RequestGuard
  /** The parsed and checked body; undefined if no body was read. */
  body: Body
}

/** The body type that the schema and the files of a route yield. */
export type BodyOf<R> = ValidBody<R>

/** Facts that the middleware cannot find out by itself. */
export interface KeepstoneOptions {
  /**
   * The address of the other end of the connection. Default: the address that @hono/node-server,
   * Bun and Deno provide.
   */
  readonly address?: (c: Context) => string
}

/**
 * The whole stack of a guard as Hono middleware.
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
 * @param guard the guard that `createGuard` returned.
 * @param route options of the routes that it is mounted on, as `guard.securityStack` takes them.
 *   Left out: the guard's own.
 * @param options facts that the server does not provide.
 * @throws {@link "keepstone".GuardError} `ERR_MISSING_OPTION` without `guard`; otherwise as
 *   `guard.securityStack` does.
 */
export declare function keepstone<const R extends RouteOptions = RouteOptions>(
  guard: Guard,
  route?: R,
  options?: KeepstoneOptions
): MiddlewareHandler<{ Variables: KeepstoneVariables<BodyOf<R>> }>

/**
 * Layers of a guard as Hono middleware, such as its requirements behind the whole stack:
 * `app.use('/admin/*', keepstone(guard, guard.require({ role: 'admin' })))`. Only these layers run
 * here.
 *
 * @param layers the result of a layer of this guard or of `guard.securityStack`, one or a list.
 * @throws {@link "keepstone".GuardError} `ERR_INVALID_ARGUMENT` for anything else.
 */
export declare function keepstone(
  guard: Guard,
  layers: RequestHandler | readonly RequestHandler[],
  options?: KeepstoneOptions
): MiddlewareHandler<{ Variables: KeepstoneVariables }>

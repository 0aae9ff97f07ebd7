// Guards made of OpenAPI documents.

import type { IncomingMessage } from 'node:http'
import type { GuardError } from './errors'
import type { Guard } from './guard'
import type { RequestHandler } from './request'

/**
 * An OpenAPI document, as far as its shape matters here. Documents with types of their own fit it,
 * too.
 */
export interface OpenApiDocument {
  /** `3.0.x` or `3.1.x`. */
  readonly openapi: string
  /** Paths with their operations. */
  readonly paths?: object | undefined
  readonly components?: object | undefined
  readonly servers?: readonly object[] | undefined
  readonly security?: readonly object[] | undefined
}

/** Options of {@link Guard.fromOpenApi}. */
export interface OpenApiOptions {
  /**
   * What stands before every path of the document in the URLs that arrive (`req.originalUrl`): `''`
   * or `'/v1'`. Where an application mounts the handler under a path, that path is part of it;
   * where a gateway takes a path away, it is not.
   * @default the path of the document's `servers`, which must all have the same
   */
  readonly basePath?: string
  /**
   * What becomes of a request that no operation is about: it passes to the application, or is
   * refused with 404 `unknown_route` or 405 `method_not_allowed`. The first one outside of the base
   * path that passes gives the warning `GUARD_OPENAPI_OUTSIDE`. `OPTIONS` passes unless it is
   * described.
   * @default 'pass'
   */
  readonly unknown?: 'pass' | 'refuse'
  /**
   * What becomes of bodies and parameters of a form that is not read (`multipart/form-data`,
   * `deepObject`, objects as parameters or in forms): an error when the guard is built, or they
   * pass to the application unchecked, while everything else of the operation is checked. A query
   * with such a parameter is not checked at all.
   * @default 'refuse'
   */
  readonly unreadable?: 'refuse' | 'pass'
  /**
   * What becomes of members that a body (at its top) or a query does not declare, where the
   * document says nothing of `additionalProperties`: refused with 422, or accepted, as JSON Schema
   * has it.
   * @default 'refuse'
   */
  readonly undeclared?: 'refuse' | 'accept'
  /**
   * What becomes of JSON answers that are not as the document says, by the schema of their status.
   * `'strip'`: members that no schema declares, and `writeOnly` ones, are dropped, and what is
   * wrong otherwise becomes a 500; `'fail'`: both become a 500; `'warn'`: they are sent and told.
   * Without it the document's `responses` are not looked at.
   */
  readonly responses?: 'strip' | 'warn' | 'fail'
  /**
   * Names of formats that are not checked. A format that is neither known nor named here is an
   * error.
   */
  readonly ignoreFormats?: readonly string[]
  /**
   * How security schemes are carried out, by name. Bearer tokens, OAuth 2 and OpenID Connect need
   * no entry: they are tokens of the guard. API keys, other HTTP schemes and mutual TLS need one.
   * `'token'`: a token that the guard verifies; `false`: it is checked elsewhere, and nothing is
   * asked here.
   */
  readonly security?: { readonly [scheme: string]: SecurityFunction | 'token' | false }
}

/**
 * Says whether a request meets a security scheme. Only `true`, or a promise of it, is a yes. What
 * it throws refuses the request with 500.
 */
export type SecurityFunction = (req: IncomingMessage, demand: SecurityDemand) => boolean | Promise<boolean>

/** What a {@link SecurityFunction} is asked about. */
export interface SecurityDemand {
  /** The name of the scheme in the document. */
  readonly scheme: string
  /** The scopes or roles that the operation lists for it. */
  readonly scopes: readonly string[]
  /** The operation. */
  readonly operation: OpenApiOperation
}

/** What {@link Guard.fromOpenApi} gives. */
export interface OpenApiGuard {
  /**
   * Guards the whole API: `app.use(api.handler)`. It finds the operation by method and canonical
   * path, asks for what its `security` demands (401, 403), then checks parameters and body (400,
   * 413, 415, 422). Literal text of a path is compared as it was sent, values are decoded.
   * `req.body` is the parsed body; `req.params` and `req.query` are left alone, see {@link
   * OpenApiGuard.valid}.
   */
  readonly handler: RequestHandler
  /**
   * The same for one operation, on a route of your own: `app.get('/users/:id',
   * ...api.stack('getUser'), handler)`. The path is the route's affair, and its parameters must
   * have the names that the document has.
   *
   * @param operation its `operationId`, or method and path: `'GET /users/{id}'`.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` with a did-you-mean where there is none.
   */
  stack(operation: string): RequestHandler[]
  /**
   * What was found valid on the request, converted, with defaults filled in. A part without a
   * schema is not there.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` when the request is about no operation of
   * this document.
   */
  valid(req: IncomingMessage): OpenApiValid
  /** The operations of the document. */
  readonly operations: readonly OpenApiOperation[]
}

/** An operation of a document. */
export interface OpenApiOperation {
  readonly operationId?: string
  /** In upper case. */
  readonly method: string
  /** As the document has it. */
  readonly path: string
}

/** What {@link OpenApiGuard.valid} gives. */
export interface OpenApiValid {
  /** What the request is about. */
  readonly operation: OpenApiOperation
  readonly body?: any
  readonly query?: Record<string, any>
  readonly params?: Record<string, any>
  /** The headers that the operation declares, by lower-case name. */
  readonly headers?: Record<string, any>
  /** The cookies that the operation declares. */
  readonly cookies?: Record<string, any>
}

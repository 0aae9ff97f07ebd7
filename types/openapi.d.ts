// Guards built from OpenAPI documents.

import type { IncomingMessage } from 'node:http'
import type { GuardError } from './errors'
import type { Guard } from './guard'
import type { RequestHandler } from './request'

/**
 * The parts of an OpenAPI document that matter here. Documents with types of their own fit it, too.
 */
export interface OpenApiDocument {
  /** `3.0.x`, `3.1.x` or `3.2.x`. */
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
   * The prefix of every path of the document in incoming URLs (`req.originalUrl`): `''` or `'/v1'`.
   * It includes the path under which an application mounts the handler. It excludes a path that a
   * gateway strips.
   * @default the path of the document's `servers`, which must be the same in all of them
   */
  readonly basePath?: string
  /**
   * The handling of a request that matches no operation: it passes to the application, or is
   * refused with 404 `unknown_route` or 405 `method_not_allowed`. The first request outside of the
   * base path that passes emits the warning `GUARD_OPENAPI_OUTSIDE`. `OPTIONS` passes unless the
   * document describes it.
   * @default 'pass'
   */
  readonly unknown?: 'pass' | 'refuse'
  /**
   * The handling of bodies and parameters in formats that are not read (`multipart/form-data`,
   * `text/plain`, parameters whose members are objects outside of `deepObject`): an error when the
   * guard is built, or they pass to the application unchecked while everything else of the
   * operation
   * is checked. A query with such a parameter is not checked at all.
   * @default 'refuse'
   */
  readonly unreadable?: 'refuse' | 'pass'
  /**
   * The handling of members that a body (at its top) or a query does not declare, if the document
   * has no `additionalProperties` for them: refused with 422, or accepted, as JSON Schema does.
   * @default 'refuse'
   */
  readonly undeclared?: 'refuse' | 'accept'
  /**
   * The handling of JSON answers that do not match the document's schema for their status.
   * `'strip'`: undeclared and `writeOnly` members are dropped, and any other mismatch becomes a
   * 500. `'fail'`: both become a 500. `'warn'`: they are sent and reported. Without this option the
   * document's `responses` are ignored.
   */
  readonly responses?: 'strip' | 'warn' | 'fail'
  /**
   * Names of formats that are not checked. A format that is neither supported nor named here is an
   * error.
   */
  readonly ignoreFormats?: readonly string[]
  /**
   * Patterns that are not checked, as the document writes them. A pattern that is invalid, or can't
   * be checked in linear time, is an error unless it is named here.
   */
  readonly ignorePatterns?: readonly string[]
  /**
   * Operations that are left out, by `operationId` or `METHOD /path`. Their faults are ignored. A
   * request for one of them is handled as `unknown` defines: with `'pass'` it reaches the
   * application unchecked, without `security` too. A name that no operation has is an error.
   */
  readonly skip?: readonly string[]
  /**
   * Exceptions from the specification that the document needs, by name. Each is an error otherwise.
   *
   * @default []
   */
  readonly tolerate?: readonly OpenApiTolerance[]
  /**
   * The check of each security scheme, by its name. Bearer tokens, OAuth 2 and OpenID Connect need
   * no entry: they are tokens of the guard. API keys, other HTTP schemes and mutual TLS need one.
   * `'token'`: a token that the guard verifies. `false`: it is checked elsewhere, and nothing is
   * checked here.
   */
  readonly security?: { readonly [scheme: string]: SecurityFunction | 'token' | false }
}

/**
 * An exception from the specification.
 *
 * - `'unknown-fields'`: fields that OpenAPI does not define are ignored, so a misspelt one is not
 *   found.
 * - `'unknown-keywords'`: the same for keywords of schemas.
 * - `'nullable'`: `nullable: true` accepts `null` wherever it stands: in 3.1, beside `$ref`,
 *   without
 *   `type`, beside an `enum` without `null`.
 * - `'ref-siblings'`: keywords beside `$ref` in 3.0 are ignored, as 3.0 defines it. `readOnly` and
 *   `writeOnly` there are not enforced.
 * - `'path-queries'`: a query at the end of a path (`/messages?beta=true`) selects the operation
 *   among
 *   those of the same path.
 * - `'path-fragments'`: a fragment at the end of a path is cut off. Of operations that are the same
 *   then, the one without a fragment counts, or the first one.
 * - `'path-parameters'`: a parameter of a path that is not described is not checked, one that the
 *   path
 *   does not have is ignored, and `required: true` may be absent.
 * - `'operation-ids'`: the second operation of one `operationId` is known by its method and path.
 * - `'defaults'`: a default that does not match its own schema is not filled in.
 */
export type OpenApiTolerance =
  | 'unknown-fields'
  | 'unknown-keywords'
  | 'nullable'
  | 'ref-siblings'
  | 'path-queries'
  | 'path-fragments'
  | 'path-parameters'
  | 'operation-ids'
  | 'defaults'

/**
 * Returns whether a request meets a security scheme. Only `true`, or a promise of it, accepts the
 * request. If it throws, the request is refused with 500.
 */
export type SecurityFunction = (req: IncomingMessage, demand: SecurityDemand) => boolean | Promise<boolean>

/** The requirement that a {@link SecurityFunction} checks. */
export interface SecurityDemand {
  /** The name of the scheme in the document. */
  readonly scheme: string
  /** The scopes or roles that the operation lists for it. */
  readonly scopes: readonly string[]
  /** The operation. */
  readonly operation: OpenApiOperation
}

/** The result of {@link Guard.fromOpenApi}. */
export interface OpenApiGuard {
  /**
   * Guards the whole API: `app.use(api.handler)`. It finds the operation by method and canonical
   * path, checks its `security` (401, 403), then parameters and body (400, 413, 415, 422). Literal
   * text of a path is compared as sent, values are decoded. `req.body` is the parsed body;
   * `req.params` and `req.query` are not changed, see {@link OpenApiGuard.valid}.
   */
  readonly handler: RequestHandler
  /**
   * The same for one operation, on a route of your own:
   * `app.get('/users/:id', ...api.stack('getUser'), handler)`. The route matches the path, and its
   * parameters must have the document's names.
   *
   * @param operation its `operationId`, or method and path: `'GET /users/{id}'`.
   * @throws {@link GuardError} `ERR_INVALID_OPTION` with a did-you-mean for an unknown operation.
   */
  stack(operation: string): RequestHandler[]
  /**
   * The valid values of the request, converted, with defaults filled in. A part without a schema is
   * absent.
   *
   * @throws {@link GuardError} `ERR_INVALID_ARGUMENT` if the request matches no operation of this
   *   document.
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
  /** As in the document. */
  readonly path: string
}

/** The result of {@link OpenApiGuard.valid}. */
export interface OpenApiValid {
  /** The operation that the request matches. */
  readonly operation: OpenApiOperation
  readonly body?: any
  readonly query?: Record<string, any>
  readonly params?: Record<string, any>
  /** The headers that the operation declares, by lower-case name. */
  readonly headers?: Record<string, any>
  /** The cookies that the operation declares. */
  readonly cookies?: Record<string, any>
}

/** Options of {@link Guard.toOpenApi}. */
export interface ToOpenApiOptions {
  /** The title and the version of the API, and what else OpenAPI has for them. */
  readonly info: OpenApiInfo
  /** The `servers` of the document. */
  readonly servers?: readonly object[]
  /** The `tags` of the document. */
  readonly tags?: readonly object[]
  /** The `externalDocs` of the document. */
  readonly externalDocs?: object
  /**
   * The version of OpenAPI: 3.1.x or 3.2.x. Schemas of older versions are no JSON Schema.
   * @default '3.1.0'
   */
  readonly version?: `3.1.${number}` | `3.2.${number}`
  /**
   * Texts of operations, by `METHOD /path/{id}`. Everything else is what the layers declare. A name
   * that no protected route has is an error.
   */
  readonly operations?: Readonly<Record<string, OpenApiTexts>>
  /**
   * Routers and applications of Express by the path where they are mounted, from the root. The
   * path of a router can't be read from Express 5, and a mounted application from no version.
   */
  readonly mounts?: Readonly<Record<string, (...args: any[]) => any>>
  /**
   * Receives each rule of the guard that the document does not have. Without it, one warning
   * `GUARD_OPENAPI_OMITTED` names the first of them.
   */
  readonly onOmission?: (omission: OpenApiOmission) => void
}

/** The `info` of a document. */
export interface OpenApiInfo {
  readonly title: string
  readonly version: string
  readonly summary?: string
  readonly description?: string
  readonly termsOfService?: string
  readonly contact?: object
  readonly license?: object
}

/** Texts about an operation, for its readers. */
export interface OpenApiTexts {
  readonly operationId?: string
  readonly summary?: string
  readonly description?: string
  readonly tags?: readonly string[]
  readonly deprecated?: boolean
  readonly externalDocs?: object
}

/** A rule of the guard that a document does not have. */
export interface OpenApiOmission {
  /** `METHOD /path` of the route, or of what holds it. */
  readonly operation: string
  /** The rule, such as `` body: the format `iban`, which is a function ``. */
  readonly problem: string
}

/** A route for {@link Guard.toOpenApi}, where it can't be read from the framework. */
export interface OpenApiRoute {
  readonly method: string
  /** `/users/:id` or `/users/{id}`. */
  readonly path: string
  /** The layers and stacks of the guard on its way; other handlers are ignored. */
  readonly handlers: readonly unknown[]
}

/** A document that {@link Guard.toOpenApi} has made. */
export interface OpenApiDescription {
  readonly openapi: string
  readonly info: OpenApiInfo
  readonly paths: Record<string, any>
  readonly components: Record<string, any>
  readonly servers?: object[]
  readonly tags?: object[]
  readonly externalDocs?: object
}

// The exports of the package. The types are in types/, one file for each layer.

import * as check from './types/check'
import * as clients from './types/clients'
import * as config from './types/config'
import * as cors from './types/cors'
import * as csrf from './types/csrf'
import * as errors from './types/errors'
import * as guards from './types/guard'
import * as headers from './types/headers'
import * as identities from './types/identity'
import * as limit from './types/limit'
import * as openapi from './types/openapi'
import * as operations from './types/operations'
import * as payload from './types/payload'
import * as policy from './types/policy'
import * as provider from './types/providers'
import * as refusals from './types/refusal'
import * as request from './types/request'
import * as schema from './types/schema'
import * as sessions from './types/sessions'
import * as token from './types/token'

declare global {
  namespace Express {
    /**
     * The verified claims of a request. Add your own claims by declaration merging:
     *
     * ```ts
     * declare global { namespace Express { interface User { sub: string; roles: string[] } } }
     * ```
     */
    interface User {}

    interface Request {
      /**
       * The claims of the verified identity, of a token or another; `undefined` for an anonymous
       * request. Same declaration as passport's.
       */
      user?: User | undefined
      /**
       * The state of keepstone for this request; set by the first keepstone layer that handles it.
       */
      guard?: guard.RequestGuard | undefined
    }
  }
}

/**
 * Security layers for a Node.js API, decided by one native core.
 *
 * ```ts
 * import { createGuard } from 'keepstone'
 *
 * const guard = createGuard({ rateLimit: { name: 'api', limit: 100, window: '60s' } })
 * app.use(guard.securityStack())
 * ```
 */
declare namespace guard {
  /**
   * Checks the whole configuration and builds a guard. A request never meets an unchecked option.
   *
   * @param config every layer's options; `{}` gives headers, a rate limit of 100 requests per 60 s
   * and client address, and body limits, without CORS, tokens or policy.
   * @returns the guard; it holds no handle that keeps the process alive.
   * @throws {@link GuardError} with a {@link ConfigErrorCode}, the option's `path` and a
   * `suggestion`: for an unknown key, a value of the wrong type or out of range, a missing or
   * contradicting option, a weak secret or key, a schema that can't be compiled, a policy that
   * can't be loaded.
   */
  export function createGuard(config?: GuardConfig): Guard

  /**
   * Shorthand for `createGuard(config).securityStack()`.
   *
   * @returns a handler with all layers in their fixed order, for `app.use(securityStack(config))`.
   * @throws {@link GuardError} as {@link createGuard} does.
   */
  export function securityStack(config?: GuardConfig): SecurityStack<{}>

  /**
   * Options of an issuer for common identity providers, from a name and one or two facts. They are
   * plain: print them, and spread them to add or replace one.
   */
  export const providers: Readonly<provider.Providers>

  export import Guard = guards.Guard
  export import RouteDemands = guards.RouteDemands
  export import ClaimValue = guards.ClaimValue

  export import CheckRequest = check.CheckRequest
  export import CheckResult = check.CheckResult
  export import CheckPass = check.CheckPass
  export import CheckRefusal = check.CheckRefusal
  export import CheckedResponse = check.CheckedResponse

  export import Duration = config.Duration
  export import Size = config.Size
  export import FromRequest = config.FromRequest
  export import GuardConfig = config.GuardConfig
  export import PublicPath = config.PublicPath
  export import RouteOptions = config.RouteOptions
  export import PathsOptions = config.PathsOptions
  export import StoreOptions = config.StoreOptions
  export import RedisStoreOptions = config.RedisStoreOptions
  export import MemcachedStoreOptions = config.MemcachedStoreOptions
  export import MemoryStoreOptions = config.MemoryStoreOptions
  export import RevocationOptions = config.RevocationOptions

  export import HeadersOptions = headers.HeadersOptions
  export import RouteHeadersOptions = headers.RouteHeadersOptions
  export import CspOptions = headers.CspOptions
  export import HstsOptions = headers.HstsOptions
  export import ReferrerPolicy = headers.ReferrerPolicy

  export import Identify = identities.Identify
  export import IdentifyOptions = identities.IdentifyOptions
  export import IdentityClaims = identities.IdentityClaims
  export import ApiKeyOptions = identities.ApiKeyOptions
  export import ApiKeyRecord = identities.ApiKeyRecord
  export import ApiKeys = identities.ApiKeys
  export import NewApiKey = identities.NewApiKey
  export import NewApiKeyOptions = identities.NewApiKeyOptions
  export import RequestIdentity = identities.RequestIdentity

  export import CorsOptions = cors.CorsOptions

  export import CsrfOptions = csrf.CsrfOptions

  export import ClientsOptions = clients.ClientsOptions

  export import RateLimit = limit.RateLimit
  export import RateLimitHeaders = limit.RateLimitHeaders
  export import RateLimitPolicy = limit.RateLimitPolicy
  export import ConcurrencyLimit = limit.ConcurrencyLimit
  export import ConcurrencyTier = limit.ConcurrencyTier
  export import RateLimitTier = limit.RateLimitTier
  export import KeyFunction = limit.KeyFunction
  export import RateLimitKey = limit.RateLimitKey

  export import JwtOptions = token.JwtOptions
  export import JwtIssuer = token.JwtIssuer
  export import JwtIssuers = token.JwtIssuers
  export import IssuerOptions = token.IssuerOptions
  export import IssuerName = token.IssuerName
  export import IssuerRules = token.IssuerRules
  export import JwtClaimsOptions = token.JwtClaimsOptions
  export import RefreshOptions = token.RefreshOptions
  export import RotationOptions = token.RotationOptions
  export import KeyStorage = token.KeyStorage
  export import TokenSource = token.TokenSource
  export import DpopNonceOptions = token.DpopNonceOptions
  export import JwtKeySource = token.JwtKeySource
  export import JwtKeysAnywhere = token.JwtKeysAnywhere
  export import JwtIntrospection = token.JwtIntrospection
  export import IntrospectionOptions = token.IntrospectionOptions
  export import IntrospectionClient = token.IntrospectionClient
  export import IntrospectionHeaders = token.IntrospectionHeaders
  export import IntrospectionRules = token.IntrospectionRules
  export import JwtKeys = token.JwtKeys
  export import JwtKeysAtUrl = token.JwtKeysAtUrl
  export import Algorithm = token.Algorithm
  export import KeyInput = token.KeyInput
  export import Jwk = token.Jwk
  export import JwkSet = token.JwkSet
  export import JwksSource = token.JwksSource
  export import Providers = provider.Providers
  export import ProviderIssuer = provider.ProviderIssuer
  export import ProxyIssuer = provider.ProxyIssuer

  export import AuthenticateOptions = token.AuthenticateOptions

  export import PayloadOptions = payload.PayloadOptions
  export import RoutePayloadOptions = payload.RoutePayloadOptions
  export import FileField = payload.FileField
  export import FileFacts = payload.FileFacts
  export import IncomingFile = payload.IncomingFile
  export import UploadedFile = payload.UploadedFile
  export import StoredFile = payload.StoredFile

  export import PolicyOptions = policy.PolicyOptions
  export import PolicyLimits = policy.PolicyLimits
  export import AuthorizeOptions = policy.AuthorizeOptions
  export import PolicyResource = policy.PolicyResource
  export import ResourceFunction = policy.ResourceFunction

  export import OpenApiDocument = openapi.OpenApiDocument
  export import OpenApiOptions = openapi.OpenApiOptions
  export import OpenApiTolerance = openapi.OpenApiTolerance
  export import SecurityFunction = openapi.SecurityFunction
  export import SecurityDemand = openapi.SecurityDemand
  export import OpenApiGuard = openapi.OpenApiGuard
  export import OpenApiOperation = openapi.OpenApiOperation
  export import OpenApiValid = openapi.OpenApiValid
  export import ToOpenApiOptions = openapi.ToOpenApiOptions
  export import OpenApiInfo = openapi.OpenApiInfo
  export import OpenApiTexts = openapi.OpenApiTexts
  export import OpenApiOmission = openapi.OpenApiOmission
  export import OpenApiRoute = openapi.OpenApiRoute
  export import OpenApiDescription = openapi.OpenApiDescription

  export import RequestHandler = request.RequestHandler
  export import Next = request.Next
  export import BodyHandler = request.BodyHandler
  export import Refusal = refusals.Refusal
  export import OnRefuse = refusals.OnRefuse
  export import ErrorHandler = refusals.ErrorHandler
  export import RouteHandler = request.RouteHandler
  export import SecurityStack = request.SecurityStack
  export import ValidateHandler = request.ValidateHandler
  export import RequestGuard = request.RequestGuard
  export import VerifiedToken = request.VerifiedToken
  export import LimitState = request.LimitState
  export import DecisionEvent = request.DecisionEvent
  export import DecisionLayer = request.DecisionLayer

  export import Limits = operations.Limits
  export import KeyState = operations.KeyState
  export import ClientRef = operations.ClientRef
  export import SignalRef = operations.SignalRef
  export import SignalOptions = operations.SignalOptions
  export import LimitChange = operations.LimitChange
  export import ConcurrencyLimitChange = operations.ConcurrencyLimitChange
  export import RateLimitChange = operations.RateLimitChange
  export import LimitKey = operations.LimitKey
  export import IssueClaims = operations.IssueClaims
  export import IssueOptions = operations.IssueOptions
  export import RefreshTokenOptions = operations.RefreshTokenOptions
  export import IssuedToken = operations.IssuedToken
  export import Claims = operations.Claims
  export import Tokens = operations.Tokens
  export import Revoke = operations.Revoke
  export import RevokeOptions = operations.RevokeOptions
  export import Sessions = sessions.Sessions
  export import SessionsOptions = sessions.SessionsOptions
  export import SessionStartOptions = sessions.SessionStartOptions
  export import StartedSession = sessions.StartedSession
  export import SessionRequest = sessions.SessionRequest
  export import SessionResponse = sessions.SessionResponse
  export import Policy = operations.Policy
  export import PolicyDecision = operations.PolicyDecision
  export import HealthReport = operations.HealthReport
  export import IssuerHealth = operations.IssuerHealth
  export import IntrospectionHealth = operations.IntrospectionHealth
  export import StoreError = operations.StoreError
  export import RevocationCounts = operations.RevocationCounts

  export import RequestSchemas = schema.RequestSchemas
  export import ValidateOptions = schema.ValidateOptions
  export import Schema = schema.Schema
  export import JsonSchema = schema.JsonSchema
  export import JsonTypeName = schema.JsonTypeName
  export import StandardSchema = schema.StandardSchema
  export import Valid = schema.Valid
  export import ValidBody = schema.ValidBody
  export import Infer = schema.Infer
  export import FromSchema = schema.FromSchema

  export import GuardError = errors.GuardError
  export import GuardErrorCode = errors.GuardErrorCode
  export import ConfigErrorCode = errors.ConfigErrorCode
  export import DocumentFault = errors.DocumentFault
  export import TokenErrorCode = errors.TokenErrorCode
  export import OperationErrorCode = errors.OperationErrorCode

  export { guard as default }
}

export = guard

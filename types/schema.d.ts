// Schemas of requests and answers, and the types that they stand for.

import type { Guard } from './guard'
import type { PayloadOptions } from './payload'

/**
 * Schemas for the parts of a request. A part without a schema is not checked; one that is
 * `undefined` throws.
 */
export interface RequestSchemas {
  /**
   * The body: JSON, or a form where `payload.types` has it. Where a JSON Schema says nothing of
   * `additionalProperties` at its top, members that it does not declare are refused;
   * `additionalProperties: true` lets them pass. A zod schema does with them as zod does.
   */
  readonly body?: Schema
  /**
   * The query string, read by keepstone itself, alike on Express 4 and 5; `req.query` stays as it
   * is. Text is converted to the declared type; undeclared names are refused, and so is a name
   * twice unless it is a list.
   */
  readonly query?: Schema
  /**
   * The route's parameters, where the handler is mounted on the route. Text is converted to the
   * declared type.
   */
  readonly params?: Schema
  /**
   * The request headers, by lower-case name. Headers that are not declared pass and are not in
   * `.valid(req)`.
   */
  readonly headers?: Schema
  /**
   * The cookies, by name. Cookies that are not declared pass and are not in `.valid(req)`; one
   * twice is refused.
   */
  readonly cookies?: Schema
  /**
   * Schemas of the handler's JSON answers, by status (`200`), class (`'2xx'`) or `default`. An
   * answer that is sent in one piece (`res.json`, `res.send`, `res.end`) is judged before it
   * leaves; at every depth an object with `properties` is closed unless it says
   * `additionalProperties: true`. Streams, other media types and statuses without a schema leave as
   * they are. A library's schema must have Standard JSON Schema; its output is what is judged.
   */
  readonly response?: Readonly<Record<number | string, Schema>>
  /**
   * What becomes of an answer that is not as its schema says. `'strip'` drops undeclared members,
   * and sends 500 `response_mismatch` in the place of an answer that is wrong otherwise; `'fail'`
   * sends the 500 for both; `'warn'` sends the answer. All three tell `log` (`outcome: 'response'`)
   * and once the warning `GUARD_RESPONSE`, but for members that were dropped.
   * @default 'strip'
   */
  readonly onResponse?: 'strip' | 'warn' | 'fail'
}

/** What {@link Guard.validate} takes. */
export interface ValidateOptions extends RequestSchemas {
  /**
   * Narrows the guard's `payload` on these routes; `false` leaves the body to the application,
   * while the other parts are still checked. It contradicts a `body` schema. What `payload` says of
   * schemas is of the guard alone.
   */
  readonly payload?: PayloadOptions | false
}

/**
 * A JSON Schema, a TypeBox schema, or a schema of a library with Standard Schema, such as zod 4,
 * valibot, arktype and joi.
 */
export type Schema = JsonSchema | StandardSchema

/**
 * A JSON Schema. Only what types are inferred from is listed; every keyword of the draft may be
 * written. `undefined` is here for the types of other libraries: a keyword that is undefined
 * throws.
 */
export interface JsonSchema {
  readonly $schema?: string | undefined
  readonly $ref?: string | undefined
  readonly type?: JsonTypeName | readonly JsonTypeName[] | undefined
  readonly const?: unknown
  readonly enum?: readonly unknown[] | undefined
  readonly properties?: object | undefined
  readonly required?: readonly string[] | undefined
  readonly additionalProperties?: unknown
  readonly patternProperties?: object | undefined
  readonly items?: unknown
  readonly prefixItems?: readonly unknown[] | undefined
  readonly anyOf?: readonly unknown[] | undefined
  readonly oneOf?: readonly unknown[] | undefined
  readonly allOf?: readonly unknown[] | undefined
  /** Takes white space off both ends of a string, as JavaScript's `trim`, before it is checked. */
  readonly 'x-trim'?: boolean | undefined
  /** Composes characters (Unicode NFC) before a string is checked. */
  readonly 'x-nfc'?: boolean | undefined
  /** Puts a string into lower case before it is checked. */
  readonly 'x-lowercase'?: boolean | undefined
  /** Trims an address and puts its domain into lower case before it is checked. */
  readonly 'x-normalize-email'?: boolean | undefined
  /**
   * At the top of a schema: `'backtracking'` lets each `pattern` (not the keys of
   * `patternProperties`) use look-around and backreferences. A match that takes too many steps
   * back, by itself or with the others of the document, is given up, and the document refused. A
   * look-around under a quantifier may hold no quantifier of its own but small ones.
   */
  readonly 'x-regex'?: 'linear' | 'backtracking' | undefined
}

/** A JSON Schema type name. */
export type JsonTypeName = keyof JsonTypes

/** A schema of a library that implements Standard Schema (version 1). */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

/** What passes the schemas `S`, part by part. */
export type Valid<S> = { -readonly [Part in keyof S & ('body' | 'query' | 'params' | 'headers')]: Infer<S[Part]> }

/** What passes the schema `T`. */
export type Infer<T> = T extends { readonly '~standard': { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly output: infer Output }
    ? Output
    : unknown
  : FromSchema<T>

/**
 * What passes the JSON Schema `S`, as far as TypeScript can say it: `type`, `const`, `enum`,
 * `properties`, `required`, `items`, `prefixItems`, `additionalProperties`, `patternProperties`,
 * `anyOf`, `oneOf` and `allOf`. Other keywords, `$ref` among them, leave the type as it is. TypeBox
 * schemas are JSON Schemas.
 */
export type FromSchema<S> = [S] extends [false]
  ? never
  : S extends { readonly const: infer Value }
    ? Value
    : S extends { readonly enum: readonly (infer Value)[] }
      ? Value
      : FromType<S> & FromAnyOf<S> & FromAllOf<S>

/** What the simple type names stand for. */
interface JsonTypes {
  string: string
  number: number
  integer: number
  boolean: boolean
  null: null
  array: unknown[]
  object: { [member: string]: unknown }
}

type FromType<S> = S extends { readonly type: readonly (infer Name)[] }
  ? FromTypeName<S, Name>
  : S extends { readonly type: infer Name }
    ? FromTypeName<S, Name>
    : S extends { readonly properties: object }
      ? FromObject<S>
      : unknown

type FromTypeName<S, Name> = Name extends 'object'
  ? FromObject<S>
  : Name extends 'array'
    ? FromArray<S>
    : Name extends JsonTypeName
      ? JsonTypes[Name]
      : unknown

type FromObject<S> = S extends { readonly properties: infer Properties }
  ? Flat<
      { -readonly [Key in keyof Properties as Key extends RequiredKey<S> ? Key : never]: FromSchema<Properties[Key]> } & {
        -readonly [Key in keyof Properties as Key extends RequiredKey<S> ? never : Key]?: FromSchema<Properties[Key]>
      } & FromAdditional<S>
    >
  : S extends { readonly patternProperties: infer Patterns }
    ? { [member: string]: FromSchema<Patterns[keyof Patterns]> }
    : S extends { readonly additionalProperties: infer Additional extends object }
      ? { [member: string]: FromSchema<Additional> }
      : { [member: string]: unknown }

type FromAdditional<S> = S extends { readonly additionalProperties: true | object }
  ? { [member: string]: unknown }
  : unknown

/** TypeBox marks the optional members, JSON Schema lists the required ones. */
type RequiredKey<S> = S extends { readonly '~kind': unknown; readonly properties: infer Properties }
  ? { [Key in keyof Properties]: Properties[Key] extends { readonly '~optional': true } ? never : Key }[keyof Properties]
  : S extends { readonly required: readonly (infer Key)[] }
    ? Key
    : never

type FromArray<S> = S extends { readonly prefixItems: infer Items extends readonly unknown[] }
  ? [...FromTuple<Items>, ...(S extends { readonly items: infer Rest } ? FromSchema<Rest>[] : unknown[])]
  : S extends { readonly items: infer Items extends readonly unknown[] }
    ? FromTuple<Items>
    : S extends { readonly items: infer Item }
      ? FromSchema<Item>[]
      : unknown[]

type FromTuple<Items extends readonly unknown[]> = { -readonly [Index in keyof Items]: FromSchema<Items[Index]> }

type FromAnyOf<S> = S extends { readonly anyOf: readonly (infer Branch)[] }
  ? FromBranch<Branch>
  : S extends { readonly oneOf: readonly (infer Branch)[] }
    ? FromBranch<Branch>
    : unknown

type FromBranch<Branch> = Branch extends unknown ? FromSchema<Branch> : never

type FromAllOf<S> = S extends { readonly allOf: readonly [infer First, ...infer Rest] }
  ? FromSchema<First> & FromAllOf<{ readonly allOf: Rest }>
  : unknown

type Flat<T> = { [Key in keyof T]: T[Key] }

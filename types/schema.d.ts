// Schemas of requests and answers, and the TypeScript types inferred from them.

import type { Guard } from './guard'
import type { FileField, IncomingFile, RoutePayloadOptions, StoredFile, UploadedFile } from './payload'

/**
 * Schemas for the parts of a request. A part without a schema is not checked; a schema that is
 * `undefined` throws.
 */
export interface RequestSchemas {
  /**
   * The body: JSON, or a form if `payload.types` includes it. If a JSON Schema has no
   * `additionalProperties` at its top, undeclared members are refused; `additionalProperties: true`
   * accepts them. With a zod schema, zod decides.
   */
  readonly body?: Schema
  /**
   * The query string, parsed by keepstone itself in the same way on Express 4 and 5; `req.query` is
   * not changed. Text is converted to the declared type. Undeclared names are refused, and so are
   * repeated names unless declared as a list.
   */
  readonly query?: Schema
  /**
   * The route's parameters, if the handler is mounted on the route. Text is converted to the
   * declared type.
   */
  readonly params?: Schema
  /**
   * The request headers, by lower-case name. Undeclared headers pass and are not in `.valid(req)`.
   */
  readonly headers?: Schema
  /**
   * The cookies, by name. Undeclared cookies pass and are not in `.valid(req)`; a repeated cookie
   * is refused.
   */
  readonly cookies?: Schema
  /**
   * Schemas of the handler's JSON answers, by status (`200`), class (`'2xx'`) or `default`. An
   * answer sent in one piece (`res.json`, `res.send`, `res.end`) is checked before it is sent. At
   * every depth, an object with `properties` is closed unless it has `additionalProperties: true`.
   * Streams, other media types and statuses without a schema are sent unchecked. A library's schema
   * must have Standard JSON Schema; its output is checked.
   */
  readonly response?: Readonly<Record<number | string, Schema>>
  /**
   * The handling of an answer that does not match its schema.
   *
   * 1. `'strip'` drops undeclared members, and replaces an answer with any other mismatch by 500
   *    `response_mismatch`.
   * 2. `'fail'` sends the 500 for both.
   * 3. `'warn'` sends the answer.
   *
   * All three report the mismatch to `log` (`outcome: 'response'`) and once as the warning
   * `GUARD_RESPONSE`, except for dropped members.
   * @default 'strip'
   */
  readonly onResponse?: 'strip' | 'warn' | 'fail'
}

/** Options of {@link Guard.validate}. */
export interface ValidateOptions extends RequestSchemas {
  /**
   * Narrows the guard's `payload` on these routes; its options for schemas can be set only on the
   * guard. `false` leaves the body to the application, while the other parts are still checked. It
   * contradicts a `body` schema.
   */
  readonly payload?: RoutePayloadOptions | false
}

/**
 * A JSON Schema, a TypeBox schema, or a schema of a library with Standard Schema, such as zod 4,
 * valibot, arktype and joi.
 */
export type Schema = JsonSchema | StandardSchema

/**
 * A JSON Schema. Only keywords used for type inference are listed; every keyword of the draft is
 * allowed. `undefined` is allowed here for the types of other libraries: a keyword that is
 * undefined throws.
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
  /** Removes white space at both ends of a string, as JavaScript's `trim`, before it is checked. */
  readonly 'x-trim'?: boolean | undefined
  /** Normalizes a string (Unicode NFC) before it is checked. */
  readonly 'x-nfc'?: boolean | undefined
  /** Converts a string to lower case before it is checked. */
  readonly 'x-lowercase'?: boolean | undefined
  /** Trims an address and converts its domain to lower case before it is checked. */
  readonly 'x-normalize-email'?: boolean | undefined
  /**
   * At the top of a schema: `'backtracking'` lets each `pattern` (not the keys of
   * `patternProperties`) use look-around and backreferences. If a match takes too many backtracking
   * steps, alone or with the other matches of the document, it is aborted and the document is
   * refused. A look-around under a quantifier may hold only small quantifiers.
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

/** The type of requests that pass the schemas `S`, part by part. */
export type Valid<S> = S extends WithFiles
  ? { -readonly [Part in keyof S & ('query' | 'params' | 'headers')]: Infer<S[Part]> } & { body: ValidBody<S> }
  : { -readonly [Part in keyof S & ('body' | 'query' | 'params' | 'headers')]: Infer<S[Part]> }

/** Options of a route that takes files. */
interface WithFiles {
  readonly payload: { readonly files: Readonly<Record<string, FileField>> }
}

/**
 * The type of the body of requests that pass the options `S` of a route: that of its schema, and
 * the files of `payload.files`.
 */
export type ValidBody<S> = S extends WithFiles
  ? Flat<(S extends { readonly body: infer Body } ? Infer<Body> : unknown) & FilesOf<S['payload']['files']>>
  : S extends { readonly body: infer Body }
    ? Infer<Body>
    : unknown

type FilesOf<Fields> = {
  -readonly [Name in keyof Fields as IsOptional<Fields[Name]> extends true ? never : Name]: ValueOf<Fields[Name]>
} & { -readonly [Name in keyof Fields as IsOptional<Fields[Name]> extends true ? Name : never]?: ValueOf<Fields[Name]> }

/** A list that has no file is empty. */
type IsOptional<Field> = Field extends { readonly maxCount: number } ? false : Field extends { readonly optional: true } ? true : false

type ValueOf<Field> = Field extends { readonly maxCount: number } ? FileOf<Field>[] : FileOf<Field>

type FileOf<Field> = Field extends { readonly to: (file: IncomingFile) => infer Value }
  ? Value extends PromiseLike<infer Settled>
    ? Settled
    : Value
  : Field extends { readonly to: object }
    ? StoredFile
    : UploadedFile

/** The type of values that pass the schema `T`. */
export type Infer<T> = T extends { readonly '~standard': { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly output: infer Output }
    ? Output
    : unknown
  : FromSchema<T>

/**
 * The type of values that pass the JSON Schema `S`, as far as TypeScript can express it: `type`,
 * `const`, `enum`, `properties`, `required`, `items`, `prefixItems`, `additionalProperties`,
 * `patternProperties`, `anyOf`, `oneOf` and `allOf`. Other keywords, including `$ref`, do not
 * affect the type. TypeBox schemas are JSON Schemas.
 */
export type FromSchema<S> = [S] extends [false]
  ? never
  : S extends { readonly const: infer Value }
    ? Value
    : S extends { readonly enum: readonly (infer Value)[] }
      ? Value
      : FromType<S> & FromAnyOf<S> & FromAllOf<S>

/** The types of the simple type names. */
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

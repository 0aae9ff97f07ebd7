// Options of bodies.

import type { Duration, Size } from './config'
import type { JsonSchema } from './schema'

/**
 * Which bodies are read, and limits on them, checked on their bytes. docs/guides/payloads.md has
 * what is accepted and refused.
 */
export interface PayloadOptions {
  /**
   * The kinds of bodies that are read; any other is refused with 415. `'json'`: `application/json`,
   * and types that end with `+json`. `'form'`: `application/x-www-form-urlencoded`, read by the
   * types that the schema declares; without a schema its values are strings, and lists of strings
   * where a name ends with `[]`. At least one.
   * @default ['json']
   */
  readonly types?: readonly ('json' | 'form')[]
  /**
   * The largest body, from 1 byte to 64 MB; a larger one is refused with 413. It bounds what a
   * compressed body becomes, and the query string where there is a schema for it.
   * @default '100kb'
   */
  readonly maxBytes?: Size
  /**
   * How deep objects and arrays may nest; 1 to 128.
   * @default 32
   */
  readonly maxDepth?: number
  /**
   * How many values a body may hold in all; 1 to 10000000.
   * @default 10000
   */
  readonly maxNodes?: number
  /**
   * How many members one object may have; 1 to 1000000.
   * @default 1000
   */
  readonly maxKeys?: number
  /**
   * Whether keys that a document database may read as operators or paths (`$gt`, `a.b`) are refused
   * where the schema does not declare them.
   * @default 'refuse'
   */
  readonly operators?: 'refuse' | 'allow'
  /**
   * Whether bodies compressed with gzip, deflate or br are read (RFC 9110 section 8.4). `ratio` is
   * how many times larger one may become, from 1 to 1000, 20 where it is left out; what grows more
   * is refused with 413.
   * @default false, a compressed body is refused with 415
   */
  readonly inflate?: boolean | { readonly ratio?: number }
  /**
   * How long a body may take to arrive once the request is welcome, from 10 ms to 1 hour; a later
   * one is refused with 408 and its connection closed. Node's own `server.requestTimeout` (300 s)
   * bounds the whole request.
   * @default '30s'
   */
  readonly timeout?: Duration
  /**
   * The draft of JSON Schemas without `$schema`. Of the guard alone, as all that follow.
   * @default '2020-12'
   */
  readonly draft?: '4' | '6' | '7' | '2019-09' | '2020-12'
  /**
   * Schemas by their absolute URI, for `$ref`. They must be of the draft of the schema that refers
   * to them, and are referred to by URI, URI and JSON Pointer, or among each other by relative
   * name. Nothing is ever fetched.
   * @default {}
   */
  readonly schemas?: Readonly<Record<string, JsonSchema>>
  /**
   * Formats by name, for `format`. A regular expression (flags `i`, `m`, `s`, `u`, `v`) or its
   * source is checked in linear time by the core, and refused where that can't be or where its
   * flags are read in another way; it must be a plain `RegExp` without methods of its own. A
   * function is asked behind the core, must return `true`, and may stand only where the schema
   * applies in every case. The built-in format of the same name is replaced.
   * @default {}
   */
  readonly formats?: Readonly<Record<string, RegExp | string | ((text: string) => boolean)>>
  /**
   * Keywords by name: functions of the value and of what the schema writes behind the keyword. They
   * must return `true` and may stand only where the schema applies in every case.
   * @default {}
   */
  readonly keywords?: Readonly<Record<string, (value: any, argument: any) => boolean>>
  /**
   * Texts for errors by their code (`required`, `format`, ...), at most 200 characters each;
   * `{key}` and `{limit}` are filled in. Under a language tag (`de`, `pt-BR`) the same again, for
   * clients whose `Accept-Language` asks for it. Errors of a library's own check keep the library's
   * texts.
   * @default {}
   */
  readonly messages?: Readonly<Record<string, string | Readonly<Record<string, string>>>>
}

// Options of request bodies.

import type { Readable } from 'node:stream'
import type { Duration, Size } from './config'
import type { JsonSchema } from './schema'

/**
 * The accepted kinds of bodies, and limits on them, checked on their bytes. docs/guides/payloads.md
 * lists the accepted and refused input.
 */
export interface PayloadOptions {
  /**
   * The kinds of bodies that are read. Where a route sets it, or has a schema for the body, any
   * other is refused with 415; elsewhere bodies that are neither JSON nor forms are left to the
   * application unread. `'json'`: `application/json`,
   * and types that end with `+json`. `'form'`: `application/x-www-form-urlencoded`, converted to
   * the types that the schema declares. Without a schema its values are strings, and lists of
   * strings if the name ends with `[]`. At least one.
   * @default ['json']
   */
  readonly types?: readonly ('json' | 'form')[]
  /**
   * The largest body, from 1 byte to 64 MB; a larger one is refused with 413. It also limits the
   * decompressed size of a body, and the query string if there is a schema for it.
   * @default '100kb'
   */
  readonly maxBytes?: Size
  /**
   * The deepest nesting of objects and arrays; 1 to 128.
   * @default 32
   */
  readonly maxDepth?: number
  /**
   * The most values in a body; 1 to 10000000.
   * @default 10000
   */
  readonly maxNodes?: number
  /**
   * The most members of one object; 1 to 1000000.
   * @default 1000
   */
  readonly maxKeys?: number
  /**
   * Whether keys that a document database may read as operators or paths (`$gt`, `a.b`) are
   * refused, unless the schema declares them: by name, by `patternProperties`, or by
   * `additionalProperties` with a schema that is not empty. In queries and forms, a key that
   * begins with `$` is declared only by name.
   * @default 'refuse'
   */
  readonly operators?: 'refuse' | 'allow'
  /**
   * Whether bodies compressed with gzip, deflate or br are read (RFC 9110 section 8.4). `ratio` is
   * the largest expansion of a body, from 1 to 1000, by default 20; a body that expands more is
   * refused with 413.
   * @default false, a compressed body is refused with 415
   */
  readonly inflate?: boolean | { readonly ratio?: number }
  /**
   * The longest time for a body to arrive after the request was admitted, from 10 ms to 1 hour. A
   * later body is refused with 408 and its connection closed. Node's own `server.requestTimeout`
   * (300 s) bounds the whole request. It is also the longest time for the asynchronous checks of a
   * library's schemas; a request whose checks take longer is refused with 503
   * `validation_unavailable`. With `payload: false` that is 30 s.
   * @default '30s'
   */
  readonly timeout?: Duration
  /**
   * Whether `req.guard.rawBody` has the bytes of the body as they arrived, for signatures of
   * webhooks. They are bounded by `maxBytes`, and kept as long as the request.
   * @default false
   */
  readonly rawBody?: boolean
  /**
   * The draft of JSON Schemas without `$schema`. This option and all that follow can be set only on
   * the guard.
   * @default '2020-12'
   */
  readonly draft?: '4' | '6' | '7' | '2019-09' | '2020-12'
  /**
   * Schemas by their absolute URI, for `$ref`. They must have the draft of the schema that refers
   * to them. References use a URI, a URI and JSON Pointer, or, among these schemas, a relative
   * name. Nothing is ever fetched.
   * @default {}
   */
  readonly schemas?: Readonly<Record<string, JsonSchema>>
  /**
   * Formats by name, for `format`. A format here replaces the built-in format of the same name.
   *
   * 1. A regular expression (flags `i`, `m`, `s`, `u`, `v`) or its source is matched in linear time
   *    by the core. It is refused if that is impossible or if its flags are read differently there.
   *    It must be a plain `RegExp` without methods of its own.
   * 2. A function runs after the core's checks, must return `true`, and may stand only where the
   *    schema applies in every case.
   * @default {}
   */
  readonly formats?: Readonly<Record<string, RegExp | string | ((text: string) => boolean)>>
  /**
   * Keywords by name: functions of the value and of the keyword's argument in the schema. They must
   * return `true` and may stand only where the schema applies in every case.
   * @default {}
   */
  readonly keywords?: Readonly<Record<string, (value: any, argument: any) => boolean>>
  /**
   * Texts for errors by their code (`required`, `format`, ...), at most 200 characters each;
   * `{key}` and `{limit}` are filled in. A language tag (`de`, `pt-BR`) holds another set of texts,
   * for clients whose `Accept-Language` prefers it. Errors of a library's own check keep the
   * library's texts.
   * @default {}
   */
  readonly messages?: Readonly<Record<string, string | Readonly<Record<string, string>>>>
}

/** The `payload` of a route: it narrows the guard's, and may ask for multipart bodies. */
export interface RoutePayloadOptions extends Omit<PayloadOptions, 'types'> {
  /**
   * As on the guard; `'multipart'` reads `multipart/form-data` (RFC 7578), whose fields are
   * converted and judged as those of a form.
   * @default the guard's own
   */
  readonly types?: readonly ('json' | 'form' | 'multipart')[]
  /**
   * The fields that take files, by name, at most 64. It needs `types: ['multipart']`: in JSON a
   * member could claim to be a file. A file in any other field is refused, and so are fields of
   * text that the schema of `body` does not declare. `maxBytes` then limits all of the body but
   * the content of files; `timeout` limits the whole upload. A request without a body is refused.
   * @default none
   */
  readonly files?: Readonly<Record<string, FileField>>
}

/** A field that takes files. */
export interface FileField {
  /**
   * The kinds of files that it takes, as media types in lower case; at least one. The content
   * decides. The client's `Content-Type` only chooses among kinds of text, which have no signature.
   * `'image/*'`, `'audio/*'` and `'video/*'` are families; `*` for both parts takes any file.
   */
  readonly types: readonly string[]
  /**
   * The largest file, from 1 byte to 64 GB; a larger one is refused with 413. Files that are kept
   * in memory may have 64 MB together, `maxBytes` times `maxCount` of all fields.
   * @default '1mb'
   */
  readonly maxBytes?: Size
  /**
   * The most files, 1 to 1000. With it, the value is a list.
   * @default one file, whose value is no list
   */
  readonly maxCount?: number
  /**
   * Whether a request may have no file here.
   * @default false, it is refused with 422
   */
  readonly optional?: boolean
  /**
   * Where a file goes. `{ directory }`: to a new file in this folder, which is deleted when the
   * request is refused and when its response is over; move it to keep it. A function: it reads
   * `stream`, and what it returns is the value of the field. It is called once the kind is known,
   * before the rest of the request has come: the stream fails with `ERR_ABORTED` if the request
   * is refused meanwhile.
   * @default the file is kept in memory
   */
  readonly to?: { readonly directory: string } | ((file: IncomingFile) => unknown)
  /**
   * Takes back what `to` has returned, if the request is refused after that. Each value of `to`
   * goes either to the handler or here.
   * @default nothing is called
   */
  readonly discard?: (value: any) => unknown
}

/** What is known of a file. */
export interface FileFacts {
  /** The name of its field. */
  readonly field: string
  /**
   * The name that the client gives it: 1 to 255 bytes without separators of paths and control,
   * invisible or direction-changing characters. It is a label for people; do not open a file by it.
   */
  readonly name: string
  /** Its kind, a media type, found by its content. */
  readonly type: string
}

/** A file on its way to the application. */
export interface IncomingFile extends FileFacts {
  /** Its content. The client is slowed down while it is not read. */
  readonly stream: Readable
}

/** A file that was kept in memory. */
export interface UploadedFile extends FileFacts {
  /** Its size in bytes. */
  readonly size: number
  /** Its content. */
  readonly bytes: Buffer
}

/** A file in a folder. */
export interface StoredFile extends FileFacts {
  /** Its size in bytes. */
  readonly size: number
  /** Where it is until the response is over. */
  readonly path: string
}

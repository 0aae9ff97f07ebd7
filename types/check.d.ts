// `guard.check`: any framework asks, and carries out the answer.

import type { Readable } from 'node:stream'
import type { RequestGuard } from './request'

/** One request, as the host of an application knows it. */
export interface CheckRequest {
  /** The method as sent: case matters. */
  readonly method: string
  /** Path and query, such as `/v1/orders?page=2`, as the router of the application reads them. */
  readonly target: string
  /**
   * Pairs of name and value in the order in which they came, a pair for each value of a name that
   * came twice. A `Headers` object will do.
   */
  readonly headers: Iterable<readonly [string, string]>
  /**
   * The address of the other end of the connection; that of the client is found by
   * `trustedProxies`. Left out: none, as on a Unix socket.
   */
  readonly address?: string
  /**
   * Whether the connection is TLS, and the SHA-256 fingerprint of the client's certificate where it
   * has proved one (as `fingerprint256` of Node has it).
   * @default false
   */
  readonly tls?: boolean | { readonly fingerprint256?: string | undefined }
  /**
   * The body, where one follows: its bytes, or a stream of them, which is read only where the stack
   * asks for a body. Left out or null: none.
   */
  readonly body?: Uint8Array | ReadableStream<Uint8Array> | Readable | null
  /**
   * The version of HTTP: `'1.0'`, `'1.1'`, `'2'` or `'3'`.
   * @default '1.1'
   */
  readonly httpVersion?: string
  /**
   * Whether the server may have dropped headers, since there were too many: then the request is
   * refused with 431.
   * @default false
   */
  readonly truncated?: boolean
  /**
   * The pattern of the route, such as `/v1/orders/:id`, for policies and limits. Left out: none.
   */
  readonly route?: string
  /** The path parameters that the router found, decoded; for schemas and policies. */
  readonly params?: { readonly [name: string]: string | undefined }
  /**
   * Whether it is a handshake, such as WebSocket's: then no page of a foreign origin passes.
   * @default false
   */
  readonly upgrade?: boolean
  /** Aborts when the client goes away; the check rejects with its `reason` then. */
  readonly signal?: AbortSignal
  /**
   * The request of the framework: what functions in the options (`key`, `cost`) are called with.
   * All checks with the same one are about one request, which is counted once. Left out: `{ user,
   * guard, body }`, and each check is about a request of its own.
   */
  readonly source?: object
}

/** What {@link Guard.check} resolves to. */
export type CheckResult = CheckPass | CheckRefusal

/** The request passes. */
export interface CheckPass {
  readonly allowed: true
  /** The claims of the verified token; undefined where there is none. */
  readonly user: Express.User | undefined
  /** What is known of the request: as `req.guard` of Express. */
  readonly guard: RequestGuard
  /** The parsed and checked body; undefined where none was read. */
  readonly body: unknown
  /**
   * The bytes of the body, decompressed, where the check has read them: a stream can't be read
   * again.
   */
  readonly raw: Uint8Array | undefined
  /**
   * Response headers to set, as pairs; `Vary` is to be added to what the response has. Read them
   * when the response is sent: another check of the same request may have changed them.
   */
  readonly headers: readonly (readonly [string, string])[]
  /** Response headers to take off when the response is sent, in lower case. */
  readonly remove: readonly string[]
  /** Whether the stack has `response` schemas. */
  readonly checksResponse: boolean
  /**
   * Judges a JSON answer by the `response` schemas of the stack.
   *
   * @param status the status of the answer.
   * @param json its text, or the bytes.
   * @returns what to send instead; null where it goes out as it is, and where the stack has no such
   * schemas.
   */
  checkResponse(status: number, json: string | Uint8Array): CheckedResponse | null
  /**
   * To be called once the response is over, with its status; undefined where the client got none.
   * Slots of `concurrent` limits are free then, and limits that don't count such an answer give its
   * cost back.
   */
  end(status?: number): void
}

/** What is sent in place of an answer that its schema does not allow. */
export interface CheckedResponse {
  readonly status: number
  /** Its media type. */
  readonly type: string
  readonly body: string
}

/** The request is answered here: a refusal, or the answer to a preflight of CORS. */
export interface CheckRefusal {
  readonly allowed: false
  /** The status to answer with. */
  readonly status: number
  /** The code of docs/reference/errors.md; undefined for a preflight. */
  readonly code: string | undefined
  /** All headers of the answer, as pairs, those of its body too. */
  readonly headers: readonly (readonly [string, string])[]
  /** Headers to take off where the host has set them before, in lower case. */
  readonly remove: readonly string[]
  /** The problem document (RFC 9457); null for an answer without a body. */
  readonly body: string | null
}

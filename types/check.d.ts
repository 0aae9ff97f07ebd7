// `guard.check`: the stack for any framework. The caller carries out the result.

import type { Readable } from 'node:stream'
import type { RequestGuard } from './request'

/** One request, as the host of an application describes it. */
export interface CheckRequest {
  /** The method as sent; it is case-sensitive. */
  readonly method: string
  /** Path and query, such as `/v1/orders?page=2`, as the router of the application reads them. */
  readonly target: string
  /**
   * Pairs of name and value in the order received, one pair for each value of a repeated name. A
   * `Headers` object is accepted.
   */
  readonly headers: Iterable<readonly [string, string]>
  /**
   * The address of the other end of the connection. The client's address is derived from it with
   * `trustedProxies`. Left out: no address, as on a Unix socket.
   */
  readonly address?: string
  /**
   * Whether the connection is TLS. An object also gives the SHA-256 fingerprint of a client
   * certificate whose possession was proved, as Node's `fingerprint256` formats it.
   * @default false
   */
  readonly tls?: boolean | { readonly fingerprint256?: string | undefined }
  /**
   * The body, if there is one: its bytes, or a stream of them. The stream is read only if the stack
   * needs the body. Left out or null: no body.
   */
  readonly body?: Uint8Array | ReadableStream<Uint8Array> | Readable | null
  /**
   * The version of HTTP: `'1.0'`, `'1.1'`, `'2'` or `'3'`.
   * @default '1.1'
   */
  readonly httpVersion?: string
  /**
   * Whether the server may have dropped headers because there were too many. Such a request is
   * refused with 431.
   * @default false
   */
  readonly truncated?: boolean
  /**
   * The pattern of the route, such as `/v1/orders/:id`, for policies and limits. Left out: no
   * pattern.
   */
  readonly route?: string
  /** The path parameters that the router extracted, decoded; for schemas and policies. */
  readonly params?: { readonly [name: string]: string | undefined }
  /**
   * Whether it is a handshake, such as a WebSocket one. Pages of foreign origins are then refused.
   * @default false
   */
  readonly upgrade?: boolean
  /** Aborts when the client disconnects; the check then rejects with its `reason`. */
  readonly signal?: AbortSignal
  /**
   * The request object of the framework, passed to functions in the options (`key`, `cost`). All
   * checks with the same object belong to one request, which is counted once. Left out:
   * `{ user, guard, body }`, and each check is a request of its own.
   */
  readonly source?: object
}

/** The result of {@link Guard.check}. */
export type CheckResult = CheckPass | CheckRefusal

/** The request passes. */
export interface CheckPass {
  readonly allowed: true
  /** The claims of the verified token; undefined without a token. */
  readonly user: Express.User | undefined
  /** The state of keepstone for this request, as `req.guard` in Express. */
  readonly guard: RequestGuard
  /** The parsed and checked body; undefined if no body was read. */
  readonly body: unknown
  /**
   * The bytes of the body, decompressed, if the check read them: a stream can't be read again.
   */
  readonly raw: Uint8Array | undefined
  /**
   * Response headers to set, as pairs. Add `Vary` to the value that the response has. Read them
   * when the response is sent: another check of the same request may have changed them.
   */
  readonly headers: readonly (readonly [string, string])[]
  /** Response headers to remove when the response is sent, in lower case. */
  readonly remove: readonly string[]
  /** Whether the stack has `response` schemas. */
  readonly checksResponse: boolean
  /**
   * Checks a JSON answer against the `response` schemas of the stack.
   *
   * @param status the status of the answer.
   * @param json its text, or the bytes.
   * @returns the answer to send instead; null if the answer is to be sent as it is, or if the stack
   *   has no such schemas.
   */
  checkResponse(status: number, json: string | Uint8Array): CheckedResponse | null
  /**
   * Call it once when the response has ended, with its status; `undefined` if the client received
   * none. It releases the slots of `concurrent` limits. Limits that don't count such an answer give
   * its cost back.
   */
  end(status?: number): void
}

/** The answer to send in place of one that its schema does not allow. */
export interface CheckedResponse {
  readonly status: number
  /** Its media type. */
  readonly type: string
  readonly body: string
}

/** The request is answered here: with a refusal, or with the answer to a CORS preflight. */
export interface CheckRefusal {
  readonly allowed: false
  /** The status to answer with. */
  readonly status: number
  /** A code from docs/reference/errors.md; undefined for a preflight. */
  readonly code: string | undefined
  /** All headers of the answer, as pairs, including those of its body. */
  readonly headers: readonly (readonly [string, string])[]
  /** Headers to remove if the host has set them before, in lower case. */
  readonly remove: readonly string[]
  /** The problem document (RFC 9457); null for an answer without a body. */
  readonly body: string | null
}

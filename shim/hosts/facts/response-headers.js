'use strict'

/**
 * The headers that a check sets on a response, and those that it removes. Names keep their original
 * case.
 */
class ResponseHeaders {
  /** No response is being sent during a check. */
  headersSent = false
  #set = new Map()
  #removed = new Set()

  getHeader(name) {
    return this.#set.get(name.toLowerCase())?.[1]
  }

  setHeader(name, value) {
    const key = name.toLowerCase()
    this.#removed.delete(key)
    this.#set.set(key, [name, value])
  }

  removeHeader(name) {
    const key = name.toLowerCase()
    this.#set.delete(key)
    this.#removed.add(key)
  }

  /** Pairs of name and value; a header with several values yields several pairs. */
  entries() {
    return [...this.#set.values()].flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]))
  }

  /** The names of headers to remove, in lower case. */
  removed() {
    return [...this.#removed]
  }
}

module.exports = { ResponseHeaders }

'use strict'

/**
 * The headers that a check puts on a response, and those that it takes off. Names keep the case
 * they were set with.
 */
class ResponseHeaders {
  /** No response is being sent meanwhile. */
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

  /** Pairs of name and value; a header with several values has several pairs. */
  entries() {
    return [...this.#set.values()].flatMap(([name, value]) => [value].flat().map((one) => [name, String(one)]))
  }

  /** The names of headers to take off, in lower case. */
  removed() {
    return [...this.#removed]
  }
}

module.exports = { ResponseHeaders }

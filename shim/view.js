'use strict'

/**
 * A request as the guards of this process read it: read once, and used by every layer of every
 * guard.
 */
class RequestView {
  /** As sent: case-sensitive. */
  method
  /** The target as sent, including the query. */
  target
  /** Names and values in turn, in the order received; HTTP/2's `:authority` is `host`. */
  fields
  /** Whether a body follows (RFC 9112 section 6; for HTTP/2, RFC 9113 section 8.1). */
  hasBody
  /** The letters of `Flags` in src/request/mod.rs that are the same for every guard. */
  flags
  /** `fields` as lines. */
  #lines

  /** `flags` are those besides the body's. */
  constructor(method, target, fields, hasBody, flags) {
    this.method = method
    this.target = target
    this.fields = fields
    this.hasBody = hasBody
    this.flags = `${hasBody ? 'b' : ''}${flags}`
    this.#lines = fields.length === 0 ? '' : `\n${fields.join('\n')}`
  }

  /** The first header of that name, which is in lower case; undefined without one. */
  get(name) {
    const { fields } = this
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i].length === name.length && fields[i].toLowerCase() === name) return fields[i + 1].trim()
    }
    return undefined
  }

  /**
   * The head in the format of src/request/mod.rs: `address` is the connection's, `client` the
   * client's according to the host's framework, `flags` the letters that differ between guards,
   * `route` the pattern and `place` the position of the route.
   */
  head(address, client, flags, route, place) {
    const count = 8 + this.fields.length
    return `${count}\n${this.method}\n${this.target}\n${address}\n${client}\n${flags}\n${route}\n${place}${this.#lines}`
  }
}

module.exports = { RequestView }

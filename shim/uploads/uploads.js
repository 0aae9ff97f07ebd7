'use strict'

// The files of one request on their way to memory or to the application. The core decides about
// every byte first: ../../src/multipart/mod.rs.

const { Readable } = require('node:stream')
const { GuardError, describeError, warnOnce } = require('../errors.js')
const { toDirectory } = require('./directory.js')
const { ClientGone } = require('./source.js')

/** The content of a file, for the application. The guard waits until it is read. */
class FileStream extends Readable {
  #wake = null

  /** Adds bytes; returns a promise if there is no more room. */
  add(bytes) {
    if (this.destroyed || this.push(bytes)) return undefined
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  end() {
    if (!this.destroyed) this.push(null)
  }

  _read() {
    this.#go()
  }

  _destroy(error, done) {
    this.#go()
    done(error)
  }

  #go() {
    this.#wake?.()
    this.#wake = null
  }
}

/** A file that is kept in memory. */
class MemoryFile {
  #pieces = []
  #size = 0

  constructor(about) {
    this.about = about
  }

  add(bytes) {
    this.#pieces.push(bytes)
    this.#size += bytes.length
  }

  end() {
    this.value = { ...this.about, size: this.#size, bytes: Buffer.concat(this.#pieces, this.#size) }
    this.settled = undefined
  }

  stop() {
    this.#pieces = []
    this.value = undefined
  }
}

/**
 * A file that a function of the application takes. Whatever value that function returns is either
 * given to the handler or to `discard`.
 */
class StreamedFile {
  #stream = new FileStream()
  #isStopped = false
  #isTaken = false

  constructor(about, { to, discard }, failed) {
    // Without a listener, an error would end the process.
    this.#stream.on('error', () => {})
    this.discard = discard
    this.settled = this.#run(to, { ...about, stream: this.#stream }, failed)
  }

  async #run(to, file, failed) {
    try {
      this.value = await to(file)
    } catch (error) {
      if (!this.#isStopped) failed(error)
      return
    }
    this.#isTaken = true
    // What it has not read is dropped.
    this.#stream.resume()
    if (this.#isStopped) drop(this.discard, this.value)
  }

  add(bytes) {
    return this.#stream.add(bytes)
  }

  end() {
    this.#stream.end()
  }

  stop(reason) {
    if (this.#isStopped) return
    this.#isStopped = true
    this.#stream.destroy(reason)
    if (this.#isTaken) drop(this.discard, this.value)
  }
}

async function drop(discard, value) {
  try {
    await discard?.(value)
  } catch (error) {
    warnOnce('GUARD_FAULT', `a file of a refused request was not discarded: ${describeError(error)}`)
  }
}

/** The files of one request. */
class Uploads {
  #fields
  #files = []
  #current = null
  /** The file whose kind is not known yet, and its bytes. */
  #opening = null
  #isStopped = false
  #fail
  /** Rejects when a function of the application fails. */
  failed = new Promise((_, reject) => {
    this.#fail = reject
  })

  constructor(fields) {
    this.#fields = fields
    this.failed.catch(() => {})
  }

  /** Takes what a piece of the body brings. Resolves when there is room for more. */
  async take(events, chunk) {
    for (const [kind, ...rest] of events) {
      // Meanwhile the time may be over.
      if (this.#isStopped) return
      if (kind === 'f') {
        this.#opening = { field: this.#fields[rest[0]], name: rest[1], pieces: [] }
      } else if (kind === 'd') {
        const [early, start, end] = rest
        if (early !== '') await this.#add(Buffer.from(early))
        if (start < end) await this.#add(chunk.subarray(start, end))
      } else if (kind === 'k') {
        await this.#open(rest[0])
      } else {
        this.#current.end()
        this.#current = null
      }
    }
  }

  #add(bytes) {
    if (this.#opening === null) return this.#current.add(bytes)
    this.#opening.pieces.push(bytes)
    return undefined
  }

  async #open(type) {
    const { field, name, pieces } = this.#opening
    this.#opening = null
    const about = { field: field.name, name, type }
    this.#current = field.to === undefined ? new MemoryFile(about) : new StreamedFile(about, field, this.#fail)
    this.#files.push({ field, file: this.#current })
    for (const bytes of pieces) await this.#current.add(bytes)
  }

  /** Resolves when all functions of the application have returned. */
  async settled() {
    for (const { file } of this.#files) await file.settled
  }

  /** The values of the fields, for the body. A list that is left out is empty. */
  values() {
    const values = {}
    for (const { name, isList } of this.#fields) if (isList) values[name] = []
    for (const { field, file } of this.#files) {
      if (field.isList) values[field.name].push(file.value)
      else values[field.name] = file.value
    }
    return values
  }

  /** The request is refused: streams fail with `reason`, and every value is discarded. */
  discard(reason = new GuardError('the request of this file was refused', { code: 'ERR_ABORTED' })) {
    this.#isStopped = true
    for (const { file } of this.#files) file.stop(reason)
  }

  /** The request is over: what lives as long as it does goes. */
  release() {
    for (const { field, file } of this.#files) if (field.isOfRequest) drop(field.discard, file.value)
  }
}

/**
 * The fields of a stack: `named` is what the core has read, `[name, isList]`, `options` the
 * `payload.files` of the application.
 */
function fieldsOf(named, options) {
  return named.map(([name, isList]) => {
    const { to, discard } = options[name]
    if (to !== undefined && typeof to !== 'function') return { name, isList, isOfRequest: true, ...toDirectory(to.directory) }
    return { name, isList, isOfRequest: false, to, discard }
  })
}

/**
 * Reads a multipart body to its end within `ms` milliseconds: `readParts(chunk)` asks the core.
 * Resolves with 'ended'; 'refused', if the core refuses a piece; 'late'; or 'gone', if the client
 * has disconnected. Rejects if a function of the application fails.
 */
async function receiveParts(source, uploads, readParts, ms) {
  let timer
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, ms, 'late')
  })
  const first = (promise) => Promise.race([promise, late, uploads.failed])
  try {
    for (;;) {
      const chunk = await first(source.next())
      if (chunk === 'late') return 'late'
      if (chunk === null) break
      const said = readParts(chunk)
      if (said === undefined) return 'refused'
      if (said !== '' && (await first(uploads.take(JSON.parse(said), chunk))) === 'late') return 'late'
    }
    if ((await first(uploads.settled())) === 'late') {
      throw new GuardError('a function `to` of `payload.files` has not returned within `payload.timeout`', { code: 'ERR_INVALID_ARGUMENT' })
    }
    return 'ended'
  } catch (error) {
    if (error instanceof ClientGone) return 'gone'
    throw error
  } finally {
    clearTimeout(timer)
    source.stop()
  }
}

/** The error of an application that has another parser in front. */
function otherParser() {
  return new GuardError('another parser has read the multipart body, so that its files can not be judged; mount the guard before it', { code: 'ERR_INVALID_ARGUMENT' })
}

/** The error of an application with two layers for one multipart body. */
function secondReader() {
  return new GuardError('two layers of the guard declare a multipart body, which is read once; declare it in one of them', { code: 'ERR_INVALID_ARGUMENT' })
}

/** Discards all files of a refused request. */
function discardUploads(state) {
  if (state.uploads === null) return
  for (const uploads of state.uploads.splice(0)) uploads.discard()
}

module.exports = { Uploads, discardUploads, fieldsOf, otherParser, receiveParts, secondReader }

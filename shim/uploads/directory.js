'use strict'

// `to: { directory }`: files of a request in a folder, under names of our own. They are deleted
// when the request is refused, and when its response is over: a handler moves what it keeps.

const { randomUUID } = require('node:crypto')
const { open, rm } = require('node:fs/promises')
const { statSync } = require('node:fs')
const { join, resolve } = require('node:path')
const { GuardError } = require('../errors.js')

/** The functions `to` and `discard` for files in `directory`, which must exist. */
function toDirectory(directory) {
  const folder = resolve(directory)
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new GuardError('`payload.files` names a `directory` that does not exist; make it before the guard is built', { code: 'ERR_INVALID_OPTION', path: 'payload.files' })
  }
  return {
    async to({ stream, ...about }) {
      const path = join(folder, randomUUID())
      // The file is there before the first byte is read, so that it is certain what to delete.
      const file = await open(path, 'wx', 0o600)
      let size = 0
      try {
        await file.writeFile(counted(stream, (bytes) => (size += bytes)))
        await file.close()
      } catch (error) {
        await file.close().catch(() => {})
        await rm(path, { force: true })
        throw error
      }
      return { ...about, size, path }
    },
    // A handler may have moved it.
    discard: ({ path }) => rm(path, { force: true })
  }
}

async function* counted(stream, count) {
  for await (const bytes of stream) {
    count(bytes.length)
    yield bytes
  }
}

module.exports = { toDirectory }

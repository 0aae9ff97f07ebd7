// Other copies of the package in this thread, as bundlers and package managers make them.

import { readdirSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { makeFolder } from './processes.mjs'

const require = createRequire(import.meta.url)
const root = fileURLToPath(new URL('../..', import.meta.url))
const entry = join(root, 'index.js')
const ours = (id) => id === entry || id === join(root, 'native.js') || id.startsWith(join(root, 'shim') + sep) || id.endsWith('.node')

/** The addon that the tests run with. */
export const addon = process.env.NAPI_RS_NATIVE_LIBRARY_PATH || join(root, readdirSync(root).find((name) => /^keepstone\..+\.node$/.test(name)) ?? '')

/**
 * Loads the package once more. `keep` says by its path which of its modules are not loaded anew.
 */
export function loadCopy(keep = () => false) {
  const kept = new Map()
  for (const id of Object.keys(require.cache)) {
    if (!ours(id)) continue
    kept.set(id, require.cache[id])
    if (!keep(id)) delete require.cache[id]
  }
  try {
    const copy = require(entry)
    // Whoever loads a module holds it, so that it could never be collected.
    const { children } = require.cache[entry].parent
    children.length = 0
    return copy
  } finally {
    for (const id of Object.keys(require.cache)) if (ours(id)) delete require.cache[id]
    for (const [id, module] of kept) require.cache[id] = module
  }
}

/** A copy that shares `native.js`: a bundler that inlines the shim. */
export const loadShim = () => loadCopy((id) => id.endsWith('native.js') || id.endsWith('.node'))

/**
 * Loads the package with the addon at a path of its own; `place(from, to)` puts it there, as a link
 * or a copy.
 */
export function loadWithAddon(t, place) {
  const folder = makeFolder()
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'other.node')
  place(addon, path)
  const before = process.env.NAPI_RS_NATIVE_LIBRARY_PATH
  process.env.NAPI_RS_NATIVE_LIBRARY_PATH = path
  try {
    return loadCopy()
  } finally {
    if (before === undefined) delete process.env.NAPI_RS_NATIVE_LIBRARY_PATH
    else process.env.NAPI_RS_NATIVE_LIBRARY_PATH = before
  }
}

export const packageFolder = dirname(entry)

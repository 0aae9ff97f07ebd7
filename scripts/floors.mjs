// The floors of the core: a folder of src/ imports only what stands below it. Tests may look
// anywhere. Usage: node scripts/floors.mjs

import { readFileSync, readdirSync } from 'node:fs'
import { fail, isMain, root, say } from './lib.mjs'

/** From the ground up; docs/internals/architecture.md says what each folder is. */
export const FLOORS = [
  ['clock', 'few', 'panics', 'random', 'refusal'],
  ['error'],
  ['net'],
  ['config'],
  ['formats', 'json', 'messages', 'quota', 'request'],
  ['jose', 'pattern'],
  ['clients', 'cors', 'csrf', 'headers', 'multipart', 'policy', 'schema'],
  ['payload', 'store'],
  ['memcached', 'redis'],
  ['shared_store'],
  ['keys', 'limit'],
  ['remote_keys', 'rotation'],
  ['binding', 'introspection', 'router', 'session'],
  ['bearer'],
  ['token'],
  ['identity', 'requirements', 'revocation'],
  ['guard'],
  ['openapi', 'stack'],
  ['node']
]

const floorOf = new Map(FLOORS.flatMap((names, floor) => names.map((name) => [name, floor])))
const isTest = (path) => /(?:^|\/)(?:tests?|tests\/.*|fuzz|\w+_tests)\.rs$|\/tests\/|^simulation\/|\/fuzz\.rs$/.test(path)

/** The imports that lead up or sideways, as `file -> folder`. */
export function violations(files) {
  const found = []
  for (const [path, text] of files) {
    if (isTest(path) || path === 'lib.rs') continue
    const own = path.split(/[/.]/, 1)[0]
    const code = text.replace(/#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))? )?mod \w+ \{[^]*$/, '').replace(/#\[cfg\(test\)\][^;{]*;/g, '').replace(/\/\/.*/g, '')
    for (const name of importsOf(code)) {
      if (name === own || name === 'simulation' || !/^[a-z]/.test(name)) continue
      if (!floorOf.has(name)) found.push(`src/${path} -> ${name}, which has no floor`)
      else if (!floorOf.has(own)) found.push(`src/${path} has no floor`)
      else if (floorOf.get(name) >= floorOf.get(own)) found.push(`src/${path} -> ${name}`)
    }
  }
  return found
}

/** The folders that `crate::...` names, also where several stand in one brace. */
function importsOf(code) {
  const plain = [...code.matchAll(/\bcrate::(\w+)/g)].map(([, name]) => name)
  const braced = [...code.matchAll(/\bcrate::\{([^}]*)/g)].flatMap(([, names]) => [...names.matchAll(/(?:^|,)\s*(\w+)/g)].map(([, name]) => name))
  return new Set([...plain, ...braced])
}

if (isMain(import.meta.url)) {
  const folder = `${root}/src`
  const names = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith('.rs'))
  const found = violations(names.map((name) => [name, readFileSync(`${folder}/${name}`, 'utf8')]))
  for (const line of found) say(line)
  if (found.length > 0) fail(`${found.length} imports lead up a floor or across one; scripts/floors.mjs has the floors`)
}

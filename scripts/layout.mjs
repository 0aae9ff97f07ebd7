// The layout of the code: no comment is wider than 100 columns, no file longer than 640 lines.
// Usage: node scripts/layout.mjs

import { readFileSync } from 'node:fs'
import { fail, isMain, output, root, say } from './lib.mjs'

const MAX_COLUMNS = 100
const MAX_LINES = 640
const CODE = /\.(?:rs|lua|m?js|ts)$/
const COMMENT = /^\s*(?:\/\/|\/?\*|--)/
// Written by napi build.
const GENERATED = new Set(['native.js', 'native.d.ts'])

/** What is wrong with a file, as lines for a person. */
export function faults(path, text) {
  const lines = text.split('\n')
  const isWide = (line) => COMMENT.test(line) && Array.from(line).length > MAX_COLUMNS
  const found = lines.flatMap((line, i) => (isWide(line) ? [`${path}:${i + 1}: the comment is wider than ${MAX_COLUMNS} columns`] : []))
  return lines.length > MAX_LINES + 1 ? [...found, `${path}: ${lines.length - 1} lines; split it by what it does`] : found
}

if (isMain(import.meta.url)) {
  const files = output('git', ['ls-files']).split('\n').filter((path) => CODE.test(path) && !GENERATED.has(path))
  const found = files.flatMap((path) => faults(path, readFileSync(`${root}/${path}`, 'utf8')))
  for (const line of found) say(line)
  if (found.length > 0) fail(`${found.length} places are too wide or too long`)
}

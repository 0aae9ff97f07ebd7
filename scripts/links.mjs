// Finds links in Markdown that lead nowhere (files and #anchors), and paths of the repository that
// comments and pages quote and that are not there.
// Usage: node scripts/links.mjs

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fail, isMain, output, root } from './lib.mjs'

const CODE = /^(src|shim|types|tests|scripts|chaos|__test__|index\.d\.ts|fastify\.|hono\.|testing\.)/
const QUOTED = /(?<![\w./@$}-])(?:src|shim|types|docs|scripts|__test__)\/[\w./-]*\w/g
const COMMENT = /(?:^|\s)(?:\/\/[/!]?|\/?\*+|#|--)\s(.*)$/

/**
 * All that is amiss, as lines `file:line: what`. `read` gives the text of a file of the repository.
 */
export function danglingLinks(files = repositoryFiles(), read = (file) => readFileSync(join(root, file), 'utf8')) {
  const anchors = new Map()
  const anchorsOf = (file) => {
    if (!anchors.has(file)) anchors.set(file, headingAnchors(read(file)))
    return anchors.get(file)
  }
  return files.flatMap((file) => {
    if (file.endsWith('.md')) {
      const lines = prose(read(file))
      return [...markdownLinks(file, lines, anchorsOf), ...(file === 'CHANGELOG.md' ? [] : quotedPaths(file, lines))]
    }
    return CODE.test(file) && /\.(rs|m?js|ts|lua)$/.test(file) ? quotedPaths(file, comments(read(file))) : []
  })
}

function repositoryFiles() {
  const files = output('git', ['ls-files', '--cached', '--others', '--exclude-standard'])
  if (files === null) fail('git ls-files failed')
  return files.split('\n').filter((file) => existsSync(join(root, file)))
}

/** The lines of a page; those of code blocks are empty. */
function prose(text) {
  let fenced = false
  return text.split('\n').map((line) => {
    const fence = /^\s*(```|~~~)/.test(line)
    if (fence) fenced = !fenced
    return fenced || fence ? '' : line
  })
}

/** The lines of a source file; of each, only the comment. */
function comments(text) {
  return text.split('\n').map((line) => COMMENT.exec(line)?.[1] ?? '')
}

function markdownLinks(file, lines, anchorsOf) {
  const found = []
  for (const [index, line] of lines.entries()) {
    for (const [, target] of line.replace(/`[^`]*`/g, (code) => code.replace(/[()]/g, ' ')).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path, anchor] = target.split('#')
      const to = path === '' ? file : normalize(join(dirname(file), path)).replaceAll('\\', '/')
      if (!existsSync(join(root, to))) found.push(`${file}:${index + 1}: no file ${target}`)
      else if (anchor && to.endsWith('.md') && !anchorsOf(to).has(anchor)) found.push(`${file}:${index + 1}: no heading ${target}`)
    }
  }
  return found
}

function quotedPaths(file, lines) {
  return lines.flatMap((line, index) => {
    const paths = [...line.replace(/https?:\S+/g, '').matchAll(QUOTED)].map(([path]) => path.replace(/:\d+.*$/, ''))
    return paths.filter((path) => !isThere(path)).map((path) => `${file}:${index + 1}: no ${path}`)
  })
}

/** A module may be named without its ending: `src/token` is a folder, `src/stack` may be a file. */
function isThere(path) {
  return ['', '.rs', '.js', '.mjs', '.d.ts', '.test.mjs'].some((ending) => existsSync(join(root, path + ending)))
}

/** The anchors that GitHub gives the headings of a page. */
function headingAnchors(text) {
  const seen = new Map()
  const headings = prose(text).map((line) => /^#{1,6} (.+)$/.exec(line)?.[1]).filter(Boolean)
  return new Set(headings.map((heading) => {
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').trim().toLowerCase()
    const slug = plain.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-')
    const times = seen.get(slug) ?? 0
    seen.set(slug, times + 1)
    return times === 0 ? slug : `${slug}-${times}`
  }))
}

if (isMain(import.meta.url)) {
  const found = danglingLinks()
  for (const line of found) console.error(line)
  if (found.length > 0) fail(`${found.length} dangling links; mend the link, or the page that it leads to`)
}

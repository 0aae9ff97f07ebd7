// Makes programs of the js and ts blocks of README.md, docs/ and the comments of the types, and
// type-checks them. Usage: node scripts/snippets.mjs [pages]; __test__/docs.test.mjs also runs
// them.
//
// A block that imports `createGuard` stands alone. Any other is a fragment: it is put into a
// function behind the preamble of its page. Comments of the page that a reader does not see:
//
//   <!-- preamble        TypeScript that the fragments of the page stand behind
//   <!-- no run: why     the next block is checked and not run
//   <!-- then            TypeScript that runs behind the block above, to try out what it has built
//
// Examples of the types are fragments behind __test__/types/examples-preamble.ts, and are not run.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fail, isMain, output, root } from './lib.mjs'

// JavaScript has no `!` to say that these are there, as they are behind a stack that wants a token.
const ALWAYS_THERE = /\b(?:req|request)\.(?:user|guard|url)(?=\.\w)/g
const FOLDER = join(root, 'target/snippets')
const COMPILER = { extends: '../../__test__/types/tsconfig.json', compilerOptions: { noUnusedLocals: false, noUncheckedIndexedAccess: false, exactOptionalPropertyTypes: false, noEmit: false, outDir: 'out', types: ['node', 'express'] }, include: ['*.mts', '*.d.ts'] }
// A variable of the environment is taken for set.
const AMBIENT = `
declare namespace NodeJS { interface ProcessEnv { JWT_SECRET: string; REFRESH_SECRET: string; DPOP_NONCE_SECRET: string; INTROSPECTION_SECRET: string; REDIS_URL: string; REDIS_PASSWORD: string } }
declare namespace Express { interface User { sub: string; sid: string; role: 'admin' | 'reader' } }
/** Sends a request to the last server that listens, or to the application that is given. */
declare function send(path: string, options?: { method?: string; headers?: Record<string, string>; body?: unknown; app?: unknown }): Promise<{ status: number; headers: Headers; json: any }>
declare function equal(actual: unknown, expected: unknown): void
`

/** The pages whose blocks are programs. */
export function pages() {
  const listed = output('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'README.md', 'docs', 'types', '*.d.ts'])
  return listed.split('\n').filter((file) => /^(README|docs\/.*)\.md$|^(types\/)?\w+\.d\.ts$/.test(file) && file !== 'native.d.ts')
}

/**
 * The blocks of a page: `{ page, line, language, code, preamble, then, noRun }`; `line` is that of
 * the first line of code.
 */
export function blocksOf(page) {
  const blocks = []
  const ofTypes = page.endsWith('.d.ts')
  const read = readFileSync(join(root, page), 'utf8')
  const text = ofTypes ? read.replace(/^ *\* ?/gm, '') : read
  let preamble = ofTypes ? readFileSync(join(root, '__test__/types/examples-preamble.ts'), 'utf8') : ''
  let noRun = ofTypes ? 'an example of the types' : undefined
  const pattern = /<!-- (preamble|then)\n([^]*?)-->|<!-- no run: ([^]*?) -->|^```(\w+)\n([^]*?)^```$/gm
  for (const { index, 0: all, 1: kind, 2: hidden, 3: reason, 4: language, 5: code } of text.matchAll(pattern)) {
    if (kind === 'preamble') preamble = hidden
    else if (kind === 'then') Object.assign(blocks.at(-1), { trial: hidden })
    else if (reason !== undefined) noRun = reason
    else if (language === 'js' || language === 'ts') {
      const line = text.slice(0, index + all.indexOf('\n')).split('\n').length + 1
      blocks.push({ page, line, language, code, preamble, trial: '', noRun, fragment: ofTypes })
      if (!ofTypes) noRun = undefined
    }
  }
  return blocks
}

/** The program of a block, and the line of it at which the block begins. */
function programOf({ language, code, preamble, trial, fragment }) {
  const alone = !fragment && /^import .*\bcreateGuard\b/m.test(code) || /^declare (global|module)/m.test(code)
  const text = language === 'js' ? code.replace(ALWAYS_THERE, '$&!') : code
  if (alone) return { head: 0, text: `${text}\n${trial}\nexport {}\n` }
  const imports = text.split('\n').filter((line) => line.startsWith('import ') && !preamble.includes(line))
  const body = text.split('\n').map((line) => (line.startsWith('import ') ? '' : line)).join('\n')
  const top = `${preamble}\n${imports.join('\n')}\nasync function block() {\n`
  return { head: top.split('\n').length - 1, text: `${top}${body}\n${trial}\n}\nexport default block\n` }
}

/**
 * Writes the programs of blocks and compiles them under `strict`. Gives each its `name`
 * (`page:line`), its `file` in JavaScript, and its `errors`.
 */
export function compile(blocks) {
  rmSync(FOLDER, { recursive: true, force: true })
  mkdirSync(FOLDER, { recursive: true })
  writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify(COMPILER))
  writeFileSync(join(FOLDER, 'ambient.d.ts'), AMBIENT)
  const programs = new Map()
  for (const block of blocks) {
    const base = `${block.page.replace(/\.(md|d\.ts)$/, '').replaceAll('/', '-')}-${block.line}`
    const { head, text } = programOf(block)
    writeFileSync(join(FOLDER, `${base}.mts`), text)
    programs.set(`${base}.mts`, { ...block, head, name: `${block.page}:${block.line}`, file: join(FOLDER, 'out', `${base}.mjs`), errors: [] })
  }
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', FOLDER, '--pretty', 'false']
  const { stdout } = spawnSync(process.execPath, args, { cwd: FOLDER, encoding: 'utf8' })
  const others = []
  for (const line of stdout.split('\n').filter((line) => line !== '')) {
    const [, file, at, what] = /^([\w.-]+\.mts)\((\d+),\d+\): (.*)$/.exec(line) ?? []
    const program = programs.get(file)
    if (program === undefined) others.push(line)
    else program.errors.push(`${program.page}:${Number(at) - program.head + program.line - 1}: ${what}`)
  }
  if (others.length > 0 && [...programs.values()].every(({ errors }) => errors.length === 0)) throw new Error(others.join('\n'))
  return [...programs.values()]
}

if (isMain(import.meta.url)) {
  const chosen = process.argv.slice(2)
  const errors = compile((chosen.length > 0 ? chosen : pages()).flatMap((page) => blocksOf(page))).flatMap((program) => program.errors)
  for (const error of errors) console.error(error)
  if (errors.length > 0) fail(`${errors.length} errors in code blocks of the documentation`)
}

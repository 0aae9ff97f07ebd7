// Checks the tarball as npm would publish it: what is in it, and whether every way of importing
// finds its types. Usage: node scripts/package.mjs

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fail, output, run } from './lib.mjs'

const folder = mkdtempSync(join(tmpdir(), 'keepstone-'))
try {
  const packed = output('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder])
  if (packed === null) fail('npm pack failed')
  const tarball = join(folder, JSON.parse(packed)[0].filename)
  run(process.execPath, ['node_modules/publint/src/cli.js', tarball, '--strict'])
  run(process.execPath, ['node_modules/@arethetypeswrong/cli/dist/index.js', tarball])
} finally {
  rmSync(folder, { recursive: true, force: true })
}

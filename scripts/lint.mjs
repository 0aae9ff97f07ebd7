// Everything that reads the code without running it.
// Usage: node scripts/lint.mjs

import { ensure } from './ensure.mjs'
import { output, run, say } from './lib.mjs'

ensure()
run('cargo', ['fmt', '--check'])
run('cargo', ['clippy', '--locked', '--all-targets', '--', '-D', 'warnings'])
// The core must not know Node: this builds it without the edge.
run('cargo', ['check', '--locked', '--no-default-features'])
// A dangling link in a comment names a thing that is gone.
run('cargo', ['doc', '--locked', '--no-deps', '--document-private-items'], { RUSTDOCFLAGS: '-A rustdoc::private_intra_doc_links -D warnings' })
if (output('cargo', ['deny', '--version']) === null) say('cargo-deny is not installed: deny.toml is not checked')
else run('cargo', ['deny', '--locked', 'check', 'bans', 'licenses', 'sources'])
run(process.execPath, ['node_modules/oxlint/bin/oxlint', '--deny-warnings'])
run(process.execPath, ['scripts/links.mjs'])
run(process.execPath, ['scripts/floors.mjs'])
run(process.execPath, ['scripts/layout.mjs'])
run(process.execPath, ['scripts/words.mjs'])
run(process.execPath, ['scripts/types.mjs'])
run(process.execPath, ['scripts/package.mjs'])

// From CommonJS: `import =` and `import`.
import guard = require('keepstone')
import standard, { createGuard } from 'keepstone'
import { expect, type Equals } from './equals.js'

expect<Equals<typeof guard.createGuard, typeof createGuard>>()
expect<Equals<typeof standard.createGuard, typeof createGuard>>()
expect<Equals<typeof guard.default.createGuard, typeof createGuard>>()
const built: guard.Guard = guard.createGuard()
void built

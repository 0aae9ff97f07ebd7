// From a fresh clone to a running API: installs, builds what is stale, starts the Express 5
// example. Usage: node scripts/start.mjs (PORT and JWT_SECRET are read by the example)

import { build } from './build.mjs'
import { ensure } from './ensure.mjs'

ensure()
build('release')
await import('../examples/express-5/server.mjs')

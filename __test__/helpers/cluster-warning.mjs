// A process that builds a guard by the options in `OPTIONS` and tells the codes of its warnings;
// with `CLUSTER`, a worker of `node:cluster` does.

import cluster from 'node:cluster'
import { createGuard } from 'keepstone'

if (process.env.CLUSTER === '1' && cluster.isPrimary) {
  cluster.fork()
} else {
  process.on('warning', ({ code, message }) => console.log(JSON.stringify([code, message])))
  for (let i = 0; i < 2; i += 1) createGuard(JSON.parse(process.env.OPTIONS)).close()
  setImmediate(() => cluster.worker?.disconnect())
}

// Runs server.mjs in several processes: node examples/service/cluster.mjs
//
// SIGHUP replaces them one after the other without losing a request, SIGTERM ends all.

import cluster from 'node:cluster'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'

cluster.setupPrimary({ exec: new URL('server.mjs', import.meta.url).pathname })
const count = Number(process.env.WORKERS ?? availableParallelism())
let isStopping = false

async function start() {
  const worker = cluster.fork()
  worker.on('exit', () => {
    if (!isStopping && !worker.isReplaced) start()
  })
  await once(worker, 'listening')
  return worker
}

async function replaceAll() {
  for (const worker of Object.values(cluster.workers)) {
    await start()
    worker.isReplaced = true
    const ended = once(worker, 'exit')
    worker.process.kill('SIGTERM')
    await ended
  }
  console.log('replaced')
}

await Promise.all(Array.from({ length: count }, start))
process.on('SIGHUP', replaceAll)
process.on('SIGTERM', () => {
  isStopping = true
  for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGTERM')
})

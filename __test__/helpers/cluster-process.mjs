// A service of `node:cluster` that restarts its workers one after the other. `restart` on its
// channel replaces all of them; it answers with how they ended.

import cluster from 'node:cluster'
import http from 'node:http'
import { once } from 'node:events'
import { createGuard } from '../../index.js'

const { config, workers } = JSON.parse(process.env.SERVICE)

if (cluster.isPrimary) {
  const start = async () => {
    const worker = cluster.fork()
    const [, address] = await once(cluster, 'listening')
    return { worker, port: address.port }
  }
  const running = []
  let port
  for (let i = 0; i < workers; i += 1) {
    const started = await start()
    running.push(started.worker)
    port = started.port
  }
  process.on('message', async (message) => {
    if (message === 'restart') {
      const ends = []
      for (const old of running.splice(0)) {
        running.push((await start()).worker)
        const ended = once(old, 'exit')
        old.process.kill('SIGTERM')
        ends.push(await ended)
      }
      process.send({ ends })
    } else {
      for (const worker of running) worker.process.kill('SIGTERM')
      process.disconnect()
    }
  })
  process.send({ port })
} else {
  const guard = createGuard(config)
  const [protect] = guard.securityStack()
  const server = http.createServer((req, res) => protect(req, res, () => res.end('ok')))
  process.on('SIGTERM', () => {
    server.close(async () => {
      await guard.close()
      cluster.worker.disconnect()
    })
  })
  await guard.ready()
  server.listen(0, '127.0.0.1')
}

// What `startPeer` starts.

import http from 'node:http'
import { createGuard } from '../../index.js'
import express from 'express'

const guard = createGuard(JSON.parse(process.argv[2]))
const app = express()
app.get('/fresh', guard.require?.({ fresh: true }) ?? [], (req, res) => res.json({ sub: req.user.sub }))
app.use(guard.securityStack())
app.get('/', (req, res) => res.json({ sub: req.user?.sub ?? null }))
const server = http.createServer(app)

process.on('message', async ({ id, listen, stop, path, args }) => {
  if (listen) {
    server.listen(0, '127.0.0.1', () => process.send({ id, value: server.address().port }))
    return
  }
  if (stop) {
    // Nothing else may hold the process open: not a connection to a store either.
    server.close()
    server.closeAllConnections()
    process.disconnect()
    return
  }
  try {
    const names = path.split('.')
    const name = names.pop()
    const owner = names.reduce((object, key) => object[key], guard)
    process.send({ id, value: await owner[name](...args) })
  } catch (error) {
    process.send({ id, code: error.code ?? String(error) })
  }
})

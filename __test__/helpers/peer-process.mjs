// What `startPeer` starts.

import http from 'node:http'
import { createGuard } from '../../index.js'
import express from 'express'

const config = JSON.parse(process.argv[2])
const guard = createGuard(config)
const app = express()
if (config.jwt !== undefined && config.revocation !== false) app.get('/fresh', guard.require({ fresh: true }), (req, res) => res.json({ sub: req.user.sub }))
app.use(guard.securityStack())
app.get('/', (req, res) => res.json({ sub: req.user?.sub ?? null }))
// Answers after so many milliseconds; it does not hold the process open for that.
app.get('/slow/:ms', (req, res) => void setTimeout(() => res.end('done'), Number(req.params.ms)).unref())
// Between two words to a server that counts who is inside.
app.get('/counted/:port', async (req, res) => {
  const say = (path) => fetch(`http://127.0.0.1:${req.params.port}/${path}`).then((answer) => answer.text())
  await say('enter')
  await say('leave')
  res.end('done')
})
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

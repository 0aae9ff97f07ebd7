// An MCP server on Express behind keepstone, with sessions: see README.md for how to start it.

import { randomUUID } from 'node:crypto'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import express from 'express'
import { createGuard } from 'keepstone'
import { notesServer, writes } from './notes.mjs'

const { ISSUER, PORT = '3000', RESOURCE = `http://127.0.0.1:${PORT}/mcp` } = process.env
const PAGES = ['http://localhost:6274'] // clients in a browser: the MCP Inspector
const MAX_SESSIONS = 10 // of one user

const guard = createGuard({
  hosts: [new URL(RESOURCE).host],
  csrf: { origins: PAGES },
  cors: {
    origins: PAGES,
    requestHeaders: ['authorization', 'content-type', 'mcp-session-id', 'mcp-protocol-version', 'last-event-id'],
    exposeHeaders: ['mcp-session-id', 'www-authenticate']
  },
  payload: { operators: 'allow' }, // MCP has keys such as "io.modelcontextprotocol/related-task"
  jwt: { issuer: ISSUER, discovery: true, typ: 'at+jwt', resource: { url: RESOURCE, scopes: ['notes:read'] } }
})

const app = express()
app.use(guard.protectedResource())
app.use(guard.securityStack())
app.use('/mcp', guard.csrf(), guard.require({ scope: 'notes:read' }))
app.post('/mcp', (req, res, next) => next(writes(req.body) ? undefined : 'route'), guard.require({ scope: 'notes:write' }))

// A session belongs to the user who opened it: its id alone opens nothing.
const sessions = new Map()
app.all('/mcp', async (req, res) => {
  const { iss, sub, client_id: clientId, scope = '', exp } = req.user
  const owner = JSON.stringify([iss, sub])
  const id = req.headers['mcp-session-id']
  const session = id === undefined ? await openSession(owner) : sessions.get(id)
  if (session?.owner !== owner) return res.status(404).json({ jsonrpc: '2.0', error: { code: -32001, message: 'Session not found' }, id: null })
  req.auth = { clientId, scopes: scope.split(' '), expiresAt: exp, extra: { sub } }
  await session.transport.handleRequest(req, res, req.body)
})

async function openSession(owner) {
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => {
      const own = [...sessions].filter(([, session]) => session.owner === owner)
      if (own.length >= MAX_SESSIONS) closeSession(...own[0])
      sessions.set(id, { owner, transport })
    },
    onsessionclosed: (id) => sessions.delete(id)
  })
  await notesServer().connect(transport)
  return { owner, transport }
}

function closeSession(id, { transport }) {
  sessions.delete(id)
  transport.close()
}

app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`MCP server at ${RESOURCE}`)
})

// The same MCP server on Hono, without sessions: see README.md for how to start it.

import { serve } from '@hono/node-server'
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js'
import { Hono } from 'hono'
import { createGuard } from 'keepstone'
import { keepstone } from 'keepstone/hono'
import { notesServer, writes } from './notes.mjs'

const { ISSUER, PORT = '3000', RESOURCE = `http://127.0.0.1:${PORT}/mcp` } = process.env

const guard = createGuard({
  hosts: [new URL(RESOURCE).host],
  payload: { operators: 'allow' }, // MCP has keys such as "io.modelcontextprotocol/related-task"
  jwt: { issuer: ISSUER, discovery: true, typ: 'at+jwt', resource: { url: RESOURCE, scopes: ['notes:read'] } }
})
const mayWrite = keepstone(guard, guard.require({ scope: 'notes:write' }))

const app = new Hono()
const { path, document } = guard.protectedResource()
app.get(path, (c) => c.json(document))
app.use(keepstone(guard))
app.use('/mcp', keepstone(guard, guard.require({ scope: 'notes:read' })))
app.use('/mcp', (c, next) => (writes(c.get('body')) ? mayWrite(c, next) : next()))

app.post('/mcp', async (c) => {
  const { sub, client_id: clientId, scope = '', exp } = c.get('user')
  const transport = new WebStandardStreamableHTTPServerTransport()
  await notesServer().connect(transport)
  const authInfo = { clientId, scopes: scope.split(' '), expiresAt: exp, extra: { sub } }
  return transport.handleRequest(c.req.raw, { authInfo, parsedBody: c.get('body') })
})
// There is no event stream without a session, and nothing to end.
app.all('/mcp', (c) => c.text('', 405, { Allow: 'POST' }))

serve({ fetch: app.fetch, port: Number(PORT), hostname: '127.0.0.1' }, () => console.log(`MCP server at ${RESOURCE}`))

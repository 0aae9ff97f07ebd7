// The MCP server itself: notes of each user. It knows nothing of HTTP or tokens.

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { z } from 'zod'

const MAX_NOTES = 100
const notes = new Map()

/** A server for one session. Its tools find the user in `authInfo.extra.sub`. */
export function notesServer() {
  const server = new McpServer({ name: 'notes', version: '1.0.0' })
  const notesOf = ({ authInfo }) => notes.get(authInfo.extra.sub) ?? []
  const text = (value) => ({ content: [{ type: 'text', text: value }] })

  server.registerTool('list-notes', { description: 'Lists your notes' }, (extra) => text(notesOf(extra).join('\n')))
  server.registerTool('add-note', { description: 'Adds a note', inputSchema: { note: z.string().max(1000) } }, ({ note }, extra) => {
    notes.set(extra.authInfo.extra.sub, [...notesOf(extra), note].slice(-MAX_NOTES))
    return text('added')
  })
  return server
}

/** The tools that a token with `notes:read` may call. */
export const READING = new Set(['list-notes'])

/** Whether a message, or one of a batch, calls a tool that changes notes. */
export function writes(body) {
  return [body].flat().some((message) => message?.method === 'tools/call' && !READING.has(message.params?.name))
}

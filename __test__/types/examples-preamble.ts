// Stands before the examples in the comments of the types.

import { readFile } from 'node:fs/promises'
import http from 'node:http'
import express from 'express'
import { createGuard } from 'keepstone'
import { providers } from 'keepstone'
import { createTestClient, createTestClock, createTestIssuer } from 'keepstone/testing'
import { WebSocketServer } from 'ws'
import { z } from 'zod'

const app = express()
const guard = createGuard({ jwt: { issuer: 'https://id.example.com', audience: 'my-api', secret: process.env.JWT_SECRET } })
const issuer = createTestIssuer()
const handler: express.RequestHandler = (req, res) => void res.json(req.body)
const server = http.createServer(app)
const sockets = new WebSocketServer({ noServer: true })
declare const method: string, target: string, headers: Headers, address: string, body: Uint8Array
declare function answer(status: number, headers: readonly (readonly [string, string])[], body: string | null): void

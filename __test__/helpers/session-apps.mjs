// One application with a login, a refresh, a logout and a page for users, on each host.

import { createRequire } from 'node:module'
import http from 'node:http'
import { Browser } from './browser.mjs'
import { jwt } from './articles.mjs'
import { serve } from './http.mjs'

const require = createRequire(import.meta.url)

export const ACCESS = '__Host-token'
export const REFRESH = '__Secure-refresh'
export const PROOF = '__Host-refresh'

/** What a guard with sessions is built with. */
export const config = (more = {}) => {
  const { jwt: tokens, ...others } = more
  return { rateLimit: false, jwt: { ...jwt, refresh: true, from: [{ cookie: ACCESS }], ...tokens }, sessions: {}, ...others }
}

const login = (guard, req, res) => guard.sessions.start(res, { sub: req.headers['x-user'] ?? 'ada', role: 'reader' })
const me = (req, res) => res.end(JSON.stringify({ sub: req.user.sub, role: req.user.role, sid: req.user.sid }))

function expressApp(express, guard, claims) {
  const app = express()
  const open = guard.securityStack({ jwt: false })
  app.post('/session/login', ...open, (req, res, next) => login(guard, req, res).then(() => res.sendStatus(204), next))
  app.post('/session/refresh', ...open, guard.sessions.refresh(...claims))
  app.all('/session/bare', guard.sessions.refresh(...claims))
  app.post('/session/logout', ...open, guard.sessions.logout())
  app.use(guard.securityStack())
  app.get('/me', me)
  app.use((error, req, res, next) => (res.headersSent ? next(error) : res.status(error.status ?? 500).json({ app: error.message })))
  return app
}

function nodeApp(guard, claims) {
  const [open] = guard.securityStack({ jwt: false })
  const [closed] = guard.securityStack()
  const refresh = guard.sessions.refresh(...claims)
  const logout = guard.sessions.logout()
  return (req, res) => {
    const failed = (error) => res.writeHead(error.status ?? 500).end(JSON.stringify({ app: error.message }))
    const ended = () => res.writeHead(204).end()
    if (req.url === '/session/login') return open(req, res, () => login(guard, req, res).then(ended, failed))
    if (req.url === '/session/refresh') return open(req, res, () => refresh(req, res, failed))
    if (req.url === '/session/bare') return refresh(req, res)
    if (req.url === '/session/logout') return open(req, res, () => logout(req, res))
    return closed(req, res, () => me(req, res))
  }
}

/** `[name, (guard, options of refresh) => listener]`. */
export const HOSTS = [
  ['Express 5', (guard, ...claims) => expressApp(require('express'), guard, claims)],
  ['Express 4', (guard, ...claims) => expressApp(require('express-4'), guard, claims)],
  ['node:http', (guard, ...claims) => nodeApp(guard, claims)]
]

/** Serves `listener` while `use(browser, send, port)` runs. */
export function browse(listener, use) {
  return serve(listener, (send, { port }) => use(new Browser(port), send, port), http.createServer(listener))
}

/** The cookies of an answer, by name: their attributes without the value. */
export function attributesOf(answer) {
  const lines = answer.headers['set-cookie'] ?? []
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf(';') + 2)]))
}

/** Whether an answer clears all three cookies. */
export const clears = (answer) => (answer.headers['set-cookie'] ?? []).filter((line) => /^[\w-]+=; .*Max-Age=0;/.test(line)).length === 3

// The traffic of the soak: good requests and bad ones, and clients that go away in the middle.

import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { dpop, dpopClient } from '../__test__/helpers/dpop.mjs'
import { ask } from './services.mjs'

const HOST = 'api.example.com'
const bearer = (token) => ({ authorization: `Bearer ${token}` })

/** A client that does one thing after the other; `act()` is one of them. */
export function soakClient(port, random, number) {
  const own = { 'x-client': `client-${number}` }
  const bound = dpopClient()
  let session
  let boundToken
  const send = (options) => ask(port, { ...options, headers: { ...own, ...options.headers } })
  const login = async (claims) => (await send({ path: '/login', body: { sub: `user-${number}`, ...claims } })).json

  const acts = {
    async login() {
      session = await login()
    },
    async request() {
      await send({ path: '/me', headers: bearer(session.accessToken) })
    },
    async 'a bad token'() {
      const { accessToken } = session
      await send({ path: '/me', headers: bearer(random.pick(['', 'a.b.c', `${accessToken}x`, accessToken.slice(5)])) })
    },
    async refresh() {
      const next = await send({ path: '/refresh', body: { token: session.refreshToken } })
      if (next.status === 200) session = next.json
    },
    async 'a replay'() {
      const old = session.refreshToken
      for (let times = 0; times < 3; times++) {
        const next = await send({ path: '/refresh', body: { token: session.refreshToken } })
        if (next.status === 200) session = next.json
      }
      await send({ path: '/refresh', body: { token: old } })
      session = await login()
    },
    async logout() {
      await send({ path: '/logout', body: { token: session.accessToken } })
      await send({ path: '/me', headers: bearer(session.accessToken) })
      session = await login()
    },
    async body() {
      await send({ path: '/orders', headers: bearer(session.accessToken), body: random.pick([{ name: 'a', count: 1 }, { name: 'a', count: 0 }, { name: 1 }, [], { name: 'x'.repeat(20_000), count: 1 }]) })
    },
    async 'a proof'() {
      boundToken ??= (await login({ cnf: { jkt: bound.jkt } })).accessToken
      const headers = { host: HOST, ...dpop(boundToken, bound.proof({ url: `http://${HOST}/me`, token: boundToken })) }
      const { status } = await send({ path: '/me', headers })
      await send({ path: '/me', headers })
      if (status !== 200) boundToken = undefined
    },
    async limits() {
      await Promise.all(Array.from({ length: 8 }, () => send({ path: '/few', headers: bearer(session.accessToken) })))
    },
    async 'leaves while it waits'() {
      await send({ path: '/slow', headers: bearer(session.accessToken), timeout: 20 })
    },
    'leaves in the head': () => breakOff(port, `GET /me HTTP/1.1\r\nhost: ${HOST}\r\nauthor`),
    'leaves in the body': () => breakOff(port, `POST /orders HTTP/1.1\r\nhost: ${HOST}\r\nauthorization: Bearer ${session.accessToken}\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"name":`)
  }
  const names = Object.keys(acts)
  return {
    async act() {
      session ??= await login()
      await acts[random.pick(names)]()
    }
  }
}

/** Sends a part of a request, and resets the connection or ends it. */
async function breakOff(port, text) {
  const socket = net.connect({ host: '127.0.0.1', port })
  socket.on('error', () => {})
  socket.write(text)
  await sleep(10)
  socket.resetAndDestroy()
}

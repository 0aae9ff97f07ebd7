// A Redis Cluster of which one primary hangs: nobody notices who does not ask for what that one
// has.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import test, { after, before } from 'node:test'
import { createGuard } from 'keepstone'
import { dpop, dpopClient } from './helpers/dpop.mjs'
import { startPeer } from './helpers/peer.mjs'
import { startCluster, waitUntil } from './helpers/servers.mjs'
import { assertUnavailable, serveGuard } from './helpers/store-guard.mjs'

const CLIENTS = 24
const byClient = { name: 'client', limit: 1_000_000, window: '300d', algorithm: 'fixed-window', exact: true, key: (req) => req.headers['x-client'] ?? 'nobody' }
const secret = randomBytes(48).toString('base64url')
const bound = { issuer: 'https://id.example', audience: 'api', secret }
const jwt = { ...bound, refresh: true }

// Nobody takes the place of a node that hangs for less than this.
let cluster
before(async () => (cluster = await startCluster({ nodeTimeout: 120_000 })))
after(() => cluster.stop())

const urls = ({ seeds }) => seeds.map(({ host, port }) => `redis://${host}:${port}`)
// Where the store answers, requests wait longer than in production: a busy machine is no fault.
const options = (of, prefix) => ({ cluster: urls(of), timeout: '500ms', prefix })

async function primariesOf({ nodes }) {
  const roles = await Promise.all(nodes.map((node) => node.info('replication')))
  return nodes.filter((_, i) => roles[i].role === 'master')
}

/** The primary that has the one key which `act` adds under `prefix`. */
async function homeOf(primaries, pattern, act) {
  const keys = async () => (await Promise.all(primaries.map(async (node) => (await node.keys(pattern)).map((key) => [key, node])))).flat()
  const known = new Set((await keys()).map(([key]) => key))
  await act()
  return (await keys()).find(([key]) => !known.has(key))[1]
}

/** For each primary the clients whose counts it has. */
async function homes(primaries, api, prefix) {
  const at = new Map(primaries.map((node) => [node, []]))
  for (let i = 0; i < CLIENTS; i++) {
    const ask = () => waitUntil('the client is judged', async () => (await visit(api, `c${i}`)).status === 200)
    at.get(await homeOf(primaries, `${prefix}l:*`, ask)).push(`c${i}`)
  }
  for (const clients of at.values()) assert.ok(clients.length > 0, 'each node has some')
  return at
}

const visit = (api, client) => api.get('/', { headers: { 'x-client': client } })

async function whilePaused(node, act) {
  node.pause()
  try {
    await act()
  } finally {
    node.resume()
  }
}

test('clients of other nodes get every answer, those of the one that hangs get 503 at once, and all of them get answers when it goes on', async (t) => {
  const prefix = 'hang:'
  const api = await serveGuard(t, options(cluster, prefix), { rateLimit: byClient })
  const primaries = await primariesOf(cluster)
  const at = await homes(primaries, api, prefix)
  // One of them has the list of processes that are alive, one that of blocks.
  for (const hangs of primaries) {
    const own = at.get(hangs)
    const others = primaries.filter((node) => node !== hangs).flatMap((node) => at.get(node))
    await whilePaused(hangs, async () => {
      const seen = { others: {}, own: {} }
      const end = Date.now() + 3_000
      let rounds = 0
      while (Date.now() < end || rounds < 20) {
        rounds += 1
        const [ofOthers, ofOwn] = await Promise.all([others, own].map((clients) => Promise.all(clients.map((client) => visit(api, client)))))
        for (const { status } of ofOthers) seen.others[status] = (seen.others[status] ?? 0) + 1
        for (const answer of ofOwn) {
          seen.own[answer.status] = (seen.own[answer.status] ?? 0) + 1
          assertUnavailable(answer)
        }
      }
      t.diagnostic(`${rounds} rounds: ${JSON.stringify(seen)}`)
      assert.deepEqual(Object.keys(seen.others), ['200'])
      assert.ok(rounds >= 20)
      assert.deepEqual([api.store().available, api.store().away], [true, 1])
    })
    const start = performance.now()
    await waitUntil('all clients are judged again', async () => (await Promise.all(own.map((client) => visit(api, client)))).every(({ status }) => status === 200))
    await waitUntil('none is away', () => api.store().away === 0)
    t.diagnostic(`judged again after ${(performance.now() - start).toFixed(0)} ms`)
  }
})

test('a process that starts while a node hangs judges the clients of the others', async (t) => {
  const prefix = 'start:'
  const api = await serveGuard(t, options(cluster, prefix), { rateLimit: byClient })
  const primaries = await primariesOf(cluster)
  const at = await homes(primaries, api, prefix)
  for (const hangs of primaries) {
    await whilePaused(hangs, async () => {
      const late = await serveGuard(t, { ...options(cluster, prefix), maxBytes: '8mb' }, { rateLimit: byClient })
      const others = primaries.filter((node) => node !== hangs).flatMap((node) => at.get(node))
      const judged = (client) => waitUntil(`${client} is judged`, async () => (await visit(late, client)).status === 200)
      await Promise.all(others.map(judged))
      for (const client of others) assert.equal((await visit(late, client)).status, 200)
      for (const client of at.get(hangs)) assertUnavailable(await visit(late, client))
      await late.close()
    })
  }
})

test('a request that is counted on two nodes, of which one hangs, costs nothing on the other', async (t) => {
  const prefix = 'both:'
  const second = { ...byClient, name: 'second', key: (req) => req.headers['x-second'] ?? 'nobody' }
  const api = await serveGuard(t, options(cluster, prefix), { rateLimit: [byClient, second] })
  const primaries = await primariesOf(cluster)
  const home = (name, key) => homeOf(primaries, `${prefix}l:*`, () => waitUntil('it is counted', async () => (await api.guard.limits.consume(name, key).catch(() => false))))
  const hangs = await home('second', 's0')
  let client = 0
  while ((await home('client', `k${client}`)) === hangs) client += 1
  const left = async () => (await api.guard.limits.get('client', `k${client}`)).remaining
  const before = await left()
  await whilePaused(hangs, async () => {
    for (let i = 0; i < 10; i++) {
      assertUnavailable(await api.get('/', { headers: { 'x-client': `k${client}`, 'x-second': 's0' } }))
    }
    // What the first of them had charged before the answer of the other was given up comes back.
    await waitUntil('it has cost nothing', async () => (await left()) === before)
  })
})

test('sessions, revocations and blocks go on where another node hangs than theirs', async (t) => {
  const prefix = 'state:'
  const guard = createGuard({ rateLimit: false, jwt, store: { redis: options(cluster, prefix) } })
  t.after(() => guard.close())
  const primaries = await primariesOf(cluster)
  await guard.ready({ timeout: '20s' })
  const config = { rateLimit: { name: 'api', limit: 1_000_000, window: '1h' }, jwt, store: { redis: options(cluster, prefix) } }
  const peer = await startPeer(config)
  t.after(() => peer.stop())
  await waitUntil('the other process is ready', async () => (await peer.call('health')).ready)
  const sessions = new Map(primaries.map((node) => [node, []]))
  for (let i = 0; i < 12; i++) {
    let login
    const home = await homeOf(primaries, `${prefix}r:*`, async () => (login = await guard.tokens.issue({ sub: `user${i}` })))
    sessions.get(home).push(login)
  }
  const [stream, blocks] = await Promise.all(['rev', 'notices'].map(async (name) => cluster.primaryOf(`${prefix}{${name}}`)))
  let number = 0
  for (const hangs of primaries) {
    await whilePaused(hangs, async () => {
      const refreshed = [...sessions].flatMap(([node, logins]) =>
        logins.map(async (login) => {
          const next = guard.tokens.refresh(login.refreshToken)
          // A refresh asks for the newest revocations, so it needs the node of those, too.
          if (node === hangs || stream === hangs) await assert.rejects(next, (error) => error.code === 'ERR_STORE_UNAVAILABLE')
          else Object.assign(login, await next)
        })
      )
      await Promise.all(refreshed)
      number += 1
      if (blocks !== hangs) {
        await guard.limits.block(`198.51.100.${number}`, '1h')
      }
      if (stream !== hangs) {
        const { accessToken } = [...sessions.values()].flat()[0]
        await guard.revoke.subject(`nobody${number}`)
        const answer = await peer.get('/', { authorization: `Bearer ${accessToken}` })
        assert.equal(answer.status, 200)
        assert.equal(guard.health().revocation.state, 'fresh')
      }
    })
    await waitUntil('everything is there again', async () => {
      await Promise.all([...sessions.values()].flat().map(async (login) => Object.assign(login, await guard.tokens.refresh(login.refreshToken))))
      return guard.health().revocation.state === 'fresh'
    })
  }
})

test('a slot that moves to another node under load: each request is counted once, on whichever node the key is', async (t) => {
  const prefix = 'moves:'
  const LIMIT = 300
  const counted = { ...byClient, limit: LIMIT }
  const api = await serveGuard(t, options(cluster, prefix), { rateLimit: counted })
  const primaries = await primariesOf(cluster)
  let passed = 0
  const load = { goes: true }
  const go = async () => {
    while (load.goes) {
      const { status } = await visit(api, 'one')
      assert.ok(status === 200 || status === 429, `${status}`)
      if (status === 200) passed += 1
      if (passed === LIMIT) return
    }
  }
  const from = await homeOf(primaries, `${prefix}l:*`, () =>
    waitUntil('the client is judged', async () => {
      const { status } = await visit(api, 'one')
      if (status === 200) passed += 1
      return status === 200
    })
  )
  const to = primaries.find((node) => node !== from)
  const [key] = await from.keys(`${prefix}l:*`)
  const slot = await from.command('CLUSTER', 'KEYSLOT', key)
  const [fromId, toId] = await Promise.all([from, to].map((node) => node.command('CLUSTER', 'MYID')))
  const some = (count) => waitUntil(`${count} more`, () => passed >= count)
  const visits = Promise.all([go(), go(), go()])
  await some(30)
  await to.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', fromId)
  await from.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', toId)
  await some(60)
  await from.command('MIGRATE', to.host, to.port, key, 0, 1000)
  await some(120)
  for (const node of [to, from, ...primaries]) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', toId)
  await some(180)
  load.goes = false
  await visits
  assert.deepEqual(await to.keys(`${prefix}l:*`), [key])
  const { remaining } = await api.guard.limits.get('client', 'one')
  assert.equal(remaining, LIMIT - passed)
})

test('a node that hangs for longer is replaced, without a word from the others, and nobody follows it when it goes on', async (t) => {
  const short = await startCluster({ nodeTimeout: 1000 })
  t.after(() => short.stop())
  const prefix = 'replaced:'
  const api = await serveGuard(t, options(short, prefix), { rateLimit: byClient })
  const primaries = await primariesOf(short)
  const at = await homes(primaries, api, prefix)
  const [hangs] = primaries
  const others = primaries.filter((node) => node !== hangs).flatMap((node) => at.get(node))
  hangs.pause()
  t.after(() => hangs.resume())
  await waitUntil(
    'a replica has taken its place',
    async () => {
      for (const client of others) await visit(api, client)
      return (await Promise.all(at.get(hangs).map((client) => visit(api, client)))).every(({ status }) => status === 200)
    },
    20_000
  )
  const left = async (client) => (await api.guard.limits.get('client', client)).remaining
  const [client] = at.get(hangs)
  const before = await left(client)
  hangs.resume()
  await short.settled()
  for (let i = 0; i < 50; i++) await waitUntil('it is judged', async () => (await visit(api, client)).status === 200)
  assert.ok(before - (await left(client)) >= 50)
})

/**
 * Two processes that take DPoP proofs over a cluster, a token, and `headers()` with a new proof.
 */
async function proving(t, of, prefix) {
  const config = { rateLimit: false, revocation: false, jwt: bound, store: { redis: options(of, prefix) } }
  const peers = await Promise.all([startPeer(config), startPeer(config)])
  t.after(() => Promise.all(peers.map((peer) => peer.stop())))
  const client = dpopClient()
  const { accessToken: token } = await peers[0].call('tokens.issue', { sub: 'ada', cnf: { jkt: client.jkt } })
  const host = 'api.example.com'
  const headers = () => ({ host, ...dpop(token, client.proof({ url: `http://${host}/`, token })) })
  const takes = (peer) => waitUntil('it takes proofs', async () => (await peer.get('/', headers())).status === 200, 20_000)
  for (const peer of peers) await takes(peer)
  return { peers, headers, takes }
}

test('DPoP proofs are taken once where another node hangs than theirs, and by nobody where theirs does', async (t) => {
  const prefix = 'dpop:'
  const { peers: [one, two], headers, takes } = await proving(t, cluster, prefix)
  const home = await cluster.primaryOf(`${prefix}{dpop}`)
  for (const hangs of await primariesOf(cluster)) {
    await whilePaused(hangs, async () => {
      for (let i = 0; i < 10; i++) {
        const used = headers()
        const statuses = [await one.get('/', used), await two.get('/', used)].map(({ status }) => status)
        assert.deepEqual(statuses, hangs === home ? [503, 503] : [200, 401])
      }
    })
    for (const peer of [one, two]) await takes(peer)
  }
})

test('a proof that a primary took is not taken again by a replica that had not got it', async (t) => {
  const short = await startCluster({ nodeTimeout: 1000 })
  t.after(() => short.stop())
  const prefix = 'again:'
  const { peers: [one, two], headers, takes } = await proving(t, short, prefix)
  const home = await short.primaryOf(`${prefix}{dpop}`)
  await home.holdReplication()
  const used = headers()
  assert.equal((await one.get('/', used)).status, 200)
  await home.kill()
  const again = []
  await waitUntil(
    'a replica has taken its place',
    async () => {
      again.push((await two.get('/', used)).status)
      return (await two.get('/', headers())).status === 200
    },
    20_000
  )
  again.push((await two.get('/', used)).status)
  assert.ok(again.every((status) => status === 401 || status === 503), `${again}`)
  await takes(one)
})

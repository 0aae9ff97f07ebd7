// What a store may send: every reply has a size and a time. The stores here are real ones, behind
// something that answers in their place.

import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLyingServer, endless, said, trickled } from './helpers/lying-server.mjs'
import { startMemcached, startRedis } from './helpers/servers.mjs'
import { assertUnavailable, serveGuard } from './helpers/store-guard.mjs'

// A reply is cut off at 16 MB, and what is in the buffers of two sockets has been sent as well.
const MAX_OF_A_REPLY = 40 << 20

let redis
let memcached
before(async () => {
  redis = await startRedis()
  memcached = await startMemcached()
})
after(async () => {
  await redis.stop()
  await memcached.stop()
})

const REDIS = {
  'a string of two gigabytes': endless('$2000000000\r\n', 'x'),
  'a string without an end': endless('$16000000\r\n', 'x'),
  'a list of two billion numbers': endless('*2000000000\r\n', ':1\r\n'),
  'a list of half a million strings': endless('*500000\r\n', `$1024\r\n${'x'.repeat(1024)}\r\n`),
  'lists in lists without an end': endless('', '*1\r\n'),
  'a line without an end': endless('+', 'x'),
  'an error without an end': endless('-ERR ', 'x'),
  'a number without an end': endless(':', '1'),
  'answers to nothing, without an end': endless('', '+OK\r\n'),
  'messages that nobody has subscribed to': endless('', '>2\r\n+message\r\n+x\r\n'),
  'a length that is no number': said('$x\r\n'),
  'a length below zero': said('*-2\r\n'),
  'a page of a web server': said('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n'),
  'an answer that trickles': trickled('+OK'.padEnd(2000, 'K')),
  'half an answer': said('*2\r\n:1\r\n')
}

const MEMCACHED = {
  'a value of two gigabytes': endless('VALUE x 0 2000000000 1\r\n', 'x'),
  'a line without an end': endless('', 'x'),
  'an error without an end': endless('SERVER_ERROR ', 'x'),
  'statistics without an end': endless('', 'STAT pid 1\r\n'),
  'answers to nothing, without an end': endless('', 'STORED\r\n'),
  'an answer that trickles': trickled('STAT pid '.padEnd(2000, '1')),
  'half an answer': said('STAT pid')
}

const stores = [
  ['redis', REDIS, () => redis.port, serveGuard, (port) => ({ url: `redis://127.0.0.1:${port}`, timeout: '250ms' })],
  ['memcached', MEMCACHED, () => memcached.port, serveMemcached, (port) => ({ servers: [`127.0.0.1:${port}`], timeout: '250ms' })]
]

function serveMemcached(t, store) {
  return serveGuard(t, undefined, { store: { memcached: store } })
}

let prefixes = 0
for (const [kind, lies, portOf, serve, options] of stores) {
  for (const [what, tell] of Object.entries(lies)) {
    test(`${kind}: ${what}: memory is bounded, each policy does as it says, and the store is used again`, async (t) => {
      const server = await startLyingServer(portOf())
      t.after(() => server.stop())
      const api = await serve(t, { ...options(server.port), prefix: `r${(prefixes += 1)}:` })
      await api.judged()
      server.lie(tell)
      // The first connection that is lied to, and those that are made after it.
      while (server.stats.lies < 3) {
        assert.equal((await api.get('/local')).status, 200)
        assertUnavailable(await api.get('/closed'))
        await sleep(20)
      }
      assert.ok(server.stats.most < MAX_OF_A_REPLY, `${server.stats.most} bytes were taken`)
      server.lie(null)
      await api.judged()
    })
  }
}

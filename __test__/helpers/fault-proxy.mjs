// A TCP proxy between a client and a server that does what networks do on bad days.

import { once } from 'node:events'
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './processes.mjs'

const MAX_QUEUED = 1 << 20
const SLICES_PER_SECOND = 50

/**
 * Passes connections on to `firstPort`. Every fault can be set at any time, and holds for open
 * connections and new ones. A target that refuses shows as a connection that is reset: the proxy
 * has accepted it by then.
 */
export async function startFaultProxy(firstPort) {
  let targetPort = firstPort
  const port = await freePort()
  const pairs = new Set()
  const faults = { latency: 0, blackhole: false, bytesPerSecond: Infinity }
  const stats = { connections: 0, open: 0, bytesUp: 0, bytesDown: 0 }
  let listener = null

  const accept = (client) => {
    stats.connections++
    stats.open++
    const pair = { client, target: net.connect({ host: '127.0.0.1', port: targetPort }), lostBytes: false }
    pairs.add(pair)
    carry(pair, 'client', 'target', faults, (bytes) => (stats.bytesUp += bytes))
    carry(pair, 'target', 'client', faults, (bytes) => (stats.bytesDown += bytes))
    client.once('close', () => {
      pair.target.destroy()
      pairs.delete(pair)
      stats.open--
    })
  }
  const listen = async () => {
    if (listener !== null) return
    listener = net.createServer({ noDelay: true }, accept).listen(port, '127.0.0.1')
    listener.unref()
    await once(listener, 'listening')
  }
  const refuse = async (on) => {
    if (!on) return listen()
    listener?.close()
    listener = null
  }
  const cut = () => {
    for (const pair of pairs) resetPair(pair)
  }

  await listen()
  return {
    host: '127.0.0.1',
    port,
    /** Connections so far and open now, and the bytes that were passed on. */
    stats,
    /** Makes every round trip longer by `ms`, half of it on each way. */
    latency: (ms) => (faults.latency = ms),
    /** Per connection and direction; `Infinity` ends it. */
    throttle: (bytesPerSecond) => (faults.bytesPerSecond = bytesPerSecond),
    /**
     * Accepts connections, keeps them open and swallows what comes, the end of either side too.
     * When it ends, the connections that lost something are reset: TCP never delivers a stream with
     * a hole.
     */
    blackhole(on) {
      faults.blackhole = on
      if (on) return
      for (const pair of pairs) if (pair.lostBytes) resetPair(pair)
    },
    /** Resets all connections now. New ones are accepted. */
    cut,
    /** Leads to another server from now on; open connections are reset. */
    lead(port) {
      targetPort = port
      cut()
    },
    /** New connections are refused as where nobody listens; open ones stay. */
    refuse,
    async stop() {
      await refuse(true)
      cut()
    }
  }
}

// A socket that is being ended can't be reset: libuv refuses, and Node 20 then waits for it forever
// when it exits.
function reset(socket) {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}

function resetPair({ client, target }) {
  reset(client)
  reset(target)
}

// Carries what `pair[from]` sends to `pair[to]`, in order, with the faults of the moment.
function carry(pair, from, to, faults, count) {
  const [source, sink] = [pair[from], pair[to]]
  let queued = 0
  let way = Promise.resolve()
  const swallow = () => {
    pair.lostBytes ||= faults.blackhole
    return faults.blackhole
  }
  const deliver = async (chunk, due) => {
    await wait(due - performance.now())
    for (let at = 0; at < chunk.length && !sink.destroyed && !swallow(); ) {
      const slice = chunk.subarray(at, at + Math.ceil(faults.bytesPerSecond / SLICES_PER_SECOND))
      at += slice.length
      await wait((slice.length / faults.bytesPerSecond) * 1000)
      if (sink.destroyed || swallow()) break
      sink.write(slice)
      count(slice.length)
    }
    queued -= chunk.length
    if (queued <= MAX_QUEUED) source.resume()
  }
  source.unref()
  source.setNoDelay(true)
  source.on('data', (chunk) => {
    if (swallow()) return
    const due = performance.now() + faults.latency / 2
    queued += chunk.length
    if (queued > MAX_QUEUED) source.pause()
    way = way.then(() => deliver(chunk, due))
  })
  source.on('end', () => {
    way = way.then(() => swallow() || sink.end())
  })
  source.on('error', () => swallow() || reset(sink))
}

async function wait(ms) {
  if (ms > 0) await sleep(Math.ceil(ms), undefined, { ref: false })
}

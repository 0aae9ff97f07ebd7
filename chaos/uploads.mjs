// What uploads leave behind: files, handles and memory, after uploads of which a third breaks off
// and a third is refused; and what they cost beside multer on the same bodies.
// Usage: node chaos/uploads.mjs [uploads, 1000] [megabytes, 10]

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import express from 'express'
import multer from 'multer'
import { createGuard } from 'keepstone'

const AT_ONCE = 8
const [count = '1000', megabytes = '10', kind, directory] = process.argv.slice(2)
const SIZE = Number(megabytes) * 1_000_000
const PNG = Buffer.from('89504e470d0a1a0a', 'hex')

if (kind === undefined) await measure()
else serve()

/** The service, in a process of its own. */
function serve() {
  const app = express()
  const guard = createGuard({ rateLimit: false })
  const body = { type: 'object', required: ['title'], properties: { title: { type: 'string' } } }
  const files = { file: { types: ['image/png'], maxBytes: SIZE + 1000, to: { directory } } }
  const handlers = {
    keepstone: guard.validate({ body, payload: { types: ['multipart'], files, timeout: '60s' } }),
    multer: multer({ dest: directory, limits: { fileSize: SIZE + 1000 } }).single('file')
  }
  app.get('/state', (_req, res) => {
    globalThis.gc()
    const { rss } = process.memoryUsage()
    const { user, system } = process.cpuUsage()
    const resources = process.getActiveResourcesInfo().filter((name) => !/^(?:TCP|TTY|Pipe|Timeout$|Immediate$)/.test(name))
    res.set('connection', 'close').json({ rss, cpu: (user + system) / 1000, files: readdirSync(directory).length, handles: readdirSync('/proc/self/fd').length, resources })
  })
  app.post('/', handlers[kind], (req, res) => {
    if (kind === 'multer') rmSync(req.file.path)
    res.json(1)
  })
  app.use((_error, _req, res, _next) => void res.status(400).set('connection', 'close').end())
  const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port))
}

/** One upload; `act` is what becomes of it. Gives the status, or 0 if it breaks off. */
async function upload(port, act) {
  const field = '--b\r\nContent-Disposition: form-data; name="title"\r\n\r\na\r\n'
  const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
  // The file is taken, and then something else is not as it must be.
  const second = '\r\n--b\r\nContent-Disposition: form-data; name="other"; filename="b"\r\n\r\n'
  const end = act === 'refused' ? `${second}x\r\n--b--\r\n` : `\r\n${field}--b--\r\n`
  const request = http.request({ host: '127.0.0.1', port, method: 'POST', agent: false, headers: { 'content-type': 'multipart/form-data; boundary=b', 'content-length': head.length + SIZE + end.length } })
  const answered = once(request, 'response').then(([response]) => {
    response.resume()
    return response.statusCode
  }, () => 0)
  request.write(head)
  request.write(PNG)
  const piece = Buffer.alloc(64 * 1024, 'x')
  const most = act === 'aborted' ? Math.floor(Math.random() * SIZE) : SIZE
  for (let sent = PNG.length; sent < most; ) {
    const length = Math.min(piece.length, most - sent)
    sent += length
    if (!request.write(piece.subarray(0, length))) await Promise.race([once(request, 'drain').catch(() => {}), answered])
  }
  if (act === 'aborted') request.destroy()
  else request.end(end)
  return await answered
}

async function state(port) {
  return await (await fetch(`http://127.0.0.1:${port}/state`)).json()
}

async function measure() {
  for (const name of ['keepstone', 'multer']) {
    const folder = mkdtempSync(join(tmpdir(), 'uploads-'))
    const service = fork(fileURLToPath(import.meta.url), [count, megabytes, name, folder], { execArgv: ['--expose-gc'] })
    const [port] = await once(service, 'message')
    for (let i = 0; i < AT_ONCE; i += 1) await upload(port, 'taken')
    await sleep(500)
    const before = await state(port)
    const statuses = {}
    const samples = []
    let next = 0
    const run = async () => {
      while (next < Number(count)) {
        const act = ['taken', 'aborted', 'refused'][next % 3]
        next += 1
        if (next % Math.ceil(Number(count) / 4) === 0) samples.push(Math.round((await state(port)).rss / 1e6))
        const status = await upload(port, act)
        statuses[`${act} ${status}`] = (statuses[`${act} ${status}`] ?? 0) + 1
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, run))
    await sleep(2000)
    const after = await state(port)
    console.log(name, statuses)
    console.log(`  files left ${after.files}; handles ${before.handles} before, ${after.handles} after; resources ${JSON.stringify(after.resources)}`)
    console.log(`  memory in MB ${Math.round(before.rss / 1e6)} before, ${samples.join(', ')} meanwhile, ${Math.round(after.rss / 1e6)} after; CPU ${((after.cpu - before.cpu) / Number(count)).toFixed(1)} ms an upload`)
    service.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}

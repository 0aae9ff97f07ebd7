// examples/service and examples/login, as docs/guides/deployment.md describes them: real processes
// that are stopped and replaced while requests are sent.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import http from 'node:http'
import test, { after, before, describe } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bearer, json, send } from './helpers/http.mjs'
import { startRedis, waitUntil } from './helpers/servers.mjs'

const file = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url))
const secret = 'k7Qm2vXw9TzR4bNf8LsYcJ3hGdPe6UaV0123456789abcdef'

/** Starts an example; `until` matches what it prints when it serves. */
async function start(path, env, until = /Bearer (\S+)' http:\/\/127\.0\.0\.1:(\d+)/) {
  const child = spawn(process.execPath, [file(path)], { env: { ...process.env, PORT: '0', HOST: '127.0.0.1', JWT_SECRET: secret, LIMIT: '1000000', ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const program = { child, out: '', closed: once(child, 'close'), stop: async () => (child.kill('SIGKILL'), await program.closed) }
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (program.out += chunk))
  program.closed.then(() => (program.isOver = true))
  await waitUntil(`${path} serves`, () => {
    if (program.isOver) throw new Error(program.out)
    return until.test(program.out)
  })
  return Object.assign(program, { match: until.exec(program.out) })
}

/** Sends requests over kept connections until `halt()`. A request without an answer is lost. */
function load(port, token) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 20 })
  const seen = { answers: new Map(), lost: [] }
  const end = new AbortController()
  const one = async () => {
    try {
      const answer = await new Promise((resolve, reject) => {
        const request = http.get({ host: '127.0.0.1', port, path: '/orders', headers: bearer(token), agent }, (response) => {
          response.resume()
          response.on('end', () => resolve(response.statusCode))
          response.on('error', reject)
        })
        request.on('error', reject)
      })
      seen.answers.set(answer, (seen.answers.get(answer) ?? 0) + 1)
    } catch (error) {
      seen.lost.push(error.code)
    }
  }
  const client = async () => {
    while (!end.signal.aborted) await one()
  }
  const clients = Promise.all(Array.from({ length: 20 }, client))
  return { seen, halt: async () => (end.abort(), await clients, agent.destroy(), seen) }
}

const stillGood = ({ answers, lost }) => assert.deepEqual([[...answers.keys()], lost], [[200], []])

test('a process that is told to end under load loses no answer, and ends its streams', async () => {
  const program = await start('examples/service/server.mjs', { DRAIN_MS: '700' })
  const [, token, port] = program.match
  const stream = send(Number(port), { path: '/events', headers: bearer(token) })
  const { seen, halt } = load(port, token)
  const healthy = async () => (await send(Number(port), { path: '/health' })).status === 200
  await waitUntil('requests are answered', () => (seen.answers.get(200) ?? 0) > 100)
  program.child.kill('SIGTERM')
  const report = send(Number(port), { path: '/report', headers: bearer(token) })
  // As a load balancer does: it asks now and then, and sends no more requests.
  await waitUntil('the health check fails', async () => !(await healthy()))
  const asked = seen.answers.get(200)
  await sleep(300)
  assert.ok(seen.answers.get(200) > asked, 'requests are answered meanwhile')
  stillGood(await halt())
  assert.equal((await stream).status, 200)
  const [code] = await program.closed
  assert.deepEqual([code, program.out.includes('Error')], [0, false])
  // It was in flight when the server stopped listening.
  assert.deepEqual([(await report).status, (await report).headers.connection], [200, 'close'])
})

describe('processes of a cluster', () => {
  let redis
  let program
  let port
  let token
  before(async () => {
    redis = await startRedis()
    program = await start('examples/service/cluster.mjs', { REDIS_URL: redis.url, WORKERS: '2', DRAIN_MS: '300' }, /(?:Bearer (\S+)' http:\/\/127\.0\.0\.1:(\d+)[^]*){2}/);
    [, token, port] = program.match
  })
  after(async () => {
    program.child.kill('SIGTERM')
    await program.closed
    await redis.stop()
  })
  const pids = async () => new Set(await Promise.all(Array.from({ length: 12 }, async () => (await send(Number(port), { path: '/health' })).json.pid)))

  test('they are replaced one by one under load, without a lost answer', async () => {
    const old = await pids()
    const { seen, halt } = load(port, token)
    await waitUntil('requests are answered', () => (seen.answers.get(200) ?? 0) > 50)
    program.child.kill('SIGHUP')
    await waitUntil('they are replaced', () => program.out.includes('replaced'), 30_000)
    const before = seen.answers.get(200)
    await waitUntil('the new ones answer', () => seen.answers.get(200) > before + 20)
    stillGood(await halt())
    for (const pid of await pids()) assert.equal(old.has(pid), false)
  })

  test('a logout in one of them holds in all, and no process warns of a store of its own', async () => {
    assert.equal((await send(Number(port), { method: 'POST', path: '/logout', headers: bearer(token) })).status, 204)
    await waitUntil('all refuse', async () => {
      const answers = await Promise.all(Array.from({ length: 10 }, () => send(Number(port), { path: '/orders', headers: bearer(token) })))
      return answers.every(({ status }) => status === 401)
    })
    assert.equal(program.out.includes('GUARD_STORE_PER_PROCESS'), false)
  })
})

test('the images copy files that are there, install the core, and ask a path that answers', async () => {
  const program = await start('examples/service/server.mjs', { DRAIN_MS: '0' })
  try {
    for (const [name, base] of [['Dockerfile', 'node:22-slim'], ['Dockerfile.alpine', 'node:22-alpine']]) {
      const lines = readFileSync(file(`examples/service/${name}`), 'utf8')
      assert.deepEqual([...lines.matchAll(/^FROM (\S+)/gm)].map(([, image]) => image), [base, base])
      const copied = [...lines.matchAll(/^COPY (?!--from)(.+) \.\/$/gm)].flatMap(([, files]) => files.split(' ')).filter((one) => !one.startsWith('package'))
      assert.deepEqual(copied, ['server.mjs'])
      for (const one of copied) assert.ok(existsSync(file(`examples/service/${one}`)))
      assert.match(lines, /^USER node$/m)
      assert.match(lines, /^CMD \["node", "server\.mjs"\]$/m)
      const check = JSON.parse(/^HEALTHCHECK [^]*?CMD (\[.*\])$/m.exec(lines)[1])
      const ask = async (port) => (await once(spawn(check[0], [check[1], check[2].replace('3000', port)]), 'close'))[0]
      assert.equal(await ask(program.match[2]), 0)
      assert.equal(await ask('1'), 1)
    }
    // What `npm ci` installs on each of the two: musl and glibc, on Intel and ARM.
    const { napi } = JSON.parse(readFileSync(file('package.json'), 'utf8'))
    const builds = readdirSync(file('npm')).map((folder) => JSON.parse(readFileSync(file(`npm/${folder}/package.json`), 'utf8')))
    for (const [libc, abi] of [['glibc', 'gnu'], ['musl', 'musl']]) {
      for (const [cpu, arch] of [['x64', 'x86_64'], ['arm64', 'aarch64']]) {
        assert.ok(napi.targets.includes(`${arch}-unknown-linux-${abi}`))
        assert.ok(builds.some((build) => build.name.endsWith(`linux-${cpu}-${abi}`) && build.libc[0] === libc && build.cpu[0] === cpu), `${cpu} ${libc}`)
      }
    }
  } finally {
    await program.stop()
  }
})

test('a login in one file of node:http: log in, be known, refresh, log out', async () => {
  const program = await start('examples/login/server.mjs', {}, /http:\/\/localhost:(\d+)/)
  const port = Number(program.match[1])
  const page = { 'sec-fetch-site': 'same-origin' }
  const cookies = ({ headers }) => headers['set-cookie'].map((line) => line.split(';', 1)[0]).join('; ')
  const login = (password, email = 'ada@example.com') => send(port, json({ email, password }, { path: '/session/login', headers: page }))
  const post = (path, cookie) => send(port, { method: 'POST', path, headers: { ...page, cookie } })
  const me = (cookie) => send(port, { path: '/me', headers: { cookie } })
  try {
    assert.equal((await me('')).status, 401)
    const first = await login('correct horse battery')
    assert.equal(first.status, 204)
    assert.deepEqual((await me(cookies(first))).json, { id: 'u1', role: 'reader' })
    const next = await post('/session/refresh', cookies(first))
    assert.equal(next.status, 204)
    assert.equal((await send(port, { method: 'POST', path: '/session/logout', headers: { 'sec-fetch-site': 'cross-site', cookie: cookies(next) } })).status, 403)
    assert.equal((await post('/session/logout', cookies(next))).status, 204)
    assert.equal((await me(cookies(next))).json.code, 'token_revoked')
    assert.equal((await send(port, json({ email: 'a' }, { path: '/session/login', headers: page }))).status, 422)
    assert.equal((await login('x', 'eve@example.com')).json.code, 'wrong_login')
    const tries = await Promise.all(Array.from({ length: 6 }, () => login('wrong')))
    assert.ok(tries.some(({ status }) => status === 429))
  } finally {
    await program.stop()
  }
})

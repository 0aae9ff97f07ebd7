// Signing keys where something is wrong: clocks of real processes, a file system that fails, and
// functions that lie.

import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createGuard } from 'keepstone'
import { AUDIENCE, ISSUER } from './helpers/articles.mjs'
import { settableClock } from './helpers/clock.mjs'
import { bearer } from './helpers/http.mjs'
import { startPeer } from './helpers/peer.mjs'
import { waitUntil } from './helpers/servers.mjs'

const DAY = 86_400_000
const isWindows = process.platform === 'win32'
const program = fileURLToPath(new URL('./helpers/key-process.mjs', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'keepstone-key-faults-'))
const guards = []
let folders = 0

after(async () => {
  await Promise.all(guards.map((guard) => guard.close()))
  rmSync(folder, { recursive: true })
})

const newFolder = () => mkdtempSync(join(folder, `${(folders += 1)}-`))
const options = (rotation) => ({ rateLimit: false, jwt: { issuer: ISSUER, audience: AUDIENCE, maxLifetime: '1h', rotation } })

function guardWith(rotation) {
  const guard = createGuard(options(rotation))
  guards.push(guard)
  return guard
}

const kidOf = ({ accessToken }) => JSON.parse(Buffer.from(accessToken.split('.')[0], 'base64url')).kid
const isGood = async (guard, { accessToken }) => (await guard.tokens.verify(accessToken)).sub === 'ada'

test('a process with a clock 31 days ahead, and one that is set to and fro, take no key from the tokens of the others', { skip: isWindows }, async () => {
  const storage = join(newFolder(), 'keys.json')
  const peers = []
  const start = async (more) => {
    const peer = await startPeer(options({ storage }), more)
    peers.push(peer)
    return peer
  }
  try {
    const right = await start()
    const issued = [await right.call('tokens.issue', { sub: 'ada' })]
    const areGood = async () => {
      // One that has run all the time and has just looked, and one that knows nothing but the file.
      for (const peer of [right, await start()]) {
        for (const { accessToken } of issued) assert.equal((await peer.get('/', bearer(accessToken))).status, 200)
        issued.push(await peer.call('tokens.issue', { sub: 'ada' }))
      }
    }
    const clock = settableClock()
    clock.shift(31 * DAY)
    const wrong = await start({ clock })
    await areGood()
    await right.call('tokens.rotate')
    await areGood()
    for (const days of [-31, 3_650, 0, -10_000, 400]) {
      clock.shift(days * DAY)
      await wrong.call('tokens.rotate')
      await areGood()
    }
    // At last, too: a look, which is another rotation by hand.
    await right.call('tokens.rotate')
    await areGood()
    const { keys } = JSON.parse(readFileSync(storage, 'utf8'))
    assert.ok(keys.length < 12, `${keys.length} keys`)
  } finally {
    await Promise.all(peers.map((peer) => peer.kill()))
  }
})

test('a service that has slept for months goes on, changes keys, and says what it has seen', async () => {
  const storage = join(newFolder(), 'keys.json')
  const first = guardWith({ storage })
  const issued = await first.tokens.issue({ sub: 'ada' })
  const text = JSON.parse(readFileSync(storage, 'utf8'))
  text.at -= 92 * 86_400
  for (const key of text.keys) for (const name of ['published', 'from']) key[name] -= 92 * 86_400
  // Put there when it is whole: the first guard may be looking.
  writeFileSync(`${storage}.copy`, JSON.stringify(text), { mode: 0o600 })
  renameSync(`${storage}.copy`, storage)
  const warned = once(process, 'warning')
  const late = guardWith({ storage })
  const [warning] = await warned
  assert.equal(warning.code, 'GUARD_KEY_CLOCK')
  assert.match(warning.message, /last changed 92 days ago/)
  // The next key, which was due two months ago, signs when all processes have had the time to see
  // it.
  const since = await late.tokens.issue({ sub: 'ada' })
  assert.equal(kidOf(since), text.keys[0].kid)
  const { kid } = await late.tokens.rotate()
  assert.equal(kid, text.keys[1].kid)
  assert.equal(kidOf(await late.tokens.issue({})), kid)
  for (const token of [issued, since]) assert.ok(await isGood(late, token))
})

/** Runs a key process to its end, and gives what came of its steps. */
async function run(storage, steps, { shell = '', ...how } = {}) {
  const args = [program, JSON.stringify(options({ storage })), ...steps]
  const [command, all] = shell === '' ? [process.execPath, args] : ['sh', ['-c', `${shell}; exec "$0" "$@"`, process.execPath, ...args]]
  const child = spawn(command, all, { stdio: ['ignore', 'pipe', 'ignore'], ...how })
  const ended = once(child, 'close')
  let text = ''
  for await (const chunk of child.stdout) text += chunk
  const [code, signal] = await ended
  assert.deepEqual([code, signal], [0, null])
  return text.trim().split('\n').map((line) => JSON.parse(line))
}

test('a disk without room: no first key is half made, and a process with keys goes on with them', { skip: isWindows }, async () => {
  const place = newFolder()
  const storage = join(place, 'keys.json')
  const full = { shell: 'ulimit -f 0' }
  const [refused] = await run(storage, ['issue'], full)
  assert.equal(refused.code, 'ERR_INVALID_OPTION')
  assert.match(refused.message, /the key file can't be written/)
  assert.deepEqual(readdirSync(place), [])
  guardWith({ storage })
  const before = readFileSync(storage)
  const [started, issued, rotated, again] = await run(storage, ['issue', 'rotate', 'issue'], full)
  assert.deepEqual([started.code, issued.code, rotated.code, again.code], [undefined, undefined, 'ERR_KEY_STORAGE', undefined])
  assert.deepEqual(readFileSync(storage), before)
  assert.deepEqual(readdirSync(place), ['keys.json'])
})

test('a folder that becomes read-only while a process runs: it goes on, and rotates when it may write again', { skip: process.geteuid?.() !== 0 }, async () => {
  const nobody = 65_534
  const place = newFolder()
  chmodSync(folder, 0o755)
  chownSync(place, nobody, nobody)
  const storage = join(place, 'keys.json')
  const steps = ['mode:500', 'issue', 'rotate', 'issue', 'mode:700', 'rotate']
  const [started, first, refused, second, rotated] = await run(storage, steps, { uid: nobody, gid: nobody })
  assert.deepEqual([started.code, first.code, refused.code, second.code, rotated.code], [undefined, undefined, 'ERR_KEY_STORAGE', undefined, undefined])
  // One that starts where it may only read has the keys of others.
  const [readOnly] = await run(storage, ['issue'], { uid: nobody, gid: nobody, shell: `chmod 500 ${place}` })
  assert.equal(readOnly.code, undefined)
  chmodSync(place, 0o700)
})

test('processes that write at once and are killed at any moment leave a whole file, and nothing with keys beside it', { skip: isWindows }, async () => {
  const place = newFolder()
  const storage = join(place, 'keys.json')
  const old = join(newFolder(), 'old.json')
  const guard = guardWith({ storage })
  copyFileSync(storage, old)
  await guard.tokens.rotate()
  const issued = await guard.tokens.issue({ sub: 'ada' })
  const config = JSON.stringify(options({ storage }))
  for (let round = 0; round < 12; round += 1) {
    const writers = [0, 1].map(() => spawn(process.execPath, [program, config, `write:${old}`], { stdio: ['ignore', 'pipe', 'ignore'] }))
    const ended = Promise.all(writers.map((writer) => once(writer, 'close')))
    const said = await Promise.all(writers.map(async (writer) => String((await once(writer.stdout, 'data'))[0])))
    for (const line of said) assert.equal(JSON.parse(line.split('\n')[0]).code, undefined)
    await sleep(Math.random() * 80)
    for (const writer of writers) writer.kill('SIGKILL')
    await ended
    assert.equal(JSON.parse(readFileSync(storage, 'utf8')).version, 1)
    await guard.tokens.rotate()
    assert.ok(await isGood(guard, issued))
    // Whoever starts next takes away what has keys in it; an empty lock file may stay, which no
    // process holds.
    await createGuard(options({ storage })).close()
    assert.deepEqual(readdirSync(place).filter((name) => !/\.(copy|lock)$/.test(name)), ['keys.json'])
  }
  assert.ok(await isGood(guardWith({ storage }), issued))
})

test('while another process holds the lock of the key file, requests are answered, and a rotation says what it waits for', { skip: isWindows }, async (t) => {
  const storage = join(newFolder(), 'keys.json')
  const guard = guardWith({ storage })
  const issued = await guard.tokens.issue({ sub: 'ada' })
  const holder = spawn('flock', ['-x', '--no-fork', `${storage}.lock`, 'sh', '-c', 'echo held; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.after(() => holder.kill())
  await once(holder.stdout, 'data')
  // It has what it needs, and nothing is due.
  const other = guardWith({ storage })
  assert.ok(await isGood(other, issued))
  let turns = 0
  const turning = setInterval(() => (turns += 1), 1)
  await assert.rejects(guard.tokens.rotate(), { code: 'ERR_KEY_STORAGE', message: /another process is writing the key file/ })
  clearInterval(turning)
  assert.ok(turns > 10, `the event loop went round ${turns} times while the lock was waited for`)
  assert.ok(await isGood(guard, issued))
  holder.kill()
  await once(holder, 'close')
  assert.ok(await guard.tokens.rotate())
})

test('a key file whose place is taken while a process runs holds nobody up and takes no key away', { skip: isWindows }, async () => {
  const storage = join(newFolder(), 'keys.json')
  const guard = guardWith({ storage })
  const issued = await guard.tokens.issue({ sub: 'ada' })
  // Behind the look of its start.
  await guard.tokens.rotate()
  const text = readFileSync(storage)
  const restore = () => {
    rmSync(dirname(storage), { recursive: true, force: true })
    mkdirSync(dirname(storage))
    writeFileSync(storage, text, { mode: 0o600 })
  }
  const places = {
    'a pipe': () => execFileSync('mkfifo', ['-m', '600', storage]),
    'a folder': () => mkdirSync(storage),
    'a link to the file itself': () => symlinkSync(storage, storage),
    'an endless file': () => symlinkSync('/dev/zero', storage),
    'an empty file': () => writeFileSync(storage, '', { mode: 0o600 }),
    'a file of two megabytes': () => writeFileSync(storage, 'x'.repeat(2 << 20), { mode: 0o600 }),
    'a pipe in the place of its lock': () => (writeFileSync(storage, text, { mode: 0o600 }), execFileSync('mkfifo', [`${storage}.lock`])),
    'a folder in the place of its lock': () => (writeFileSync(storage, text, { mode: 0o600 }), mkdirSync(`${storage}.lock`))
  }
  for (const [what, take] of Object.entries(places)) {
    rmSync(storage)
    take()
    await assert.rejects(guard.tokens.rotate(), { code: 'ERR_KEY_STORAGE' }, what)
    assert.ok(await isGood(guard, issued), what)
    assert.ok(await isGood(guard, await guard.tokens.issue({ sub: 'ada' })), what)
    restore()
  }
  rmSync(dirname(storage), { recursive: true })
  await assert.rejects(guard.tokens.rotate(), { code: 'ERR_KEY_STORAGE' })
  restore()
  assert.ok(await guard.tokens.rotate())
  assert.ok(await isGood(guardWith({ storage }), issued))
})

/** What takes itself for a promise. */
const promiseLike = (then) => new Proxy({}, { get: (_, name) => (name === 'then' ? then : undefined) })

/** A storage in this process, whose functions a test replaces. */
function memory() {
  const kept = { text: null, load: () => kept.text, save: (text) => void (kept.text = text) }
  return { kept, storage: { load: () => kept.load(), save: (text, previous) => kept.save(text, previous) } }
}

test('functions that give an older text, save nothing, or throw take no key away, and the guard goes on when they are mended', async () => {
  const { kept, storage } = memory()
  const guard = guardWith({ storage })
  await guard.ready()
  const old = kept.text
  await guard.tokens.rotate()
  const issued = await guard.tokens.issue({ sub: 'ada' })
  const { load, save } = kept
  const newest = kept.text
  const lies = {
    'an older text, and nothing is saved': { load: () => old, save: () => true },
    'nothing at all': { load: () => null, save: () => true },
    'half of the text': { load: () => newest.slice(0, 300) },
    'no text': { load: () => 42 },
    'a text without an end': { load: () => `${newest}${' '.repeat(2 << 20)}` },
    'another text than was saved': { load: () => newest.replaceAll(/[0-9]/g, '1') },
    'a promise that settles twice': { load: () => promiseLike((resolve, reject) => (resolve('x'), resolve(newest), reject(new Error('x')))) },
    'a promise that throws': { load: () => promiseLike(() => { throw new Error('x') }) },
    'save answers a promise that throws': { load: () => old, save: () => promiseLike(() => { throw new Error('x') }) },
    'a text that was refused': { save: () => false, load: () => old },
    'load throws': { load: () => { throw new Error('x') } },
    'save throws': { load: () => old, save: () => { throw new Error('x') } },
    'save rejects with nothing': { load: () => old, save: () => Promise.reject(undefined) },
    'a promise that rejects with a text': { load: () => Promise.reject('x') }
  }
  for (const [what, lie] of Object.entries(lies)) {
    Object.assign(kept, lie)
    await assert.rejects(guard.tokens.rotate(), undefined, what)
    assert.ok(await isGood(guard, issued), what)
    assert.ok(await isGood(guard, await guard.tokens.issue({ sub: 'ada' })), what)
    Object.assign(kept, { load, save })
  }
  // An older text that can be written over is: nothing that signed is lost.
  kept.text = old
  await guard.tokens.rotate()
  const other = guardWith({ storage })
  await other.ready()
  assert.ok(await isGood(other, issued))
})

test('functions that never answer hold nobody up for more than ten seconds each, and one that answers after close saves nothing', async (t) => {
  // No timer of a guard holds the process open.
  const alive = setInterval(() => {}, 1_000)
  t.after(() => clearInterval(alive))
  const { kept, storage } = memory()
  const guard = guardWith({ storage })
  await guard.ready()
  const { save } = kept
  kept.save = () => new Promise(() => {})
  await assert.rejects(guard.tokens.rotate(), { code: 'ERR_KEY_STORAGE', message: /`save` has not answered/ })
  assert.ok(await isGood(guard, await guard.tokens.issue({ sub: 'ada' })))
  kept.save = save
  await guard.tokens.rotate()

  const late = memory()
  let answer
  let saves = 0
  late.kept.load = () => new Promise((resolve) => (answer = resolve))
  late.kept.save = () => void (saves += 1)
  const closed = createGuard(options({ storage: late.storage }))
  await waitUntil('it is asked', () => answer !== undefined)
  await closed.close()
  answer(null)
  await sleep(100)
  assert.equal(saves, 0)
})

test('a period so short that too many keys would be kept is refused by name', () => {
  const storage = join(newFolder(), 'keys.json')
  const jwt = { issuer: ISSUER, audience: AUDIENCE, maxLifetime: '30d', rotation: { storage, every: '1h' } }
  assert.throws(() => createGuard({ jwt }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'jwt.rotation.every', message: /ninetieth of `maxLifetime`/ })
  assert.ok(!existsSync(storage))
})

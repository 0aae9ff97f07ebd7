// A real Redis (or Valkey) server for one test.

import { randomBytes } from 'node:crypto'
import { findProgram } from '../../scripts/servers.mjs'
import { makeFolder, startServer } from './processes.mjs'
import { respClient } from './resp.mjs'
import { testCertificates } from './tls.mjs'

// Without the delay a replica waits five seconds for others that may come.
const FOR_TESTS = ['--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--repl-diskless-sync-delay', '0']

/** The user of the helpers, and of replicas, where a server has users. */
export const ADMIN = { user: 'test-helper', password: randomBytes(16).toString('hex') }

/**
 * Starts a Redis that keeps nothing on disk.
 *
 * - `tls: true` speaks TLS only; `{ clientAuth: true }` asks clients for a certificate. `redis.tls`
 *   has what a client needs.
 * - `acl: [{ user, password, rules }]` are the users, e.g. with the rules `'~app:* +get'`. Only
 *   they may log in.
 * - `args` are more arguments of the program, `dir` is a folder for its files that outlives it.
 * - `clock` is a `settableClock()` that it reads: `clock.shift(ms)` sets its wall clock while it
 *   runs.
 */
export async function startRedis({ port, tls, acl, args = [], dir, clock } = {}) {
  const program = findProgram('redis')
  const certificates = tls ? testCertificates() : undefined
  const admin = acl ? ADMIN : {}
  const folder = dir ?? makeFolder()
  const client = (port, options) => respClient({ port, tls: certificates?.client, ...admin, ...options })

  const server = await startServer({
    program,
    port,
    folder: dir === undefined ? folder : undefined,
    env: clock?.env,
    args: (port) => [
      ...(tls ? tlsArguments(port, certificates, tls.clientAuth) : ['--port', String(port)]),
      ...FOR_TESTS,
      '--dir',
      folder,
      ...(acl ? aclArguments(acl) : []),
      ...args
    ],
    isReady: (port) => answers(client(port))
  })
  const { command } = client(server.port)
  return Object.assign(server, {
    url: `${tls ? 'rediss' : 'redis'}://127.0.0.1:${server.port}`,
    tls: certificates?.client,
    /**
     * A connection of its own, with `command(...args)` and `close()`; `options` are those of
     * `respClient`.
     */
    client: (options) => client(server.port, options),
    command,
    /**
     * By command: `{ calls, usec, ... }`, those of the helpers too. `command('CONFIG',
     * 'RESETSTAT')` sets them back.
     */
    commandStats: async () => parseCommandStats(await command('INFO', 'commandstats')),
    /**
     * Replicas get nothing of what is written from now on: their connections are cut, and new ones
     * are refused. Not for a server with `acl`.
     */
    async holdReplication() {
      await command('ACL', 'SETUSER', 'default', '-psync', '-sync')
      await command('CLIENT', 'KILL', 'TYPE', 'REPLICA')
    },
    keys: async (pattern = '*') => (await command('KEYS', pattern)).toSorted(),
    /** Milliseconds, -1 for a key without an end, -2 for no key. */
    ttl: (key) => command('PTTL', key),
    /** The fields of a section of INFO. */
    info: async (section) => parseInfo(await command('INFO', section))
  })
}

/** Whether a server answers PING, over a connection that is closed then. */
export async function answers(client) {
  try {
    return await client.command('PING')
  } finally {
    client.close()
  }
}

function tlsArguments(port, { server, client }, clientAuth = false) {
  const files = ['--tls-ca-cert-file', server.caFile, '--tls-cert-file', server.certFile, '--tls-key-file', server.keyFile]
  // A replica and a node of a cluster are clients of the others.
  const asClient = ['--tls-client-cert-file', client.certFile, '--tls-client-key-file', client.keyFile]
  const modes = ['--tls-replication', 'yes', '--tls-cluster', 'yes', '--tls-auth-clients', clientAuth ? 'yes' : 'no']
  return ['--port', '0', '--tls-port', String(port), ...files, ...asClient, ...modes]
}

function aclArguments(users) {
  // Without a password a user can't log in: `default` is shut unless `users` says otherwise.
  const all = [{ user: 'default' }, ...users, { ...ADMIN, rules: '~* &* +@all' }]
  const rules = all.flatMap(({ user, password, rules = '' }) => {
    const login = password === undefined ? ['off'] : ['on', `>${password}`]
    return ['--user', user, 'reset', ...login, ...rules.split(' ').filter((rule) => rule !== '')]
  })
  return [...rules, '--masteruser', ADMIN.user, '--masterauth', ADMIN.password]
}

function parseInfo(text) {
  const lines = text.split('\r\n').filter((line) => line.includes(':'))
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]))
}

function parseCommandStats(text) {
  const commands = Object.entries(parseInfo(text)).map(([name, fields]) => {
    const numbers = fields.split(',').map((field) => field.split('='))
    return [name.replace('cmdstat_', ''), Object.fromEntries(numbers.map(([key, value]) => [key, Number(value)]))]
  })
  return Object.fromEntries(commands)
}

// Certificates for 127.0.0.1, made for one test run by the openssl program.

import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram } from '../../scripts/servers.mjs'
import { makeFolder, removeFolder } from './processes.mjs'

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

// Not the system's configuration, which may say anything.
const CONFIG = `[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
[server]
subjectAltName = IP:127.0.0.1, DNS:localhost
extendedKeyUsage = serverAuth
[client]
extendedKeyUsage = clientAuth
`

let certificates

/** A certificate that signs itself, as `{ key, cert }` in PEM. */
export function selfSigned() {
  const folder = makeFolder()
  try {
    const made = sign(folder, 'server')
    return { key: made.key, cert: made.cert }
  } finally {
    removeFolder(folder)
  }
}

/**
 * As `openssl req -x509` makes it by default: it signs itself and is marked as an authority. Its
 * alternative names are `names` (`IP:127.0.0.1`), or there are none. `{ key, cert }` in PEM.
 */
export function selfSignedAuthority(names = '') {
  const folder = makeFolder()
  try {
    const { key, cert } = sign(folder, 'ca', undefined, names === '' ? [] : ['-addext', `subjectAltName=${names}`])
    return { key, cert }
  } finally {
    removeFolder(folder)
  }
}

/** The same for 127.0.0.1, and its period has ended a day ago. */
export function expiredAuthority() {
  const folder = makeFolder()
  try {
    const { key, cert, certFile, keyFile } = sign(folder, 'ca', undefined, ['-addext', 'subjectAltName=IP:127.0.0.1'])
    const [request, ended] = [join(folder, 'ended.csr'), join(folder, 'ended.crt')]
    openssl('x509', '-x509toreq', '-in', certFile, '-signkey', keyFile, '-out', request)
    openssl('x509', '-req', '-in', request, '-signkey', keyFile, '-copy_extensions', 'copyall', '-days', '-1', '-out', ended)
    return { key, cert: readFileSync(ended, 'utf8'), valid: cert }
  } finally {
    removeFolder(folder)
  }
}

/**
 * A certificate for a server on 127.0.0.1 or localhost and one for a client, both of one authority.
 * Each has the options of `tls.connect` in PEM (`ca`, `cert`, `key`) and the paths of the same
 * (`caFile`, `certFile`, `keyFile`). They are made once, and their files are there until the
 * process ends.
 */
export function testCertificates() {
  certificates ??= makeCertificates(makeFolder())
  return certificates
}

function makeCertificates(folder) {
  const authority = sign(folder, 'ca')
  const signed = (name) => ({ ca: authority.cert, caFile: authority.certFile, ...sign(folder, name, authority) })
  return { server: signed('server'), client: signed('client') }
}

// A new key and its certificate with the extensions of one section of the configuration, by
// `authority` or by itself, then with `more` arguments.
function sign(folder, section, authority, more = []) {
  const path = (ending) => join(folder, `${section}.${ending}`)
  const [config, keyFile, certFile, request] = ['cnf', 'key', 'crt', 'csr'].map((ending) => path(ending))
  writeFileSync(config, CONFIG)
  const subject = ['-config', config, '-subj', `/CN=keepstone test ${section}`, ...NEW_KEY, '-keyout', keyFile]
  if (authority === undefined) {
    openssl('req', '-x509', ...subject, '-extensions', section, ...more, '-days', '1', '-out', certFile)
  } else {
    openssl('req', '-new', ...subject, '-out', request)
    const by = ['-CA', authority.certFile, '-CAkey', authority.keyFile, '-CAcreateserial']
    openssl('x509', '-req', '-in', request, ...by, '-extfile', config, '-extensions', section, '-days', '1', '-out', certFile)
  }
  return { cert: readFileSync(certFile, 'utf8'), certFile, key: readFileSync(keyFile, 'utf8'), keyFile }
}

function openssl(...args) {
  execFileSync(findProgram('openssl'), args, { stdio: 'pipe' })
}

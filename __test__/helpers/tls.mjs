// A certificate for 127.0.0.1, made for one test run by the openssl program.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export function selfSigned() {
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-tls-'))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  try {
    execFileSync(
      'openssl',
      ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert],
      { stdio: 'pipe' }
    )
    return { key: readFileSync(key), cert: readFileSync(cert) }
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    throw new Error('this test needs the program openssl: apt-get install openssl')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

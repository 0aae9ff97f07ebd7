// Tokens of which none may be accepted, and tokens that must be: one table for the tests and for
// `npm run bench:attacks`.
//
// A case is `{ group, name, setup, token }`. `setup` is what the verifier is given, `{ keys: [{
// kid?, alg, key }] }`, with one key or several; `key` is a secret, PEM text or a JWK. `wire:
// false` marks what no HTTP header can carry as it is.

import { keyPair } from './key-pair.mjs'
import { deflateRawSync } from 'node:zlib'
import { ALGORITHMS, AUDIENCE, ISSUER, ORDERS, digest, jwk, part, rocaKey, signature, signedWithoutKey, spki, toBytes, token, verifying } from './token-keys.mjs'

const NOW = Math.floor(Date.now() / 1000)
export const claims = (more = {}) => ({ iss: ISSUER, aud: AUDIENCE, sub: '42', iat: NOW, exp: NOW + 900, ...more })
const without = (name) => Object.fromEntries(Object.entries(claims()).filter(([other]) => other !== name))

const NAMES = Object.keys(ALGORITHMS)
const PAIRS = NAMES.filter((alg) => !alg.startsWith('HS'))
const ONE_OF_EACH = ['RS256', 'PS256', 'ES256', 'ES384', 'ES512', 'EdDSA']
const hs = verifying('HS256')
const ring = { keys: [{ kid: 'rsa-1', alg: 'RS256', key: spki('RS256') }, { kid: 'ec-1', alg: 'ES256', key: spki('ES256') }] }

/** A token that is good but for its header or its payload. */
const good = (header = {}, payload = claims(), alg = 'HS256') => token(alg, { alg, typ: 'JWT', ...header }, payload)
const raw = (header, payload = claims(), alg = 'HS256') => token(alg, header, payload)

function none() {
  const spellings = ['none', 'None', 'NONE', 'nOnE', 'NoNe', 'none ', ' none', 'n\u043Ene', '', 'null']
  return ['HS256', 'RS256', 'ES256'].flatMap((alg) =>
    spellings.flatMap((none) => [
      { name: `alg ${JSON.stringify(none)}, no signature, for ${alg}`, setup: verifying(alg), token: `${part({ alg: none })}.${part(claims())}.` },
      { name: `alg ${JSON.stringify(none)}, a signature, for ${alg}`, setup: verifying(alg), token: `${part({ alg: none })}.${part(claims())}.AAAA` }
    ])
  )
}

/**
 * A public key, which everybody has, as an HMAC secret: CVE-2015-9235, CVE-2023-48223,
 * CVE-2026-34950, CVE-2026-48526.
 */
function confusion() {
  return ONE_OF_EACH.flatMap((alg) => {
    const { publicKey } = ALGORITHMS[alg].pair
    const pem = spki(alg)
    const spellings = [
      ['PEM', pem],
      ['PEM without its last line break', pem.trimEnd()],
      ['PEM behind whitespace', `\n ${pem}`],
      ['PEM with CRLF', pem.replaceAll('\n', '\r\n')],
      ['DER', publicKey.export({ type: 'spki', format: 'der' })],
      ['JWK', JSON.stringify(publicKey.export({ format: 'jwk' }))],
      ...(alg.endsWith('S256') && alg !== 'ES256' ? [['PKCS#1 PEM', publicKey.export({ type: 'pkcs1', format: 'pem' })], ['modulus', Buffer.from(publicKey.export({ format: 'jwk' }).n, 'base64url')]] : [])
    ]
    return spellings.flatMap(([name, secret]) =>
      ['HS256', 'HS384', 'HS512'].map((hmac) => ({ name: `${name} of ${alg} as ${hmac} secret`, setup: verifying(alg), token: token(hmac, { alg: hmac, typ: 'JWT' }, claims(), secret) }))
    )
  })
}

/** One key, one algorithm: a token of another one, under its own name and under that of the key. */
function pairings() {
  return NAMES.flatMap((of) =>
    NAMES.filter((other) => other !== of).flatMap((other) => {
      const cases = [{ name: `signed as ${other}, for ${of}`, setup: verifying(of), token: token(other, { alg: other, typ: 'JWT' }, claims()) }]
      // The same bytes under the right name. Between RSA algorithms the key is the same one.
      cases.push({ name: `signed as ${other}, named ${of}`, setup: verifying(of), token: token(other, { alg: of, typ: 'JWT' }, claims()) })
      return cases
    })
  )
}

function names() {
  const odd = ['hs256', 'Hs256', 'HS256 ', 'HS-256', 'SHA256', 'HS256\0', '\uFF28S256', 'HMAC', 'HS1', 'A256GCM', '__proto__', 'toString']
  const kinds = ['5', 'null', 'true', '[]', '{}', '["HS256"]', '{"HS256":1}']
  return [
    ...odd.map((alg) => ({ name: `alg ${JSON.stringify(alg)}`, setup: hs, token: raw({ alg }) })),
    ...kinds.map((alg) => ({ name: `alg ${alg}`, setup: hs, token: raw(`{"alg":${alg}}`) })),
    { name: 'no alg', setup: hs, token: raw('{}') }
  ]
}

function signatures() {
  const cut = (bytes) => (text) => `${text.slice(0, text.lastIndexOf('.'))}.${Buffer.from(bytes).toString('base64url')}`
  const cases = []
  for (const [alg, half] of [['ES256', 32], ['ES384', 48], ['ES512', 66]]) {
    const text = good({}, claims(), alg)
    const order = Buffer.from(ORDERS[alg], 'hex')
    const one = Buffer.alloc(half, 0).fill(1, half - 1)
    const own = Buffer.from(text.slice(text.lastIndexOf('.') + 1), 'base64url')
    const der = (r, s) => {
      const integer = (bytes) => Buffer.concat([Buffer.from([2, bytes.length + 1, 0]), bytes])
      const body = Buffer.concat([integer(r), integer(s)])
      return Buffer.concat([Buffer.from(body.length > 127 ? [0x30, 0x81, body.length] : [0x30, body.length]), body])
    }
    for (const [name, bytes] of [
      ['r = s = 0 (CVE-2022-21449)', Buffer.alloc(2 * half)],
      ['r = 0', Buffer.concat([Buffer.alloc(half), own.subarray(half)])],
      ['s = 0', Buffer.concat([own.subarray(0, half), Buffer.alloc(half)])],
      ['r = s = 1', Buffer.concat([one, one])],
      ['r = s = n', Buffer.concat([order, order])],
      ['s + n, where there is room', alg === 'ES512' ? Buffer.concat([own.subarray(0, half), toBytes(BigInt(`0x${own.subarray(half).toString('hex')}`) + BigInt(`0x${ORDERS[alg]}`))]) : Buffer.concat([order, own.subarray(half)])],
      ['all ones', Buffer.alloc(2 * half, 0xff)],
      ['DER', der(own.subarray(0, half), own.subarray(half))],
      ['DER of zeros', Buffer.from([0x30, 6, 2, 1, 0, 2, 1, 0])],
      ['one byte short', own.subarray(0, -1)],
      ['one byte more', Buffer.concat([own, Buffer.alloc(1)])],
      ['each half a byte wider', Buffer.concat([Buffer.alloc(1), own.subarray(0, half), Buffer.alloc(1), own.subarray(half)])]
    ]) cases.push({ name: `${alg}: ${name}`, setup: verifying(alg), token: cut(bytes)(text) })
  }
  for (const [alg, length] of [['RS256', 256], ['PS256', 256], ['EdDSA', 64], ['HS256', 32]]) {
    const text = good({}, claims(), alg)
    const own = Buffer.from(text.slice(text.lastIndexOf('.') + 1), 'base64url')
    for (const [name, bytes] of [
      ['zeros', Buffer.alloc(length)],
      ['ones', Buffer.alloc(length, 0xff)],
      ['a one', Buffer.alloc(length).fill(1, length - 1)],
      ['nothing', Buffer.alloc(0)],
      ['one byte short', own.subarray(0, -1)],
      ['one byte more', Buffer.concat([own, Buffer.alloc(1)])],
      ['a zero byte in front', Buffer.concat([Buffer.alloc(1), own])],
      ['the first byte only', own.subarray(0, 1)]
    ]) cases.push({ name: `${alg}: ${name}`, setup: verifying(alg), token: cut(bytes)(text) })
  }
  // s + L for Ed25519 (RFC 8032 section 5.1.7): the second spelling of one signature.
  const ed = good({}, claims(), 'EdDSA')
  const bytes = Buffer.from(ed.slice(ed.lastIndexOf('.') + 1), 'base64url')
  const s = BigInt(`0x${Buffer.from(bytes.subarray(32).toReversed()).toString('hex')}`) + (1n << 252n) + 27742317777372353535851937790883648493n
  cases.push({ name: 'EdDSA: s + L', setup: verifying('EdDSA'), token: cut(Buffer.concat([bytes.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, '0'), 'hex').toReversed()]))(ed) })
  for (const [name, secret] of [['an empty secret', ''], ['a zero byte', '\0'], ['the word secret', 'secret'], ['the issuer', ISSUER], ['the algorithm', 'HS256'], ['half of the secret', ALGORITHMS.HS256.secret.slice(0, 32)]]) {
    cases.push({ name: `HS256: by ${name}`, setup: hs, token: token('HS256', { alg: 'HS256' }, claims(), secret) })
  }
  const [header, payload, tag] = good().split('.')
  cases.push({ name: 'HS256: another payload under the signature of a good token', setup: hs, token: `${header}.${part(claims({ sub: 'root' }))}.${tag}` })
  cases.push({ name: 'HS256: another header under the signature of a good token', setup: hs, token: `${part({ alg: 'HS256', kid: 'x' })}.${payload}.${tag}` })
  cases.push({ name: 'HS256: the signature of the payload alone', setup: hs, token: `${header}.${payload}.${signature('HS256', payload).toString('base64url')}` })
  return cases
}

/**
 * The key is the fault: a token that was signed as it should, for a verifier that was given such a
 * key. Empty secrets are CVE-2025-65945 and CVE-2026-44351, no key at all CVE-2022-23540 and
 * GHSA-8wpc-h4q6-8fxv.
 */
function keys() {
  const cases = []
  const add = (name, alg, key, text) => cases.push({ name, setup: { keys: [{ alg, key }] }, token: text })
  for (const [name, secret] of [
    ['an empty secret', Buffer.alloc(0)],
    ['an empty string', ''],
    ['a secret of one byte', Buffer.from('x')],
    ['a secret of 31 bytes', Buffer.from(ALGORITHMS.HS256.secret.slice(0, 31))],
    ['a secret of words', 'your-256-bit-secret-your-256-bit-secret'],
    ['a secret of zeros', Buffer.alloc(32)],
    ['a public key as PEM', spki('RS256')],
    ['a public key as DER', ALGORITHMS.ES256.pair.publicKey.export({ type: 'spki', format: 'der' })],
    ['a public key as JWK text', JSON.stringify(jwk('ES256'))]
  ]) add(`HS256 with ${name}`, 'HS256', secret, token('HS256', { alg: 'HS256' }, claims(), secret))
  add('HS512 with a secret of 32 bytes', 'HS512', Buffer.from(ALGORITHMS.HS256.secret.slice(0, 32)), token('HS512', { alg: 'HS512' }, claims(), ALGORITHMS.HS256.secret.slice(0, 32)))
  add('no key at all', 'HS256', undefined, token('HS256', { alg: 'HS256' }, claims(), ''))

  const small = keyPair('rsa', { modulusLength: 1024 })
  add('RS256 with 1024 bits', 'RS256', small.publicKey.export({ type: 'spki', format: 'pem' }), token('RS256', { alg: 'RS256' }, claims(), small.privateKey))
  const { n } = jwk('RS256')
  const message = `${part({ alg: 'RS256' })}.${part(claims())}`
  add('RS256 with the exponent 1', 'RS256', { kty: 'RSA', n, e: 'AQ' }, `${message}.${signedWithoutKey(Buffer.from(n, 'base64url'), message).toString('base64url')}`)
  add('RS256 with the exponent 2', 'RS256', { kty: 'RSA', n, e: 'Ag' }, good({}, claims(), 'RS256'))
  const roca = rocaKey()
  add('RS256 with a key of the ROCA generator (CVE-2017-15361)', 'RS256', roca.jwk, token('RS256', { alg: 'RS256' }, claims(), roca.privateKey))
  add('RS256 with a JWK for encryption', 'RS256', { ...jwk('RS256'), use: 'enc' }, good({}, claims(), 'RS256'))
  add('RS256 with a JWK for wrapping keys', 'RS256', { ...jwk('RS256'), use: undefined, key_ops: ['wrapKey'] }, good({}, claims(), 'RS256'))
  add('RS256 with a JWK for PS256', 'RS256', jwk('PS256'), good({}, claims(), 'RS256'))
  add('RS256 with an EC key (CVE-2022-23541)', 'RS256', spki('ES256'), good({ alg: 'RS256' }, claims(), 'ES256'))
  add('ES256 with a key on P-384 (CVE-2022-23539)', 'ES256', spki('ES384'), token('ES384', { alg: 'ES256' }, claims()))
  add('ES256 with a point off the curve', 'ES256', { ...jwk('ES256'), y: jwk('ES256').x }, good({}, claims(), 'ES256'))
  // R and A the neutral point and s = 0: the equation of RFC 8032 section 5.1.7 holds for every
  // message.
  const neutral = Buffer.alloc(32).fill(1, 0, 1)
  for (const [name, x] of [['the neutral point', neutral], ['the neutral point with a sign', Buffer.concat([neutral.subarray(0, 31), Buffer.from([0x80])])]]) {
    add(`EdDSA with ${name} as its key`, 'EdDSA', { kty: 'OKP', crv: 'Ed25519', x: x.toString('base64url') }, `${part({ alg: 'EdDSA' })}.${part(claims())}.${Buffer.concat([neutral, Buffer.alloc(32)]).toString('base64url')}`)
  }
  const dsa = keyPair('dsa', { modulusLength: 2048, divisorLength: 256 })
  add('RS256 with a DSA key (CVE-2022-23539)', 'RS256', dsa.publicKey.export({ type: 'spki', format: 'pem' }), good({}, claims(), 'RS256'))
  return cases
}

/**
 * A token that brings its own key or asks for one; extensions that must be understood
 * (CVE-2025-59420, GHSA-hm7r-c7qw-ghp6).
 */
function headers() {
  const own = keyPair('ec', { namedCurve: 'P-256' })
  const ownJwk = own.publicKey.export({ format: 'jwk' })
  const cases = [
    ['jwk of the sender', { jwk: ownJwk }],
    ['jku of the sender', { jku: 'https://evil.example/jwks.json' }],
    ['jku of this machine', { jku: 'http://127.0.0.1:1/jwks.json' }],
    ['x5u of the sender', { x5u: 'https://evil.example/cert.pem' }],
    ['x5c of the sender', { x5c: [own.publicKey.export({ type: 'spki', format: 'der' }).toString('base64')] }]
  ].map(([name, more]) => ({ name, setup: verifying('ES256'), token: token('ES256', { alg: 'ES256', ...more }, claims(), own.privateKey) }))

  const unencoded = `${part({ alg: 'HS256', b64: false, crit: ['b64'] })}.${JSON.stringify(claims()).replaceAll('.', '%2E')}`
  cases.push({ name: 'b64 false, with its payload as it is', setup: hs, token: `${unencoded}.${signature('HS256', unencoded).toString('base64url')}`, wire: false })
  for (const text of [
    '"crit":[]', '"crit":["exp"]', '"crit":["b64"],"b64":true', '"crit":["b64"],"b64":false', '"crit":["http://example.invalid/x"],"http://example.invalid/x":true',
    '"crit":null', '"crit":"exp"', '"crit":[""]', '"b64":false', '"b64":true', '"b64":"false"'
  ]) cases.push({ name: text, setup: hs, token: raw(`{"alg":"HS256",${text}}`) })

  for (const [name, text] of [
    ['alg twice, none first', '{"alg":"none","alg":"HS256"}'],
    ['alg twice, none last', '{"alg":"HS256","alg":"none"}'],
    ['alg twice, once escaped', '{"alg":"HS256","\\u0061lg":"none"}'],
    ['alg twice, alike', '{"alg":"HS256","alg":"HS256"}'],
    ['typ twice', '{"alg":"HS256","typ":"JWT","typ":"JWT"}'],
    ['kid twice', '{"alg":"HS256","kid":"a","kid":"b"}'],
    ['an unknown member twice', '{"alg":"HS256","x":1,"x":2}'],
    ['__proto__', '{"alg":"HS256","__proto__":{"alg":"none"}}'],
    ['crit in an escaped spelling', '{"alg":"HS256","\\u0063rit":["x"]}'],
    ['a list', '["HS256"]'],
    ['a string', '"HS256"'],
    ['null', 'null'],
    ['a byte order mark', '\uFEFF{"alg":"HS256"}'],
    ['a trailing comma', '{"alg":"HS256",}'],
    ['a brace behind', '{"alg":"HS256"}}'],
    ['no brace behind', '{"alg":"HS256"'],
    ['single quotes', "{'alg':'HS256'}"],
    ['a comment', '{"alg":"HS256"/**/}'],
    ['nothing', ''],
    ['longer than 1 KiB', JSON.stringify({ alg: 'HS256', pad: 'x'.repeat(1100) })],
    ['deeper than 16', `{"alg":"HS256","x":${'['.repeat(20)}${']'.repeat(20)}}`],
    ['bytes that are no UTF-8', Buffer.from('{"alg":"HS256","x":"\xff"}', 'latin1')],
    ['a lone surrogate', '{"alg":"HS256","x":"\\ud800"}'],
    ['kid a number', '{"alg":"HS256","kid":5}'],
    ['kid a list', '{"alg":"HS256","kid":["a"]}'],
    ['kid null', '{"alg":"HS256","kid":null}'],
    ['typ a list', '{"alg":"HS256","typ":["JWT"]}'],
    ['typ a number', '{"alg":"HS256","typ":5}']
  ]) cases.push({ name: `header: ${name}`, setup: hs, token: raw(text) })
  return cases
}

/** A token for something else (RFC 8725 section 3.11). */
function types() {
  return ['JWE', 'dpop+jwt', 'secevent+jwt', 'logout+jwt', 'token-introspection+jwt', 'application/dpop+jwt', 'openid4vci-proof+jwt', '']
    .map((typ) => ({ name: `typ ${JSON.stringify(typ)}`, setup: hs, token: raw({ alg: 'HS256', typ }) }))
}

function kids() {
  const names = ['unknown', '', 'RSA-1', 'rsa-1 ', 'rsa-1\0', '../../../../dev/null', "x' UNION SELECT 'secret", '__proto__', 'constructor', 'toString', 'rsa-1/../ec-1', 'http://evil.example/key', 'x'.repeat(600)]
  return [
    ...names.map((kid) => ({ name: `kid ${JSON.stringify(kid.slice(0, 30))}`, setup: ring, token: good({ kid }, claims(), 'RS256') })),
    { name: 'the kid of another key', setup: ring, token: good({ kid: 'ec-1' }, claims(), 'RS256') },
    { name: 'the kid of another key, under its algorithm', setup: ring, token: token('RS256', { alg: 'ES256', kid: 'ec-1' }, claims()) },
    { name: 'the public key of that kid as a secret', setup: ring, token: token('HS256', { alg: 'HS256', kid: 'rsa-1' }, claims(), spki('RS256')) }
  ]
}

function forms() {
  const text = good()
  const [header, payload, tag] = text.split('.')
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const stray = (segment) => segment.slice(0, -1) + alphabet[alphabet.indexOf(segment.at(-1)) + 1]
  const plus = Array.from({ length: 200 }, (_, i) => good({ x: i })).find((other) => /[-_]/.test(other.split('.')[2]))
  const bomb = deflateRawSync(Buffer.alloc(8 << 20)).toString('base64url')
  const packed = deflateRawSync(JSON.stringify(claims()))
  const twice = good({}, claims({ nested: '\u00ff\u00fe?>' }))
  return [
    { name: 'whitespace in front', token: ` ${text}`, wire: false },
    { name: 'whitespace behind', token: `${text} `, wire: false },
    { name: 'a line break behind', token: `${text}\n`, wire: false },
    { name: 'a line break in the payload', token: `${header}.${payload.slice(0, 8)}\r\n${payload.slice(8)}.${tag}`, wire: false },
    { name: 'a blank in the signature', token: `${header}.${payload}.${tag.slice(0, 8)} ${tag.slice(8)}` },
    { name: 'a tab in the header', token: `${header.slice(0, 4)}\t${header.slice(4)}.${payload}.${tag}` },
    { name: 'padding behind', token: `${text}=` },
    { name: 'padding in the header', token: `${header}==.${payload}.${tag}` },
    { name: 'plus and slash', token: plus.split('.').map((segment, i) => (i === 2 ? segment.replaceAll('-', '+').replaceAll('_', '/') : segment)).join('.') },
    { name: 'a character that is none', token: `${header}.${payload}.${tag.slice(0, 10)}!${tag.slice(10)}` },
    { name: 'percent signs', token: text.replaceAll('.', '%2E') },
    { name: 'stray bits in the signature', token: `${header}.${payload}.${stray(tag)}` },
    { name: 'a character too many in the signature', token: `${text}A` },
    { name: 'a segment behind', token: `${text}.x` },
    { name: 'a dot behind', token: `${text}.` },
    { name: 'a dot in front', token: `.${text}` },
    { name: 'two dots', token: text.replace('.', '..') },
    { name: 'no signature', token: `${header}.${payload}` },
    { name: 'an empty signature', token: `${header}.${payload}.` },
    { name: 'a detached payload', token: `${header}..${tag}` },
    { name: 'an empty payload that is signed', token: raw({ alg: 'HS256' }, '') },
    { name: 'the header alone', token: header },
    { name: 'dots', token: '..' },
    { name: 'a JWE', token: `${part({ alg: 'dir', enc: 'A256GCM' })}..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA` },
    { name: 'the JSON form', token: JSON.stringify({ protected: header, payload, signature: tag }) },
    { name: 'Bearer in front', token: `Bearer ${text}` },
    { name: 'quotes around', token: `"${text}"` },
    { name: 'two tokens', token: `${text},${text}` },
    { name: 'a NUL behind', token: `${text}\0`, wire: false },
    { name: 'a byte order mark', token: `\uFEFF${text}`, wire: false },
    { name: 'a dot of another script', token: text.replace('.', '\uFF0E'), wire: false },
    { name: 'longer than 8 KiB', token: good({}, claims({ pad: 'x'.repeat(6500) })) },
    { name: 'a megabyte', token: good({}, claims({ pad: 'x'.repeat(1 << 20) })), wire: false },
    { name: 'zip, with a payload that unpacks to good claims', token: raw({ alg: 'HS256', zip: 'DEF' }, packed) },
    { name: 'zip, with a payload that unpacks to 8 MB', token: raw({ alg: 'HS256', zip: 'DEF' }, Buffer.from(bomb, 'base64url')), wire: false },
    { name: 'a token in a token', token: raw({ alg: 'HS256', cty: 'JWT' }, twice) }
  ].map((one) => ({ setup: hs, ...one }))
}

/**
 * Claims of another kind or value: a list of issuers is CVE-2025-30144, times that are no numbers
 * CVE-2026-25537.
 */
function wrongClaims() {
  const ms = NOW * 1000
  const of = (name, values) => values.map((value) => [`${name} ${JSON.stringify(value)?.slice(0, 60)}`, claims({ [name]: value })])
  const all = [
    ...of('iss', [[ISSUER], [ISSUER, 'https://evil.example'], ['https://evil.example', ISSUER], { 0: ISSUER }, 5, null, '', `${ISSUER}/`, ISSUER.toUpperCase(), `${ISSUER}.evil.example`, ` ${ISSUER}`, `${ISSUER}\0`]),
    ...of('aud', [5, null, {}, { [AUDIENCE]: true }, [[AUDIENCE]], [AUDIENCE, 5], [{ aud: AUDIENCE }], [], '', AUDIENCE.toUpperCase(), `${AUDIENCE}-2`, AUDIENCE.slice(0, -1), `${AUDIENCE} other`, ['other']]),
    ...of('exp', [null, 'never', String(NOW + 900), true, [NOW + 900], {}, -1, 0, 1e300, ms + 900_000, NOW - 3600, NOW + 200 * 86_400, 8_640_000_000_000]),
    ...of('iat', [null, 'now', String(NOW), true, [NOW], ms, NOW + 3600, -5, 0]),
    ...of('nbf', [null, 'soon', String(NOW), NOW + 3600, ms, [NOW], {}]),
    ...of('sub', [7, null, ['42'], {}, '', true]),
    ...of('jti', [5, null, {}, [], '']),
    ...of('sid', [5, null, [], '']),
    ...of('cnf', [{ jkt: 'x' }, null, 'x']),
    ...['iss', 'aud', 'exp', 'iat'].map((name) => [`no ${name}`, without(name)]),
    ['exp before iat', claims({ iat: NOW + 5, exp: NOW + 4 })]
  ]
  return all.map(([name, payload]) => ({ name, setup: hs, token: good({}, payload) }))
}

function payloads() {
  const text = JSON.stringify(claims())
  const open = text.slice(0, -1)
  return [
    ['role twice', `${open},"role":"user","role":"admin"}`],
    ['role twice, once escaped', `${open},"role":"user","\\u0072ole":"admin"}`],
    ['sub twice', `${open},"sub":"1"}`],
    ['exp twice', `{"exp":1,${text.slice(1)}`],
    ['exp twice, once escaped', `${open},"\\u0065xp":${NOW + 9000}}`],
    ['aud twice', `{"aud":"other",${text.slice(1)}`],
    ['a member twice inside', `${open},"a":{"b":1,"b":2}}`],
    ['a member twice in a list inside', `${open},"a":[{"b":1,"c":0,"b":2}]}`],
    ['__proto__', `${open},"__proto__":{"admin":true}}`],
    ['__proto__ in an escaped spelling', `${open},"a":[{"\\u005f_proto__":1}]}`],
    ['a number beyond 2^53', `${open},"uid":9007199254740993}`],
    ['a number beyond all', `${open},"n":1e999}`],
    ['NaN', `${open},"n":NaN}`],
    ['a zero in front', `${open},"n":01}`],
    ['exp in hexadecimal', text.replace(/"exp":\d+/, '"exp":0x7fffffff')],
    ['a lone surrogate', `${open},"s":"\\ud800"}`],
    ['a line break in a string', `${open},"s":"\n"}`],
    ['a trailing comma', `${open},}`],
    ['a brace too many', `${text}}`],
    ['a brace too few', open],
    ['text behind', `${text} x`],
    ['a comment', `${text}/**/`],
    ['a byte order mark', `\uFEFF${text}`],
    ['a second object', `${text}${text}`],
    ['a list with the claims', `[${text}]`],
    ['an empty list', '[]'],
    ['a string', '"claims"'],
    ['a number', '1'],
    ['null', 'null'],
    ['true', 'true'],
    ['an empty object', '{}'],
    ['deeper than 16', `${open},"d":${'['.repeat(40)}${']'.repeat(40)}}`],
    ['3000 levels', `${open},"d":${'['.repeat(2500)}${']'.repeat(2500)}}`],
    ['bytes that are no UTF-8', Buffer.concat([Buffer.from(`${open},"s":"`), Buffer.from([0xc3]), Buffer.from('"}')])],
    ['UTF-8 that is too long', Buffer.concat([Buffer.from(`${open},"s":"`), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')])],
    ['UTF-16', Buffer.from(text, 'utf16le')]
  ].map(([name, payload]) => ({ name, setup: hs, token: good({}, payload) }))
}

/** Every attack, by group. */
export const attacks = Object.entries({
  'alg none': none,
  'a public key as a secret': confusion,
  'another algorithm': pairings,
  'names of algorithms': names,
  signatures,
  keys,
  'what a header asks for': headers,
  'for another use': types,
  'kid': kids,
  forms,
  claims: wrongClaims,
  payloads
}).flatMap(([group, make]) => make().map((one) => ({ group, ...one })))

/**
 * Tokens that every verifier of their algorithm must accept, so that nothing passes by refusing
 * everything.
 */
export const controls = [
  ...NAMES.map((alg) => ({ name: `${alg}`, setup: verifying(alg), token: good({}, claims(), alg) })),
  ...PAIRS.map((alg) => ({ name: `${alg} with a JWK`, setup: { keys: [{ alg, key: jwk(alg) }] }, token: good({}, claims(), alg) })),
  { name: 'the first key of two', setup: ring, token: good({ kid: 'rsa-1' }, claims(), 'RS256') },
  { name: 'the second key of two', setup: ring, token: good({ kid: 'ec-1' }, claims(), 'ES256') },
  { name: 'no typ', setup: hs, token: raw({ alg: 'HS256' }) },
  { name: 'typ at+jwt', setup: hs, token: good({ typ: 'at+jwt' }) },
  { name: 'unknown header members', setup: hs, token: good({ x5t: 'abc', custom: { a: [1] } }) },
  { name: 'a list of audiences', setup: hs, token: good({}, claims({ aud: ['other', AUDIENCE] })) },
  { name: 'times with a fraction', setup: hs, token: good({}, claims({ iat: NOW - 0.5, exp: NOW + 900.25 })) },
  { name: 'nbf now', setup: hs, token: good({}, claims({ nbf: NOW })) },
  { name: 'claims in every script', setup: hs, token: good({}, claims({ name: 'Zoë 😀 \u0000 "\\', nested: { a: [1, 'x', null, true] } })) },
  { name: 'claims with line breaks', setup: hs, token: good({}, JSON.stringify(claims(), null, 2)) },
  { name: '5 KB of claims', setup: hs, token: good({}, claims({ pad: 'x'.repeat(5000) })) }
].map((one) => ({ group: 'controls', ...one }))

export { AUDIENCE, ISSUER, digest }

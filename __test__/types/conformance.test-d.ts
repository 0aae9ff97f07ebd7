// keepstone/conformance.
import { parseJson, readBody, validateJson, verifyCompact } from 'keepstone/conformance'
import type { JsonFault } from 'keepstone/conformance'
import { expect, type Equals } from './equals'

const jwk = { kty: 'OKP', crv: 'Ed25519', x: 'AAAA' } as const
expect<Equals<ReturnType<typeof verifyCompact>, Buffer>>()
verifyCompact('a.b.c', jwk)
verifyCompact('a.b.c', { keys: [jwk, { kty: 'RSA', n: 'AQ', e: 'AQAB', alg: 'RS256' }] })
// @ts-expect-error: a JWK says of what kind it is
verifyCompact('a.b.c', { crv: 'Ed25519' })
// @ts-expect-error: a PEM is no JWK
verifyCompact('a.b.c', '-----BEGIN PUBLIC KEY-----')

expect<Equals<ReturnType<typeof parseJson>, unknown>>()
parseJson(Buffer.from('{}'))
expect<Equals<ReturnType<typeof readBody>, unknown>>()
readBody(Buffer.from('a=1'), 'form')
// @ts-expect-error: not a kind of body
readBody(Buffer.from('a=1'), 'xml')
// @ts-expect-error: bytes, not text
parseJson('{}')

const verdict = validateJson({ type: 'object' }, new Uint8Array(), { draft: '2019-09', registry: { 'https://a.example/b': true }, formats: true })
expect<Equals<typeof verdict, { valid: boolean; errors: JsonFault[] }>>()
validateJson(true, new Uint8Array())
// @ts-expect-error: not a draft
validateJson(true, new Uint8Array(), { draft: '4' })

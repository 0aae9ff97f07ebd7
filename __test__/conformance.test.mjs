// keepstone/conformance: single readers of the core, for outside suites.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { GuardError } from 'keepstone'
import * as named from 'keepstone/conformance'
import { parseJson, readBody, validateJson, verifyCompact } from 'keepstone/conformance'
import { ALGORITHMS, jwk, part, token } from './helpers/token-keys.mjs'

const require = createRequire(import.meta.url)
const bytes = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value))
const refused = (code, status) => (error) => error instanceof GuardError && error.code === code && error.status === status

test('the entry point gives the same functions to require and to import, and the main one does not have them', () => {
  const required = require('keepstone/conformance')
  assert.deepEqual(Object.keys(required).sort(), ['parseJson', 'readBody', 'validateJson', 'verifyCompact'])
  for (const name of Object.keys(required)) assert.equal(required[name], named[name])
  assert.equal(require('keepstone').verifyCompact, undefined)
})

test('verifyCompact gives the payload of a good signature as it is, with a JWK and with a set', () => {
  const payload = Buffer.from([0, 255, 10, 46, 128])
  for (const alg of ['RS256', 'PS384', 'ES256', 'ES384', 'ES512', 'EdDSA']) {
    const key = jwk(alg)
    const text = token(alg, { alg, kid: 'one' }, payload)
    for (const keys of [key, { ...key, kid: 'one' }, { keys: [{ ...key, kid: 'one' }, { ...jwk('HS256' in key ? alg : 'RS512'), kid: 'two', use: 'enc' }] }]) {
      const read = verifyCompact(text, keys)
      assert.ok(Buffer.isBuffer(read))
      assert.deepEqual(read, payload, alg)
    }
    assert.throws(() => verifyCompact(`${text.slice(0, -3)}AAA`, key), (error) => /^token_(signature|malformed)$/.test(error.code) && error.status === 401)
  }
  const secret = { kty: 'oct', alg: 'HS256', k: part(ALGORITHMS.HS256.secret) }
  assert.deepEqual(verifyCompact(token('HS256', { alg: 'HS256' }, payload), secret), payload)
  assert.equal(verifyCompact(token('HS256', { alg: 'HS256' }, ''), secret).length, 0)
})

test('verifyCompact looks at no claim', () => {
  const text = token('ES256', { alg: 'ES256' }, { exp: 1, iss: ['anybody'] })
  assert.deepEqual(JSON.parse(verifyCompact(text, jwk('ES256'))), { exp: 1, iss: ['anybody'] })
})

test('verifyCompact refuses tokens with their code, and keys with the code of the option they would be', () => {
  const text = token('ES256', { alg: 'ES256' }, 'x')
  assert.throws(() => verifyCompact(text, jwk('ES384')), refused('token_algorithm', 401))
  assert.throws(() => verifyCompact(` ${text}`, jwk('ES256')), refused('token_malformed', 401))
  assert.throws(() => verifyCompact('', jwk('ES256')), refused('token_malformed', 401))
  assert.throws(() => verifyCompact(text, { ...jwk('ES256'), use: 'enc' }), { name: 'GuardError', path: 'jwk' })
  assert.throws(() => verifyCompact(text, { ...jwk('ES256'), key_ops: ['encrypt'] }), { name: 'GuardError', code: 'ERR_INVALID_KEY' })
  assert.throws(() => verifyCompact(text, { kty: 'oct', alg: 'HS256', k: 'c2hvcnQ' }), { name: 'GuardError', code: 'ERR_WEAK_SECRET' })
  for (const wrong of [undefined, null, 'pem', [], 5]) assert.throws(() => verifyCompact(text, wrong), { code: 'ERR_INVALID_ARGUMENT', path: 'jwk' })
  assert.throws(() => verifyCompact(Buffer.from(text), jwk('ES256')), { code: 'ERR_INVALID_ARGUMENT', path: 'token' })
  assert.throws(() => verifyCompact(text, { kty: 'EC', x: () => 1 }), { code: 'ERR_INVALID_ARGUMENT' })
})

test('parseJson gives what JSON.parse gives, for what the payload layer takes', () => {
  for (const text of ['{"a":[1,2.5,-0,1e3,"\\u00e9\\n",null,true]}', '"x"', '5', 'null', ' [ ] ', '{"é":"😀"}']) {
    assert.deepEqual(parseJson(bytes(text)), JSON.parse(text), text)
  }
  assert.deepEqual(parseJson(new Uint8Array([0x5b, 0x31, 0x5d])), [1])
})

test('readBody gives what the core itself has read', () => {
  assert.deepEqual(readBody(bytes('{"a":[1.5e3,-0,"\\ud83d\\ude00"]}')), { a: [1500, -0, '\u{1f600}'] })
  assert.deepEqual(readBody(bytes('a=1+2&b[]=%C3%A9'), 'form'), { a: '1 2', b: ['é'] })
  assert.throws(() => readBody(bytes('a=1&a=2'), 'form'), refused('duplicate_key', 400))
  assert.throws(() => readBody(bytes('{}'), 'xml'), { code: 'ERR_INVALID_ARGUMENT', path: 'type' })
})

test('parseJson refuses by name what the payload layer refuses', () => {
  for (const [text, code] of [
    ['{"a":1,}', 'malformed_json'],
    ['', 'malformed_json'],
    ['{"a":1,"\\u0061":2}', 'duplicate_key'],
    ['{"__proto__":{}}', 'forbidden_key'],
    ['{"$gt":1}', 'operator_key'],
    ['9007199254740993', 'unsafe_number'],
    ['"\\ud800"', 'invalid_unicode'],
    ['['.repeat(33) + ']'.repeat(33), 'too_deep']
  ]) assert.throws(() => parseJson(bytes(text)), refused(code, 400), text)
  assert.throws(() => parseJson(Buffer.from([0x22, 0xff, 0x22])), refused('invalid_unicode', 400))
  assert.throws(() => parseJson(Buffer.alloc(200_000, 0x20)), refused('body_too_large', 413))
  assert.throws(() => parseJson('{}'), { code: 'ERR_INVALID_ARGUMENT', path: 'bytes' })
})

test('validateJson says whether an instance is valid, and what is wrong with which member', () => {
  const schema = { type: 'object', required: ['a'], properties: { a: { type: 'integer' } } }
  assert.deepEqual(validateJson(schema, bytes({ a: 1, more: true })), { valid: true, errors: [] })
  const { valid, errors } = validateJson(schema, bytes({ a: 'x' }))
  assert.deepEqual([valid, errors.map((error) => [error.in, error.pointer, error.code])], [false, [['body', '#/a', 'type']]])
  assert.doesNotMatch(JSON.stringify(errors), /"x"/, 'the value is not repeated')
  assert.equal(validateJson(false, bytes('1')).valid, false)
  assert.equal(validateJson(true, bytes('1')).valid, true)
  assert.equal(validateJson({ properties: { $ref: { type: 'string' } } }, bytes({ $ref: 'x' })).valid, true)
})

test('validateJson judges by the draft it is given, and by $schema before that', () => {
  const tuple = { items: [{ type: 'string' }] }
  assert.equal(validateJson(tuple, bytes([1]), { draft: '7' }).valid, false)
  assert.equal(validateJson(tuple, bytes([1]), { draft: '2019-09' }).valid, false)
  assert.equal(validateJson({ prefixItems: [{ type: 'string' }] }, bytes([1])).valid, false)
  assert.equal(validateJson({ $schema: 'http://json-schema.org/draft-07/schema#', prefixItems: [{ type: 'string' }] }, bytes([1])).valid, true)
  const date = { format: 'date' }
  assert.deepEqual([validateJson(date, bytes('"x"')).valid, validateJson(date, bytes('"x"'), { formats: true }).valid], [true, false])
})

test('validateJson follows a $ref into the registry, and nowhere else', () => {
  const schema = { $ref: 'https://example.com/positive' }
  const registry = { 'https://example.com/positive': { exclusiveMinimum: 0 } }
  assert.deepEqual([1, -1].map((n) => validateJson(schema, bytes(n), { registry }).valid), [true, false])
  assert.throws(() => validateJson(schema, bytes(1)), { code: 'ERR_INVALID_SCHEMA' })
})

test('validateJson: bytes that are no clean JSON are not valid, and options that are none throw', () => {
  assert.deepEqual(validateJson({}, bytes('{"a":1,"a":2}')).errors.map((error) => error.code), ['duplicate_key'])
  assert.deepEqual(validateJson({}, bytes('{')).errors.map(({ pointer, code }) => [pointer, code]), [['#', 'malformed_json']])
  assert.throws(() => validateJson({}, bytes('1'), { drafts: '7' }), (error) => error.code === 'ERR_UNKNOWN_OPTION' && error.message.includes('`draft`'))
  assert.throws(() => validateJson({}, bytes('1'), { draft: '4' }), { code: 'ERR_INVALID_OPTION', path: 'options.draft' })
  assert.throws(() => validateJson({}, bytes('1'), { registry: [] }), { code: 'ERR_INVALID_OPTION', path: 'options.registry' })
  assert.throws(() => validateJson({ type: 'nothing' }, bytes('1')), { code: 'ERR_INVALID_SCHEMA' })
  assert.throws(() => validateJson({}, '1'), { code: 'ERR_INVALID_ARGUMENT', path: 'bytes' })
})

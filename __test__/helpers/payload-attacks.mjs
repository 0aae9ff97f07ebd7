// Bodies, forms and queries that must never reach a handler, as data: for the tests, and for other
// stacks in bench/payload-attacks.mjs. Each is the good request with one thing wrong in it, so that
// nothing else can be the reason why it is refused.

import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'

/**
 * What the route under attack takes. `meta` may be anything, as in many an API: only hygiene
 * protects it.
 */
export const SCHEMA = {
  type: 'object',
  required: ['username', 'note'],
  properties: {
    username: { type: 'string', minLength: 3, maxLength: 20, pattern: '^[a-z0-9]+$' },
    note: { type: 'string', maxLength: 200000 },
    age: { type: 'integer', minimum: 0 },
    tags: { type: 'array', items: { type: 'string' } },
    items: { type: 'array', items: { type: 'object', required: ['a', 'b'], properties: { a: { type: 'integer' }, b: { type: 'integer' } } } },
    meta: {}
  }
}

/** The members that text can say. */
export const TEXT_SCHEMA = {
  ...SCHEMA,
  properties: Object.fromEntries(['username', 'note', 'age', 'tags'].map((name) => [name, SCHEMA.properties[name]]))
}

const good = { username: 'ada99', note: 'x', age: 36 }
const many = (count, make) => Array.from({ length: count }, (_, i) => make(i))
const nested = (depth, inner = '1') => `${'['.repeat(depth)}${inner}${']'.repeat(depth)}`

// -------------------------------------------------------------------------------------------------
// JSON

const json = (body, headers = {}) => ({
  method: 'POST',
  path: '/body',
  headers: { 'content-type': 'application/json', ...headers },
  body: Buffer.isBuffer(body) ? body : Buffer.from(body)
})
/** The good body with `text`, one or more members as they are, at its end. */
const plus = (text) => `${JSON.stringify(good).slice(0, -1)},${text}}`
const note = (text) => `{"username":"ada99","age":36,"note":${text}}`

const bodies = [
  ['duplicate key', 'a key twice', plus('"note":"y"'), 'duplicate_key'],
  ['duplicate key', 'a key twice, once escaped', plus('"\\u006eote":"y"'), 'duplicate_key'],
  ['duplicate key', 'a key twice, deep inside', plus('"meta":[{"a":{"role":"user","role":"admin"}}]'), 'duplicate_key'],
  ['duplicate key', 'a key twice among many', plus(`"meta":{${many(40, (i) => `"k${i}":${i}`).join(',')},"k7":0}`), 'duplicate_key'],
  ['prototype', '__proto__', plus('"meta":{"__proto__":{"admin":true}}'), 'forbidden_key'],
  ['prototype', '__proto__ at the top', plus('"__proto__":{"admin":true}'), 'forbidden_key'],
  ['prototype', '__proto__, escaped', plus('"meta":{"\\u005f_proto\\u005f_":{"admin":true}}'), 'forbidden_key'],
  ['prototype', 'constructor.prototype', plus('"meta":{"constructor":{"prototype":{"admin":true}}}'), 'forbidden_key'],
  ['prototype', 'constructor.prototype, escaped', plus('"meta":{"c\\u006fnstructor":{"protot\\u0079pe":{"admin":true}}}'), 'forbidden_key'],
  ['prototype', '__proto__ as a path', plus('"meta":{"__proto__.admin":true}'), 'forbidden_key'],
  ['operator', 'an operator for a string', note('{"$gt":""}'), 'operator_key'],
  ['operator', 'an operator in a free member', plus('"meta":{"password":{"$ne":null}}'), 'operator_key'],
  ['operator', '$where', plus('"meta":{"$where":"sleep(1000)"}'), 'operator_key'],
  ['operator', 'an operator, escaped', plus('"meta":{"\\u0024gt":""}'), 'operator_key'],
  ['operator', 'a dotted key', plus('"meta":{"profile.role":"admin"}'), 'operator_key'],
  ['number', 'an integer that becomes another one', plus('"meta":9007199254740993'), 'unsafe_number'],
  ['number', 'the same with a fraction', plus('"meta":9007199254740993.0'), 'unsafe_number'],
  ['number', 'a number that becomes infinite', plus('"meta":1e999'), 'unsafe_number'],
  ['number', 'a number that becomes zero', plus('"meta":1e-999'), 'unsafe_number'],
  ['text', 'half of a surrogate pair', note('"\\ud800"'), 'invalid_unicode'],
  ['text', 'a surrogate pair the wrong way round', note('"\\udc00\\ud800"'), 'invalid_unicode'],
  ['text', 'half of a surrogate pair in a key', plus('"meta":{"\\udfff":1}'), 'invalid_unicode'],
  ['text', 'U+0000', note('"a\\u0000b"'), 'forbidden_character'],
  ['text', 'U+0000 in a key', plus('"meta":{"a\\u0000":1}'), 'forbidden_character'],
  ['text', 'a byte that is no UTF-8', Buffer.concat([Buffer.from('{"username":"ada99","note":"'), Buffer.from([0xff]), Buffer.from('"}')]), 'invalid_unicode'],
  ['text', 'an overlong slash', Buffer.concat([Buffer.from('{"username":"ada99","note":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]), 'invalid_unicode'],
  ['text', 'a surrogate as UTF-8', Buffer.concat([Buffer.from('{"username":"ada99","note":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')]), 'invalid_unicode'],
  ['text', 'a byte order mark', `\ufeff${JSON.stringify(good)}`, 'invalid_unicode'],
  ['exhaustion', '33 levels', plus(`"meta":${nested(32)}`), 'too_deep'],
  ['exhaustion', '40,000 levels', plus(`"meta":${nested(40_000)}`), 'too_deep'],
  ['exhaustion', '7,000 keys', plus(`"meta":{${many(7000, (i) => `"k${i}":0`).join(',')}}`), 'too_many_keys'],
  ['exhaustion', '40,000 values', plus(`"meta":[${many(40_000, () => 0)}]`), 'too_many_nodes'],
  ['exhaustion', '9,000 objects that are wrong', plus(`"items":[${many(9000, () => '{"a":""}')}]`), 'too_many_nodes'],
  ['exhaustion', '3,000 objects that are wrong', plus(`"items":[${many(3000, () => '{"a":""}')}]`), 'validation_failed'],
  ['exhaustion', '101 kB', note(`"${'a'.repeat(101 * 1024)}"`), 'body_too_large'],
  ['exhaustion', '900 unknown names of 100 characters', plus(many(900, (i) => `"${'\u{1f600}'.repeat(12)}${i}${'x'.repeat(50)}":1`).join(',')), 'validation_failed'],
  ['schema', 'a member nobody asked for', plus('"isAdmin":true'), 'validation_failed'],
  ['schema', 'a list for a string', note('["x"]'), 'validation_failed'],
  ['schema', 'a list for a number', '{"username":"ada99","note":"x","age":["5"]}', 'validation_failed'],
  ['schema', 'a string for a number', '{"username":"ada99","note":"x","age":"36"}', 'validation_failed'],
  ['schema', 'a name with a line break at its end', '{"username":"ada99\\n","note":"x"}', 'validation_failed'],
  ['schema', 'a list for the body', `[${JSON.stringify(good)}]`, 'validation_failed'],
  ['schema', 'null for the body', 'null', 'validation_failed'],
  ['grammar', 'a comment', plus('"meta":1/**/'), 'malformed_json'],
  ['grammar', 'a comma at the end', `${JSON.stringify(good).slice(0, -1)},}`, 'malformed_json'],
  ['grammar', 'a second document', `${JSON.stringify(good)}{}`, 'malformed_json'],
  ['grammar', 'NaN', plus('"meta":NaN'), 'malformed_json'],
  ['grammar', 'a no-break space', `\u00a0${JSON.stringify(good)}`, 'malformed_json'],
  ['grammar', 'a line break in a string', note('"a\nb"'), 'malformed_json']
].map(([kind, name, body, code]) => ({ kind, name, where: 'body', code, request: json(body) }))

const text = JSON.stringify(good)
const small = gzipSync(text)
const media = [
  ['utf-7', 'application/json; charset=utf-7', '{"username":"ada99","note":"+ADw-script+AD4-"}', 'unsupported_charset'],
  ['utf-16', 'application/json; charset=utf-16le', Buffer.from(text, 'utf16le'), 'unsupported_charset'],
  ['two charsets', 'application/json; charset=utf-8; charset=utf-7', text, 'unsupported_media_type'],
  ['no type', undefined, text, 'unsupported_media_type'],
  ['JSON as text', 'text/plain', text, 'unsupported_media_type'],
  ['JSON as a form', 'application/x-www-form-urlencoded', text, 'unsupported_media_type']
].map(([name, type, body, code]) => ({
  kind: 'media type', name, where: 'body', code, request: { ...json(body), headers: type === undefined ? {} : { 'content-type': type } }
}))
const bombs = [
  ['132 bytes of gzip that are 90 kB', gzipSync(note(`"${'a'.repeat(90_000)}"`)), 'gzip'],
  ['bytes of brotli that are 90 kB', brotliCompressSync(note(`"${'a'.repeat(90_000)}"`)), 'br'],
  ['bytes of deflate that are 90 kB', deflateSync(note(`"${'a'.repeat(90_000)}"`)), 'deflate'],
  ['gzip with something behind it', Buffer.concat([small, Buffer.from('{"isAdmin":true}')]), 'gzip'],
  ['gzip with zeros behind it', Buffer.concat([small, Buffer.alloc(8)]), 'gzip'],
  ['gzip that is cut off', small.subarray(0, -9), 'gzip'],
  ['gzip in gzip', gzipSync(small), 'gzip, gzip']
].map(([name, body, coding]) => ({ kind: 'compression', name, where: 'body', code: 'unsupported_encoding', request: json(body, { 'content-encoding': coding }) }))

// -------------------------------------------------------------------------------------------------
// forms and queries

// The good request and one thing more: its names are `username`, `note`, `age`.
const pairs = [
  ['duplicate key', 'a name twice', '&note=y', 'duplicate_key'],
  ['duplicate key', 'a name twice, once encoded', '&n%6fte=y', 'duplicate_key'],
  ['duplicate key', 'a list in two spellings', '&tags=a&tags[]=b', 'duplicate_key'],
  ['prototype', '__proto__', '&__proto__=1', 'forbidden_key'],
  ['prototype', '__proto__, encoded', '&%5f_proto__=1', 'forbidden_key'],
  ['prototype', '__proto__[admin]', '&__proto__[admin]=1', 'bracketed_key'],
  ['prototype', 'constructor[prototype][admin]', '&constructor[prototype][admin]=1', 'bracketed_key'],
  ['prototype', 'constructor.prototype.admin', '&constructor.prototype.admin=1', 'forbidden_key'],
  ['operator', 'an operator in brackets', '&age[$gt]=', 'bracketed_key'],
  ['operator', 'an operator in brackets, encoded', '&age%5B%24gt%5D=', 'bracketed_key'],
  ['operator', '$where', '&$where=1', 'operator_key'],
  ['operator', 'a dotted name', '&profile.role=admin', 'operator_key'],
  ['text', 'U+0000', '&tags=a%00b', 'forbidden_character'],
  ['text', 'an encoding without digits', '&tags=%', 'malformed'],
  ['text', 'an encoding of other digits', '&tags=%u0041', 'malformed'],
  ['text', 'a byte that is no UTF-8', '&tags=%ff', 'malformed'],
  ['text', 'an overlong slash', '&tags=%c0%af', 'malformed'],
  ['text', 'a surrogate as UTF-8', '&tags=%ed%a0%80', 'malformed'],
  ['schema', 'a list for a string', '&note[]=y', 'bracketed_key'],
  ['schema', 'an index', '&tags[0]=a', 'bracketed_key'],
  ['schema', 'an object for a list', '&tags[admin]=a', 'bracketed_key'],
  ['schema', 'a member nobody asked for', '&isAdmin=true', 'validation_failed'],
  ['exhaustion', '1,001 names', many(1001, (i) => `&k${i}=`).join(''), 'too_many_keys'],
  ['exhaustion', '33 levels', `&tags${'[a]'.repeat(33)}=1`, 'bracketed_key']
]
// The good request with another value for `age`.
const ages = [
  ['number', 'an integer that becomes another one', '9007199254740993', 'unsafe_number'],
  ['number', 'a number that becomes infinite', '1e999', 'unsafe_number'],
  ['schema', 'hexadecimal digits', '0x24', 'validation_failed'],
  ['schema', 'a number between blanks', '+36+', 'validation_failed'],
  ['schema', 'a number with a plus', '%2B36', 'validation_failed'],
  ['schema', 'a fraction', '36.5', 'validation_failed'],
  ['schema', 'nothing for a number', '', 'validation_failed']
]
const asText = [
  ...pairs.map(([kind, name, more, code]) => [kind, name, `username=ada99&note=x&age=36${more}`, code]),
  ...ages.map(([kind, name, age, code]) => [kind, name, `username=ada99&note=x&age=${age}`, code])
]
const FORM = 'application/x-www-form-urlencoded'
const formOf = (body, headers = {}) => ({ method: 'POST', path: '/form', headers: { 'content-type': FORM, ...headers }, body: Buffer.from(body) })
const forms = [
  ...asText.map(([kind, name, body, code]) => ({ kind, name, where: 'form', code: code === 'malformed' ? 'malformed_form' : code, request: formOf(body) })),
  { kind: 'text', name: 'a byte order mark', where: 'form', code: 'invalid_unicode', request: formOf('\ufeffusername=ada99&note=x') },
  { kind: 'text', name: 'a byte that is no UTF-8, as it is', where: 'form', code: 'invalid_unicode', request: formOf(Buffer.concat([Buffer.from('username=ada99&note='), Buffer.from([0xff])])) },
  { kind: 'text', name: 'U+0000, as it is', where: 'form', code: 'malformed_form', request: formOf('username=ada99&note=x\0') },
  { kind: 'media type', name: 'iso-8859-1', where: 'form', code: 'unsupported_charset', request: formOf('username=ada99&note=x', { 'content-type': `${FORM}; charset=iso-8859-1` }) },
  { kind: 'compression', name: 'gzip', where: 'form', code: 'unsupported_encoding', request: formOf(gzipSync('username=ada99&note=x'), { 'content-encoding': 'gzip' }) },
  { kind: 'exhaustion', name: '20,000 values', where: 'form', code: 'too_many_nodes', request: formOf(`username=ada99&note=x${'&tags=1'.repeat(12_000)}`) },
  { kind: 'exhaustion', name: '101 kB', where: 'form', code: 'body_too_large', request: formOf(`username=ada99&note=${'a'.repeat(101 * 1024)}`) }
]
const queries = asText.map(([kind, name, query, code]) => ({
  kind, name, where: 'query', code: code === 'malformed' ? 'malformed_query' : code, request: { method: 'GET', path: `/query?${query}` }
}))

/**
 * `{ kind, name, where, code, request }`: what it is, and the code that keepstone refuses it with.
 */
export const attacks = [...bodies, ...media, ...bombs, ...forms, ...queries]

/** Requests that every stack must take, and what the handler must see. */
export const controls = [
  ['a good body', json(text), good],
  ['a good body with everything', json(plus('"tags":["a","b"],"items":[{"a":1,"b":2}],"meta":{"deep":[[1.5e3,null,true]],"é":"\\ud83d\\ude00"}')), {
    ...good, tags: ['a', 'b'], items: [{ a: 1, b: 2 }], meta: { deep: [[1500, null, true]], é: '\u{1f600}' }
  }],
  ['a good body, said to be in utf-8', json(text, { 'content-type': 'application/json; charset="UTF-8"' }), good],
  ['a good form', formOf('username=ada99&note=x&age=36'), good],
  ['a good form with encodings', formOf('username=ada99&note=caf%C3%A9+%26+tea&age=36'), { ...good, note: 'café & tea' }],
  ['a good query', { method: 'GET', path: '/query?username=ada99&note=x&age=36' }, good]
].map(([name, request, seen]) => ({ name, request, seen }))

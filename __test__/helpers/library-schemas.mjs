// Schemas of five libraries as people write them, each with values that it accepts, and a seeded
// generator of others.

import { z } from 'zod'
import * as v from 'valibot'
import { toStandardJsonSchema } from '@valibot/to-json-schema'
import { type } from 'arktype'
import Joi from 'joi'
import Type from 'typebox'
import Value from 'typebox/value'

const user = { username: 'ada', email: 'ada@example.com', password: 'correct horse' }
const uuid = '2eb8aa08-aa98-41ea-b4aa-73b441d16380'

const ofZod = () => {
  const node = z.strictObject({ name: z.string(), get child() { return node.optional() } })
  return [
    ['string', z.string(), 'a'], ['string min', z.string().min(3), 'abc'], ['string max', z.string().max(3), 'abc'], ['string length', z.string().length(2), 'ab'],
    ['string between', z.string().min(2).max(4), 'abc'], ['nonempty', z.string().nonempty(), 'a'], ['pattern', z.string().regex(/^[a-z]+$/), 'abc'],
    ['pattern with i', z.string().regex(/^[a-z]+$/i), 'aBc'], ['pattern unanchored', z.string().regex(/b/), 'abc'], ['pattern with dot', z.string().regex(/^.{2}$/), 'ab'],
    ['negated class', z.string().regex(/^[^a]+$/), 'bcd'], ['lookahead', z.string().regex(/^(?=.*\d)[a-z\d]{3,}$/), 'abc1'], ['two patterns', z.string().regex(/^[a-z]+$/).regex(/^a[a-z]*$/), 'abc'],
    ['unicode pattern', z.string().regex(/^\p{L}+$/u), 'å'], ['white space', z.string().regex(/^\s*$/), ' '],
    ['email', z.email(), 'ada@example.com'], ['email as a check', z.string().email(), 'ada@example.com'], ['url', z.url(), 'https://example.com/a'], ['uuid', z.uuid(), uuid], ['uuid v4', z.uuidv4(), uuid],
    ['ipv4', z.ipv4(), '10.0.0.1'], ['ipv6', z.ipv6(), '::1'], ['date', z.iso.date(), '2026-02-28'], ['datetime', z.iso.datetime(), '2026-01-31T12:00:00Z'], ['datetime with offset', z.iso.datetime({ offset: true }), '2026-01-31T12:00:00+01:00'],
    ['base64', z.base64(), 'aGk='], ['nanoid', z.nanoid(), 'V1StGXR8_Z5jdHi6B-myT'], ['ulid', z.ulid(), '01ARZ3NDEKTSV4RRFFQ69G5FAV'], ['jwt', z.jwt(), 'eyJhbGciOiJIUzI1NiJ9.e30.x'],
    ['starts and ends', z.string().startsWith('a').endsWith('c'), 'abc'], ['includes', z.string().includes('b'), 'abc'], ['lowercase', z.string().lowercase(), 'abc'],
    ['trim', z.string().trim().min(2).max(3), ' abc '], ['to lower case', z.string().toLowerCase(), 'ABC'], ['refined', z.string().refine((s) => s !== 'b', 'not b'), 'abc'],
    ['transformed', z.string().transform((s) => s.length), 'abc'], ['preprocessed', z.preprocess((x) => JSON.stringify(x), z.string().min(2)), 'ab'],
    ['number', z.number(), 1.5], ['int', z.int(), 3], ['int32', z.int32(), 3], ['number int', z.number().int(), 4], ['between', z.number().min(1).max(5), 3], ['positive', z.number().positive(), 1], ['multiple', z.number().multipleOf(5), 10],
    ['multiple of a fraction', z.number().multipleOf(0.1), 0.3], ['whole multiple', z.int().multipleOf(3), 9], ['coerced number', z.coerce.number(), '5'], ['coerced date', z.coerce.date(), '2026-01-31'], ['boolean', z.boolean(), true], ['coerced boolean', z.coerce.boolean(), 'x'], ['stringbool', z.stringbool(), 'yes'],
    ['literal', z.literal('a'), 'a'], ['literals', z.literal(['a', 1, null, true]), 1], ['enum', z.enum(['a', 'b']), 'b'], ['native enum', z.enum({ A: 0, B: 'b' }), 0], ['null', z.null(), null], ['any', z.any(), { a: 1 }], ['unknown', z.unknown(), 1],
    ['nullable', z.string().min(2).nullable(), null, 'ab'], ['default', z.object({ a: z.number().default(3) }), {}], ['prefault', z.object({ a: z.string().prefault('x') }), {}], ['caught', z.string().catch('x'), 5], ['never in an object', z.object({ a: z.never().optional() }), {}],
    ['object strips', z.object({ a: z.string() }), { a: 'x' }], ['object strict', z.strictObject({ a: z.string(), b: z.number().optional() }), { a: 'x', b: 1 }], ['object loose', z.looseObject({ a: z.string() }), { a: 'x', b: 1 }], ['object catchall', z.object({ a: z.string() }).catchall(z.number()), { a: 'x', b: 1 }],
    ['user', z.strictObject({ username: z.string().min(3).max(20).regex(/^[a-zA-Z0-9]+$/), email: z.email(), password: z.string().min(12) }), user],
    ['nested', z.strictObject({ a: z.strictObject({ b: z.array(z.strictObject({ c: z.int() })) }) }), { a: { b: [{ c: 1 }] } }], ['partial', z.strictObject({ a: z.string(), b: z.number() }).partial(), { a: 'x' }],
    ['refined object', z.object({ a: z.number(), b: z.number() }).refine((x) => x.a < x.b), { a: 1, b: 2 }], ['recursive', node, { name: 'a', child: { name: 'b' } }], ['lazy', z.lazy(() => z.strictObject({ a: z.string() })), { a: 'x' }],
    ['array', z.array(z.string()), ['a']], ['array bounds', z.array(z.int()).min(1).max(3), [1, 2]], ['array of objects', z.array(z.strictObject({ id: z.uuid() })), [{ id: uuid }]], ['tuple', z.tuple([z.string(), z.number()]), ['a', 1]], ['tuple with rest', z.tuple([z.string()], z.boolean()), ['a', true]], ['tuple optional', z.tuple([z.string(), z.string().optional()]), ['a']],
    ['record', z.record(z.string(), z.number()), { a: 1 }], ['record of an enum', z.record(z.enum(['a', 'b']), z.number()), { a: 1, b: 2 }], ['record of a pattern', z.record(z.string().regex(/^[a-z]$/), z.number()), { a: 1 }],
    ['union', z.union([z.string(), z.int()]), 1, 'a'], ['union with date', z.union([z.date(), z.string()]), 'a'], ['discriminated', z.discriminatedUnion('kind', [z.strictObject({ kind: z.literal('a'), x: z.string() }), z.strictObject({ kind: z.literal('b'), y: z.number() })]), { kind: 'a', x: 'x' }, { kind: 'b', y: 1 }],
    ['intersection', z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })), { a: 'x', b: 1 }], ['piped', z.string().pipe(z.string().min(2)), 'ab'], ['readonly', z.array(z.string()).readonly(), ['a']], ['branded', z.string().brand('id'), 'a'], ['optional member that may be null', z.strictObject({ a: z.string().nullish() }), { a: null }]
  ]
}

const ofValibot = () => [
  ['string', v.string(), 'a'], ['min length', v.pipe(v.string(), v.minLength(3)), 'abc'], ['max length', v.pipe(v.string(), v.maxLength(3)), 'abc'], ['length', v.pipe(v.string(), v.length(2)), 'ab'], ['non empty', v.pipe(v.string(), v.nonEmpty()), 'a'],
  ['pattern', v.pipe(v.string(), v.regex(/^[a-z]+$/)), 'abc'], ['pattern with i', v.pipe(v.string(), v.regex(/^[a-z]+$/i)), 'aBc'], ['pattern unanchored', v.pipe(v.string(), v.regex(/b/)), 'abc'], ['email', v.pipe(v.string(), v.email()), 'ada@example.com'], ['url', v.pipe(v.string(), v.url()), 'https://example.com'], ['uuid', v.pipe(v.string(), v.uuid()), uuid],
  ['ipv4', v.pipe(v.string(), v.ipv4()), '10.0.0.1'], ['iso date', v.pipe(v.string(), v.isoDate()), '2026-01-31'], ['iso timestamp', v.pipe(v.string(), v.isoTimestamp()), '2026-01-31T12:00:00.000Z'], ['digits', v.pipe(v.string(), v.digits()), '123'], ['starts', v.pipe(v.string(), v.startsWith('a')), 'abc'],
  ['trim', v.pipe(v.string(), v.trim(), v.minLength(2), v.maxLength(3)), ' abc '], ['transformed', v.pipe(v.string(), v.transform((s) => s.length)), 'abc'], ['checked', v.pipe(v.string(), v.check((s) => s !== 'b')), 'abc'], ['bytes', v.pipe(v.string(), v.maxBytes(4)), 'abc'], ['graphemes', v.pipe(v.string(), v.maxGraphemes(2)), 'ab'],
  ['number', v.number(), 1.5], ['integer', v.pipe(v.number(), v.integer()), 3], ['safe integer', v.pipe(v.number(), v.safeInteger()), 3], ['between', v.pipe(v.number(), v.minValue(1), v.maxValue(5)), 3], ['above', v.pipe(v.number(), v.gtValue(1), v.ltValue(5)), 3], ['multiple', v.pipe(v.number(), v.multipleOf(5)), 10], ['boolean', v.boolean(), true], ['null', v.null(), null],
  ['literal', v.literal('a'), 'a'], ['picklist', v.picklist(['a', 'b', 1]), 'a'], ['enum', v.enum({ A: 'a', B: 2 }), 2], ['any', v.any(), 1], ['unknown', v.unknown(), { a: 1 }], ['nullable', v.nullable(v.string()), null], ['nullish', v.object({ a: v.nullish(v.string()) }), { a: null }],
  ['object strips', v.object({ a: v.string() }), { a: 'x' }], ['strict object', v.strictObject({ a: v.string(), b: v.optional(v.number()) }), { a: 'x', b: 1 }], ['loose object', v.looseObject({ a: v.string() }), { a: 'x', b: 1 }], ['object with rest', v.objectWithRest({ a: v.string() }, v.number()), { a: 'x', b: 1 }], ['default', v.object({ a: v.optional(v.number(), 3) }), {}],
  ['user', v.strictObject({ username: v.pipe(v.string(), v.minLength(3), v.maxLength(20), v.regex(/^[a-zA-Z0-9]+$/)), email: v.pipe(v.string(), v.email()), password: v.pipe(v.string(), v.minLength(12)) }), user],
  ['partial check', v.pipe(v.object({ a: v.number(), b: v.number() }), v.check((x) => x.a < x.b)), { a: 1, b: 2 }], ['array', v.array(v.string()), ['a']], ['array bounds', v.pipe(v.array(v.number()), v.minLength(1), v.maxLength(3)), [1, 2]], ['tuple', v.tuple([v.string(), v.number()]), ['a', 1]], ['strict tuple', v.strictTuple([v.string(), v.number()]), ['a', 1]],
  ['record', v.record(v.string(), v.number()), { a: 1 }], ['record of a pattern', v.record(v.pipe(v.string(), v.regex(/^[a-z]$/)), v.number()), { a: 1 }], ['union', v.union([v.string(), v.number()]), 1], ['variant', v.variant('kind', [v.strictObject({ kind: v.literal('a'), x: v.string() }), v.strictObject({ kind: v.literal('b'), y: v.number() })]), { kind: 'b', y: 1 }],
  ['intersect', v.intersect([v.object({ a: v.string() }), v.object({ b: v.number() })]), { a: 'x', b: 1 }], ['fallback', v.fallback(v.string(), 'x'), 5], ['fallback inside', v.strictObject({ a: v.fallback(v.number(), 0) }), { a: 'x' }], ['lazy', v.lazy(() => v.strictObject({ a: v.string() })), { a: 'x' }], ['custom', v.custom((x) => x === 'a'), 'a'],
  ['branded', v.pipe(v.string(), v.brand('id')), 'a'], ['readonly', v.pipe(v.array(v.string()), v.readonly()), ['a']], ['any member', v.object({ a: v.any() }), { a: 1 }], ['wrapped', toStandardJsonSchema(v.strictObject({ a: v.pipe(v.string(), v.minLength(2)) })), { a: 'ab' }], ['wrapped fallback', toStandardJsonSchema(v.object({ a: v.fallback(v.string(), 'x') })), { a: 5 }]
]

const ofArktype = () => [
  ['string', type('string'), 'a'], ['min length', type('string >= 3'), 'abc'], ['max length', type('string <= 3'), 'abc'], ['exact length', type('string == 2'), 'ab'], ['pattern', type(/^[a-z]+$/), 'abc'], ['pattern with i', type(/^[a-z]+$/i), 'aBc'], ['pattern unanchored', type(/b/), 'abc'],
  ['email', type('string.email'), 'ada@example.com'], ['uuid', type('string.uuid'), uuid], ['url', type('string.url'), 'https://example.com'], ['ip', type('string.ip'), '10.0.0.1'], ['date', type('string.date.iso'), '2026-01-31T12:00:00Z'], ['digits', type('string.digits'), '123'], ['alpha', type('string.alpha'), 'abc'], ['trimmed', type('string.trim'), ' a '], ['lower', type('string.lower'), 'ABC'],
  ['numeric', type('string.numeric.parse'), '5'], ['json', type('string.json'), '{}'], ['number', type('number'), 1.5], ['integer', type('number.integer'), 3], ['between', type('1 <= number <= 5'), 3], ['above', type('number > 1'), 2], ['divisible', type('number % 5'), 10], ['boolean', type('boolean'), true], ['null', type('null'), null],
  ['literal', type("'a'"), 'a'], ['literals', type("'a' | 'b' | 1"), 1], ['enumerated', type.enumerated('a', 'b', null), null], ['unknown', type('unknown'), 1], ['nullable', type('string | null'), null], ['object', type({ a: 'string' }), { a: 'x', b: 1 }], ['optional', type({ a: 'string', 'b?': 'number' }), { a: 'x', b: 1 }], ['default', type({ a: 'number = 3' }), {}],
  ['rejects others', type({ a: 'string', '+': 'reject' }), { a: 'x' }], ['drops others', type({ a: 'string', '+': 'delete' }), { a: 'x' }], ['index', type({ '[string]': 'number' }), { a: 1 }], ['user', type({ username: type(/^[a-zA-Z0-9]+$/).and('3 <= string <= 20'), email: 'string.email', password: 'string >= 12', '+': 'reject' }), user],
  ['array', type('string[]'), ['a']], ['array bounds', type('1 <= number[] <= 3'), [1, 2]], ['tuple', type(['string', 'number']), ['a', 1]], ['variadic', type(['string', '...', 'number[]']), ['a', 1, 2]], ['union', type('string | number'), 1], ['union of objects', type({ kind: "'a'", x: 'string' }).or({ kind: "'b'", y: 'number' }), { kind: 'b', y: 1 }],
  ['narrowed', type('string').narrow((s) => s !== 'b'), 'abc'], ['piped', type('string').pipe((s) => s.length), 'abc'], ['nested', type({ a: { b: 'string[]' } }), { a: { b: ['x'] } }]
]

const ofJoi = () => [
  ['string', Joi.string(), 'a'], ['min', Joi.string().min(3), 'abc'], ['max', Joi.string().max(3), 'abc'], ['length', Joi.string().length(2), 'ab'], ['pattern', Joi.string().pattern(/^[a-z]+$/), 'abc'], ['pattern with i', Joi.string().pattern(/^[a-z]+$/i), 'aBc'], ['email', Joi.string().email({ tlds: false }), 'ada@example.com'], ['uuid', Joi.string().uuid(), uuid], ['uri', Joi.string().uri(), 'https://example.com'],
  ['ip', Joi.string().ip(), '10.0.0.1'], ['iso date', Joi.string().isoDate(), '2026-01-31'], ['alphanum', Joi.string().alphanum(), 'abc1'], ['trim', Joi.string().trim().min(2).max(3), ' abc '], ['lowercase', Joi.string().lowercase(), 'ABC'], ['empty allowed', Joi.string().allow(''), ''], ['truncated', Joi.string().max(2).truncate(), 'abcd'], ['replaced', Joi.string().replace(/a/g, 'b'), 'aa'],
  ['number', Joi.number(), 1.5, '5'], ['integer', Joi.number().integer(), 3], ['between', Joi.number().min(1).max(5), 3], ['positive', Joi.number().positive(), 1], ['multiple', Joi.number().multiple(5), 10], ['precision', Joi.number().precision(1), 1.25], ['port', Joi.number().port(), 80], ['unsafe', Joi.number().unsafe(), 1e21], ['boolean', Joi.boolean(), true, 'true'], ['truthy', Joi.boolean().truthy('yes'), 'yes'],
  ['date', Joi.date(), '2026-01-31'], ['valid', Joi.valid('a', 1, null), 1], ['invalid', Joi.string().invalid('b'), 'a'], ['any', Joi.any(), 1], ['nullable', Joi.string().allow(null), null], ['object', Joi.object({ a: Joi.string() }), { a: 'x' }], ['required', Joi.object({ a: Joi.string().required(), b: Joi.number() }), { a: 'x', b: 1 }], ['unknown members', Joi.object({ a: Joi.string() }).unknown(), { a: 'x', b: 1 }], ['stripped members', Joi.object({ a: Joi.string() }).options({ stripUnknown: true }), { a: 'x', b: 1 }],
  ['without conversion', Joi.object({ a: Joi.number() }).prefs({ convert: false }), { a: 1 }], ['default', Joi.object({ a: Joi.number().default(3) }), {}], ['user', Joi.object({ username: Joi.string().alphanum().min(3).max(20).required(), email: Joi.string().email({ tlds: false }).required(), password: Joi.string().min(12).required() }), user], ['and', Joi.object({ a: Joi.any(), b: Joi.any() }).and('a', 'b'), { a: 1, b: 2 }],
  ['renamed', Joi.object({ b: Joi.string() }).rename('a', 'b'), { a: 'x' }], ['pattern members', Joi.object().pattern(/^[a-z]$/, Joi.number()), { a: 1 }], ['array', Joi.array().items(Joi.string()), ['a']], ['array bounds', Joi.array().items(Joi.number()).min(1).max(3), [1, 2]], ['single', Joi.array().items(Joi.string()).single(), 'a'], ['unique', Joi.array().unique(), [1, 2]], ['ordered', Joi.array().ordered(Joi.string(), Joi.number()), ['a', 1]], ['alternatives', Joi.alternatives(Joi.string(), Joi.object({ a: Joi.number() })), { a: 1 }], ['custom', Joi.string().custom((s) => `${s}!`), 'a']
]

// TypeBox's schemas are JSON Schema, and read as such: an object at the top says what becomes of
// other members.
const closed = { additionalProperties: false }
const ofTypebox = () => [
  ['string', Type.String(), 'a'], ['min', Type.String({ minLength: 3 }), 'abc'], ['max', Type.String({ maxLength: 3 }), 'abc'], ['pattern', Type.String({ pattern: '^[a-z]+$' }), 'abc'], ['pattern unanchored', Type.String({ pattern: 'b' }), 'abc'], ['uuid', Type.String({ format: 'uuid' }), uuid], ['ipv4', Type.String({ format: 'ipv4' }), '10.0.0.1'],
  ['number', Type.Number(), 1.5], ['integer', Type.Integer(), 3], ['between', Type.Number({ minimum: 1, maximum: 5 }), 3], ['exclusive', Type.Number({ exclusiveMinimum: 1 }), 2], ['multiple', Type.Integer({ multipleOf: 5 }), 10], ['boolean', Type.Boolean(), true], ['null', Type.Null(), null], ['literal', Type.Literal('a'), 'a'], ['literal number', Type.Literal(1), 1], ['enum', Type.Enum(['a', 'b']), 'b'],
  ['any', Type.Any(), 1], ['unknown', Type.Unknown(), 1], ['never', Type.Union([Type.Never(), Type.Null()]), null], ['object', Type.Object({ a: Type.String() }, closed), { a: 'x' }], ['optional', Type.Object({ a: Type.String(), b: Type.Optional(Type.Number()) }, closed), { a: 'x', b: 1 }], ['open', Type.Object({ a: Type.String() }, { additionalProperties: true }), { a: 'x', b: 1 }], ['typed rest', Type.Object({ a: Type.String() }, { additionalProperties: Type.Number() }), { a: 'x', b: 1 }],
  ['user', Type.Object({ username: Type.String({ minLength: 3, maxLength: 20, pattern: '^[a-zA-Z0-9]+$' }), password: Type.String({ minLength: 12 }) }, closed), { username: 'ada', password: 'correct horse' }], ['nested', Type.Object({ a: Type.Object({ b: Type.Array(Type.Integer()) }, closed) }, closed), { a: { b: [1] } }], ['partial', Type.Partial(Type.Object({ a: Type.String(), b: Type.Number() }), closed), { a: 'x' }],
  ['array', Type.Array(Type.String()), ['a']], ['array bounds', Type.Array(Type.Integer(), { minItems: 1, maxItems: 3 }), [1, 2]], ['unique', Type.Array(Type.Integer(), { uniqueItems: true }), [1, 2]], ['contains', Type.Array(Type.Unknown(), { contains: Type.Literal('a') }), ['a', 1]], ['tuple', Type.Tuple([Type.String(), Type.Number()]), ['a', 1]], ['record', Type.Record(Type.String(), Type.Number()), { a: 1 }], ['record of a pattern', Type.Record(Type.String({ pattern: '^[a-z]$' }), Type.Number(), closed), { a: 1 }],
  ['union', Type.Union([Type.String(), Type.Integer()]), 1], ['union of objects', Type.Union([Type.Object({ kind: Type.Literal('a') }, closed), Type.Object({ kind: Type.Literal('b') }, closed)]), { kind: 'b' }], ['intersect', Type.Intersect([Type.Object({ a: Type.String() }), Type.Object({ b: Type.Number() })], { unevaluatedProperties: false }), { a: 'x', b: 1 }], ['refined', Type.Refine(Type.String(), (s) => s !== 'b'), 'abc'], ['refined inside', Type.Object({ a: Type.Refine(Type.Number(), (n) => n > 2), b: Type.Array(Type.Refine(Type.String(), (s) => s.length < 3)) }, closed), { a: 3, b: ['a'] }], ['min properties', Type.Object({}, { minProperties: 1, additionalProperties: true }), { a: 1 }]
]

const standard = (schema) => (value) => {
  const result = schema['~standard'].validate(value)
  return { ok: result.issues === undefined, output: result.value }
}
const checked = (schema) => (value) => ({ ok: Value.Check(schema, value), output: value })

/**
 * `[library, name, schema, verdict, examples]`: `verdict(value)` is the library's own, `{ ok,
 * output }`.
 */
export const librarySchemas = [
  ['zod', ofZod, standard],
  ['valibot', ofValibot, standard],
  ['arktype', ofArktype, standard],
  ['joi', ofJoi, standard],
  ['TypeBox', ofTypebox, checked]
].flatMap(([library, all, own]) => all().map(([name, schema, ...examples]) => [library, name, schema, own(schema), examples]))

// What the rules of the five are about, and where they count or fold otherwise than each other.
const POOL = [
  '', 'a', 'b', 'ab', 'abc', 'abcd', 'ABC', 'aBc', ' abc ', ' ', '\n', '5', '5.5', '0x10', '1e3', 'true', 'yes', 'null', '{}', '[]', 'a b', 'a\nb', 'å', 'a\u0301', '\u{1f600}', '\u{1f600}\u{1f600}', '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}', 'ſ', '\u212a', '\u2028', '\ufeff', 'x'.repeat(30),
  'ada@example.com', 'Ada <ada@example.com>', 'a@b', `${'a'.repeat(70)}@example.com`, 'a..b@example.com', 'ada@exämple.com', 'https://example.com', 'http://a b', 'javascript:alert(1)', 'example.com', uuid, uuid.toUpperCase(), uuid.replace('-4', '-9'), '10.0.0.1', '10.0.0.256', '::1', '2026-01-31', '2026-02-30', '2026-01-31T12:00:00Z', '2026-01-31T12:00:00+01:00', '2026-01-31T12:00', 'aGk=', 'aGk',
  0, 1, -1, 2, 3, 4, 5, 6, 10, 0.1, 0.3, 1.5, 2.0, 1e21, 2 ** 31, 2 ** 32, Number.MAX_SAFE_INTEGER, -2.5, true, false, null, [], ['a'], [1], [1, 2], [1, 1], ['a', 1], [1, 2, 3, 4], [null], {}, { a: 1 }, { a: 'x' }, { b: 1 }, { a: 'x', b: 2 }, { a: null }, { toString: 1 }, { kind: 'a', x: 'x' }, { kind: 'c' }, { A: 1 }
]

/** Numbers from 0 to 1 that are the same in every run: mulberry32. */
function random(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** `count` values for a schema that accepts `examples`: these, changed at one place, and others. */
export function valuesFor(examples, count, seed) {
  const next = random(seed)
  const pick = (list) => list[Math.floor(next() * list.length)]
  const change = (value) => {
    if (value === null || typeof value !== 'object' || next() < 0.1) return pick(POOL)
    if (Array.isArray(value)) {
      const copy = [...value]
      const at = Math.floor(next() * (copy.length + 1))
      if (next() < 0.3) copy.splice(at, 1)
      else copy[at] = at < copy.length ? change(copy[at]) : pick(POOL)
      return copy
    }
    const copy = { ...value }
    const keys = Object.keys(copy)
    const dice = next()
    if (dice < 0.2 && keys.length > 0) delete copy[pick(keys)]
    else if (dice < 0.4 || keys.length === 0) copy[pick(['a', 'b', 'x', 'admin', 'toString'])] = pick(POOL)
    else {
      const key = pick(keys)
      copy[key] = change(copy[key])
    }
    return copy
  }
  const values = [...examples]
  while (values.length < count) values.push(next() < 0.6 ? change(pick(examples)) : pick(POOL))
  return values
}

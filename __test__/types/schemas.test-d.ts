// What `validate` infers from JSON Schema literals, zod, TypeBox, valibot, arktype and joi.
import { createGuard, type FromSchema, type Infer } from 'keepstone'
import { toStandardJsonSchema } from '@valibot/to-json-schema'
import { type } from 'arktype'
import Joi from 'joi'
import { Type } from 'typebox'
import * as v from 'valibot'
import { z } from 'zod'
import { expect, type Equals } from './equals'

const guard = createGuard()
declare const req: import('node:http').IncomingMessage

// A JSON Schema is read without `as const`.
const user = guard.validate({
  body: {
    type: 'object',
    properties: {
      name: { type: 'string', minLength: 3, maxLength: 20 },
      age: { type: 'integer' },
      role: { enum: ['admin', 'user'] },
      tags: { type: 'array', items: { type: 'string' } },
      address: {
        type: 'object',
        properties: { zip: { type: ['string', 'null'] } },
        required: ['zip'],
        additionalProperties: false,
      },
    },
    required: ['name', 'role'],
    additionalProperties: false,
  },
  query: { type: 'object', properties: { page: { type: 'integer' } }, required: ['page'] },
})
expect<
  Equals<
    ReturnType<typeof user.valid>['body'],
    {
      name: string
      role: 'admin' | 'user'
      age?: number
      tags?: string[]
      address?: { zip: string | null }
    }
  >
>()
expect<Equals<ReturnType<typeof user.valid>['query'], { page: number }>>()
// @ts-expect-error: there is no schema for params
user.valid(req).params

expect<Equals<FromSchema<{ type: 'integer' }>, number>>()
expect<Equals<FromSchema<{ const: 'a' }>, 'a'>>()
expect<Equals<FromSchema<{ oneOf: [{ type: 'string' }, { type: 'null' }] }>, string | null>>()
expect<Equals<FromSchema<{ anyOf: [{ const: 1 }, { const: 2 }] }>, 1 | 2>>()
expect<Equals<FromSchema<{ type: 'array'; prefixItems: [{ type: 'string' }]; items: false }>, [string, ...never[]]>>()
expect<Equals<FromSchema<{ type: 'object'; additionalProperties: { type: 'number' } }>, { [member: string]: number }>>()
expect<Equals<FromSchema<{ $ref: '#/$defs/a' }>, unknown>>()
expect<Equals<FromSchema<true>, unknown>>()
expect<Equals<FromSchema<false>, never>>()
// A schema that is known at run time only says nothing.
expect<Equals<FromSchema<Record<string, unknown>>, unknown>>()

type Both = FromSchema<{
  allOf: [
    { type: 'object'; properties: { a: { type: 'string' } }; required: ['a'] },
    { type: 'object'; properties: { b: { type: 'number' } }; required: ['b'] },
  ]
}>
expect<Equals<Both['a'], string>>()
expect<Equals<Both['b'], number>>()

// A union told apart by a member narrows.
type Shape = FromSchema<{
  oneOf: [
    { type: 'object'; properties: { kind: { const: 'circle' }; radius: { type: 'number' } }; required: ['kind', 'radius'] },
    { type: 'object'; properties: { kind: { const: 'square' }; side: { type: 'number' } }; required: ['kind', 'side'] },
  ]
}>
function area(shape: Shape): number {
  return shape.kind === 'circle' ? shape.radius ** 2 * Math.PI : shape.side ** 2
}
void area

// zod: what a handler sees is the output, not the input.
const zodSchema = z.strictObject({
  username: z.string().min(3),
  tags: z.array(z.string()).default([]),
  length: z.string().transform((text) => text.length),
})
const withZod = guard.validate({ body: zodSchema, query: z.object({ page: z.coerce.number() }) })
expect<Equals<ReturnType<typeof withZod.valid>['body'], z.output<typeof zodSchema>>>()
expect<Equals<ReturnType<typeof withZod.valid>['query'], { page: number }>>()

// TypeBox
const typeboxSchema = Type.Object({
  username: Type.String(),
  age: Type.Optional(Type.Integer()),
  role: Type.Union([Type.Literal('admin'), Type.Literal('user')]),
  point: Type.Tuple([Type.Number(), Type.Number()]),
  labels: Type.Record(Type.String(), Type.Boolean()),
  nested: Type.Array(Type.Object({ id: Type.Null() })),
})
const withTypebox = guard.validate({ body: typeboxSchema, params: Type.Object({ id: Type.String() }) })
expect<
  Equals<
    ReturnType<typeof withTypebox.valid>['body'],
    {
      username: string
      role: 'admin' | 'user'
      point: [number, number]
      labels: { [member: string]: boolean }
      nested: { id: null }[]
      age?: number
    }
  >
>()
const inline = guard.validate({ body: Type.Object({ a: Type.Optional(Type.Boolean()) }) })
expect<Equals<ReturnType<typeof inline.valid>['body'], { a?: boolean }>>()
type Static = Type.Static<typeof typeboxSchema>
const same: Static = withTypebox.valid(req).body
void same
expect<Equals<Infer<typeof zodSchema>, z.output<typeof zodSchema>>>()

// valibot
const valibotSchema = v.object({ name: v.pipe(v.string(), v.trim()), age: v.optional(v.number(), 3), length: v.pipe(v.string(), v.transform((text) => text.length)) })
const withValibot = guard.validate({ body: valibotSchema, query: v.object({ page: v.optional(v.string()) }) })
expect<Equals<ReturnType<typeof withValibot.valid>['body'], { name: string; age: number; length: number }>>()
expect<Equals<ReturnType<typeof withValibot.valid>['query'], { page?: string | undefined }>>()
const withWrapped = guard.validate({ body: toStandardJsonSchema(v.object({ a: v.string() })) })
expect<Equals<ReturnType<typeof withWrapped.valid>['body'], { a: string }>>()

// arktype
const withArktype = guard.validate({ body: type({ name: 'string', 'age?': 'number', length: type('string').pipe((text) => text.length) }), params: type({ id: 'string' }) })
expect<Equals<ReturnType<typeof withArktype.valid>['body'], { name: string; length: number; age?: number }>>()
expect<Equals<ReturnType<typeof withArktype.valid>['params'], { id: string }>>()

// joi
const withJoi = guard.validate({ body: Joi.object<{ name: string }>({ name: Joi.string() }) })
void withJoi.valid(req).body

// Answers have schemas, too, which say nothing of the request.
const withResponse = guard.validate({
  params: { type: 'object', properties: { id: { type: 'integer' } }, required: ['id'] },
  response: { 200: { type: 'object', properties: { id: { type: 'integer' } } }, '4xx': z.object({ error: z.string() }), default: { type: 'string' } },
  onResponse: 'fail',
})
expect<Equals<ReturnType<typeof withResponse.valid>, { params: { id: number } }>>()
// @ts-expect-error: no such way
guard.validate({ response: { 200: {} }, onResponse: 'drop' })

createGuard({
  payload: {
    draft: '7',
    schemas: { 'https://example.com/user.json': { type: 'object', properties: { name: { type: 'string', 'x-trim': true } } } },
    formats: { sku: /^[A-Z]{3}-\d+$/, word: '^\\w+$', luhn: (text) => text.length > 3 },
    keywords: { even: (value: number, wanted: boolean) => (value % 2 === 0) === wanted },
    messages: { required: '{key} is missing', de: { required: '{key} fehlt' } },
  },
})
// @ts-expect-error: no draft
createGuard({ payload: { draft: '5' } })

// @ts-expect-error: a body schema is no string
guard.validate({ body: 'string' })
// @ts-expect-error: not a part of a request
guard.validate({ bdoy: { type: 'string' } })
// @ts-expect-error: no JSON Schema type
guard.validate({ body: { type: 'strng' } })

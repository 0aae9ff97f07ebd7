// Generated requests are judged as express-openapi-validator (ajv) judges them, or differ in a way
// that bench/lib/openapi-agreement.mjs names. bench/openapi-agreement.mjs does the same for public
// documents.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { compare } from '../bench/lib/openapi-agreement.mjs'

const schemas = {
  Order: {
    type: 'object',
    required: ['id', 'items', 'pay'],
    properties: {
      id: { type: 'integer', minimum: 1, maximum: 1000 },
      note: { type: 'string', maxLength: 20 },
      kind: { type: 'string', enum: ['gift', 'plain'] },
      items: { type: 'array', minItems: 1, maxItems: 4, items: { $ref: '#/components/schemas/Item' } },
      pay: { oneOf: [{ $ref: '#/components/schemas/Card' }, { $ref: '#/components/schemas/Cash' }], discriminator: { propertyName: 'type' } }
    }
  },
  Item: { type: 'object', required: ['sku'], properties: { sku: { type: 'string', pattern: '^[a-z]{1,10}$' }, count: { type: 'integer', minimum: 1 } } },
  Card: { type: 'object', required: ['type', 'digits'], properties: { type: { type: 'string', enum: ['Card'] }, digits: { type: 'string', minLength: 1 } } },
  Cash: { type: 'object', required: ['type'], properties: { type: { type: 'string', enum: ['Cash'] }, coins: { type: 'integer' } } }
}

const parameters = [
  { name: 'id', in: 'path', required: true, schema: { type: 'integer', minimum: 1, maximum: 99 } },
  { name: 'limit', in: 'query', required: true, schema: { type: 'integer', maximum: 50 } },
  { name: 'tags', in: 'query', schema: { type: 'array', items: { type: 'string', enum: ['a', 'b'] } } },
  { name: 'x-kind', in: 'header', required: true, schema: { type: 'string', enum: ['one', 'two'] } }
]

for (const openapi of ['3.0.3', '3.1.0']) {
  test(`${openapi}: generated requests have the verdicts of another validator`, async () => {
    const content = { 'application/json': { schema: { $ref: '#/components/schemas/Order' } } }
    const responses = { 200: { description: 'ok' } }
    const doc = {
      openapi,
      info: { title: 'Orders', version: '1' },
      paths: {
        '/orders': { post: { operationId: 'create', requestBody: { required: true, content }, responses } },
        '/orders/{id}': { get: { operationId: 'read', parameters, responses }, put: { operationId: 'write', parameters: parameters.slice(0, 1), requestBody: { required: true, content }, responses } }
      },
      components: { schemas }
    }
    const { requests, accepted, unjudged, differences } = await compare(createGuard, doc, {}, { requests: 300, seed: 7 })
    assert.deepEqual([requests, unjudged], [300, 0])
    assert.ok(accepted > 80 && accepted < 220, `${accepted} are accepted`)
    const unexplained = differences.filter((it) => it.class === 'unexplained')
    assert.deepEqual(unexplained, [])
    assert.ok(differences.length < 30, `${differences.length} differ`)
  })
}

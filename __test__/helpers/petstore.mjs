// The description of an API as teams write them: 3.0, with references, composition, several kinds
// of parameters and security of several kinds.

const ref = (kind, name) => ({ $ref: `#/components/${kind}/${name}` })
const json = (schema) => ({ 'application/json': { schema } })
const fine = { 200: { description: 'fine' } }

export const petstore = {
  openapi: '3.0.3',
  info: { title: 'Pet store', version: '1.0.0' },
  servers: [{ url: 'https://{host}/v1', variables: { host: { default: 'pets.example.com' } } }],
  security: [{ oauth: ['pets:read'] }],
  paths: {
    '/pets': {
      get: {
        operationId: 'listPets',
        security: [],
        parameters: [
          ref('parameters', 'Limit'),
          { name: 'tags', in: 'query', schema: { type: 'array', items: { type: 'string', maxLength: 10 }, maxItems: 3 } },
          { name: 'ids', in: 'query', explode: false, schema: { type: 'array', items: { type: 'integer', format: 'int32' } } },
          { name: 'X-Tenant', in: 'header', schema: { type: 'string', pattern: '^[a-z]+$' } },
          { name: 'X-Kinds', in: 'header', schema: { type: 'array', items: { type: 'string', enum: ['cat', 'dog'] } } },
          { name: 'seen', in: 'cookie', schema: { type: 'integer', minimum: 0 } }
        ],
        responses: fine
      },
      post: {
        operationId: 'createPet',
        security: [{ oauth: ['pets:write'] }, { oauth: ['admin'] }],
        requestBody: { required: true, content: json(ref('schemas', 'Pet')) },
        responses: { 201: { description: 'created' } }
      }
    },
    '/pets/search': {
      post: {
        operationId: 'searchPets',
        security: [{}],
        requestBody: { content: { ...json(ref('schemas', 'Search')), 'application/merge-patch+json': { schema: { type: 'object', additionalProperties: { type: 'string', nullable: true } } } } },
        responses: fine
      }
    },
    '/pets/orders': {
      post: {
        operationId: 'orderPets',
        security: [],
        requestBody: { required: true, content: { ...json(ref('schemas', 'Order')), 'application/x-www-form-urlencoded': { schema: ref('schemas', 'Order') } } },
        responses: fine
      }
    },
    '/pets/{petId}': {
      parameters: [ref('parameters', 'PetId')],
      get: { operationId: 'getPet', responses: fine },
      patch: {
        operationId: 'changePet',
        security: [{ oauth: [] }, { key: [] }],
        requestBody: { required: true, content: json(ref('schemas', 'Changes')) },
        responses: fine
      },
      delete: { operationId: 'deletePet', security: [{ oauth: ['admin'], key: [] }], responses: { 204: { description: 'gone' } } }
    },
    '/pets/{petId}/photo': {
      parameters: [ref('parameters', 'PetId')],
      put: {
        operationId: 'putPhoto',
        security: [{}, { oauth: [] }],
        requestBody: { content: { 'image/png': { schema: { type: 'string', format: 'binary' } } } },
        responses: fine
      }
    },
    '/pets/{petId}:adopt': {
      parameters: [ref('parameters', 'PetId')],
      post: { operationId: 'adoptPet', security: [{ basic: [] }], responses: fine }
    }
  },
  components: {
    parameters: {
      Limit: { name: 'limit', in: 'query', schema: { type: 'integer', minimum: 1, maximum: 100, default: 20 } },
      PetId: { name: 'petId', in: 'path', required: true, schema: { type: 'integer', format: 'int64', minimum: 1 } }
    },
    schemas: {
      Pet: {
        type: 'object',
        required: ['id', 'name', 'owner'],
        properties: {
          id: { type: 'integer', format: 'int64', readOnly: true },
          name: { type: 'string', minLength: 1, maxLength: 20, example: 'Rex' },
          nickname: { type: 'string', nullable: true },
          weight: { type: 'number', minimum: 0, exclusiveMinimum: true },
          owner: ref('schemas', 'Owner'),
          parents: { type: 'array', maxItems: 2, items: ref('schemas', 'Parent') }
        }
      },
      Owner: { type: 'object', additionalProperties: false, required: ['email'], properties: { email: { type: 'string', format: 'email' }, verified: { type: 'boolean', readOnly: true } } },
      Parent: { type: 'object', additionalProperties: false, required: ['name'], properties: { name: { type: 'string' }, parents: { type: 'array', items: ref('schemas', 'Parent') } } },
      Search: { oneOf: [ref('schemas', 'ByName'), ref('schemas', 'ByOwner')], discriminator: { propertyName: 'by' } },
      ByName: { type: 'object', additionalProperties: false, required: ['by', 'name'], properties: { by: { type: 'string', enum: ['name'] }, name: { type: 'string' } } },
      ByOwner: { type: 'object', additionalProperties: false, required: ['by', 'owner'], properties: { by: { type: 'string', enum: ['owner'] }, owner: { type: 'string', format: 'email' } } },
      Order: {
        type: 'object',
        required: ['count'],
        properties: {
          count: { type: 'integer', minimum: 1, maximum: 9 },
          gift: { type: 'boolean', default: false },
          kinds: { type: 'array', items: { type: 'string', enum: ['cat', 'dog'] }, maxItems: 3 },
          paid: { type: 'boolean', readOnly: true }
        }
      },
      Changes: { allOf: [{ type: 'object', properties: { name: { type: 'string', minLength: 1 } } }, { type: 'object', properties: { nickname: { type: 'string', nullable: true } } }] }
    },
    securitySchemes: {
      oauth: { type: 'oauth2', flows: { clientCredentials: { tokenUrl: 'https://id.example.com/token', scopes: { 'pets:read': '', 'pets:write': '', admin: '' } } } },
      key: { type: 'apiKey', in: 'header', name: 'X-Key' },
      basic: { type: 'http', scheme: 'basic' }
    }
  }
}

/**
 * Options that the document needs: two of its schemes are the application's, and photos are not
 * read.
 */
export const petstoreOptions = {
  unreadable: 'pass',
  security: {
    key: (req) => req.headers['x-key'] === 'open sesame',
    basic: async (req) => req.headers.authorization === `Basic ${Buffer.from('ada:lovelace').toString('base64')}`
  }
}

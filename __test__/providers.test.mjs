// The presets of identity providers: their tokens are accepted with the configuration of
// docs/guides/providers.md, and what was meant for somebody else is not.

import test, { describe } from 'node:test'
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createGuard, GuardError, providers } from 'keepstone'
import { bearer, expresses, serve } from './helpers/http.mjs'
import { startIssuer } from './helpers/issuer.mjs'
import { table } from './helpers/provider-table.mjs'
import { providerKey } from './helpers/provider-tokens.mjs'

const now = () => Math.floor(Date.now() / 1000)
const presetOf = (name) => table[name].provider ?? name

/** The options of a row, with `set`, its key set or the URL of one, in place of the provider's. */
function optionsOf(name, set = table[name].set) {
  const { facts } = table[name]
  const { discovery: _, ...options } = providers[presetOf(name)](facts)
  // The preset 'vault' is discovery: here it is the same issuer by its whole name.
  if (options.preset === 'vault') return { issuer: `${options.issuer}/v1/identity/oidc`, audience: options.audience, jwks: set }
  return { ...options, jwks: set }
}

function tokenOf(row, { payload, header, by = row.signing, token }) {
  return token === undefined ? by.token(payload, header) : token(payload)
}

/** Runs `use(send, guard, last)`; `last()` is the last decision event. */
async function guarded(jwt, use) {
  const events = []
  const guard = createGuard({ rateLimit: false, jwt, log: (event) => events.push(event) })
  const app = expresses[0][1]()
  app.use(guard.securityStack())
  app.get('/', (req, res) => res.json(req.user))
  try {
    return await serve(app, (send) => use(send, guard, () => events.at(-1)))
  } finally {
    await guard.close()
  }
}

const inHeader = (row, token) => (row.header === undefined ? bearer(token) : { [row.header]: token })

/** What is forged of every provider's token in the same way: `[token, reason]` by name. */
function common(row, base) {
  const { signing } = row
  const { payload, header = {} } = base
  const stranger = providerKey({ kid: signing.kid, name: 'stranger', type: signing.alg === 'RS256' ? 'rsa' : 'ec' })
  const swapped = signing.alg === 'RS256' ? 'PS256' : 'RS256'
  const other = signing.alg === 'RS256' ? signing : providerKey({ kid: signing.kid, name: 'stranger' })
  return {
    'another key under the same kid': [stranger.token(payload, header), 'token_signature'],
    'a kid that is not published': [stranger.token(payload, { ...header, kid: 'made-up' }), 'kid_unknown'],
    'another issuer': [signing.token({ ...payload, ...(row.issuer ?? { iss: 'https://evil.example' }) }, header), 'issuer_unknown'],
    'no issuer': row.issuer === undefined ? [signing.token({ ...payload, iss: undefined }, header), 'claim_missing:iss'] : undefined,
    'an expired token': [signing.token({ ...payload, iat: now() - 7200, nbf: undefined, exp: now() - 3600 }, header), 'token_expired'],
    'no exp': [signing.token({ ...payload, exp: undefined }, header), 'claim_missing:exp'],
    'no iat': [signing.token({ ...payload, iat: undefined }, header), 'claim_missing:iat'],
    'a life of ten years': [signing.token({ ...payload, exp: now() + 10 * 365 * 86400 }, header), 'lifetime_over_max'],
    'another algorithm by the same kid': [other.token(payload, { ...header, alg: swapped }), undefined],
    'HS256 with the public key': [signing.token(payload, { ...header, alg: 'HS256' }), undefined],
    'no signature': [signing.token(payload, { ...header, alg: 'none' }), undefined],
    'a token of another typ': [signing.token(payload, { ...header, typ: 'secevent+jwt' }), 'typ_mismatch']
  }
}

async function accepts(name, row, set) {
  await guarded(optionsOf(name, set), async (send) => {
    for (const [kind, good] of Object.entries(row.good)) {
      const { status, json } = await send({ headers: inHeader(row, tokenOf(row, good)) })
      assert.equal(status, 200, `${kind}: ${JSON.stringify(json)}`)
      assert.equal(json.sub, good.payload.sub, kind)
    }
  })
}

async function refuses(name, row, set) {
  const base = Object.values(row.good)[0]
  const forged = Object.entries(row.forged).map(([what, [claims, reason, more = {}]]) => [what, [tokenOf(row, { ...base, ...more, payload: { ...base.payload, ...claims } }), reason]])
  const all = [...forged, ...Object.entries(common(row, base)).filter(([, forgery]) => forgery !== undefined)]
  assert.ok(all.length >= 12)
  await guarded(optionsOf(name, set), async (send, guard, last) => {
    for (const [what, [token, reason]] of all) {
      const { status, json, text, headers } = await send({ headers: inHeader(row, token) })
      assert.equal(status, 401, what)
      assert.deepEqual([last().outcome, last().code], ['refuse', json.code], what)
      if (reason !== undefined) assert.equal(last().reason, reason, what)
      if (last().reason !== json.code) assert.ok(!`${text}${headers['www-authenticate']}`.includes(last().reason), what)
      await assert.rejects(guard.tokens.verify(token), (error) => error instanceof GuardError && error.code === json.code && error.reason === last().reason, what)
    }
  })
}

/** Runs `use` with the URL of a key set on a server of our own. */
async function published(set, use) {
  const server = await startIssuer()
  server.publish('/keys', set)
  try {
    return await use(`${server.url}/keys`, server)
  } finally {
    await server.stop()
  }
}

for (const [name, row] of Object.entries(table)) {
  describe(name, () => {
    if (!row.isFetched) {
      test('its tokens are accepted', () => accepts(name, row))
      test('what was meant for somebody else is refused with 401, and the reason is for the operator alone', () => refuses(name, row))
    }
    test('its tokens are accepted by keys that are fetched', () => published(row.set, (url) => accepts(name, row, url)))
    test('what was meant for somebody else is refused by keys that are fetched', () => published(row.set, (url) => refuses(name, row, url)))
  })
}

test('all providers in one guard: each token by the keys of its own issuer', async () => {
  const rows = Object.entries(table).filter(([name, row]) => presetOf(name) === name && row.header === undefined && !['entra', 'googleServiceAccounts'].includes(name))
  const proxies = Object.entries(table).filter(([, row]) => row.header !== undefined)
  const issuers = [...rows, ...proxies].map(([name]) => {
    const { from: _, ...options } = optionsOf(name)
    return options
  })
  const from = ['header', ...proxies.map(([, { header }]) => ({ header }))]
  assert.ok(issuers.length >= 18)
  await guarded({ issuers, from }, async (send) => {
    for (const [name, row] of [...rows, ...proxies]) {
      for (const [kind, good] of Object.entries(row.good)) {
        assert.equal((await send({ headers: inHeader(row, tokenOf(row, good)) })).status, 200, `${name}: ${kind}`)
        // Signed by every other provider, under the kid of this one.
        const others = rows.filter(([other, { signing }]) => other !== name && signing.jwk.n !== row.signing.jwk.n && signing.alg === row.signing.alg)
        for (const [other, { signing }] of others) {
          const { status } = await send({ headers: inHeader(row, signing.token(good.payload, { ...good.header, kid: row.signing.kid })) })
          assert.equal(status, 401, `${name}: ${kind}, signed by ${other}`)
        }
      }
    }
  })
})

test('a template that covers the issuer of another one is refused, in whichever order they stand', () => {
  const [single, multiple] = [optionsOf('entra'), optionsOf('entraMultiTenant')]
  for (const issuers of [[single, multiple], [multiple, single]]) {
    assert.throws(() => createGuard({ jwt: { issuers } }), { code: 'ERR_CONFLICTING_OPTIONS', path: 'jwt.issuers[1].issuer' })
  }
})

test('`from` stands beside `issuers`: a preset with it is refused in the list, and the error names the place', () => {
  const proxied = providers.iap({ audience: '/projects/1/apps/a' })
  assert.throws(() => createGuard({ jwt: { issuers: [proxied] } }), (error) => {
    assert.deepEqual([error.code, error.path], ['ERR_UNKNOWN_OPTION', 'jwt.issuers[0].from'])
    assert.match(error.message, /beside `issuers`/)
    return true
  })
})

test("in a cluster the keys are read from the API server with the pod's own token", async () => {
  const { signing, set, good } = table.kubernetes
  const folder = mkdtempSync(join(tmpdir(), 'keepstone-pod-'))
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, 'first\n')
  try {
    await published(set, async (url, server) => {
      server.publish('/openid/v1/jwks', (req, res) => res.end(JSON.stringify(req.headers.authorization === 'Bearer first' ? set : {})))
      const { jwks, ...options } = providers.kubernetes({ ...table.kubernetes.facts, apiServer: 'https://kubernetes.default.svc', tokenFile })
      assert.equal(jwks.url, 'https://kubernetes.default.svc/openid/v1/jwks')
      await guarded({ ...options, jwks: { ...jwks, url: `${server.url}/openid/v1/jwks` } }, async (send, guard) => {
        await guard.ready()
        assert.equal((await send({ headers: bearer(signing.token(good.pod.payload)) })).status, 200)
      })
      assert.equal(server.seen[0].headers.authorization, 'Bearer first')
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test('Vault is found by its address', async () => {
  const { signing, set, facts, good } = table.vault
  await published(set, async (url, server) => {
    const address = server.url
    server.publish('/v1/identity/oidc/.well-known/openid-configuration', { issuer: `${address}/v1/identity/oidc`, jwks_uri: url })
    await guarded(providers.vault({ ...facts, address }), async (send) => {
      const payload = { ...good.entity.payload, iss: `${address}/v1/identity/oidc` }
      assert.equal((await send({ headers: bearer(signing.token(payload)) })).status, 200)
      assert.equal((await send({ headers: bearer(signing.token(good.entity.payload)) })).status, 401)
    })
  })
})

describe('facts', () => {
  const examples = Object.fromEntries(Object.entries(table).map(([name, { facts }]) => [presetOf(name), facts]))

  test('the table is fixed, each preset is plain, and each call gives options of its own', () => {
    assert.ok(Object.isFrozen(providers))
    assert.deepEqual(Object.keys(providers).sort(), Object.keys(examples).sort())
    assert.ok(Object.keys(providers).length >= 18)
    for (const [name, facts] of Object.entries(examples)) {
      const [one, two] = [providers[name](facts), providers[name](facts)]
      assert.equal(Object.getPrototypeOf(one), Object.prototype)
      assert.notEqual(one, two)
      createGuard({ rateLimit: false, jwt: { ...one, clockTolerance: '5s' } }).close()
      one.issuer = 'changed'
      assert.notEqual(providers[name](facts).issuer, 'changed')
    }
  })

  for (const [name, facts] of Object.entries(examples)) {
    test(`providers.${name}: a fact that is missing, empty, unknown or of another type is refused by its name`, () => {
      const refused = (given, code, path) =>
        assert.throws(() => providers[name](given), (error) => {
          assert.ok(error instanceof GuardError)
          assert.deepEqual([error.code, error.path], [code, path])
          assert.match(error.message, /^`providers\.[^`]+` .+; .+[^.]$/)
          assert.ok(typeof error.suggestion === 'string')
          return true
        })
      const path = `providers.${name}`
      refused(undefined, 'ERR_MISSING_OPTION', path)
      for (const bad of [null, 'text', [], 5]) assert.throws(() => providers[name](bad), { code: 'ERR_INVALID_OPTION', path })
      refused({ ...facts, tenantId: 'x' }, 'ERR_UNKNOWN_OPTION', `${path}.tenantId`)
      for (const fact of Object.keys(facts).filter((key) => key !== 'secret' && key !== 'bundle')) {
        refused({ ...facts, [fact]: '' }, 'ERR_INVALID_OPTION', `${path}.${fact}`)
        refused({ ...facts, [fact]: 5 }, 'ERR_INVALID_OPTION', `${path}.${fact}`)
        assert.throws(() => providers[name]({ ...facts, [fact]: undefined }), { code: 'ERR_MISSING_OPTION', path: `${path}.${fact}` })
      }
    })
  }

  for (const [name, change, path, code = 'ERR_INVALID_OPTION'] of [
    ['auth0', { domain: 'https://example.eu.auth0.com' }, 'domain'],
    ['auth0', { domain: 'example.eu.auth0.com/' }, 'domain'],
    ['auth0', { domain: 'Example.eu.auth0.com' }, 'domain'],
    ['auth0', { domain: 'localhost' }, 'domain'],
    ['auth0', { audience: [] }, 'audience'],
    ['auth0', { audience: false }, 'audience'],
    ['auth0', { audience: ['a', 'a'] }, 'audience'],
    ['auth0', { audience: 'a b' }, 'audience'],
    ['okta', { authorizationServer: 'default/v1' }, 'authorizationServer'],
    ['entra', { tenant: 'common' }, 'tenant'],
    ['entra', { tenant: 'organizations' }, 'tenant'],
    ['entra', { tenant: 'contoso.onmicrosoft.com' }, 'tenant'],
    ['entra', { tenant: '8F2B0C1E-4A55-4D2C-9B7E-2F6A1C3D5E70' }, 'tenant'],
    ['entra', { version: 'v3' }, 'version'],
    ['keycloak', { realm: '..' }, 'realm'],
    ['keycloak', { url: 'https://id.example.com/../other' }, 'url'],
    ['githubActions', { repository: '../..' }, 'repository'],
    ['entraMultiTenant', { tenants: 'all' }, 'tenants'],
    ['entraMultiTenant', { tenants: [] }, 'tenants'],
    ['entraMultiTenant', { tenants: ['any'] }, 'tenants'],
    ['entraB2c', { tenantName: 'example.b2clogin.com' }, 'tenantName'],
    ['cognito', { region: 'EU-WEST-1' }, 'region'],
    ['cognito', { region: 'europe' }, 'region'],
    ['cognito', { userPool: 'https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_a' }, 'userPool'],
    ['cognito', { userPool: 'us-east-1_a1B2c3D4e' }, 'userPool', 'ERR_CONFLICTING_OPTIONS'],
    ['cognito', { tokens: 'refresh' }, 'tokens'],
    ['googleServiceAccounts', { serviceAccounts: 'ada@example.com' }, 'serviceAccounts'],
    ['firebase', { project: 'https://securetoken.google.com/my-project' }, 'project'],
    ['iap', { audience: '123456789012' }, 'audience'],
    ['cloudflareAccess', { team: 'example.cloudflareaccess.com' }, 'team'],
    ['cloudflareAccess', { audience: 'my-api' }, 'audience'],
    ['cloudflareAccess', { serviceTokens: 'yes' }, 'serviceTokens'],
    ['clerk', { origins: 'https://app.example.com/' }, 'origins'],
    ['clerk', { origins: 'app.example.com' }, 'origins'],
    ['supabase', { project: 'https://abcdefghijklmnopqrst.supabase.co' }, 'project'],
    ['keycloak', { url: 'id.example.com' }, 'url'],
    ['keycloak', { url: 'https://id.example.com/' }, 'url'],
    ['keycloak', { url: 'https://ID.example.com' }, 'url'],
    ['keycloak', { url: 'https://user:pass@id.example.com' }, 'url'],
    ['keycloak', { url: 'ftp://id.example.com' }, 'url'],
    ['keycloak', { realm: 'a/b' }, 'realm'],
    ['workos', { clientId: '01HXYZ' }, 'clientId'],
    ['githubActions', { repository: 'octo-repo' }, 'repository'],
    ['githubActions', { ref: 'main' }, 'ref'],
    ['gitlab', { url: 'http://gitlab.example.com' }, 'url'],
    ['kubernetes', { serviceAccounts: 'orders' }, 'serviceAccounts'],
    ['vault', { address: 'https://vault.example.com:8200/' }, 'address'],
    ['spiffe', { trustDomain: 'spiffe://example.org' }, 'trustDomain']
  ]) {
    test(`providers.${name} refuses ${JSON.stringify(change)}, and does not repeat it`, () => {
      assert.throws(() => providers[name]({ ...examples[name], ...change }), (error) => {
        assert.deepEqual([error.code, error.path], [code, `providers.${name}.${path}`])
        const [value] = Object.values(change).flat()
        if (typeof value === 'string' && value.length > 9) assert.ok(!error.message.includes(`'${value}'`))
        return true
      })
    })
  }

  test('without an audience something else must bind the token', () => {
    for (const [name, facts, path] of [
      ['keycloak', { url: 'https://id.example.com', realm: 'shop' }, 'audience'],
      ['kinde', { domain: 'example.kinde.com' }, 'audience'],
      ['githubActions', { audience: 'a', ref: 'refs/heads/main' }, 'repository'],
      ['gitlab', { audience: 'a', protectedRefs: true }, 'project']
    ]) {
      assert.throws(() => providers[name](facts), { code: 'ERR_MISSING_OPTION', path: `providers.${name}.${path}` })
    }
  })

  test('keys behind http are fetched only from the address that is named for it', () => {
    const facts = { url: 'https://id.example.com', realm: 'shop', audience: 'my-api' }
    assert.deepEqual(providers.keycloak({ ...facts, internalUrl: 'http://keycloak:8080' }).jwks, { url: 'http://keycloak:8080/realms/shop/protocol/openid-connect/certs', allowHttp: true })
    assert.equal(providers.keycloak({ ...facts, internalUrl: 'https://keycloak.internal' }).jwks, 'https://keycloak.internal/realms/shop/protocol/openid-connect/certs')
    assert.throws(() => createGuard({ jwt: providers.keycloak({ ...facts, url: 'http://id.example.com' }) }), { code: 'ERR_INVALID_OPTION', path: 'jwt.jwks' })
    assert.throws(() => createGuard({ jwt: providers.keycloak({ ...facts, internalUrl: 'http://93.184.216.34' }) }), { code: 'ERR_INVALID_OPTION', path: 'jwt.jwks.url' })
  })
})

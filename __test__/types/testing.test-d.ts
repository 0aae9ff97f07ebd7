// keepstone/testing.
import express from 'express'
import Fastify from 'fastify'
import { createServer } from 'node:http'
import { createGuard } from 'keepstone'
import { createTestClient, createTestClock, createTestIssuer, resetGuard, startTestIssuer, type TestClient, type TestCookie } from 'keepstone/testing'
import { expect, type Equals } from './equals'

const issuer = createTestIssuer({ issuer: 'https://id.test', audience: ['a', 'b'], algorithm: 'EdDSA' })
const guard = createGuard({ jwt: issuer.jwt })
createGuard({ jwt: { ...issuer.jwt, optional: true, from: ['header', { cookie: '__Host-token' }] } })
createGuard({ jwt: { issuers: [issuer.jwt, createTestIssuer().jwt] } })
expect<Equals<ReturnType<typeof issuer.token>, string>>()
issuer.token({ sub: 'ada', exp: undefined }, { age: '1h', expiresIn: '5m', header: { kid: undefined }, forgery: 'no-signature' })
for (const [name, token] of Object.entries(issuer.forgeries({ sub: 'ada' }))) expect<Equals<[typeof name, typeof token], [string, string]>>()
// @ts-expect-error: a number has no unit
issuer.token({}, { age: 5 })
// @ts-expect-error: not a forgery
issuer.token({}, { forgery: 'none' })
// @ts-expect-error: an issuer that others verify has no shared secret
createTestIssuer({ algorithm: 'HS256' })

export async function running() {
  const published = await startTestIssuer()
  createGuard({ jwt: published.jwt })
  createGuard({ jwt: { ...published.jwt, staleFor: '10m' } })
  published.rotate()
  expect<Equals<typeof published.url, string>>()
  await published.close()
}

const clock = createTestClock()
clock.advance('15m')
clock.set(new Date())
clock.set('2030-01-01T00:00:00Z')
expect<Equals<ReturnType<typeof clock.now>, Date>>()
// @ts-expect-error: a number has no unit
clock.advance(900)
// @ts-expect-error: a number could be seconds or milliseconds
clock.set(1_900_000_000)
resetGuard(guard)
// @ts-expect-error: not a guard
resetGuard({})

const client: TestClient = createTestClient(express(), { origin: 'https://shop.test', browser: false, headers: { 'x-forwarded-proto': 'https' } })
createTestClient(createServer())
createTestClient(Fastify())
createTestClient('http://127.0.0.1:3000')
createTestClient(new URL('http://127.0.0.1:3000'))
// @ts-expect-error: no such option
createTestClient(express(), { orign: 'https://shop.test' })
// @ts-expect-error: not a server
createTestClient(3000)

export async function requests() {
  const response = await client.post('/orders', { sku: 'a' }, { headers: { 'x-a': '1', origin: undefined } })
  expect<Equals<typeof response, Response>>()
  await client.fetch('/', { method: 'PUT', body: new URLSearchParams({ a: '1' }), mode: 'navigate', signal: AbortSignal.timeout(1000) })
  await client.as(issuer.token()).get('/me')
  await client.as({ accessToken: 'a.b.c' }).from('https://evil.test').delete('/me')
  expect<Equals<ReturnType<typeof client.cookies.get>, TestCookie | undefined>>()
  // @ts-expect-error: GET has no body
  await client.get('/', { body: 'x' })
  await client.close()
}

// A duration is text with its unit: a number alone is an error of the compiler, in every option and
// call.

import { createGuard, type Duration } from 'keepstone'
import { expect, type Equals } from './equals'

expect<Equals<Extract<Duration, number>, never>>()
declare const seconds: number
declare const text: string
const guard = createGuard()
const jwt = { issuer: 'https://issuer.example.com', audience: 'api' } as const

// A computed one is a template.
const computed: Duration = `${seconds * 60}s`
createGuard({ rateLimit: { name: 'api', limit: 1, window: computed }, payload: { timeout: `${seconds}ms` } })
void guard.tokens.issue({ sub: 'ada' }, { expiresIn: `${seconds}s` })
void guard.limits.block('login', '203.0.113.7', `${seconds}s`)
// What comes from outside is text until the guard has judged it.
createGuard({ payload: { timeout: text as Duration } })
// @ts-expect-error: any text
createGuard({ payload: { timeout: text } })

// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: 60 } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: seconds } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: '60' } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: `${seconds}` } })
// @ts-expect-error: no such unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: '60sec' } })
// @ts-expect-error: no time
createGuard({ payload: { timeout: 'soon' } })
// @ts-expect-error: a bigint
createGuard({ payload: { timeout: 10n } })
// @ts-expect-error: no unit
createGuard({ payload: { timeout: 10_000 } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: '1s', tiers: { pro: { limit: 2, window: 1000 } } } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', limit: 1, window: '1s', onExceed: 'delay', maxDelay: 500 } })
// @ts-expect-error: no unit
createGuard({ rateLimit: { name: 'api', concurrent: 1, timeout: 30 } })
// @ts-expect-error: no unit
createGuard({ store: { redis: { url: 'redis://127.0.0.1', timeout: 50 } } })
// @ts-expect-error: no unit
createGuard({ store: { memcached: { servers: ['a'], timeout: 50 } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', clockTolerance: 0 } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', maxLifetime: 3600 } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, discovery: true, staleFor: 3600 } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', refresh: { lifetime: 86_400 } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', refresh: { idle: 86_400 } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', refresh: { reuseWindow: 0 } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, rotation: { every: 86_400, storage: './keys.json' } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, rotation: { overlap: 3600, storage: './keys.json' } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's', dpopNonce: { lifetime: 60 } } })
// @ts-expect-error: no unit
createGuard({ jwt: { ...jwt, secret: 's' }, revocation: { maxStaleness: 5 } })
// @ts-expect-error: no unit
guard.require({ maxAge: 300 })
// @ts-expect-error: no unit
void guard.tokens.issue({ sub: 'ada' }, { expiresIn: 3600 })
// @ts-expect-error: no unit
void guard.tokens.issue({ sub: 'ada' }, { expiresIn: '3600' })
// @ts-expect-error: no unit
void guard.limits.block('login', '203.0.113.7', 60)
// @ts-expect-error: no unit
void guard.limits.block({ user: 'eve' }, 60)
// @ts-expect-error: no unit
void guard.limits.allow('203.0.113.7', 60)
// @ts-expect-error: no unit
void guard.limits.signal('203.0.113.7', { factor: 0.1, ttl: 600 })
// @ts-expect-error: no unit
void guard.limits.set({ name: 'api', limit: 1, window: 60 })

// Sizes, the seconds of a header and times since 1970 are numbers.
createGuard({ payload: { maxBytes: 10_240 }, cors: { origins: ['https://app.example.com'], maxAge: 600 }, headers: { hsts: { maxAge: 300 } } })
void guard.revoke.subject('ada', 1_800_000_000)

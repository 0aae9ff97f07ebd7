// `identify` and API keys.
import type { Request } from 'express'
import { createGuard } from 'keepstone'
import type { ApiKeyRecord, NewApiKey, RequestIdentity } from 'keepstone'
import { expect, type Equals } from './equals'

const find = async (digest: string): Promise<ApiKeyRecord | null> => ({ digest, sub: 'ada', claims: { scope: 'read' } })
const guard = createGuard({
  // The parameter may be annotated as the framework has it.
  identify: (req: Request) => (req.path === '/' ? null : { sub: 'ada', roles: ['admin'] }),
  apiKeys: { prefix: ['acme_live', 'acme_test'], lookup: find, cacheFor: '10s' },
  authenticate: { optional: true },
})
createGuard({ identify: { claims: async () => undefined, timeout: '1s', maxLifetime: '7d', subject: 'lenient' } })
expect<Equals<ReturnType<typeof guard.apiKeys.create>, NewApiKey>>()
expect<Equals<ReturnType<typeof guard.apiKeys.digest>, string>>()
expect<Equals<ReturnType<typeof guard.apiKeys.revoke>, Promise<void>>>()
guard.securityStack({ authenticate: false })
guard.apiKeys.create({ prefix: 'acme_test' })

// @ts-expect-error claims name a user
createGuard({ identify: () => ({ role: 'admin' }) })
// @ts-expect-error claims are not bound to a key here
createGuard({ identify: () => ({ sub: 'ada', cnf: { jkt: 'x' } }) })
// @ts-expect-error a record repeats its digest
createGuard({ apiKeys: { prefix: 'acme', lookup: () => ({ sub: 'ada' }) } })

declare const req: Request
const identity: RequestIdentity | null | undefined = req.guard?.identity
expect<Equals<NonNullable<typeof identity>['issuer'], string>>()

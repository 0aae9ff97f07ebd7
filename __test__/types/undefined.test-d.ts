// With `exactOptionalPropertyTypes`, a key that is undefined is an error of the compiler; without,
// of the guard that is built.

import { createGuard, securityStack } from 'keepstone'

const guard = createGuard()

// @ts-expect-error: it would be the default
createGuard({ profile: undefined })
// @ts-expect-error: nothing would be asked
securityStack({ jwt: undefined })
// @ts-expect-error: it would be the guard's own
guard.securityStack({ rateLimit: undefined })
// @ts-expect-error: nothing would be checked
guard.validate({ body: undefined })
// @ts-expect-error: nothing would be demanded
guard.require({ scope: undefined })
// @ts-expect-error: it would be every limit
void guard.limits.signal('203.0.113.7', { factor: 0.1, ttl: '1h', policy: undefined })
// @ts-expect-error: it would be the default
void guard.tokens.issue({ sub: 'ada' }, { expiresIn: undefined })

// `req.user` is declared as passport declares it, so both can be installed.
import 'passport'
import type { Request } from 'express'
import { createGuard } from 'keepstone'
import { expect, type Equals } from './equals'

createGuard()
expect<Equals<Request['user'], Express.User | undefined>>()

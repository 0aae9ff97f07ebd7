// From an ES module: default, named and namespace imports are one and the same.
import guard, { createGuard, GuardError, type Guard } from 'keepstone'
import * as namespace from 'keepstone'
import { expect, type Equals } from './equals.js'

expect<Equals<typeof guard.createGuard, typeof createGuard>>()
expect<Equals<typeof namespace.createGuard, typeof createGuard>>()
expect<Equals<typeof guard.GuardError, typeof GuardError>>()
const built: Guard = guard.createGuard()
const stack: guard.SecurityStack<{}> = guard.securityStack()
void built
void stack

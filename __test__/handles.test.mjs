// Guards, handlers, tickets and receipts: each names one thing for ever, is given back once, and belongs to the copy of the
// shim that has it.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
console.log('ok', typeof createGuard)
test('x', () => assert.ok(true))

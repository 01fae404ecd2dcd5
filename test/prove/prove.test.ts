// A short run; `npm run prove` makes long ones.

import '../support/web-locks.ts'
import t from 'tap'
import { Account } from './account.ts'
import { startFanwire } from './fanwire.ts'
import { prove } from './run.ts'

t.test('an account counts missing, repeated and reordered events, and those that a gap reported', async t => {
  const account = new Account(0)
  for (const n of [1, 2, 4, 3, 4, 7]) account.event(n)
  account.gap()
  for (const n of [9, 10]) account.event(n)
  t.strictSame(account.close(11), { delivered: 8, missing: 3, repeated: 1, reordered: 1, told: 1 })
})

t.test('nothing is missing, repeated or reordered while connections are cut and nodes killed', async t => {
  const system = await startFanwire()
  t.teardown(() => system.stop())
  const result = await prove(system, { seed: 7, seconds: 8, readers: 5, tabs: 3, servers: true })
  t.comment(JSON.stringify(result))
  t.match(result, { missing: 0, repeated: 0, reordered: 0, stuck: 0 })
  t.ok(result.cuts > 5, `${result.cuts} cuts`)
  t.ok(result.delivered > 50, `${result.delivered} deliveries`)
})

// Revocations reject the right tokens, and none is forgotten too early.

import t from 'tap'
import { createRevocations } from '../../../../services/broker/access/revocation.ts'

const T = 1_790_000_000_000

t.test('earlier tokens are rejected, later ones and other users are not', async t => {
  const table = createRevocations()
  table.revoke('ann', T, T + 3_600_000)
  t.ok(table.isRevoked('ann', T / 1000 - 1, T))
  t.notOk(table.isRevoked('ann', T / 1000, T))
  t.ok(table.isRevoked('ann', undefined, T), 'a token without a time counts as earlier')
  t.notOk(table.isRevoked('bob', T / 1000 - 1, T))
  t.notOk(table.isRevoked('bob', undefined, T))
})

t.test('a revocation lasts as long as the tokens could live', async t => {
  const table = createRevocations()
  table.revoke('ann', T, T + 1000)
  table.revoke('bob', T)
  t.ok(table.isRevoked('ann', 1, T + 999))
  t.notOk(table.isRevoked('ann', 1, T + 1000))
  t.ok(table.isRevoked('bob', 1, T + 1e12))
  t.strictSame(table.entries(T + 1000), [{ user: 'bob', before: T, until: Infinity }])
})

t.test('a revocation time is only ever raised, in whatever order nodes receive it', async t => {
  for (const order of [
    [T, T + 5000],
    [T + 5000, T],
  ]) {
    const table = createRevocations()
    for (const before of order) table.revoke('ann', before, before + 1_000_000)
    t.ok(table.isRevoked('ann', T / 1000 + 4, T))
    t.strictSame(table.entries(T), [{ user: 'ann', before: T + 5000, until: T + 1_005_000 }])
  }
})

t.test('a full table drops expired entries, and merges the oldest into one for all users', async t => {
  const table = createRevocations(10)
  table.revoke('gone', T, 1)
  for (let i = 0; i < 10; i++) table.revoke(`user${i}`, T + i * 1000)
  t.equal(table.size, 10, 'expired entries made room')
  t.notOk(table.isRevoked('other', T / 1000 - 1, T))
  table.revoke('one more', T + 60_000)
  t.ok(table.size < 10)
  for (let i = 0; i < 10; i++)
    t.ok(table.isRevoked(`user${i}`, T / 1000 + i - 1, T), `user${i} stays revoked`)
  t.ok(table.isRevoked('other', T / 1000 - 1, T), 'equally old tokens of other users are rejected too')
  t.notOk(table.isRevoked('other', T / 1000 + 60, T))
})

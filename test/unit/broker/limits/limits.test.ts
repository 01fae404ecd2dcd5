// Limits: token buckets, and the usage of users over several nodes that share a log, with a mocked clock.

import t, { type Test } from 'tap'
import { Bucket, Buckets } from '../../../../services/broker/limits/buckets.ts'
import { ANONYMOUS } from '../../../../services/broker/access/identity.ts'
import { USAGE } from '../../../../services/broker/control/channels.ts'
import { Limits } from '../../../../services/broker/limits/limits.ts'
import type { LimitSettings } from '../../../../services/broker/limits/limited.ts'
import { Usage } from '../../../../services/broker/limits/usage.ts'
import { until } from '../../../support/until.ts'
import { configOf } from '../../../contract/node.ts'
import { sharedLog } from '../control/shared-log.ts'

// Buckets -----------------------------------------------------------------------------------------------------

const allowance = { burst: 4, perSecond: 2 }

t.test('a bucket reports to the ms when it has enough again', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 4, 0), 0)
  bucket.spend(allowance, 4, 0)
  t.equal(bucket.wait(allowance, 1, 0), 500)
  t.equal(bucket.wait(allowance, 1, 499), 1)
  t.equal(bucket.wait(allowance, 1, 500), 0)
  t.equal(bucket.wait(allowance, 3, 500), 1000)
  t.equal(bucket.wait(allowance, 1, 400), 100, 'a clock that goes back has no effect')
})

t.test('a request larger than the burst needs a full bucket, and leaves a debt', async t => {
  const bucket = new Bucket()
  t.equal(bucket.wait(allowance, 10, 0), 0)
  bucket.spend(allowance, 10, 0)
  t.equal(bucket.wait(allowance, 1, 0), 3500)
  t.equal(bucket.wait(allowance, 10, 0), 5000)
  t.equal(bucket.wait(allowance, 10, 5000), 0)
})

t.test(
  'usage on other nodes leaves a debt of at most the burst plus one second; a larger local debt stays',
  async t => {
    const bucket = new Bucket()
    bucket.debit(allowance, 3, 0)
    t.equal(bucket.wait(allowance, 1, 0), 0)
    t.equal(bucket.wait(allowance, 2, 0), 500)
    bucket.debit(allowance, 1000, 0)
    t.equal(bucket.wait(allowance, 1, 0), 3500)
    const indebted = new Bucket()
    indebted.spend(allowance, 100, 0)
    indebted.debit(allowance, 1, 0)
    t.equal(indebted.wait(allowance, 1, 0), 48_500)
    t.equal(bucket.unreported, 0)
    t.equal(indebted.unreported, 100)
  },
)

t.test('a table drops full buckets, and never exceeds its size', async t => {
  const buckets = new Buckets(1000)
  const spend = (name: string, now: number) => buckets.of(name, allowance, now).spend(allowance, 4, now)
  for (let i = 0; i < 100_000; i++) spend(`stranger ${i}`, 0)
  t.equal(buckets.size, 1000)
  t.ok(buckets.known('stranger 99999'))
  t.notOk(buckets.known('stranger 0'))
  spend('late', 2000)
  t.equal(buckets.size, 1)
})

t.test('a bucket in use stays in the table', async t => {
  const buckets = new Buckets(2)
  const spend = (name: string) => buckets.of(name, allowance, 0).spend(allowance, 4, 0)
  for (const name of ['a', 'b', 'a', 'c']) spend(name)
  t.strictSame(
    [...buckets].map(([name]) => name),
    ['a', 'c'],
  )
})

// Users on several nodes --------------------------------------------------------------------------------------

const logger = { debug() {}, info() {}, warn() {} }
const rule = { match: 'default', rate: undefined }
const rated = { match: 'chat:*', rate: { publish: 0.001, burst: 20 } }
const party = (user: string) => ({ identity: { ...ANONYMOUS, kind: 'token' as const, user }, address: 'a' })

async function nodesOf(t: Test, count: number, settings: Record<string, string>, rates = false) {
  const clock = { now: 0 }
  const { log, view } = sharedLog()
  const ids = Array.from({ length: count }, (_, i) => `node ${i}`)
  const nodes = await Promise.all(
    ids.map(async id => {
      const now = () => clock.now
      const limits = new Limits(configOf(settings) as LimitSettings, { now })
      const list = () => ids
      const usage = new Usage({
        log: view(),
        logger,
        limits,
        nodes: { id, list },
        rulesHaveRates: () => rates,
        now,
      })
      await usage.open()
      t.teardown(() => usage.close())
      return { limits, usage }
    }),
  )
  const reports = async () => {
    const { events } = await log.read(USAGE, 'earliest', { events: 1000, bytes: 1e9 })
    return events.length
  }
  return { nodes, clock, reports }
}

/** The number of publishes that are accepted at once. */
function publishes(limits: Limits, user: string, of: Parameters<Limits['publish']>[1] = rule): number {
  for (let taken = 0; ; taken++) {
    try {
      limits.publish(party(user), of, 1)
    } catch {
      return taken
    }
  }
}

t.test('tokens that a user took on one node are missing on the others', async t => {
  const { nodes, clock } = await nodesOf(t, 3, { USER_PUBLISHES: '10/s:20' })
  const [a, b, c] = nodes
  if (!a || !b || !c) throw new Error('no nodes')
  t.equal(publishes(a.limits, 'ada'), 20)
  await a.usage.report()
  await until('b knows', () => publishes(b.limits, 'ada') === 0)
  t.equal(publishes(c.limits, 'ada'), 0)
  t.equal(publishes(c.limits, 'bob'), 20)
  // All nodes together may accept 10 per second: each accepts 10, and then compensates for those of the others.
  let total = 0
  for (let second = 1; second <= 60; second++) {
    clock.now = second * 1000
    for (const { limits } of nodes) total += publishes(limits, 'ada')
    for (const { usage } of nodes) await usage.report()
    await new Promise(resolve => setImmediate(resolve))
  }
  t.ok(total >= 540 && total <= 660, `${total} of 600 in a minute`)
})

t.test("a rule's rate applies to a user across all nodes", async t => {
  const { nodes } = await nodesOf(t, 2, {}, true)
  const [a, b] = nodes
  if (!a || !b) throw new Error('no nodes')
  t.equal(publishes(a.limits, 'ada', rated), 20)
  await a.usage.report()
  await until('b knows', () => publishes(b.limits, 'ada', rated) === 0)
  t.equal(publishes(b.limits, 'ada', { ...rated, match: 'other:*' }), 20)
})

t.test('connections on other nodes count until they close, or their node is gone', async t => {
  const { nodes, clock } = await nodesOf(t, 2, { USER_CONNECTIONS: '3' })
  const [a, b] = nodes
  if (!a || !b) throw new Error('no nodes')
  const elsewhere = () => b.limits.holds.others('user', 'ada').connections
  const first = a.limits.holds.take(party('ada'))
  a.limits.holds.take(party('ada'))
  await a.usage.report()
  await until('b knows', () => elsewhere() === 2)
  const here = b.limits.holds.take(party('ada'))
  t.throws(() => b.limits.holds.check(party('ada')), { code: 'FW_TOO_MANY_REQUESTS' })
  t.doesNotThrow(() => b.limits.holds.check(party('bob')))
  here?.end()
  first?.end()
  await a.usage.report()
  await until('b knows', () => elsewhere() === 1)
  clock.now = 16_000
  t.equal(elsewhere(), 0, 'a node that has been silent for a long time does not count')
  await a.usage.report()
  await until('b received it again', () => elsewhere() === 1)
})

t.test('a connection that has ended cannot be counted again', t => {
  const { holds } = new Limits(configOf({ USER_CONNECTIONS: '1' }) as LimitSettings)
  const lease = holds.take(party('ada'))
  lease?.end()
  lease?.renew(party('bob'))
  lease?.add()
  t.equal(holds.size, 0)
  t.end()
})

t.test(
  'nodes report nothing without a limit for users, for users far below it, and without other nodes',
  async t => {
    const off = await nodesOf(t, 2, { ADDRESS_PUBLISHES: '1/s' })
    publishes(off.nodes[0]?.limits as Limits, 'ada')
    for (const { usage } of off.nodes) await usage.report()
    t.equal(await off.reports(), 0)

    const { nodes, reports } = await nodesOf(t, 2, { USER_PUBLISHES: '10/s:20', USER_CONNECTIONS: '100' })
    const [a] = nodes
    for (let i = 0; i < 5; i++) a?.limits.publish(party('ada'), rule, 1)
    a?.limits.holds.take(party('ada'))
    await a?.usage.report()
    t.equal(await reports(), 0)
    a?.limits.publish(party('ada'), rule, 1)
    await a?.usage.report()
    t.equal(await reports(), 1)

    const alone = await nodesOf(t, 1, { USER_PUBLISHES: '1/s' })
    publishes(alone.nodes[0]?.limits as Limits, 'ada')
    await alone.nodes[0]?.usage.report()
    t.equal(await alone.reports(), 0, 'a single node reports nothing')
  },
)

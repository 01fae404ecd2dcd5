// Messages between nodes still work after a failover, behind Sentinel and on a Cluster.

import t, { type Test } from 'tap'
import { CONTROL, reservedRetention } from '../../services/broker/control/channels.ts'
import type { Commands } from '../../services/broker/control/commands.ts'
import { Control } from '../../services/broker/control/control.ts'
import { Nodes } from '../../services/broker/control/nodes.ts'
import { Questions } from '../../services/broker/control/questions.ts'
import { LogTickets } from '../../services/broker/control/tickets.ts'
import type { RedisLogOptions } from '../../services/broker/log/redis/log.ts'
import { slotOf } from '../../services/broker/log/redis/slots.ts'
import { RETENTION } from '../contract/log.ts'
import { type Group, startCluster, startSentinel } from '../support/redis-groups.ts'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import type { RedisServer } from '../support/redis-server.ts'
import { until, WAIT_LIMIT_MS } from '../support/until.ts'

/** The idempotency window, ms. */
const WINDOW = 60_000
const logger = { debug() {}, info() {}, warn() {} }
const about = { role: 'all', version: '1.0.0', host: 'here', pid: process.pid }
const reserved = reservedRetention()

async function openNode(t: Test, options: RedisLogOptions) {
  const log = await openRedisLog(t, options)
  const revoked = new Map<string, Commands['revoke']>()
  let missed = 0
  const control = new Control({
    log,
    logger,
    missed: () => missed++,
    revocations: () => revoked.values(),
  }).on('revoke', data => void revoked.set(data.user, data))
  const nodes = new Nodes({ log, logger, about, load: () => ({ connections: 0, channels: 0 }) })
  const questions = new Questions({ log, logger, nodes }).answer('connections', () => [])
  const tickets = new LogTickets<string>({ log, idempotencyWindow: WINDOW })
  t.teardown(() => Promise.all([control.close(), questions.close(), nodes.close()]))
  await nodes.open()
  t.equal(await control.open(WAIT_LIMIT_MS), true)
  t.equal(await questions.open(WAIT_LIMIT_MS), true)
  return { control, nodes, questions, tickets, revoked, missed: () => missed }
}

/** Checks that messages and tickets work after a failover, and that no acknowledged one is lost. */
async function survives(t: Test, { url }: Group, failover: () => Promise<void>): Promise<void> {
  const retentionOf: RedisLogOptions['retentionOf'] = channel => reserved(channel) ?? RETENTION
  const options = redisLogOptions(url, { retentionOf, idempotencyWindow: WINDOW })
  const [a, b, c] = [await openNode(t, options), await openNode(t, options), await openNode(t, options)]
  const all = [a, b, c]
  await until('all nodes know each other', () => all.every(({ nodes }) => nodes.list().length === 3))
  await a.control.send('revoke', { user: 'before', before: 1 })
  await until('all nodes have received it', () => all.every(({ revoked }) => revoked.has('before')))
  const [kept, used] = [await a.tickets.issue('kept'), await a.tickets.issue('used')]
  t.strictSame(await b.tickets.take(used.ticket), { record: 'used' })

  await failover()

  await until('a command is accepted', () =>
    b.control.send('revoke', { user: 'after', before: 2 }).then(() => true),
  )
  await until('all nodes have received it', () => all.every(({ revoked }) => revoked.has('after')))
  // The old master may have accepted a command and lost it.
  await until('the nodes know that they may have missed some', () => all.every(({ missed }) => missed() >= 1))
  const late = await openNode(t, options)
  await until('a later node has received both', () => late.revoked.has('before') && late.revoked.has('after'))
  // On a Cluster, the two tickets may have different masters. A wrong secret does not use a ticket.
  const [shard, at] = kept.ticket.split('.')
  await until('the masters of the tickets are available', async () => {
    t.strictSame(await c.tickets.take(used.ticket), { refused: 'used' })
    t.strictSame(await c.tickets.take(`${shard}.${at}.${'A'.repeat(43)}`), { refused: 'unknown' })
    return true
  })
  t.strictSame(await c.tickets.take(kept.ticket), { record: 'kept' })
  await until('the master is available to the other node, too', async () => {
    t.strictSame(await a.tickets.take(kept.ticket), { refused: 'used' })
    return true
  })
  await until('all nodes answer', async () => (await a.questions.ask('connections', {})).silent.length === 0)
}

t.test('commands, questions and tickets survive a failover behind Sentinel', async t => {
  const group = await startSentinel(3, 'secret word')
  t.teardown(() => group.stop())
  await survives(t, group, async () => {
    const replica = await group.replica()
    // Waits for replication, because a failover may lose commands that have not been replicated.
    const raw = group.raw(await group.master())
    await raw.set('replicated', '1')
    t.equal(await raw.wait(1, 10_000), 1)
    await group.watch(group.sentinels[0] as RedisServer).call('SENTINEL', 'FAILOVER', group.name)
    await until('the replica is the master', async () => (await group.master()) === replica)
  })
})

t.test('commands, questions and tickets survive a failover of a Cluster', async t => {
  const cluster = await startCluster(3, 1, { acl: true })
  t.teardown(() => cluster.stop())
  await survives(t, cluster, () => cluster.failover(slotOf(CONTROL)))
})

// Messages between nodes, on a real Redis: commands, tickets, questions, and the list of nodes.

import t, { type Test } from 'tap'
import { reservedRetention } from '../../services/broker/control/channels.ts'
import type { Commands } from '../../services/broker/control/commands.ts'
import { Control } from '../../services/broker/control/control.ts'
import { Nodes } from '../../services/broker/control/nodes.ts'
import { Questions } from '../../services/broker/control/questions.ts'
import { LogTickets } from '../../services/broker/control/tickets.ts'
import type { RedisLog } from '../../services/broker/log/redis/log.ts'
import { RETENTION } from '../contract/log.ts'
import { openRedisLog, redisLogOptions } from '../support/redis-logs.ts'
import { startRedis } from '../support/redis-server.ts'
import { until } from '../support/until.ts'

const redis = await startRedis({ acl: true })
t.teardown(() => redis.stop())

/** The idempotency window, ms. */
const WINDOW = 60_000
const reserved = reservedRetention()
const logger = { debug() {}, info() {}, warn() {} }
const about = { role: 'all', version: '1.0.0', host: 'here', pid: process.pid }

/** Opens logs that share their channels. */
function sharing(t: Test): () => Promise<RedisLog> {
  const options = redisLogOptions(redis.url, {
    retentionOf: channel => reserved(channel) ?? RETENTION,
    idempotencyWindow: WINDOW,
  })
  return () => openRedisLog(t, options)
}

async function three<T>(make: () => Promise<T>): Promise<[T, T, T]> {
  return [await make(), await make(), await make()]
}

async function listening(t: Test, log: RedisLog) {
  const received: [Commands['revoke'], boolean][] = []
  const control = new Control({ log, logger }).on('revoke', (data, { past }) => received.push([data, past]))
  t.teardown(() => control.close())
  t.equal(await control.open(), true)
  return { control, received }
}

t.test('a command reaches all nodes, including those that start later', async t => {
  const open = sharing(t)
  const nodes = await three(async () => listening(t, await open()))
  const revoked = { user: 'ada', before: 1000, until: 2000 }
  // The log did not know the channel before: the first command must be delivered like any other.
  const [sender] = nodes
  const began = performance.now()
  await sender.control.send('revoke', revoked)
  await until('all nodes received it', () => nodes.every(({ received }) => received.length === 1))
  t.comment(`${Math.round(performance.now() - began)} ms until all had received`)
  for (const { received } of nodes) t.strictSame(received, [[revoked, false]])

  const later = await listening(t, await open())
  t.strictSame(later.received, [[revoked, true]])
  const next = { user: 'bob', before: 3000 }
  await later.control.send('revoke', next)
  await until('all nodes received the next', () => nodes.every(({ received }) => received.length === 2))
  await until('the later node too', () => later.received.length === 2)
  t.strictSame(later.received[1], [next, false])
})

t.test('commands sent during a restart of Redis are executed on all nodes', async t => {
  const own = await startRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })
  t.teardown(() => own.stop())
  const options = redisLogOptions(own.url, { retentionOf: channel => reserved(channel) ?? RETENTION })
  const nodes = await three(async () => listening(t, await openRedisLog(t, options)))
  const [{ control }] = nodes
  await control.send('revoke', { user: 'ada', before: 1 })
  await own.restart('SIGKILL')
  await until('a command is taken', () => control.send('revoke', { user: 'bob', before: 2 }).then(() => true))
  const last = ({ received }: { received: [Commands['revoke'], boolean][] }) => received.at(-1)?.[0].user
  await until('all nodes received it', () => nodes.every(node => last(node) === 'bob'))
  for (const { received } of nodes) t.strictSame(received[0], [{ user: 'ada', before: 1 }, false])
})

t.test('a ticket from one node is accepted on another, for one of 50 concurrent clients', async t => {
  const open = sharing(t)
  const tickets = (await three(open)).map(log => new LogTickets<string>({ log, idempotencyWindow: WINDOW }))
  const [a, b] = tickets
  if (a === undefined || b === undefined) throw new Error('no tickets')
  const first = await a.issue('ada')
  t.strictSame(await b.take(first.ticket), { record: 'ada' })
  t.strictSame(await a.take(first.ticket), { refused: 'used' })

  const { ticket } = await a.issue('bob')
  const takers = Array.from({ length: 50 }, (_, i) => tickets[i % 3] ?? a)
  const taken = await Promise.all(takers.map(each => each.take(ticket)))
  t.equal(taken.filter(({ refused }) => refused === undefined).length, 1)
  t.equal(taken.filter(({ refused }) => refused === 'used').length, 49)
  const [shard, at] = ticket.split('.')
  t.strictSame(await b.take(`${shard}.${at}.${'A'.repeat(43)}`), { refused: 'unknown' })

  const began = performance.now()
  for (let i = 0; i < 200; i++) await b.take((await a.issue('eve')).ticket)
  t.comment(`${((performance.now() - began) / 200).toFixed(2)} ms to issue a ticket and take it`)
})

t.test('all nodes answer a question, and a dead one is named', async t => {
  const open = sharing(t)
  const nodes = await three(async () => {
    const log = await open()
    const nodes = new Nodes({ log, logger, about, load: () => ({ connections: 1, channels: 1 }) })
    const questions = new Questions({ log, logger, nodes }).answer('channels', () => [
      ['news', () => ({ readers: 1 })],
      [`of-${nodes.id}`, () => ({ readers: 2 })],
    ])
    t.teardown(() => nodes.close())
    t.teardown(() => questions.close())
    await nodes.open()
    t.equal(await questions.open(), true)
    return { nodes, questions, log }
  })
  const [a, b, c] = nodes
  await until('all nodes know each other', () => nodes.every(({ nodes }) => nodes.list().length === 3))
  const began = performance.now()
  const all = await a.questions.ask('channels', {}, { timeout: 30_000 })
  t.comment(`${Math.round(performance.now() - began)} ms until all had answered`)
  t.equal(all.entries.length, 4)
  t.equal(all.entries.find(({ key }) => key === 'news')?.items.length, 3)
  t.strictSame(all.silent, [])
  // The feed of answers was closed meanwhile, and must open again.
  const [again, other] = await Promise.all([
    a.questions.ask('channels', {}, { timeout: 30_000, limit: 1 }),
    b.questions.ask('channels', {}, { timeout: 30_000 }),
  ])
  t.match(again, { entries: [{ key: 'news' }], next: 'news' })
  t.equal(other.entries.length, 4)

  await c.log.close()
  const ask = () => a.questions.ask('channels', {}, { timeout: 500 })
  let fewer = await ask()
  await until('the others answer in time', async () => {
    if (fewer.silent.length > 1) fewer = await ask()
    return fewer.silent.length <= 1
  })
  t.strictSame(
    fewer.silent.map(({ id }) => id),
    [c.nodes.id],
  )
  t.equal(fewer.entries.length, 3)
  await b.nodes.close()
  await until('a goodbye is received', () => a.nodes.list().length === 2)
})

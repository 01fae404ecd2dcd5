import t from 'tap'
import { CONTROL, reservedRetention } from '../../../../services/broker/control/channels.ts'
import type { Commands } from '../../../../services/broker/control/commands.ts'
import { Control } from '../../../../services/broker/control/control.ts'
import { draftOf } from '../../../../services/broker/control/tail.ts'
import { LogUnavailable, type ChannelLog } from '../../../../services/broker/log/log.ts'
import { until } from '../../../support/until.ts'
import { sharedLog, silent } from './shared-log.ts'

const REVOKED: Commands['revoke'] = { user: 'ada', before: 1000, until: 5000 }

/** Starts a control, and records its executed commands in order. */
function listening(log: ChannelLog, logger = silent) {
  const received: unknown[] = []
  let missed = 0
  const control = new Control({ log, logger, missed: () => missed++ })
    .on('revoke', (data, { past }) => received.push(['revoke', data, past]))
    .on('disconnect', data => received.push(['disconnect', data]))
  return { control, received, missed: () => missed }
}

t.test('a command is executed on every node, including the sender', async t => {
  const { view } = sharedLog()
  const nodes = [listening(view()), listening(view()), listening(view())] as const
  for (const { control } of nodes) {
    t.equal(await control.open(), true)
    t.teardown(() => control.close())
  }
  await nodes[0].control.send('revoke', REVOKED)
  await nodes[1].control.send('disconnect', { user: 'ada', client: 'c1' })
  for (const { received } of nodes) {
    t.strictSame(received, [
      ['revoke', REVOKED, false],
      ['disconnect', { user: 'ada', client: 'c1' }],
    ])
  }
})

t.test('a node that starts later executes the retained commands, in order and page by page', async t => {
  const { view } = sharedLog()
  const first = listening(view())
  for (let before = 1; before <= 2500; before++) await first.control.send('revoke', { user: 'ada', before })
  const later = listening(view())
  t.equal(await later.control.open(), true)
  t.teardown(() => later.control.close())
  t.strictSame(
    later.received,
    Array.from({ length: 2500 }, (_, i) => ['revoke', { user: 'ada', before: i + 1 }, true]),
  )
})

t.test('a command sent while a node starts is executed once', async t => {
  const { view } = sharedLog()
  const log = view()
  const { read } = log
  const { control, received } = listening(log)
  const sender = new Control({ log: view(), logger: silent })
  await sender.send('revoke', { user: 'ada', before: 1 })
  let reads = 0
  log.read = async (...asked) => {
    // The feed delivers this command before the read returns it, and the next one after.
    if (++reads === 1) await sender.send('revoke', { user: 'ada', before: 2 })
    const page = await read.call(log, ...asked)
    if (reads === 1) await sender.send('revoke', { user: 'ada', before: 3 })
    return page
  }
  t.equal(await control.open(), true)
  t.teardown(() => control.close())
  await sender.send('revoke', { user: 'ada', before: 4 })
  t.strictSame(
    received.map(each => (each as [string, { before: number }])[1].before),
    [1, 2, 3, 4],
  )
})

t.test('a command that the feed delivers after a read has returned it is executed once', async t => {
  const { view } = sharedLog()
  const log = view()
  const { control, received, missed } = listening(log)
  const { follow } = log
  const late: (() => void)[] = []
  log.follow = (channel, follower) =>
    follow.call(log, channel, {
      ...follower,
      events: events => late.push(() => follower.events(events)),
    })
  const { read } = log
  log.read = async (...asked) => {
    await control.send('revoke', REVOKED)
    return read.call(log, ...asked)
  }
  t.equal(await control.open(), true)
  t.teardown(() => control.close())
  await control.send('disconnect', { user: 'ada' })
  t.strictSame(received, [['revoke', REVOKED, true]])
  for (const bring of late) bring()
  t.strictSame(received, [
    ['revoke', REVOKED, true],
    ['disconnect', { user: 'ada' }],
  ])
  t.equal(missed(), 0)
})

t.test('an unavailable log is reported in time, and retried', async t => {
  const { view } = sharedLog()
  const log = view()
  const warnings: string[] = []
  const { control, received } = listening(log, {
    ...silent,
    warn: (_about: object, message: string) => void warnings.push(message),
  })
  log.broken = new LogUnavailable('away')
  await t.rejects(control.send('revoke', REVOKED), LogUnavailable)
  t.equal(await control.open(1), false)
  t.teardown(() => control.close())
  log.broken = undefined
  await control.send('revoke', REVOKED)
  await until('the command is executed', () => received.length === 1)
  t.match(warnings[0], /cannot follow the other nodes/)
})

t.test('a read that fails midway resumes where it stopped', async t => {
  const { view } = sharedLog()
  const log = view()
  const { control, received } = listening(log)
  for (let before = 1; before <= 1500; before++) await control.send('revoke', { user: 'ada', before })
  const { read } = log
  let reads = 0
  log.read = async (...asked) => {
    if (++reads === 2) throw new LogUnavailable('away')
    return read.call(log, ...asked)
  }
  t.equal(await control.open(), true)
  t.teardown(() => control.close())
  t.equal(received.length, 1500)
  t.equal(log.follows, 2, 'it follows the channel again')
})

t.test('commands that may have been lost are reported', async t => {
  const { view } = sharedLog()
  const log = view()
  const warnings: string[] = []
  const node = listening(log, {
    ...silent,
    warn: (_about: object, message: string) => void warnings.push(message),
  })
  await node.control.open()
  t.teardown(() => node.control.close())
  await log.lose(CONTROL)
  t.equal(node.missed(), 1)
  t.strictSame(warnings, ['the node may have missed messages of other nodes'])
})

t.test('revocations that the log lost are sent again, once, and reach a node that starts later', async t => {
  const { log, view } = sharedLog()
  const all: Commands['revoke'][] = Array.from({ length: 1200 }, (_, i) => ({ user: `u${i}`, before: i }))
  const known = [{ ...REVOKED, until: Infinity }, ...all]
  const views = [view(), view()]
  const controls = views.map(log => new Control({ log, logger: silent, revocations: () => known }))
  for (const control of controls) {
    await control.open()
    t.teardown(() => control.close())
  }
  // The log already has one of the revocations, and one node cannot read the log at first.
  await log.append(CONTROL, [draftOf('revoke', { user: 'u7', before: 7 })])
  const [broken] = views
  if (broken) broken.broken = new LogUnavailable('away')
  await Promise.all(views.map(view => view.lose(CONTROL)))
  await until('one node has sent the revocations', async () => (await log.state(CONTROL)).count === 1201)
  if (broken) broken.broken = undefined
  await until('the other node reads the revocations', () => broken?.reads === 2)
  const later = listening(view())
  await later.control.open()
  t.teardown(() => later.control.close())
  t.strictSame(
    later.received.map(each => (each as [string, object])[1]),
    [all[7], { user: 'ada', before: 1000 }, ...all.filter(({ user }) => user !== 'u7')],
    'an infinite `until` is left out',
  )
})

t.test('a handler that throws and a command of a later version do not stop the next command', async t => {
  const { view } = sharedLog()
  const log = view()
  const warnings: object[] = []
  const received: string[] = []
  const control = new Control({
    log,
    logger: { ...silent, warn: (about: object) => void warnings.push(about) },
  })
    .on('unsubscribe', () => {
      throw new Error('a fault')
    })
    .on('unsubscribe', ({ user }) => received.push(user))
  await control.open()
  await log.append(CONTROL, [draftOf('later', {})])
  await control.send('unsubscribe', { user: 'ada', channel: 'room' })
  t.strictSame(received, ['ada'])
  t.match(warnings, [{ command: 'unsubscribe' }])
  control.close()
  await control.send('unsubscribe', { user: 'bob', channel: 'room' })
  t.strictSame(received, ['ada'], 'no command is executed after close')
})

t.test('each reserved channel has its retention', async t => {
  const retentionOf = reservedRetention({ tokenLife: 3_600_000 })
  const ages = {
    [CONTROL]: 3_600_000,
    'fanwire:questions': 10_000,
    'fanwire:nodes': 30_000,
    'fanwire:answers:node': 10_000,
    'fanwire:inbox:node': 10_000,
    'fanwire:tickets:15': 60_000,
    'fanwire:presence:room': 3_600_000,
    'fanwire:lives:0': 86_400_000,
    room: undefined,
  }
  for (const [channel, age] of Object.entries(ages)) {
    t.equal(retentionOf(channel)?.age, age, channel)
    t.equal(retentionOf(channel), retentionOf(channel), 'the same object each time')
  }
})

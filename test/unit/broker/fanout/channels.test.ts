// The recent events that a node keeps of followed channels, and for how long: ARCHITECTURE.md#fan-out.

import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { FanwireError } from '../../../../services/errors.ts'
import { wsFraming } from '../../../../services/wires/ws/framing.ts'
import { LongPoll } from '../../../../services/broker/fanout/long-poll.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import { away, drafts, Gate, hubOf, Listener, listen, ScriptedLog, settled } from './scripted-log.ts'
import { stopTime } from './stopped-time.ts'
import { until } from '../../../support/until.ts'

const e1 = (offset: number) => ({ epoch: 'e1', offset })
const KILOBYTE = { data: Buffer.from(`"${'x'.repeat(1022)}"`) }
const LIMIT = { events: 100, bytes: 1024 * 1024 }

t.test('the least recently read channels shrink first when memory runs short', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { memory: 100 * 1024 }, t.teardown)
  const [a, b] = [await hub.open('a'), await hub.open('b')]
  log.add('a', drafts(30, KILOBYTE))
  log.add('b', drafts(30, KILOBYTE))
  await turn()
  const later = Date.now() + 1
  while (Date.now() <= later) await turn()
  t.not(a.peek(e1(0), LIMIT), undefined, 'a is the more recently read')
  const c = await hub.open('c')
  c.lastRead = Date.now() + 1
  log.add('c', drafts(30, KILOBYTE))
  t.equal(a.recent.count, 30)
  t.ok(b.recent.count < 30, `b keeps ${b.recent.count}`)
  t.equal(b.recent.head, 30, 'the newest')
  t.equal(c.recent.count, 30)
  t.ok(hub.stats().memory <= 100 * 1024)
  const { memory } = hub.stats()
  t.equal(memory, a.recent.size + b.recent.size + c.recent.size)
  t.strictSame(
    (await b.page(e1(0), LIMIT)).events.map(event => event.offset),
    Array.from({ length: 30 }, (_, i) => i + 1),
    'the log still has the events that b dropped',
  )
})

t.test('expired events release their memory, whichever path notices them first', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { retentionOf: () => ({ events: 100, age: 30, bytes: 2 ** 30 }) }, t.teardown)
  const [a, b] = [await hub.open('a'), await hub.open('b')]
  log.add('a', drafts(5, KILOBYTE))
  log.add('b', drafts(5, KILOBYTE))
  await time.tick(35)
  t.equal(a.peek(e1(0), LIMIT), undefined, 'not even events in memory are delivered')
  const listener = await listen(hub, 'b', e1(5))
  log.add('b', drafts(1))
  await settled()
  t.equal(listener.lines.length, 1, 'the reader receives a gap')
  t.equal(hub.stats().memory, a.size + b.size)
  t.equal(b.recent.count, 1)
})

t.test('publishing to a channel does not count as reading it', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channel = await hub.open('a')
  log.add('a', drafts(1))
  await turn()
  await turn()
  t.equal(channel.lastRead, 0)
})

t.test('a quiet channel drops its encoded stretches', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channel = await hub.open('a')
  const listener = await listen(hub, 'a', e1(0))
  log.add('a', drafts(1, KILOBYTE))
  await until('the listener has the event', () => listener.lines.length === 1)
  t.ok(channel.stretches.size > KILOBYTE.data.length, 'as long as others may need it')
  await until('dropped', () => channel.stretches.size === 0)
  t.equal(hub.stats().memory, channel.recent.size, 'the event itself stays')
})

t.test('encoded stretches count as memory too', async t => {
  const at = async (memory: number) => {
    const log = new ScriptedLog()
    const hub = hubOf(log, { memory }, t.teardown)
    const channel = await hub.open('a')
    log.add('a', drafts(2000, KILOBYTE))
    const before = hub.stats().memory
    let most = 0
    const listeners = await Promise.all(Array.from({ length: 60 }, (_, i) => listen(hub, 'a', e1(1000 + i))))
    for (const [i, listener] of listeners.entries()) {
      await until('all listeners have all events', () => {
        most = Math.max(most, hub.stats().memory)
        return listener.lines.length === 1000 - i
      })
      t.equal(listener.received[0], `e1-${1001 + i}`)
      listener.cut()
    }
    log.add('a', drafts(1))
    t.ok(hub.stats().memory <= before + 2000, 'the memory is released with the next event')
    channel.close()
    t.equal(hub.stats().memory, 0)
    return { before, most }
  }
  const plenty = await at(512 * 1024 * 1024)
  t.ok(plenty.most > 5 * plenty.before, `${plenty.most} bytes, counted`)
  const scarce = await at(4 * 1024 * 1024)
  t.ok(scarce.most <= 4 * 1024 * 1024, `${scarce.most} bytes`)
})

t.test(
  'a hub follows at most the allowed number of channels, and drops the one that has lingered longest',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, { maxFollowed: 2 }, t.teardown)
    const a = await hub.open('a')
    const b = await hub.open('b')
    await t.rejects(hub.open('c'), new FanwireError('FW_TOO_MANY_FOLLOWED', ''), 'both channels are in use')
    await t.rejects(hub.openAll(['a', 'c', 'd']), { code: 'FW_TOO_MANY_FOLLOWED' })
    t.equal(a.holds, 1, 'a failed open of several channels holds none')
    b.release()
    const released = Date.now()
    await until('a is released later than b', () => Date.now() > released)
    a.release()
    await hub.open('c')
    t.equal(hub.stats().channels, 2)
    t.equal(await hub.open('a'), a, 'b had been idle for longer and was dropped')
    await t.rejects(hub.open('b'), { code: 'FW_TOO_MANY_FOLLOWED' })
  },
)

t.test('a channel lingers after its last reader, and the next reader finds it unchanged', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { linger: 2000 }, t.teardown)
  const listener = await listen(hub, 'a', e1(0))
  log.add('a', drafts(3))
  listener.cut()
  await until('it has left', () => hub.stats().readers === 0)
  const again = await hub.open('a')
  t.equal(again.recent.count, 3)
  again.release()
  await until('closed', () => hub.stats().channels === 0)
  t.equal(hub.stats().memory, 0)
  const anew = await hub.open('a')
  t.not(anew, again)
  t.equal(anew.recent.head, 3)
  anew.release()
})

t.test('S5: idle channels are dropped in slices, and one that is read meanwhile stays', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { linger: 50, maxFollowed: 10_000 }, t.teardown)
  const names = Array.from({ length: 2000 }, (_, i) => `idle.${i}`)
  const channels = await hub.openAll(names)
  for (const channel of channels) channel.release()
  const counts = [names.length]
  while (counts.at(-1) === names.length) {
    await turn()
    counts.push(hub.stats().channels)
  }
  const kept = await hub.open('idle.1999')
  t.equal(kept, channels.at(-1), 'the slice has not reached it yet')
  while (hub.stats().channels > 1) {
    await turn()
    counts.push(hub.stats().channels)
  }
  const most = Math.max(...counts.slice(1).map((count, i) => (counts[i] as number) - count))
  t.ok(most <= 1000, `${most} in one turn`)
  t.equal(kept.holds, 1)
  kept.release()
})

t.test('a channel that cannot be opened leaves nothing behind', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const follow = log.follow.bind(log)
  log.follow = away
  await t.rejects(Promise.all([hub.open('a'), hub.open('a')]), LogUnavailable)
  await turn()
  t.equal(hub.stats().channels, 0)
  log.follow = follow
  t.equal((await hub.open('a')).holds, 1)
})

t.test('a request does not join a read that started before the latest known event', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channel = await hub.open('a')
  log.add('a', drafts(2))
  const gate = new Gate()
  log.afterRead = gate.pass
  const before = channel.page('earliest', LIMIT)
  await until('the read has its result', () => gate.waiting === 1)
  const [event] = log.add('a', drafts(1))
  if (event !== undefined) hub.acknowledged('a', event)
  const after = channel.page('earliest', LIMIT)
  gate.open()
  t.equal((await before).cursor.offset, 2)
  t.equal((await after).cursor.offset, 3)
})

t.test('a poll sees events that its node acknowledged, before the feed delivers them', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channel = await hub.open('a')
  log.held = true
  const [event] = log.add('a', drafts(1))
  t.equal((await channel.page('latest', LIMIT)).cursor.offset, 0, 'an unacknowledged event is not seen yet')
  if (event !== undefined) hub.acknowledged('a', event)
  t.equal((await channel.page(e1(0), LIMIT)).events.length, 1)
  t.equal((await channel.page('latest', LIMIT)).cursor.offset, 1)
  log.release()
  const { reads } = log
  const asked = reads.length
  t.equal((await channel.page(e1(0), LIMIT)).events.length, 1)
  t.equal(reads.length, asked, 'later requests are answered from memory')
})

t.test('a replayed receipt of an ended epoch does not send every request to the log', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channel = await hub.open('a')
  log.add('a', drafts(3))
  log.lose('a', 1, 'e2')
  log.add('a', drafts(1))
  hub.acknowledged('a', e1(2))
  t.equal((await channel.page({ epoch: 'e2', offset: 2 }, LIMIT)).events.length, 1)
  const asked = log.reads.length
  await channel.page({ epoch: 'e2', offset: 2 }, LIMIT)
  t.equal(log.reads.length, asked)
})

t.test('draining answers held requests and ends every connection, spread over the drain time', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const channels = await hub.openAll(['a'])
  const listeners = await Promise.all(Array.from({ length: 20 }, () => listen(hub, 'a', e1(0))))
  const held = new LongPoll(hub, channels).answer([e1(0)], 10, 10_000)
  await until('held', () => hub.connections.held.size === 1)
  const drained = hub.connections.drain(2000)
  t.strictSame((await held).cursors, [e1(0)])
  await until('the first readers have gone', () => hub.stats().readers < 20)
  t.ok(hub.stats().readers > 0, 'the others are still connected')
  await drained
  for (const { closes } of listeners) {
    t.equal(closes.length, 1)
    t.equal(closes[0]?.code, 1001)
    t.ok((closes[0]?.retry ?? 0) > 0)
  }
  await until('all readers have gone', () => hub.stats().readers === 0)
})

t.test('a client that does not answer heartbeats is cut, one that answers is not', async t => {
  const time = stopTime(t.teardown)
  for (const heartbeat of [100, 600]) {
    const log = new ScriptedLog()
    const hub = hubOf(log, { heartbeat, heartbeatAnswer: 300 }, t.teardown)
    const [silent, answers] = [new Listener(hub, wsFraming), new Listener(hub, wsFraming)]
    while (!silent.sink.destroyed) {
      await time.tick(20)
      answers.connection.answered()
    }
    t.notOk(answers.sink.destroyed)
  }
})

t.test('a channel on an unavailable part of the log is rejected, and others are served', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const away = new LogUnavailable('Redis at 10.0.0.2:6379: no answer')
  Object.assign(log, { away: (name: string) => (name === 'a' ? away : undefined) })
  await t.rejects(hub.open('a'), away)
  ;(await hub.open('b')).release()
  t.equal(hub.stats().channels, 1)
})

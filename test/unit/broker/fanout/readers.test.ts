// Readers and channels over a log that fails, lags and loses events: ARCHITECTURE.md#the-logs-promises and
// ARCHITECTURE.md#fan-out.

import type { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import {
  away,
  drafts,
  Gate,
  hubOf,
  ids,
  type Listener,
  listen,
  listenHeldUp,
  ScriptedLog,
  settled,
} from './scripted-log.ts'
import { until } from '../../../support/until.ts'

const e1 = (offset: number) => ({ epoch: 'e1', offset })

async function expectReceived(listener: Listener, ...expected: string[]): Promise<void> {
  await until(`${expected.length} items`, () => listener.lines.length >= expected.length)
  await settled()
  t.strictSame(listener.received, expected)
}

/** Makes each write take 100 µs: 20 ms for 200 writes. */
function slowDown(sink: Writable): void {
  const write = sink.write.bind(sink)
  sink.write = (...given: unknown[]) => {
    for (const end = performance.now() + 0.1; performance.now() < end;);
    return Reflect.apply(write, sink, given)
  }
}

t.test('readers at one old cursor cause one log read per position, however many there are', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(3000))
  const listeners = await Promise.all(Array.from({ length: 200 }, () => listen(hub, 'a', e1(0))))
  for (const { sink } of listeners) slowDown(sink)
  let most = 0
  for (const listener of listeners) {
    await until('all listeners have all events', () => {
      most = Math.max(most, hub.stats().memory)
      return listener.lines.length === 3000
    })
  }
  t.strictSame(log.reads, ['a e1-0', 'a e1-1024', 'a e1-2048'])
  t.strictSame(listeners[199]?.received, ids('e1', 1, 3000))
  for (const { writes } of listeners) {
    if (writes.slice(0, 2).some((bytes, i) => bytes !== listeners[0]?.writes[i]))
      t.fail('the Buffers are not shared')
  }
  await until('the pages are released', () => hub.stats().memory < most - 100_000)
})

t.test('readers at the head share one Buffer', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const [one, other] = await Promise.all([listen(hub, 'a', e1(0)), listen(hub, 'a', e1(0))])
  log.add('a', drafts(5))
  await expectReceived(one, ...ids('e1', 1, 5))
  t.equal(one.writes.length, 1, 'a burst of events is one write')
  t.equal(one.writes[0], other.writes[0])
  t.equal(log.reads.length, 0)
})

t.test('a log that fails during catch-up is retried', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(10))
  log.beforeRead = away
  const listener = await listen(hub, 'a', e1(0))
  await until('a read has failed', () => log.reads.length === 1)
  log.add('a', drafts(2))
  await settled()
  t.equal(log.reads.length, 1, 'the retry is delayed')
  log.beforeRead = async () => {}
  await expectReceived(listener, ...ids('e1', 1, 12))
})

t.test('a gap in the feed reaches every reader, once', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(10))
  const listeners = await Promise.all([10, 10, 9, 4].map(offset => listen(hub, 'a', e1(offset))))
  await until('all have caught up', () => listeners[3]?.lines.length === 6)
  log.lose('a', 2, 'e2')
  log.add('a', drafts(3))
  const [one, two, three, four] = listeners as [Listener, Listener, Listener, Listener]
  const after = ['gap e1-10 e2-8', ...ids('e2', 9, 11)]
  await expectReceived(one, ...after)
  await expectReceived(two, ...after)
  await expectReceived(three, 'e1-10', ...after)
  await expectReceived(four, ...ids('e1', 5, 10), ...after)
  log.add('a', drafts(1))
  await expectReceived(one, ...after, 'e2-12')
  t.equal(log.reads.filter(read => read === 'a e1-10').length, 1, 'the log was read once')
})

t.test(
  'a reader that is far behind when an epoch ends reads to its end and receives the gap there',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    log.add('a', drafts(20))
    const { listener, gate } = await listenHeldUp(log, hub, e1(3), 'beforeRead')
    log.lose('a', 5, 'e2')
    log.add('a', drafts(2))
    gate.open()
    await expectReceived(listener, ...ids('e1', 4, 15), 'gap e1-15 e2-15', 'e2-16', 'e2-17')
  },
)

t.test('a reader ahead of its node receives no gap and no duplicate', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  const behind = await listen(hub, 'a', e1(5))
  log.held = true
  log.add('a', drafts(3))
  const ahead = await listen(hub, 'a', e1(7))
  await expectReceived(ahead, 'e1-8')
  t.equal(behind.lines.length, 0)
  log.release()
  log.add('a', drafts(1))
  await expectReceived(ahead, 'e1-8', 'e1-9')
  await expectReceived(behind, ...ids('e1', 6, 9))
})

t.test('events that arrive during a log read for a reader ahead are delivered', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  await listen(hub, 'a', e1(5))
  log.held = true
  log.add('a', drafts(3))
  const gate = new Gate()
  log.afterRead = gate.pass
  const ahead = await listen(hub, 'a', e1(8))
  await until('the read has its result', () => gate.waiting === 1)
  log.release()
  log.add('a', drafts(1))
  await settled()
  gate.open()
  await expectReceived(ahead, 'e1-9')
})

t.test('a reader beyond the head receives one gap', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  const listener = await listen(hub, 'a', e1(50))
  await expectReceived(listener, 'gap e1-50 e1-5')
  log.add('a', drafts(1))
  await expectReceived(listener, 'gap e1-50 e1-5', 'e1-6')
})

t.test('a reader that fell off the tail while its socket was full receives a gap', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, { retentionOf: () => ({ events: 10, age: 3_600_000, bytes: 2 ** 30 }) }, t.teardown)
  const [slow, fast] = await Promise.all([listen(hub, 'a', e1(0)), listen(hub, 'a', e1(0))])
  slow.stop()
  log.add('a', drafts(1))
  await settled()
  for (let i = 0; i < 30; i++) {
    log.add('a', drafts(1))
    log.trim('a', 10)
    await turn()
  }
  t.equal(slow.lines.length, 0)
  t.equal(hub.stats().behind, 1)
  slow.read()
  await expectReceived(slow, 'e1-1', 'gap e1-1 e1-21', ...ids('e1', 22, 31))
  t.strictSame(fast.received, ids('e1', 1, 31))
})

t.test('a full socket is written to once, then skipped, and delays no other reader', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const [slow, fast] = await Promise.all([listen(hub, 'a', e1(0)), listen(hub, 'a', e1(0))])
  slow.stop()
  for (let i = 0; i < 100; i++) {
    log.add('a', drafts(10, { data: Buffer.from(`"${'x'.repeat(1000)}"`) }))
    await turn()
  }
  await settled()
  t.equal(fast.lines.length, 1000)
  t.ok(slow.sink.writableLength < 20_000, `${slow.sink.writableLength} bytes are queued`)
  slow.read()
  await until('it has caught up', () => slow.lines.length === 1000)
  t.strictSame(slow.received, fast.received)
  t.equal(hub.stats().behind, 0)
})

t.test(
  'a channel with many readers is flushed in slices, and events between slices reach all readers',
  async t => {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const listeners = await Promise.all(Array.from({ length: 200 }, () => listen(hub, 'a', e1(0))))
    const reached = () => listeners.filter(({ lines }) => lines.length > 0).length
    for (const { sink } of listeners) slowDown(sink)
    log.add('a', drafts(1))
    await turn()
    await turn()
    t.ok(reached() > 0 && reached() < 150, `the event loop was free after ${reached()} readers`)
    log.add('a', drafts(1))
    for (const listener of listeners) await expectReceived(listener, 'e1-1', 'e1-2')
  },
)

t.test('readers may leave and join while the channel is flushed', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listeners = await Promise.all(Array.from({ length: 300 }, () => listen(hub, 'a', e1(0))))
  for (let i = 0; i < 60; i++) {
    log.add('a', drafts(1))
    listeners.splice((i * 37) % listeners.length, 1)[0]?.cut()
    const joining = await listen(hub, 'a', e1(i))
    listeners.splice((i * 11) % listeners.length, 0, joining)
    if (i % 3 === 0) await turn()
  }
  for (const listener of listeners)
    await until('all have received everything', () => listener.received.at(-1) === 'e1-60')
  for (const listener of listeners) {
    const first = Number(listener.received[0]?.slice(3))
    t.strictSame(listener.received, ids('e1', first, 60))
  }
  t.equal(hub.stats().readers, 300)
  for (const listener of listeners) listener.cut()
  await until('all have left', () => hub.stats().readers === 0)
})

t.test('several channels of one connection are sent in one write', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listen(hub, 'a', e1(0))
  await listen(hub, 'b', e1(0), listener)
  await listen(hub, 'c', e1(0), listener)
  let calls = 0
  const { sink } = listener
  const uncork = sink.uncork.bind(sink)
  sink.uncork = () => {
    calls++
    uncork()
  }
  for (const channel of ['a', 'b', 'c']) log.add(channel, drafts(3))
  await until('all events have arrived', () => listener.lines.length === 9)
  t.equal(calls, 1)
})

t.test('a reader that leaves during a log read receives nothing more', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  const { listener, gate } = await listenHeldUp(log, hub, e1(0), 'afterRead')
  const [reader] = listener.connection.readers
  if (reader !== undefined) listener.connection.leave(reader)
  log.add('a', drafts(1))
  gate.open()
  await settled()
  t.strictSame(listener.received, [])
  t.equal(hub.stats().readers, 0)
})

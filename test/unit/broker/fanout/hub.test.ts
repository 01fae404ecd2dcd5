// The flush loop, priorities and connections: ARCHITECTURE.md#fan-out. The tests control time where it matters.

import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { UNTIL } from '../../../../services/broker/fanout/connection.ts'
import { STRETCH } from '../../../../services/broker/fanout/stretches.ts'
import { wsFraming } from '../../../../services/wires/ws/framing.ts'
import type { Hub } from '../../../../services/broker/fanout/hub.ts'
import {
  away,
  drafts,
  hubOf,
  ids,
  Listener,
  listen,
  listenHeldUp,
  OPTIONS,
  ScriptedLog,
  settled,
  streamFraming,
} from './scripted-log.ts'
import { stopTime, type Teardown } from './stopped-time.ts'
import { until } from '../../../support/until.ts'

const e1 = (offset: number) => ({ epoch: 'e1', offset })
const low = { priority: 'low' } as const
const sized = (bytes: number) => ({ data: Buffer.from(`"${'x'.repeat(bytes - 2)}"`) })

/** A listener whose socket accepts nothing more, and that has received no event yet. */
async function stuck(log: ScriptedLog, hub: Hub): Promise<Listener> {
  const listener = await listen(hub, 'a', e1(0))
  listener.stop()
  log.add('a', drafts(1))
  await settled()
  return listener
}

/** Makes each slice end the first time that it reads the clock, not after 2 ms. */
function shortSlices(teardown: Teardown): void {
  const now = performance.now.bind(performance)
  let looked = 0
  performance.now = () => now() + 3 * ++looked
  teardown(() => {
    performance.now = now
  })
}

// The flush ---------------------------------------------------------------------------------------------------

type Step =
  | { readonly do: 'add'; readonly channel: number; readonly count: number; readonly low: boolean }
  | { readonly do: 'join'; readonly channel: number; readonly back: number; readonly full: boolean }
  | { readonly do: 'leave' | 'stop' | 'read' | 'move'; readonly who: number }
  | { readonly do: 'turn' | 'hold' | 'release' }

const channel = fc.nat(2)
const who = fc.nat(1000)
const steps = fc.array(
  fc.oneof(
    {
      arbitrary: fc.record({
        do: fc.constant('add' as const),
        channel,
        count: fc.integer({ min: 1, max: 5 }),
        low: fc.boolean(),
      }),
      weight: 6,
    },
    {
      arbitrary: fc.record({
        do: fc.constant('join' as const),
        channel,
        back: fc.nat(10),
        full: fc.boolean(),
      }),
      weight: 5,
    },
    {
      arbitrary: fc.record({
        do: fc.constantFrom('leave' as const, 'stop' as const, 'read' as const, 'move' as const),
        who,
      }),
      weight: 6,
    },
    {
      arbitrary: fc.record({ do: fc.constantFrom('turn' as const, 'hold' as const, 'release' as const) }),
      weight: 5,
    },
  ),
  { minLength: 20, maxLength: 120 },
)

/** A listener, and its start offset in each of its channels. */
interface Follower {
  readonly listener: Listener
  readonly from: Map<string, number>
}

/** Runs a random course. Returns descriptions of the faults at its end. */
async function run(hub: Hub, log: ScriptedLog, course: readonly Step[]): Promise<string[]> {
  const names = ['a', 'b', 'c']
  const followers: Follower[] = []
  const join = async (follower: Follower, name: string, back: number) => {
    const at = e1(Math.max(0, log.head(name).offset - back))
    follower.from.set(name, at.offset)
    await listen(hub, name, at, follower.listener)
  }
  // More connections than one slice visits, each with one or two channels.
  for (let i = 0; i < 40; i++) {
    const follower = { listener: new Listener(hub), from: new Map<string, number>() }
    await join(follower, 'a', 0)
    if (i % 4 === 0) await join(follower, 'b', 0)
    followers.push(follower)
  }
  for (const step of course) {
    const chosen = 'who' in step ? followers[step.who % Math.max(1, followers.length)] : undefined
    const name = 'channel' in step ? (names[step.channel] ?? 'a') : 'c'
    if (step.do === 'add') log.add(name, drafts(step.count, step.low ? low : {}))
    else if (step.do === 'join') {
      const follower = { listener: new Listener(hub), from: new Map<string, number>() }
      followers.push(follower)
      if (step.full) follower.listener.stop()
      await join(follower, name, step.back)
    } else if (step.do === 'turn') await turn()
    else if (step.do === 'hold') log.held = true
    else if (step.do === 'release') log.release()
    else if (chosen === undefined) continue
    else if (step.do === 'stop') chosen.listener.stop()
    else if (step.do === 'read') chosen.listener.read()
    else if (step.do === 'leave') {
      chosen.listener.cut()
      followers.splice(followers.indexOf(chosen), 1)
    } else {
      // Leaves a channel and follows another, on the same connection.
      const { readers } = chosen.listener.connection
      const first = readers[0]
      const other = names.find(each => !chosen.from.has(each))
      if (first === undefined || other === undefined || readers.length > 1) continue
      chosen.listener.connection.leave(first)
      await join(chosen, other, 3)
    }
  }
  log.release()
  for (const { listener } of followers) listener.read()
  // Adds a high-priority event to each channel, so that low-priority events do not wait.
  for (const name of names) log.add(name, drafts(1))

  const wrong: string[] = []
  for (const { listener, from } of followers) {
    const followed = new Set(listener.connection.readers.map(reader => reader.channel.name))
    const complete = () => {
      const last = new Map(listener.lines.map(line => [JSON.parse(line).channel, JSON.parse(line).id]))
      return [...followed].every(name => last.get(name) === `e1-${log.head(name).offset}`)
    }
    for (let i = 0; i < 200 && !complete(); i++) await turn()
    for (const [name, begin] of from) {
      const lines = listener.lines
        .map(line => JSON.parse(line))
        .filter(each => each.channel === name || each.gap)
      const got = lines.map(each => each.id).join()
      // A listener that left a channel has received the events up to then.
      const end = followed.has(name) ? log.head(name).offset : begin + lines.length
      const due = ids('e1', begin + 1, end).join()
      if (got !== due) wrong.push(`${name} after ${begin}: ${got} instead of ${due}`)
    }
  }
  await settled()
  const readers = followers.reduce((sum, { listener }) => sum + listener.connection.readers.length, 0)
  const stats = hub.stats()
  if (stats.readers !== readers) wrong.push(`${stats.readers} readers instead of ${readers}`)
  if (stats.behind !== 0) wrong.push(`${stats.behind} behind`)
  for (const { listener } of followers) listener.cut()
  return wrong
}

t.test(
  'readers that join, leave, stall and resume get every event after their start once, in order',
  async t => {
    shortSlices(t.teardown)
    await fc.assert(
      fc.asyncProperty(steps, async course => {
        const log = new ScriptedLog()
        const closing: (() => void)[] = []
        const hub = hubOf(log, {}, close => closing.push(close))
        try {
          const wrong = await run(hub, log, course)
          if (wrong.length > 0) throw new Error(wrong.slice(0, 3).join('\n'))
        } finally {
          for (const close of closing) close()
        }
      }),
      { numRuns: 60 },
    )
    t.pass()
  },
)

t.test('the event loop is free between two slices', async t => {
  shortSlices(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listeners = await Promise.all(Array.from({ length: 100 }, () => listen(hub, 'a', e1(0))))
  await settled()
  log.add('a', drafts(1))
  const progress: number[] = []
  await until('all listeners have it', async () => {
    for (let i = 0; i < 20; i++) {
      await turn()
      progress.push(listeners.filter(listener => listener.lines.length > 0).length)
    }
    return progress.at(-1) === 100
  })
  t.ok(new Set(progress).size >= 4, `number of listeners that had it, by turn: ${[...new Set(progress)]}`)
})

t.test('new events between two slices also reach readers already visited', async t => {
  shortSlices(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listeners = await Promise.all(Array.from({ length: 100 }, () => listen(hub, 'a', e1(0))))
  await settled()
  log.add('a', drafts(1))
  const reached = () => listeners.filter(listener => listener.lines.length > 0).length
  while (reached() === 0) await turn()
  t.ok(reached() < 100, 'the pass is under way')
  log.add('a', drafts(1))
  await settled()
  for (const listener of listeners) t.strictSame(listener.received, ids('e1', 1, 2))
})

t.test('a page that arrives when the socket is full is not queued, and is read again later', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(5))
  const { listener, gate } = await listenHeldUp(log, hub, e1(0), 'afterRead')
  listener.stop()
  listener.connection.write(Buffer.from('{"id":"x"}\n'))
  const { writableLength } = listener.sink
  gate.open()
  await settled()
  t.equal(listener.sink.writableLength, writableLength)
  listener.read()
  await settled()
  t.strictSame(listener.received, ['x', ...ids('e1', 1, 5)])
})

t.test('events that one reader fetched from the log are served to later readers from memory', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(100))
  const first = await listen(hub, 'a', e1(10))
  await until('it has all events', () => first.lines.length === 90)
  t.strictSame(log.reads, ['a e1-10'])
  const later = await Promise.all([10, 50, 99].map(offset => listen(hub, 'a', e1(offset))))
  for (const [i, listener] of later.entries()) {
    await until('it has all events', () => listener.lines.length === [90, 50, 1][i])
  }
  t.strictSame(log.reads, ['a e1-10'], 'the log was not read again')
})

t.test('a reader that is far behind gets capped stretches, in turn with others', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listeners = await Promise.all([listen(hub, 'a', e1(0)), listen(hub, 'a', e1(0))])
  for (const listener of listeners) listener.stop()
  log.add('a', drafts(1))
  await settled()
  log.add('a', drafts(5000))
  log.add('a', drafts(100, sized(20_000)))
  await settled()
  const order: Listener[] = []
  for (const listener of listeners) {
    const { push } = listener.writes
    listener.writes.push = (...bytes) => {
      order.push(listener)
      return push.apply(listener.writes, bytes)
    }
    listener.read()
  }
  for (const listener of listeners) {
    await until('it has all events', () => listener.lines.length === 5101)
    t.strictSame(listener.received, ids('e1', 1, 5101))
    for (const bytes of listener.writes) {
      const lines = bytes.toString().split('\n').length - 1
      t.ok(
        lines <= STRETCH.events && bytes.length <= STRETCH.bytes + lines,
        `${lines} in ${bytes.length} bytes`,
      )
    }
    t.ok(listener.writes.length >= 12)
  }
  const [one] = listeners
  t.ok(order.lastIndexOf(one) - order.indexOf(one) > listeners[0].writes.length, 'neither delays the other')
})

t.test('a connection with many channels queues a bounded amount per flush', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const names = Array.from({ length: 12 }, (_, i) => `c${i}`)
  const listener = new Listener(hub)
  for (const name of names) await listen(hub, name, e1(0), listener)
  await settled()
  listener.stop()
  for (const name of names) log.add(name, drafts(10, sized(20_000)))
  let most = 0
  for (let i = 0; i < 50; i++) {
    most = Math.max(most, listener.sink.writableLength)
    await turn()
  }
  t.ok(most > 0 && most <= 512 * 1024 + STRETCH.bytes, `${most} bytes queued of 2.4 MB`)
  t.equal(hub.stats().behind, 1)
  listener.read()
  await until('it has all events', () => listener.lines.length === 120)
  for (const name of names) {
    const of = listener.lines.map(line => JSON.parse(line)).filter(event => event.channel === name)
    t.strictSame(
      of.map(event => event.id),
      ids('e1', 1, 10),
    )
  }
})

t.test('the end of an epoch while a socket is full is reported after the remaining events', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await stuck(log, hub)
  log.add('a', drafts(9))
  await settled()
  log.lose('a', 3, 'e2')
  log.add('a', drafts(2))
  log.lose('a', 1, 'e3')
  log.add('a', drafts(1))
  await settled()
  t.strictSame(listener.lines, [])
  listener.read()
  await until('it has all events', () => listener.received.at(-1) === 'e3-9')
  t.strictSame(listener.received, [...ids('e1', 1, 7), 'gap e1-7 e2-7', 'e2-8', 'gap e2-8 e3-8', 'e3-9'])
})

t.test('readers that wait for an unavailable log share one retry', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(3))
  log.beforeRead = away
  const listeners: Listener[] = []
  for (let i = 0; i < 200; i++) {
    listeners.push(await listen(hub, 'a', e1(0)))
    if (i % 50 === 0) await time.tick(20)
  }
  await time.tick(5000)
  t.ok(log.reads.length >= 3, 'it is retried repeatedly')
  t.ok(log.reads.length <= 4 + 2 * 6, `${log.reads.length} reads in 5 s for 200 readers at one position`)
  log.beforeRead = async () => {}
  const asked = log.reads.length
  await time.tick(1500)
  for (const listener of listeners) t.strictSame(listener.received, ids('e1', 1, 3))
  t.equal(log.reads.length, asked + 1)
})

t.test('a client that disconnects during a flush causes no error and leaves nothing behind', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = new Listener(hub)
  const errors: Error[] = []
  listener.sink.on('error', error => errors.push(error))
  await listen(hub, 'a', e1(0), listener)
  await listen(hub, 'b', e1(0), listener)
  await settled()
  // The client's socket is full, bytes are queued for it, and the socket closes before the flush ends.
  listener.stop()
  listener.connection.write(Buffer.from('{"id":"x"}\n'))
  listener.sink.end()
  log.add('a', drafts(1))
  await settled()
  t.strictSame(errors, [])
  listener.cut()
  await settled()
  t.equal(hub.stats().readers + hub.stats().behind, 0)
})

// Priority ----------------------------------------------------------------------------------------------------

t.test('low-priority events wait until there are enough, and arrive as one stretch', async t => {
  for (const [what, few, last] of [
    ['events', drafts(OPTIONS.low.events - 1, low), low],
    [
      'bytes',
      drafts(3, { ...low, ...sized(OPTIONS.low.bytes / 4) }),
      { ...low, ...sized(OPTIONS.low.bytes / 4) },
    ],
    ['a high-priority event', drafts(5, low), {}],
  ] as const) {
    const log = new ScriptedLog()
    const hub = hubOf(log, {}, t.teardown)
    const listener = await listen(hub, 'a', e1(0))
    await settled()
    for (const draft of few) log.add('a', [draft])
    await settled()
    t.strictSame(listener.lines, [], what)
    log.add('a', [last])
    await settled()
    t.strictSame(listener.received, ids('e1', 1, few.length + 1), what)
    t.equal(listener.writes.length, 1, 'one stretch')
    log.add('a', [low])
    await settled()
    t.equal(listener.lines.length, few.length + 1, 'later events wait again')
  }
})

t.test('low-priority events wait no longer than their limit, counted from the oldest', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listen(hub, 'a', e1(0))
  await settled()
  log.add('a', [low])
  await time.tick(OPTIONS.low.age - 100)
  log.add('a', [low])
  t.strictSame(listener.lines, [])
  await time.tick(100)
  t.strictSame(listener.received, ids('e1', 1, 2))
  log.add('a', [low])
  await time.tick(OPTIONS.low.age - 10)
  t.equal(listener.lines.length, 2, 'the next event waits just as long')
  await time.tick(10)
  t.strictSame(listener.received, ids('e1', 1, 3))
})

t.test('a high-priority event flushes the events before it, not those after it', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listener = await listen(hub, 'a', e1(0))
  await settled()
  log.add('a', [low])
  await time.tick(OPTIONS.low.age / 2)
  log.add('a', [low, {}])
  await settled()
  t.strictSame(listener.received, ids('e1', 1, 3))
  log.add('a', [low])
  await time.tick(10)
  log.add('a', [low])
  await time.tick(10)
  log.add('a', [{}])
  await settled()
  t.equal(listener.lines.length, 6)
  log.add('a', [low])
  await time.tick(OPTIONS.low.age - 10)
  t.equal(listener.lines.length, 6, 'no earlier timer is left')
  await time.tick(10)
  t.equal(listener.lines.length, 7)
})

t.test('a reader that catches up does not wait for low-priority events', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const waits = await listen(hub, 'a', e1(0))
  await settled()
  log.add('a', drafts(3, low))
  await settled()
  const joins = await listen(hub, 'a', e1(1))
  await settled()
  t.strictSame(joins.received, ids('e1', 2, 3))
  t.strictSame(waits.received, [])
})

// Connections -------------------------------------------------------------------------------------------------

t.test('every connection gets one heartbeat per period, evenly spread', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { heartbeat: 3200 }, t.teardown)
  const beats = new Map<Listener, number>()
  let inThisTick = 0
  let most = 0
  const listeners: Listener[] = []
  for (let i = 0; i < 64; i++) {
    const listener = new Listener(hub)
    beats.set(listener, 0)
    const { push } = listener.writes
    listener.writes.push = (...bytes) => {
      for (const each of bytes) {
        if (!each.equals(streamFraming.plain.heartbeat)) continue
        beats.set(listener, (beats.get(listener) ?? 0) + 1)
        inThisTick++
      }
      return push.apply(listener.writes, bytes)
    }
    listeners.push(listener)
    await time.tick(50)
  }
  for (const listener of listeners) beats.set(listener, 0)
  for (let period = 1; period <= 3; period++) {
    for (let i = 0; i < 32; i++) {
      inThisTick = 0
      await time.tick(100)
      most = Math.max(most, inThisTick)
    }
    t.strictSame([...new Set(beats.values())], [period], 'one heartbeat per period')
  }
  t.ok(most <= 4, `at most ${most} of 64 at a time`)
  listeners[0]?.cut()
  await settled()
  const before = beats.get(listeners[0] as Listener)
  await time.tick(3200)
  t.equal(beats.get(listeners[0] as Listener), before, 'a listener that has left gets no heartbeat')
})

t.test('a full socket gets no heartbeat, and need not answer any', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { heartbeat: 1000, stall: 1e6, heartbeatAnswer: 500 }, t.teardown)
  const listener = new Listener(hub, wsFraming)
  listener.stop()
  listener.connection.write(Buffer.from('x'))
  const { writableLength } = listener.sink
  await time.tick(5000)
  t.equal(listener.sink.writableLength, writableLength)
  t.notOk(listener.sink.destroyed)
})

t.test('a client may answer a heartbeat after it has read the data that filled its socket', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { heartbeat: 1000, stall: 1e6, heartbeatAnswer: 500 }, t.teardown)
  const listener = new Listener(hub, wsFraming)
  while (listener.writes.length === 0) await time.tick(10)
  listener.stop()
  listener.connection.write(Buffer.from('x'))
  // Answers are checked 500 ms after a heartbeat, and then every 1000 ms.
  await time.tick(5300)
  listener.read()
  await time.tick(400)
  t.notOk(listener.sink.destroyed, 'it has just received the heartbeat')
  await time.tick(1000)
  t.ok(listener.sink.destroyed, 'a client that still does not answer is cut')
})

t.test('a reader that stalls for too long receives a goodbye, and is cut if it stays', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { stall: 8000 }, t.teardown)
  const [stalled, other] = await Promise.all([listen(hub, 'a', e1(0)), listen(hub, 'a', e1(0))])
  stalled.stop()
  log.add('a', drafts(1))
  await settled()
  await time.tick(7000)
  t.strictSame(stalled.closes, [], 'no goodbye before the stall limit')
  await time.tick(2000)
  t.match(stalled.closes, [{ code: 4001, retry: Number }])
  t.notOk(stalled.sink.destroyed, 'its goodbye is queued')
  await time.tick(4000)
  t.ok(stalled.sink.destroyed)
  t.equal(stalled.closes.length, 1, 'closed once')
  t.equal(hub.stats().readers, 1)
  t.equal(hub.connections.leaving.size + hub.connections.full.size, 0, 'the hub keeps nothing of it')
  t.strictSame(other.closes, [])
})

t.test('a reader that leaves after its goodbye is not cut', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { stall: 4000 }, t.teardown)
  const listener = await stuck(log, hub)
  await time.tick(5000)
  t.equal(listener.closes.length, 1)
  listener.read()
  await settled()
  t.strictSame(listener.received, ['e1-1'], 'queued events still arrived')
  t.ok(listener.sink.writableFinished)
  t.equal(hub.stats().readers, 0)
  await time.tick(6000)
  t.equal(hub.connections.leaving.size, 0)
})

t.test('a connection whose client is gone has ended, and is not ended again', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const { connection, sink, closes } = await listen(hub, 'a', e1(0))
  sink.destroy()
  await settled()
  t.ok(connection.ended)
  connection.end(UNTIL)
  t.equal(hub.connections.leaving.size, 0, 'shutdown does not wait for it')
  t.strictSame(closes, [])
})

t.test('a slow reader that keeps reading is not cut', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { stall: 4000 }, t.teardown)
  const listener = await listen(hub, 'a', e1(0))
  for (let i = 0; i < 10; i++) {
    listener.stop()
    log.add('a', drafts(1))
    await settled()
    await time.tick(3000)
    listener.read()
    await settled()
  }
  t.strictSame(listener.closes, [])
  t.strictSame(listener.received, ids('e1', 1, 10))
})

t.test('nothing is written after the goodbye', async t => {
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  log.add('a', drafts(2))
  const { listener, gate } = await listenHeldUp(log, hub, e1(0), 'afterRead')
  await hub.connections.drain(0)
  gate.open()
  log.add('a', drafts(1))
  listener.connection.write(Buffer.from('late\n'))
  listener.connection.beat()
  await settled()
  t.strictSame(listener.lines, [])
  t.match(listener.closes, [{ code: 1001 }])
})

t.test('draining a node without clients finishes at once, and so does a second drain', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  await hub.connections.drain(10_000)
  const listener = await listen(hub, 'a', e1(0))
  await hub.connections.drain(10_000)
  await hub.connections.drain(10_000)
  t.equal(listener.closes.length, 1)
  await time.tick(0)
})

t.test('on shutdown, held requests and connections end evenly over time, and late arrivals last', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, {}, t.teardown)
  const listeners = await Promise.all(Array.from({ length: 10 }, () => listen(hub, 'a', e1(0))))
  let released = 0
  for (let n = 0; n < 10; n++) hub.connections.held.add({ release: () => void released++ })
  const gone = () => listeners.filter(each => each.closes.length > 0).length
  const drained = hub.connections.drain(1000)
  const late = await listen(hub, 'a', e1(0))
  await time.tick(250)
  t.ok(released > 2 && released < 10, `${released} after a quarter`)
  t.equal(gone(), 0)
  await time.tick(500)
  t.ok(gone() > 2 && gone() < 10, `${gone()} connections after three quarters`)
  t.strictSame(late.closes, [])
  await time.tick(250)
  await drained
  t.equal(gone(), 10)
  t.match(late.closes, [{ code: 1001 }])
  await hub.connections.gone(1e6)
  t.equal(hub.connections.leaving.size, 0)
})

t.test('shutdown does not wait for a client that ignores its goodbye', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { stall: 1e6 }, t.teardown)
  await stuck(log, hub)
  await hub.connections.drain(0)
  let waited = false
  void hub.connections.gone(100).then(() => {
    waited = true
  })
  await time.tick(90)
  t.notOk(waited)
  await time.tick(10)
  t.ok(waited)
})

t.test('connections receive a goodbye before their maximum age, spread over time', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { heartbeat: 1000, maxAge: 20_000 }, t.teardown)
  const listeners = await Promise.all(Array.from({ length: 64 }, () => listen(hub, 'a', e1(0))))
  const gone = () => listeners.filter(each => each.closes.length > 0).length
  await time.tick(13_900)
  t.equal(gone(), 0)
  await time.tick(3500)
  t.ok(gone() > 8 && gone() < 56, `${gone()} half-way`)
  await time.tick(2600)
  t.equal(gone(), 64)
  for (const { closes } of listeners) t.match(closes, [{ code: 1001, retry: Number }])
  t.equal(hub.stats().readers, 0)
  const ageless = await listen(hubOf(new ScriptedLog(), { heartbeat: 1000 }, t.teardown), 'a', e1(0))
  await time.tick(30_000)
  t.strictSame(ageless.closes, [], 'a connection without a maximum age stays')
})

t.test('nothing is left behind when all clients are gone', async t => {
  const time = stopTime(t.teardown)
  const log = new ScriptedLog()
  const hub = hubOf(log, { linger: 1000 }, t.teardown)
  let closed = 0
  const follow = log.follow.bind(log)
  log.follow = async (name, follower) => {
    const feed = await follow(name, follower)
    return {
      close() {
        closed++
        feed.close()
      },
    }
  }
  const listeners = await Promise.all(['a', 'b', 'a'].map(name => listen(hub, name, e1(0))))
  await settled()
  log.add('a', drafts(3))
  log.add('b', drafts(3, low))
  await settled()
  for (const listener of listeners) listener.cut()
  await settled()
  await time.tick(500)
  t.equal(closed, 0, 'they linger')
  await time.tick(1500)
  t.equal(closed, 2)
  t.match(hub.stats(), {
    channels: 0,
    readers: 0,
    behind: 0,
    memory: 0,
    wires: { stream: { connections: 0 } },
  })
  t.equal(hub.stats().wires.stream?.deliveries, 6, 'events that waited for b were dropped with its channel')
})

// The sweep over stalled clients, and over those that have not closed in time.

import { mock } from 'node:test'
import t from 'tap'
import type { Connection } from '../../../../services/broker/fanout/connection.ts'
import { Connections } from '../../../../services/broker/fanout/connections.ts'
import { FlushLoop } from '../../../../services/broker/fanout/flush-loop.ts'
import { stopPerformanceNow } from '../../../support/stopped-clock.ts'

const turn = () => new Promise(resolve => setImmediate(resolve))

t.test('connections are swept in slices, except those whose socket has room again by then', async t => {
  const clock = stopPerformanceNow(t)
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const connections = new Connections(new FlushLoop(), { heartbeat: 25_000, stall: 30_000 })
  const swept: string[] = []
  const sweep = (name: string) => {
    clock.forward(1)
    swept.push(name)
  }
  const connection = (name: string) =>
    ({
      endIfStalled: () => sweep(`${name} stalled`),
      cutIfOverdue: () => sweep(`${name} overdue`),
    }) as unknown as Connection
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(connection) as [
    Connection,
    Connection,
    Connection,
    Connection,
  ]
  for (const each of [a, b, c, d]) connections.blocked(each)
  for (const each of [a, b, c]) connections.ending(each)
  connections.start()
  t.teardown(() => connections.close())
  mock.timers.tick(1000)
  t.strictSame(swept, ['a stalled', 'b stalled'], 'then others have their turn')
  connections.unblocked(c)
  mock.timers.tick(1000)
  t.equal(swept.length, 2, 'the next sweep waits for this one')
  while (swept.length < 6) await turn()
  await turn()
  t.strictSame(swept.splice(0), [
    'a stalled',
    'b stalled',
    'd stalled',
    'a overdue',
    'b overdue',
    'c overdue',
  ])
  mock.timers.tick(1000)
  t.strictSame(swept, ['a stalled', 'b stalled'])
})

t.test('heartbeats are sent in slices, and the wheel stops until all are sent', async t => {
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const clock = stopPerformanceNow(t)
  const connections = new Connections(new FlushLoop(), {
    heartbeat: 3200,
    stall: 30_000,
    heartbeatAnswer: 300,
  })
  const done: string[] = []
  const act = (what: string) => {
    clock.forward(1)
    done.push(what)
  }
  for (const name of ['a', 'b', 'c']) {
    const beat = () => act(`${name} beats`)
    const cutIfSilent = () => act(`${name} is checked`)
    connections.opened({ endsAt: 0, beat, cutIfSilent } as unknown as Connection)
  }
  connections.start()
  t.teardown(() => connections.close())
  const turnWheel = async (turns: number) => {
    for (let i = 0; i < turns; i++) {
      mock.timers.tick(100)
      for (let turns = 0; turns < 4; turns++) await turn()
    }
  }
  // A new connection has the longest time until its first heartbeat.
  await turnWheel(30)
  done.splice(0)
  mock.timers.tick(100)
  t.strictSame(done, ['a beats', 'b beats'], 'then others have their turn')
  mock.timers.tick(100)
  t.equal(done.length, 2, 'the next turn waits for this one')
  await turn()
  t.strictSame(done.splice(0), ['a beats', 'b beats', 'c beats'])
  await turnWheel(3)
  t.strictSame(done, [], 'a client has 300 ms to answer, though its heartbeat came late in its turn')
  await turnWheel(1)
  t.strictSame(done, ['a is checked', 'b is checked', 'c is checked'])
})

t.test('a heartbeat that is shorter than a full wheel is kept', async t => {
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const connections = new Connections(new FlushLoop(), { heartbeat: 50, stall: 30_000 })
  let beats = 0
  const beat = () => beats++
  connections.opened({ endsAt: 0, beat, cutIfSilent() {} } as unknown as Connection)
  connections.start()
  t.teardown(() => connections.close())
  for (let ms = 0; ms < 500; ms += 10) {
    mock.timers.tick(10)
    await turn()
  }
  t.equal(beats, 10)
})

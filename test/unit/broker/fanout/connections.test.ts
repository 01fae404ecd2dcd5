// The sweep over stalled clients, and over those that have not closed in time.

import { mock } from 'node:test'
import t from 'tap'
import type { Connection } from '../../../../services/broker/fanout/connection.ts'
import { Connections } from '../../../../services/broker/fanout/connections.ts'
import { FlushLoop } from '../../../../services/broker/fanout/flush-loop.ts'

/** A clock that only the test moves. */
let now = 0
const clock = mock.method(performance, 'now', () => now)
t.teardown(() => clock.mock.restore())

const turn = () => new Promise(resolve => setImmediate(resolve))

t.test('connections are swept in slices, without those that have room again meanwhile', async t => {
  mock.timers.enable({ apis: ['setInterval', 'Date'] })
  t.teardown(() => mock.timers.reset())
  const connections = new Connections(new FlushLoop(), { heartbeat: 25_000, stall: 30_000 })
  const swept: string[] = []
  const sweep = (name: string) => {
    now += 1
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

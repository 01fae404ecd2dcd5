// The share of a turn of the event loop that one client gets, and that all clients get.

import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import { TURN_OF_ALL, Turns } from '../../../services/http/turns.ts'

t.test('S2: many clients share a turn, and each gets a share of the next turns', async t => {
  const ran: number[][] = []
  let inTurn = 0
  const clients = Array.from({ length: 50 }, (_, i) => {
    ran[i] = []
    return new Turns<number>(item => {
      ran[i]?.push(item)
      inTurn++
    })
  })
  const items = Array.from({ length: 100 }, (_, i) => i)
  for (const client of clients) for (const item of items) client.take(item)
  const turns = [inTurn]
  while (clients.some(client => client.waiting > 0)) {
    inTurn = 0
    await nextTurn()
    turns.push(inTurn)
    if (turns.length === 6)
      t.ok(
        ran.every(own => own.length > 0),
        'every client has started',
      )
  }
  // A request takes 0.1 ms or more, so at most 16 requests begin in a turn.
  t.ok(Math.max(...turns) <= 16, `${turns}`)
  t.ok(turns.length >= 5000 / TURN_OF_ALL)
  for (const own of ran) t.strictSame(own, items, 'in order')
})

t.test('a single client gets whole turns, and no more than one at a time', async t => {
  let ran = 0
  const client = new Turns<number>(() => ran++)
  for (let i = 0; i < 3 * TURN_OF_ALL; i++) client.take(i)
  t.ok(ran <= TURN_OF_ALL, `${ran}`)
  await nextTurn()
  t.ok(ran <= 2 * TURN_OF_ALL, `${ran}`)
  await client.empty()
  t.equal(ran, 3 * TURN_OF_ALL)
})

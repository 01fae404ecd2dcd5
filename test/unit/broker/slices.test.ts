// Long work leaves the event loop free in between.

import t from 'tap'
import { visitInSlices } from '../../../services/broker/slices.ts'
import { stopPerformanceNow } from '../../support/stopped-clock.ts'

t.test('all items are visited in order, with a turn of the event loop after each slice of 2 ms', async t => {
  const clock = stopPerformanceNow(t)
  const turns: number[] = []
  const turn = () => void (turns.push(visited.length), (turning = setImmediate(turn)))
  const visited: number[] = []
  let turning = setImmediate(turn)
  await visitInSlices(
    Array.from({ length: 8 }, (_, i) => i),
    item => {
      clock.forward(0.5)
      visited.push(item)
    },
  )
  clearImmediate(turning)
  t.strictSame(visited, [0, 1, 2, 3, 4, 5, 6, 7])
  t.ok(turns.includes(4), 'others had their turn half way')
})

t.test('short work needs no turn, and an error in a visit ends it', async t => {
  const visited: number[] = []
  const visiting = visitInSlices([1, 2, 3], item => visited.push(item))
  t.strictSame(visited, [1, 2, 3], 'at once')
  await visiting
  await t.rejects(
    visitInSlices([1, 2], item => {
      visited.push(item)
      throw new Error('no')
    }),
    /no/,
  )
  t.strictSame(visited, [1, 2, 3, 1])
})

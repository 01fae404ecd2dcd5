// The judge of the abuse suite reports each missed goal.

import t from 'tap'
import { leftOver } from '../support/footprint.ts'
import { complaints, type Figures, tooSlow } from './judge.ts'

const MIB = 2 ** 20

const level = (value: number) => ({ before: value, during: value, after: value })

const REACHED: Figures = {
  p99: { before: 8, during: 39, after: 8 },
  resident: { before: 100 * MIB, during: 900 * MIB, after: 110 * MIB },
  heap: level(20 * MIB),
  descriptors: level(24),
  readers: level(2),
  connections: level(2),
  redis: level(0),
  ready: 5000,
  back: 100,
  left: '',
  verdict: {
    published: 100,
    acknowledged: 100,
    publishedAgain: 0,
    delivered: 200,
    repeated: 0,
    reordered: 0,
    lost: 0,
    gapped: 0,
    gaps: 0,
    ambiguous: 0,
    faults: [],
    faulty: 0,
  },
  refused: 3,
  ends: 1,
  turnedAway: 1,
}

function judged(over: Partial<Figures>, visitors?: 'served'): string[] {
  const figures = { ...REACHED, ...over }
  return [...tooSlow(figures), ...complaints(visitors === undefined ? {} : { visitors }, figures)]
}

const verdict = (over: Partial<Figures['verdict']>) => ({ verdict: { ...REACHED.verdict, ...over } })

t.test('reports nothing when every goal is met', async t => {
  t.same(judged({}), [])
})

t.test('a p99 at rest below 5 ms counts as 5 ms', async t => {
  t.same(judged({ p99: { before: 2, during: 24.9, after: 2 } }), [])
  t.same(judged({ p99: { before: 2, during: 25, after: 2 } }), ['p99 25.0 ms, 12.5 × the p99 at rest'])
})

t.test('reports each missed goal', async t => {
  const missed: [Partial<Figures>, RegExp][] = [
    [{ p99: { before: 8, during: 40, after: 8 } }, /^p99 40.0 ms, 5.0 ×/],
    [{ p99: { before: 8, during: Number.NaN, after: 8 } }, /^p99/],
    [{ ready: undefined }, /^not ready within 5 s/],
    [{ left: 'descriptors 24 → 25' }, /^not released: descriptors 24 → 25/],
    [{ heap: { before: 20 * MIB, during: 20 * MIB, after: 37 * MIB } }, /^heap 20 → 37 MiB/],
    [{ resident: { before: 100 * MIB, during: 0, after: 200 * MIB } }, /^memory 100 → 200 MiB/],
    [{ redis: { before: MIB, during: MIB, after: 6 * MIB } }, /^Redis 1 → 6 MiB/],
    [verdict({ lost: 1 }), /^1 lost/],
    [verdict({ repeated: 1 }), /^1 repeated/],
    [verdict({ reordered: 1 }), /^1 out of order/],
    [verdict({ gaps: 1 }), /^1 gaps/],
    [verdict({ acknowledged: 99 }), /^1 never acknowledged/],
    [verdict({ faulty: 1, faults: ['x'] }), /^1 findings: x/],
  ]
  for (const [over, told] of missed) {
    const goals = judged(over)
    t.equal(goals.length, 1)
    t.match(goals[0], told)
  }
  t.match(judged({}, 'served'), ['1 polls of new clients refused'])
})

t.test('reports leftovers by name, and ignores a decrease', async t => {
  const before = { descriptors: 24, sockets: 3, connections: 2, readers: 2, channels: 1 }
  t.same(leftOver(before, { descriptors: 23, sockets: 3, connections: 2, readers: 2, channels: 1 }), [])
  t.same(leftOver(before, { descriptors: 25, sockets: 4, connections: 3, readers: 3, channels: 2 }), [
    'descriptors 24 → 25',
    'sockets 3 → 4',
    'connections 2 → 3',
    'readers 2 → 3',
    'channels 1 → 2',
  ])
})

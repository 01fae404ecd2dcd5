import fc from 'fast-check'
import t from 'tap'
import {
  type Position,
  parseCursor,
  parsePosition,
  parseStart,
  printCursor,
  printPosition,
  samePosition,
} from '../../../../services/broker/event/position.ts'

const position: fc.Arbitrary<Position> = fc.record({
  epoch: fc.string({
    unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789'),
    minLength: 1,
    maxLength: 16,
  }),
  offset: fc.oneof(fc.maxSafeNat(), fc.nat(20), fc.constant(Number.MAX_SAFE_INTEGER)),
})

t.test('a printed position is read as itself', async t => {
  fc.assert(
    fc.property(position, each => {
      const read = parsePosition(printPosition(each))
      return read !== undefined && samePosition(read, each)
    }),
  )
  t.same(parsePosition('m3k9zq-42'), { epoch: 'm3k9zq', offset: 42 })
  t.same(parsePosition('a-0'), { epoch: 'a', offset: 0 })
})

t.test('what is read as a position prints as the same text', async () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9A-Z]{0,18}-?[-+]?[0-9]{0,18}$/))
  fc.assert(
    fc.property(text, each => {
      const read = parsePosition(each)
      return read === undefined || printPosition(read) === each
    }),
  )
})

t.test('what is not a position is not read as one', async t => {
  const malformed = [
    '',
    '-',
    'a',
    'a-',
    '-1',
    'a-01',
    'a--1',
    'a-+1',
    'a-1.0',
    'a-1e3',
    'A-1',
    'ä-1',
    ' a-1',
    'a-1 ',
  ]
  malformed.push(
    'a-1\n',
    'a-1-1',
    `${'a'.repeat(17)}-1`,
    'a-9007199254740992',
    `a-${'9'.repeat(400)}`,
    'earliest',
  )
  for (const text of malformed) t.equal(parsePosition(text), undefined, JSON.stringify(text))
  t.same(parsePosition('a-9007199254740991'), { epoch: 'a', offset: Number.MAX_SAFE_INTEGER })
  t.not(samePosition({ epoch: 'a', offset: 1 }, { epoch: 'b', offset: 1 }), true)
  t.not(samePosition({ epoch: 'a', offset: 1 }, { epoch: 'a', offset: 2 }), true)
})

t.test('a printed cursor is read as the same positions in the same order', async () => {
  fc.assert(
    fc.property(fc.array(position, { minLength: 1, maxLength: 40 }), positions => {
      const starts = parseCursor(printCursor(positions), positions.length)
      return starts !== undefined && printCursor(starts as Position[]) === printCursor(positions)
    }),
  )
})

t.test('one earliest or latest counts for all channels, any other list has an entry each', async t => {
  t.same(parseCursor('earliest', 3), ['earliest', 'earliest', 'earliest'])
  t.same(parseCursor('latest', 1), ['latest'])
  t.same(parseCursor('a-1,latest,earliest', 3), [{ epoch: 'a', offset: 1 }, 'latest', 'earliest'])
  t.equal(parseStart('latest'), 'latest')
  for (const [text, count] of [
    ['a-1', 2],
    ['a-1,b-2', 1],
    ['a-1,b-2', 3],
    ['a-1,', 2],
    [',', 2],
    ['', 1],
  ] as const)
    t.equal(parseCursor(text, count), undefined, `${text} for ${count}`)
  t.equal(parseCursor('a-1,x', 2), undefined)
})

import fc from 'fast-check'
import t from 'tap'
import {
  type Position,
  parseCursor,
  parsePosition,
  parseStart,
  printCursor,
  printPosition,
  printStart,
  samePosition,
  type Start,
} from '../../../../services/broker/event/position.ts'

const position: fc.Arbitrary<Position> = fc.record({
  epoch: fc.string({
    unit: fc.constantFrom(...'abcdefghijklmnopqrstuvwxyz0123456789'),
    minLength: 1,
    maxLength: 16,
  }),
  offset: fc.oneof(fc.maxSafeNat(), fc.nat(20), fc.constant(Number.MAX_SAFE_INTEGER)),
})

t.test('a printed position parses to itself', async t => {
  fc.assert(
    fc.property(position, each => {
      const read = parsePosition(printPosition(each))
      return read !== undefined && samePosition(read, each)
    }),
  )
  t.same(parsePosition('m3k9zq-42'), { epoch: 'm3k9zq', offset: 42 })
  t.same(parsePosition('a-0'), { epoch: 'a', offset: 0 })
})

t.test('a parsed position prints as the same text', async () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9A-Z]{0,18}-?[-+]?[0-9]{0,18}$/))
  fc.assert(
    fc.property(text, each => {
      const read = parsePosition(each)
      return read === undefined || printPosition(read) === each
    }),
  )
})

t.test('an invalid position does not parse', async t => {
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

t.test('a printed cursor parses to the same positions in the same order', async () => {
  fc.assert(
    fc.property(fc.array(position, { minLength: 1, maxLength: 40 }), positions => {
      const starts = parseCursor(printCursor(positions), positions.length)
      return starts !== undefined && printCursor(starts as Position[]) === printCursor(positions)
    }),
  )
})

t.test('a cursor has a start for each channel, or one for all that is not a position', async t => {
  t.same(parseCursor('earliest', 3), ['earliest', 'earliest', 'earliest'])
  t.same(parseCursor('latest', 1), ['latest'])
  t.same(parseCursor('a-1,latest,earliest', 3), [{ epoch: 'a', offset: 1 }, 'latest', 'earliest'])
  t.same(parseCursor('last:5', 2), [{ last: 5 }, { last: 5 }])
  t.same(parseCursor('since:7', 2), [{ since: 7 }, { since: 7 }])
  t.same(parseCursor('last:5,a-1,since:0', 3), [{ last: 5 }, { epoch: 'a', offset: 1 }, { since: 0 }])
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

t.test('relative starts are a number of newest events, or a time', async t => {
  t.same(parseStart('last:1'), { last: 1 })
  t.same(parseStart('last:10000'), { last: 10_000 })
  const noon = Date.UTC(2026, 1, 28, 12)
  for (const time of [
    `${noon}`,
    '2026-02-28T12:00:00Z',
    '2026-02-28t12:00:00.000z',
    '2026-02-28T14:00:00+02:00',
    '2026-02-28T14:00:00 02:00',
    '2026-02-28T06:30:00-05:30',
  ])
    t.same(parseStart(`since:${time}`), { since: noon }, time)
  t.same(parseStart('since:0'), { since: 0 })
  for (const start of ['earliest', 'last:7', 'since:1790000000000', 'a-1'] as const)
    t.equal(printStart(parseStart(start) as Start), start)
  for (const text of [
    'last:0',
    'last:10001',
    'last:01',
    'last:-1',
    'last:',
    'last',
    'last:1.5',
    'since:',
    'since:-1',
    'since:01',
    'since:1e3',
    'since:9999999999999999',
    'since:2026-02-28',
    'since:2026-02-28T12:00:00',
    'since:2026-02-30T12:00:00Z',
    'since:2026-13-01T12:00:00Z',
    'since:2026-02-28T25:00:00Z',
    'since:1969-12-31T23:59:59Z',
    'since:yesterday',
    'Last:1',
  ])
    t.equal(parseStart(text), undefined, text)
})

// A model of a channel that repeatedly loses acknowledged events: a reader that resumes from any position that was ever
// issued receives each event once, or inside a gap.

import fc from 'fast-check'
import t from 'tap'
import type { LogEvent } from '../../../../services/broker/event/event.ts'
import {
  beginEpoch,
  floorOf,
  type History,
  headOf,
  pageOf,
  place,
  placeSince,
  REMEMBERED_EPOCHS,
  randomEpoch,
} from '../../../../services/broker/log/history.ts'
import { placeBackwards } from '../../../../services/broker/log/backwards.ts'
import type { Page } from '../../../../services/broker/log/log.ts'
import type { Gap, Position, Start } from '../../../../services/broker/event/position.ts'
import { isSince, printPosition } from '../../../../services/broker/event/position.ts'
import { eventOf } from '../../../support/events.ts'

const timeOf = (offset: number) => Math.floor(offset / 2) * 10

/** The model: a log without Redis. Epochs are named e0, e1, …, so that positions are ordered. */
class World {
  history: History = { epoch: 'e0', ended: [], head: 0, floor: 0 }
  /** Readable events by offset. */
  readonly held = new Map<number, LogEvent>()
  /** Everything that was ever acknowledged. */
  readonly acknowledged: LogEvent[] = []
  /** Every position that a reader may hold. */
  readonly positions: Position[] = [{ epoch: 'e0', offset: 0 }]
  #epochs = 1

  append(count: number): void {
    for (let i = 0; i < count; i++) {
      const head = this.history.head + 1
      this.history = { ...this.history, head }
      const added = eventOf({ epoch: this.history.epoch, offset: head, time: timeOf(head) }, '{}')
      this.held.set(head, added)
      this.acknowledged.push(added)
      this.positions.push(headOf(this.history))
    }
  }

  /** Loses the newest `count` stored events. With 0, an epoch begins although none is lost. */
  lose(count: number): void {
    const head = Math.max(this.history.floor, this.history.head - count)
    for (let offset = head + 1; offset <= this.history.head; offset++) this.held.delete(offset)
    // Epochs that ended after the last surviving event now end there; those that started after it never existed.
    const { ended } = this.history
    const before = (at: number) => ended[at - 1]?.end ?? 0
    const kept = ended.filter((_, at) => before(at) <= head)
    const survived = kept.map(each => ({ ...each, end: Math.min(each.end, head) }))
    this.history = beginEpoch({ ...this.history, ended: survived, head }, `e${this.#epochs++}`)
    this.positions.push(headOf(this.history))
  }

  trim(count: number): void {
    const floor = Math.min(this.history.head, this.history.floor + count)
    this.history = { ...this.history, floor }
  }

  read(after: Start, limit: number): Page {
    const placed = place(
      this.history,
      isSince(after) ? placeSince(this.history, after, offset => this.held.get(offset)?.time ?? 0) : after,
    )
    const events: LogEvent[] = []
    for (let at = placed.start.offset + 1; events.length < limit && at <= this.history.head; at++) {
      const held = this.held.get(at)
      if (held === undefined || at <= this.history.floor) throw new Error(`${at} is read but not readable`)
      events.push(held)
    }
    return pageOf(this.history, placed, events)
  }
}

const STEPS = { append: 'append', lose: 'lose', trim: 'trim' } as const
type Step = readonly [keyof typeof STEPS, number]

function worldOf(steps: readonly Step[]): World {
  const world = new World()
  for (const [step, count] of steps) world[step](count)
  return world
}

const world = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: fc.tuple(fc.constant(STEPS.append), fc.integer({ min: 1, max: 6 })) },
      { weight: 2, arbitrary: fc.tuple(fc.constant(STEPS.lose), fc.nat(5)) },
      { weight: 1, arbitrary: fc.tuple(fc.constant(STEPS.trim), fc.nat(4)) },
    ),
    { maxLength: 60, size: 'max' },
  )
  .map(worldOf)

const order = (position: Position) => Number(position.epoch.slice(1)) * 1e6 + position.offset

function walk(world: World, from: Start, limit: number): { pages: Page[]; end: Position } {
  const pages: Page[] = []
  let after = from
  for (let left = 1000; left > 0; left--) {
    const page = world.read(after, limit)
    pages.push(page)
    if (!page.more) return { pages, end: page.cursor }
    after = page.cursor
  }
  throw new Error('the pages do not end')
}

t.test('from every position each event is delivered once, or within a gap', async () => {
  fc.assert(
    fc.property(world, fc.integer({ min: 1, max: 7 }), (world, limit) => {
      for (const from of world.positions) {
        const { pages, end } = walk(world, from, limit)
        if (printPosition(end) !== printPosition(headOf(world.history))) return false
        const delivered = pages.flatMap(page => page.events.map(printPosition))
        const gaps = pages.flatMap(page => page.gap ?? [])
        if (new Set(delivered).size !== delivered.length) return false
        for (const event of world.acknowledged) {
          if (order(event) <= order(from)) continue
          const inGap = gaps.some(gap => order(gap.from) < order(event) && order(event) <= order(gap.to))
          if (inGap === delivered.includes(printPosition(event))) return false
        }
      }
      return true
    }),
    { numRuns: 300 },
  )
})

t.test('pages are of one epoch, have consecutive offsets, and lead from one to the next', async () => {
  fc.assert(
    fc.property(world, fc.integer({ min: 1, max: 7 }), (world, limit) =>
      world.positions.every(from =>
        walk(world, from, limit).pages.every(({ start, events, cursor, gap }) => {
          const consecutive = events.every(
            (event, i) => event.epoch === start.epoch && event.offset === start.offset + 1 + i,
          )
          const toStart = gap === undefined || printPosition(gap.to) === printPosition(start)
          return (
            consecutive &&
            toStart &&
            cursor.offset === start.offset + events.length &&
            cursor.epoch === start.epoch
          )
        }),
      ),
    ),
  )
})

t.test('a reader receives a gap if and only if it missed something', async () => {
  fc.assert(
    fc.property(world, world =>
      world.positions.every(from => {
        const { epoch, head, floor, ended } = world.history
        const begin = ended.at(-1)?.end ?? 0
        const safe = from.epoch === epoch && from.offset <= head && from.offset >= Math.max(floor, begin)
        return safe === walk(world, from, 10).pages.every(page => page.gap === undefined)
      }),
    ),
  )
})

t.test(
  'earliest starts with the oldest readable event, latest after the newest, neither with a gap',
  async () => {
    fc.assert(
      fc.property(world, world => {
        const first = world.read('earliest', 1)
        const last = world.read('latest', 1)
        const { head, floor } = world.history
        return (
          first.gap === undefined &&
          first.start.offset === floor &&
          (head === floor || first.events.length === 1 || first.cursor.epoch !== world.history.epoch) &&
          last.gap === undefined &&
          printPosition(last.cursor) === printPosition(headOf(world.history)) &&
          !last.more
        )
      }),
    )
  },
)

t.test('pages from earliest contain all readable events', async () => {
  fc.assert(
    fc.property(world, world => {
      const { head, floor } = world.history
      return walk(world, 'earliest', 3).pages.flatMap(page => page.events).length === head - floor
    }),
  )
})

t.test('the newest events, and those since a time, include all that are readable', async () => {
  fc.assert(
    fc.property(world, fc.integer({ min: 1, max: 30 }), fc.nat(200), (world, last, since) => {
      const { head, floor } = world.history
      const idsOf = (pages: readonly Page[]) =>
        pages.flatMap(({ events }) => events.map(printPosition)).join()
      const readable = [...world.held.values()].filter(({ offset }) => offset > floor && offset <= head)
      readable.sort((a, b) => a.offset - b.offset)
      const newest = walk(world, { last }, 3)
      const later = walk(world, { since }, 3)
      return (
        newest.pages[0]?.gap === undefined &&
        later.pages[0]?.gap === undefined &&
        idsOf(newest.pages) === readable.slice(-last).map(printPosition).join() &&
        idsOf(later.pages) ===
          readable
            .filter(({ time }) => time >= since)
            .map(printPosition)
            .join() &&
        printPosition(newest.end) === printPosition(headOf(world.history)) &&
        printPosition(later.end) === printPosition(headOf(world.history))
      )
    }),
  )
})

t.test('cursors are placed as the contract says: at the tail, in the next epoch, at the head', async t => {
  // e0 has 1..3, of which 3 was lost and 1 trimmed; e1 has 3..4; e2 begins at 4 and has 5..6.
  const world = worldOf([
    ['append', 3],
    ['lose', 1],
    ['append', 2],
    ['lose', 0],
    ['append', 2],
    ['trim', 1],
  ])
  const at = (epoch: string, offset: number) => ({ epoch, offset })
  const placed = (epoch: string, offset: number) => place(world.history, at(epoch, offset))
  const gap = (from: Position, to: Position) => ({ start: to, gap: { from, to } })
  t.same(floorOf(world.history), at('e0', 1))
  t.same(placed('e0', 1), { start: at('e0', 1), gap: undefined })
  t.same(placed('e0', 0), gap(at('e0', 0), at('e0', 1)), 'before the tail')
  t.same(placed('e0', 2), gap(at('e0', 2), at('e1', 2)), 'at the end of its epoch')
  t.same(placed('e0', 3), gap(at('e0', 3), at('e1', 2)), 'beyond the end of its epoch: an event was lost')
  t.same(placed('e1', 3), { start: at('e1', 3), gap: undefined })
  t.same(placed('e1', 4), gap(at('e1', 4), at('e2', 4)))
  t.same(placed('e2', 5), { start: at('e2', 5), gap: undefined })
  t.same(placed('e2', 7), gap(at('e2', 7), at('e2', 6)), 'beyond the head')
  t.same(placed('zz', 5), gap(at('zz', 5), at('e0', 1)), 'an epoch that never existed')
})

t.test('only the last epochs are remembered, and the events of the others are gone', async t => {
  const steps = Array.from({ length: REMEMBERED_EPOCHS + 3 }, (): Step[] => [
    ['append', 2],
    ['lose', 0],
  ])
  const world = worldOf(steps.flat())
  t.equal(world.history.ended.length, REMEMBERED_EPOCHS)
  t.same(floorOf(world.history), { epoch: 'e3', offset: 6 })
  const from = { epoch: 'e1', offset: 3 }
  t.same(place(world.history, from).gap, { from, to: { epoch: 'e3', offset: 6 } })
})

t.test('names of epochs have the right form and do not repeat', async t => {
  const names = new Set(Array.from({ length: 20_000 }, randomEpoch))
  t.equal(names.size, 20_000)
  for (const name of names) if (!/^[a-z0-9]{10}$/.test(name)) t.fail(name)
  const used = new Set([...names].join(''))
  t.equal(used.size, 36, 'every character occurs')
})

/** Reads pages back from `before`. Returns their events, oldest first, and the gaps. */
function walkBack({ history, held }: World, before: Position | 'head', limit: number) {
  const events: LogEvent[] = []
  const gaps: Gap[] = []
  for (let at = before; ;) {
    const page = placeBackwards(history, { before: at, after: 'earliest', limit })
    if (page.last - page.begin > limit) throw new Error('too many events')
    const offsets = Array.from({ length: page.last - page.begin }, (_, i) => page.begin + 1 + i)
    events.unshift(...offsets.map(offset => held.get(offset) as LogEvent))
    gaps.unshift(...page.gaps)
    if (!page.more) return { events, gaps }
    at = { epoch: (events[0] as LogEvent).epoch, offset: page.begin + 1 }
  }
}

t.test(
  'backward pages have each readable event once, and a gap wherever events may have been lost',
  async () => {
    fc.assert(
      fc.property(world, fc.integer({ min: 1, max: 7 }), (world, limit) => {
        const { head, floor } = world.history
        const readable = [...world.held.values()].filter(({ offset }) => offset > floor && offset <= head)
        readable.sort((a, b) => a.offset - b.offset)
        const { events, gaps } = walkBack(world, 'head', limit)
        if (events.map(printPosition).join() !== readable.map(printPosition).join()) return false
        const met = [...readable, { ...headOf(world.history), offset: head + 1 }]
        const seams = met.filter((event, i) => i > 0 && event.epoch !== met[i - 1]?.epoch)
        return (
          gaps.length === seams.length &&
          seams.every(
            ({ offset }, i) => gaps[i]?.to.offset === offset - 1 && gaps[i].from.offset === offset - 1,
          )
        )
      }),
      { numRuns: 300 },
    )
  },
)

t.test('pages before a position have the events before it; an unknown position is a gap', async () => {
  fc.assert(
    fc.property(world, fc.integer({ min: 1, max: 7 }), (world, limit) => {
      const { head, floor, epoch, ended } = world.history
      const readable = [...world.held.values()].filter(({ offset }) => offset > floor && offset <= head)
      return world.positions.every(before => {
        const { events, gaps } = walkBack(world, before, limit)
        const at = ended.findIndex(each => each.epoch === before.epoch)
        const end = before.epoch === epoch ? head : (ended[at]?.end ?? -1)
        const known = before.offset <= end + 1
        const wanted =
          end === -1 ? [] : readable.filter(event => event.offset < Math.min(before.offset, end + 1))
        const isTold = gaps.some(({ from }) => printPosition(from) === printPosition(before))
        return events.length === wanted.length && (known || isTold)
      })
    }),
    { numRuns: 300 },
  )
})

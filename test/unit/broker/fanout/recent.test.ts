// `Recent`, the newest events of a channel in memory, behaves like a plain array.

import fc from 'fast-check'
import t from 'tap'
import { Recent } from '../../../../services/broker/fanout/recent.ts'
import type { LogEvent } from '../../../../services/broker/event/event.ts'
import type { Retention } from '../../../../services/broker/log/log.ts'
import { eventOf } from '../../../support/events.ts'

const filled = (epoch: string, offset: number, time: number, bytes: number) =>
  eventOf({ epoch, offset, time }, Buffer.alloc(bytes))

/** The behaviour of `Recent`, implemented with a plain array. */
class Model {
  events: LogEvent[] = []
  epoch = ''
  head = 0

  get floor(): number {
    return this.head - this.events.length
  }

  reset(epoch: string, offset: number): void {
    this.events = []
    this.epoch = epoch
    this.head = offset
  }

  push(events: readonly LogEvent[]): void {
    this.events.push(...events)
    this.head += events.length
  }

  prepend(events: readonly LogEvent[]): void {
    const older = events.filter(event => event.epoch === this.epoch && event.offset <= this.floor)
    if (older.at(-1)?.offset === this.floor) this.events = [...older, ...this.events]
  }

  trim({ events, bytes, age }: Retention, now: number): void {
    const sum = () => this.events.reduce((total, event) => total + event.bytes, 0)
    const over = (oldest: LogEvent) =>
      this.events.length > events || (this.events.length > 1 && sum() > bytes) || oldest.time < now - age
    while (this.events[0] !== undefined && over(this.events[0])) this.events.shift()
  }
}

/** The stored events, as a reader finds them. */
function held(recent: Recent): LogEvent[] {
  return recent.list.slice(recent.indexAfter(recent.floor))
}

type Step = (recent: Recent, model: Model, clock: { now: number }, retention: Retention) => void

const push = fc
  .array(fc.nat(300), { minLength: 1, maxLength: 8 })
  .map<Step>(sizes => (recent, model, clock) => {
    const events = sizes.map((size, i) => filled(model.epoch, model.head + 1 + i, clock.now, size))
    recent.push(events)
    model.push(events)
  })
// A page that starts before the floor: it may end before the stored events, overlap them, or be of another epoch.
const prepend = fc
  .record({ before: fc.nat(6), count: fc.nat(12), foreign: fc.nat(9).map(n => n === 0) })
  .map<Step>(({ before, count, foreign }) => (recent, model, clock) => {
    const first = Math.max(1, model.floor - before)
    const epoch = foreign ? 'zz' : model.epoch
    const events = Array.from({ length: Math.min(count, model.head - first + 1) }, (_, i) =>
      filled(epoch, first + i, clock.now - 5, 20),
    )
    recent.prepend(events)
    model.prepend(events)
  })
const trim = fc.nat(40).map<Step>(passed => (recent, model, clock, retention) => {
  clock.now += passed
  recent.trim(clock.now)
  model.trim(retention, clock.now)
})
const shrink = fc.nat(3000).map<Step>(size => (recent, model) => {
  const before = recent.count
  const costs = model.events.map(event => event.json.length + 275)
  recent.shrink(size)
  let keep = costs.length
  let total = costs.reduce((sum, cost) => sum + cost, 0)
  while (total > size && keep > 0) total -= costs[costs.length - keep--] as number
  model.events = model.events.slice(before - keep)
})
const reset = fc
  .record({ epoch: fc.constantFrom('a', 'b'), offset: fc.nat(50) })
  .map<Step>(({ epoch, offset }) => (recent, model) => {
    recent.reset({ epoch, offset })
    model.reset(epoch, offset)
  })
const steps = fc.array(
  fc.oneof(
    { arbitrary: push, weight: 5 },
    { arbitrary: prepend, weight: 3 },
    { arbitrary: trim, weight: 3 },
    { arbitrary: shrink, weight: 1 },
    { arbitrary: reset, weight: 1 },
  ),
  { maxLength: 60 },
)
const retentions = fc.record({
  events: fc.integer({ min: 1, max: 20 }),
  bytes: fc.integer({ min: 1, max: 2000 }),
  age: fc.integer({ min: 1, max: 100 }),
})

t.test('recent events equal those of an array after any operations', async t => {
  fc.assert(
    fc.property(retentions, steps, (retention, steps) => {
      const recent = new Recent(() => retention)
      const model = new Model()
      const clock = { now: 1000 }
      for (const step of steps) {
        step(recent, model, clock, retention)
        const found = held(recent)
        if (found.length !== model.events.length || found.some((event, i) => event !== model.events[i])) {
          throw new Error(`${found.map(each => each.offset)}, not ${model.events.map(each => each.offset)}`)
        }
        if (
          recent.floor !== model.floor ||
          recent.head !== model.head ||
          recent.count !== model.events.length
        ) {
          throw new Error(`${recent.floor} to ${recent.head}, not ${model.floor} to ${model.head}`)
        }
        const size = model.events.reduce((sum, event) => sum + event.json.length + 275, 0)
        if (recent.size !== size) throw new Error(`${recent.size} bytes, not ${size}`)
        for (const offset of [model.floor - 1, model.floor, model.head, model.head + 1]) {
          const holds = offset >= model.floor && offset <= model.head
          if (recent.holds({ epoch: model.epoch, offset }) !== holds) throw new Error(`holds ${offset}`)
          if (recent.holds({ epoch: 'other', offset })) throw new Error('holds another epoch')
        }
      }
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('dropped events are released, and compaction changes nothing', async t => {
  const recent = new Recent(() => ({ events: 100, age: 1e9, bytes: 1e9 }))
  recent.reset({ epoch: 'a', offset: 0 })
  for (let offset = 1; offset <= 5000; offset++) {
    recent.push([filled('a', offset, 0, 1)])
    recent.trim(0)
    const { first, list } = recent
    if (list.slice(0, first).some(gone => gone.epoch === 'a')) t.fail(`a dropped event is held at ${offset}`)
    if (list[recent.indexAfter(offset - 1)]?.offset !== offset) t.fail(`the newest is not at its index`)
    if (list.length > 1200) t.fail(`${list.length} slots for 100 events`)
  }
  t.equal(recent.count, 100)
  t.equal(recent.floor, 4900)
})

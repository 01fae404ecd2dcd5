// Tests the judge of the fault suite: it must report every kind of fault, and no fault where there is none.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Account, type Given, type Ledger, type Verdict } from './account.ts'
import { fallsToNone } from './load.ts'
import { Spans } from './spans.ts'

const CHANNEL = 'news'
const NOW = 1_790_000_000_000

/** Event `n` as the log returned it. */
function event(id: string, n: number, time = NOW + n): Given {
  return { channel: CHANNEL, id, time, type: 'count', data: { n } }
}

/** Publishes events with these ids, numbered from 1; all are acknowledged. */
function publish(account: Account, ids: readonly string[]): Given[] {
  return ids.map((id, i) => {
    const n = i + 1
    account.sent(CHANNEL, n)
    account.acknowledged({ channel: CHANNEL, n, id, time: NOW + n })
    return event(id, n)
  })
}

/** A message that a reader received: an event, or a gap. */
type Told = Given | { from: string; to: string }

function read(account: Account, told: readonly Told[], begin = 'a1-0', name = 'reader', now = NOW): Ledger {
  const ledger = account.ledger(name, CHANNEL)
  account.stands(ledger, begin, now)
  for (const each of told) {
    if ('id' in each) account.given(ledger, each)
    // The gap is reported long after the epoch's first event.
    else account.told(ledger, { channel: CHANNEL, ...each }, NOW + 1_000_000)
  }
  return ledger
}

const ids = (epoch: string, from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => `${epoch}-${from + i}`)

/** The counts of a verdict that are not 0, except published, acknowledged and delivered events. */
function wrongs(verdict: Verdict): Partial<Record<keyof Verdict, number>> {
  const { repeated, reordered, lost, gapped, gaps, ambiguous, publishedAgain } = verdict
  const all = { repeated, reordered, lost, gapped, gaps, ambiguous, publishedAgain }
  return Object.fromEntries(Object.entries(all).filter(([, count]) => count !== 0))
}

/** Publishes five events, and judges a reader that received the messages that `told` makes of them. */
function of(t: Test, told: (events: Given[]) => Told[], expected: object, faulty = true): void {
  const account = new Account()
  read(account, told(publish(account, ids('a1', 1, 5))))
  const verdict = account.judge()
  t.same(wrongs(verdict), expected)
  t.equal(verdict.faulty > 0, faulty, verdict.faults.join('\n'))
}

t.test('a faithful reader has no faults', t => {
  of(t, events => events, {}, false)
  t.end()
})

t.test('a lost event is reported', t => {
  for (let lost = 0; lost < 5; lost++) of(t, events => events.toSpliced(lost, 1), { lost: 1 })
  of(t, () => [], { lost: 5 })
  t.end()
})

t.test('an event that is known only from the offsets around it is missing as well', t => {
  const account = new Account()
  const events = publish(account, ['a1-1', 'a1-2', 'a1-4'])
  read(account, events, 'a1-0', 'one')
  read(account, events, 'a1-0', 'other')
  t.equal(account.judge().lost, 2)
  t.equal(account.missing(), 2)
  t.end()
})

t.test('slow readers are waited for while they make progress', async t => {
  const began = performance.now()
  // One of five events arrives every 300 ms: each within the time, but not all of them.
  t.ok(await fallsToNone(() => Math.max(0, 5 - Math.floor((performance.now() - began) / 300)), 1000, 5))
  t.notOk(await fallsToNone(() => 1, 20, 5))
})

t.test('a repeated event is reported', t => {
  for (let i = 0; i < 5; i++) {
    of(t, events => events.toSpliced(i, 0, events[i] as Given), { repeated: 1 })
  }
  of(t, events => [...events, ...events.slice(2)], { repeated: 3 })
  t.end()
})

t.test('events out of order are reported', t => {
  of(t, ([a, b, c, d, e]) => [a, c, b, d, e] as Given[], { reordered: 1 })
  of(t, ([a, b, c, d, e]) => [b, c, d, e, a] as Given[], { reordered: 1 })
  t.end()
})

t.test('a gap covers its range and no more', t => {
  const gap = (from: number, to: number) => ({ from: `a1-${from}`, to: `a1-${to}` })
  of(t, ([a, , , d, e]) => [a, gap(1, 3), d, e] as Told[], { gapped: 2, gaps: 1 }, false)
  of(t, ([a, , , , e]) => [a, gap(1, 3), e] as Told[], { gapped: 2, gaps: 1, lost: 1 })
  // Events reported as lost arrive after all.
  of(t, ([a, b, c, d, e]) => [a, gap(1, 3), b, c, d, e] as Told[], { reordered: 2, gaps: 1 })
  t.end()
})

t.test("a gap that does not start at the reader's position, or leads nowhere, is reported", t => {
  const gap = (from: string, to: string) => ({ from, to })
  of(t, ([a, , , d, e]) => [a, gap('a1-2', 'a1-3'), d, e] as Told[], { gapped: 1, gaps: 1, lost: 1 })
  of(t, ([a, b, c, d, e]) => [a, b, c, gap('a1-2', 'a1-3'), d, e] as Told[], { gaps: 1 })
  of(t, events => [...events, gap('a1-5', 'a1-5')], { gaps: 1 })
  of(t, events => [...events, gap('a1-5', 'nonsense')], {})
  t.end()
})

t.test('the boundary of an epoch needs a gap', t => {
  const boundary = (told: (events: Given[]) => Told[]) => {
    const account = new Account()
    read(account, told(publish(account, [...ids('a1', 1, 4), ...ids('b2', 4, 6)])))
    return account.judge()
  }
  // The log lost a1-4, so the epoch b2 begins after a1-3.
  const gap = (from: number) => ({ from: `a1-${from}`, to: 'b2-3' })
  const told = boundary(([a, b, c, , ...rest]) => [a, b, c, gap(3), ...rest] as Told[])
  t.same(wrongs(told), { gapped: 1, gaps: 1 })
  t.equal(told.faulty, 0)
  const seen = boundary(([a, b, c, d, ...rest]) => [a, b, c, d, gap(4), ...rest] as Told[])
  t.same(wrongs(seen), { gaps: 1 })
  t.equal(seen.faulty, 0)
  const silent = boundary(events => events)
  t.match(silent.faults, [/without a gap/])
  const lost = boundary(([a, b, c, , ...rest]) => [a, b, c, ...rest] as Told[])
  t.same(wrongs(lost), { lost: 1 })
  const short = boundary(([a, b, c, , , ...rest]) => [a, b, c, gap(3), ...rest] as Told[])
  t.same(wrongs(short), { gapped: 1, gaps: 1, lost: 1 }, 'the gap does not cover b2-4')
  t.end()
})

t.test('a gap over whole epochs covers the epochs between, not those before or after', t => {
  const account = new Account()
  const events = publish(account, [
    ...ids('a1', 1, 2),
    ...ids('b2', 1, 3),
    ...ids('c3', 1, 2),
    ...ids('d4', 1, 2),
  ])
  const of = (id: string) => events.find(event => event.id === id) as Given
  const over = { from: 'a1-1', to: 'c3-0' }
  read(account, [of('a1-1'), over, of('c3-1'), of('c3-2')])
  t.same(wrongs(account.judge()), { gapped: 4, gaps: 1, lost: 2 }, 'd4 was missed')
  t.end()
})

t.test('a gap into an empty epoch excuses nothing after it', t => {
  const account = new Account()
  const [a, b, c] = publish(account, ['a1-1', 'c3-1', 'c3-2']) as [Given, Given, Given]
  const ledger = read(account, [a])
  account.told(ledger, { channel: CHANNEL, from: 'a1-1', to: 'b2-0' }, NOW + 1)
  t.equal(account.judge().lost, 2)
  account.told(ledger, { channel: CHANNEL, from: 'b2-0', to: 'c3-0' }, NOW + 2)
  account.given(ledger, b)
  account.given(ledger, c)
  t.same(wrongs(account.judge()), { gaps: 2 })
  t.end()
})

t.test('one id with two different events is reported as ambiguous', t => {
  const account = new Account()
  const [a, b] = publish(account, ['a1-1', 'a1-2']) as [Given, Given]
  account.sent(CHANNEL, 3)
  read(account, [a, b], 'a1-0', 'one')
  read(account, [a, event('a1-2', 3)], 'a1-0', 'other')
  t.same(wrongs(account.judge()), { ambiguous: 1 })
  const times = new Account()
  const [first] = publish(times, ['a1-1']) as [Given]
  read(times, [first], 'a1-0', 'one')
  read(times, [{ ...first, time: first.time + 1 }], 'a1-0', 'other')
  t.same(wrongs(times.judge()), { ambiguous: 1 })
  const receipts = new Account()
  publish(receipts, ['a1-1', 'a1-1'])
  t.equal(receipts.judge().ambiguous, 1)
  t.end()
})

t.test('one event under two ids needs a gap between them', t => {
  const again = (told: (one: Given, two: Given) => Told[]) => {
    const account = new Account()
    publish(account, ['a1-1'])
    account.acknowledged({ channel: CHANNEL, n: 1, id: 'a1-2', time: NOW + 9 })
    read(account, told(event('a1-1', 1), event('a1-2', 1, NOW + 9)))
    return account.judge()
  }
  t.same(wrongs(again((one, two) => [one, two])), { repeated: 1, publishedAgain: 1 })
  const behind = again((one, two) => [one, { from: 'a1-1', to: 'b2-1' }, { ...two, id: 'b2-2' }])
  t.match(wrongs(behind), { gaps: 1, publishedAgain: 2 })
  t.equal(behind.repeated, 0)
  t.end()
})

t.test('an event that was never published, and a cursor that moved without a reason, are reported', t => {
  const account = new Account()
  const ledger = read(account, [...publish(account, ['a1-1']), event('a1-2', 2)])
  t.match(account.judge().faults, [/never published/])
  account.stands(ledger, 'a1-1', NOW)
  t.match(account.judge().faults, [/never published/, /was at a1-2/])
  t.end()
})

t.test('a late reader is accountable only for later events', t => {
  const account = new Account()
  const events = publish(account, [...ids('a1', 1, 3), ...ids('b2', 4, 6)])
  read(account, events.slice(4), 'b2-4', 'late', NOW + 5)
  t.same(wrongs(account.judge()), {})
  t.equal(account.judge().faulty, 0)
  t.end()
})

// A log that loses its newest events and starts a new epoch at random: the judge must find every event that is removed
// from, repeated, swapped or changed in the messages of a reader.

interface World {
  readonly events: Given[]
  /** The messages of a reader that misses nothing available. */
  readonly told: Told[]
}

const worlds = fc
  .array(fc.record({ events: fc.integer({ min: 1, max: 6 }), lost: fc.integer({ min: 0, max: 3 }) }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((epochs): World => {
    const events: Given[] = []
    const told: Told[] = []
    let head = 0
    let place = 'a0-0'
    for (const [i, { events: count, lost }] of epochs.entries()) {
      const epoch = `a${i}`
      if (i > 0) told.push({ from: place, to: `${epoch}-${head}` })
      for (const id of ids(epoch, head + 1, head + count)) {
        const next = event(id, events.length + 1)
        events.push(next)
        told.push(next)
        place = id
      }
      // The next epoch begins after the events that were not lost. The reader has received the lost ones too.
      head = Math.max(0, head + count - lost)
    }
    return { events, told }
  })

function judged({ events }: World, told: readonly Told[]): Verdict {
  const account = new Account()
  for (const { channel, id, time, data } of events) {
    account.sent(channel, data.n)
    account.acknowledged({ channel, n: data.n, id, time })
  }
  read(account, told, 'a0-0')
  return account.judge()
}

t.test('a faithful reader is cleared, whatever the log does', async () => {
  fc.assert(
    fc.property(worlds, world => {
      const verdict = judged(world, world.told)
      return verdict.faulty === 0 && verdict.lost === 0 && verdict.delivered === world.events.length
    }),
  )
})

t.test('every removed, repeated, swapped or changed event is found', async () => {
  const change = fc.constantFrom('drop', 'repeat', 'exchange', 'change')
  fc.assert(
    fc.property(worlds, change, fc.nat(), (world, change, random) => {
      const told = [...world.told]
      const at = random % told.length
      const item = told[at] as Told
      if (change === 'drop') told.splice(at, 1)
      else if (change === 'repeat') told.splice(at, 0, item)
      else if (change === 'change' && 'id' in item) {
        told[at] = { ...item, data: { n: (item.data.n % world.events.length) + 1 } }
        if (world.events.length === 1) return true
      } else if (at + 1 < told.length) told.splice(at, 2, told[at + 1] as Told, item)
      else return true
      const { faulty, lost, repeated, reordered, ambiguous } = judged(world, told)
      return faulty > 0 || lost + repeated + reordered + ambiguous > 0
    }),
    { numRuns: 500 },
  )
})

t.test('spans equal sets of numbers', async () => {
  const span = fc.record({ from: fc.nat(40), more: fc.nat(6) })
  fc.assert(
    fc.property(fc.array(span), fc.array(span), span, (a, b, { from, more }) => {
      const fill = (list: { from: number; more: number }[]) => {
        const spans = new Spans()
        const set = new Set<number>()
        for (const { from, more } of list) {
          spans.add(from, from + more)
          for (let n = from; n <= from + more; n++) set.add(n)
        }
        return { spans, set }
      }
      const [one, other] = [fill(a), fill(b)]
      const left = one.spans
        .without(other.spans)
        .flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i))
      const expected = [...one.set].filter(n => !other.set.has(n)).sort((a, b) => a - b)
      let missing = 0
      for (let n = from; n <= from + more; n++) if (!one.set.has(n)) missing++
      return (
        one.spans.size === one.set.size &&
        one.spans.missing(from, from + more) === missing &&
        JSON.stringify(left) === JSON.stringify(expected)
      )
    }),
  )
})

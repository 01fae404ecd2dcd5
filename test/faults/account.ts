// The account of a case: the published events, the events that every reader received, and whether the two agree. It is
// the judge of the fault suite, so it has no side effects and its own tests.
//
// Offsets in an epoch are consecutive, so a reader's history is a short list of stretches and gaps, and an id between
// two received ones is known to exist even if no reader received it.

import {
  type Gap,
  type Position,
  parsePosition,
  printPosition,
  samePosition,
} from '../../services/broker/event/position.ts'
import { Spans } from './spans.ts'

/** An event as received over a wire that does not report its time and type. */
export interface Untimed {
  readonly channel: string
  readonly id: string
  /** `n`: the publisher's number of the event. */
  readonly data: { readonly n: number }
}

/** An event as received over a wire that reports all of it. */
export interface Given extends Untimed {
  /** The log's clock, ms since 1970. */
  readonly time: number
  readonly type?: string
}

/** The response to a publish. */
export interface Acknowledgement {
  readonly channel: string
  readonly n: number
  readonly id: string
  readonly time: number
}

/** One reader's history of one channel, in order: stretches of consecutive events, and gaps. */
type Chapter = Stretch | { readonly gap: Gap }

interface Stretch {
  readonly epoch: string
  readonly from: number
  /** Inclusive. */
  to: number
}

/** Faults that must be 0, and counts that need not be. */
export interface Verdict {
  /** Events that the publisher tried to publish. */
  readonly published: number
  /** Events that were answered 201. */
  readonly acknowledged: number
  /** Additional ids of events that were published again because the log had lost them or their keys. */
  readonly publishedAgain: number
  /** Events delivered to readers, counted once per reader. */
  readonly delivered: number
  /** Events that a reader received twice: by id, or by data without a gap in between. */
  readonly repeated: number
  /** Events that arrived after a later one, or after a gap had reported them as lost. */
  readonly reordered: number
  /** Events that a reader did not receive, and that no gap covered. */
  readonly lost: number
  /** Events that a reader did not receive, but that a gap covered. */
  readonly gapped: number
  /** Gaps reported to readers. */
  readonly gaps: number
  /** Ids under which two different events occurred. */
  readonly ambiguous: number
  /** Descriptions of the first faults, including those counted above. */
  readonly faults: readonly string[]
  /** The total number of faults. */
  readonly faulty: number
}

/** Maximum number of faults that are described; the rest are only counted. */
const WORDS = 12

/** Counts for one reader and channel, or for all. */
type Sum = Record<'delivered' | 'repeated' | 'reordered' | 'lost' | 'gapped' | 'gaps', number>

/** The events and gaps that a reader has received so far, while its history is judged. */
interface Story {
  readonly channel: string
  readonly place: Position
  /** By epoch. */
  readonly had: Map<string, Spans>
  readonly gaps: readonly Gap[]
  readonly sum: Sum
  say(text: string): void
}

/** One reader's account of one channel. */
export class Ledger {
  readonly reader: string
  readonly channel: string
  /** The reader's position before its first event. */
  start: Position | undefined
  /** The reader's current position: its last event or gap, or its start. */
  place: Position | undefined
  readonly chapters: Chapter[] = []

  constructor(reader: string, channel: string) {
    this.reader = reader
    this.channel = channel
  }

  begin(start: Position): void {
    this.start ??= start
    this.place ??= start
  }

  /** The empty channel's first epoch is `epoch`: its readers' provisional positions become offset 0 in it. */
  settle(epoch: string): void {
    if (this.place === undefined || !isProvisional(this.place) || this.chapters.length > 0) return
    this.start = this.place = { epoch, offset: 0 }
  }

  event(position: Position): void {
    const { epoch, offset } = position
    if (offset === 1) this.settle(epoch)
    this.place = position
    const last = this.chapters.at(-1)
    if (last !== undefined && 'epoch' in last && last.epoch === epoch && last.to + 1 === offset)
      last.to = offset
    else this.chapters.push({ epoch, from: offset, to: offset })
  }

  gap(gap: Gap): void {
    this.place = gap.to
    this.chapters.push({ gap })
  }
}

/** Whether Redis returned the position for a channel that had not been stored yet. */
function isProvisional({ epoch, offset }: Position): boolean {
  return offset === 0 && epoch.length === 16
}

/** All ids of a channel that are known to exist. */
interface Known {
  /** By epoch. */
  readonly ids: Map<string, Spans>
  /** When each epoch was first seen, ms since 1970: this is the order of the epochs. */
  readonly since: Map<string, number>
  /** The ids of the publisher's events: one each, unless the log lost some. */
  readonly byData: Map<number, Set<string>>
  /** Events that have several ids. */
  readonly several: Set<number>
}

export class Account {
  readonly #sent = new Map<string, Set<number>>()
  readonly #acknowledged = new Map<string, Set<number>>()
  readonly #known = new Map<string, Known>()
  /** The meaning of each id: the event that a reader received, and the event acknowledged with it. */
  readonly #meanings = new Map<string, { given?: string | undefined; n: number }>()
  readonly #ledgers: Ledger[] = []
  readonly #ambiguous = new Set<string>()
  readonly #faults: string[] = []
  #faulty = 0

  /** The publisher is about to publish its `n`th event of a channel. */
  sent(channel: string, n: number): void {
    setOf(this.#sent, channel).add(n)
  }

  /** A publish was answered 201. */
  acknowledged({ channel, n, id, time }: Acknowledgement): void {
    const position = parsePosition(id)
    if (position === undefined) return this.fault(`${channel}/${n} was acknowledged with the id ${id}`)
    setOf(this.#acknowledged, channel).add(n)
    this.#know(channel, position, time, n)
    const meaning = this.#meaning(channel, id, n)
    if (meaning.n !== n) this.#twoMeanings(channel, id, `was acknowledged as ${meaning.n} and as ${n}`)
  }

  ledger(reader: string, channel: string): Ledger {
    const ledger = new Ledger(reader, channel)
    this.#ledgers.push(ledger)
    return ledger
  }

  /** A reader receives its cursor, at `now`: before its first event, and at each reconnect. */
  stands(ledger: Ledger, text: string, now: number): void {
    const position = parsePosition(text)
    if (position === undefined) {
      return this.fault(`${ledger.reader} received the cursor ${text}`)
    }
    if (position.offset === 0) ledger.settle(position.epoch)
    ledger.begin(position)
    this.#hear(ledger.channel, position.epoch, now)
    const { reader, place } = ledger
    if (place !== undefined && !samePosition(place, position)) {
      this.fault(`${reader} was at ${printPosition(place)} and received the cursor ${text}`)
    }
  }

  /** A reader received a gap, at `now`. */
  told(ledger: Ledger, gap: { channel: string; from: string; to: string }, now: number): void {
    const [from, to] = [parsePosition(gap.from), parsePosition(gap.to)]
    if (gap.channel !== ledger.channel || from === undefined || to === undefined) {
      return this.fault(`${ledger.reader} received the gap ${JSON.stringify(gap)}`)
    }
    ledger.gap({ from, to })
    this.#hear(ledger.channel, to.epoch, now)
  }

  /** A reader received an event. */
  given(ledger: Ledger, event: Untimed & Partial<Given>): void {
    const { channel, id, time, type, data } = event
    const position = parsePosition(id)
    if (position === undefined || channel !== ledger.channel || typeof data?.n !== 'number') {
      return this.fault(`${ledger.reader} was given ${JSON.stringify(event)}`)
    }
    const { place } = ledger
    this.#know(channel, position, time ?? Date.now(), data.n)
    // Offsets are consecutive: events in between exist, even if no reader received them.
    if (place?.epoch === position.epoch && place.offset + 1 < position.offset) {
      spansOf(this.#of(channel).ids, place.epoch).add(place.offset + 1, position.offset)
    }
    ledger.event(position)
    if (!setOf(this.#sent, channel).has(data.n))
      this.fault(`${ledger.reader} was given ${id}, never published`)
    const meaning = this.#meaning(channel, id, data.n)
    const text = time === undefined ? meaning.given : JSON.stringify([time, type, data])
    meaning.given ??= text
    if (meaning.n !== data.n || meaning.given !== text) {
      this.#twoMeanings(channel, id, `is ${text}, but was ${meaning.given} (${meaning.n})`)
    }
  }

  /** Records a failure. */
  fault(text: string): void {
    this.#faulty++
    if (this.#faults.length < WORDS) this.#faults.push(text)
  }

  /** Number of events that a reader has not received and no gap reported, and of readers without a cursor. */
  missing(): number {
    return this.#ledgers.reduce((sum, ledger) => {
      return sum + (ledger.start === undefined ? 1 : this.#judge(ledger, () => {}).lost)
    }, 0)
  }

  judge(): Verdict {
    const words = [...this.#faults]
    let faulty = this.#faulty
    const fault = (text: string) => {
      faulty++
      if (words.length < WORDS) words.push(text)
    }
    const sum = { delivered: 0, repeated: 0, reordered: 0, lost: 0, gapped: 0, gaps: 0 }
    for (const ledger of this.#ledgers) {
      const own = this.#judge(ledger, fault)
      for (const figure of Object.keys(sum) as (keyof Sum)[]) sum[figure] += own[figure]
    }
    let publishedAgain = 0
    for (const { byData } of this.#known.values())
      for (const ids of byData.values()) publishedAgain += ids.size - 1
    return {
      published: total(this.#sent),
      acknowledged: total(this.#acknowledged),
      publishedAgain,
      ...sum,
      ambiguous: this.#ambiguous.size,
      faults: words,
      faulty,
    }
  }

  #judge(ledger: Ledger, fault: (text: string) => void): Sum {
    const sum = { delivered: 0, repeated: 0, reordered: 0, lost: 0, gapped: 0, gaps: 0 }
    const { reader, channel, start } = ledger
    const say = (text: string) => fault(`${reader} on ${channel} ${text}`)
    if (start === undefined) {
      say('never received a cursor')
      return sum
    }
    const had = new Map<string, Spans>()
    const gaps: Gap[] = []
    let place = start
    for (const chapter of ledger.chapters) {
      if ('gap' in chapter) {
        judgeGap(chapter.gap, place, say)
        gaps.push(chapter.gap)
        place = chapter.gap.to
      } else {
        place = this.#judgeEvents(chapter, { channel, place, had, gaps, sum, say })
      }
    }
    sum.gaps = gaps.length
    this.#judgeData(ledger, sum, say)
    this.#judgeMissing(channel, { start, had, gaps, sum, say })
    return sum
  }

  /** A stretch of consecutive events. Returns the reader's position after it. */
  #judgeEvents({ epoch, from, to }: Stretch, { channel, place, had, gaps, sum, say }: Story): Position {
    const late = epoch === place.epoch ? Math.min(to, place.offset) : from - 1
    const spans = spansOf(had, epoch)
    const again = to - from + 1 - spans.missing(from, to)
    const behind = spans.missing(from, late)
    const told = covered(gaps, this.#of(channel).since, epoch, Math.max(from, late + 1), to)
    spans.add(from, to)
    sum.delivered += to - from + 1
    sum.repeated += again
    sum.reordered += behind + told
    const given = `was given ${epoch}-${from}…${to} at ${printPosition(place)}`
    if (again > 0) say(`${given}, ${again} of them again`)
    if (behind > 0) say(`${given}, ${behind} of them late`)
    if (told > 0) say(`${given}, ${told} of which had been reported as lost`)
    if (epoch !== place.epoch) say(`${given}, without a gap`)
    return { epoch, offset: epoch === place.epoch ? Math.max(to, place.offset) : to }
  }

  /** Events that a reader received under two ids without a gap in between. This is always a fault. */
  #judgeData({ channel, chapters }: Ledger, sum: Sum, say: (text: string) => void): void {
    const { several, byData } = this.#of(channel)
    for (const n of several) {
      const ids = [...(byData.get(n) ?? [])]
      const at = ids.flatMap(id => indexOf(chapters, id)).sort((a, b) => a - b)
      for (let i = 1; i < at.length; i++) {
        if (chapters.slice(at[i - 1], at[i]).some(chapter => 'gap' in chapter)) continue
        sum.repeated++
        say(`was given event ${n} as ${ids.join(' and ')}, without a gap between`)
      }
    }
  }

  /** Judges the events that are known to exist but were not delivered. */
  #judgeMissing(
    channel: string,
    { start, had, gaps, sum, say }: Omit<Story, 'channel' | 'place'> & { start: Position },
  ): void {
    const known = this.#of(channel)
    for (const [epoch, ids] of known.ids) {
      const begins = this.#begins(known, start, epoch)
      for (const { from, to } of ids.without(spansOf(had, epoch))) {
        const first = Math.max(from, begins + 1)
        const count = Math.max(0, to - first + 1)
        const told = covered(gaps, known.since, epoch, first, to)
        sum.gapped += told
        sum.lost += count - told
        if (told < count) say(`missed ${epoch}-${first}…${to}, ${told} of which were reported as a gap`)
      }
    }
  }

  /** The last offset of an epoch that a reader from `start` need not receive. Infinity: it need not receive any. */
  #begins(known: Known, start: Position, epoch: string): number {
    if (epoch === start.epoch) return start.offset
    const own = known.since.get(start.epoch)
    const since = known.since.get(epoch)
    return own !== undefined && since !== undefined && since > own ? 0 : Number.POSITIVE_INFINITY
  }

  #know(channel: string, { epoch, offset }: Position, time: number, n: number): void {
    const known = this.#of(channel)
    spansOf(known.ids, epoch).add(offset, offset)
    this.#hear(channel, epoch, time)
    let ids = known.byData.get(n)
    if (ids === undefined) known.byData.set(n, (ids = new Set()))
    ids.add(`${epoch}-${offset}`)
    if (ids.size > 1) known.several.add(n)
  }

  #hear(channel: string, epoch: string, time: number): void {
    const { since } = this.#of(channel)
    since.set(epoch, Math.min(since.get(epoch) ?? time, time))
  }

  #of(channel: string): Known {
    let known = this.#known.get(channel)
    if (known === undefined) {
      known = { ids: new Map(), since: new Map(), byData: new Map(), several: new Set() }
      this.#known.set(channel, known)
    }
    return known
  }

  #meaning(channel: string, id: string, n: number): { given?: string | undefined; n: number } {
    const key = `${channel} ${id}`
    let meaning = this.#meanings.get(key)
    if (meaning === undefined) this.#meanings.set(key, (meaning = { n }))
    return meaning
  }

  #twoMeanings(channel: string, id: string, text: string): void {
    this.#ambiguous.add(`${channel} ${id}`)
    this.fault(`${channel} ${id} ${text}`)
  }
}

function judgeGap({ from, to }: Gap, place: Position, say: (text: string) => void): void {
  const told = `received a gap from ${printPosition(from)} to ${printPosition(to)}`
  if (!samePosition(from, place)) say(`${told}, but was at ${printPosition(place)}`)
  // Only a cursor beyond the end of its epoch may move back, and no reader ever had one.
  if (from.epoch === to.epoch && to.offset <= from.offset) say(`${told}, which leads nowhere`)
}

/**
 * The number of offsets from `first` to `last` of an epoch that the gaps cover. A gap covers the ids after `from` in
 * the epoch of `from`, the ids up to `to` in the epoch of `to`, and all ids of the epochs between the two.
 */
function covered(
  gaps: readonly Gap[],
  since: ReadonlyMap<string, number>,
  epoch: string,
  first: number,
  last: number,
): number {
  const spans = new Spans()
  for (const { from, to } of gaps) {
    const low = epoch === from.epoch ? from.offset + 1 : first
    const high = epoch === to.epoch ? to.offset : last
    const inside = epoch === from.epoch || epoch === to.epoch || between(since, from.epoch, epoch, to.epoch)
    if (inside && Math.max(low, first) <= Math.min(high, last)) {
      spans.add(Math.max(low, first), Math.min(high, last))
    }
  }
  return spans.size
}

function between(since: ReadonlyMap<string, number>, a: string, epoch: string, b: string): boolean {
  const [before, own, behind] = [since.get(a), since.get(epoch), since.get(b)]
  if (before === undefined || own === undefined || behind === undefined) return false
  return before < own && own < behind
}

/** The index of the chapter that has an id; empty if none has it. */
function indexOf(chapters: readonly Chapter[], id: string): number[] {
  const { epoch, offset } = parsePosition(id) as Position
  const index = chapters.findIndex(
    chapter =>
      'epoch' in chapter && chapter.epoch === epoch && chapter.from <= offset && offset <= chapter.to,
  )
  return index === -1 ? [] : [index]
}

function spansOf(map: Map<string, Spans>, epoch: string): Spans {
  let spans = map.get(epoch)
  if (spans === undefined) map.set(epoch, (spans = new Spans()))
  return spans
}

function setOf(map: Map<string, Set<number>>, channel: string): Set<number> {
  let set = map.get(channel)
  if (set === undefined) map.set(channel, (set = new Set()))
  return set
}

function total(map: ReadonlyMap<string, ReadonlySet<number>>): number {
  return [...map.values()].reduce((sum, { size }) => sum + size, 0)
}

// The embedded in-memory engine, for one process. Nothing survives the process.

import type { Draft, LogEvent } from '../event/event.ts'
import { encodeEvent, erasedOf, headOfDraft, transientOf } from '../event/event.ts'
import type { EndedEpoch, History } from './history.ts'
import {
  clearedHistory,
  headOf,
  pageOf,
  place,
  placeSince,
  randomEpoch,
  refusalOf,
  stateOf,
} from './history.ts'
import type {
  ChannelLog,
  ChannelState,
  Feed,
  Follower,
  Page,
  PageLimit,
  Receipt,
  RetentionOf,
} from './log.ts'
import { ChannelEnded, LogUnavailable } from './log.ts'
import { ownCopy } from '../event/names.ts'
import { isSince, type Position, type Start } from '../event/position.ts'

/** The maximum number of empty channels that nobody follows. Beyond it, the least recently used ones are dropped. */
const MAX_IDLE = 10_000

const PROBE = 'fanwire:probe'

export interface MemoryLogOptions {
  readonly retentionOf: RetentionOf
  /** How long an idempotency key is remembered, ms. */
  readonly idempotencyWindow: number
  /** The clock, ms since 1970; for tests. */
  readonly now?: () => number
}

interface Channel {
  readonly name: string
  epoch: string
  /** Ended epochs, oldest first: an epoch ends when the channel is cleared. */
  ended: readonly EndedEpoch[]
  /** Whether the channel has ended. */
  over: boolean
  /** Offset of the newest event, readable or not. */
  head: number
  /** Time of the newest event; 0 before the first. */
  time: number
  /** The readable events begin at `first`; the slots before it are empty. */
  events: (LogEvent | undefined)[]
  first: number
  /** Bytes of data of the readable events. */
  bytes: number
  /** First results by idempotency key, oldest first. */
  readonly keys: Map<string, Receipt>
  follower: Follower | undefined
  /** The set in `#holding` that has this channel. */
  held: Set<Channel> | undefined
}

export class MemoryLog implements ChannelLog {
  readonly engine = 'memory'
  /** How many reads were answered; for metrics. */
  reads = 0

  readonly #retentionOf: RetentionOf
  readonly #window: number
  readonly #now: () => number
  readonly #channels = new Map<string, Channel>()
  /** Channels that may hold an event or a key: by how long they hold it, ms, then in the order of their last appends. */
  readonly #holding = new Map<number, Set<Channel>>()
  /** Channels that hold nothing and have no feed, the least recently used first. */
  readonly #idle = new Set<Channel>()
  #closed = false

  constructor(options: MemoryLogOptions) {
    this.#retentionOf = options.retentionOf
    this.#window = options.idempotencyWindow
    this.#now = options.now ?? Date.now
  }

  async open(): Promise<void> {}

  async append(name: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    this.#check()
    return drafts.length === 0 ? [] : this.#append(this.#channel(name), drafts)
  }

  async read(name: string, after: Start, limit: PageLimit): Promise<Page> {
    this.#check()
    this.reads++
    const channel = this.#readable(name)
    const history = historyOf(channel)
    const placed = place(
      history,
      isSince(after) ? placeSince(history, after, timesOf(channel, history)) : after,
    )
    return pageOf(history, placed, stretch(channel, history, placed.start.offset, limit))
  }

  async state(name: string): Promise<ChannelState> {
    this.#check()
    return stateOf(historyOf(this.#readable(name)))
  }

  async relay(name: string, drafts: readonly Draft[]): Promise<number> {
    this.#check()
    const time = this.#now()
    const channel = this.#channels.get(name)
    if (channel?.over) throw new ChannelEnded(headOf(historyOf(channel)))
    const follower = channel?.follower
    if (drafts.length > 0) follower?.transient(drafts.map(draft => transientOf(name, time, draft)))
    return time
  }

  async erase(name: string, { epoch, offset }: Position): Promise<boolean> {
    this.#check()
    const channel = this.#readable(name)
    // All readable events are in the current epoch: an epoch ends when the channel is cleared.
    const at = channel.events.length - 1 - (channel.head - offset)
    const event = epoch === channel.epoch ? channel.events[at] : undefined
    if (event === undefined) return false
    if (event.kind !== undefined) return true
    const erased = erasedOf(event)
    channel.events[at] = erased
    channel.bytes += erased.bytes - event.bytes
    channel.follower?.forget()
    return true
  }

  async clear(name: string): Promise<Position> {
    this.#check()
    const channel = this.#readable(name)
    const from = headOf(historyOf(channel))
    if (from.offset === 0) return from
    const { epoch, ended } = clearedHistory(historyOf(channel), randomEpoch())
    Object.assign(channel, { epoch, ended, over: false, events: [], first: 0, bytes: 0 })
    const to = { epoch, offset: channel.head }
    channel.follower?.gap({ from, to }, false)
    return to
  }

  async follow(name: string, follower: Follower): Promise<Feed> {
    this.#check()
    return this.#follow(this.#readable(name), follower)
  }

  async probe(): Promise<void> {
    this.#check()
    const channel = this.#channel(PROBE)
    let came = 0
    const feed = this.#follow(channel, {
      start() {},
      begun() {},
      gap() {},
      forget() {},
      transient() {},
      events: events => {
        came += events.length
      },
    })
    this.#append(channel, [{ data: Buffer.from('1') }])
    feed.close()
    this.#forget(channel)
    if (came !== 1) throw new LogUnavailable('the probe event did not return')
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#channels.clear()
    this.#holding.clear()
    this.#idle.clear()
  }

  #check(): void {
    if (this.#closed) throw new LogUnavailable('the log is closed')
  }

  /** Returns the channel with that name. Begins its epoch if necessary. */
  #channel(name: string): Channel {
    const known = this.#channels.get(name)
    if (known !== undefined) return known
    const epoch = randomEpoch()
    const channel: Channel = {
      name: ownCopy(name),
      epoch,
      ended: [],
      over: false,
      head: 0,
      time: 0,
      events: [],
      first: 0,
      bytes: 0,
      keys: new Map(),
      follower: undefined,
      held: undefined,
    }
    this.#channels.set(channel.name, channel)
    return channel
  }

  /** Like `#channel`, trimmed to its readable events. */
  #readable(name: string): Channel {
    const channel = this.#channel(name)
    const now = this.#now()
    this.#trim(channel, now)
    if (channel.held === undefined) this.#touchIdle(channel)
    this.#sweep(now)
    return channel
  }

  #append(channel: Channel, drafts: readonly Draft[]): Receipt[] {
    const now = this.#now()
    const time = Math.max(now, channel.time)
    // Even if the append is refused, a channel that holds nothing is among the idle ones.
    if (channel.held === undefined) this.#touchIdle(channel)
    this.#sweep(now)
    this.#expireKeys(channel, now)
    const added: LogEvent[] = []
    const receipts: Receipt[] = []
    this.#checkState(channel, drafts)
    for (const draft of drafts) {
      const { idempotencyKey: key } = draft
      const first = key === undefined ? undefined : channel.keys.get(key)
      if (first !== undefined) {
        receipts.push({ ...first, replayed: true })
        continue
      }
      const event = this.#hold(channel, time, draft)
      added.push(event)
      const position = { epoch: event.epoch, offset: event.offset }
      const receipt = { position, time, replayed: false }
      if (key !== undefined) channel.keys.set(key, receipt)
      receipts.push(receipt)
    }
    if (added.length > 0) {
      this.#idle.delete(channel)
      this.#keep(channel)
      this.#trim(channel, now)
      channel.follower?.events(added)
    }
    return receipts
  }

  /** Raises HeadMoved or ChannelEnded if one of the drafts is new: see ChannelLog.append. */
  #checkState(channel: Channel, drafts: readonly Draft[]): void {
    if (!channel.over && drafts[0]?.ifHead === undefined) return
    const isNew = ({ idempotencyKey: key }: Draft) => key === undefined || !channel.keys.has(key)
    const refusal = refusalOf(historyOf(channel), drafts, isNew)
    if (refusal !== undefined) throw refusal
  }

  #hold(channel: Channel, time: number, draft: Draft): LogEvent {
    const offset = channel.head + 1
    const event = encodeEvent(
      headOfDraft(channel.name, { epoch: channel.epoch, offset }, time, draft),
      draft.data,
    )
    if (draft.end) channel.over = true
    channel.events.push(event)
    channel.head = offset
    channel.time = time
    channel.bytes += event.bytes
    return event
  }

  /** Drops events at the tail that are no longer retained. */
  #trim(channel: Channel, now: number): void {
    const { events: maxEvents, bytes: maxBytes, age } = this.#retentionOf(channel.name)
    const { events } = channel
    const oldest = now - age
    let { first } = channel
    for (; first < events.length; first++) {
      const event = events[first]
      if (event === undefined) continue
      const count = events.length - first
      const tooMany = count > maxEvents || (channel.bytes > maxBytes && count > 1)
      if (!tooMany && event.time >= oldest) break
      channel.bytes -= event.bytes
      events[first] = undefined
    }
    channel.first = first
    // Moves the remaining events only when at least as many are dropped, so that an append costs constant time on average.
    if (first === events.length || (first >= 64 && first * 2 >= events.length)) {
      channel.events = events.slice(first)
      channel.first = 0
    }
  }

  #expireKeys(channel: Channel, now: number): void {
    for (const [key, receipt] of channel.keys) {
      if (receipt.time + this.#window >= now) break
      channel.keys.delete(key)
    }
  }

  /** Drops expired events and keys in channels that nobody uses. */
  #sweep(now: number): void {
    for (const [kept, channels] of this.#holding) {
      for (const channel of channels) {
        if (channel.time + kept >= now) break
        this.#trim(channel, now)
        this.#expireKeys(channel, now)
        this.#letGo(channel)
        // The retention has grown since the last append.
        if (channel.first < channel.events.length) this.#keep(channel)
        else this.#touchIdle(channel)
      }
    }
    for (const channel of this.#idle) {
      if (this.#idle.size <= MAX_IDLE) break
      this.#forget(channel)
    }
  }

  /** Notes that the channel holds something, for as long as its current retention. */
  #keep(channel: Channel): void {
    const kept = Math.max(this.#retentionOf(channel.name).age, this.#window)
    this.#letGo(channel)
    let channels = this.#holding.get(kept)
    if (channels === undefined) {
      channels = new Set()
      this.#holding.set(kept, channels)
    }
    channel.held = channels.add(channel)
  }

  #letGo(channel: Channel): void {
    channel.held?.delete(channel)
    channel.held = undefined
  }

  #touchIdle(channel: Channel): void {
    this.#idle.delete(channel)
    if (channel.follower === undefined) this.#idle.add(channel)
  }

  #forget(channel: Channel): void {
    this.#channels.delete(channel.name)
    this.#letGo(channel)
    this.#idle.delete(channel)
  }

  #follow(channel: Channel, follower: Follower): Feed {
    if (channel.follower !== undefined) throw new Error(`channel ${channel.name} has a feed already`)
    channel.follower = follower
    this.#idle.delete(channel)
    follower.start(headOf(historyOf(channel)), channel.over)
    return {
      close: () => {
        if (channel.follower !== follower) return
        channel.follower = undefined
        if (this.#closed || channel.held !== undefined) return
        this.#touchIdle(channel)
        this.#sweep(this.#now())
      },
    }
  }
}

function historyOf(channel: Channel): History {
  const { epoch, ended, over, head, events, first } = channel
  return { epoch, ended, head, floor: head - (events.length - first), over }
}

function timesOf(channel: Channel, { floor }: History): (offset: number) => number {
  return offset => channel.events[channel.first + offset - floor - 1]?.time ?? 0
}

/** The events after `offset`, which is not below the floor, as many as the limit allows. */
function stretch(channel: Channel, history: History, offset: number, limit: PageLimit): LogEvent[] {
  const events: LogEvent[] = []
  let bytes = 0
  for (let at = channel.first + offset - history.floor; at < channel.events.length; at++) {
    const event = channel.events[at]
    if (event === undefined || events.length >= Math.max(1, limit.events)) break
    bytes += event.bytes
    if (bytes > limit.bytes && events.length > 0) break
    events.push(event)
  }
  return events
}

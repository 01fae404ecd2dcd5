// A channel log that a test controls: it delays its feed, fails or delays reads, loses events and begins epochs. Also a
// client of the hub that needs no socket.

import { Writable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { Connection, type Outlet } from '../../../../services/broker/fanout/connection.ts'
import type { CloseReason, Framing } from '../../../../services/broker/fanout/framing.ts'
import { Hub, type HubOptions } from '../../../../services/broker/fanout/hub.ts'
import type { Selection } from '../../../../services/broker/fanout/selection.ts'
import {
  type Draft,
  encodeEvent,
  erasedOf,
  type LogEvent,
  transientOf,
} from '../../../../services/broker/event/event.ts'
import {
  beginEpoch,
  clearedHistory,
  floorOf,
  type History,
  headOf,
  pageOf,
  place,
  placeSince,
} from '../../../../services/broker/log/history.ts'
import type {
  ChannelLog,
  Feed,
  Follower,
  Page,
  PageLimit,
  Receipt,
} from '../../../../services/broker/log/log.ts'
import { LogUnavailable } from '../../../../services/broker/log/log.ts'
import { isSince, type Position, printStart, type Start } from '../../../../services/broker/event/position.ts'
import { ndjsonFraming } from '../../../../services/wires/ndjson.ts'
import { until } from '../../../support/until.ts'

interface Kept {
  history: History
  events: LogEvent[]
  follower: Follower | undefined
  /** Messages of the feed that have not been delivered yet. */
  pending: ((follower: Follower) => void)[]
}

export class ScriptedLog implements ChannelLog {
  readonly engine = 'scripted'
  /** Every requested read: channel and start. */
  readonly reads: string[] = []
  /** Whether feeds are silent until `release`. */
  held = false
  /** Runs before a read takes its result from the log. */
  beforeRead: () => Promise<void> = async () => {}
  /** Runs after a read has taken its result, before it returns. */
  afterRead: () => Promise<void> = async () => {}
  readonly #channels = new Map<string, Kept>()

  async append(channel: string, drafts: readonly Draft[]): Promise<Receipt[]> {
    return this.add(channel, drafts).map(event => ({
      position: { epoch: event.epoch, offset: event.offset },
      time: event.time,
      replayed: false,
    }))
  }

  add(name: string, drafts: readonly Partial<Draft>[]): LogEvent[] {
    const channel = this.#channel(name)
    const events = drafts.map(draft => this.#hold(name, channel, draft))
    this.#notify(channel, follower => follower.events(events))
    return events
  }

  #hold(
    name: string,
    channel: Kept,
    { data = Buffer.from('1'), type, tags, priority, end }: Partial<Draft>,
  ): LogEvent {
    const { epoch } = channel.history
    const offset = channel.history.head + 1
    const time = Date.now()
    const head = {
      channel: name,
      epoch,
      offset,
      time,
      type,
      tags,
      encoding: undefined,
      low: priority === 'low',
    }
    const event = encodeEvent({ ...head, kind: end && 'end' }, data)
    channel.events.push(event)
    channel.history = { ...channel.history, head: offset, over: end === true }
    return event
  }

  /** Loses the newest events, and begins an epoch. */
  lose(name: string, count: number, epoch: string): void {
    const channel = this.#channel(name)
    const from = headOf(channel.history)
    channel.events.splice(channel.events.length - count, count)
    channel.history = beginEpoch({ ...channel.history, head: channel.history.head - count }, epoch)
    const to = headOf(channel.history)
    this.#notify(channel, follower => follower.gap({ from, to }))
  }

  /** Drops all but the newest `left` events without notifying the feed. */
  trim(name: string, left: number): void {
    const channel = this.#channel(name)
    const { head, floor } = channel.history
    channel.history = { ...channel.history, floor: Math.max(floor, head - left) }
    channel.events = left === 0 ? [] : channel.events.slice(-left)
  }

  /** Delivers the held messages of the feeds. */
  release(): void {
    this.held = false
    for (const { pending, follower } of this.#channels.values()) {
      for (const say of pending.splice(0)) if (follower !== undefined) say(follower)
    }
  }

  head(name: string): Position {
    return headOf(this.#channel(name).history)
  }

  async read(name: string, after: Start, limit: PageLimit): Promise<Page> {
    this.reads.push(`${name} ${printStart(after)}`)
    await this.beforeRead()
    const { history, events } = this.#channel(name)
    const { offset: floor } = floorOf(history)
    const timeOf = (offset: number) => events[offset - floor - 1]?.time ?? 0
    const placed = place(history, isSince(after) ? placeSince(history, after, timeOf) : after)
    const from = placed.start.offset - floor
    const page: LogEvent[] = []
    let bytes = 0
    for (const event of events.slice(from)) {
      bytes += event.bytes
      if (page.length === limit.events || (bytes > limit.bytes && page.length > 0)) break
      page.push(event)
    }
    const answer = pageOf(history, placed, page)
    await this.afterRead()
    return answer
  }

  async relay(name: string, drafts: readonly Draft[]): Promise<number> {
    const time = Date.now()
    const events = drafts.map(draft => transientOf(name, time, draft))
    this.#notify(this.#channel(name), follower => follower.transient(events))
    return time
  }

  async erase(name: string, { epoch, offset }: Position): Promise<boolean> {
    const channel = this.#channel(name)
    const at = channel.events.findIndex(event => event.epoch === epoch && event.offset === offset)
    const event = channel.events[at]
    if (event === undefined) return false
    channel.events[at] = erasedOf(event)
    this.#notify(channel, follower => follower.forget())
    return true
  }

  async clear(name: string): Promise<Position> {
    const channel = this.#channel(name)
    const from = headOf(channel.history)
    channel.events = []
    channel.history = clearedHistory(channel.history, `${from.epoch.slice(0, 12)}x`)
    const to = headOf(channel.history)
    this.#notify(channel, follower => follower.gap({ from, to }))
    return to
  }

  async state(name: string) {
    const { history, events } = this.#channel(name)
    return { head: headOf(history), tail: events[0], count: events.length, epochs: history.ended }
  }

  async follow(name: string, follower: Follower): Promise<Feed> {
    const channel = this.#channel(name)
    if (channel.follower !== undefined) throw new Error(`${name} has a feed already`)
    channel.follower = follower
    channel.pending = []
    follower.start(headOf(channel.history), channel.history.over)
    return {
      close() {
        channel.follower = undefined
      },
    }
  }

  async probe(): Promise<void> {}
  async open(): Promise<void> {}
  async close(): Promise<void> {}

  #notify(channel: Kept, say: (follower: Follower) => void): void {
    if (channel.follower === undefined) return
    if (this.held) channel.pending.push(say)
    else say(channel.follower)
  }

  #channel(name: string): Kept {
    let channel = this.#channels.get(name)
    if (channel === undefined) {
      const history = { epoch: 'e1', ended: [], head: 0, floor: 0 }
      channel = { history, events: [], follower: undefined, pending: [] }
      this.#channels.set(name, channel)
    }
    return channel
  }
}

export const OPTIONS: HubOptions = {
  retentionOf: () => ({ events: 10_000, age: 3_600_000, bytes: 64 * 1024 * 1024 }),
  low: { events: 64, bytes: 64 * 1024, age: 1000 },
  memory: 64 * 1024 * 1024,
  maxFollowed: 1000,
  linger: 10_000,
  heartbeat: 10_000,
  stall: 10_000,
}

/** A call that fails because the log is unavailable. */
export async function away(): Promise<never> {
  throw new LogUnavailable('away')
}

/** A barrier: calls of `pass` wait until it is opened. */
export class Gate {
  readonly #opened: Promise<void>
  #open = (): void => {}
  waiting = 0

  constructor() {
    this.#opened = new Promise(resolve => {
      this.#open = resolve
    })
  }

  readonly pass = async (): Promise<void> => {
    this.waiting++
    await this.#opened
  }

  open(): void {
    this.#open()
  }
}

export const streamFraming = ndjsonFraming('stream')

/** A client of the stream wire whose socket is a Writable. Records its received messages as lines. */
export class Listener {
  readonly lines: string[] = []
  readonly writes: Buffer[] = []
  readonly connection: Connection
  readonly closes: CloseReason[] = []
  /** Offset at which it started. */
  began = 0
  /** Whether the socket accepts nothing until `read`. */
  #full = false
  #waiting: (() => void) | undefined
  readonly sink: Writable

  constructor(hub: Hub, framing: Framing = streamFraming.plain) {
    this.sink = new Writable({
      write: (chunk, _encoding, done) => {
        if (this.#full) this.#waiting = () => this.#take(chunk, done)
        else this.#take(chunk, done)
      },
    })
    const { sink, closes } = this
    const outlet: Outlet = {
      sink,
      get open() {
        return sink.writable
      },
      get queued() {
        return sink.writableLength
      },
      end(reason) {
        closes.push(reason)
        sink.end()
      },
      cut() {
        sink.destroy()
      },
    }
    this.connection = new Connection(hub.connections, framing, outlet)
    sink.once('close', () => this.connection.closed())
  }

  #take(chunk: Buffer, done: () => void): void {
    if (chunk.length > 0) this.writes.push(chunk)
    this.lines.push(
      ...chunk
        .toString()
        .split('\n')
        .filter(line => line !== ''),
    )
    done()
  }

  /** Stops reading. */
  stop(): void {
    this.#full = true
  }

  /** Continues to read. */
  read(): void {
    this.#full = false
    const waiting = this.#waiting
    this.#waiting = undefined
    waiting?.()
  }

  /** Ids of the received events, and `gap <from> <to>`. */
  get received(): string[] {
    return this.lines.map(line => {
      const object = JSON.parse(line)
      return object.gap === undefined ? object.id : `gap ${object.gap.from} ${object.gap.to}`
    })
  }

  cut(): void {
    this.sink.destroy()
  }
}

/** Opens the channel and joins the listener to it. */
export async function listen(
  hub: Hub,
  name: string,
  at: Position,
  listener = new Listener(hub),
  selection?: Selection,
): Promise<Listener> {
  const channel = await hub.open(name)
  try {
    listener.connection.join(channel, at, selection)
  } finally {
    channel.release()
  }
  listener.began = at.offset
  return listener
}

/** Waits for some turns of the event loop, in which pending work is done. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn()
}

/** A listener of channel `a` at `at` whose log read is delayed, before or after its result, until the gate opens. */
export async function listenHeldUp(
  log: ScriptedLog,
  hub: Hub,
  at: Position,
  stage: 'beforeRead' | 'afterRead',
): Promise<{ listener: Listener; gate: Gate }> {
  const gate = new Gate()
  log[stage] = gate.pass
  const listener = await listen(hub, 'a', at)
  await until('the read is under way', () => gate.waiting === 1)
  return { listener, gate }
}

/** The ids of an epoch's events. */
export function ids(epoch: string, from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => `${epoch}-${from + i}`)
}

export function drafts(count: number, draft: Partial<Draft> = {}): Partial<Draft>[] {
  return new Array<Partial<Draft>>(count).fill(draft)
}

/** A hub that is closed with the test. */
export function hubOf(
  log: ChannelLog,
  options: Partial<HubOptions>,
  teardown: (close: () => void) => void,
): Hub {
  const hub = new Hub(log, { ...OPTIONS, ...options })
  hub.start()
  teardown(() => hub.close())
  return hub
}

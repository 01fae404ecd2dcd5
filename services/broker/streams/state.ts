// The state of a stream besides its events. It is folded from the records of its channel, so all nodes agree on it.

import { dataOf, type Draft, type LogEvent } from '../event/event.ts'
import type { Position, Start } from '../event/position.ts'
import type { Page, Retention } from '../log/log.ts'
import { dropOldest } from '../event/newest.ts'

/** The type of the event that holds a stream's configuration. Clients can't publish it. */
export const RECORD = 'fanwire:stream'
/** The tag with `<epoch>:<seq>:<id>` of the append's producer. */
export const PRODUCER_TAG = 'stream.producer'
/** The tag with the `Stream-Seq` of an append. */
export const SEQ_TAG = 'stream.seq'

/** A record is repeated at this many events, or at a tenth of the retention, which drops the oldest events. */
const RECORD_EVERY = 1000
const REPEATS = 10

/** How many producers of a stream are remembered, the most recent ones. */
const MAX_PRODUCERS = 1000

export interface StreamConfig {
  readonly contentType: string
  /** How long the stream lives without reads and writes, seconds. */
  readonly ttl?: number | undefined
  /** When the stream expires, RFC 3339. */
  readonly expiresAt?: string | undefined
}

/** An idempotent producer's identification of an append. */
export interface Produced {
  readonly id: string
  readonly epoch: number
  readonly seq: number
}

interface RecordData extends StreamConfig {
  readonly seq?: string | undefined
  readonly producers?: readonly (readonly [id: string, epoch: number, seq: number])[]
}

/** The configuration of channels that were published to, but not created as streams. */
const JSON_STREAM: StreamConfig = { contentType: 'application/json' }

export class StreamState {
  /** The position up to which the channel was read. */
  at: Position
  config: StreamConfig = JSON_STREAM
  /** Whether the stream was created, or published to. */
  exists = false
  ended = false
  /** The last event; if there is none yet, where the stream was created. */
  tail: Position
  /** When it was last written to, ms since 1970. */
  changed = 0
  /** When it is known to have been read last, ms since 1970. */
  touched = 0
  /** The last `Stream-Seq`. */
  seq: string | undefined
  /** Producers by id, the most recent last. */
  readonly producers = new Map<string, Produced>()
  /** The producer that ended it. */
  endedBy: Produced | undefined
  /** The time of the last record, ms since 1970, and the events and bytes since; undefined if there is none. */
  #recorded: { readonly time: number; events: number; bytes: number } | undefined
  #last: Produced | undefined

  constructor(at: Position) {
    this.at = at
    this.tail = at
  }

  take({ events, cursor, ended }: Page): void {
    for (const event of events) this.#take(event)
    this.at = cursor
    if (!this.exists) this.tail = cursor
    if (ended) this.exists = this.ended = true
  }

  #take(event: LogEvent): void {
    const { epoch, offset, kind, type, tags, time, json } = event
    const existed = this.exists
    this.exists = true
    this.changed = Math.max(this.changed, time)
    if (kind === 'end') {
      this.ended = true
      this.endedBy = this.#last
      return
    }
    if (type === RECORD && kind !== 'erased') this.#record(event)
    else if (this.#recorded !== undefined) {
      this.#recorded.events++
      this.#recorded.bytes += json.length
    }
    if (type !== RECORD || !existed) this.tail = { epoch, offset }
    this.#last = producedBy(tags?.get(PRODUCER_TAG))
    if (this.#last !== undefined) this.#remember(this.#last)
    this.seq = tags?.get(SEQ_TAG) ?? this.seq
  }

  #record(event: LogEvent): void {
    const { seq, producers = [], ...config } = JSON.parse(dataOf(event).toString()) as RecordData
    this.config = config
    this.#recorded = { time: event.time, events: 0, bytes: 0 }
    this.seq = seq ?? this.seq
    for (const [id, epoch, seq] of producers) {
      // Another append may have come between the record and the state that it was made of.
      const known = this.producers.get(id)
      this.#remember(known !== undefined && isLater(known, { id, epoch, seq }) ? known : { id, epoch, seq })
    }
  }

  #remember(produced: Produced): void {
    this.producers.delete(produced.id)
    this.producers.set(produced.id, produced)
    dropOldest(this.producers, MAX_PRODUCERS)
  }

  /** Whether the record is to be repeated after `drafts`, before retention drops it. */
  recordIsDue(retention: Retention, drafts: readonly Draft[]): boolean {
    if (this.#recorded === undefined) return false
    const { time, events, bytes } = this.#recorded
    const old = Date.now() - time >= retention.age / REPEATS
    return old || recordIsFar(retention, drafts, events, bytes)
  }

  /** The data of a record of this state. */
  toRecord(): Buffer {
    const producers = [...this.producers.values()].map(({ id, epoch, seq }) => [id, epoch, seq])
    return recordOf({ ...this.config, seq: this.seq, producers: producers as [string, number, number][] })
  }
}

/** Whether a record is to be repeated after `drafts`, if `events` and `bytes` are already between it and them. */
export function recordIsFar(retention: Retention, drafts: readonly Draft[], events = 0, bytes = 0): boolean {
  const size = drafts.reduce((sum, { data }) => sum + data.length, bytes)
  return (
    events + drafts.length >= Math.min(RECORD_EVERY, retention.events / REPEATS) ||
    size >= retention.bytes / REPEATS
  )
}

export function recordOf(data: RecordData): Buffer {
  return Buffer.from(JSON.stringify(data))
}

function isLater(one: Produced, other: Produced): boolean {
  return one.epoch > other.epoch || (one.epoch === other.epoch && one.seq > other.seq)
}

export function printProducer({ id, epoch, seq }: Produced): string {
  return `${epoch}:${seq}:${id}`
}

function producedBy(tag: string | undefined): Produced | undefined {
  const [, epoch, seq, id] = /^(\d+):(\d+):(.+)$/su.exec(tag ?? '') ?? []
  return id === undefined ? undefined : { id, epoch: Number(epoch), seq: Number(seq) }
}

/** Whether an event is part of the stream's data: not a record, not an end, not erased. */
export function isData({ kind, type }: LogEvent): boolean {
  return kind === undefined && type !== RECORD
}

/** Whether a part of the state is only in this event. */
export function holdsState({ kind, type, tags }: LogEvent): boolean {
  const isRecord = type === RECORD && kind !== 'erased'
  return isRecord || tags?.has(PRODUCER_TAG) === true || tags?.has(SEQ_TAG) === true
}

/** The limit of a page of `fold`. */
export const PAGE = { events: 1000, bytes: 4 * 1024 * 1024 }

/** Brings the state up to date, from where it is known or from the beginning. Raises LogUnavailable. */
export async function fold(
  known: StreamState | undefined,
  read: (after: Start) => Promise<Page>,
): Promise<StreamState> {
  let state = known
  let after: Start = known?.at ?? 'earliest'
  for (;;) {
    const page = await read(after)
    if (page.gap !== undefined && state !== undefined && state === known) {
      // The known state may belong to a deleted stream.
      known = state = undefined
      after = 'earliest'
      continue
    }
    state ??= new StreamState(page.start)
    state.take(page)
    if (!page.more) return state
    after = page.cursor
  }
}

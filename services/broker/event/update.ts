// Updates: all events of channels and all publishes to Mercure's topics, in one log, so that readers can follow topics by
// patterns. The data of an update is a JSON array: its head, and its data.

import { createHash } from 'node:crypto'
import { dataOf, type Draft, type LogEvent } from './event.ts'
import { isObject } from './json-values.ts'
import { elements } from './json-spans.ts'
import { madeOnce } from './made-once.ts'
import { type Position, printPosition } from './position.ts'

/** The log of all updates. */
export const UPDATES = 'fanwire:updates'

/** The members of an update besides its data. */
export interface UpdateHead {
  /** The first one is the canonical topic. */
  readonly topics: readonly string[]
  /** The id of its event in the channel of each topic; null if a channel does not have it. */
  readonly events?: readonly (string | null)[]
  /** Set if only readers to whom one of its topics is granted receive it. */
  readonly private?: true
  /** The publisher's id for it. Default: its position. */
  readonly id?: string
  /** Its type, if events can't have that type. */
  readonly type?: string
  /** The delay before a reader that lost its connection reconnects, ms. */
  readonly retry?: number
}

export interface Update extends UpdateHead {
  /** The data as text: as it was published, or as JSON if that was no text. */
  readonly text: string
}

const COMMA = Buffer.from(',')
const OPEN = Buffer.from('[')
const CLOSE = Buffer.from(']')
const QUOTE = 0x22

/** `data` is one JSON value; a string is a text. */
export function updateData(head: UpdateHead, data: Uint8Array): Buffer {
  return Buffer.concat([OPEN, Buffer.from(JSON.stringify(head)), COMMA, data, CLOSE])
}

/** The updates for drafts that were published to a channel. `receipts` are theirs, if they were stored. */
export function copiesOf(
  channel: string,
  drafts: readonly Draft[],
  receipts: readonly { readonly position: Position }[] = [],
): Draft[] {
  return drafts.flatMap((draft, i) => {
    const { type, tags, end, transient, idempotencyKey, priority, data } = draft
    if (end === true || type?.startsWith('fanwire:') === true) return []
    const position = receipts[i]?.position
    const events = position === undefined ? {} : { events: [printPosition(position)] }
    const copy: Draft = {
      data: updateData({ topics: [channel], ...events }, data),
      ...(type === undefined ? {} : { type }),
      ...(tags === undefined ? {} : { tags }),
      ...(transient === undefined ? {} : { transient }),
      ...(priority === undefined ? {} : { priority }),
      ...(idempotencyKey === undefined ? {} : { idempotencyKey: keyIn(channel, idempotencyKey) }),
    }
    return [copy]
  })
}

/** The id of the update's event in a channel; undefined if the channel does not have it. */
export function eventIn({ topics, events }: Update, channel: string): string | undefined {
  return events?.[topics.indexOf(channel)] ?? undefined
}

/** An idempotency key in the log of updates: keys are separate for each channel. */
export function keyIn(channel: string, key: string): string {
  return createHash('sha256').update(`${channel}\x7f${key}`).digest('base64url')
}

/** Bytes of events that are kept parsed. */
const MAX_KEPT_BYTES = 16 * 1024 * 1024
/** An update whose data was erased. */
const NOTHING: Update = { topics: [], text: '' }

/** The update in an event of the log of updates. */
export const updateOf = madeOnce(MAX_KEPT_BYTES, read)

function read(event: LogEvent): Update {
  const data = dataOf(event)
  if (data[0] !== OPEN[0]) return NOTHING
  const [head, body] = elements(data)
  if (head === undefined || body === undefined) return NOTHING
  const said: unknown = JSON.parse(head.toString())
  const text = body[0] === QUOTE ? (JSON.parse(body.toString()) as string) : body.toString()
  return isObject(said) ? { ...(said as unknown as UpdateHead), text } : NOTHING
}

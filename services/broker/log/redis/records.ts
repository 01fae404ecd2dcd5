// Records: how an event lies in Redis and travels through pub/sub. redis/channel.lua says what they hold.

import type { Draft, LogEvent } from '../../event/event.ts'
import { encodeEvent } from '../../event/event.ts'
import { packTags, unpackTags } from '../../event/tags.ts'
import type { EndedEpoch, History } from '../history.ts'
import type { Receipt } from '../log.ts'
import { LogRefused } from '../log.ts'
import { ErrorReply } from './replies.ts'

const BASE64 = 1
const LOW = 2
/** The type is followed by `|` and the tags. */
const TAGS = 4
const TAGS_MARK = '|'
const NEWLINE = 0x0a

/** Version, epoch, offset, time, sum, bytes, flags and type, as they stand in a record. */
type Head = [string, string, string, string, string, string, string, string]

/** What `append.lua` is told of an event besides its data. */
export function specOf(draft: Draft): string {
  const { encoding, priority, type = '', tags, idempotencyKey = '' } = draft
  const flags =
    (encoding === 'base64' ? BASE64 : 0) + (priority === 'low' ? LOW : 0) + (tags === undefined ? 0 : TAGS)
  const packed = tags === undefined ? '' : TAGS_MARK + packTags(tags)
  return `${flags} ${type}${packed} ${idempotencyKey}`
}

/**
 * The events of the records that follow each other in `bytes`, of which it keeps nothing. Raises LogRefused where
 * they are not of the version that this node knows.
 */
export function parseRecords(channel: string, bytes: Buffer, into: LogEvent[]): void {
  let at = 0
  while (at < bytes.length) {
    const line = bytes.indexOf(NEWLINE, at)
    const head = bytes.toString('latin1', at, line === -1 ? at : line).split(' ')
    if (head.length !== 8 || head[0] !== '1')
      throw new LogRefused('Redis holds an event in a form that this version does not know', 'unknown-form')
    const [, epoch, offset, time, , length, flags, kind] = head as Head
    const size = +length
    const end = line + 1 + size
    if (!(end <= bytes.length && +offset > 0 && +time >= 0))
      throw new LogRefused('Redis holds an event that is damaged', 'damaged')
    const event = {
      channel,
      epoch,
      offset: +offset,
      time: +time,
      ...typeAndTags(kind, (+flags & TAGS) !== 0),
      encoding: +flags & BASE64 ? ('base64' as const) : undefined,
      low: (+flags & LOW) !== 0,
    }
    into.push(encodeEvent(event, bytes.subarray(line + 1, end)))
    at = end
  }
}

function typeAndTags(kind: string, tagged: boolean): Pick<LogEvent, 'type' | 'tags'> {
  if (!tagged) return { type: kind === '' ? undefined : kind, tags: undefined }
  const mark = kind.indexOf(TAGS_MARK)
  return { type: kind.slice(0, mark) || undefined, tags: unpackTags(kind.slice(mark + 1)) }
}

/**
 * The receipts in a channel's line of append.lua's reply, for `count` drafts. Raises ErrorReply where the line says
 * why there are none.
 */
export function parseReceipts(line: string, count: number): Receipt[] {
  if (line.startsWith('-')) throw new ErrorReply(`Redis answered: ${line.slice(1)}`, line.slice(1))
  const fields = line.split(' ')
  const epoch = fields[0] as string
  const time = Number(fields[1])
  let offset = Number(fields[2])
  const receipts: Receipt[] = []
  let repeat = 3
  for (let i = 0; i < count; i++) {
    if (repeat < fields.length && Number(fields[repeat]) === i) {
      const [, epoch = '', offset, time] = fields.slice(repeat, repeat + 4)
      receipts.push({ position: { epoch, offset: Number(offset) }, time: Number(time), replayed: true })
      repeat += 4
    } else {
      receipts.push({ position: { epoch, offset }, time, replayed: false })
      offset++
    }
  }
  return receipts
}

/** What `read.lua` answers. */
export interface Reading {
  readonly history: History
  readonly events: LogEvent[]
  /** Whether the channel has keys, or has got them now. */
  readonly keys: 'there' | 'made' | 'absent'
}

export function parseRead(channel: string, reply: unknown): Reading {
  const [epoch, ended, head, floor, keys, ...records] = reply as [
    ...[epoch: Buffer, ended: Buffer, head: number, floor: number, keys: Buffer],
    ...Buffer[],
  ]
  const events: LogEvent[] = []
  for (const record of records) parseRecords(channel, record, events)
  const history = { epoch: `${epoch}`, ended: parseEnded(`${ended}`), head, floor }
  return { history, events, keys: `${keys}` as Reading['keys'] }
}

/** A record of the node's own that is never appended: with nothing but data. */
export function printRecord(data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`1 0 1 1 0 ${data.length} 0 \n`), data])
}

function parseEnded(text: string): EndedEpoch[] {
  if (text === '') return []
  return text.split(' ').map(each => {
    const [epoch = '', end] = each.split(':')
    return { epoch, end: Number(end) }
  })
}

// Records: the form of events in Redis and in pub/sub. lua/channel.lua describes their fields.

import { hash } from 'node:crypto'
import type { Draft, Kind, LogEvent } from '../../event/event.ts'
import { encodeEvent } from '../../event/event.ts'
import { parsePosition, printPosition } from '../../event/position.ts'
import { packTags, unpackTags } from '../../event/tags.ts'
import type { EndedEpoch, History } from '../history.ts'
import type { Receipt } from '../log.ts'
import { ChannelEnded, HeadMoved, LogRefused } from '../log.ts'
import type { Argument } from './resp.ts'
import { answered } from './replies.ts'

const BASE64 = 1
const LOW = 2
/** The type is followed by `|` and the tags. */
const TAGS = 4
const TAGS_MARK = '|'
const END = 8
const ERASED = 16
/** Only in messages: the event is transient and has no position. */
const TRANSIENT = 32
const NEWLINE = 0x0a
/** The maximum length of an idempotency key; longer ones are hashed. */
const LONG_KEY = 64

/** Version, epoch, offset, time, sum, bytes, flags and type, as in a record. */
type Head = [string, string, string, string, string, string, string, string]

/** An event's arguments for `append.lua`, besides its data. */
export function specOf(draft: Draft): string {
  const { idempotencyKey = '' } = draft
  return `${flagsOf(draft)} ${kindOf(draft)} ${shortened(idempotencyKey)}`
}

/** Redis stores long keys as a digest. Its prefix can't occur in a client's key. */
function shortened(key: string): string {
  return key.length <= LONG_KEY ? key : `\x7f#${hash('sha256', key, 'base64url')}`
}

function flagsOf({ end, encoding, priority, tags }: Draft): number {
  if (end) return END
  return (
    (encoding === 'base64' ? BASE64 : 0) + (priority === 'low' ? LOW : 0) + (tags === undefined ? 0 : TAGS)
  )
}

function kindOf({ type = '', tags }: Draft): string {
  return tags === undefined ? type : type + TAGS_MARK + packTags(tags)
}

/** The number of events in an append and its required head, for append.lua. */
export function countOf({ length, 0: first }: readonly Draft[]): Argument {
  const ifHead = first?.ifHead
  if (ifHead === undefined) return length
  return `${length} ${ifHead === 'none' ? ifHead : printPosition(ifHead)}`
}

/** Prints transient events as one message. */
export function printTransient(time: number, drafts: readonly Draft[]): Buffer {
  return Buffer.concat(
    drafts.flatMap(draft => {
      const { data } = draft
      const flags = flagsOf(draft) | TRANSIENT
      return [Buffer.from(`1 0 0 ${time} 0 ${data.length} ${flags} ${kindOf(draft)}\n`), data]
    }),
  )
}

/** The first byte of a message with the channel's number of erasures: see tellErased in channel.lua. */
const ERASURE = 0x21

/** The number of erasures, if the message has it. */
export function parseErasure(message: Buffer): number | undefined {
  return message[0] === ERASURE ? Number(message.toString('latin1', 1)) : undefined
}

/** Parses consecutive records. Does not keep `bytes`. Raises LogRefused if this node does not know their version. */
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
    const isTransient = (+flags & TRANSIENT) !== 0
    if (!(end <= bytes.length && (+offset > 0 || isTransient) && +time >= 0))
      throw new LogRefused('Redis holds an event that is damaged', 'damaged')
    const event = {
      channel,
      epoch: isTransient ? '' : epoch,
      offset: +offset,
      time: +time,
      ...typeAndTags(kind, (+flags & TAGS) !== 0),
      encoding: +flags & BASE64 ? ('base64' as const) : undefined,
      low: (+flags & LOW) !== 0,
      kind: +flags < END ? undefined : kindIn(+flags),
    }
    into.push(encodeEvent(event, bytes.subarray(line + 1, end)))
    at = end
  }
}

function kindIn(flags: number): Kind | undefined {
  if (flags & TRANSIENT) return 'transient'
  return flags & ERASED ? 'erased' : flags & END ? 'end' : undefined
}

function typeAndTags(kind: string, tagged: boolean): Pick<LogEvent, 'type' | 'tags'> {
  if (!tagged) return { type: kind === '' ? undefined : kind, tags: undefined }
  const mark = kind.indexOf(TAGS_MARK)
  return { type: kind.slice(0, mark) || undefined, tags: unpackTags(kind.slice(mark + 1)) }
}

/** The receipts for `count` drafts in a channel's line of append.lua's reply. Raises ErrorReply if the line is an error. */
export function parseReceipts(line: string, count: number): Receipt[] {
  if (isRefusal(line)) throw notAppended(line)
  if (line.startsWith('-')) throw answered(line.slice(1))
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

/** Whether a line of append.lua's reply says that nothing was appended because of the channel's state. */
export function isRefusal(line = ''): boolean {
  return line.startsWith('!')
}

function notAppended(line: string): Error {
  const [word, head = ''] = line.split(' ')
  const at = parsePosition(head)
  if (at === undefined) return answered(line)
  return word === '!ended' ? new ChannelEnded(at) : new HeadMoved(at)
}

/** A reply of `read.lua`. */
export interface Reading {
  readonly history: History
  readonly events: LogEvent[]
  /** Whether the channel has keys, or the read created them. */
  readonly keys: 'there' | 'made' | 'absent'
  /** The channel's number of erasures. */
  readonly erasures: number
}

export function parseRead(channel: string, reply: unknown): Reading {
  const [epoch, ended, head, floor, state, ...records] = reply as [
    ...[epoch: Buffer, ended: Buffer, head: number, floor: number, state: Buffer],
    ...Buffer[],
  ]
  const events: LogEvent[] = []
  for (const record of records) parseRecords(channel, record, events)
  const [keys, over, erasures] = `${state}`.split(' ') as [Reading['keys'], string, string]
  const history = { epoch: `${epoch}`, ended: parseEnded(`${ended}`), head, floor, over: over === '1' }
  return { history, events, keys, erasures: +erasures }
}

/** Prints a record with only data, which is never appended. */
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

// What a read request asks for, checked: docs/protocol.md#read.

import type { FastifyRequest } from 'fastify'
import { FanwireError, quote } from '../errors.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedChannel } from '../broker/event/names.ts'
import { parseCursor, type Start } from '../broker/event/position.ts'

/** Parameters that clients without headers send in place of `Last-Event-ID`. */
const LAST_EVENT_ID = ['lastEventId', 'last_event_id', 'Last-Event-ID'] as const

/** A whole number that a wire takes as a parameter. */
interface NumberParameter {
  readonly min: number
  readonly max: number
  readonly default: number
}

export interface ReadRules<N extends string> {
  /** Where a reader begins that sends no cursor. */
  readonly begin: 'earliest' | 'latest'
  readonly maxChannels: number
  /** A request without a channel is fine. */
  readonly channelsOptional?: true
  /** `Last-Event-ID`, as a header or a parameter, wins over `cursor`. */
  readonly lastEventId?: true
  readonly numbers?: Readonly<Record<N, NumberParameter>>
}

export interface ReadQuery<N extends string> {
  readonly channels: string[]
  /** One a channel. */
  readonly starts: Start[]
  /** The client resumes with a `Last-Event-ID` that is no cursor: all before `starts` may be lost to it. */
  readonly lost: boolean
  readonly numbers: Readonly<Record<N, number>>
}

/** Raises FW_BAD_PARAMETER, FW_BAD_CHANNEL, FW_TOO_MANY_CHANNELS, FW_BAD_CURSOR. */
export function readQuery<N extends string = never>(
  request: FastifyRequest,
  rules: ReadRules<N>,
): ReadQuery<N> {
  const numbers = (rules.numbers ?? {}) as Record<N, NumberParameter>
  const resumes = rules.lastEventId === undefined ? [] : LAST_EVENT_ID
  const names = [...(Object.keys(numbers) as N[]), ...resumes] as const
  const query = checkedQuery(request, names, ['channel', 'cursor'])
  const channels = readChannels(query.channel ?? [], rules)
  const lastId = rules.lastEventId && lastEventId(request, query)
  const resumed = lastId === undefined ? undefined : parseCursor(lastId, channels.length)
  return {
    channels,
    starts: resumed ?? startsOf(cursorOf(query.cursor) || rules.begin, channels.length),
    lost: lastId !== undefined && resumed === undefined,
    numbers: readNumbers(query, numbers),
  }
}

function readChannels(channels: readonly string[], rules: ReadRules<string>): string[] {
  if (channels.length === 0 && rules.channelsOptional === undefined) {
    throw new FanwireError('FW_BAD_CHANNEL', 'name at least one channel: ?channel=…')
  }
  if (channels.length > rules.maxChannels) {
    throw new FanwireError(
      'FW_TOO_MANY_CHANNELS',
      `${channels.length} channels; one request here may have ${rules.maxChannels}`,
    )
  }
  for (const [i, channel] of channels.entries()) {
    checkedChannel(channel)
    if (channels.indexOf(channel) !== i) {
      throw new FanwireError('FW_BAD_CHANNEL', `the channel ${quote(channel)} is named twice`)
    }
  }
  return [...channels]
}

/** The header wins. Undefined where there is neither, or an empty one. */
function lastEventId(
  { headers }: FastifyRequest,
  query: { readonly [N in (typeof LAST_EVENT_ID)[number]]?: string },
): string | undefined {
  return [headers['last-event-id'], ...LAST_EVENT_ID.map(name => query[name])].find(Boolean)?.toString()
}

function cursorOf([cursor = '', ...more]: readonly string[] = []): string {
  if (more.length === 0) return cursor
  throw new FanwireError('FW_BAD_CURSOR', 'give one cursor parameter; a list is joined by commas')
}

function startsOf(cursor: string, count: number): Start[] {
  const starts = parseCursor(cursor, count)
  if (starts !== undefined) return starts
  throw new FanwireError(
    'FW_BAD_CURSOR',
    `${quote(cursor)} is no cursor for ${count} channel${count === 1 ? '' : 's'}: one position ` +
      `(<epoch>-<offset>), earliest or latest a channel, joined by commas, or a single earliest or latest`,
  )
}

function readNumbers<N extends string>(
  query: { readonly [name in N]?: string },
  numbers: Readonly<Record<N, NumberParameter>>,
): Record<N, number> {
  const values = {} as Record<N, number>
  for (const [name, { min, max, default: fallback }] of Object.entries<NumberParameter>(numbers)) {
    const given = query[name as N]
    const value = given === undefined ? fallback : Number(given)
    const plain = given === undefined || /^[0-9]{1,9}$/.test(given)
    if (!plain || value < min || value > max) {
      throw new FanwireError('FW_BAD_PARAMETER', `${name} takes a whole number from ${min} to ${max}`)
    }
    values[name as N] = value
  }
  return values
}

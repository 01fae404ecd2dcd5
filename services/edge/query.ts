// What a read request asks for, checked: DESIGN.md section 4.3.

import type { FastifyRequest } from 'fastify'
import { FanwireError, quote } from '../errors.ts'
import { checkedChannel } from '../log/entry.ts'
import { parseCursor, type Start } from '../log/position.ts'

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
  /** A `Last-Event-ID` header wins over `cursor`. */
  readonly lastEventId?: true
  readonly numbers?: Readonly<Record<N, NumberParameter>>
}

export interface ReadQuery<N extends string> {
  readonly channels: string[]
  /** One a channel. */
  readonly starts: Start[]
  readonly numbers: Readonly<Record<N, number>>
}

/** Raises FW_BAD_PARAMETER, FW_BAD_CHANNEL, FW_TOO_MANY_CHANNELS, FW_BAD_CURSOR. */
export function readQuery<N extends string = never>(
  request: FastifyRequest,
  rules: ReadRules<N>,
): ReadQuery<N> {
  const query = request.query as Record<string, string | string[]>
  const numbers = (rules.numbers ?? {}) as Record<N, NumberParameter>
  for (const name of Object.keys(query)) {
    if (name === 'channel' || name === 'cursor' || Object.hasOwn(numbers, name)) continue
    const known = ['channel', 'cursor', ...Object.keys(numbers)].join(', ')
    throw new FanwireError('FW_BAD_PARAMETER', `unknown parameter ${quote(name)}; this path takes ${known}`)
  }
  const channels = readChannels(query.channel, rules)
  return {
    channels,
    starts: readStarts(request, query.cursor, channels.length, rules),
    numbers: readNumbers(query, numbers),
  }
}

function readChannels(given: string | string[] | undefined, rules: ReadRules<string>): string[] {
  const channels = given === undefined ? [] : Array.isArray(given) ? given : [given]
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
  return channels
}

function readStarts(
  request: FastifyRequest,
  given: string | string[] | undefined,
  count: number,
  rules: ReadRules<string>,
): Start[] {
  const header = rules.lastEventId === undefined ? undefined : request.headers['last-event-id']
  const resumed = header === undefined || header === '' ? undefined : String(header)
  const cursor = resumed ?? given ?? rules.begin
  if (Array.isArray(cursor)) {
    throw new FanwireError('FW_BAD_CURSOR', 'give one cursor parameter; a list is joined by commas')
  }
  if (count === 0 && given === undefined) return []
  const starts = parseCursor(cursor, count)
  if (starts === undefined) {
    throw new FanwireError(
      'FW_BAD_CURSOR',
      `${quote(cursor)} is no cursor for ${count} channel${count === 1 ? '' : 's'}: one position ` +
        `(<epoch>-<offset>), earliest or latest a channel, joined by commas, or a single earliest or latest`,
    )
  }
  return starts
}

function readNumbers<N extends string>(
  query: Record<string, string | string[]>,
  numbers: Readonly<Record<N, NumberParameter>>,
): Record<N, number> {
  const values = {} as Record<N, number>
  for (const [name, { min, max, default: fallback }] of Object.entries<NumberParameter>(numbers)) {
    const given = query[name]
    const value = given === undefined ? fallback : Number(given)
    const plain = given === undefined || (typeof given === 'string' && /^[0-9]{1,9}$/.test(given))
    if (!plain || value < min || value > max) {
      throw new FanwireError('FW_BAD_PARAMETER', `${name} takes a whole number from ${min} to ${max}`)
    }
    values[name as N] = value
  }
  return values
}

// Reads of a stream: HEAD, and catch-up reads.

import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Answer, collect } from '../../broker/fanout/collect.ts'
import type { Pages } from '../../broker/fanout/glance.ts'
import type { LogEvent } from '../../broker/event/event.ts'
import type { Position } from '../../broker/event/position.ts'
import type { Selection } from '../../broker/fanout/selection.ts'
import { FanwireError } from '../../errors.ts'
import { A_MOMENT, countErased, digestOfSelected, matches, policyFor } from '../../http/conditional.ts'
import type { Context } from '../../http/context.ts'
import { glanceFor, requireReadable, selectionsFor } from '../open-for.ts'
import { bodyOf } from './content.ts'
import { type Begin, printOffset } from './offsets.ts'
import { isData, PAGE, type StreamState } from '../../broker/streams/state.ts'
import type { Streams } from './streams.ts'

export const WIRE = 'durable-streams'

/** One answer of the log, for a reader of the stream. */
export interface Part {
  readonly events: readonly LogEvent[]
  /** The number of events that are missing because they were erased. */
  readonly erased: number
  /** Where the next part begins. */
  readonly next: Position
  readonly upToDate: boolean
  readonly closed: boolean
}

/** The part in an answer. Raises FW_OFFSET_GONE if events before it are no longer readable. */
export function partOf(answer: Answer, start: Begin, state: StreamState): Part {
  const { events, gaps, cursors, more, ends } = answer
  if (gaps.length > 0)
    throw new FanwireError(
      'FW_OFFSET_GONE',
      'the events after this offset are no longer available, or never existed: read from -1',
    )
  const data = events.filter(isData)
  const last = data.at(-1)
  const cursor = cursors[0] ?? state.at
  return {
    events: data,
    erased: countErased(events),
    next: nextOf(last, more ? cursor : typeof start === 'object' ? start : state.tail),
    upToDate: !more,
    // Not by the state: that may be read from the log, which can be ahead of the channel's memory.
    closed: ends.length > 0,
  }
}

function nextOf(last: LogEvent | undefined, otherwise: Position): Position {
  return last === undefined ? otherwise : { epoch: last.epoch, offset: last.offset }
}

/** The state, read through the channel's memory. */
export function stateIn(streams: Streams, channel: Pages): Promise<StreamState> {
  return streams.find(channel.name, after => channel.page(after, PAGE))
}

export class Reads {
  readonly #context: Context
  readonly #streams: Streams

  constructor(context: Context, streams: Streams) {
    this.#context = context
    this.#streams = streams
  }

  async head(request: FastifyRequest, reply: FastifyReply, channel: string): Promise<FastifyReply> {
    const { access } = this.#context
    requireReadable({ access, identity: request.identity }, { channels: [channel], starts: ['latest'] })
    const { config, tail, ended } = await this.#streams.find(channel)
    const { contentType, ttl, expiresAt } = config
    reply.headers({
      'content-type': contentType,
      'cache-control': 'no-store',
      'stream-next-offset': printOffset(tail),
      ...(ttl === undefined ? {} : { 'stream-ttl': String(ttl) }),
      ...(expiresAt === undefined ? {} : { 'stream-expires-at': expiresAt }),
      ...(ended ? { 'stream-closed': 'true' } : {}),
    })
    return reply.send()
  }

  async catchUp(
    request: FastifyRequest,
    reply: FastifyReply,
    channel: string,
    start: Begin,
  ): Promise<FastifyReply> {
    const { access } = this.#context
    const { state, part, selection } = await this.look(request, channel, start)
    const first = start === 'earliest' ? '-1' : typeof start === 'object' ? printOffset(start) : undefined
    if (first === undefined) reply.header('cache-control', 'no-store')
    else {
      const tag = entityTag(first, part, state, selection)
      const policy = access.ruleOf(channel).erasable ? A_MOMENT : 'max-age=60, stale-while-revalidate=300'
      reply
        .header('etag', tag)
        .header('cache-control', policyFor(request, part.upToDate ? 'no-cache' : policy))
      if (matches(request.headers['if-none-match'], tag)) return reply.code(304).send()
    }
    return this.send(reply, state, part)
  }

  /** Reads without following. Raises FW_STREAM_NOT_FOUND, FW_OFFSET_GONE, LogUnavailable, and the refusals of reads. */
  async look({ identity }: FastifyRequest, channel: string, start: Begin) {
    const { hub, access, presence } = this.#context
    const wanted = { channels: [channel], starts: [start] }
    const [selection] = selectionsFor({ access, identity }, wanted)
    const { state, part } = await glanceFor({ hub, access, identity }, wanted, async opened => {
      const state = await stateIn(this.#streams, opened[0] as Pages)
      const answer = await collect(opened, wanted.starts, PAGE.events, [selection])
      return { state, part: partOf(answer, start, state) }
    })
    await this.#streams.touch(channel, state)
    presence.visit(identity, wanted.channels)
    return { state, part, selection }
  }

  send(reply: FastifyReply, { config: { contentType } }: StreamState, part: Part): FastifyReply {
    this.#context.hub.connections.wires.of(WIRE).deliveries += part.events.length
    return setPosition(reply, part).header('content-type', contentType).send(bodyOf(contentType, part.events))
  }
}

/** Sets the headers that report the reader's position. */
export function setPosition(reply: FastifyReply, { next, upToDate, closed }: Part): FastifyReply {
  reply.header('stream-next-offset', printOffset(next))
  if (upToDate) reply.header('stream-up-to-date', 'true')
  if (closed) reply.header('stream-closed', 'true')
  return reply
}

function entityTag(
  first: string,
  { events, next, closed, erased }: Part,
  { at }: StreamState,
  selection: Selection | undefined,
): string {
  const selected = digestOfSelected([selection], events)
  const less = erased === 0 ? '' : `:e${erased}`
  return `"${at.epoch}:${first}:${printOffset(next)}${less}${closed ? ':c' : ''}${selected === undefined ? '' : `:${selected}`}"`
}

// Live reads: long polls and server-sent events.

import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Channel } from '../../broker/fanout/channel.ts'
import type { CloseReason } from '../../broker/fanout/framing.ts'
import { LongPoll } from '../../broker/fanout/long-poll.ts'
import { PatienceTimer } from '../../broker/patience.ts'
import { FanwireError } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { refusalOf } from '../../http/clients.ts'
import { policyFor } from '../../http/conditional.ts'
import type { Context } from '../../http/context.ts'
import { http2StreamOf, isHttp2, whenOver } from '../../http/exchange.ts'
import { probeWhileHeld } from '../../http/node/half-open.ts'
import { PIECE_BYTES } from '../../http/pieces.ts'
import { cutStream } from '../../http/sessions.ts'
import { arrivalOf } from '../arrival.ts'
import { type Given, givenFor, openFor } from '../open-for.ts'
import { isText, linesOf } from './content.ts'
import { cursorAfter } from './cursor.ts'
import { type Begin, printOffset } from './offsets.ts'
import { type Part, partOf, type Reads, setPosition, stateIn, WIRE } from './read.ts'
import { PAGE, type StreamState } from '../../broker/streams/state.ts'
import type { Streams } from './streams.ts'

/** How long a long poll is held, ms. */
const HELD_MS = 15_000
/** How long a response of server-sent events lasts, ms: clients then reconnect, and caches merge equal requests. */
const STREAMED_MS = 60_000

/** A comment of server-sent events. */
const COMMENT = ':\n\n'

/** The parameters of a live read. */
export interface Live {
  readonly channel: string
  readonly start: Begin
  readonly cursor: string | undefined
}

/** A client whose request is held. */
class Follower {
  readonly state: StreamState
  readonly #waiting: LongPoll
  readonly #given: readonly Given[]
  #start: Begin
  /** The reason, if the node ended it. */
  ended: CloseReason | undefined
  readonly #over = new AbortController()

  constructor(waiting: LongPoll, state: StreamState, start: Begin, given: readonly Given[]) {
    this.#waiting = waiting
    this.state = state
    this.#start = start
    this.#given = given
  }

  get start(): Begin {
    return this.#start
  }

  /** Aborted once its client is gone, or the node has ended it. */
  get over(): AbortSignal {
    return this.#over.signal
  }

  end(reason?: CloseReason): void {
    this.ended ??= reason
    this.#over.abort()
    this.#waiting.release()
  }

  /** The next events, within `ms`; without events if the time is over or the node ends the read. */
  async next(ms: number): Promise<Part> {
    const until = Date.now() + ms
    const selections = this.#given.map(({ selection }) => selection)
    for (;;) {
      const left = Math.max(0, until - Date.now())
      const answer = await this.#waiting.answer([this.#start], PAGE.events, left, selections)
      const part = partOf(answer, this.#start, this.state)
      const [cursor] = answer.cursors
      if (part.events.length > 0) this.#start = part.next
      else if (answer.more && cursor !== undefined) this.#start = cursor
      const onlyRecords = part.events.length === 0 && answer.events.length > 0 && !part.closed
      if (!onlyRecords) return part
      this.#start = cursor ?? this.#start
    }
  }
}

export class LiveReads {
  readonly #context: Context
  readonly #streams: Streams
  readonly #reads: Reads

  constructor(context: Context, streams: Streams, reads: Reads) {
    this.#context = context
    this.#streams = streams
    this.#reads = reads
  }

  async longPoll(request: FastifyRequest, reply: FastifyReply, live: Live): Promise<FastifyReply> {
    const held = this.#follow(request, reply, live, true, async follower => {
      const part = await follower.next(HELD_MS)
      const { ended, state } = follower
      // If its credentials expired, the client needs the offset to continue with new ones.
      if (ended !== undefined && ended.expired !== true) throw refusalOf(ended)
      return this.#answer(request, reply, live, state, part)
    })
    return held.catch(async error => {
      if (!(error instanceof FanwireError) || error.code !== 'FW_TOO_MANY_FOLLOWED') throw error
      // A full node can't wait for events, but it returns the existing ones.
      const { state, part } = await this.#reads.look(request, live.channel, live.start)
      if (part.events.length === 0 && !part.closed) throw error
      return this.#answer(request, reply, live, state, part)
    })
  }

  #answer(request: FastifyRequest, reply: FastifyReply, live: Live, state: StreamState, part: Part) {
    if (!part.closed) reply.header('stream-cursor', cursorAfter(live.cursor))
    if (part.events.length === 0) {
      reply.header('cache-control', 'no-store')
      return setPosition(reply, { ...part, upToDate: true })
        .code(204)
        .send()
    }
    reply.header('cache-control', policyFor(request, 'no-cache'))
    return this.#reads.send(reply, state, part)
  }

  sse(request: FastifyRequest, reply: FastifyReply, live: Live): Promise<FastifyReply> {
    return this.#follow(request, reply, live, false, async follower => {
      const { contentType } = follower.state.config
      const until = Date.now() + STREAMED_MS
      let part = await follower.next(0)
      begin(reply, contentType)
      const { raw } = reply
      const stream = isHttp2(request) ? http2StreamOf(request) : undefined
      const send = (text: string) =>
        stream === undefined
          ? write(reply, text, follower.over)
          : writePieces(stream, reply, text, follower.over, this.#context.config.stall)
      let quiet = false
      for (;;) {
        const last = part.closed && part.upToDate
        if (!quiet || last) await send(blockOf(contentType, part, live.cursor))
        this.#context.hub.connections.wires.of(WIRE).deliveries += part.events.length
        const left = until - Date.now()
        if (last || follower.over.aborted || left <= 0 || raw.destroyed) break
        const found = await follower.next(left).catch(() => undefined)
        // Also if the node stops: the client reconnects to another node.
        if (found === undefined || (found.events.length === 0 && !found.closed && found.upToDate)) break
        quiet = found.events.length === 0
        part = found
      }
      raw.end()
      return reply
    })
  }

  /** Keeps the client among the held ones while `use` runs. */
  async #follow(
    request: FastifyRequest,
    reply: FastifyReply,
    { channel, start }: Live,
    polls: boolean,
    use: (follower: Follower) => Promise<FastifyReply>,
  ): Promise<FastifyReply> {
    const { hub, access, clients, limits, presence } = this.#context
    const { identity } = request
    const opener = { hub, access, identity }
    const wanted = { channels: [channel], starts: [start] }
    const lease = limits.holds.take(partyOf(request), 1)
    const stats = hub.connections.wires.of(WIRE)
    const held = openFor(opener, wanted, async opened => {
      const state = await stateIn(this.#streams, opened[0] as Channel)
      await this.#streams.touch(channel, state)
      // `now` is the current head, also for clients that reconnect with it.
      const from = start === 'latest' ? state.at : start
      const given = givenFor(opener, wanted)
      const follower = new Follower(new LongPoll(hub, opened), state, from, given)
      const stop = whenOver(request, reply, () => follower.end())
      const leave = probeWhileHeld(request, reply, COMMENT)
      presence.visit(identity, wanted.channels)
      const client = clients.add(
        {
          wire: WIRE,
          polls,
          channels: wanted.channels,
          positionIn: () => (typeof follower.start === 'object' ? follower.start : undefined),
          grantIn: () => given[0]?.grant,
          end: reason => follower.end(reason),
        },
        arrivalOf(request),
      )
      stats.connections++
      try {
        return await use(follower)
      } finally {
        stats.connections--
        clients.remove(client)
        stop()
        leave()
      }
    })
    return held.finally(() => lease?.end())
  }
}

function begin(reply: FastifyReply, contentType: string): void {
  reply.hijack()
  const headers = reply.getHeaders() as Record<string, string>
  reply.raw.writeHead(200, {
    ...headers,
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-store, no-transform',
    'x-accel-buffering': 'no',
    ...(isText(contentType) ? {} : { 'stream-sse-data-encoding': 'base64' }),
  })
}

/** The data, if there is any, and the position after it. */
function blockOf(
  contentType: string,
  { events, next, upToDate, closed }: Part,
  cursor: string | undefined,
): string {
  const data = events.length === 0 ? '' : `event: data\n${linesOf(contentType, events)}\n`
  const control = {
    streamNextOffset: printOffset(next),
    ...(closed ? { streamClosed: true } : { streamCursor: cursorAfter(cursor) }),
    ...(upToDate ? { upToDate: true } : {}),
  }
  return `${data}event: control\ndata:${JSON.stringify(control)}\n\n`
}

/** Writes text. Returns once the client has room for more, or `over` is aborted. */
async function write({ raw }: FastifyReply, text: string, over: AbortSignal): Promise<void> {
  if (raw.destroyed || raw.write(text)) return
  await once(raw, 'drain', { signal: over }).catch(() => {})
}

/**
 * The same over HTTP/2, in pieces, since Node does not report the progress of a large write of a stream. A client that
 * does not accept a piece within `stall` ms loses the stream.
 */
async function writePieces(
  stream: ServerHttp2Stream,
  { raw }: FastifyReply,
  text: string,
  over: AbortSignal,
  stall: number,
): Promise<void> {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length && !over.aborted; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, at + PIECE_BYTES)
    await new Promise<void>(resolve => {
      const done = () => resolve()
      over.addEventListener('abort', done, { once: true })
      // Also after `over`: what was written would hold the stream.
      const stalled = new PatienceTimer(stall, () => cutStream(stream))
      raw.write(piece, () => {
        stalled.clear()
        over.removeEventListener('abort', done)
        resolve()
      })
    })
  }
}

/** Raises FW_BAD_PARAMETER if it is missing: live reads need a start. */
export function requireOffset(offset: string | undefined): string {
  if (offset !== undefined) return offset
  throw new FanwireError('FW_BAD_PARAMETER', 'a live read needs offset')
}

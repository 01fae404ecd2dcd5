// Creates streams, appends to them, ends and deletes them.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Draft } from '../../broker/event/event.ts'
import { withPresentState } from '../../broker/streams/keep.ts'
import { FanwireError } from '../../errors.ts'
import { partyOf } from '../../http/address.ts'
import { audit } from '../../http/audit.ts'
import { requirePublishOrigin } from '../../http/auth.ts'
import { wholeBody } from '../../http/body.ts'
import type { Context } from '../../http/context.ts'
import { baseOf, checkedContentType, draftsOf } from './content.ts'
import { closes, lifeOf, producerOf, refuseForks, seqOf } from './headers.ts'
import { printOffset } from './offsets.ts'
import { check, isSame, scoped } from './producers.ts'
import {
  printProducer,
  type Produced,
  PRODUCER_TAG,
  RECORD,
  recordIsFar,
  recordOf,
  SEQ_TAG,
  type StreamConfig,
  type StreamState,
} from '../../broker/streams/state.ts'
import type { Streams } from './streams.ts'

const END: Draft = { data: Buffer.alloc(0), end: true }
const DEFAULT_TYPE = 'application/octet-stream'

/** An append, checked as far as possible without the stream. */
interface Append {
  readonly body: Buffer
  readonly contentType: string | undefined
  readonly closes: boolean
  readonly producer: Produced | undefined
  readonly seq: string | undefined
}

export class Writes {
  readonly #context: Context
  readonly #streams: Streams
  /** Appends that depend on earlier ones take turns. */
  readonly #turns = new Map<string, Promise<unknown>>()

  constructor(context: Context, streams: Streams) {
    this.#context = context
    this.#streams = streams
  }

  async create(request: FastifyRequest, reply: FastifyReply, channel: string): Promise<FastifyReply> {
    this.#require(request, channel)
    const { headers } = request
    refuseForks(headers)
    const config: StreamConfig = {
      contentType: checkedContentType(headers['content-type'] ?? DEFAULT_TYPE),
      ...lifeOf(headers),
    }
    const closed = closes(headers)
    const drafts = draftsOf(config.contentType, await this.#bodyOf(request))
    const record: Draft = { data: recordOf(config), type: RECORD }
    this.#admit(request, channel, [record, ...drafts])
    return this.#inTurn(channel, async () => {
      const state = await this.#streams.look(channel)
      if (state.exists && !(await this.#streams.hasExpired(channel, state))) {
        if (!fits(state, config, closed)) {
          throw new FanwireError('FW_STREAM_CONFLICT', 'the stream exists with another configuration')
        }
        return describe(reply.code(200), state, closed).send()
      }
      const { offset } = state.exists ? await this.#clear(channel) : state.at
      const ifHead = offset === 0 || state.exists ? 'none' : state.at
      const repeats = recordIsFar(this.#context.hub.options.retentionOf(channel), drafts)
      const all = [
        { ...record, ifHead } as const,
        ...drafts,
        ...(repeats ? [record] : []),
        ...(closed ? [END] : []),
      ]
      await this.#append(request, channel, all)
      const { host, protocol, url } = request
      reply.code(201).header('location', `${protocol}://${host}${url.split('?', 1)[0]}`)
      return describe(reply, await this.#streams.look(channel), closed).send()
    })
  }

  async append(request: FastifyRequest, reply: FastifyReply, channel: string): Promise<FastifyReply> {
    this.#require(request, channel)
    const { headers } = request
    const type = headers['content-type']
    const sent = producerOf(headers)
    const producer = sent && scoped(sent, request.identity)
    const append: Append = {
      closes: closes(headers),
      producer,
      seq: seqOf(headers),
      body: await this.#bodyOf(request),
      contentType: type === undefined ? undefined : checkedContentType(type),
    }
    const attempt = () => this.#appendTo(request, reply, channel, append)
    const depends = producer !== undefined || append.seq !== undefined || append.closes
    return depends ? this.#inTurn(channel, attempt) : withPresentState(attempt)
  }

  async #appendTo(
    request: FastifyRequest,
    reply: FastifyReply,
    channel: string,
    append: Append,
  ): Promise<FastifyReply> {
    const { body, producer, seq } = append
    const state = await this.#streams.find(channel)
    if (state.ended) return this.#alreadyEnded(reply, state, append)
    const data = dataOf(state, append)
    if (producer !== undefined) {
      const known = check(state, producer, reply)
      if (known !== undefined) {
        reply.header('producer-seq', String(known.seq)).header('producer-epoch', String(known.epoch))
        return reply.code(204).header('stream-next-offset', printOffset(state.tail)).send()
      }
    }
    if (
      seq !== undefined &&
      state.seq !== undefined &&
      Buffer.compare(Buffer.from(seq), Buffer.from(state.seq)) <= 0
    )
      throw new FanwireError('FW_STREAM_SEQUENCE', 'Stream-Seq is not after the last one')
    const repeats = state.recordIsDue(this.#context.hub.options.retentionOf(channel), data)
    const drafts = draftsFor(state, append, data, repeats)
    this.#admit(request, channel, drafts)
    const receipts = await this.#append(request, channel, drafts)
    const last = receipts[data.length - 1]
    reply.header('stream-next-offset', printOffset(last?.position ?? state.tail))
    if (append.closes) reply.header('stream-closed', 'true')
    if (producer === undefined) return reply.code(204).send()
    reply.header('producer-epoch', String(producer.epoch)).header('producer-seq', String(producer.seq))
    return reply.code(body.length === 0 ? 204 : 200).send()
  }

  /** The request may be a retry of the one that ended the stream. Raises FW_CHANNEL_ENDED. */
  #alreadyEnded(reply: FastifyReply, { endedBy, tail }: StreamState, append: Append): FastifyReply {
    const { producer } = append
    reply.header('stream-closed', 'true').header('stream-next-offset', printOffset(tail))
    const same = producer !== undefined && isSame(endedBy, producer)
    if (same)
      reply.header('producer-epoch', String(producer.epoch)).header('producer-seq', String(producer.seq))
    if (same || (append.closes && append.body.length === 0 && producer === undefined))
      return reply.code(204).send()
    throw new FanwireError('FW_CHANNEL_ENDED', 'the stream is closed')
  }

  /** Raises FW_STREAM_NOT_FOUND. */
  async delete(request: FastifyRequest, reply: FastifyReply, channel: string): Promise<FastifyReply> {
    requirePublishOrigin(request)
    this.#context.access.require(request.identity, 'admin', channel)
    await this.#streams.find(channel)
    await this.#clear(channel)
    audit(request, 'clear', { channel })
    return reply.code(204).send()
  }

  async #clear(channel: string) {
    const head = await this.#context.eraser.clear(channel)
    this.#streams.forget(channel)
    return head
  }

  // Parts ---------------------------------------------------------------------------------------------------

  /** Before the body is read. */
  #require(request: FastifyRequest, channel: string): void {
    requirePublishOrigin(request)
    const { publisher, limits } = this.#context
    const rule = publisher.require(request.identity, channel)
    limits.foresee(partyOf(request), rule, Number(request.headers['content-length'] ?? 0))
  }

  async #bodyOf(request: FastifyRequest): Promise<Buffer> {
    const { maxBody } = this.#context.config
    return wholeBody(request, maxBody, `an append may have at most ${maxBody} bytes`)
  }

  #admit(request: FastifyRequest, channel: string, drafts: readonly Draft[]): void {
    const party = partyOf(request)
    for (const draft of drafts) this.#context.publisher.admit(party, channel, draft)
  }

  #append(request: FastifyRequest, channel: string, drafts: readonly Draft[]) {
    return this.#context.publisher.append(channel, drafts, partyOf(request))
  }

  /** Appends take turns on this node; between nodes the log orders them. */
  #inTurn<T>(channel: string, attempt: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(channel) ?? Promise.resolve()
    const turn = before.then(() => withPresentState(attempt))
    const over = turn
      .catch(() => {})
      .then(() => {
        if (this.#turns.get(channel) === over) this.#turns.delete(channel)
      })
    this.#turns.set(channel, over)
    return turn
  }
}

/** Whether an existing stream has the requested configuration. */
function fits({ config, ended }: StreamState, asked: StreamConfig, closed: boolean): boolean {
  return (
    baseOf(config.contentType) === baseOf(asked.contentType) &&
    config.ttl === asked.ttl &&
    config.expiresAt === asked.expiresAt &&
    ended === closed
  )
}

function describe(reply: FastifyReply, { config, tail }: StreamState, closed: boolean): FastifyReply {
  if (closed) reply.header('stream-closed', 'true')
  return reply.header('content-type', config.contentType).header('stream-next-offset', printOffset(tail))
}

/** Raises FW_BAD_REQUEST, FW_STREAM_CONFLICT, FW_BAD_JSON, FW_TOO_LARGE. */
function dataOf({ config }: StreamState, { body, contentType, closes }: Append): Draft[] {
  if (body.length === 0) {
    if (closes) return []
    throw new FanwireError('FW_BAD_REQUEST', 'the body is empty')
  }
  if (contentType === undefined) throw new FanwireError('FW_BAD_REQUEST', 'Content-Type is missing')
  if (baseOf(contentType) !== baseOf(config.contentType))
    throw new FanwireError('FW_STREAM_CONFLICT', 'the stream has another content type')
  const drafts = draftsOf(config.contentType, body)
  if (drafts.length === 0) throw new FanwireError('FW_BAD_REQUEST', 'the array is empty')
  return drafts
}

/** The events of one append, with the tags and the record that hold the stream's state. `repeats`: the record. */
function draftsFor(state: StreamState, append: Append, data: readonly Draft[], repeats: boolean): Draft[] {
  const { producer, seq } = append
  const tags = new Map<string, string>()
  if (producer !== undefined) tags.set(PRODUCER_TAG, printProducer(producer))
  if (seq !== undefined) tags.set(SEQ_TAG, seq)
  const record = (): Draft => ({ data: state.toRecord(), type: RECORD })
  const drafts = [...data]
  // Behind the data, since retention may drop all that is before.
  if (repeats || (data.length === 0 && tags.size > 0)) drafts.push(record())
  const last = drafts.pop()
  if (last !== undefined) drafts.push(tags.size === 0 ? last : { ...last, tags })
  if (append.closes) drafts.push(END)
  const [first, ...rest] = drafts
  return first === undefined || tags.size === 0 ? drafts : [{ ...first, ifHead: state.at }, ...rest]
}

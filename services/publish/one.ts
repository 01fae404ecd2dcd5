// POST /v1/channels/{channel}/events: the body is the data of one event.

import type { FastifyPluginAsync, FastifyRequest, onRequestHookHandler } from 'fastify'
import { FanwireError } from '../errors.ts'
import { partyOf } from '../http/address.ts'
import { requirePublishOrigin } from '../http/auth.ts'
import { Type } from '../http/schema.ts'
import { CHANNEL, operation, PASSED, RECEIPT, text, word } from '../http/operation.ts'
import { checkedQuery, valuesUnder } from '../http/query.ts'
import { checkedChannel, checkedIdempotencyKey, checkedType, ownCopy } from '../broker/event/names.ts'
import { checkedTags } from '../broker/event/tags.ts'
import { ifHeadOf } from '../broker/event/if-head.ts'
import { binaryData, type Draft, jsonData, textData } from '../broker/event/event.ts'
import { printReceipt } from '../broker/event/receipt.ts'
import { type BodyTimes, wholeBody } from '../http/body.ts'
import { mediaType, requireMedia } from '../http/content-type.ts'

type Data = Pick<Draft, 'data' | 'encoding' | 'sent'>

/** How each content type becomes data. */
export const READERS: ReadonlyMap<string, (body: Buffer) => Data> = new Map([
  ['application/json', body => ({ data: jsonData(body) ?? refuseJson(body) })],
  ['text/plain', body => ({ data: textData(body) ?? refuseText(), sent: body.length })],
  [
    'application/octet-stream',
    (body): Data => ({ data: binaryData(body), encoding: 'base64', sent: body.length }),
  ],
])

/** The data of an event, by content type. */
export const BODY = {
  'application/json': Type.Unknown(),
  'text/plain': Type.String(),
  'application/octet-stream': Type.String({ format: 'binary' }),
}

const QUERY = Type.Object({
  type: text('the type of the event'),
  'tag.<name>': text('a tag, such as tag.lang=ko: up to 16 of them'),
  priority: word(['high', 'low'], 'low: the event may be delayed, to deliver more events at once'),
  transient: word(['0', '1'], '1: the event is delivered to connected readers, and not kept'),
})

const schema = operation({
  summary: 'Publish one event: the body is its data',
  tag: 'publish',
  query: QUERY,
  path: CHANNEL,
  body: BODY,
  answers: {
    201: { description: 'the log holds the event', schema: RECEIPT },
    202: { description: 'the event is transient: it is not kept', schema: PASSED },
  },
})

export const JSON_TYPE = 'application/json; charset=utf-8'
export const SEND = 'application/json (any JSON value), text/plain (UTF-8) or application/octet-stream'

export const publish: FastifyPluginAsync<{ times: BodyTimes }> = async (app, { times }) => {
  const context = app.fanwire
  const { maxBody } = context.config
  const tooLarge = `an event may have at most ${maxBody} bytes`
  /** Before the body is read. */
  const requireRight: onRequestHookHandler = (request, _reply, next) => {
    requirePublishOrigin(request)
    const channel = checkedChannel((request.params as { channel: string }).channel)
    const rule = context.publisher.require(request.identity, channel)
    context.limits.foresee(partyOf(request), rule, Number(request.headers['content-length'] ?? 0))
    next()
  }
  const onRequest = [requireRight, requireMedia(new Set(READERS.keys()), SEND)]

  app.post<{ Params: { channel: string } }>(
    '/v1/channels/:channel/events',
    { schema, onRequest },
    async (request, reply) => {
      const channel = checkedChannel(request.params.channel)
      const fields = checkedFields(request)
      const body = await wholeBody(request, maxBody, tooLarge, times)
      const read = READERS.get(mediaType(request) ?? '')
      if (read === undefined) throw new FanwireError('FW_MEDIA_TYPE', `send ${SEND}`)
      const draft = { ...read(body), ...fields }
      const { position, time, replayed } = await context.publisher.publish(channel, draft, partyOf(request))
      if (position === undefined) reply.code(202)
      else reply.code(201)
      if (replayed) reply.header('idempotency-replayed', 'true')
      return reply.header('content-type', JSON_TYPE).send(printReceipt(channel, { position, time }))
    },
  )
}

/** The event's fields besides its data. */
function checkedFields(request: FastifyRequest): Omit<Draft, 'data' | 'encoding'> {
  const query = checkedQuery(request, QUERY)
  const { type, priority, transient } = query
  const tags = checkedTags(valuesUnder(query, 'tag.'))
  const { 'idempotency-key': key, 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers
  const ifHead = ifHeadOf(ifMatch, ifNoneMatch)
  return {
    ...(type === undefined ? {} : { type: ownCopy(checkedType(type)) }),
    ...(tags === undefined ? {} : { tags }),
    ...(key === undefined ? {} : { idempotencyKey: checkedIdempotencyKey(key as string) }),
    ...(ifHead === undefined ? {} : { ifHead }),
    ...(transient === '1' ? { transient: true } : {}),
    ...(priority === 'low' ? { priority } : {}),
  }
}

function refuseJson(body: Buffer): never {
  if (textData(body) === undefined) refuseText()
  throw new FanwireError(
    'FW_BAD_JSON',
    body.length === 0 ? 'the body is empty' : 'the body is not valid JSON',
  )
}

function refuseText(): never {
  throw new FanwireError('FW_BAD_ENCODING', 'the body is not valid UTF-8')
}

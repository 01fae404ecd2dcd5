// POST /v1/channels/{channel}/end: ends the channel, after a last event if there is a body.

import type { FastifyPluginAsync, FastifyRequest, onRequestHookHandler } from 'fastify'
import { FanwireError } from '../errors.ts'
import { partyOf } from '../http/address.ts'
import { requirePublishOrigin } from '../http/auth.ts'
import { type BodyTimes, wholeBody } from '../http/body.ts'
import { mediaType, requireMedia } from '../http/content-type.ts'
import { CHANNEL, operation, RECEIPT, text } from '../http/operation.ts'
import { checkedQuery, valuesUnder } from '../http/query.ts'
import { Type } from '../http/schema.ts'
import type { Draft } from '../broker/event/event.ts'
import { ifHeadOf } from '../broker/event/if-head.ts'
import { checkedChannel, checkedIdempotencyKey, checkedType, ownCopy } from '../broker/event/names.ts'
import { printReceipt } from '../broker/event/receipt.ts'
import { checkedTags } from '../broker/event/tags.ts'
import { BODY, JSON_TYPE, READERS, SEND } from './one.ts'

const QUERY = Type.Object({
  type: text('the type of the last event'),
  'tag.<name>': text('a tag of the last event, such as tag.lang=ko: up to 16 of them'),
})

const schema = operation({
  summary: 'End a channel: nothing more can be published to it',
  tag: 'publish',
  query: QUERY,
  path: CHANNEL,
  body: BODY,
  answers: { 201: { description: "the log holds the channel's end, at this position", schema: RECEIPT } },
})

const NOTHING = Buffer.alloc(0)

export const end: FastifyPluginAsync<{ times: BodyTimes }> = async (app, { times }) => {
  const { config, publisher } = app.fanwire
  const tooLarge = `an event may have at most ${config.maxBody} bytes`
  const requireRight: onRequestHookHandler = (request, _reply, next) => {
    requirePublishOrigin(request)
    publisher.require(request.identity, checkedChannel((request.params as { channel: string }).channel))
    next()
  }
  const taken = requireMedia(new Set(READERS.keys()), SEND)
  const requireTaken: onRequestHookHandler = function (request, reply, next) {
    // Some clients, such as `curl -d ''`, name a content type even without a body.
    if (mediaType(request) === undefined || request.headers['content-length'] === '0') next()
    else taken.call(this, request, reply, next)
  }

  app.post<{ Params: { channel: string } }>(
    '/v1/channels/:channel/end',
    { schema, onRequest: [requireRight, requireTaken] },
    async (request, reply) => {
      const channel = checkedChannel(request.params.channel)
      const body = await wholeBody(request, config.maxBody, tooLarge, times)
      const { last, end } = drafts(request, body)
      const [ended] = await publisher.end(channel, end, last, partyOf(request))
      if (ended === undefined) throw new FanwireError('FW_LOG_UNAVAILABLE', 'the log returned no receipt')
      const { position, time, replayed } = ended
      if (replayed) reply.header('idempotency-replayed', 'true')
      return reply.code(201).header('content-type', JSON_TYPE).send(printReceipt(channel, { position, time }))
    },
  )
}

/** The end, and the last event before it. An idempotency key covers both, and ifHead is the head before both. */
function drafts(request: FastifyRequest, body: Buffer): { end: Draft; last: Draft | undefined } {
  const query = checkedQuery(request, QUERY)
  const { type } = query
  const tags = checkedTags(valuesUnder(query, 'tag.'))
  const { 'idempotency-key': key, 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = request.headers
  const ifHead = ifHeadOf(ifMatch, ifNoneMatch)
  const idempotencyKey = key === undefined ? undefined : checkedIdempotencyKey(key)
  const end: Draft = {
    data: NOTHING,
    end: true,
    // No client's key contains the mark, so this key belongs to the end alone.
    ...(idempotencyKey === undefined ? {} : { idempotencyKey: `\x7f${idempotencyKey}` }),
  }
  const condition = ifHead === undefined ? {} : { ifHead }
  const read = READERS.get(mediaType(request) ?? '')
  if (read === undefined) {
    if (body.length > 0) throw new FanwireError('FW_MEDIA_TYPE', `no content type; send ${SEND}`)
    if (type !== undefined || tags !== undefined) {
      const message = 'type and tags are those of a last event: send its data as the body'
      throw new FanwireError('FW_BAD_PARAMETER', message)
    }
    return { end: { ...end, ...condition }, last: undefined }
  }
  const last: Draft = {
    ...read(body),
    ...condition,
    ...(type === undefined ? {} : { type: ownCopy(checkedType(type)) }),
    ...(tags === undefined ? {} : { tags }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  }
  return { end, last }
}

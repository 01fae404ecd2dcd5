// What a channel holds, and its single events, which never change.

import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { checkedChannel } from '../broker/event/names.ts'
import { parsePosition, printPosition, samePosition } from '../broker/event/position.ts'
import { caching, EVENT_TYPE, isKnown } from '../http/conditional.ts'
import { checkedQuery } from '../http/query.ts'

/** The channel in the path. Raises FW_BAD_CHANNEL, and FW_BAD_PARAMETER for any query. */
function channelOf(request: FastifyRequest<{ Params: { channel: string } }>): string {
  checkedQuery(request, [])
  return checkedChannel(request.params.channel)
}

export const channels = fp(
  async app => {
    const { log, hub, workers, access } = app.fanwire

    app.get<{ Params: { channel: string } }>(
      '/v1/channels/:channel',
      { exposeHeadRoute: true },
      async (request, reply) => {
        const channel = channelOf(request)
        access.require(request.identity, 'subscribe', channel)
        const { head, tail, count } = await log.state(channel)
        reply.header('cache-control', 'no-cache')
        return {
          channel,
          head: printPosition(head),
          tail: tail === undefined ? null : printPosition(tail),
          count,
          readers: (await workers?.readers(channel)) ?? hub.readers(channel),
        }
      },
    )

    app.get<{ Params: { channel: string; id: string } }>(
      '/v1/channels/:channel/events/:id',
      { exposeHeadRoute: true },
      async (request, reply) => {
        const channel = channelOf(request)
        access.require(request.identity, 'history', channel)
        const { id } = request.params
        const position = parsePosition(id)
        if (position === undefined) {
          throw new FanwireError('FW_BAD_CURSOR', 'an event id is <epoch>-<offset>, such as m3k9zq-42')
        }
        const { epoch, offset } = position
        const page =
          offset === 0
            ? undefined
            : await log.read(channel, { epoch, offset: offset - 1 }, { events: 1, bytes: 1 })
        const event = page?.events[0]
        if (event === undefined || !samePosition(event, position)) {
          throw new FanwireError('FW_EVENT_NOT_FOUND', 'the channel has no such event, or no more')
        }
        const headers = caching(id)
        const { etag } = headers
        reply.headers(headers)
        if (isKnown(request, etag)) return reply.code(304).send()
        return reply.type(EVENT_TYPE).send(event.json)
      },
    )
  },
  { name: 'fanwire-channels', fastify: '5.x' },
)

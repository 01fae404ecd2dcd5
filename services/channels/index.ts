// A channel's content: its state, its history, and its single events, which never change.

import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { FanwireError } from '../errors.ts'
import { checkedReadable } from '../broker/event/names.ts'
import { letsThrough } from '../broker/fanout/selection.ts'
import { parsePosition, printPosition, samePosition } from '../broker/event/position.ts'
import { caching, EVENT_TYPE, isShared, matches, tagOfEvent } from '../http/conditional.ts'
import { Type } from '../http/schema.ts'
import { CHANNEL, EVENT, EVENT_OF_CHANNEL, NO_PARAMETERS, operation } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { askFor } from '../http/asking.ts'
import { historyRoute } from './history.ts'
import { presenceRoutes } from './presence.ts'

/** The channel in the path. Raises FW_BAD_CHANNEL, and FW_BAD_PARAMETER for any query. */
function channelOf(request: FastifyRequest<{ Params: { channel: string } }>): string {
  checkedQuery(request, NO_PARAMETERS)
  return checkedReadable(request.params.channel)
}

const STATE = operation({
  summary: 'The content of a channel',
  tag: 'channels',
  path: CHANNEL,
  answers: {
    200: {
      description: 'positions, and readers on this node',
      schema: Type.Object({
        channel: Type.String(),
        head: Type.String(),
        tail: Type.Union([Type.String(), Type.Null()]),
        count: Type.Integer(),
        ended: Type.Optional(Type.Boolean()),
        readers: Type.Integer(),
      }),
    },
  },
})

const SINGLE = operation({
  summary: 'One event, which never changes',
  tag: 'channels',
  path: EVENT_OF_CHANNEL,
  answers: { 200: { description: 'the event', schema: EVENT }, 304: { description: 'the client has it' } },
})

export const channels = fp(
  async app => {
    const { log, hub, workers, access } = app.fanwire
    await presenceRoutes(app)
    historyRoute(app)

    app.get<{ Params: { channel: string } }>(
      '/v1/channels/:channel',
      { schema: STATE, exposeHeadRoute: true },
      async (request, reply) => {
        const channel = channelOf(request)
        if (access.asking !== undefined) await askFor(request, [['subscribe', channel]])
        access.require(request.identity, 'subscribe', channel)
        const { head, tail, count, ended } = await hub.glances.run(() => log.state(channel))
        reply.header('cache-control', 'no-cache')
        return {
          channel,
          head: printPosition(head),
          tail: tail === undefined ? null : printPosition(tail),
          count,
          ...(ended ? { ended } : {}),
          readers: (await workers?.readers(channel)) ?? hub.readers(channel),
        }
      },
    )

    app.get<{ Params: { channel: string; id: string } }>(
      '/v1/channels/:channel/events/:id',
      { schema: SINGLE, exposeHeadRoute: true },
      async (request, reply) => {
        const channel = channelOf(request)
        if (access.asking !== undefined) await askFor(request, [['history', channel]])
        access.require(request.identity, 'history', channel)
        const { id } = request.params
        const position = parsePosition(id)
        if (position === undefined) {
          throw new FanwireError('FW_BAD_CURSOR', 'an event id is <epoch>-<offset>, such as m3k9zq-42')
        }
        const { epoch, offset } = position
        const before = { epoch, offset: offset - 1 }
        const read = () => log.read(channel, before, { events: 1, bytes: 1 })
        const page = offset === 0 ? undefined : await hub.glances.run(read)
        const event = page?.events[0]
        const { filter } = access.may(request.identity, 'history', channel)
        if (event === undefined || !samePosition(event, position) || !letsThrough(filter, event)) {
          throw new FanwireError('FW_EVENT_NOT_FOUND', 'the channel has no such event, or no longer has it')
        }
        const tag = tagOfEvent(id, event.kind === 'erased')
        const headers = caching(tag, isShared(request), access.ruleOf(channel).erasable)
        const { etag } = headers
        reply.headers(headers)
        if (matches(request.headers['if-none-match'], etag)) return reply.code(304).send()
        return reply.type(EVENT_TYPE).send(event.json)
      },
    )
  },
  { name: 'fanwire-channels', fastify: '5.x' },
)

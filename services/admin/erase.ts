// DELETE of an event, or of all events of a channel: in the log, and in the memory of all nodes. An audit line names
// the caller.

import type { FastifyPluginAsync, FastifyRequest } from 'fastify'
import { checkedChannel } from '../broker/event/names.ts'
import { parsePosition, printPosition } from '../broker/event/position.ts'
import { FanwireError } from '../errors.ts'
import { audit, clear } from '../http/audit.ts'
import { requirePublishOrigin } from '../http/auth.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { CLEAR, ERASE } from './schemas.ts'

export const erase: FastifyPluginAsync = async app => {
  const { eraser, access } = app.fanwire

  const onRequest = async (request: FastifyRequest) => {
    requirePublishOrigin(request)
    const { channel } = request.params as { channel: string }
    access.require(request.identity, 'admin', checkedChannel(channel))
  }

  app.delete<{ Params: { channel: string; id: string } }>(
    '/v1/channels/:channel/events/:id',
    { schema: ERASE, onRequest },
    async (request, reply) => {
      checkedQuery(request, NO_PARAMETERS)
      const { channel, id } = request.params
      const position = parsePosition(id)
      if (position === undefined) {
        throw new FanwireError('FW_BAD_CURSOR', 'an event id is <epoch>-<offset>, such as m3k9zq-42')
      }
      if (!(await eraser.erase(channel, position)))
        throw new FanwireError('FW_EVENT_NOT_FOUND', 'the channel has no such event, or no longer has it')
      audit(request, 'erase', { channel, id })
      return reply.header('cache-control', 'no-store').send({ channel, id, erased: true })
    },
  )

  app.delete<{ Params: { channel: string } }>(
    '/v1/channels/:channel',
    { schema: CLEAR, onRequest },
    async (request, reply) => {
      checkedQuery(request, NO_PARAMETERS)
      const { channel } = request.params
      const head = printPosition(await clear(request, channel))
      return reply.header('cache-control', 'no-store').send({ channel, head })
    },
  )
}

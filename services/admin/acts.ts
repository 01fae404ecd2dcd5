// POST /v1/admin/…: actions on users. All nodes execute them, and an audit line names the caller.

import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Commands } from '../broker/control/commands.ts'
import { checkedChannel } from '../broker/event/names.ts'
import { FanwireError } from '../errors.ts'
import { sendToAll } from '../http/audit.ts'
import { requirePublishOrigin, requireRight } from '../http/auth.ts'
import { jsonMembers } from '../http/json-members.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedPast, checkedUser } from './checks.ts'
import { DISCONNECT, DISCONNECT_BODY, REVOKE, REVOKE_BODY, UNSUBSCRIBE, UNSUBSCRIBE_BODY } from './schemas.ts'

/** The user in the path. Raises FW_BAD_PARAMETER. */
function userOf(request: FastifyRequest<{ Params: { user: string } }>): string {
  checkedQuery(request, NO_PARAMETERS)
  const user = checkedUser('the user', request.params.user)
  if (user === '') throw new FanwireError('FW_BAD_PARAMETER', 'the user is empty')
  return user
}

export const acts: FastifyPluginAsync = async app => {
  const { access } = app.fanwire

  /** Answers once the log holds the command for all nodes. */
  async function send<Type extends keyof Commands>(
    request: FastifyRequest,
    reply: FastifyReply,
    type: Type,
    data: Commands[Type],
  ): Promise<FastifyReply> {
    await sendToAll(request, type, data)
    return reply.code(202).header('cache-control', 'no-store').send(data)
  }

  // Even if everybody may do everything, pages of other origins may not.
  app.addHook('onRequest', async request => requirePublishOrigin(request))
  const onRequest = requireRight('admin')

  app.post<{ Params: { user: string } }>(
    '/v1/admin/users/:user/disconnect',
    { schema: DISCONNECT, onRequest },
    async (request, reply) => {
      const user = userOf(request)
      const { client } = await jsonMembers(request, DISCONNECT_BODY)
      if (client === undefined) return send(request, reply, 'disconnect', { user })
      if (typeof client === 'string') return send(request, reply, 'disconnect', { user, client })
      throw new FanwireError('FW_BAD_PARAMETER', 'client is not a string')
    },
  )

  app.post<{ Params: { user: string } }>(
    '/v1/admin/users/:user/revoke',
    { schema: REVOKE, onRequest },
    async (request, reply) => {
      const user = userOf(request)
      const { before } = await jsonMembers(request, REVOKE_BODY)
      const time = before === undefined ? Date.now() : checkedPast('before', before)
      return send(request, reply, 'revoke', { user, before: time })
    },
  )

  app.post<{ Params: { channel: string } }>(
    '/v1/admin/channels/:channel/unsubscribe',
    {
      schema: UNSUBSCRIBE,
      onRequest: async ({ identity, params }) => {
        access.require(identity, 'admin', checkedChannel((params as { channel: string }).channel))
      },
    },
    async (request, reply) => {
      checkedQuery(request, NO_PARAMETERS)
      const { user } = await jsonMembers(request, UNSUBSCRIBE_BODY)
      if (user === undefined) throw new FanwireError('FW_BAD_PARAMETER', 'user is missing')
      const { channel } = request.params
      return send(request, reply, 'unsubscribe', { user: checkedUser('user', user), channel })
    },
  )
}

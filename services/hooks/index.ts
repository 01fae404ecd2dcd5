// Hooks: requests and webhooks to the application, and their status for operators.

import fp from 'fastify-plugin'
import { parseCursor } from '../broker/event/position.ts'
import { LIVES_SHARDS } from '../broker/lives/channels.ts'
import { FanwireError } from '../errors.ts'
import { requirePublishOrigin, requireRight } from '../http/auth.ts'
import { audit } from '../http/audit.ts'
import { takeBodies } from '../http/body.ts'
import { jsonMembers } from '../http/json-members.ts'
import { NO_PARAMETERS, operation } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { Type } from '../http/schema.ts'
import { Webhooks } from './webhooks.ts'
import { Application } from './application.ts'

const STATUS = Type.Object({
  sender: Type.Optional(Type.String({ description: 'id of the node that sends webhooks' })),
  webhooks: Type.Array(
    Type.Object({
      id: Type.String(),
      url: Type.String({ description: 'without its query' }),
      events: Type.Array(Type.String()),
      channels: Type.Optional(Type.Array(Type.String())),
      cursor: Type.Optional(Type.String({ description: 'the positions up to which events were sent to it' })),
      behind: Type.Optional(Type.Integer({ description: 'events of the log of lives after them' })),
      failing: Type.Optional(Type.String({ description: 'why the last attempt failed' })),
      stopped: Type.Optional(Type.String({ description: 'why nothing more is sent to it' })),
    }),
  ),
})

const LIST = operation({
  summary: 'The webhooks, and the progress of each',
  tag: 'admin',
  answers: { 200: { description: 'the webhooks of the rules file', schema: STATUS } },
})

const REPLAY_BODY = Type.Object({
  cursor: Type.String({ description: '`earliest`, `latest`, or a cursor of the log of lives' }),
})

const REPLAY = operation({
  summary: 'Resend events to a webhook, from a cursor on',
  tag: 'admin',
  path: Type.Object({ webhook: Type.String() }),
  body: { 'application/json': REPLAY_BODY },
  answers: { 202: { description: 'the webhook continues from the cursor', schema: REPLAY_BODY } },
})

export const hooks = fp(
  async app => {
    const context = app.fanwire
    const webhooks = new Webhooks(context, app.log)
    const application = new Application(context, app.log)
    context.access.on('rules', () => {
      void webhooks.open()
      void application.open()
    })
    app.addHook('onReady', async () => {
      await Promise.all([webhooks.open(), application.open()])
    })
    app.addHook('preClose', () => webhooks.close())
    app.addHook('onClose', () => application.close())

    await app.register(async app => {
      takeBodies(app)
      const onRequest = requireRight('admin')
      app.get(
        '/v1/admin/webhooks',
        { schema: LIST, onRequest, exposeHeadRoute: true },
        async (request, reply) => {
          checkedQuery(request, NO_PARAMETERS)
          reply.header('cache-control', 'no-store')
          return webhooks.status()
        },
      )

      app.post<{ Params: { webhook: string } }>(
        '/v1/admin/webhooks/:webhook/replay',
        {
          schema: REPLAY,
          onRequest: [async request => requirePublishOrigin(request), onRequest],
        },
        async (request, reply) => {
          checkedQuery(request, NO_PARAMETERS)
          const { cursor } = await jsonMembers(request, REPLAY_BODY)
          const starts = typeof cursor === 'string' ? parseCursor(cursor, LIVES_SHARDS) : undefined
          if (typeof cursor !== 'string' || starts === undefined) {
            throw new FanwireError(
              'FW_BAD_CURSOR',
              'cursor is earliest, latest, or a cursor of the log of lives',
            )
          }
          const { webhook } = request.params
          if (!(await webhooks.replay(webhook, cursor))) {
            throw new FanwireError('FW_NOT_FOUND', 'there is no webhook with this id')
          }
          audit(request, 'replay', { webhook, cursor })
          return reply.code(202).header('cache-control', 'no-store').send({ cursor })
        },
      )
    })
  },
  { name: 'fanwire-hooks', fastify: '5.x' },
)

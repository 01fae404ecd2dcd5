// The members of a channel: GET /v1/channels/{channel}/presence, and their number.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Type } from '../http/schema.ts'
import { checkedChannel } from '../broker/event/names.ts'
import { printPosition } from '../broker/event/position.ts'
import type { Count } from '../broker/presence/store.ts'
import { askFor } from '../http/asking.ts'
import { CHANNEL, NO_PARAMETERS, operation, text, whole } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'

const QUERY = Type.Object({
  limit: whole(1, 1000, 100, 'maximum number of members on the page'),
  after: text('the user after whom the page begins: `next` of the previous page'),
})

const COUNT = {
  users: Type.Integer({ description: 'members' }),
  clients: Type.Integer({ description: 'their connections, and anonymous ones' }),
}

const MEMBER = Type.Object({
  user: Type.String(),
  info: Type.Optional(Type.Unknown()),
  since: Type.Integer({ description: 'ms since 1970' }),
})

const MEMBERS = operation({
  summary: 'The members of a channel',
  tag: 'channels',
  path: CHANNEL,
  query: QUERY,
  answers: {
    200: {
      description: 'members on all nodes, sorted by name; read later joins and leaves after `cursor`',
      schema: Type.Object({
        ...COUNT,
        members: Type.Array(MEMBER),
        cursor: Type.String({ description: 'a position in the channel fanwire:presence:{channel}' }),
        more: Type.Optional(Type.Boolean()),
        next: Type.Optional(Type.String({ description: '`after` for the next page' })),
      }),
    },
  },
})

const HOW_MANY = operation({
  summary: 'The number of members of a channel',
  tag: 'channels',
  path: CHANNEL,
  answers: { 200: { description: 'over all nodes', schema: Type.Object(COUNT) } },
})

type Request = FastifyRequest<{ Params: { channel: string } }>

export async function presenceRoutes(app: FastifyInstance): Promise<void> {
  const { access, presence } = app.fanwire

  /** The channel in the path, whose members the client may see. Raises FW_BAD_CHANNEL, FW_FORBIDDEN, FW_NO_PRESENCE. */
  function channelOf({ params, identity }: Request): string {
    const channel = checkedChannel(params.channel)
    access.requireMembers(identity, channel)
    return channel
  }

  const ask = (request: Request) => askFor(request, [['presence', checkedChannel(request.params.channel)]])

  app.get<{ Params: { channel: string } }>(
    '/v1/channels/:channel/presence',
    { schema: MEMBERS, exposeHeadRoute: true },
    async (request, reply) => {
      const { limit = 100, after = '' } = checkedQuery(request, QUERY)
      if (access.asking !== undefined) await ask(request)
      const found = await presence.page(channelOf(request), after, limit)
      const next = found.next === undefined ? '' : `,"more":true,"next":${JSON.stringify(found.next)}`
      const cursor = printPosition(found.cursor)
      reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      return `{"users":${found.users},"clients":${found.clients},"members":[${found.members}],"cursor":"${cursor}"${next}}`
    },
  )

  app.get<{ Params: { channel: string } }>(
    '/v1/channels/:channel/presence/count',
    { schema: HOW_MANY, exposeHeadRoute: true },
    async (request, reply): Promise<Pick<Count, 'users' | 'clients'>> => {
      checkedQuery(request, NO_PARAMETERS)
      if (access.asking !== undefined) await ask(request)
      const { users, clients } = await presence.count(channelOf(request))
      reply.header('cache-control', 'no-store')
      return { users, clients }
    },
  )
}

// GET /v1/admin/stats, and the views of one channel, for the console.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { printPosition } from '../broker/event/position.ts'
import { requireRight } from '../http/auth.ts'
import { NO_PARAMETERS } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedAnyChannel, checkedUser } from './checks.ts'
import { CHANNEL_SEEN, READERS, READERS_QUERY, STATS } from './schemas.ts'

type OfChannel = { Params: { channel: string } }

export async function sight(app: FastifyInstance): Promise<void> {
  const { nodes, questions, log, access, hub } = app.fanwire
  app.addHook('onRequest', requireRight('admin'))
  app.addHook('onSend', async (_request, reply) => void reply.header('cache-control', 'no-store'))

  app.get('/v1/admin/stats', { schema: STATS, exposeHeadRoute: true }, async request => {
    checkedQuery(request, NO_PARAMETERS)
    const known = new Map(nodes.list().map(node => [node.id, node]))
    const { entries, silent } = await questions.ask('stats', {}, { limit: 1000 })
    const measured = entries.flatMap(({ key: id, items }) => items.map(({ item }) => ({ id, ...item })))
    return {
      nodes: measured.map(({ id, ...stats }) => {
        const { role = '', version = '', host = '', started = 0 } = known.get(id) ?? {}
        return { id, role, version, host, started, ...stats }
      }),
      silent: silent.map(({ id }) => id),
    }
  })

  const channelOf = (request: FastifyRequest<OfChannel>) => checkedAnyChannel(request.params.channel)

  app.get<OfChannel>(
    '/v1/admin/channels/:channel',
    { schema: CHANNEL_SEEN, exposeHeadRoute: true },
    async request => {
      checkedQuery(request, NO_PARAMETERS)
      const channel = channelOf(request)
      const [{ head, tail, count }, { entries, silent }] = await Promise.all([
        log.state(channel),
        questions.ask('channels', { match: channel }),
      ])
      const followed = entries.flatMap(({ items }) => items.map(({ item }) => item))
      const { match, line, subscribe, publish } = access.ruleOf(channel)
      const { events, age, bytes } = hub.options.retentionOf(channel)
      return {
        channel,
        head: printPosition(head),
        ...(tail === undefined ? {} : { tail: printPosition(tail) }),
        count,
        readers: followed.reduce((sum, { readers }) => sum + readers, 0),
        rate: Math.max(0, ...followed.map(({ rate = 0 }) => rate)),
        nodes: followed.length,
        rule: { match, line, subscribe, publish },
        history: { events, age, bytes },
        silent: silent.map(({ id }) => id),
      }
    },
  )

  app.get<OfChannel>(
    '/v1/admin/channels/:channel/readers',
    { schema: READERS, exposeHeadRoute: true },
    async request => {
      const { user, ...page } = checkedQuery(request, READERS_QUERY)
      const channel = channelOf(request)
      const asks = user === undefined ? { channel } : { channel, user: checkedUser('user', user) }
      const { entries, next, silent } = await questions.ask('readers', asks, page)
      return {
        readers: entries.flatMap(({ key: id, items }) =>
          items.map(({ node, item }) => ({ id, ...item, node })),
        ),
        ...(next === undefined ? {} : { next }),
        silent: silent.map(({ id }) => id),
      }
    },
  )
}

// GET /v1/admin/…: lists of nodes, connections and channels, page by page.

import type { FastifyPluginAsync } from 'fastify'
import type { Answers, QuestionTypes } from '../broker/control/questions.ts'
import { type Position, parsePosition } from '../broker/event/position.ts'
import { patternFault } from '../broker/rules/patterns.ts'
import { FanwireError, quote } from '../errors.ts'
import { requireRight } from '../http/auth.ts'
import { checkedQuery } from '../http/query.ts'
import { checkedUser } from './checks.ts'
import { CHANNELS, CHANNELS_QUERY, CONNECTIONS, CONNECTIONS_QUERY, NODES, NODES_QUERY } from './schemas.ts'

/** The members of a page besides its items: where the next page begins, and nodes that did not answer. */
function endOf({ next, silent }: Pick<Answers<'channels'>, 'next' | 'silent'>) {
  return { ...(next === undefined ? {} : { next }), silent: silent.map(({ id }) => id) }
}

type ChannelItem = QuestionTypes['channels']['item']

/** The channel over all nodes: the sum of their readers, and the newest head. */
function mergeChannel(channel: string, items: readonly ChannelItem[]) {
  return {
    channel,
    readers: items.reduce((sum, { readers }) => sum + readers, 0),
    rate: Math.max(...items.map(({ rate = 0 }) => rate)),
    head: items.map(({ head }) => head).reduce(newer),
    nodes: items.length,
  }
}

/** The position with the greater offset. Epochs have no order, so either may in fact be the newer one. */
function newer(a: string | undefined, b: string | undefined): string | undefined {
  const offsetOf = (head = '') => (parsePosition(head) as Position | undefined)?.offset ?? -1
  return offsetOf(b) > offsetOf(a) ? b : a
}

export const lists: FastifyPluginAsync = async app => {
  const { nodes, questions, access, presence } = app.fanwire
  /** The users in a channel; undefined if it keeps no presence. Raises LogUnavailable. */
  const membersOf = async (channel: string): Promise<number | undefined> =>
    channel.startsWith('fanwire:') || !access.keepsPresence(channel)
      ? undefined
      : (await presence.count(channel)).users

  app.addHook('onRequest', requireRight('admin'))
  app.addHook('onSend', async (_request, reply) => void reply.header('cache-control', 'no-store'))

  app.get('/v1/admin/nodes', { schema: NODES, exposeHeadRoute: true }, async request => {
    const { limit = 100, after } = checkedQuery(request, NODES_QUERY)
    const all = nodes.list()
    const begin = after === undefined ? 0 : all.findIndex(({ id }) => id === after) + 1
    if (after !== undefined && begin === 0) {
      throw new FanwireError('FW_BAD_PARAMETER', 'after is not the id of a node that is listed')
    }
    const page = all.slice(begin, begin + limit)
    const next = begin + limit < all.length ? page.at(-1)?.id : undefined
    return { nodes: page, ...(next === undefined ? {} : { next }) }
  })

  app.get('/v1/admin/connections', { schema: CONNECTIONS, exposeHeadRoute: true }, async request => {
    const { user, ...page } = checkedQuery(request, CONNECTIONS_QUERY)
    const asks = user === undefined ? {} : { user: checkedUser('user', user) }
    const answers = await questions.ask('connections', asks, page)
    const connections = answers.entries.flatMap(({ key: id, items }) =>
      items.map(({ node, item }) => ({ id, ...item, node })),
    )
    return { connections, ...endOf(answers) }
  })

  app.get('/v1/admin/channels', { schema: CHANNELS, exposeHeadRoute: true }, async request => {
    const { match = '*', ...page } = checkedQuery(request, CHANNELS_QUERY)
    const fault = match.startsWith('fanwire:') ? undefined : patternFault(match)
    if (fault !== undefined) throw new FanwireError('FW_BAD_PARAMETER', `match ${quote(match)} ${fault}`)
    const answers = await questions.ask('channels', { match }, page)
    const channels = await Promise.all(
      answers.entries.map(async ({ key, items }) => {
        const members = await membersOf(key)
        const channel = mergeChannel(
          key,
          items.map(({ item }) => item),
        )
        return members === undefined ? channel : { ...channel, members }
      }),
    )
    return { channels, ...endOf(answers) }
  })
}

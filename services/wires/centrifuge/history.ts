// Requests of clients and servers for the history and the members of a channel.

import type { LogEvent } from '../../broker/event/event.ts'
import { checkedChannel } from '../../broker/event/names.ts'
import { isPosition, type Position, samePosition } from '../../broker/event/position.ts'
import type { Identity } from '../../broker/access/identity.ts'
import { letsThrough } from '../../broker/fanout/selection.ts'
import { readBackwards } from '../../broker/log/backwards.ts'
import type { Context } from '../../http/context.ts'
import { glanceFor } from '../open-for.ts'
import { badRequest, offsetGone } from './codes.ts'
import type { Reply, Request } from './protocol.ts'
import { infoOf, isPublication, publicationOf } from './pushes.ts'
import { startOf } from './recovery.ts'

/** The maximum publications of one answer. */
const MOST = 1000
const PAGE_BYTES = 4 * 1024 * 1024
/** The maximum members of one answer. */
const MOST_MEMBERS = 1000

interface Asked {
  readonly limit: number
  readonly since: { readonly epoch: string; readonly offset: number } | undefined
  readonly reverse: boolean
}

function askedOf({ limit = 0, since, reverse = false }: Request): Asked {
  if (!Number.isSafeInteger(limit)) throw badRequest('limit must be a whole number')
  if (typeof reverse !== 'boolean') throw badRequest('reverse must be true or false')
  const most = limit === -1 ? MOST : Math.min(Number(limit), MOST)
  if (since === undefined || since === null) return { limit: Math.max(0, most), since: undefined, reverse }
  const { epoch = '', offset = 0 } = Object(since) as Record<string, unknown>
  if (typeof since !== 'object' || typeof epoch !== 'string' || !Number.isSafeInteger(offset))
    throw badRequest('since must be {"offset":…,"epoch":"…"}')
  return { limit: Math.max(0, most), since: { epoch, offset: offset as number }, reverse }
}

/** Raises FW_BAD_COMMAND, FW_BAD_CHANNEL, FW_FORBIDDEN, FW_OFFSET_GONE, LogUnavailable. */
export async function historyOf(context: Context, identity: Identity, request: Request): Promise<Reply> {
  const channel = checkedChannel(request.channel)
  const asked = askedOf(request)
  context.access.require(identity, 'history', channel)
  const events = asked.limit === 0 ? [] : await read(context, identity, channel, asked)
  const { head } = await context.hub.glances.run(() => context.log.state(channel))
  const { filter } = context.access.may(identity, 'history', channel)
  const shown = events.filter(event => isPublication(event) && letsThrough(filter, event))
  return { publications: shown.map(publicationOf), epoch: head.epoch, offset: head.offset }
}

function read(context: Context, identity: Identity, channel: string, asked: Asked): Promise<LogEvent[]> {
  return asked.reverse ? backwards(context, channel, asked) : forwards(context, identity, channel, asked)
}

async function forwards(
  { hub, access }: Context,
  identity: Identity,
  channel: string,
  { since, limit }: Asked,
): Promise<LogEvent[]> {
  const start = since === undefined ? 'earliest' : startOf(since.epoch, since.offset)
  if (start === 'latest') throw offsetGone()
  const wanted = { channels: [channel], starts: [start] }
  const page = await glanceFor({ hub, access, identity }, wanted, async ([opened]) =>
    opened?.page(start, { events: limit, bytes: PAGE_BYTES }),
  )
  if (page?.gap !== undefined) throw offsetGone()
  return [...(page?.events ?? [])]
}

async function backwards(
  { log, hub }: Context,
  channel: string,
  { since, limit }: Asked,
): Promise<LogEvent[]> {
  let before: Position | 'head' = 'head'
  if (since !== undefined && !(since.epoch === '' && since.offset === 0)) {
    const at = startOf(since.epoch, since.offset)
    if (!isPosition(at)) throw offsetGone()
    before = at
  }
  const asked = { before, after: 'earliest', limit } as const
  const { events, gaps } = await hub.glances.run(() => readBackwards(log, channel, asked))
  if (before !== 'head' && gaps.some(({ from }) => samePosition(from, before as Position))) throw offsetGone()
  return events.toReversed()
}

/** A channel whose members the client may list. Raises FW_BAD_CHANNEL, FW_FORBIDDEN, FW_NO_PRESENCE. */
export function attendedChannel({ access }: Context, identity: Identity, name: unknown): string {
  const channel = checkedChannel(name)
  access.requireMembers(identity, channel)
  return channel
}

/**
 * Lists each user once, and anonymous clients only if there are no users. Raises the errors of `attendedChannel`,
 * LogUnavailable.
 */
export async function presenceOf(context: Context, identity: Identity, request: Request): Promise<Reply> {
  const channel = attendedChannel(context, identity, request.channel)
  await context.presence.settled(channel)
  const { members, users, clients } = await context.presence.page(channel, '', MOST_MEMBERS)
  const infos = members.map(member => infoOf(JSON.parse(member) as { user: string }))
  if (users === 0) {
    for (let i = 1; i <= Math.min(clients, MOST_MEMBERS); i++)
      infos.push({ user: '', client: `anonymous:${i}` })
  }
  return { presence: Object.fromEntries(infos.map(info => [info.client, info])) }
}

/** Counts the members. If all clients are anonymous, they count as one user. */
export async function presenceStatsOf(
  context: Context,
  identity: Identity,
  request: Request,
): Promise<Reply> {
  const channel = attendedChannel(context, identity, request.channel)
  await context.presence.settled(channel)
  const { users, clients } = await context.presence.count(channel)
  return { num_clients: clients, num_users: users === 0 && clients > 0 ? 1 : users }
}

// The history of a channel as a resource: pages from the head, or from a position, backwards.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FanwireError, quote } from '../errors.ts'
import type { Filter } from '../broker/event/filter.ts'
import { checkedReadable } from '../broker/event/names.ts'
import { parsePosition, type Position, printPosition } from '../broker/event/position.ts'
import { letsThrough } from '../broker/fanout/selection.ts'
import { type HistoryPage, readBackwards } from '../broker/log/backwards.ts'
import { askFor } from '../http/asking.ts'
import { caching, EVENT_TYPE, isShared, matches, tagOf } from '../http/conditional.ts'
import { CHANNEL, EVENT, GAP, operation, text, whole } from '../http/operation.ts'
import { checkedQuery } from '../http/query.ts'
import { Type } from '../http/schema.ts'

const QUERY = Type.Object({
  before: text('events before this position; `head`, the default: the newest'),
  after: text('only events after this position; `earliest`, the default: all events'),
  limit: whole(1, 1000, 100, 'maximum number of events on the page, the newest ones'),
})

const PAGE = Type.Object({
  events: Type.Array(EVENT),
  cursor: Type.Optional(
    Type.String({ description: 'the cursor to follow from, if the page reaches the head' }),
  ),
  before: Type.Union([Type.String(), Type.Null()], {
    description: '`before` for the previous page; null if there is none',
  }),
  gaps: Type.Optional(Type.Array(GAP)),
  end: Type.Optional(Type.Object({ channel: Type.String(), id: Type.String() })),
})

const HISTORY = operation({
  summary: 'The history of a channel, page by page, backwards',
  tag: 'channels',
  path: CHANNEL,
  query: QUERY,
  answers: {
    200: { description: 'events in the order of the log', schema: PAGE },
    304: { description: 'the client has the page' },
  },
})

export function historyRoute(app: FastifyInstance): void {
  const { log, hub, access } = app.fanwire
  app.get<{ Params: { channel: string } }>(
    '/v1/channels/:channel/events',
    { schema: HISTORY, exposeHeadRoute: true },
    async (request, reply) => {
      const query = checkedQuery(request, QUERY)
      const channel = checkedReadable(request.params.channel)
      if (access.asking !== undefined) await askFor(request, [['history', channel]])
      access.require(request.identity, 'history', channel)
      const asked = {
        before: positionOr('head', 'before', query.before),
        after: positionOr('earliest', 'after', query.after),
        limit: query.limit ?? 100,
      }
      const page = await hub.glances.run(() => readBackwards(log, channel, asked))
      const { filter } = access.may(request.identity, 'history', channel)
      const body = encodePage(channel, page, filter)
      const { erasable } = access.ruleOf(channel)
      const headers = headersOf(request, body, { final: page.final && filter === undefined, erasable })
      reply.headers(headers)
      if (matches(request.headers['if-none-match'], headers.etag)) return reply.code(304).send()
      return reply.type(EVENT_TYPE).send(body)
    },
  )
}

/** Raises FW_BAD_CURSOR. */
function positionOr<W extends string>(word: W, name: string, given: string = word): Position | W {
  if (given === word) return word
  const position = parsePosition(given)
  if (position !== undefined) return position
  throw new FanwireError(
    'FW_BAD_CURSOR',
    `${name} is a position (<epoch>-<offset>) or ${word}, not ${quote(given)}`,
  )
}

const OPEN = Buffer.from('{"events":[')
const COMMA = Buffer.from(',')

function encodePage(channel: string, { events, cursor, before, gaps }: HistoryPage, filter?: Filter): Buffer {
  const pieces: Uint8Array[] = [OPEN]
  for (const event of events) {
    if (event.kind === 'end' || !letsThrough(filter, event)) continue
    if (pieces.length > 1) pieces.push(COMMA)
    pieces.push(event.json)
  }
  const end = events.find(({ kind }) => kind === 'end')
  const more = {
    ...(cursor === undefined ? {} : { cursor: printPosition(cursor) }),
    before: before === undefined ? null : printPosition(before),
    ...(gaps.length === 0
      ? {}
      : {
          gaps: gaps.map(({ from, to }) => ({ channel, from: printPosition(from), to: printPosition(to) })),
        }),
    ...(end === undefined ? {} : { end: { channel, id: printPosition(end) } }),
  }
  pieces.push(Buffer.from(`],${JSON.stringify(more).slice(1)}`))
  return Buffer.concat(pieces)
}

/** Headers of a page. Pages that may change are revalidated each time, by a hash of their bytes. */
function headersOf(
  request: FastifyRequest,
  body: Buffer,
  { final, erasable }: { final: boolean; erasable: boolean },
) {
  const tag = tagOf(body)
  const shared = isShared(request)
  const kept = caching(tag, shared, erasable)
  return final ? kept : { ...kept, 'cache-control': `${shared ? '' : 'private, '}no-cache` }
}

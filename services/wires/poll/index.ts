// Short polling: GET /v1/poll reads once, and answers at once.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type Answer, collect } from '../../broker/fanout/collect.ts'
import type { Selection } from '../../broker/fanout/selection.ts'
import { printCursor } from '../../broker/event/position.ts'
import { askToRead } from '../../http/asking.ts'
import { countErased, digestOfSelected, matches, policyFor } from '../../http/conditional.ts'
import { operation, whole } from '../../http/operation.ts'
import { ANSWER, sendAnswer } from '../answer.ts'
import { glanceFor, selectionsFor } from '../open-for.ts'
import { LIVES_CHANNELS } from '../../broker/lives/channels.ts'
import { cursorParameters, readParameters, type ReadQuery, readQuery } from '../read-query.ts'

const LIMIT = { limit: whole(1, 1000, 100, 'maximum number of events in the response') }
const QUERY = readParameters(LIMIT)
const LIVES_QUERY = cursorParameters(LIMIT)

export async function poll(app: FastifyInstance): Promise<void> {
  const { config, hub, access, presence } = app.fanwire
  const rules = {
    begin: 'earliest',
    maxChannels: config.maxChannels,
    query: QUERY,
  } as const

  const answers = {
    200: { description: 'events after the cursor', schema: ANSWER },
    304: { description: 'nothing new' },
  }
  const schema = operation({
    summary: 'Short polling: answers at once',
    tag: 'read',
    query: QUERY,
    answers,
  })
  const livesSchema = operation({
    summary: 'The log of lives: connections of clients, and channels in use',
    tag: 'admin',
    query: LIVES_QUERY,
    answers,
  })

  app.get('/v1/poll', { schema, exposeHeadRoute: true }, async (request, reply) =>
    answer(request, reply, readQuery(request, rules)),
  )
  app.get('/v1/lives', { schema: livesSchema, exposeHeadRoute: true }, async (request, reply) => {
    access.require(request.identity, 'admin')
    return answer(
      request,
      reply,
      readQuery(request, { ...rules, channels: LIVES_CHANNELS, query: LIVES_QUERY }),
    )
  })

  async function answer(
    request: FastifyRequest,
    reply: FastifyReply,
    { values, ...wanted }: ReadQuery<{ limit: number }>,
  ) {
    if (access.asking !== undefined) await askToRead(request, wanted)
    const { identity } = request
    const selections = selectionsFor({ access, identity }, wanted)
    const found = await glanceFor({ hub, access, identity }, wanted, opened =>
      collect(opened, wanted.starts, values.limit, selections),
    )
    presence.visit(identity, wanted.channels)
    reply.header('cache-control', policyFor(request, 'no-cache'))
    const tag = entityTag(found, selections)
    if (tag !== undefined) {
      reply.header('etag', tag)
      if (matches(request.headers['if-none-match'], tag)) return reply.code(304).send()
    }
    return sendAnswer(reply, 'poll', found)
  }
}

/**
 * A strong tag that changes with the body (RFC 9110 section 8.8.3): where the events begin and end, how many of them are
 * erased, which are selected, and whether there is more. Undefined if there are gaps, which a client must not miss.
 */
function entityTag(
  { events, gaps, starts, cursors, more }: Answer,
  selections: readonly (Selection | undefined)[],
): string | undefined {
  if (gaps.length > 0) return undefined
  if (events.length === 0) return `"${printCursor(cursors)}"`
  const selected = digestOfSelected(selections, events)
  const erased = countErased(events)
  const parts = [
    printCursor(starts),
    printCursor(cursors),
    ...(more ? ['more'] : []),
    ...(erased > 0 ? [`erased=${erased}`] : []),
    ...(selected === undefined ? [] : [selected]),
  ]
  return `"${parts.join(';')}"`
}

// Short polling: GET /v1/poll asks once, and is answered at once.

import type { FastifyInstance } from 'fastify'
import { type Answer, collect } from '../../broker/fanout/collect.ts'
import { printCursor } from '../../broker/event/position.ts'
import { matches, policyFor } from '../../http/conditional.ts'
import { operation, whole } from '../../http/operation.ts'
import { ANSWER, sendAnswer } from '../answer.ts'
import { glanceFor } from '../open-for.ts'
import { readParameters, readQuery } from '../read-query.ts'

const QUERY = readParameters({ limit: whole(1, 1000, 100, 'most events of the response') })

export async function poll(app: FastifyInstance): Promise<void> {
  const { config, hub, access, presence } = app.fanwire
  const rules = {
    begin: 'earliest',
    maxChannels: config.maxChannels,
    query: QUERY,
  } as const

  const schema = operation({
    summary: 'Short polling: what is there, at once',
    tag: 'read',
    query: QUERY,
    answers: {
      200: { description: 'events after the cursor', schema: ANSWER },
      304: { description: 'nothing new' },
    },
  })

  app.get('/v1/poll', { schema, exposeHeadRoute: true }, async (request, reply) => {
    const { channels, starts, values } = readQuery(request, rules)
    const { identity } = request
    const wanted = { channels, starts }
    const answer = await glanceFor({ hub, access, identity }, wanted, opened =>
      collect(opened, starts, values.limit),
    )
    presence.visit(identity, channels)
    reply.header('cache-control', policyFor(request, 'no-cache'))
    const tag = entityTag(answer)
    if (tag !== undefined) {
      reply.header('etag', tag)
      if (matches(request.headers['if-none-match'], tag)) return reply.code(304).send()
    }
    return sendAnswer(reply, 'poll', answer)
  })
}

/**
 * A strong tag that changes with the body (RFC 9110 section 8.8.3): where the events begin and end, and whether
 * there is more. None with gaps, which a client must not miss.
 */
function entityTag({ events, gaps, starts, cursors, more }: Answer): string | undefined {
  if (gaps.length > 0) return undefined
  if (events.length === 0) return `"${printCursor(cursors)}"`
  return `"${printCursor(starts)};${printCursor(cursors)}${more ? ';more' : ''}"`
}

// The routes of Durable Streams.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { checkedChannel } from '../../broker/event/names.ts'
import type { Start } from '../../broker/event/position.ts'
import { FanwireError } from '../../errors.ts'
import { askToRead } from '../../http/asking.ts'
import { takeBodies } from '../../http/body.ts'
import { CHANNEL, operation, text, texts, word } from '../../http/operation.ts'
import { checkedQuery } from '../../http/query.ts'
import { Type } from '../../http/schema.ts'
import { LiveReads, requireOffset } from './live.ts'
import { checkedOffset } from './offsets.ts'
import { Reads } from './read.ts'
import { Streams } from './streams.ts'
import { Writes } from './write.ts'

const PATH = '/v1/stream/*'

const STREAM = Type.Object({ '*': CHANNEL.properties.channel })

const QUERY = Type.Object({
  offset: text('-1, now, or a value of Stream-Next-Offset'),
  live: word(['long-poll', 'sse'], 'what to do at the tail'),
  cursor: text('the last Stream-Cursor'),
  '<name>': texts('any other parameter is ignored'),
})

const describe = (summary: string, tag: 'read' | 'publish', status: number, query?: typeof QUERY) =>
  operation({
    summary: `Durable Streams: ${summary}`,
    tag,
    path: STREAM,
    ...(query === undefined ? {} : { query }),
    answers: { [status]: { description: 'as the protocol says', type: '*/*' } },
  })

export async function durableStreamRoutes(app: FastifyInstance): Promise<void> {
  const context = app.fanwire
  const streams = new Streams(context.log)
  const reads = new Reads(context, streams)
  const live = new LiveReads(context, streams, reads)
  const writes = new Writes(context, streams)

  const ask = (request: FastifyRequest, channel: string, start: Start) =>
    askToRead(request, { channels: [channel], starts: [start] })

  takeBodies(app)
  app.addHook('onRequest', async (_request, reply) => {
    reply.header('x-content-type-options', 'nosniff').header('cross-origin-resource-policy', 'cross-origin')
  })

  app.get(PATH, { schema: describe('read', 'read', 200, QUERY) }, async (request, reply) => {
    const channel = streamOf(request)
    const { offset, live: mode, cursor } = checkedQuery(request, QUERY)
    const start = checkedOffset(mode === undefined ? (offset ?? '-1') : requireOffset(offset))
    if (context.access.asking !== undefined) await ask(request, channel, start)
    if (mode === undefined) return reads.catchUp(request, reply, channel, start)
    const asked = { channel, start, cursor }
    return mode === 'sse' ? live.sse(request, reply, asked) : live.longPoll(request, reply, asked)
  })
  app.head(
    PATH,
    { schema: describe('the metadata of a stream', 'read', 200, QUERY) },
    async (request, reply) => {
      const channel = streamOf(request)
      if (context.access.asking !== undefined) await ask(request, channel, 'latest')
      return reads.head(request, reply, channel)
    },
  )
  const changes = {
    PUT: { summary: 'create', status: 201, run: writes.create },
    POST: { summary: 'append, close', status: 204, run: writes.append },
    DELETE: { summary: 'delete', status: 204, run: writes.delete },
  } as const
  for (const [method, { summary, status, run }] of Object.entries(changes)) {
    app.route({
      method,
      url: PATH,
      schema: describe(summary, 'publish', status),
      handler: async (request: FastifyRequest, reply: FastifyReply) =>
        run.call(writes, request, reply, streamOf(request)),
    })
  }
}

/** The channel that a path names. Raises FW_BAD_CHANNEL, FW_NOT_SUPPORTED. */
function streamOf({ params }: FastifyRequest): string {
  const { '*': name } = params as { '*': string }
  if (name === '__ds' || name.startsWith('__ds/'))
    throw new FanwireError('FW_NOT_SUPPORTED', 'subscriptions of Durable Streams are not supported')
  return checkedChannel(name)
}

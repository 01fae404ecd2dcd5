// Long polling: GET /v1/long-poll asks once, and is held until there is something or `wait` is over.

import type { FastifyInstance } from 'fastify'
import { LongPoll } from '../../fanout/pages.ts'
import { whenOver } from '../../http/over.ts'
import { policyFor, sendAnswer } from '../answer.ts'
import { readQuery } from '../query.ts'

export async function longPoll(app: FastifyInstance): Promise<void> {
  const { config, hub } = app.fanwire
  const rules = {
    begin: 'latest',
    maxChannels: config.maxChannels,
    numbers: {
      limit: { min: 1, max: 1000, default: 100 },
      // Below the 60 s at which load balancers cut.
      wait: { min: 1, max: 55, default: 25 },
    },
  } as const
  const stats = hub.wire('long-poll')

  app.get('/v1/long-poll', async (request, reply) => {
    const { channels, starts, numbers } = readQuery(request, rules)
    const answer = await hub.using(channels, async opened => {
      const waiting = new LongPoll(hub, opened)
      const stop = whenOver(request, reply, () => waiting.release())
      stats.connections++
      try {
        return await waiting.answer(starts, numbers.limit, numbers.wait * 1000)
      } finally {
        stats.connections--
        stop()
      }
    })
    reply.header('cache-control', policyFor(request, 'no-store'))
    return sendAnswer(reply, 'long-poll', answer)
  })
}

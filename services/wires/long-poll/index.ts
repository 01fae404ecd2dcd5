// Long polling: GET /v1/long-poll reads once, and is held until there is something or `wait` is over.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FanwireError } from '../../errors.ts'
import type { Channel } from '../../broker/fanout/channel.ts'
import { type Answer, collect } from '../../broker/fanout/collect.ts'
import { LongPoll } from '../../broker/fanout/long-poll.ts'
import type { CloseReason } from '../../broker/fanout/framing.ts'
import { partyOf } from '../../http/address.ts'
import { askToRead } from '../../http/asking.ts'
import { refusalOf } from '../../http/clients.ts'
import { probeWhileHeld } from '../../http/node/half-open.ts'
import { whenOver } from '../../http/exchange.ts'
import { isPosition, type Start } from '../../broker/event/position.ts'
import { policyFor } from '../../http/conditional.ts'
import { operation, whole } from '../../http/operation.ts'
import { ANSWER, sendAnswer } from '../answer.ts'
import { type Given, givenFor, glanceFor, openFor, requireReadable } from '../open-for.ts'
import { readParameters, readQuery } from '../read-query.ts'
import { endHead } from '../streaming.ts'

const QUERY = readParameters({
  limit: whole(1, 1000, 100, 'maximum number of events in the response'),
  // Less than 60 s, after which load balancers cut connections.
  wait: whole(1, 55, 25, 'how long the request is held if there are no events, in seconds'),
})

interface Holding {
  readonly starts: readonly Start[]
  readonly given: readonly Given[]
  readonly limit: number
  /** Seconds. */
  readonly wait: number
}

export async function longPoll(app: FastifyInstance): Promise<void> {
  const { config, hub, access, clients, limits, presence } = app.fanwire
  const rules = {
    begin: 'latest',
    maxChannels: config.maxChannels,
    query: QUERY,
  } as const
  const stats = hub.connections.wires.of('long-poll')

  const schema = operation({
    summary: 'Long polling: waits for events',
    tag: 'read',
    query: QUERY,
    answers: { 200: { description: 'events after the cursor', schema: ANSWER } },
  })

  app.route({ method: ['GET', 'HEAD'], url: '/v1/long-poll', schema, handler: answerTo })

  async function answerTo(request: FastifyRequest, reply: FastifyReply) {
    const { values, ...wanted } = readQuery(request, rules)
    const { channels, starts } = wanted
    if (access.asking !== undefined) await askToRead(request, wanted)
    const { identity } = request
    const opener = { hub, access, identity }
    if (request.method === 'HEAD') {
      requireReadable(opener, wanted)
      return endHead(reply, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'application/json; charset=utf-8',
        'cache-control': policyFor(request, 'no-store'),
      })
    }
    const lease = limits.holds.take(partyOf(request), channels.length)
    const given = givenFor(opener, wanted)
    const selections = given.map(each => each.selection)
    const held = (opened: Channel[]) => hold(request, reply, opened, { starts, given, ...values })
    const over = openFor(opener, wanted, held).finally(() => lease?.end())
    const answer = await over.catch(async error => {
      if (!(error instanceof FanwireError) || error.code !== 'FW_TOO_MANY_FOLLOWED') throw error
      // A full node can't wait for events, but it returns the existing ones.
      const found = await glanceFor(opener, wanted, opened =>
        collect(opened, starts, values.limit, selections),
      )
      if (found.events.length === 0 && found.gaps.length === 0) throw error
      return found
    })
    reply.header('cache-control', policyFor(request, 'no-store'))
    return sendAnswer(reply, 'long-poll', answer)
  }

  async function hold(
    request: FastifyRequest,
    reply: FastifyReply,
    opened: Channel[],
    { starts, given, limit, wait }: Holding,
  ): Promise<Answer> {
    const waiting = new LongPoll(hub, opened)
    const stop = whenOver(request, reply, () => waiting.release())
    const channels = opened.map(({ name }) => name)
    presence.visit(request.identity, channels)
    let ended: CloseReason | undefined
    const client = clients.add(
      {
        wire: 'long-poll',
        polls: true,
        channels,
        positionIn(channel) {
          const start = starts[channels.indexOf(channel)]
          return start !== undefined && isPosition(start) ? start : undefined
        },
        grantIn: channel => given[channels.indexOf(channel)]?.grant,
        end(reason) {
          ended = reason
          waiting.release()
        },
      },
      { identity: request.identity, asker: undefined },
    )
    const leave = probeWhileHeld(request, reply)
    stats.connections++
    try {
      const answer = await waiting.answer(
        starts,
        limit,
        wait * 1000,
        given.map(each => each.selection),
      )
      // If its credentials expired, the client needs the cursor to continue with new ones.
      if (ended !== undefined && ended.expired !== true) throw refusalOf(ended)
      return answer
    } finally {
      stats.connections--
      clients.remove(client)
      stop()
      leave()
    }
  }
}

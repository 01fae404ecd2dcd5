// The request wires' way through an edge: open the channels, ask, let go of them.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Channel } from '../fanout/channel.ts'
import type { Hub } from '../fanout/hub.ts'
import { type Answer, encodeAnswer } from '../fanout/pages.ts'

/** Asks with the channels held open. Raises what `ask` raises, FW_TOO_MANY_FOLLOWED, LogUnavailable. */
export async function withChannels<T>(
  hub: Hub,
  names: readonly string[],
  ask: (channels: Channel[]) => Promise<T>,
): Promise<T> {
  const channels = await hub.openAll(names)
  try {
    return await ask(channels)
  } finally {
    for (const channel of channels) channel.release()
  }
}

/** Sends an answer and counts it. `cacheControl` gets `private` in front when the request was authorised. */
export function sendAnswer(
  request: FastifyRequest,
  reply: FastifyReply,
  wire: string,
  answer: Answer,
  cacheControl: string,
): FastifyReply {
  const stats = request.server.fanwire.hub.wire(wire)
  stats.deliveries += answer.events.length
  stats.gaps += answer.gaps.length
  return reply
    .header('cache-control', request.headers.authorization ? `private, ${cacheControl}` : cacheControl)
    .type('application/json; charset=utf-8')
    .send(encodeAnswer(answer))
}

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

/** A caching policy; what was authorised stays out of shared caches (RFC 9111 section 5.2.2.7). */
export function policyFor(request: FastifyRequest, policy: string): string {
  return request.headers.authorization === undefined ? policy : `private, ${policy}`
}

/** Sends an answer and counts it. */
export function sendAnswer(reply: FastifyReply, wire: string, answer: Answer): FastifyReply {
  const stats = reply.server.fanwire.hub.wire(wire)
  stats.deliveries += answer.events.length
  stats.gaps += answer.gaps.length
  return reply.type('application/json; charset=utf-8').send(encodeAnswer(answer))
}

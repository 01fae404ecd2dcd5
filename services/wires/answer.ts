// What the request wires answer with.

import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Answer, encodeAnswer } from '../broker/fanout/collect.ts'

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

/** If-None-Match, compared weakly: RFC 9110 section 13.1.2. */
export function matches(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  if (header.trim() === '*') return true
  return header.split(/,(?=\s*(?:W\/)?")/).some(each => each.trim().replace(/^W\//, '') === tag)
}

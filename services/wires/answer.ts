// Responses of the wires that answer requests.

import type { FastifyReply } from 'fastify'
import type { Answer } from '../broker/fanout/collect.ts'
import { printCursor, printPosition } from '../broker/event/position.ts'
import { Type } from '../http/schema.ts'
import { END, EVENT, GAP } from '../http/operation.ts'
import { encodeGap } from './objects.ts'

/** The body of an answer. */
export const ANSWER = Type.Object({
  events: Type.Array(EVENT),
  cursor: Type.String(),
  more: Type.Optional(Type.Boolean()),
  gaps: Type.Optional(Type.Array(GAP)),
  end: Type.Optional(Type.Array(END)),
})

const OPEN = Buffer.from('{"events":[')
const COMMA = Buffer.from(',')

/** Sends an answer and counts it. */
export function sendAnswer(reply: FastifyReply, wire: string, answer: Answer): FastifyReply {
  const stats = reply.server.fanwire.hub.connections.wires.of(wire)
  stats.deliveries += answer.events.length
  stats.gaps += answer.gaps.length
  return reply.type('application/json; charset=utf-8').send(encodeAnswer(answer))
}

/** The body of an answer: the same on poll and long-poll. */
export function encodeAnswer({ events, gaps, cursors, more, ends }: Answer): Buffer {
  const pieces: Uint8Array[] = [OPEN]
  events.forEach((event, i) => {
    if (i > 0) pieces.push(COMMA)
    pieces.push(event.json)
  })
  const encodedGaps = gaps.map(({ channel, gap }) => encodeGap(channel, gap))
  const encodedEnds = ends.map(({ channel, at }) => `{"channel":"${channel}","id":"${printPosition(at)}"}`)
  const tail =
    `],"cursor":"${printCursor(cursors)}"` +
    (more ? ',"more":true' : '') +
    (encodedGaps.length > 0 ? `,"gaps":[${encodedGaps.join(',')}]` : '') +
    (encodedEnds.length > 0 ? `,"end":[${encodedEnds.join(',')}]}` : '}')
  pieces.push(Buffer.from(tail))
  return Buffer.concat(pieces)
}

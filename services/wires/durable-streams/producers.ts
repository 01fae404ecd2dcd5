// Idempotent producers: whether an append is its producer's next, a duplicate, or out of order.

import type { FastifyReply } from 'fastify'
import { FanwireError } from '../../errors.ts'
import type { Produced, StreamState } from '../../broker/streams/state.ts'

/**
 * The producer's last append if this one is a duplicate; undefined if it is new. Sets the headers that report the
 * expected epoch or number. Raises FW_PRODUCER_FENCED, FW_STREAM_SEQUENCE, FW_BAD_REQUEST.
 */
export function check(
  state: StreamState,
  { id, epoch, seq }: Produced,
  reply: FastifyReply,
): Produced | undefined {
  const known = state.producers.get(id)
  if (known !== undefined && epoch < known.epoch) {
    reply.header('producer-epoch', String(known.epoch))
    throw new FanwireError('FW_PRODUCER_FENCED', 'a newer epoch of this producer has written since')
  }
  if (known !== undefined && epoch > known.epoch && seq !== 0)
    throw new FanwireError('FW_BAD_REQUEST', 'the first append of an epoch has Producer-Seq 0')
  const expected = known?.epoch === epoch ? known.seq + 1 : 0
  if (seq < expected) return known
  if (seq === expected) return undefined
  reply.header('producer-expected-seq', String(expected)).header('producer-received-seq', String(seq))
  throw new FanwireError('FW_STREAM_SEQUENCE', `Producer-Seq must be ${expected}`)
}

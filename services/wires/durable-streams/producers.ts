// Idempotent producers: whether an append is its producer's next, a duplicate, or out of order.

import type { FastifyReply } from 'fastify'
import type { Identity } from '../../broker/access/identity.ts'
import { FanwireError } from '../../errors.ts'
import { scopeOf } from '../../http/auth.ts'
import { printProducer, type Produced, type StreamState } from '../../broker/streams/state.ts'

/** Clients' ids can't contain it. */
const SEPARATOR = '\x7f'

/** The append with its producer's id in the scope of its publisher, so that nobody can use up another's numbers. */
export function scoped(produced: Produced, by: Identity): Produced {
  return { ...produced, id: scopeOf(by) + SEPARATOR + produced.id }
}

/** The same with the id that was recorded before ids had scopes. */
function unscoped(produced: Produced): Produced {
  return { ...produced, id: produced.id.slice(produced.id.indexOf(SEPARATOR) + 1) }
}

/** Whether `known` is this append. */
export function isSame(known: Produced | undefined, produced: Produced): boolean {
  if (known === undefined) return false
  return [produced, unscoped(produced)].some(each => printProducer(each) === printProducer(known))
}

/**
 * The producer's last append if this one is a duplicate; undefined if it is new. Sets the headers that report the
 * expected epoch or number. Raises FW_PRODUCER_FENCED, FW_STREAM_SEQUENCE, FW_BAD_REQUEST.
 */
export function check(state: StreamState, produced: Produced, reply: FastifyReply): Produced | undefined {
  const { id, epoch, seq } = produced
  const known = state.producers.get(id) ?? state.producers.get(unscoped(produced).id)
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

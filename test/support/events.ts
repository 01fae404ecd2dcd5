import { encodeEvent, type EventHead, type LogEvent } from '../../services/broker/event/event.ts'

/** An event as the log holds it. `head`: what matters of it. */
export function eventOf(
  head: Pick<EventHead, 'offset'> & Partial<EventHead>,
  data: string | Uint8Array,
): LogEvent {
  const plain = {
    channel: 'c',
    epoch: 'e1',
    time: 1,
    type: undefined,
    encoding: undefined,
    low: false,
  }
  return encodeEvent({ ...plain, ...head }, Buffer.from(data))
}

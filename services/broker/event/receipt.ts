// The response to a publish, the same on every route: printed directly, without an intermediate object.

import { type Position, printPosition } from './position.ts'

interface Printed {
  /** Undefined: the event is not kept. */
  readonly position?: Position | undefined
  readonly time: number
  /** Omitted if a header carries it. */
  readonly replayed?: boolean
}

/** Names need no escapes: their characters are all plain in JSON. */
export function printReceipt(channel: string, { position, time, replayed = false }: Printed): string {
  const repeated = replayed ? ',"replayed":true' : ''
  const id = position === undefined ? '' : `"id":"${printPosition(position)}",`
  return `{"channel":"${channel}",${id}"time":${time}${repeated}}`
}

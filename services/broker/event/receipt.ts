// The response to a publish, the same on every route. It is printed directly, without an intermediate object.

import { type Position, printPosition } from './position.ts'

interface Printed {
  /** Undefined if the event is not stored. */
  readonly position?: Position | undefined
  readonly time: number
  /** Omitted if a header says it. */
  readonly replayed?: boolean
}

/** Prints a receipt. Names need no escapes in JSON. */
export function printReceipt(channel: string, { position, time, replayed = false }: Printed): string {
  const repeated = replayed ? ',"replayed":true' : ''
  const id = position === undefined ? '' : `"id":"${printPosition(position)}",`
  return `{"channel":"${channel}",${id}"time":${time}${repeated}}`
}

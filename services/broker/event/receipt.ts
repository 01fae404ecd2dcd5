// What a publish is answered with, the same on every route: printed at once, without an object.

import { type Position, printPosition } from './position.ts'

interface Printed {
  /** Undefined: it is not kept. */
  readonly position?: Position | undefined
  readonly time: number
  /** Left out where a header says it. */
  readonly replayed?: boolean
}

/** Names need no escapes: their characters are all plain in JSON. */
export function printReceipt(channel: string, { position, time, replayed = false }: Printed): string {
  const repeated = replayed ? ',"replayed":true' : ''
  const id = position === undefined ? '' : `"id":"${printPosition(position)}",`
  return `{"channel":"${channel}",${id}"time":${time}${repeated}}`
}

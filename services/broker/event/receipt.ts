// What a publish is answered with, the same on every route: printed at once, without an object.

import { type Position, printPosition } from './position.ts'

interface Printed {
  readonly position: Position
  readonly time: number
  /** Left out where a header says it. */
  readonly replayed?: boolean
}

/** Names need no escapes: their characters are all plain in JSON. */
export function printReceipt(channel: string, { position, time, replayed = false }: Printed): string {
  const repeated = replayed ? ',"replayed":true' : ''
  return `{"channel":"${channel}","id":"${printPosition(position)}","time":${time}${repeated}}`
}

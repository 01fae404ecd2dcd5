// The text around the figures: machine and command, method, caveats.

import type { TransportsResult } from '../result.ts'
import { LEGEND } from './tables.ts'
import { BESIDES, RULE } from './verdicts.ts'

export function about({ command, machine, node, date, quick, fanwire, size }: TransportsResult): string {
  const trial = quick ? ' A short run: a trial, no measurement.' : ''
  return (
    `fanwire ${fanwire}, ${machine}, Node ${node}, ${date.slice(0, 10)}; events of ${size} bytes on one channel that all ` +
    `clients follow, its log in Redis; made by ${command}.${trial}`
  )
}

export const METHOD: readonly string[] = [
  LEGEND,
  'Delay: from when an event should have been published to its receipt in the client, so that a publisher that is held up hides nothing.',
  'Bytes are counted at the clients’ sockets, with all headers; TCP and IP below are not in them. There is no TLS.',
  'CPU is what the kernel charged to the nodes; requests and connections of idle clients are in it.',
  'Delivered: of the events times the clients. A short probe goes before each cell: where it finds that more is asked for than can ' +
    'be had here, the cell is marked (!), with what it came to, and it counts nowhere else.',
]

export const CAVEATS: readonly string[] = [
  'Server, Redis, load generator and publisher share the cores of one machine over loopback: no network’s delays or losses are in this, ' +
    'and where the cores are full, all are slower.',
  'One event every so often at even distances; real events come in bursts, which streams write at once and so at less cost.',
  'One channel: nothing here tells what many channels cost (npm run bench:fanout does).',
]

export const RULES: readonly string[] = [RULE, BESIDES]

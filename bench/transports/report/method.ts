// The text around the figures: machine and command, method, caveats.

import type { TransportsResult } from '../result.ts'
import { LEGEND } from './tables.ts'
import { BESIDES, RULE } from './verdicts.ts'

export function about({ command, machine, node, date, quick, fanwire, size }: TransportsResult): string {
  const trial = quick ? ' A short run: a trial, not a measurement.' : ''
  return (
    `fanwire ${fanwire}, ${machine}, Node ${node}, ${date.slice(0, 10)}; events of ${size} bytes on one channel that all ` +
    `clients follow, its log in Redis; made by ${command}.${trial}`
  )
}

export const METHOD: readonly string[] = [
  LEGEND,
  'Delay: from the scheduled publish time of an event to its receipt by the client, so that a delayed publisher hides nothing.',
  'Bytes are counted at the clients’ sockets, with all headers except those of TCP and IP. There is no TLS.',
  'CPU is the time that the kernel charged to the nodes, including requests and connections of idle clients.',
  'Delivered: the share of events × clients that arrived. A short probe precedes each cell: if it finds that this machine cannot do what ' +
    'the cell requests, the cell is marked (!), with what was reached, and it counts nowhere else.',
]

export const CAVEATS: readonly string[] = [
  'Server, Redis, load generator and publisher share the cores of one machine over loopback: a network’s delays and losses are not included, ' +
    'and when the cores are busy, everything is slower.',
  'Events are evenly spaced; real events come in bursts, which streams write together and so at a lower cost.',
  'One channel: nothing here shows what many channels cost (npm run bench:fanout does).',
]

export const RULES: readonly string[] = [RULE, BESIDES]

// The measured cells. Those of one run share a deployment, and their clients stay connected from rate to rate.

import type { Cell, Line } from './result.ts'

export interface Run {
  readonly line: Line
  readonly clients: number
  readonly nodes: number
  readonly cells: readonly Pick<Cell, 'rate' | 'seconds'>[]
}

const high = { priority: 'high' } as const

const POLL_1: Line = { name: 'poll every 1 s', wire: 'poll', every: 1, ...high }
const POLL_5: Line = { name: 'poll every 5 s', wire: 'poll', every: 5, ...high }
const LONG_POLL: Line = { name: 'long-poll', wire: 'long-poll', ...high }
const LONG_POLL_LOW: Line = { name: 'low-priority long-poll', wire: 'long-poll', priority: 'low' }
const SSE: Line = { name: 'sse', wire: 'sse', ...high }
const STREAM: Line = { name: 'stream', wire: 'stream', ...high }
const WS: Line = { name: 'ws', wire: 'ws', ...high }
const REFRESH: Line = { name: 'refresh every 5 s', wire: 'refresh', every: 5, ...high }
const PUSH: Line = { name: 'HTTP/2 push', wire: 'push', ...high }
const SOCKET_IO: Line = { name: 'socket.io', wire: 'socket.io', ...high }
const PUBLISH: Line = { name: 'publish', wire: 'publish', ...high }

export const LINES = [
  POLL_1,
  POLL_5,
  LONG_POLL,
  LONG_POLL_LOW,
  SSE,
  STREAM,
  WS,
  SOCKET_IO,
  PUSH,
  REFRESH,
  PUBLISH,
]

interface Shape {
  readonly clients: number
  readonly rates: readonly number[]
  readonly seconds: number
  readonly nodes?: number
}

function runs(lines: readonly Line[], { clients, rates, seconds, nodes = 1 }: Shape): Run[] {
  return lines.map(line => ({
    line,
    clients,
    nodes,
    cells: rates.map(rate => ({ rate, seconds })),
  }))
}

/** All cells. A run takes less than 20 minutes. */
export const FULL: readonly Run[] = [
  ...runs([POLL_1, LONG_POLL], { clients: 1000, rates: [0, 1, 10, 100], seconds: 20 }),
  ...runs([SSE, STREAM, WS], { clients: 1000, rates: [1, 10, 100], seconds: 20 }),
  ...runs([POLL_5, SOCKET_IO], { clients: 1000, rates: [1, 10, 100], seconds: 12 }),
  ...runs([LONG_POLL_LOW], { clients: 1000, rates: [10, 100], seconds: 20 }),
  ...runs([REFRESH, PUSH], { clients: 1000, rates: [0, 1, 10], seconds: 12 }),
  ...runs([SSE, WS, SOCKET_IO], { clients: 5000, rates: [0, 10], seconds: 12 }),
  ...runs([POLL_5, LONG_POLL], { clients: 5000, rates: [0, 1], seconds: 12 }),
  ...runs([POLL_1, LONG_POLL, SSE, WS], { clients: 100, rates: [10, 100], seconds: 8 }),
  ...runs([POLL_1, LONG_POLL, SSE, WS], { clients: 1000, rates: [10], seconds: 20, nodes: 2 }),
  ...runs([PUBLISH], { clients: 1, rates: [0], seconds: 10 }),
  ...runs([PUBLISH], { clients: 100, rates: [0], seconds: 10 }),
]

/** The main cells. A run takes less than two minutes. */
export const QUICK: readonly Run[] = [
  ...runs([POLL_1, LONG_POLL, LONG_POLL_LOW, SSE, STREAM, WS, SOCKET_IO, PUSH], {
    clients: 100,
    rates: [10, 100],
    seconds: 3,
  }),
  ...runs([PUBLISH], { clients: 20, rates: [0], seconds: 3 }),
]

/** Approximate duration in seconds. */
export function duration(runs: readonly Run[]): number {
  const BETWEEN_RUNS = 7
  const BETWEEN_CELLS = 4
  return runs.reduce(
    (sum, { cells }) =>
      sum + BETWEEN_RUNS + cells.reduce((all, { seconds }) => all + seconds + BETWEEN_CELLS, 0),
    0,
  )
}

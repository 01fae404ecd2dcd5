// Claims about auto-refresh and short polling.

import type { CellResult } from '../result.ts'
import { type Evidence, dearer, intervals, lines, LONG_POLL, POLL, type Sign, SSE, WS } from './evidence.ts'
import { cpuTime, events, percent, short, traffic, where } from './print.ts'
import { bytesPerClient, mainly, together, type Want } from './select.ts'

const perMinute = (cell: CellResult) =>
  `${traffic(bytesPerClient(cell) * 60)} and ${cpuTime(cell.cpuPerClient * 60)} of server CPU`

export function refreshLoads(cells: readonly CellResult[]): Evidence {
  const others = intervals(cells, { wire: 'refresh' }).map((every): Want => ({ ...POLL, every }))
  const pairs = [...others, SSE].flatMap(other =>
    mainly(together(cells, { wire: 'refresh' }, other)).slice(0, 1),
  )
  const signs = pairs.flatMap(({ cells: [page, other] }) =>
    page && other
      ? [dearer(page.cpuPerClient, other.cpuPerClient), dearer(bytesPerClient(page), bytesPerClient(other))]
      : [],
  )
  const figures = pairs.flatMap(({ cells: [page, other], ...place }) =>
    page && other
      ? [
          `${where(place)}, per client and minute: ${page.line.name} ${perMinute(page)}, ${other.line.name} ${perMinute(other)}`,
        ]
      : [],
  )
  return { signs, figures }
}

export function pollWastes(cells: readonly CellResult[]): Evidence {
  const still = [SSE, WS, LONG_POLL].flatMap(want => lines(cells, want)).map(([first]) => first)
  const quiet = still.find(({ rate }) => rate === 0)
  const idle = lines(cells, POLL).flatMap(([first]) => (first.rate === 0 ? [first] : []))
  const rare = lines(cells, POLL).flatMap(own => own.find(({ rate }) => rate > 0) ?? [])
  return {
    signs: [
      ...idle.map((cell): Sign =>
        quiet === undefined
          ? 'for'
          : cell.cpuPerClient >= 2 * quiet.cpuPerClient && bytesPerClient(cell) >= 2 * bytesPerClient(quiet)
            ? 'for'
            : dearer(cell.cpuPerClient, quiet.cpuPerClient) === 'against'
              ? 'against'
              : 'tie',
      ),
    ],
    figures: [
      ...idle.map(cell => {
        const every = cell.line.every ?? 1
        const request = `${cpuTime(cell.cpuPerClient * every)} and ${traffic(bytesPerClient(cell) * every)}`
        return `${where(cell)}: an empty ${cell.line.name} costs ${request} a request`
      }),
      ...(quiet === undefined
        ? []
        : [
            `an idle ${quiet.line.name} client costs ${cpuTime(quiet.cpuPerClient)} and ${traffic(bytesPerClient(quiet))} a second` +
              idle
                .map(
                  cell =>
                    `, ${cell.line.name} ${cpuTime(cell.cpuPerClient)} and ${traffic(bytesPerClient(cell))}`,
                )
                .join(''),
          ]),
      ...rare.flatMap(cell =>
        cell.emptyShare === undefined
          ? []
          : [
              `${cell.line.name} at ${events(cell.rate)}: ${percent(cell.emptyShare)} % of the requests brought nothing`,
            ],
      ),
    ],
  }
}

/** Above this power of the event rate, a load grows with the rate; below the next constant, it hardly grows. */
const GROWN = 0.8
const STEADY = 0.5

interface Growth {
  readonly name: string
  readonly range: string
  readonly cpu: number
  readonly requests: number | undefined
  /** Powers of the rate: 0 is independent of it, 1 grows in proportion. */
  readonly powers: readonly number[]
}

/** The growth from the lowest rate to the highest. */
function growth(cells: readonly CellResult[]): Growth[] {
  const [first, ...rest] = cells.filter(({ rate }) => rate > 0)
  const last = rest.at(-1)
  if (first === undefined || last === undefined) return []
  const cpu = last.cpuPerClient / first.cpuPerClient
  const requests =
    first.requestsPerSecond && last.requestsPerSecond && last.requestsPerSecond / first.requestsPerSecond
  const powers = [cpu, requests].flatMap(times =>
    times ? [Math.log(times) / Math.log(last.rate / first.rate)] : [],
  )
  const range = `from ${short(first.rate)} to ${events(last.rate)}`
  return [{ name: first.line.name, range, cpu, requests, powers }]
}

export function pollIsSteady(cells: readonly CellResult[]): Evidence {
  const polled = lines(cells, POLL).flatMap(growth)
  const streamed = polled.length > 0 ? lines(cells, SSE).flatMap(growth) : []
  return {
    signs: polled.map(({ powers }): Sign => {
      const most = Math.max(...powers)
      return most <= STEADY ? 'for' : most >= GROWN ? 'against' : 'tie'
    }),
    figures: [...polled, ...streamed].map(
      ({ name, range, cpu, requests }) =>
        `${name}, ${range}: CPU per client × ${short(cpu)}${requests ? `, requests × ${short(requests)}` : ''}`,
    ),
  }
}

export function pollBatches(cells: readonly CellResult[]): Evidence {
  const judged = lines(cells, POLL).flatMap(own => {
    const [first, ...rest] = own.filter(
      ({ rate, cpuPerDelivery }) => rate > 0 && cpuPerDelivery !== undefined,
    )
    const last = rest.at(-1)
    if (first?.cpuPerDelivery === undefined || last?.cpuPerDelivery === undefined) return []
    const fall = last.cpuPerDelivery / first.cpuPerDelivery
    const answer = last.requestsPerSecond && last.deliveriesPerSecond / last.requestsPerSecond
    return [
      {
        sign: (fall <= 0.5 ? 'for' : fall >= 0.9 ? 'against' : 'tie') as Sign,
        figure:
          `${first.line.name}: ${cpuTime(first.cpuPerDelivery)} of CPU a delivery at ${events(first.rate)}, ` +
          `${cpuTime(last.cpuPerDelivery)} at ${events(last.rate)}` +
          (answer ? `, where an answer brings ${short(answer)} events` : ''),
      },
    ]
  })
  return { signs: judged.map(({ sign }) => sign), figures: judged.map(({ figure }) => figure) }
}

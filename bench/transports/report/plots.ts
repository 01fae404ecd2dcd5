// The plots of the page, and their contents.

import type { CellResult, Line, TransportsResult } from '../result.ts'
import { LABEL, type Plot } from './drawing.ts'
import { type Datum, linePlot, widened } from './line-plot.ts'
import { memoryPlot } from './memory-plot.ts'
import { events, short } from './print.ts'
import { bytesPerDelivery, grouped, groupBy, mainly, readers, sound } from './select.ts'

/** The cells of one node at the main number of clients, and their lines in the order of the result. */
function main(result: TransportsResult): { cells: CellResult[]; lines: Line[] } {
  const own = readers(result).filter(sound)
  const [largest] = grouped(own)
    .filter(({ nodes }) => nodes === 1)
    .toSorted((a, b) => rates(b.cells) - rates(a.cells) || b.cells.length - a.cells.length)
  const cells = mainly(largest?.cells ?? [])
  const lines = groupBy(own, ({ line }) => line.name).flatMap(([first]) => first?.line ?? [])
  return { cells, lines }
}

const rates = (cells: readonly CellResult[]) => new Set(cells.map(({ rate }) => rate)).size

export async function plots(result: TransportsResult): Promise<Plot[]> {
  const { cells, lines } = main(result)
  const clients = short(cells[0]?.clients)
  const over = (of: (cell: CellResult) => number | undefined): Datum[] =>
    cells.flatMap(cell => {
      const y = of(cell)
      return cell.rate > 0 && y !== undefined && y > 0 ? [{ line: cell.line.name, x: cell.rate, y }] : []
    })
  const ticks = [...new Set(cells.flatMap(({ rate }) => (rate > 0 ? [rate] : [])))]
  const byRate = {
    type: 'quantitative',
    scale: { type: 'log', nice: false, domain: widened(Math.min(...ticks), Math.max(...ticks), 4) },
    axis: { title: 'events/s', values: ticks, labelExpr: LABEL, grid: false },
  }
  const at = `${clients} clients on one node`
  const wanted = [
    {
      title: 'Delay: the median',
      about: `p50 from publishing to receipt, ${at}; both scales logarithmic`,
      y: 'ms',
      data: over(cell => cell.latency?.p50),
    },
    {
      title: 'Delay: the worst of a hundred',
      about: `p99 from publishing to receipt, ${at}`,
      y: 'ms',
      data: over(cell => cell.latency?.p99),
    },
    {
      title: 'Server CPU per event',
      about: `What one event costs the node until all ${clients} clients have it`,
      y: 'ms of CPU per event',
      data: over(cell => cell.cpuPerEvent && cell.cpuPerEvent / 1000),
    },
    {
      title: 'Bytes per event and client',
      about: 'On the wire, both ways, with all headers and the requests that brought nothing',
      y: 'bytes',
      data: over(bytesPerDelivery),
    },
    {
      title: 'Server CPU per client',
      about: `What a client costs the node, ${at}`,
      y: 'µs of CPU per client and second',
      data: over(cell => cell.cpuPerClient),
    },
  ].filter(({ data }) => data.length > 0)
  const drawn = await Promise.all(
    wanted.map(async ({ title, about, y, data }) => ({
      title,
      about,
      svg: await linePlot(lines, data, { x: byRate, yTitle: y, points: true }),
    })),
  )
  const more = [await distribution(cells, lines), await memoryPlot(result, lines)]
  return [...drawn, ...more.filter(plot => plot !== undefined)]
}

/** The upper end of the axis: the slowest of a thousand deliveries. */
const LAST = 0.999

/** Plots delays by the share of faster deliveries, on the usual scale for tails: 90 %, 99 %, 99.9 %. */
async function distribution(cells: readonly CellResult[], lines: readonly Line[]): Promise<Plot | undefined> {
  const full = groupBy(
    cells.filter(({ latencies }) => latencies.length > 1),
    ({ rate }) => `${rate}`,
  )
  // Chooses the rate at which most wires were measured; of several, the middle one.
  const most = Math.max(...full.map(each => each.length))
  const best = full.filter(each => each.length === most)
  const own = best[Math.floor((best.length - 1) / 2)]
  const [first] = own ?? []
  if (own === undefined || first === undefined) return undefined
  const data = own.flatMap(cell => {
    const total = cell.latencies.reduce((sum, [, count]) => sum + count, 0)
    let seen = 0
    return cell.latencies.flatMap(([value, count]): Datum[] => {
      const before = seen / total
      seen += count
      if (before >= LAST || value <= 0) return []
      const share = Math.min(seen / total, LAST)
      return [{ line: cell.line.name, x: Math.min(1 / (1 - share), 1000), y: value / 1000 }]
    })
  })
  if (data.length === 0) return undefined
  const x = {
    type: 'quantitative',
    scale: { type: 'log', nice: false, domain: [1, 1000] },
    axis: {
      title: 'share of deliveries that came within',
      values: [2, 10, 100, 1000],
      labelExpr: "format(100 - 100 / datum.value, '~r') + ' %'",
      grid: true,
      labelOverlap: false,
    },
  }
  return {
    title: 'Delay: from the fastest to the slowest',
    about: `All deliveries of ${short(first.clients)} clients at ${events(first.rate)}`,
    svg: await linePlot(lines, thinned(data), { x, yTitle: 'ms', points: false }),
  }
}

/** Drops points that would be drawn on top of another one. */
function thinned(data: readonly Datum[]): Datum[] {
  return groupBy(data, ({ line, x }) => `${line} ${Math.round(Math.log(x) * 30)}`).flatMap(each =>
    each.slice(-1),
  )
}

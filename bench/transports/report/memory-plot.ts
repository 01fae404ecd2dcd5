// Memory added to the node per client, as bars.

import type { Line, TransportsResult } from '../result.ts'
import { CONFIG, draw, lookOf, type Plot } from './drawing.ts'
import { short } from './print.ts'
import { readers } from './select.ts'

const WIDTH = 290
/** Width of labels in front of bars. */
const NAMES = 160

export async function memoryPlot(
  result: TransportsResult,
  lines: readonly Line[],
): Promise<Plot | undefined> {
  const own = readers(result).filter(
    ({ nodes, residentPerClient }) => nodes === 1 && (residentPerClient ?? 0) > 0,
  )
  // With more clients, a larger share of the memory is theirs; at lower rates, fewer events are in flight.
  const bars = lines.flatMap(line => {
    const [best] = own
      .filter(cell => cell.line.name === line.name)
      .toSorted((a, b) => b.clients - a.clients || a.rate - b.rate)
    return best?.residentPerClient === undefined
      ? []
      : [{ line, clients: best.clients, value: best.residentPerClient }]
  })
  if (bars.length === 0) return undefined
  const names = bars.map(({ line }) => line.name)
  const colour = {
    field: 'line',
    type: 'nominal',
    scale: { domain: names, range: bars.map(({ line }) => lookOf(line).colour) },
    legend: null,
  }
  const values = bars.map(({ line, value, clients }) => ({
    line: line.name,
    value,
    text: `${short(value)} KB`,
    clients,
  }))
  const y = {
    field: 'line',
    type: 'nominal',
    sort: names,
    axis: { title: null, domain: false, ticks: false, labelLimit: 0 },
  }
  const x = { field: 'value', type: 'quantitative', axis: null }
  const spec = {
    width: WIDTH,
    height: { step: 30 },
    padding: { left: NAMES, top: 4, right: 54, bottom: 8 },
    data: { values },
    layer: [
      { mark: { type: 'bar', height: 18, cornerRadiusEnd: 2 }, encoding: { x, y, color: colour } },
      {
        mark: { type: 'text', align: 'left', dx: 6, fontSize: 13, color: 'currentColor' },
        encoding: { x, y, text: { field: 'text' } },
      },
    ],
    config: CONFIG,
  }
  const counts = [...new Set(bars.map(({ clients }) => clients))].sort((a, b) => a - b)
  return {
    title: 'Memory per client',
    about: `Resident memory that a client adds to the node, at ${counts.map(short).join(' or ')} clients`,
    svg: await draw(spec),
  }
}

// The plots of the page, as SVG: drawn by Vega, coloured by the page's style sheet, so that one drawing serves a light
// and a dark background.

import * as vega from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { CellResult, Line, TransportsResult } from '../result.ts'
import { events, short } from './print.ts'
import { bytesPerDelivery, grouped, groupBy, mainly, readers, sound } from './select.ts'

export interface Plot {
  readonly title: string
  readonly about: string
  readonly svg: string
}

/** How a line looks: a colour variable of the style sheet, a dash, a shape. Lines of one wire share their colour. */
interface Look {
  readonly colour: string
  readonly dash: readonly number[]
  readonly shape: string
}

const SHAPES: Readonly<Record<Line['wire'], string>> = {
  poll: 'circle',
  'long-poll': 'square',
  sse: 'triangle-up',
  stream: 'triangle-down',
  ws: 'diamond',
  refresh: 'cross',
  push: 'triangle-right',
  'socket.io': 'triangle-left',
  publish: 'circle',
}

const SOLID = [1, 0]
const DASHED = [6, 3]

function lookOf({ wire, every, priority }: Line): Look {
  const second = priority === 'low' || (wire === 'poll' && every !== 1)
  return { colour: `var(--${wire.replace('.', '-')})`, dash: second ? DASHED : SOLID, shape: SHAPES[wire] }
}

interface Datum {
  readonly line: string
  readonly x: number
  readonly y: number
}

/** A name at its line's end. */
interface Label {
  readonly line: string
  readonly x: number
  readonly y: number
  /** Where there is room for it. */
  readonly at: number
}

/** Of the plot itself; around it there is room for axes and names, the same in every plot. */
const WIDTH = 290
const HEIGHT = 290
const PADDING = { left: 56, top: 26, right: 168, bottom: 44 }
/** Of names in front of bars. */
const NAMES = 160
/** Between two names, of the height. */
const APART = 15 / HEIGHT

const CONFIG = {
  background: 'transparent',
  autosize: { type: 'none' },
  font: 'system-ui, sans-serif',
  view: { stroke: null },
  axis: {
    labelColor: 'currentColor',
    titleColor: 'currentColor',
    domainColor: 'currentColor',
    tickColor: 'currentColor',
    gridColor: 'var(--grid)',
    labelFontSize: 13,
    titleFontSize: 13,
    titleFontWeight: 'normal',
    titlePadding: 8,
  },
} as const

/** 1, 10, 100; where there are few of them also 2 and 5 of each. */
function logTicks(low: number, high: number): number[] {
  const steps = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5]
  const powers = Array.from({ length: 13 }, (_, i) => 10 ** (i - 3))
  return powers.flatMap(power => steps.map(step => step * power)).filter(tick => tick >= low && tick <= high)
}

/** Each name as near to its line's end as the others let it, from bottom to top. `ends` as shares of the height. */
export function spread(ends: readonly number[], apart: number): number[] {
  const order = ends.map((end, i) => ({ end, i })).sort((a, b) => a.end - b.end)
  // Blocks of names that touch stand around the mean of their ends.
  const blocks: { at: number; members: { end: number; i: number }[] }[] = []
  for (const member of order) {
    let block = { at: member.end, members: [member] }
    for (let below = blocks.at(-1); below !== undefined; below = blocks.at(-1)) {
      const top = below.at + (apart * (below.members.length - 1)) / 2
      const bottom = block.at - (apart * (block.members.length - 1)) / 2
      if (bottom - top >= apart) break
      blocks.pop()
      const members = [...below.members, ...block.members]
      block = { at: members.reduce((sum, { end }) => sum + end, 0) / members.length, members }
      // None may stand outside.
      const half = (apart * (members.length - 1)) / 2
      block.at = Math.max(half, Math.min(1 - half, block.at))
    }
    blocks.push(block)
  }
  const places: number[] = []
  for (const { at, members } of blocks) {
    members.forEach(({ i }, n) => (places[i] = at + apart * (n - (members.length - 1) / 2)))
  }
  return places
}

interface Axes {
  readonly x: object
  readonly yTitle: string
  readonly points: boolean
}

/** One line a wire with its name at its end; y is logarithmic. */
async function linePlot(
  lines: readonly Line[],
  data: readonly Datum[],
  { x, yTitle, points }: Axes,
): Promise<string> {
  const shown = lines.filter(({ name }) => data.some(({ line }) => line === name))
  const values = data.map(({ y }) => y)
  const [low, high] = [Math.min(...values) / 1.15, Math.max(...values) * 1.15]
  const share = (y: number) => Math.log(y / low) / Math.log(high / low)
  const ends = shown.flatMap(({ name }) => data.filter(({ line }) => line === name).slice(-1))
  const places = spread(
    ends.map(({ y }) => share(y)),
    APART,
  )
  const labels: Label[] = ends.map((end, i) => ({ ...end, at: low * (high / low) ** (places[i] ?? 0) }))

  const names = shown.map(({ name }) => name)
  const looks = shown.map(lookOf)
  const by = (range: readonly unknown[]) => ({
    field: 'line',
    type: 'nominal',
    scale: { domain: names, range },
    legend: null,
  })
  const colour = by(looks.map(({ colour }) => colour))
  const y = { field: 'y', type: 'quantitative', scale: { type: 'log', domain: [low, high], nice: false } }
  const axis = {
    title: yTitle,
    values: logTicks(low, high),
    labelExpr: LABEL,
    titleAnchor: 'end',
    titleAngle: 0,
    titleAlign: 'left',
    titleX: -46,
    titleY: -14,
  }
  const layers = [
    {
      data: { values: labels.map(({ line, x, y, at }) => ({ line, x, y, at })) },
      mark: { type: 'rule', strokeWidth: 1, strokeDash: [1, 3] },
      encoding: {
        x: { field: 'x', ...x },
        x2: { value: WIDTH + 16 },
        y: { ...y, axis },
        y2: { field: 'at' },
        color: colour,
      },
    },
    {
      data: { values: data },
      mark: { type: 'line', strokeWidth: 2 },
      encoding: {
        x: { field: 'x', ...x },
        y: { ...y, axis },
        color: colour,
        strokeDash: by(looks.map(({ dash }) => dash)),
      },
    },
    ...(points
      ? [
          {
            data: { values: data },
            mark: { type: 'point', filled: true, size: 55, opacity: 1 },
            encoding: {
              x: { field: 'x', ...x },
              y: { ...y, axis },
              color: colour,
              shape: by(looks.map(({ shape }) => shape)),
            },
          },
        ]
      : []),
    {
      data: { values: labels },
      mark: { type: 'text', align: 'left', baseline: 'middle', fontSize: 13, dx: 4 },
      encoding: {
        x: { value: WIDTH + 16 },
        y: { ...y, field: 'at', axis },
        text: { field: 'line' },
        color: colour,
      },
    },
  ]
  return draw({
    width: WIDTH,
    height: HEIGHT,
    padding: PADDING,
    layer: layers,
    config: CONFIG,
  } as unknown as TopLevelSpec)
}

/** 1,000 and not 1k, 0.1 and not 100m. */
const LABEL = "datum.value >= 1 ? format(datum.value, ',') : format(datum.value, '~r')"

async function draw(spec: TopLevelSpec): Promise<string> {
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: 'none' })
  const svg = await view.toSVG()
  view.finalize()
  return svg
}

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
    scale: { type: 'log', nice: false, domain: [Math.min(...ticks), Math.max(...ticks)] },
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
  const more = [await distribution(cells, lines), await memory(result, lines)]
  return [...drawn, ...more.filter(plot => plot !== undefined)]
}

/** Where it ends: of a thousand deliveries the slowest. */
const LAST = 0.999

/** Share of all that is not slower, by which the axis is divided as delays' tails are: 90 %, 99 %, 99.9 %. */
async function distribution(cells: readonly CellResult[], lines: readonly Line[]): Promise<Plot | undefined> {
  const full = groupBy(
    cells.filter(({ latencies }) => latencies.length > 1),
    ({ rate }) => `${rate}`,
  )
  // The rate at which most wires were measured; of several the middle one.
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

/** Of points that would be drawn on each other one is enough. */
function thinned(data: readonly Datum[]): Datum[] {
  return groupBy(data, ({ line, x }) => `${line} ${Math.round(Math.log(x) * 30)}`).flatMap(each =>
    each.slice(-1),
  )
}

async function memory(result: TransportsResult, lines: readonly Line[]): Promise<Plot | undefined> {
  const own = readers(result).filter(
    ({ nodes, residentPerClient }) => nodes === 1 && (residentPerClient ?? 0) > 0,
  )
  // The more clients, the less of it is anything else; the fewer events, the less of it is on its way.
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
    svg: await draw(spec as unknown as TopLevelSpec),
  }
}

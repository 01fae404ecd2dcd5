// A line plot with labels at the line ends, on a logarithmic scale.

import type { Line } from '../result.ts'
import { CONFIG, draw, LABEL, lookOf } from './drawing.ts'

export interface Datum {
  readonly line: string
  readonly x: number
  readonly y: number
}

/** A label at its line's end. */
interface Label {
  readonly line: string
  readonly x: number
  readonly y: number
  /** Where on the y axis it is drawn, so that labels do not overlap. */
  readonly at: number
}

/** Size of the plot itself; the margins for axes and labels are the same in every plot. */
const WIDTH = 290
const HEIGHT = 290
const PADDING = { left: 56, top: 32, right: 168, bottom: 44 }
/** Minimum distance of two labels, as a share of the height. */
const APART = 15 / HEIGHT

/** Widens a range to a ratio of at least `times`, around the same middle of a logarithmic scale. */
export function widened(low: number, high: number, times: number): [number, number] {
  const more = Math.sqrt(Math.max(1, times / (high / low)))
  return [low / more, high * more]
}

/** Ticks at 1, 10, 100 and so on; if they are few, also at 2 and 5 of each. */
function logTicks(low: number, high: number): number[] {
  const steps = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5]
  const powers = Array.from({ length: 13 }, (_, i) => 10 ** (i - 3))
  return powers.flatMap(power => steps.map(step => step * power)).filter(tick => tick >= low && tick <= high)
}

/**
 * Places each label as near to its line's end as the others allow, from bottom to top. `ends`: shares of the height.
 */
export function spread(ends: readonly number[], apart: number): number[] {
  const order = ends.map((end, i) => ({ end, i })).sort((a, b) => a.end - b.end)
  // Blocks of touching labels are centred on the mean of their ends.
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
      // Keeps all labels inside the plot.
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

/** One line per wire with its label at its end; y is logarithmic. */
export async function linePlot(
  lines: readonly Line[],
  data: readonly Datum[],
  { x, yTitle, points }: Axes,
): Promise<string> {
  const shown = lines.filter(({ name }) => data.some(({ line }) => line === name))
  const values = data.map(({ y }) => y)
  const [low, high] = widened(Math.min(...values) / 1.15, Math.max(...values) * 1.15, 6)
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
  })
}

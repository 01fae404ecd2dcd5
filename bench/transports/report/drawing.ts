// Draws plots with Vega, as SVG, coloured by the page's style sheet, so that one drawing works on a light and a
// dark background.

import * as vega from 'vega'
import { compile, type TopLevelSpec } from 'vega-lite'
import type { Line } from '../result.ts'

export interface Plot {
  readonly title: string
  readonly about: string
  readonly svg: string
}

/** The style of a line: a colour variable of the style sheet, a dash, a shape. Lines of one wire share their colour. */
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

export function lookOf({ wire, every, priority }: Line): Look {
  const second = priority === 'low' || (wire === 'poll' && every !== 1)
  return { colour: `var(--${wire.replace('.', '-')})`, dash: second ? DASHED : SOLID, shape: SHAPES[wire] }
}

export const CONFIG = {
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

/** Formats 1,000 instead of 1k, and 0.1 instead of 100m. */
export const LABEL = "datum.value >= 1 ? format(datum.value, ',') : format(datum.value, '~r')"

/** Draws a specification of Vega-Lite. Returns SVG. */
export async function draw(spec: object): Promise<string> {
  const view = new vega.View(vega.parse(compile(spec as TopLevelSpec).spec), { renderer: 'none' })
  const svg = await view.toSVG()
  view.finalize()
  return svg
}

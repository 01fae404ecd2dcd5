// The event rate at which one way becomes more expensive than another, from measurements at a few rates.

import { short } from './print.ts'

export interface Point {
  readonly rate: number
  readonly a: number
  readonly b: number
}

export interface Crossing {
  /** `a` becomes more expensive than `b`, or cheaper. */
  readonly to: 'dearer' | 'cheaper'
  /** The measured rates below and above the crossing. */
  readonly between: readonly [number, number]
  /** The interpolated rate; undefined if the costs do not determine it. */
  readonly near: number | undefined
}

/** All crossings, ascending. `points` by rate. Equal costs count as not more expensive. */
export function crossings(points: readonly Point[]): Crossing[] {
  return points.slice(1).flatMap((to, i) => {
    const from = points[i]
    if (from === undefined || from.a > from.b === to.a > to.b) return []
    const dearer = to.a > to.b ? 'dearer' : 'cheaper'
    return [{ to: dearer, between: [from.rate, to.rate], near: interpolate(from, to) } satisfies Crossing]
  })
}

/** Interpolates on logarithmic scales, or on linear ones next to a rate of 0, which has no logarithm. */
function interpolate(from: Point, to: Point): number | undefined {
  const logarithmic = from.rate > 0
  const apart = ({ a, b }: Point) => (logarithmic ? Math.log(a / b) : a - b)
  const [begin, end] = [apart(from), apart(to)]
  if (!Number.isFinite(begin) || !Number.isFinite(end)) return undefined
  const share = begin / (begin - end)
  return logarithmic ? from.rate * (to.rate / from.rate) ** share : share * to.rate
}

/** Such as `dearer from 1.3 events/s on (interpolated between 1 and 10)`. */
export function describe(points: readonly Point[]): string {
  const [first] = points
  const last = points.at(-1)
  if (first === undefined || last === undefined) return 'not measured together'
  const found = crossings(points)
  const range =
    first.rate === last.rate
      ? `at ${short(first.rate)} events/s`
      : `from ${short(first.rate)} to ${short(last.rate)} events/s`
  if (found.length === 0) return `${first.a > first.b ? 'dearer' : 'not dearer'} ${range}`
  return found
    .map(({ to, between: [from, upto], near }) => {
      const rates = `between ${short(from)} and ${short(upto)}`
      return near === undefined
        ? `${to} from somewhere ${rates} events/s on`
        : `${to} from ${short(near)} events/s on (interpolated ${rates})`
    })
    .join(', ')
}

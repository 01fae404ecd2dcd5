// The end and the pace of a reader, as requests and commands specify them.

import { FanwireError, quote } from '../errors.ts'
import { parseList, parsePosition } from '../broker/event/position.ts'
import { parseTime } from '../broker/event/time.ts'
import type { Plan, Until } from '../broker/fanout/plan.ts'
import type { Selection } from '../broker/fanout/selection.ts'
import { text } from '../http/operation.ts'

export const PLANS = {
  until: text(
    'where the stream ends: a position for each channel, joined by commas; or `head`, the current end of each channel; ' +
      'or before a time (ms or RFC 3339)',
  ),
  speed: text('0.1 to 1000: how many times faster than its original pace the past is delivered'),
}

interface Plans {
  readonly until?: string
  readonly speed?: string
}

const SPEED = /^[0-9]{1,4}(\.[0-9]{1,3})?$/
const SLOWEST = 0.1
const FASTEST = 1000

/** One plan per channel. Raises FW_BAD_CURSOR, FW_BAD_PARAMETER. */
export function readPlans(
  { until, speed }: Plans,
  channels: number,
  selections: readonly (Selection | undefined)[],
): (Plan | undefined)[] {
  if (until === undefined && speed === undefined) return []
  const ends = until === undefined ? [] : checkedUntils(until, channels)
  const pace = speed === undefined ? undefined : checkedSpeed(speed)
  for (const selection of selections) requireNoPick(selection)
  return Array.from({ length: channels }, (_, i) => ({ until: ends[i], speed: pace }))
}

/** A command's plan for one channel. Raises FW_BAD_CURSOR, FW_BAD_PARAMETER. */
export function commandPlan(
  { until, speed }: Readonly<Record<string, unknown>>,
  selection: Selection | undefined,
): Plan | undefined {
  if (until === undefined && speed === undefined) return undefined
  requireNoPick(selection)
  return {
    until: until === undefined ? undefined : checkedUntils(textOf(until), 1)[0],
    speed: speed === undefined ? undefined : checkedSpeed(textOf(speed)),
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : ''
}

function checkedUntils(until: string, channels: number): Until[] {
  const untils = parseList(until, channels, parseUntil, each => each === 'head' || 'time' in each)
  if (untils !== undefined) return untils
  throw new FanwireError(
    'FW_BAD_CURSOR',
    `until is a position (<epoch>-<offset>) for each channel, head, or a time (ms or RFC 3339), not ${quote(until)}`,
  )
}

function parseUntil(entry: string): Until | undefined {
  if (entry === 'head') return entry
  const time = parseTime(entry)
  return time === undefined ? parsePosition(entry) : { time }
}

function checkedSpeed(speed: string): number {
  const value = SPEED.test(speed) ? Number(speed) : 0
  if (value >= SLOWEST && value <= FASTEST) return value
  throw new FanwireError('FW_BAD_PARAMETER', `speed is a number from ${SLOWEST} to ${FASTEST}`)
}

function requireNoPick(selection: Selection | undefined): void {
  if (selection?.every === undefined && selection?.newest === undefined) return
  throw new FanwireError('FW_BAD_PARAMETER', 'every and newest cannot be combined with until and speed')
}

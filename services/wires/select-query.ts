// A reader's selection of events and their rate, as requests and commands specify them.

import { FanwireError } from '../errors.ts'
import { text, texts } from '../http/operation.ts'
import { type Filter, allOf, filterOf, parseFilter, typesFilter } from '../broker/event/filter.ts'
import { checkedType, isTagName } from '../broker/event/names.ts'
import { type Selection, selectionOf } from '../broker/fanout/selection.ts'

export const SELECTS = {
  types: texts('only events of these types, joined by commas; repeated: a list for each channel'),
  filter: texts('only events that match this filter (JSON); repeated: a filter for each channel'),
  every: text('the minimum time between two deliveries: 100ms to 60s'),
  newest: text('of pending events with the same value, only the newest: `type`, or `tag:<name>`'),
}

interface Selects {
  readonly types?: readonly string[]
  readonly filter?: readonly string[]
  /** A number is the wire's own parameter. */
  readonly every?: string | number
  readonly newest?: string
}

const DURATION = /^([0-9]{1,5})(ms|s)$/
const LEAST_MS = 100
const MOST_MS = 60_000
const MAX_TYPES = 100

/** A selection for each channel. Raises FW_BAD_FILTER, FW_BAD_TYPE, FW_BAD_PARAMETER. */
export function readSelections(
  { types = [], filter = [], every, newest }: Selects,
  channels: number,
): (Selection | undefined)[] {
  const pick = typeof every === 'string' ? checkedEvery(every) : undefined
  const value = newest === undefined ? undefined : checkedNewest(newest)
  const ofTypes = oneEach('types', types, channels, each => typesFilter(checkedTypes(each.split(','))))
  const ofTags = oneEach('filter', filter, channels, parseFilter)
  return Array.from({ length: channels }, (_, i) =>
    selectionOf({ filter: allOf([ofTypes[i], ofTags[i]]), every: pick, newest: value }),
  )
}

/** A command's selection for one channel. Raises FW_BAD_FILTER, FW_BAD_TYPE, FW_BAD_PARAMETER. */
export function commandSelection(command: Readonly<Record<string, unknown>>): Selection | undefined {
  const { types, filter, every, newest } = command
  return selectionOf({
    filter: allOf([
      types === undefined ? undefined : typesFilter(checkedTypes(types)),
      filter === undefined ? undefined : filterOf(filter),
    ]),
    every: every === undefined ? undefined : checkedEvery(every),
    newest: newest === undefined ? undefined : checkedNewest(newest),
  })
}

/** One value for each channel. A single value applies to all channels; an empty one selects everything. */
function oneEach(
  name: string,
  given: readonly string[],
  channels: number,
  parse: (text: string) => Filter,
): (Filter | undefined)[] {
  if (given.length > 1 && given.length !== channels) {
    throw new FanwireError(
      'FW_BAD_FILTER',
      `${given.length} times ${name} for ${channels} channels: give it once, or once for each channel`,
    )
  }
  const filters = given.map(each => (each === '' ? undefined : parse(each)))
  return filters.length === 1 ? Array.from({ length: channels }, () => filters[0]) : filters
}

function checkedTypes(types: unknown): string[] {
  if (!Array.isArray(types) || types.length === 0 || types.length > MAX_TYPES) {
    throw new FanwireError('FW_BAD_FILTER', `types is a list of 1 to ${MAX_TYPES} types`)
  }
  return types.map(checkedType)
}

function checkedEvery(every: unknown): number {
  const [, digits, unit] = (typeof every === 'string' && DURATION.exec(every)) || []
  const ms = Number(digits) * (unit === 's' ? 1000 : 1)
  if (ms >= LEAST_MS && ms <= MOST_MS) return ms
  throw new FanwireError('FW_BAD_PARAMETER', 'every is 100ms to 60s, such as 500ms or 2s')
}

function checkedNewest(newest: unknown): string {
  if (newest === 'type') return newest
  if (typeof newest === 'string' && newest.startsWith('tag:') && isTagName(newest.slice(4))) return newest
  throw new FanwireError('FW_BAD_PARAMETER', 'newest is type or tag:<name>')
}

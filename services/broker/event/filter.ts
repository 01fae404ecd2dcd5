// Filters: which events a reader wants, by their tags and types. The form is Centrifugo's FilterNode, as JSON.

import { isObject } from './json-values.ts'
import { FanwireError, quote } from '../../errors.ts'
import type { LogEvent } from './event.ts'

/** The part of an event that a filter examines. */
export type Filtered = Pick<LogEvent, 'type' | 'tags'>

export interface Filter {
  /** Equal for filters with the same parts, in any order. */
  readonly key: string
  passes(event: Filtered): boolean
}

const MAX_DEPTH = 8
const MAX_NODES = 100
/** The maximum bytes of a text, and the maximum texts of a list. */
const MAX_TEXT = 256
const MAX_TEXTS = 100

/** A finite decimal number. */
const NUMBER = /^-?[0-9]+(\.[0-9]+)?$/

type Compare = (value: string | undefined) => boolean
/** Comparisons with one text. A missing tag equals nothing. */
const WITH_TEXT: Readonly<Record<string, (text: string) => Compare>> = {
  eq: text => value => value === text,
  neq: text => value => value !== text,
  sw: text => value => value !== undefined && value.startsWith(text),
  ew: text => value => value !== undefined && value.endsWith(text),
  ct: text => value => value !== undefined && value.includes(text),
  gt: text => byNumber(text, (a, b) => a > b),
  gte: text => byNumber(text, (a, b) => a >= b),
  lt: text => byNumber(text, (a, b) => a < b),
  lte: text => byNumber(text, (a, b) => a <= b),
}
const WITH_TEXTS: Readonly<Record<string, (texts: ReadonlySet<string>) => Compare>> = {
  in: texts => value => value !== undefined && texts.has(value),
  nin: texts => value => value === undefined || !texts.has(value),
}
const WITH_NOTHING: Readonly<Record<string, Compare>> = {
  ex: value => value !== undefined,
  nex: value => value === undefined,
}
const COMPARISONS = [...Object.keys(WITH_TEXT), ...Object.keys(WITH_TEXTS), ...Object.keys(WITH_NOTHING)]

function byNumber(text: string, holds: (a: number, b: number) => boolean): Compare {
  if (!NUMBER.test(text)) throw badFilter(`${quote(text, 40)} is not a number`)
  const limit = Number(text)
  return value => value !== undefined && NUMBER.test(value) && holds(Number(value), limit)
}

/** Parses a filter from JSON text. Raises FW_BAD_FILTER. */
export function parseFilter(text: string): Filter {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw badFilter('a filter is JSON, such as {"key":"lang","cmp":"eq","val":"ko"}')
  }
  return filterOf(value)
}

/** Parses a filter from its object. Raises FW_BAD_FILTER. */
export function filterOf(value: unknown): Filter {
  return new Reading().node(value, 1)
}

/** Matches events of these types. */
export function typesFilter(types: readonly string[]): Filter {
  const wanted = new Set(types)
  return {
    key: JSON.stringify(['types', [...wanted].sort()]),
    passes: ({ type }) => type !== undefined && wanted.has(type),
  }
}

/** Matches events that all filters match; undefined if there are none. */
export function allOf(filters: readonly (Filter | undefined)[]): Filter | undefined {
  const given = filters.filter(each => each !== undefined)
  return given.length === 0 ? undefined : joined('and', given)
}

/** Matches events that at least one of the filters matches. Requires at least one filter. */
export function oneOf(filters: readonly Filter[]): Filter {
  return joined('or', filters)
}

function joined(op: 'and' | 'or', filters: readonly Filter[]): Filter {
  const distinct = [...new Map(filters.map(each => [each.key, each])).values()]
  if (distinct.length === 1) return distinct[0] as Filter
  const key = `["${op}",${distinct
    .map(each => each.key)
    .sort()
    .join()}]`
  return op === 'and'
    ? { key, passes: event => distinct.every(each => each.passes(event)) }
    : { key, passes: event => distinct.some(each => each.passes(event)) }
}

/** Parses one filter. */
class Reading {
  #nodes = 0

  node(value: unknown, depth: number): Filter {
    if (++this.#nodes > MAX_NODES) throw badFilter(`a filter has at most ${MAX_NODES} nodes`)
    if (depth > MAX_DEPTH) throw badFilter(`a filter is at most ${MAX_DEPTH} nodes deep`)
    if (!isObject(value)) {
      throw badFilter('a node of a filter is an object, such as {"key":"lang","cmp":"eq","val":"ko"}')
    }
    const { op = '', nodes } = value as { op?: unknown; nodes?: unknown }
    if (op === '') return leaf(value)
    if (op !== 'and' && op !== 'or' && op !== 'not') throw badFilter('op is and, or, not, or left out')
    only(value, 'op', 'nodes')
    if (!Array.isArray(nodes) || nodes.length === 0) throw badFilter(`${op} has a list of nodes`)
    if (op !== 'not')
      return joined(
        op,
        nodes.map(each => this.node(each, depth + 1)),
      )
    if (nodes.length > 1) throw badFilter('not has one node')
    const { key, passes } = this.node(nodes[0], depth + 1)
    return { key: `["not",${key}]`, passes: event => !passes(event) }
  }
}

function leaf(node: object): Filter {
  const { key, cmp, val, vals } = node as Readonly<Record<string, unknown>>
  if (typeof key !== 'string' || key === '' || Buffer.byteLength(key) > MAX_TEXT) {
    throw badFilter('key is the name of a tag')
  }
  if (typeof cmp !== 'string' || !COMPARISONS.includes(cmp)) {
    throw badFilter(`cmp is one of ${COMPARISONS.join(', ')}`)
  }
  only(node, 'op', 'key', 'cmp', ...(cmp in WITH_TEXT ? ['val'] : cmp in WITH_TEXTS ? ['vals'] : []))
  const [compare, operand] = comparison(cmp, val, vals)
  return { key: JSON.stringify([key, cmp, operand]), passes: ({ tags }) => compare(tags?.get(key)) }
}

function comparison(cmp: string, val: unknown, vals: unknown): [Compare, unknown] {
  const withText = WITH_TEXT[cmp]
  if (withText !== undefined) {
    if (!isText(val)) throw badFilter(`${cmp} has a val: a text of at most ${MAX_TEXT} bytes`)
    return [withText(val), val]
  }
  const withTexts = WITH_TEXTS[cmp]
  if (withTexts !== undefined) {
    if (!Array.isArray(vals) || vals.length === 0 || vals.length > MAX_TEXTS || !vals.every(isText)) {
      throw badFilter(`${cmp} has vals: 1 to ${MAX_TEXTS} texts of at most ${MAX_TEXT} bytes`)
    }
    const texts = new Set(vals)
    return [withTexts(texts), [...texts].sort()]
  }
  return [WITH_NOTHING[cmp] as Compare, null]
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && Buffer.byteLength(value) <= MAX_TEXT
}

function only(node: object, ...names: string[]): void {
  const other = Object.keys(node).find(name => !names.includes(name))
  if (other !== undefined) throw badFilter(`a node of a filter has no ${quote(other, 40)} here`)
}

function badFilter(message: string): FanwireError {
  return new FanwireError('FW_BAD_FILTER', message)
}

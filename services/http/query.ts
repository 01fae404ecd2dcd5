// The query parameters of a request: one validator for all routes.

import type { FastifyRequest } from 'fastify'
import { ownCopy } from '../broker/event/names.ts'
import type { Static, TObject, TSchema } from './schema.ts'
import { FanwireError, quote } from '../errors.ts'

/** Names that caches, trackers and service workers add to any URL; `__proto__` is not one of them. */
const ADDED_BY_OTHERS = /^(?:_(?!_proto__)|utm_|ngsw-|(?:fbclid|gclid)$)/

/** Parameters with credentials, which auth.ts has read. */
const CREDENTIALS: ReadonlySet<string> = new Set(['ticket', 'token', 'channel_token'])

/** In a schema, ends the name of parameters that share a prefix. */
const ANY_NAME = '<name>'

/** The maximum edits between an unknown name and a known one that is suggested. */
const NEAR = 3

/**
 * A request's parameters, by the schema of its route: texts, whole numbers with their defaults, and lists of repeatable
 * parameters. Ignores credentials, and parameters that others add to URLs. Raises FW_BAD_PARAMETER if a name is not in
 * the schema, a parameter is repeated that may not be, or a value is out of range.
 */
export function checkedQuery<S extends TObject>(request: FastifyRequest, schema: S): Static<S> {
  const properties = schema.properties as Readonly<Record<string, Property>>
  const checked: Record<string, unknown> = {}
  for (const [name, { default: fallback }] of Object.entries(properties)) {
    if (fallback !== undefined) checked[name] = fallback
  }
  for (const [name, value] of Object.entries(request.query as Record<string, string | string[]>)) {
    const property = propertyOf(properties, name)
    if (property !== undefined) checked[name] = valueOf(name, value, property)
    else if (!ADDED_BY_OTHERS.test(name) && !CREDENTIALS.has(name)) {
      throw unknownParameter(name, Object.keys(properties))
    }
  }
  return checked as Static<S>
}

/** The parameters whose names have this prefix, by the rest of the name. Callers may keep them. */
export function valuesUnder(values: object, prefix: string): [name: string, value: unknown][] {
  return Object.entries(values).flatMap(([name, value]): [string, unknown][] =>
    name.startsWith(prefix)
      ? [[ownCopy(name.slice(prefix.length)), typeof value === 'string' ? ownCopy(value) : value]]
      : [],
  )
}

function propertyOf(properties: Readonly<Record<string, Property>>, name: string): Property | undefined {
  if (Object.hasOwn(properties, name)) return properties[name]
  const shared = Object.keys(properties).find(
    key => key.endsWith(ANY_NAME) && name.startsWith(key.slice(0, -ANY_NAME.length)),
  )
  return shared === undefined ? undefined : properties[shared]
}

/** A parameter's schema, made by `text`, `texts`, `word` and `whole` of operation.ts. */
interface Property extends TSchema {
  readonly type: string
  readonly enum?: readonly string[]
  readonly minimum?: number
  readonly maximum?: number
  readonly default?: number
}

function valueOf(name: string, value: string | string[], property: Property): unknown {
  if (property.type === 'array') return Array.isArray(value) ? value : [value]
  if (Array.isArray(value)) throw new FanwireError('FW_BAD_PARAMETER', `${name} occurs more than once`)
  if (property.type === 'integer') return numberOf(name, value, property)
  if (property.enum === undefined || property.enum.includes(value)) return value
  throw new FanwireError('FW_BAD_PARAMETER', `${name} is ${property.enum.join(' or ')}`)
}

function numberOf(name: string, text: string, { minimum = 0, maximum = 0 }: Property): number {
  const value = Number(text)
  if (/^[0-9]{1,9}$/.test(text) && value >= minimum && value <= maximum) return value
  throw new FanwireError('FW_BAD_PARAMETER', `${name} takes a whole number from ${minimum} to ${maximum}`)
}

function unknownParameter(name: string, known: readonly string[]): FanwireError {
  const near = nearest(name, known)
  const hint =
    known.length === 0
      ? 'this path takes no parameters'
      : `${near === undefined ? '' : `did you mean ${near}? `}This path takes ${known.join(', ')}`
  return new FanwireError('FW_BAD_PARAMETER', `unknown parameter ${quote(name)}: ${hint}`)
}

/** The known name with the fewest edits, if it is close enough. */
function nearest(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let least = Math.min(NEAR, name.length - 1) + 1
  for (const each of known) {
    const edits = distance(name.slice(0, 40).toLowerCase(), each.toLowerCase())
    if (edits < least) [best, least] = [each, edits]
  }
  return best
}

/** The Levenshtein distance: insertions, deletions and substitutions that turn one text into the other. */
function distance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (const [i, char] of [...from].entries()) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j++) {
      const substituted = (row[j] ?? 0) + (char === to[j] ? 0 : 1)
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}

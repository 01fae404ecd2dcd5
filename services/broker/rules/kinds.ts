// Types of values in the rules file. Each definition gives the JSON Schema for editors and the reader for the node.

import { isAlias, isMap, isScalar, isSeq, type Document, type Node, type YAMLMap } from 'yaml'
import { quote } from '../../errors.ts'
import { FREQUENCY, parseFrequency } from './frequency.ts'

export type JsonSchema = Readonly<Record<string, unknown>>

/** A type: `read` returns undefined when it has reported a problem. */
export interface Kind<T> {
  readonly schema: JsonSchema
  read(node: Node, path: string, reading: Reading): T | undefined
}

/** A file that is being read. */
export interface Reading {
  readonly document: Document
  problem(node: Node, message: string): void
}

/** The result of reading an object: all members are optional. */
export type Read<T> = { -readonly [K in keyof T]?: T[K] }

type Members<T> = { readonly [K in keyof T]: Kind<T[K]> }

const DURATIONS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const SIZES = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, KB: 1e3, MB: 1e6, GB: 1e9 } as const

/** Replaces an alias by its anchor's value. The types bound the nesting, so aliases can't expand without end. */
function resolved(node: Node, path: string, reading: Reading): Node | undefined {
  if (!isAlias(node)) return node
  const target = node.resolve(reading.document)
  if (target === undefined) {
    reading.problem(node, `${path}: a text that begins with * is put in quotes`)
  }
  return target
}

function scalar(node: Node): unknown {
  return isScalar(node) ? node.value : undefined
}

/** A type whose reader need not handle aliases. */
function kind<T>(
  schema: JsonSchema,
  read: (node: Node, path: string, reading: Reading) => T | undefined,
): Kind<T> {
  return {
    schema,
    read: (node, path, reading) => {
      const target = resolved(node, path, reading)
      return target === undefined ? undefined : read(target, path, reading)
    },
  }
}

/** One value that `parse` accepts; otherwise the problem says what was `expected`. */
function value<T>(schema: JsonSchema, expected: string, parse: (value: unknown) => T | undefined): Kind<T> {
  return kind(schema, (node, path, reading) => {
    const parsed = parse(scalar(node))
    if (parsed === undefined) reading.problem(node, `${path}: ${said(node)} is not ${expected}`)
    return parsed
  })
}

function said(node: Node): string {
  if (isMap(node)) return 'an object'
  if (isSeq(node)) return 'a list'
  const given = scalar(node)
  return given === null || given === undefined ? 'nothing' : quote(given)
}

export function flag(about: string): Kind<boolean> {
  return value({ description: about, type: 'boolean' }, 'true or false', given =>
    typeof given === 'boolean' ? given : undefined,
  )
}

export function choice<W extends string>(words: readonly W[], about: string): Kind<W> {
  return value({ description: about, enum: words }, `one of ${words.join(', ')}`, given =>
    words.find(word => word === given),
  )
}

/** One word, or a list of different words. */
export function someOf<W extends string>(words: readonly W[], about: string): Kind<readonly W[]> {
  const one = choice(words, about)
  const schema = {
    description: about,
    anyOf: [{ enum: words }, { type: 'array', items: { enum: words }, minItems: 1, uniqueItems: true }],
  }
  return kind(schema, (node, path, reading) => {
    if (!isSeq(node)) {
      const word = one.read(node, path, reading)
      return word === undefined ? undefined : [word]
    }
    const read = items(node.items, one, path, reading)
    if (read === undefined) return undefined
    if (read.length === 0) return void reading.problem(node, `${path}: the list is empty`)
    if (new Set(read).size < read.length) return void reading.problem(node, `${path}: a word occurs twice`)
    return read
  })
}

export function count(least: number, most: number, about: string): Kind<number> {
  return value(
    { description: about, type: 'integer', minimum: least, maximum: most },
    `a whole number from ${least} to ${most}`,
    given => (Number.isInteger(given) ? within(Number(given), least, most) : undefined),
  )
}

function within(number: number, least: number, most: number): number | undefined {
  return number >= least && number <= most ? number : undefined
}

/** A duration, in ms. */
export function duration(most: string, about: string): Kind<number> {
  const form = /^(\d{1,9})(ms|s|m|h|d)$/
  const parse = (given: unknown) => {
    const [, number, unit] = (typeof given === 'string' ? form.exec(given) : null) ?? []
    return number === undefined ? undefined : Number(number) * DURATIONS[unit as keyof typeof DURATIONS]
  }
  const limit = parse(most) ?? Infinity
  return value(
    { description: about, type: 'string', pattern: form.source, examples: ['30s', '24h', '7d'] },
    `a duration up to ${most}, such as 30s, 24h or 7d`,
    given => within(parse(given) ?? NaN, 0, limit),
  )
}

/** A size, in bytes. */
export function size(most: string, about: string): Kind<number> {
  const form = /^(\d{1,12})(B|KiB|MiB|GiB|KB|MB|GB)$/
  const parse = (given: unknown) => {
    if (typeof given === 'number') return Number.isInteger(given) ? given : undefined
    const [, number, unit] = (typeof given === 'string' ? form.exec(given) : null) ?? []
    return number === undefined ? undefined : Number(number) * SIZES[unit as keyof typeof SIZES]
  }
  const limit = parse(most) ?? Infinity
  return value(
    {
      description: about,
      anyOf: [
        { type: 'integer', minimum: 1, maximum: limit },
        { type: 'string', pattern: form.source },
      ],
      examples: ['64KiB', '8MiB'],
    },
    `a size from 1 B to ${most}, such as 64KiB or 8MiB`,
    given => within(parse(given) ?? NaN, 1, limit),
  )
}

/** A rate per second. */
export function frequency(about: string): Kind<number> {
  return value(
    { description: about, type: 'string', pattern: FREQUENCY.source, examples: ['10/s', '600/m'] },
    'a rate such as 10/s, 600/m or 100/h',
    given => (typeof given === 'string' ? parseFrequency(given) : undefined),
  )
}

/** A text for which `fault` returns undefined. */
export function text(schema: JsonSchema, fault: (text: string) => string | undefined): Kind<string> {
  return kind({ type: 'string', ...schema }, (node, path, reading) => {
    const given = scalar(node)
    if (typeof given !== 'string') {
      return void reading.problem(node, `${path}: ${said(node)} is not text; put it in quotes`)
    }
    const found = fault(given)
    if (found !== undefined) return void reading.problem(node, `${path}: ${quote(given)} ${found}`)
    return given
  })
}

export function list<T>(of: Kind<T>, about: string): Kind<readonly T[]> {
  return kind({ description: about, type: 'array', items: of.schema }, (node, path, reading) => {
    if (!isSeq(node)) return void reading.problem(node, `${path}: ${said(node)} is not a list`)
    return items(node.items, of, path, reading)
  })
}

function items<T>(nodes: readonly unknown[], of: Kind<T>, path: string, reading: Reading): T[] | undefined {
  const read = nodes.map((item, index) => of.read(item as Node, `${path}[${index}]`, reading))
  const all = read.filter(item => item !== undefined)
  return all.length === nodes.length ? all : undefined
}

/** An object with these members only. `check` receives the result, and reports contradictions. */
export function object<T extends object>(
  members: Members<T>,
  {
    required = [],
    about,
    check = () => undefined,
  }: {
    readonly required?: readonly (keyof T & string)[]
    readonly about: string
    readonly check?: (read: Read<T>) => string | undefined
  },
): Kind<Read<T>> {
  const kinds = new Map<string, Kind<unknown>>(Object.entries<Kind<unknown>>(members))
  const schema = {
    description: about,
    type: 'object',
    properties: Object.fromEntries([...kinds].map(([name, { schema }]) => [name, schema])),
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: false,
  }
  return kind(schema, (node, path, reading) => {
    if (!isMap(node))
      return void reading.problem(node, `${path || 'the file'}: ${said(node)} is not an object`)
    const read = readMembers(node, kinds, path, reading)
    if (read === undefined) return undefined
    const missing = required.find(name => !(name in read))
    if (missing !== undefined) return void reading.problem(node, `${path}: ${missing} is missing`)
    const fault = check(read as Read<T>)
    if (fault !== undefined) return void reading.problem(node, `${path}: ${fault}`)
    return read as Read<T>
  })
}

function readMembers(
  node: YAMLMap,
  kinds: ReadonlyMap<string, Kind<unknown>>,
  path: string,
  reading: Reading,
): Record<string, unknown> | undefined {
  const read: Record<string, unknown> = {}
  let good = true
  for (const pair of node.items) {
    const key = pair.key as Node
    const name = scalar(key)
    const member = typeof name === 'string' ? kinds.get(name) : undefined
    if (typeof name !== 'string' || member === undefined) {
      reading.problem(
        key,
        `${path || 'the file'}: unknown member ${said(key)}; known are ${[...kinds.keys()].join(', ')}`,
      )
      good = false
    } else if (Object.hasOwn(read, name)) {
      reading.problem(key, `${path}: ${name} occurs twice`)
      good = false
    } else {
      const at = path === '' ? name : `${path}.${name}`
      // A member without a value, `age:`, has an empty node.
      const found =
        pair.value === null
          ? void reading.problem(key, `${at}: has no value`)
          : member.read(pair.value as Node, at, reading)
      read[name] = found
      good &&= found !== undefined
    }
  }
  return good ? read : undefined
}

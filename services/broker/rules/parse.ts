// Parses rules from YAML or JSON. Every problem has a line and a column.

import { LineCounter, type Node, parseDocument } from 'yaml'
import { quote } from '../../errors.ts'
import { BadFileError, type Problem } from '../files/bad-file.ts'
import { createRules, hooksOf, ruleOf, webhookOf } from './make.ts'
import type { Rules } from './rules.ts'
import { RULES_FILE } from './schema.ts'

export const LARGEST_RULES_FILE = 4 * 2 ** 20
/** The maximum number of reported problems: a file of another kind has one in each line. */
const MOST_PROBLEMS = 50

type Position = Required<Pick<Problem, 'line' | 'column'>>

/** Parses a rules file. Raises `BadFileError`. */
export function parseRules(source: string): Rules {
  try {
    return readRules(source)
  } catch (error) {
    // The parser is recursive.
    if (error instanceof RangeError) throw new BadFileError('the file is nested too deeply')
    throw error
  }
}

function readRules(source: string): Rules {
  if (source.length > LARGEST_RULES_FILE) throw new BadFileError('the file is larger than 4 MiB')
  const lines = new LineCounter()
  const document = parseDocument(source.replace(/^\ufeff/, ''), {
    lineCounter: lines,
    // Duplicates are found later, in linear time.
    uniqueKeys: false,
    prettyErrors: false,
  })
  const positionAt = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) {
    throw new BadFileError(
      faults.slice(0, MOST_PROBLEMS).map(({ pos: [offset], code, message }) => ({
        ...positionAt(offset),
        message: syntaxMessage(code, message),
      })),
    )
  }
  if (document.contents === null) throw new BadFileError('the file is empty')

  const problems: Problem[] = []
  const offsetOf = (node: Node) => node.range?.[0] ?? 0
  const problem = (node: Node, message: string) => {
    if (problems.length < MOST_PROBLEMS) problems.push({ ...positionAt(offsetOf(node)), message })
  }
  const file = RULES_FILE.read(document.contents, '', { document, problem })
  const placesOf = (member: string) => nodesIn(document.get(member)).map(node => positionAt(offsetOf(node)))
  const places = placesOf('channels')
  const found = file?.channels ?? []
  const webhooks = (file?.webhooks ?? []).map(webhookOf)
  problems.push(
    ...repeated(
      found.map(({ match = '' }) => match),
      places,
      (index, line) =>
        `channels[${index}].match: ${quote(found[index]?.match)} has a rule already, in line ${line}`,
    ),
    ...repeated(
      webhooks.map(({ url, events, channels }) => JSON.stringify([url, events, channels])),
      placesOf('webhooks'),
      (index, line) => `webhooks[${index}]: line ${line} has the same url, events and channels`,
    ),
  )
  if (file === undefined || problems.length > 0) throw new BadFileError(problems)
  return createRules(
    found.map((members, index) => ruleOf(members.match ?? '', members, places[index]?.line ?? 0)),
    ruleOf('default', file.default ?? {}, 0),
    {
      lives: file.lives ?? [],
      hooks: hooksOf(file.hooks),
      webhooks,
    },
  )
}

/** The parser's own message if it is clear, otherwise the most likely mistake. */
function syntaxMessage(code: string, message: string): string {
  if (code === 'BAD_ALIAS') return 'a text that begins with * is put in quotes'
  return message.replace(/\s+/g, ' ')
}

function nodesIn(list: unknown): readonly Node[] {
  const items = (list as { items?: unknown } | undefined)?.items
  return Array.isArray(items) ? (items as Node[]) : []
}

/** A problem for each key that occurred before. `messageOf` gets the index, and the line of the first occurrence. */
function repeated(
  keys: readonly string[],
  places: readonly Position[],
  messageOf: (index: number, line: number | undefined) => string,
): Problem[] {
  const first = new Map<string, number>()
  return keys.flatMap((key, index) => {
    const before = first.get(key)
    if (before === undefined) first.set(key, index)
    return before === undefined ? [] : [{ ...places[index], message: messageOf(index, places[before]?.line) }]
  })
}
